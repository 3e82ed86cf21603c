//! What a condition costs on a log of a million events.
//!
//! The condition holds, and one after it does not: so it is judged to the end, and nothing is written
//! or synced that would take longer than the judging and vary more.

use std::sync::Arc;
use std::time::Instant;

use retold::recording::append::Append;
use retold::recording::condition::{Condition, ExpectedVersion};
use retold::recording::error::{Conflict, RecordError};
use retold::recording::identity::Position;
use retold::recording::query::Query;
use retold::recording::recorder::Recorder;

use crate::bench::Bench;
use crate::contender::{Contender, Result, RunFn};
use crate::dataset::{Dataset, EARLY_TOPIC, plain_event, scramble, stream_name};
use crate::sample::{Run, Stopwatch};
use crate::subject::Subject;

/// What must hold for an append.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// Nothing but the condition that does not hold: what the others are compared with.
    Nothing,
    /// No event of a topic after the middle of the log, of which there are many before it.
    TopicAfter,
    /// No event of a topic that is not in the log.
    TopicEver,
    /// No event of a tag that is not in the log.
    TagEver,
    /// No event of a topic that is in the log, which does not hold itself.
    TopicRefused,
}

const WORKLOADS: [(&str, Shape); 5] = [
    ("condition-none", Shape::Nothing),
    ("condition-topic-after", Shape::TopicAfter),
    ("condition-topic-ever", Shape::TopicEver),
    ("condition-tag-ever", Shape::TagEver),
    ("condition-topic-refused", Shape::TopicRefused),
];

/// All workloads of this module on `subject`.
pub(crate) fn contenders<'a>(bench: &'a Bench, subject: &'a Subject) -> Vec<Contender<'a>> {
    let contender = |(name, shape)| {
        Contender::new(name, subject.label, "appends", move || {
            let recorder = bench.orders(subject)?.recorder;
            let mut number = 0;
            Ok(Box::new(move |budget| {
                let mut run = Run::new();
                let watch = Stopwatch::start(budget);
                while run.operation_count() == 0 || watch.has_time() {
                    number += 1;
                    let append = next_append(bench.sizes.dataset, shape, number);
                    let start = Instant::now();
                    bench
                        .many_threads
                        .block_on(judge(&recorder, append, shape))?;
                    run.add(start.elapsed(), 1);
                }
                Ok(run.took(watch.elapsed()))
            }) as RunFn<'a>)
        })
    };
    WORKLOADS.into_iter().map(contender).collect()
}

fn next_append(dataset: Dataset, shape: Shape, number: u64) -> Append {
    let append = Append::new().event(plain_event(number, stream_name(scramble(!number))));
    let append = match shape {
        Shape::Nothing => append,
        Shape::TopicAfter => append.condition(Condition::none_match_after(
            Query::topic(EARLY_TOPIC),
            Position::new(dataset.event_count / 2),
        )),
        Shape::TopicEver => append.condition(Condition::none_match(Query::topic("Order.Never"))),
        Shape::TagEver => append.condition(Condition::none_match(Query::tag("customer:none"))),
        Shape::TopicRefused => append.condition(Condition::none_match(Query::topic(EARLY_TOPIC))),
    };
    append.condition(Condition::stream_at(stream_name(0), ExpectedVersion::None))
}

async fn judge(recorder: &Arc<dyn Recorder>, append: Append, shape: Shape) -> Result<()> {
    match (recorder.append(append).await, shape) {
        (Err(RecordError::Conflict(Conflict::Query { .. })), Shape::TopicRefused) => Ok(()),
        (Err(RecordError::Conflict(Conflict::Stream { .. })), shape)
            if !matches!(shape, Shape::TopicRefused) =>
        {
            Ok(())
        }
        (Ok(appended), _) => {
            Err(format!("{appended:?}, although a condition does not hold").into())
        }
        (Err(error), _) => Err(error.into()),
    }
}
