//! The sections of the demonstration of a cluster.

use std::collections::BTreeMap;

use retold_flights::input::Input;
use serde::Serialize;

use super::sections::aircraft_of;
use super::wrapped;
use crate::demo::DemoArguments;
use crate::demo::census::Census;
use crate::demo::cluster::course::{Plan, Summary};
use crate::demo::runs::Run;
use crate::output::{Report, counted, grouped};

/// What is run, and where.
#[derive(Debug, Serialize)]
pub(in crate::demo) struct ClusterBeginning {
    store: String,
    flights: u64,
    aircraft: u64,
    nodes: usize,
    callers: usize,
    kill_every_seconds: f64,
    seed: u64,
    #[serde(skip)]
    source: String,
}

impl ClusterBeginning {
    pub(in crate::demo) fn new(
        arguments: &DemoArguments,
        plan: &Plan,
        input: &Input,
        url: &str,
    ) -> Self {
        Self {
            store: url.to_owned(),
            flights: input.flights.len() as u64,
            aircraft: aircraft_of(&input.flights),
            nodes: plan.nodes,
            callers: plan.callers,
            kill_every_seconds: plan.kill_every.as_secs_f64(),
            seed: plan.seed,
            source: match &arguments.data {
                Some(path) => path.display().to_string(),
                None => "from New York City in January 2013".into(),
            },
        }
    }
}

impl Report for ClusterBeginning {
    fn lines(&self) -> Vec<String> {
        let mut lines = wrapped(&format!(
            "Three applications: aircraft follows flights, notices follows both. One caller sends \
             all commands to a system in memory, then {} send them through {} on one store. About \
             every {} s a process is killed (kill -9) and restarted.",
            counted(self.callers as u64, "caller", "callers"),
            counted(self.nodes as u64, "process", "processes"),
            self.kill_every_seconds
        ));
        lines.extend([
            String::new(),
            format!(
                "flights  {} by {} aircraft: {}",
                grouped(self.flights),
                grouped(self.aircraft),
                self.source
            ),
            format!("store    {}", self.store),
            format!("seed     {}", self.seed),
            String::new(),
        ]);
        lines
    }
}

/// The run in memory.
#[derive(Debug, Serialize)]
pub(in crate::demo) struct MemoryRun {
    memory: ExpectedNumbers,
    #[serde(skip)]
    commands: u64,
}

#[derive(Debug, Serialize)]
struct ExpectedNumbers {
    events: u64,
    seconds: f64,
}

impl MemoryRun {
    pub(in crate::demo) fn new(run: &Run) -> Self {
        Self {
            memory: ExpectedNumbers {
                events: run.census.total(),
                seconds: run.elapsed.as_secs_f64(),
            },
            commands: run.outcome.commands,
        }
    }
}

impl Report for MemoryRun {
    fn lines(&self) -> Vec<String> {
        wrapped(&format!(
            "One thread in memory: {}, {}, in {:.1} s.",
            counted(self.commands, "command", "commands"),
            counted(self.memory.events, "event", "events"),
            self.memory.seconds
        ))
    }
}

/// The run of the cluster.
#[derive(Debug, Serialize)]
pub(in crate::demo) struct ClusterRun {
    cluster: ClusterNumbers,
    /// From the last command until everything was processed.
    #[serde(skip)]
    lag_seconds: f64,
}

#[derive(Debug, Serialize)]
struct ClusterNumbers {
    commands: u64,
    aircraft_sent_again: u64,
    events: u64,
    seconds: f64,
    commands_seconds: f64,
    kills: u64,
    kills_by_node: BTreeMap<String, u64>,
    sleeps: u64,
    ended_by_themselves: u64,
    follower_moves: u64,
}

