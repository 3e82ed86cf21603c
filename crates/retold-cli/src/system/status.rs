//! `retold system status`: shows the nodes, leases, followers and views of all systems on a store.
//! It reads only the store and needs no code of the systems.

use std::sync::Arc;
use std::time::Duration;

use retold::prelude::Timestamp;
use retold::recording::{Checkpoint, LogRead, Position, Store};
use retold::runner::{ClusterOverview, NodeStatus, UnitOverview};
use serde::Serialize;

use crate::failure::{CommandFailure, CommandVerdict};
use crate::follower::list::{self, FollowerRecord, Held};
use crate::opening;
use crate::output::{Output, Record, counted, note, one_line};
use crate::state::{self, State, States};
use crate::table::Column;

/// Show the nodes that run systems on a store, the units that each node holds, and the progress of
/// each follower and view.
///
/// The command reads only the store: it takes no lease and writes nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = after_help())]
pub(crate) struct SystemStatusArguments {
    /// The store, for example postgres://localhost/shop or sqlite:flights.db
    url: String,
    /// Refresh every SECONDS, until Ctrl-C [default: 2]
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        default_missing_value = "2",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    watch: Option<u64>,
}

fn after_help() -> String {
    let states = state::help(&State::OF_VIEWS);
    format!("{KINDS}\n\nStates of views:\n{states}\n\n{NOTES}")
}

const KINDS: &str = "\
Kinds of rows:
  node      a process
  follower  a unit that one node holds; so are timers and view
  progress  a follower in a log that it follows, as in `retold follower list`
  rows      the tables of a view in this store

Columns: LEASE is the number of seconds until a node counts as dead, unless it renews its lease. \
TERM is the number of times that a unit moved between nodes, FINDING its present problem or why it \
was retired, LAST ERROR the last one of any node. The LAG of a view counts all events after its \
checkpoint; up to 1,000 of them may not concern the view.";

const NOTES: &str = "\
A program that runs alone has no row of kind node, but holds its units as the node `process ID`. \
With one thread it renews its leases only when it is used, so after three minutes without use its \
followers are listed as stopped.

Examples:
  retold system status postgres://localhost/shop --watch
  retold system status sqlite:flights.db --json | jq 'select(.kind == \"node\")'";

#[derive(Debug, Serialize)]
struct NodeRecord {
    kind: &'static str,
    system: Arc<str>,
    node: Arc<str>,
    units: usize,
    since: Timestamp,
    lease_seconds: f64,
}

#[derive(Debug, Serialize)]
struct UnitRecord {
    kind: Arc<str>,
    system: Arc<str>,
    /// Application, name, and partition or version.
    unit: String,
    node: Option<Arc<str>>,
    term: u64,
    lease_seconds: Option<f64>,
    /// The trouble that its node reports, such as `parked`, with the node and the reason.
    finding: Option<String>,
    /// The reason why it was retired.
    retired: Option<String>,
    last_error: Option<String>,
    last_error_at: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct ProgressRecord {
    kind: &'static str,
    /// The nodes that hold the follower or its partitions.
    nodes: Vec<Arc<str>>,
    #[serde(flatten)]
    follower: FollowerRecord,
}

/// The tables of a view and their progress.
#[derive(Debug, Serialize)]
struct ViewRecord {
    kind: &'static str,
    view: Arc<str>,
    version: u32,
    upstream: Arc<str>,
    checkpoint: u64,
    head: Option<u64>,
    lag_events: Option<u64>,
    skipped: u64,
    is_seen: bool,
    is_known: bool,
    /// The most important of its states.
    state: State,
    #[serde(skip)]
    states: States,
}

impl Record for ViewRecord {
    const COLUMNS: &'static [Column] = &[
        Column::name("KIND"),
        Column::name("VIEW"),
        Column::number("VERSION"),
        Column::name("UPSTREAM"),
        Column::number("CHECKPOINT"),
        Column::number("HEAD"),
        Column::number("LAG"),
        Column::number("SKIPPED"),
        Column::text("STATE"),
    ];

    fn cells(&self) -> Vec<String> {
        let or_dash = |it: Option<u64>| it.map_or_else(|| "-".into(), |it| it.to_string());
        vec![
            self.kind.into(),
            self.view.to_string(),
            self.version.to_string(),
            self.upstream.to_string(),
            self.checkpoint.to_string(),
            or_dash(self.head),
            or_dash(self.lag_events),
            self.skipped.to_string(),
            self.states.to_string(),
        ]
    }
}

