//! Shows the progress of the demonstration of a cluster: at a terminal a bar for each node and one
//! for all, otherwise lines.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::output::{counted, grouped, note};

const ALL: &str = "{prefix:8} {bar:32} {human_pos} of {human_len} events, {msg} ({elapsed})";
const NODE: &str = "{prefix:8} {bar:32} {human_pos} commands, {msg}";

/// How often a line is written if there are no bars.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// The bars or lines.
pub(super) struct Bars {
    bars: MultiProgress,
    all: ProgressBar,
    nodes: Vec<ProgressBar>,
    is_terminal: bool,
    begun: Instant,
    written: Instant,
}

/// The progress of a node.
#[derive(Clone, Debug)]
pub(super) struct NodeProgress<'a> {
    pub(super) name: &'a str,
    pub(super) commands: u64,
    pub(super) status: String,
}

impl Bars {
    /// Shows bars for these nodes and the expected number of commands and events.
    pub(super) fn new(names: &[String], commands: u64, events: u64) -> Self {
        let bars = MultiProgress::new();
        let each = commands / names.len().max(1) as u64;
        let bar = |length, template: &str, prefix: &str| {
            let bar = bars.add(ProgressBar::new(length));
            let bar = match ProgressStyle::with_template(template) {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            };
            bar.with_prefix(prefix.to_owned())
        };
        let nodes = names.iter().map(|name| bar(each, NODE, name)).collect();
        let all = bar(events, ALL, "all");
        Self {
            nodes,
            all,
            bars,
            is_terminal: std::io::stderr().is_terminal(),
            begun: Instant::now(),
            written: Instant::now(),
        }
    }

    /// Shows the progress.
    pub(super) fn show(&mut self, events: u64, kills: u64, nodes: &[NodeProgress<'_>]) {
        self.all.set_position(events);
        self.all.set_message(counted(kills, "kill", "kills"));
        for (bar, node) in self.nodes.iter().zip(nodes) {
            bar.set_position(node.commands);
            bar.set_message(node.status.clone());
        }
        if !self.is_terminal && self.written.elapsed() >= LINE_INTERVAL {
            self.written = Instant::now();
            let nodes = nodes.iter().map(|node| {
                format!(
                    "{}: {} commands, {}",
                    node.name,
                    grouped(node.commands),
                    node.status
                )
            });
            let nodes: Vec<_> = nodes.collect();
            note(&format!(
                "{:.0} s: {} of {} events; {}",
                self.begun.elapsed().as_secs_f64(),
                grouped(events),
                grouped(self.all.length().unwrap_or_default()),
                nodes.join("; ")
            ));
        }
    }

    /// Prints a line above the bars.
    pub(super) fn print(&self, text: &str) {
        match self.is_terminal {
            // If this fails, the bars cannot be shown either.
            true => drop(self.bars.println(text)),
            false => note(text),
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        drop(self.bars.clear());
    }
}