impl ClusterRun {
    pub(in crate::demo) fn new(summary: &Summary, commands: u64, census: &Census) -> Self {
        let lag = summary.elapsed.saturating_sub(summary.commands_elapsed);
        Self {
            cluster: ClusterNumbers {
                commands,
                aircraft_sent_again: summary.sent_again,
                events: census.total(),
                seconds: summary.elapsed.as_secs_f64(),
                commands_seconds: summary.commands_elapsed.as_secs_f64(),
                kills: summary.kill_count(),
                kills_by_node: summary.kills.iter().cloned().collect(),
                sleeps: summary.freezes,
                ended_by_themselves: summary.ended,
                follower_moves: summary.moves,
            },
            lag_seconds: lag.as_secs_f64(),
        }
    }
}

impl Report for ClusterRun {
    fn lines(&self) -> Vec<String> {
        let it = &self.cluster;
        let mut lines = wrapped(&format!(
            "The cluster: {}, {}, in {:.1} s; everything was processed {:.1} s after the last \
             command. The commands of {} aircraft were sent again, because the process that sent \
             them was killed; each is recorded once.",
            counted(it.commands, "command", "commands"),
            counted(it.events, "event", "events"),
            it.seconds,
            self.lag_seconds,
            grouped(it.aircraft_sent_again)
        ));
        let by_node = it.kills_by_node.iter();
        let by_node: Vec<_> = by_node
            .map(|(node, count)| format!("{node} {count}"))
            .collect();
        let mut text = format!(
            "{} and restarts ({}); {} of followers between nodes.",
            counted(it.kills, "kill", "kills"),
            by_node.join(", "),
            counted(it.follower_moves, "move", "moves")
        );
        if it.sleeps > 0 {
            text += &format!(
                " {} stopped until its leases had ended, then woken.",
                counted(it.sleeps, "process was", "processes were")
            );
        }
        if it.ended_by_themselves > 0 {
            text += &format!(
                " {} without being killed, and restarted.",
                counted(it.ended_by_themselves, "process ended", "processes ended")
            );
        }
        lines.extend(wrapped(&text));
        lines.push(String::new());
        lines
    }
}

/// The view that each node keeps.
#[derive(Debug, Serialize)]
pub(in crate::demo) struct Views {
    views: usize,
    views_that_differ: usize,
    #[serde(skip)]
    different: Vec<(String, String)>,
    #[serde(skip)]
    expected: String,
}

impl Views {
    pub(in crate::demo) fn new(expected: String, views: &[(String, String)]) -> Self {
        let different = views.iter().filter(|(_, view)| *view != expected);
        let different: Vec<_> = different.cloned().collect();
        Self {
            views: views.len(),
            views_that_differ: different.len(),
            different,
            expected,
        }
    }

    /// Returns whether all views are as expected.
    pub(in crate::demo) fn are_equal(&self) -> bool {
        self.different.is_empty()
    }
}

impl Report for Views {
    fn lines(&self) -> Vec<String> {
        let verdict = match self.views_that_differ {
            0 => "all equal to that of the single thread".to_owned(),
            count => format!("{count} DIFFER from that of the single thread"),
        };
        let mut lines = wrapped(&format!(
            "Views of the airlines' punctuality: {}, one per node, {verdict}.",
            self.views
        ));
        let expected = &self.expected;
        let different = self.different.iter();
        lines.extend(
            different.map(|(node, view)| format!("\n{node}: {view}\nexpected: {expected}\n")),
        );
        lines.push(String::new());
        lines
    }
}

/// The result of the demonstration.
#[derive(Debug, Serialize)]
pub(in crate::demo) struct ClusterConclusion {
    is_equal: bool,
    #[serde(skip)]
    nodes: u64,
    #[serde(skip)]
    kills: u64,
}

impl ClusterConclusion {
    pub(in crate::demo) fn new(summary: &Summary, is_equal: bool) -> Self {
        Self {
            is_equal,
            nodes: summary.kills.len() as u64,
            kills: summary.kill_count(),
        }
    }
}

impl Report for ClusterConclusion {
    fn lines(&self) -> Vec<String> {
        match self.is_equal {
            true => wrapped(&format!(
                "One thread in memory and {} with {} recorded the same: 0 differences.",
                counted(self.nodes, "process", "processes"),
                counted(self.kills, "kill", "kills")
            )),
            false => vec!["FAILED: the differences are shown above.".into()],
        }
    }
}
