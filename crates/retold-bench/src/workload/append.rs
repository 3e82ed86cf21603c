//! Appends of one event: by one writer, by many, and with conditions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use retold::recording::{Append, Condition, ExpectedVersion, Query, Recorder, Version};
use retold::store_url::StoreUrl;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use crate::bare::BareLog;
use crate::bench::Bench;
use crate::contender::{Contender, Result, RunFn};
use crate::dataset::{plain_event, scramble, stream_name};
use crate::sample::{Run, Stopwatch};
use crate::subject::{Subject, open_log};

/// Number of events in a stream before a writer begins the next, similar to aggregates.
const EVENTS_PER_STREAM: u64 = 10;

/// Number of appends that the bare driver commits together, for comparison with the same number of
/// writers.
const GROUP_SIZE: usize = 64;

/// Interval of the heartbeats.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(1);

/// The kind of event that a writer appends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum EventShape {
    /// An event in a stream.
    Plain,
    /// An event in a stream that must be at the version where the writer left it.
    StreamAt,
    /// An event in a stream, with a tag that no other event has.
    NoneMatchTag,
}

/// Returns all workloads of this module on `subject`, and the same on the bare driver.
pub(crate) fn contenders<'a>(bench: &'a Bench, subject: &'a Subject) -> Vec<Contender<'a>> {
    let many = &bench.many_threads;
    let one = &bench.one_thread;
    let writers = |name, runtime, count, shape| writers(name, subject, runtime, count, shape);
    let mut contenders = vec![
        writers("append-1", many, 1, EventShape::Plain),
        writers("append-2", many, 2, EventShape::Plain),
        writers("append-4", many, 4, EventShape::Plain),
        writers("append-8", many, 8, EventShape::Plain),
        writers("append-16", many, 16, EventShape::Plain),
        writers("append-64", many, 64, EventShape::Plain),
        writers("append-1-current-thread", one, 1, EventShape::Plain),
        writers("append-64-current-thread", one, 64, EventShape::Plain),
        writers("append-stream-at", many, 1, EventShape::StreamAt),
        writers("append-none-match-tag", many, 1, EventShape::NoneMatchTag),
        writers("append-8-none-match-tag", many, 8, EventShape::NoneMatchTag),
    ];
    if subject.is_on_disk() {
        contenders.extend([
            heartbeat("append-heartbeat-1", subject, many, 1),
            heartbeat("append-heartbeat-8", subject, many, 8),
            heartbeat("append-heartbeat-64", subject, many, 64),
        ]);
    }
    if let Some(label) = subject.bare_label() {
        let bare = |name, group, shape| bare(name, label, subject, many, group, shape);
        contenders.extend([
            bare("append-1", 1, EventShape::Plain),
            bare("append-2", 2, EventShape::Plain),
            bare("append-4", 4, EventShape::Plain),
            bare("append-8", 8, EventShape::Plain),
            bare("append-16", 16, EventShape::Plain),
            bare("append-64", GROUP_SIZE, EventShape::Plain),
            bare("append-none-match-tag", 1, EventShape::NoneMatchTag),
        ]);
    }
    contenders
}

fn writers<'a>(
    name: &'static str,
    subject: &'a Subject,
    runtime: &'a Runtime,
    count: u64,
    shape: EventShape,
) -> Contender<'a> {
    Contender::new(name, subject.label, "appends", move || {
        let open = || runtime.block_on(open_log(&subject.url(name)));
        let begin = move || (0..count).map(|id| Writer::new(id, shape)).collect();
        let (mut recorder, mut writers): (_, Vec<Writer>) = (open()?, begin());
        Ok(Box::new(move |budget| {
            if !subject.is_on_disk() {
                // A memory log grows by a gigabyte in a few runs.
                (recorder, writers) = (open()?, begin());
            }
            let (run, returned) = runtime.block_on(write_together(
                &recorder,
                std::mem::take(&mut writers),
                budget,
            ))?;
            writers = returned;
            Ok(run)
        }) as RunFn<'a>)
    })
}

/// Runs every writer in its own task.
pub(crate) async fn write_together(
    recorder: &Arc<dyn Recorder>,
    writers: Vec<Writer>,
    budget: Duration,
) -> Result<(Run, Vec<Writer>)> {
    let watch = Stopwatch::start(budget);
    let tasks: Vec<_> = writers
        .into_iter()
        .map(|mut writer| {
            let recorder = Arc::clone(recorder);
            tokio::spawn(async move {
                let run = write_until(&recorder, &mut writer, watch).await?;
                Result::Ok((run, writer))
            })
        })
        .collect();
    let mut all = Run::new();
    let mut writers = Vec::new();
    for task in tasks {
        let (run, writer) = task.await??;
        all.merge(&run);
        writers.push(writer);
    }
    Ok((all.took(watch.elapsed()), writers))
}

