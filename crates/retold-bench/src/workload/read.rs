//! Reads of the log of orders: all of it, a stream, a tag, a topic.

use std::sync::Arc;
use std::time::{Duration, Instant};

use retold::recording::{Append, LogRead, PageEnd, Query, Recorder, StoredEvent, StreamRead};

use crate::asked::{Found, Read};
use crate::bare::BareLog;
use crate::bench::Bench;
use crate::contender::{Contender, Result, RunFn};
use crate::dataset::{Dataset, RARE_TOPIC, customer_tag, plain_event, scramble, stream_name};
use crate::sample::{Run, Stopwatch};
use crate::subject::{LOG, Subject};

/// What one operation reads.
#[derive(Clone, Copy, Debug)]
enum ReadShape {
    /// Every event, in pages.
    Log,
    /// A stream, a different one each time.
    Stream,
    /// The same, each time after an append.
    StreamAfterAppend,
    /// The events of a customer's tag, a different one each time.
    Tag,
    /// The events of the rare topic.
    Topic,
}

/// A workload of this module: its name, the unit of its rate, and what it reads.
const WORKLOADS: [(&str, &str, ReadShape); 5] = [
    ("read-log", "events", ReadShape::Log),
    ("read-stream-10", "reads", ReadShape::Stream),
    (
        "read-stream-10-after-append",
        "reads",
        ReadShape::StreamAfterAppend,
    ),
    ("query-tag", "queries", ReadShape::Tag),
    ("query-topic", "queries", ReadShape::Topic),
];

/// Returns all workloads of this module on `subject`, and the same on the bare driver.
pub(crate) fn contenders<'a>(bench: &'a Bench, subject: &'a Subject) -> Vec<Contender<'a>> {
    let mut contenders = Vec::new();
    for (name, unit, shape) in WORKLOADS {
        contenders.push(Contender::new(name, subject.label, unit, move || {
            let recorder = bench.orders(subject)?.recorder;
            let (runtime, dataset) = (&bench.many_threads, bench.sizes.dataset);
            let mut ordinal = 0;
            Ok(Box::new(move |budget| {
                let reader = ShapeReader {
                    recorder: Arc::clone(&recorder),
                    dataset,
                    shape,
                    ordinal,
                };
                // In a task of the runtime, as in an application.
                let read = runtime.spawn(reader.read_until(Stopwatch::start(budget)));
                let (run, read_to) = runtime.block_on(read)??;
                ordinal = read_to;
                Ok(run)
            }) as RunFn<'a>)
        }));
        if let Some(label) = subject.bare_label()
            && !matches!(shape, ReadShape::StreamAfterAppend)
        {
            contenders.push(Contender::new(name, label, unit, move || {
                let mut log = BareLog::open(&bench.orders(subject)?.url, LOG)?;
                Ok(repeat(bench.sizes.dataset, shape, move |read| {
                    log.read(read)
                }))
            }));
        }
    }
    contenders
}

/// Reads with a bare driver.
fn repeat<'a>(
    dataset: Dataset,
    shape: ReadShape,
    mut read: impl FnMut(&Read) -> Result<Found> + 'a,
) -> RunFn<'a> {
    let mut ordinal = 0;
    Box::new(move |budget: Duration| {
        let mut run = Run::new();
        let watch = Stopwatch::start(budget);
        while run.operation_count() == 0 || watch.has_time() {
            ordinal += 1;
            let (what, expected) = next_read(dataset, shape, ordinal);
            let start = Instant::now();
            let found = read(&what)?;
            let latency = start.elapsed();
            run.add(latency, units(shape, &what, found, expected)?);
        }
        Ok(run.took(watch.elapsed()))
    })
}

/// Returns the units of a read, or an error if it did not find the expected number of events.
fn units(shape: ReadShape, what: &Read, found: Found, expected: Option<u64>) -> Result<u64> {
    if expected.is_some_and(|expected| expected != found.events) {
        return Err(format!("{what:?} found {found:?}, not {expected:?} events").into());
    }
    Ok(match shape {
        ReadShape::Log => found.events,
        _ => 1,
    })
}

/// Returns the read of this index, and the number of events that it must find, if it is known.
fn next_read(dataset: Dataset, shape: ReadShape, ordinal: u64) -> (Read, Option<u64>) {
    let random = scramble(ordinal);
    match shape {
        // The workloads of conditions append to the same log, so it may be longer.
        ReadShape::Log => (Read::Log, None),
        ReadShape::Stream | ReadShape::StreamAfterAppend => (
            Read::Stream(stream_name(random % dataset.stream_count)),
            Some(dataset.event_count / dataset.stream_count),
        ),
        ReadShape::Tag => (
            Read::Tag(customer_tag(random % dataset.customer_count())),
            None,
        ),
        ReadShape::Topic => (
            Read::Topic(RARE_TOPIC),
            Some(dataset.event_count.div_ceil(crate::dataset::RARE_ONE_IN)),
        ),
    }
}

/// Reads of one shape from a store.
struct ShapeReader {
    recorder: Arc<dyn Recorder>,
    dataset: Dataset,
    shape: ReadShape,
    /// Number of completed reads.
    ordinal: u64,
}

impl ShapeReader {
    async fn read_until(mut self, watch: Stopwatch) -> Result<(Run, u64)> {
        let mut run = Run::new();
        while run.operation_count() == 0 || watch.has_time() {
            self.ordinal += 1;
            let (what, expected) = next_read(self.dataset, self.shape, self.ordinal);
            if let ReadShape::StreamAfterAppend = self.shape {
                let event = plain_event(self.ordinal, "read-stream-10-after-append");
                self.recorder.append(Append::of([event])).await?;
            }
            let start = Instant::now();
            let found = self.read(&what).await?;
            let latency = start.elapsed();
            run.add(latency, units(self.shape, &what, found, expected)?);
        }
        Ok((run.took(watch.elapsed()), self.ordinal))
    }

    async fn read(&self, read: &Read) -> Result<Found> {
        let recorder = &self.recorder;
        match read {
            Read::Log => read_pages(recorder, Query::All).await,
            Read::Tag(tag) => read_pages(recorder, Query::tag(Arc::clone(tag))).await,
            Read::Topic(topic) => read_pages(recorder, Query::topic(*topic)).await,
            Read::Stream(stream) => {
                let page = recorder
                    .read_stream(StreamRead::new(Arc::clone(stream)))
                    .await?;
                let mut found = Found::default();
                add_all(&mut found, &page.events);
                Ok(found)
            }
        }
    }
}

async fn read_pages(recorder: &Arc<dyn Recorder>, query: Query) -> Result<Found> {
    let mut found = Found::default();
    let mut after = None;
    loop {
        let page = recorder
            .read_log(LogRead::of(query.clone()).after_checkpoint(after))
            .await?;
        add_all(&mut found, &page.events);
        match page.end {
            PageEnd::Full => after = page.read_to,
            PageEnd::Complete => return Ok(found),
        }
    }
}

fn add_all(found: &mut Found, events: &[StoredEvent]) {
    for event in events {
        found.add(event.payload().map_or(0, <[u8]>::len));
    }
}
