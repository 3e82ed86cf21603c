//! Erasing a stream of 1,000 events in a log of a million, and appends by others in the meantime.
//!
//! The events of a stream are spread over the log, with others between them, so that each is in
//! another page of the store. Each has a tag of the stream, which is erased with the payload. The
//! streams are written before the time is taken.

use std::sync::Arc;
use std::time::{Duration, Instant};

use retold::recording::{
    Amendment, Append, Appended, ERASED_TOPIC, ErasedParts, EventId, NewEvent, Recorder, Version,
};
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::bench::Bench;
use crate::contender::{Contender, Result, RunFn};
use crate::dataset::{Dataset, plain_event};
use crate::sample::{Run, Stopwatch};
use crate::subject::Subject;
use crate::workload::append::{EventShape, Writer, write_together};

/// Number of streams that are written together, in turns.
const STREAMS_WRITTEN: usize = 20;
/// Number of events of each stream that are written by one append.
const ROUNDS_PER_APPEND: usize = 50;
/// Number of clients that append while streams are erased.
const CLIENT_COUNT: u64 = 8;
/// Number of the first client, far from those of other workloads on the log of orders.
const FIRST_WRITER: u64 = 1 << 41;

/// Returns all workloads of this module on `subject`.
pub(crate) fn contenders<'a>(bench: &'a Bench, subject: &'a Subject) -> Vec<Contender<'a>> {
    vec![
        erase_stream(bench, subject),
        append_during_erase(bench, subject),
    ]
}

fn erase_stream<'a>(bench: &'a Bench, subject: &'a Subject) -> Contender<'a> {
    Contender::new("erase-stream", subject.label, "streams", move || {
        let mut streams = Streams::new(bench, subject)?;
        Ok(Box::new(move |budget| {
            let mut run = Run::new();
            let mut elapsed = Duration::ZERO;
            while run.operation_count() == 0 || elapsed < budget {
                let erase = streams.next_erasure(&bench.many_threads)?;
                let recorder = Arc::clone(&streams.recorder);
                // In a task of the runtime, as in an application.
                let erased = bench.many_threads.spawn(timed(recorder, erase));
                let latency = bench.many_threads.block_on(erased)??;
                run.add(latency, 1);
                elapsed += latency;
            }
            Ok(run.took(elapsed))
        }) as RunFn<'a>)
    })
}

/// Appends of others, while one client erases one stream after the other.
fn append_during_erase<'a>(bench: &'a Bench, subject: &'a Subject) -> Contender<'a> {
    let runtime = &bench.many_threads;
    Contender::new(
        "append-8-during-erase",
        subject.label,
        "appends",
        move || {
            let streams = Streams::new(bench, subject)?;
            let ids = FIRST_WRITER..FIRST_WRITER + CLIENT_COUNT;
            let mut writers: Vec<Writer> =
                ids.map(|id| Writer::new(id, EventShape::Plain)).collect();
            Ok(Box::new(move |budget| {
                let erasures = streams.next_erasures(runtime)?;
                let recorder = Arc::clone(&streams.recorder);
                let eraser = runtime.spawn(async move {
                    let watch = Stopwatch::start(budget);
                    for erase in erasures {
                        if !watch.has_time() {
                            break;
                        }
                        timed(Arc::clone(&recorder), erase).await?;
                    }
                    Result::Ok(())
                });
                let writing =
                    write_together(&streams.recorder, std::mem::take(&mut writers), budget);
                let (run, returned) = runtime.block_on(writing)?;
                runtime.block_on(eraser)??;
                writers = returned;
                Ok(run)
            }) as RunFn<'a>)
        },
    )
}

/// Performs an erasure, and returns how long it took.
async fn timed(recorder: Arc<dyn Recorder>, erase: Append) -> Result<Duration> {
    let start = Instant::now();
    match recorder.append(erase).await? {
        Appended::Recorded(_) => Ok(start.elapsed()),
        other => Err(format!("{other:?}, although the stream was not erased before").into()),
    }
}

/// Streams in the log of orders that are to be erased.
struct Streams {
    recorder: Arc<dyn Recorder>,
    /// Number of events of each stream.
    length: u64,
    written: Vec<Arc<str>>,
}

impl Streams {
    fn new(bench: &Bench, subject: &Subject) -> Result<Self> {
        let is_full = bench.sizes.dataset == Dataset::FULL;
        Ok(Self {
            recorder: bench.orders(subject)?.recorder,
            length: if is_full { 1_000 } else { 20 },
            written: Vec::new(),
        })
    }

    /// Returns the append that erases the next stream, after writing some if there are none.
    fn next_erasure(&mut self, runtime: &Runtime) -> Result<Append> {
        if self.written.is_empty() {
            self.written = runtime.block_on(self.write())?;
        }
        let stream = self.written.pop().ok_or("no stream was written")?;
        Ok(erase(stream, self.length))
    }

    /// Returns the appends that erase newly written streams.
    fn next_erasures(&self, runtime: &Runtime) -> Result<Vec<Append>> {
        let streams = runtime.block_on(self.write())?;
        Ok(streams
            .into_iter()
            .map(|stream| erase(stream, self.length))
            .collect())
    }

    async fn write(&self) -> Result<Vec<Arc<str>>> {
        let name = |_| Arc::from(format!("erased/{}", Uuid::now_v7()));
        let streams: Vec<Arc<str>> = (0..STREAMS_WRITTEN).map(name).collect();
        let numbers: Vec<u64> = (0..self.length).collect();
        for round in numbers.chunks(ROUNDS_PER_APPEND) {
            let events = round.iter().flat_map(|number| {
                streams.iter().map(|stream| {
                    plain_event(*number, Arc::clone(stream)).tag(format!("of:{stream}"))
                })
            });
            self.recorder.append(Append::of(events)).await?;
        }
        Ok(streams)
    }
}

fn erase(stream: Arc<str>, length: u64) -> Append {
    let id = EventId::new(Uuid::now_v7());
    let record = NewEvent::new(id, ERASED_TOPIC, "{}").stream(Arc::clone(&stream));
    Append::of([record]).amendment(Amendment::EraseStream {
        stream,
        after: None,
        until: Version::new(length).expect("a stream is not empty"),
        parts: ErasedParts::ALL,
    })
}
