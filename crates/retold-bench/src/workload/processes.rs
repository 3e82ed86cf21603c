//! Several processes with one database: writers of one log and of two, commands on one aggregate,
//! and a follower that runs in another process. The other processes are this program, started
//! again. They receive commands as lines on their input, reply with lines, and exit when the input
//! ends.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use retold::OpenApplication;
use retold::application::Application;
use retold::domain::{IdSource, UuidV7Source};
use retold::recording::{LogId, Recorder};
use retold::runner::{Cluster, ClusterOptions, MultiThread};
use retold::system::{Infrastructure, OpenSystem, Opening, Runner};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use super::append::{EventShape, Writer, write_together};
use super::application::change_one_basket;
use super::system::{
    BACKLOG_ONE_BY_ONE, BACKLOG_QUICK, check_effects, one_order, shop, shop_in_parts, with_backlog,
};
use crate::bench::Bench;
use crate::contender::{Contender, Result, RunFn};
use crate::dataset::Dataset;
use crate::sample::{Run, Stopwatch};
use crate::subject::{LOG, Subject, open_store, whole_text};

/// Number of writers per process.
const WRITER_COUNT: u64 = 32;
/// Number of writing processes.
const PROCESS_COUNT: u64 = 2;
/// Number of processes that contend for one aggregate, and of the tasks of each.
const CONTENDING_PROCESS_COUNT: u64 = 4;
const CONTENDING_TASK_COUNT: usize = 16;

/// The role of such a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ProcessRole {
    /// Writes on command, for the given time.
    Write,
    /// Sends commands to one aggregate on command, for the given time.
    Contend,
    /// Runs the followers of the shop.
    Follow,
    /// Joins the cluster of the shop, whose follower has this number of partitions.
    Join,
}

/// The result of a writing process.
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    latencies_ns: Vec<u64>,
}

/// Returns all workloads of this module on `subject`, if its logs are visible to other processes.
pub(crate) fn contenders<'a>(bench: &'a Bench, subject: &'a Subject) -> Vec<Contender<'a>> {
    if !subject.is_on_disk() {
        return Vec::new();
    }
    vec![
        writers(
            "append-2x32-one-log",
            subject,
            PROCESS_COUNT,
            ProcessRole::Write,
            |_| LOG.to_owned(),
        ),
        writers(
            "append-2x32-two-logs",
            subject,
            PROCESS_COUNT,
            ProcessRole::Write,
            |number| format!("{LOG}-{number}"),
        ),
        writers(
            "execute-4x16-one-aggregate",
            subject,
            CONTENDING_PROCESS_COUNT,
            ProcessRole::Contend,
            |_| LOG.to_owned(),
        ),
        latency(subject, &bench.many_threads),
        backlog("follow-1-process", bench, subject, (1, 1)),
        backlog("follow-4-partitions-2-processes", bench, subject, (4, 2)),
    ]
}

/// Processes with many writers each, on the logs of these names.
fn writers<'a>(
    name: &'static str,
    subject: &'a Subject,
    processes: u64,
    part: ProcessRole,
    log: impl Fn(u64) -> String + 'a,
) -> Contender<'a> {
    let unit = match part {
        ProcessRole::Contend => "commands",
        _ => "appends",
    };
    Contender::new(name, subject.label, unit, move || {
        let url = whole_text(&subject.url(name));
        let others = (0..processes).map(|number| Other::start(part, &url, &log(number), number));
        let mut others = others.collect::<Result<Vec<_>>>()?;
        Ok(Box::new(move |budget: Duration| {
            let start = Instant::now();
            for other in &mut others {
                other.send(&budget.as_micros().to_string())?;
            }
            let mut run = Run::new();
            for other in &mut others {
                let written: Written = serde_json::from_str(&other.hear()?)?;
                for nanos in written.latencies_ns {
                    run.add(Duration::from_nanos(nanos), 1);
                }
            }
            Ok(run.took(start.elapsed()))
        }) as RunFn<'a>)
    })
}