async fn write_until(
    recorder: &Arc<dyn Recorder>,
    writer: &mut Writer,
    watch: Stopwatch,
) -> Result<Run> {
    let mut run = Run::new();
    while run.operation_count() == 0 || watch.has_time() {
        let append = writer.next();
        let start = Instant::now();
        recorder.append(append).await?;
        run.add(start.elapsed(), 1);
        // An append that completes without waiting would starve the other writers.
        tokio::task::yield_now().await;
    }
    Ok(run)
}

/// Measures how late a task runs that is woken once per [`HEARTBEAT_INTERVAL`], while writers
/// append on the same runtime. A write that blocks a thread of the runtime delays it.
fn heartbeat<'a>(
    name: &'static str,
    subject: &'a Subject,
    runtime: &'a Runtime,
    count: u64,
) -> Contender<'a> {
    Contender::new(name, subject.label, "heartbeats", move || {
        let recorder = runtime.block_on(open_log(&subject.url(name)))?;
        let mut writers: Vec<Writer> = (0..count)
            .map(|id| Writer::new(id, EventShape::Plain))
            .collect();
        Ok(Box::new(move |budget| {
            runtime.block_on(async {
                let (sender, mut beats) = mpsc::unbounded_channel::<Instant>();
                let listening = tokio::spawn(async move {
                    let mut run = Run::new();
                    while let Some(sent) = beats.recv().await {
                        run.add(sent.elapsed(), 1);
                    }
                    run
                });
                let watch = Stopwatch::start(budget);
                let beating = std::thread::spawn(move || {
                    while watch.has_time() && sender.send(Instant::now()).is_ok() {
                        std::thread::sleep(HEARTBEAT_INTERVAL);
                    }
                });
                let appending = std::mem::take(&mut writers);
                let (_, returned) = write_together(&recorder, appending, budget).await?;
                writers = returned;
                let run = listening.await?.took(watch.elapsed());
                beating
                    .join()
                    .map_err(|_| "the thread that sends heartbeats panicked")?;
                Ok(run)
            })
        }) as RunFn<'a>)
    })
}

/// Writes the same rows with the bare driver, `group` appends per transaction.
fn bare<'a>(
    name: &'static str,
    label: &'static str,
    subject: &'a Subject,
    runtime: &'a Runtime,
    group: usize,
    shape: EventShape,
) -> Contender<'a> {
    Contender::new(name, label, "appends", move || {
        let url: StoreUrl = subject.url(&format!("bare-{name}"));
        let mut log = BareLog::create(runtime, &url)?;
        let mut writers: Vec<Writer> = (0..group as u64).map(|id| Writer::new(id, shape)).collect();
        Ok(Box::new(move |budget| {
            let mut run = Run::new();
            let watch = Stopwatch::start(budget);
            while run.operation_count() == 0 || watch.has_time() {
                let appends: Vec<Append> = writers.iter_mut().map(Writer::next).collect();
                let start = Instant::now();
                log.append_group(&appends)?;
                let latency = start.elapsed();
                appends.iter().for_each(|_| run.add(latency, 1));
            }
            Ok(run.took(watch.elapsed()))
        }) as RunFn<'a>)
    })
}

/// A writer that appends events one by one, to one stream after the other.
#[derive(Debug)]
pub(crate) struct Writer {
    id: u64,
    shape: EventShape,
    /// Number of appended events.
    count: u64,
    /// The stream of the next event.
    stream: Arc<str>,
}

impl Writer {
    /// Creates a writer with its own streams.
    pub(crate) fn new(id: u64, shape: EventShape) -> Self {
        Self {
            id,
            shape,
            count: 0,
            stream: stream_of(id, 0),
        }
    }

    fn next(&mut self) -> Append {
        let version = self.count % EVENTS_PER_STREAM;
        if version == 0 {
            self.stream = stream_of(self.id, self.count / EVENTS_PER_STREAM);
        }
        let number = scramble(self.id).wrapping_add(self.count);
        let event = plain_event(number, Arc::clone(&self.stream));
        self.count += 1;
        match self.shape {
            EventShape::Plain => Append::new().event(event),
            EventShape::StreamAt => {
                let expected = ExpectedVersion::seen(Version::new(version));
                let condition = Condition::stream_at(Arc::clone(&self.stream), expected);
                Append::new().event(event).condition(condition)
            }
            EventShape::NoneMatchTag => {
                let tag: Arc<str> = format!("request:{}", event.id).into();
                let condition = Condition::none_match(Query::tag(Arc::clone(&tag)));
                Append::new().event(event.tag(tag)).condition(condition)
            }
        }
    }
}

fn stream_of(writer: u64, ordinal: u64) -> Arc<str> {
    stream_name(scramble(writer).wrapping_add(ordinal))
}
