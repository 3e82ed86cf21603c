//! A node of the demonstration as its parent has it: a process that is started, spoken to, listened to
//! and killed.
//!
//! A life is what is between a start and an end. What is heard of an earlier life is of no matter any
//! more, so each line that is heard says of which it is.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc::Sender;

use super::node::URL;
use super::word::Word;

/// What was heard of a node.
#[derive(Debug)]
pub(super) struct Heard {
    /// Index of the node.
    pub(super) node: usize,
    /// Which of its lives.
    pub(super) life: u64,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Said(Word),
    /// Something for people.
    Aside(String),
    /// Its output has ended, as it does with the process.
    Ended,
}

/// How nodes are started.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub(super) url: String,
    pub(super) data: Option<PathBuf>,
    pub(super) flights_max: Option<NonZeroUsize>,
    /// Where the first node answers for monitors; the others at the ports after it.
    pub(super) metrics: Option<SocketAddr>,
}

/// A process that lives, killed at the latest when it is dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    input: Option<ChildStdin>,
}

impl Process {
    /// Starts a node, to be listened to.
    pub(super) fn start(
        start: &Start,
        name: &str,
        (node, life): (usize, u64),
        heard: &Sender<Heard>,
    ) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["demo-node", "--name", name]);
        if let Some(data) = &start.data {
            command.arg("--data").arg(data);
        }
        if let Some(max) = start.flights_max {
            command.arg("--flights-max").arg(max.to_string());
        }
        if let Some(mut address) = start.metrics {
            let port = usize::from(address.port()) + node;
            address.set_port(u16::try_from(port).map_err(io::Error::other)?);
            command.arg("--metrics").arg(address.to_string());
        }
        command
            .env(URL, &start.url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // A key that interrupts the parent is the parent's alone.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn()?;
        let input = child.stdin.take();
        if let Some(output) = child.stdout.take() {
            tokio::spawn(listen(output, (node, life), heard.clone()));
        }
        if let Some(asides) = child.stderr.take() {
            tokio::spawn(overhear(asides, (node, life), heard.clone()));
        }
        Ok(Self { child, input })
    }

    /// Hands an itinerary to it. That it is gone is heard of otherwise.
    pub(super) async fn tell(&mut self, itinerary: usize) {
        if let Some(input) = &mut self.input {
            let _ = input.write_all(format!("{itinerary}\n").as_bytes()).await;
        }
    }

    /// Lets it come to its end.
    pub(super) fn finish(&mut self) {
        self.input = None;
    }

    /// Kills it without a word (`kill -9`).
    pub(super) async fn kill(mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// Waits until it is gone. Says how it ended, if that was not well.
    pub(super) async fn ended(mut self) -> Option<String> {
        match self.child.wait().await {
            Ok(status) if status.success() => None,
            Ok(status) => Some(status.to_string()),
            Err(error) => Some(error.to_string()),
        }
    }

    /// Stops it in the middle of whatever it does, for so long.
    pub(super) async fn freeze(&self, time: Duration) -> io::Result<()> {
        let Some(id) = self.child.id() else {
            return Ok(());
        };
        signal("STOP", id).await?;
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            // It may have been killed meanwhile.
            let _ = signal("CONT", id).await;
        });
        Ok(())
    }
}

/// Sends a signal by the shell, whose `kill` is on every machine of the kind.
async fn signal(signal: &str, id: u32) -> io::Result<()> {
    let command = format!("kill -{signal} {id}");
    let mut shell = Command::new("sh");
    shell.args(["-c", &command]).stderr(Stdio::null());
    shell.status().await.map(drop)
}

async fn listen(output: impl AsyncRead + Unpin, (node, life): (usize, u64), heard: Sender<Heard>) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let what = Word::parse(&line).map_or(What::Aside(line), What::Said);
        if heard.send(Heard { node, life, what }).await.is_err() {
            return;
        }
    }
    let what = What::Ended;
    let _ = heard.send(Heard { node, life, what }).await;
}

async fn overhear(
    asides: impl AsyncRead + Unpin,
    (node, life): (usize, u64),
    heard: Sender<Heard>,
) {
    let mut lines = BufReader::new(asides).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let what = What::Aside(line);
        if heard.send(Heard { node, life, what }).await.is_err() {
            return;
        }
    }
}