/// The time from the result of a command until this process sees the effect that a follower in
/// another process recorded, without other load.
fn latency<'a>(subject: &'a Subject, runtime: &'a Runtime) -> Contender<'a> {
    let name = "append-to-processed-elsewhere";
    Contender::new(name, subject.label, "commands", move || {
        let url = subject.url(name);
        let mut other = Other::start(ProcessRole::Follow, &whole_text(&url), LOG, 0)?;
        let open = runtime.block_on(async {
            let infrastructure = Infrastructure::new(open_store(&url).await?);
            Result::Ok(OpenSystem::open(&shop(1)?, &infrastructure, Opening::Write).await?)
        })?;
        Ok(Box::new(move |budget| {
            other.check()?;
            runtime.block_on(async {
                let orders = open.application("orders")?;
                let stock = Arc::clone(open.application("stock")?.recorder());
                let mut run = Run::new();
                let watch = Stopwatch::start(budget);
                while run.operation_count() == 0 || watch.has_time() {
                    let before = stock.head().await?;
                    one_order(orders, run.operation_count()).await?;
                    let start = Instant::now();
                    let mut seen = before.append_count;
                    while stock.head().await?.checkpoint == before.checkpoint {
                        seen = stock.changed_since(seen).await?;
                    }
                    run.add(start.elapsed(), 1);
                }
                Ok(run.took(watch.elapsed()))
            })
        }) as RunFn<'a>)
    })
}

/// A backlog that the follower in other processes works off, with one append per upstream event.
/// The time starts with the start of the first process.
fn backlog<'a>(
    name: &'static str,
    bench: &'a Bench,
    subject: &'a Subject,
    (partitions, processes): (u64, u64),
) -> Contender<'a> {
    let runtime = &bench.many_threads;
    let is_quick = bench.sizes.dataset == Dataset::QUICK;
    let backlog = if is_quick {
        BACKLOG_QUICK
    } else {
        BACKLOG_ONE_BY_ONE
    };
    Contender::new(name, subject.label, "upstream events", move || {
        let mut number = 0;
        Ok(Box::new(move |_| {
            number += 1;
            let infrastructure = runtime.block_on(with_backlog(subject, name, number, backlog))?;
            let url = whole_text(&subject.url(&format!("{name}-{number}")));
            let start = Instant::now();
            let nodes = (0..processes)
                .map(|node| Other::start(ProcessRole::Join, &url, &node.to_string(), partitions));
            let nodes = nodes.collect::<Result<Vec<_>>>()?;
            let took = runtime.block_on(async {
                let open = OpenSystem::open(&shop(1)?, &infrastructure, Opening::ReadOnly).await?;
                let stock = Arc::clone(open.application("stock")?.recorder());
                let mut seen = 0;
                while effect_count(&*stock).await? < backlog {
                    seen = stock.changed_since(seen).await?;
                }
                let took = start.elapsed();
                check_effects(&open, backlog).await?;
                Result::Ok(took)
            })?;
            drop(nodes);
            let mut run = Run::new();
            run.add(took, backlog);
            Ok(run.took(took))
        }) as RunFn<'a>)
    })
}

/// Number of effects in the log, which has one event of the follower itself before them.
async fn effect_count(stock: &dyn Recorder) -> Result<u64> {
    let head = stock.head().await?.position();
    Ok(head.map_or(0, |it| it.get()).saturating_sub(1))
}

