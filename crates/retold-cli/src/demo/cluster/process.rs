//! A node of the demonstration as its parent process sees it: a child process that it starts,
//! feeds, listens to and kills.
//!
//! A node has a new process after each restart. Messages of an earlier process no longer matter, so
//! each message carries the number of its process.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc::Sender;

use super::message::Message;
use super::node::URL;

/// Something that a node sent.
#[derive(Debug)]
pub(super) struct Heard {
    /// Index of the node.
    pub(super) node: usize,
    /// Number of its process.
    pub(super) process: u64,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Message(Message),
    /// A line for people, such as an error.
    Aside(String),
    /// Its output ended, because the process did.
    Ended,
}

/// How nodes are started.
#[derive(Clone, Debug)]
pub(super) struct NodeStart {
    pub(super) url: String,
    pub(super) data: Option<PathBuf>,
    pub(super) flights_max: Option<NonZeroUsize>,
    /// Where the first node serves its metrics. The others use the ports after it.
    pub(super) metrics: Option<SocketAddr>,
}

/// A process that runs. It is killed when this is dropped.
#[derive(Debug)]
pub(super) struct NodeProcess {
    child: Child,
    input: Option<ChildStdin>,
}

impl NodeProcess {
    /// Starts a node. Its messages go to `heard`.
    pub(super) fn start(
        start: &NodeStart,
        name: &str,
        (node, process): (usize, u64),
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
        // Ctrl-C at the terminal must not reach the child.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn()?;
        let input = child.stdin.take();
        let line = Line {
            node,
            process,
            heard: heard.clone(),
        };
        if let Some(output) = child.stdout.take() {
            tokio::spawn(line.clone().listen(output));
        }
        if let Some(asides) = child.stderr.take() {
            tokio::spawn(line.overhear(asides));
        }
        Ok(Self { child, input })
    }

    /// Gives an itinerary to it. If it has ended, [`What::Ended`] reports that.
    pub(super) async fn give(&mut self, itinerary: usize) {
        if let Some(input) = &mut self.input {
            let _ = input.write_all(format!("{itinerary}\n").as_bytes()).await;
        }
    }

    /// Asks it to finish and end.
    pub(super) fn finish(&mut self) {
        self.input = None;
    }

    /// Kills it (`kill -9`).
    pub(super) async fn kill(mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// Waits until it has ended. Returns its status if that is not success.
    pub(super) async fn ended(mut self) -> Option<String> {
        match self.child.wait().await {
            Ok(status) if status.success() => None,
            Ok(status) => Some(status.to_string()),
            Err(error) => Some(error.to_string()),
        }
    }

    /// Stops it (SIGSTOP) for a time.
    pub(super) async fn freeze(&self, time: Duration) -> io::Result<()> {
        let Some(id) = self.child.id() else {
            return Ok(());
        };
        signal("STOP", id).await?;
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            // It may have been killed in the meantime.
            let _ = signal("CONT", id).await;
        });
        Ok(())
    }
}

/// Sends a signal with the `kill` of the shell, which every Unix has.
async fn signal(signal: &str, id: u32) -> io::Result<()> {
    let command = format!("kill -{signal} {id}");
    let mut shell = Command::new("sh");
    shell.args(["-c", &command]).stderr(Stdio::null());
    shell.status().await.map(drop)
}

/// The process that messages come from, and where they go.
#[derive(Clone)]
struct Line {
    node: usize,
    process: u64,
    heard: Sender<Heard>,
}

impl Line {
    /// Returns whether there is still a receiver.
    async fn send(&self, what: What) -> bool {
        let (node, process) = (self.node, self.process);
        let heard = Heard {
            node,
            process,
            what,
        };
        self.heard.send(heard).await.is_ok()
    }

    /// Sends the output of the process: its messages, and its end.
    async fn listen(self, output: impl AsyncRead + Unpin) {
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let what = Message::parse(&line).map_or(What::Aside(line), What::Message);
            if !self.send(what).await {
                return;
            }
        }
        self.send(What::Ended).await;
    }

    /// Sends lines for people.
    async fn overhear(self, asides: impl AsyncRead + Unpin) {
        let mut lines = BufReader::new(asides).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if !self.send(What::Aside(line)).await {
                return;
            }
        }
    }
}
