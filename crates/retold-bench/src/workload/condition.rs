//! The cost of a condition on a log of a million events.
//!
//! The measured condition holds, and a second one after it does not. The first is therefore
//! evaluated completely, and nothing is written or synced, which would take longer than the
//! evaluation and vary more.

use std::sync::Arc;
use std::time::Instant;

use retold::recording::{
    Append, Condition, Conflict, ExpectedVersion, Position, Query, RecordError, Recorder,
};

use crate::bench::{Bench, write_orders};
use crate::contender::{Contender, Result, RunFn};
use crate::dataset::{Dataset, EARLY_TOPIC, plain_event, scramble, stream_name};
use crate::sample::{Run, Stopwatch};
use crate::subject::{Subject, open_log};
use crate::workload::append::{self, Writer, write_together};

/// Number of clients that append concurrently.
const CLIENT_COUNT: u64 = 8;
/// Number of the first client, far from those whose streams are in the log of orders.
const FIRST_WRITER: u64 = 1 << 40;
/// A small log of orders.
const SMALL: Dataset = Dataset {
    event_count: 10_000,
    stream_count: 1_000,
    batch_size: 1_000,
};

/// The measured condition.
#[derive(Clone, Copy, Debug)]
enum ConditionShape {
    /// Only the condition that does not hold, as the baseline.
    Nothing,
    /// No event of a topic after the middle of the log; there are many before it.
    TopicAfter,
    /// No event of a topic that is not in the log.
    TopicEver,
    /// No event of a tag that is not in the log.
    TagEver,
    /// No event of a topic that is in the log; this condition itself does not hold.
    TopicRefused,
}

const WORKLOADS: [(&str, ConditionShape); 5] = [
    ("condition-none", ConditionShape::Nothing),
    ("condition-topic-after", ConditionShape::TopicAfter),
    ("condition-topic-ever", ConditionShape::TopicEver),
    ("condition-tag-ever", ConditionShape::TagEver),
    ("condition-topic-refused", ConditionShape::TopicRefused),
];

/// Returns all workloads of this module on `subject`.
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
    let mut contenders: Vec<_> = WORKLOADS.into_iter().map(contender).collect();
    if subject.is_on_disk() {
        contenders.push(together(bench, subject, SMALL, "append-8-at-10000"));
        let size = bench.sizes.dataset;
        contenders.push(together(bench, subject, size, "append-8-at-1000000"));
    }
    contenders
}

/// Clients that append concurrently, each on the condition that no event has its own tag, to a log
/// that begins with these orders.
fn together<'a>(
    bench: &'a Bench,
    subject: &'a Subject,
    size: Dataset,
    name: &'static str,
) -> Contender<'a> {
    let runtime = &bench.many_threads;
    Contender::new(name, subject.label, "appends", move || {
        let recorder = if size == bench.sizes.dataset {
            bench.orders(subject)?.recorder
        } else {
            runtime.block_on(async {
                let recorder = open_log(&subject.url(name)).await?;
                write_orders(&recorder, size, |_| ()).await?;
                Result::Ok(recorder)
            })?
        };
        let ids = FIRST_WRITER..FIRST_WRITER + CLIENT_COUNT;
        let mut writers: Vec<Writer> = ids
            .map(|id| Writer::new(id, append::EventShape::NoneMatchTag))
            .collect();
        Ok(Box::new(move |budget| {
            let writing = write_together(&recorder, std::mem::take(&mut writers), budget);
            let (run, returned) = runtime.block_on(writing)?;
            writers = returned;
            Ok(run)
        }) as RunFn<'a>)
    })
}

fn next_append(dataset: Dataset, shape: ConditionShape, number: u64) -> Append {
    let append = Append::new().event(plain_event(number, stream_name(scramble(!number))));
    let append = match shape {
        ConditionShape::Nothing => append,
        ConditionShape::TopicAfter => append.condition(Condition::none_match_after(
            Query::topic(EARLY_TOPIC),
            Position::new(dataset.event_count / 2),
        )),
        ConditionShape::TopicEver => {
            append.condition(Condition::none_match(Query::topic("Order.Never")))
        }
        ConditionShape::TagEver => {
            append.condition(Condition::none_match(Query::tag("customer:none")))
        }
        ConditionShape::TopicRefused => {
            append.condition(Condition::none_match(Query::topic(EARLY_TOPIC)))
        }
    };
    append.condition(Condition::stream_at(stream_name(0), ExpectedVersion::None))
}

async fn judge(recorder: &Arc<dyn Recorder>, append: Append, shape: ConditionShape) -> Result<()> {
    match (recorder.append(append).await, shape) {
        (Err(RecordError::Conflict(Conflict::Query { .. })), ConditionShape::TopicRefused) => {
            Ok(())
        }
        (Err(RecordError::Conflict(Conflict::Stream { .. })), shape)
            if !matches!(shape, ConditionShape::TopicRefused) =>
        {
            Ok(())
        }
        (Ok(appended), _) => {
            Err(format!("{appended:?}, although a condition does not hold").into())
        }
        (Err(error), _) => Err(error.into()),
    }
}
