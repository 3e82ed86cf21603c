//! `retold system status`: the nodes, leases and followers of all systems on a store, by what they left
//! there; nothing needs to be known of the systems.

use std::sync::Arc;
use std::time::Duration;

use retold::prelude::Timestamp;
use retold::recording::store::Store;
use retold::runner::{ClusterOverview, NodeStatus, UnitOverview};
use serde::Serialize;

use crate::failure::{Failure, Verdict};
use crate::followers::{self, FollowerRecord};
use crate::opening;
use crate::output::{Output, Record, note, one_line};
use crate::table::Column;

/// Shows the nodes that run systems on a store, who has what, and how far each follower is.
///
/// It reads leases and logs, and takes no lease. A system that runs in one process has no nodes; its
/// followers are shown all the same.
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
Three kinds of rows. A `node` is a process, LEASE the seconds after which it is taken for dead unless it
renews. A `follower`, `timers` or a `view` is a unit: which node has it, how often it went from one to
another (TERM), the last error any node had with it. `progress` is how far a follower is in a log that it
follows: LAG is how many events come after its checkpoint, SECONDS how long ago the first of them was
recorded.

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
    let followers = followers::all(store).await?;
    if clusters.is_empty() && followers.is_empty() {
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
    Ok(())
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