impl Record for NodeRecord {
    const COLUMNS: &'static [Column] = &[
        Column::name("KIND"),
        Column::name("SYSTEM"),
        Column::name("NODE"),
        Column::number("UNITS"),
        Column::time("SINCE"),
        Column::number("LEASE"),
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.kind.into(),
            self.system.to_string(),
            self.node.to_string(),
            self.units.to_string(),
            self.since.to_string(),
            format!("{:.1}", self.lease_seconds),
        ]
    }
}

impl Record for UnitRecord {
    const COLUMNS: &'static [Column] = &[
        Column::name("KIND"),
        Column::name("SYSTEM"),
        Column::name("UNIT"),
        Column::name("NODE"),
        Column::number("TERM"),
        Column::number("LEASE"),
        Column::text("FINDING"),
        Column::text("LAST ERROR"),
    ];

    fn cells(&self) -> Vec<String> {
        let lease = self.lease_seconds.map(|it| format!("{it:.1}"));
        let retired = self.retired.as_ref();
        let retired = retired.map(|it| format!("{}: {}", State::Retired.name(), one_line(it)));
        let finding = retired.or_else(|| self.finding.as_deref().map(one_line));
        let error = self.last_error_at.zip(self.last_error.as_deref());
        let error = error.map(|(at, error)| format!("{at} {}", one_line(error)));
        vec![
            self.kind.to_string(),
            self.system.to_string(),
            self.unit.clone(),
            self.node.as_deref().unwrap_or("-").to_owned(),
            self.term.to_string(),
            lease.unwrap_or_else(|| "-".into()),
            finding.unwrap_or_else(|| "-".into()),
            error.unwrap_or_else(|| "-".into()),
        ]
    }
}

impl Record for ProgressRecord {
    const COLUMNS: &'static [Column] = &[
        Column::name("KIND"),
        Column::name("LOG"),
        Column::name("FOLLOWER"),
        Column::name("UPSTREAM"),
        Column::number("CHECKPOINT"),
        Column::number("HEAD"),
        Column::number("LAG"),
        Column::number("SECONDS"),
        Column::number("PARKED"),
        Column::text("STATE"),
        Column::name("NODE"),
    ];

    /// Without the positions, so that the table fits 80 columns.
    const COLUMNS_BRIEF: &'static [Column] = &[
        Column::name("KIND"),
        Column::name("LOG"),
        Column::name("FOLLOWER"),
        Column::name("UPSTREAM"),
        Column::number("LAG"),
        Column::number("SECONDS"),
        Column::number("PARKED"),
        Column::text("STATE"),
        Column::name("NODE"),
    ];

    fn cells(&self) -> Vec<String> {
        let mut cells = vec![self.kind.to_owned()];
        cells.extend(self.follower.cells());
        cells.push(match self.nodes.is_empty() {
            true => "-".into(),
            false => self.nodes.join(", "),
        });
        cells
    }
}

pub(crate) async fn run(
    arguments: SystemStatusArguments,
    output: &mut Output,
) -> Result<CommandVerdict, CommandFailure> {
    let store = opening::store(&arguments.url).await?;
    let Some(seconds) = arguments.watch else {
        show(&store, output).await?;
        return Ok(CommandVerdict::Fine);
    };
    let mut looks = tokio::time::interval(Duration::from_secs(seconds));
    loop {
        looks.tick().await;
        output.new_page()?;
        match show(&store, output).await {
            // The store may be reachable again at the next refresh.
            Err(CommandFailure::Failed(reason)) => note(&reason),
            shown => shown?,
        }
        output.show()?;
    }
}

async fn show(store: &Arc<dyn Store>, output: &mut Output) -> Result<(), CommandFailure> {
    let clusters = ClusterOverview::read_all(&**store).await?;
    let held = Held::of(&clusters);
    let followers = list::all(store, &held).await?;
    let views = views(&**store, &held).await?;
    if clusters.is_empty() && followers.is_empty() && views.is_empty() {
        note("no system has run on this store: it has no leases, followers or views");
        return Ok(());
    }
    let nodes = clusters.iter().flat_map(|cluster| {
        let nodes = cluster.nodes.iter();
        nodes.map(|node| node_record(cluster, node))
    });
    let nodes: Vec<_> = nodes.collect();
    let units = clusters.iter().flat_map(|cluster| {
        let units = cluster.units.iter();
        units.map(|unit| unit_record(cluster, unit))
    });
    let units: Vec<_> = units.collect();
    let followers = followers.into_iter().map(|follower| ProgressRecord {
        kind: "progress",
        nodes: nodes_of(&clusters, &follower),
        follower,
    });
    let followers: Vec<_> = followers.collect();
    output.new_table();
    if !nodes.is_empty() {
        output.records(&nodes)?;
    }
    output.new_table();
    if !units.is_empty() {
        output.records(&units)?;
    }
    output.new_table();
    if !followers.is_empty() {
        output.records(&followers)?;
    }
    output.new_table();
    if !views.is_empty() {
        output.records(&views)?;
    }
    Ok(())
}

