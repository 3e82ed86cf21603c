//! Processes that write to one log while others follow it. Counts the events that readers skip, see
//! twice or never see.
//!
//! `cargo xtask tail --appends 1000000` is the large form; a test runs a small one. Readers start
//! before the first append, read forward only, and wait for hints. When the writers are done, each
//! reader is sent the position of the log's end and the acknowledged events.

mod lane;

mod writing;

mod reading;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::time::Instant;

use clap::{Args, Subcommand};
use retold::recording::Position;
use retold::uuid::Uuid;

use crate::contender::Result;

/// The size of the test, and its store.
#[derive(Args, Debug)]
pub(crate) struct Tail {
    /// The store: postgres://…, or sqlite:PATH.
    #[arg(long)]
    url: String,
    /// Total number of appends of all writers.
    #[arg(long, default_value_t = 100_000)]
    appends: u64,
    /// Number of writing processes.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64))]
    writers: u32,
    /// Number of reading processes.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    readers: u32,
}

/// One of the processes.
#[derive(Debug, Subcommand)]
pub(crate) enum TailPart {
    /// Writes.
    Writer {
        url: String,
        log: String,
        number: u32,
        appends: u64,
    },
    /// Reads.
    Reader {
        url: String,
        log: String,
        writers: u32,
    },
}

impl TailPart {
    /// Runs this process.
    pub(crate) fn run(&self) -> Result<ExitCode> {
        runtime()?.block_on(async {
            match self {
                Self::Writer {
                    url,
                    log,
                    number,
                    appends,
                } => writing::write(url, log, *number, *appends).await,
                Self::Reader { url, log, writers } => reading::read(url, log, *writers).await,
            }
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The report of a reader at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ReaderReport {
    events: u64,
    skipped: u64,
    doubled: u64,
    lost: u64,
    order: u64,
}

impl Tail {
    /// Starts the processes, waits for them, and prints the counts. The exit code is 1 if any event
    /// was skipped, duplicated or lost, or the readers saw different orders.
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let log = format!("tail-{}", Uuid::now_v7());
        let runtime = runtime()?;
        // The first opening creates the schema and the log; do it once here.
        let store = runtime.block_on(retold::open_store(&self.url))?;
        let recorder = runtime.block_on(writing::open_log(&store, &log))?;
        let writers = self.writers.to_string();
        let mut readers = Vec::new();
        for _ in 0..self.readers {
            let mut reader = TailProcess::start(&["reader", &self.url, &log, &writers])?;
            reader.line("reading")?;
            readers.push(reader);
        }
        let begun = Instant::now();
        let mut writing = Vec::new();
        for number in 0..self.writers {
            let count = u64::from(self.writers);
            let share = self.appends / count + u64::from(u64::from(number) < self.appends % count);
            let (number, share) = (number.to_string(), share.to_string());
            writing.push(TailProcess::start(&[
                "writer", &self.url, &log, &number, &share,
            ])?);
        }
        let mut acknowledged = Vec::new();
        for writer in &mut writing {
            acknowledged.extend(writer.numbers("acknowledged")?);
        }
        let seconds = begun.elapsed().as_secs_f64();
        let head = runtime.block_on(recorder.head())?.position();
        let numbers = std::iter::once(Position::number(head)).chain(acknowledged.iter().copied());
        let line: Vec<_> = numbers.map(|it| it.to_string()).collect();
        let mut seen = Vec::new();
        for reader in &mut readers {
            reader.send(&line.join(" "))?;
        }
        for reader in &mut readers {
            seen.push(reader.seen()?);
        }
        Ok(self.report(acknowledged.iter().sum(), &seen, seconds))
    }

    fn report(&self, acknowledged: u64, seen: &[ReaderReport], seconds: f64) -> ExitCode {
        let sum = |count: fn(&ReaderReport) -> u64| seen.iter().map(count).sum::<u64>();
        let (skipped, doubled) = (sum(|it| it.skipped), sum(|it| it.doubled));
        let lost = sum(|it| it.lost);
        let agree = seen.windows(2).all(|it| it[0] == it[1])
            && seen.iter().all(|it| it.events == acknowledged);
        let order = if agree {
            "one order"
        } else {
            "they saw different logs"
        };
        println!(
            "{} appends with {acknowledged} events by {} processes in {seconds:.1} s \
             ({:.0} appends/s), \
             followed by {} processes: {skipped} skipped, {doubled} doubled, {lost} lost, {order}",
            self.appends,
            self.writers,
            self.appends as f64 / seconds,
            self.readers,
        );
        match (skipped, doubled, lost, agree) {
            (0, 0, 0, true) => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?)
}

/// A process of this program, killed when dropped.
struct TailProcess {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl TailProcess {
    fn start(arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("tail-part").args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let output = child.stdout.take().ok_or("a process has no output")?;
        Ok(Self {
            child,
            lines: BufReader::new(output),
        })
    }

    /// Returns the rest of the next line, which must begin with this word.
    fn line(&mut self, word: &str) -> Result<String> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        match line.strip_prefix(word) {
            Some(rest) => Ok(rest.to_owned()),
            None => Err(format!("a process printed {line:?} instead of {word:?}").into()),
        }
    }

    fn numbers(&mut self, word: &str) -> Result<Vec<u64>> {
        let line = self.line(word)?;
        let numbers = line.split_whitespace().map(|it| Ok(it.parse()?));
        numbers.collect()
    }

    fn send(&mut self, line: &str) -> Result<()> {
        let input = self.child.stdin.as_mut().ok_or("a process has no input")?;
        writeln!(input, "{line}")?;
        Ok(input.flush()?)
    }

    fn seen(&mut self) -> Result<ReaderReport> {
        match self.numbers("saw")?[..] {
            [events, skipped, doubled, lost, order] => Ok(ReaderReport {
                events,
                skipped,
                doubled,
                lost,
                order,
            }),
            _ => Err("a reader did not print its results".into()),
        }
    }
}

impl Drop for TailProcess {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