/// Another process of this program.
struct Other {
    process: Child,
    /// Closing it ends the process.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Other {
    /// Starts it and waits until it is ready.
    fn start(part: ProcessRole, url: &str, log: &str, number: u64) -> Result<Self> {
        let part = match part {
            ProcessRole::Write => "write",
            ProcessRole::Contend => "contend",
            ProcessRole::Follow => "follow",
            ProcessRole::Join => "join",
        };
        let mut process = Command::new(std::env::current_exe()?)
            .args(["other-process", part, url, log, &number.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = process.stdin.take();
        let output = process.stdout.take().ok_or("its output is a pipe")?;
        let mut other = Self {
            process,
            input,
            output: BufReader::new(output),
        };
        match &*other.hear()? {
            "ready" => Ok(other),
            line => Err(format!("the other process printed {line:?}").into()),
        }
    }

    fn send(&mut self, line: &str) -> Result<()> {
        let input = self.input.as_mut().ok_or("its input is a pipe")?;
        writeln!(input, "{line}")?;
        Ok(input.flush()?)
    }

    fn hear(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        match line.strip_suffix('\n') {
            Some(line) => Ok(line.to_owned()),
            None => Err("the other process ended".into()),
        }
    }

    /// Checks that it still runs.
    fn check(&mut self) -> Result<()> {
        match self.process.try_wait()? {
            None => Ok(()),
            Some(status) => Err(format!("the other process ended: {status}").into()),
        }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.input.take());
        // The process ends with its input, whether or not waiting for it succeeds.
        let _ = self.process.wait();
    }
}

/// Runs the role of this process until its input ends.
///
/// # Errors
///
/// Errors of the store.
pub(crate) fn other_process(
    runtime: &Runtime,
    part: ProcessRole,
    url: &str,
    log: &str,
    number: u64,
) -> Result<()> {
    match part {
        ProcessRole::Write => write_alone(runtime, url, log, number),
        ProcessRole::Contend => contend(runtime, url, log),
        ProcessRole::Follow => follow_alone(runtime, url),
        ProcessRole::Join => join_cluster(runtime, url, log, number),
    }
}

fn write_alone(runtime: &Runtime, url: &str, log: &str, number: u64) -> Result<()> {
    let recorder: Arc<dyn Recorder> = runtime.block_on(async {
        let birth = LogId::new(UuidV7Source.next_id());
        Result::Ok(open_store(&url.parse()?).await?.open(log, birth).await?)
    })?;
    let ids = number * WRITER_COUNT..(number + 1) * WRITER_COUNT;
    let mut writers: Vec<Writer> = ids.map(|id| Writer::new(id, EventShape::Plain)).collect();
    println!("ready");
    for line in std::io::stdin().lines() {
        let budget = Duration::from_micros(line?.parse()?);
        let written = write_together(&recorder, std::mem::take(&mut writers), budget);
        let (run, returned) = runtime.block_on(written)?;
        writers = returned;
        let latencies_ns = run.latencies_ns().collect();
        println!("{}", serde_json::to_string(&Written { latencies_ns })?);
    }
    Ok(())
}

/// Commands of many tasks on one aggregate.
fn contend(runtime: &Runtime, url: &str, log: &str) -> Result<()> {
    let application = runtime.block_on(Application::open(log, url))?;
    println!("ready");
    for line in std::io::stdin().lines() {
        let budget = Duration::from_micros(line?.parse()?);
        let run = runtime.block_on(async {
            let watch = Stopwatch::start(budget);
            let tasks: Vec<_> = (0..CONTENDING_TASK_COUNT)
                .map(|_| {
                    let application = application.clone();
                    tokio::spawn(async move { change_one_basket(&application, watch).await })
                })
                .collect();
            let mut run = Run::new();
            for task in tasks {
                run.merge(&task.await??);
            }
            Result::Ok(run)
        })?;
        let latencies_ns = run.latencies_ns().collect();
        println!("{}", serde_json::to_string(&Written { latencies_ns })?);
    }
    Ok(())
}

/// The parent process holds the input open.
fn until_input_ends() -> Result<()> {
    std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())?;
    Ok(())
}

fn follow_alone(runtime: &Runtime, url: &str) -> Result<()> {
    let runner = runtime.block_on(async {
        let infrastructure = Infrastructure::new(open_store(&url.parse()?).await?);
        Result::Ok(MultiThread::start(&shop(1)?, &infrastructure).await?)
    })?;
    println!("ready");
    until_input_ends()?;
    drop(runtime.block_on(runner.stop()));
    Ok(())
}

fn join_cluster(runtime: &Runtime, url: &str, node: &str, partitions: u64) -> Result<()> {
    let node = runtime.block_on(async {
        let infrastructure = Infrastructure::new(open_store(&url.parse()?).await?);
        let system = shop_in_parts(1, u32::try_from(partitions)?)?;
        let options = ClusterOptions::new();
        Result::Ok(Cluster::join(&system, &infrastructure, node, options).await?)
    })?;
    println!("ready");
    until_input_ends()?;
    drop(runtime.block_on(node.stop()));
    Ok(())
}