/// Returns a record for each view that has tables in the store.
async fn views(store: &dyn Store, held: &Held) -> Result<Vec<ViewRecord>, CommandFailure> {
    let logs = opening::logs(store).await?;
    let mut records = Vec::new();
    for view in store.views().await? {
        let checkpoint = number(view.checkpoint);
        let names = [&*view.upstream, &*view.name, &*view.version.to_string()];
        let is_known = held.has("view", &names);
        let mut states = States::default();
        let (mut head, mut lag_events) = (None, None);
        match logs.iter().find(|log| log.name == view.upstream) {
            None => {}
            Some(log) if log.id != view.log => states.add_with(
                State::Diverged,
                format!(
                    "its rows are of the log {}, but {:?} of this store is {}",
                    view.log, view.upstream, log.id
                ),
            ),
            Some(log) => {
                let recorder = store.open_read_only(&log.name).await?;
                let end = number(recorder.head().await?.checkpoint);
                (head, lag_events) = (Some(end), end.checked_sub(checkpoint));
                if let Some(checkpoint) = view.checkpoint {
                    let there = recorder.read_log(LogRead::at(checkpoint.position)).await?;
                    if there.events.first().map(|event| event.checkpoint()) != Some(checkpoint) {
                        states.add_with(
                            State::Diverged,
                            "the log does not have the event of the checkpoint",
                        );
                    }
                }
            }
        }
        if !view.is_seen {
            states.add_with(State::Building, "readers see an older version");
        }
        if view.skipped > 0 {
            let skipped = format!("skipped {}", counted(view.skipped, "event", "events"));
            states.add_with(State::Incomplete, skipped);
        }
        let lease = match is_known {
            true => State::Running,
            false => State::Stopped,
        };
        let is_remote = !logs.iter().any(|log| log.name == view.upstream);
        match is_remote {
            true => states.add_with(lease, "it shows a log of another store"),
            false if !is_known || states.is_empty() => states.add(lease),
            false => {}
        }
        records.push(ViewRecord {
            kind: "rows",
            view: view.name,
            version: view.version,
            upstream: view.upstream,
            checkpoint,
            head,
            lag_events,
            skipped: view.skipped,
            is_seen: view.is_seen,
            is_known,
            state: states.first(),
            states,
        });
    }
    Ok(records)
}

fn number(checkpoint: Option<Checkpoint>) -> u64 {
    Position::number(checkpoint.map(|checkpoint| checkpoint.position))
}

fn node_record(cluster: &ClusterOverview, node: &NodeStatus) -> NodeRecord {
    NodeRecord {
        kind: "node",
        system: Arc::clone(&cluster.system),
        node: Arc::clone(&node.name),
        units: node.unit_count,
        since: node.since,
        lease_seconds: seconds_until(node.lease_ends_at, cluster.now),
    }
}

fn unit_record(cluster: &ClusterOverview, unit: &UnitOverview) -> UnitRecord {
    let ends_at = unit.lease_ends_at;
    let finding = unit.finding.as_ref();
    UnitRecord {
        kind: Arc::clone(&unit.kind),
        system: Arc::clone(&cluster.system),
        unit: unit.names.join("/"),
        node: unit.node.clone(),
        term: unit.term,
        lease_seconds: ends_at.map(|at| seconds_until(at, cluster.now)),
        finding: finding.map(|(trouble, reason)| format!("{trouble} {reason}")),
        retired: unit.retired.as_ref().map(|(_, reason)| reason.clone()),
        last_error_at: unit.last_error.as_ref().map(|(at, _)| *at),
        last_error: unit.last_error.as_ref().map(|(_, error)| error.clone()),
    }
}

/// Returns the nodes that hold a follower or one of its partitions.
fn nodes_of(clusters: &[ClusterOverview], follower: &FollowerRecord) -> Vec<Arc<str>> {
    let units = clusters.iter().flat_map(|cluster| &cluster.units);
    let its = units.filter(|unit| {
        let mut names = unit.names.iter();
        &*unit.kind == "follower"
            && names.next() == Some(&follower.log)
            && names.next() == Some(&follower.follower)
    });
    let mut nodes: Vec<_> = its.filter_map(|unit| unit.node.clone()).collect();
    nodes.sort();
    nodes.dedup();
    nodes
}

fn seconds_until(at: Timestamp, now: Timestamp) -> f64 {
    at.as_micros().saturating_sub(now.as_micros()) as f64 / 1e6
}
