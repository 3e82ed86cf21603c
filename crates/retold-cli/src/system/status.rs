//! `retold system status`: the nodes, leases and followers of all systems on a store, by what they left
//! there; nothing needs to be known of the systems.

use std::sync::Arc;
use std::time::Duration;

use retold::prelude::Timestamp;
use retold::recording::identity::{Mark, Position};
use retold::recording::recorder::LogRead;
use retold::recording::store::Store;
use retold::runner::{ClusterOverview, NodeStatus, UnitOverview};
use serde::Serialize;

use crate::failure::{Failure, Verdict};
use crate::followers::{self, FollowerRecord, Known};
use crate::opening;
use crate::output::{Output, Record, note, one_line};
use crate::table::Column;

/// Shows the nodes that run systems on a store, who has what, and how far each follower is.
///
/// It reads leases, logs and what is kept of views, and takes no lease. A system that runs in one process has
/// no nodes; its followers and views are shown all the same.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// The store, as in postgres://localhost/shop or sqlite:flights.db
    url: String,
    /// Shows it again every SECONDS, until Ctrl-C
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        default_missing_value = "2",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    watch: Option<u64>,
}

const AFTER_HELP: &str = "\
Four kinds of rows. A `node` is a process, LEASE the seconds after which it is taken for dead unless it
renews. A `follower`, `timers` or a `view` is a unit: which node has it, how often it went from one to
another (TERM), the last error any node had with it. `progress` is how far a follower is in a log that it
follows: LAG is how many events come after its checkpoint, SECONDS how long ago the first of them was
recorded. `rows` are the tables of a view in this store, whoever keeps them: LAG counts all events after the
checkpoint, of which up to 1,000 may not be for the view. Programs of many threads show as the node
`process ID`; of those on one thread nothing is seen but what they recorded.

Examples:
  retold system status postgres://localhost/shop --watch
  retold system status sqlite:flights.db --json | jq 'select(.kind == \"progress\").lag_events'";

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
    /// Application, name, and what tells it from its like.
    unit: String,
    node: Option<Arc<str>>,
    term: u64,
    lease_seconds: Option<f64>,
    last_error: Option<String>,
    last_error_at: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct ProgressRecord {
    kind: &'static str,
    /// Those that have the follower, or a part of it.
    nodes: Vec<Arc<str>>,
    #[serde(flatten)]
    follower: FollowerRecord,
}

/// The tables of a view, and how far they are.
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
    state: String,
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
            self.state.clone(),
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
        Column::text("LAST ERROR"),
    ];

    fn cells(&self) -> Vec<String> {
        let lease = self.lease_seconds.map(|it| format!("{it:.1}"));
        let error = self.last_error_at.zip(self.last_error.as_deref());
        let error = error.map(|(at, error)| format!("{at} {}", one_line(error)));
        vec![
            self.kind.to_string(),
            self.system.to_string(),
            self.unit.clone(),
            self.node.as_deref().unwrap_or("-").to_owned(),
            self.term.to_string(),
            lease.unwrap_or_else(|| "-".into()),
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

pub(crate) async fn run(arguments: Arguments, output: &mut Output) -> Result<Verdict, Failure> {
    let store = opening::store(&arguments.url).await?;
    let Some(seconds) = arguments.watch else {
        show(&store, output).await?;
        return Ok(Verdict::Fine);
    };
    let mut looks = tokio::time::interval(Duration::from_secs(seconds));
    loop {
        looks.tick().await;
        output.new_page()?;
        match show(&store, output).await {
            // It may answer again.
            Err(Failure::Failed(reason)) => note(&reason),
            shown => shown?,
        }
        output.show()?;
    }
}

async fn show(store: &Arc<dyn Store>, output: &mut Output) -> Result<(), Failure> {
    let clusters = ClusterOverview::read_all(&**store).await?;
    let known = Known::of(&clusters);
    let followers = followers::all(store, &known).await?;
    let views = views(&**store, &known).await?;
    if clusters.is_empty() && followers.is_empty() && views.is_empty() {
        note("no system has run on this store: there are neither leases of nodes nor followers");
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

/// What is recorded in the store of all views that are kept there, whoever keeps them.
async fn views(store: &dyn Store, known: &Known) -> Result<Vec<ViewRecord>, Failure> {
    let logs = opening::logs(store).await?;
    let mut records = Vec::new();
    for view in store.views().await? {
        let checkpoint = number(view.checkpoint);
        let names = [&*view.upstream, &*view.name, &*view.version.to_string()];
        let mut words = Vec::new();
        let (mut head, mut lag_events) = (None, None);
        match logs.iter().find(|log| log.name == view.upstream) {
            None => words.push("it shows a log that is not in this store".to_owned()),
            Some(log) if log.id != view.log => words.push(format!(
                "diverged: its rows are of the log {}, and {:?} of this store is {}",
                view.log, view.upstream, log.id
            )),
            Some(log) => {
                let recorder = store.open_read_only(&log.name).await?;
                let end = number(recorder.head().await?.mark);
                (head, lag_events) = (Some(end), end.checked_sub(checkpoint));
                if let Some(mark) = view.checkpoint {
                    let there = recorder.read_log(LogRead::at(mark.position)).await?;
                    if there.events.first().map(|event| event.mark()) != Some(mark) {
                        words.push("diverged: the log has not the event of the checkpoint".into());
                    }
                }
            }
        }
        if !view.is_seen {
            words.push("readers see an older version".into());
        }
        if view.skipped > 0 {
            words.push(format!("{} events were passed over", view.skipped));
        }
        let is_known = known.has("view", &names);
        if !is_known {
            words.push("no running system knows it".into());
        }
        let state = match words.is_empty() {
            true => "goes on".to_owned(),
            false => words.join("; "),
        };
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
            state,
        });
    }
    Ok(records)
}

fn number(mark: Option<Mark>) -> u64 {
    Position::number(mark.map(|mark| mark.position))
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
    UnitRecord {
        kind: Arc::clone(&unit.kind),
        system: Arc::clone(&cluster.system),
        unit: unit.names.join("/"),
        node: unit.node.clone(),
        term: unit.term,
        lease_seconds: ends_at.map(|at| seconds_until(at, cluster.now)),
        last_error_at: unit.last_error.as_ref().map(|(at, _)| *at),
        last_error: unit.last_error.as_ref().map(|(_, error)| error.clone()),
    }
}

/// Which nodes have a follower, or a part of it.
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
