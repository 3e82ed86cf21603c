//! `retold demo --cluster N`: runs the system of flights in several processes on one store, kills
//! them at random, and checks that they record the same as one thread in memory.
//!
//! The nodes run the system and send the commands. Commands have ids, so another node can send the
//! commands of a killed node again, as clients of a service do that got no response.

mod message;
mod monitor;

pub(crate) mod node;

mod bars;
mod process;

pub(super) mod course;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use retold::recording::Invalid;
use retold::store_url::StoreUrl;
use retold::system::{Infrastructure, OpenSystem, Opening};
use retold_flights::on_time::OnTime;
use retold_flights::record::FlightRecord;
use retold_flights::system::FLIGHTS;

use super::census::Census;
use super::check::{self, WholeOf};
use super::report::DemoReport;
use super::report::of_cluster::{
    ClusterBeginning, ClusterConclusion, ClusterRun, MemoryRun, Views,
};
use super::report::sections::{Compared, Notices, Retold};
use super::stop::Stop;
use super::{read_input, runs};
use crate::failure::{CommandFailure, CommandVerdict};
use crate::output::Output;
use crate::{built_in, opening};
use course::{Course, Plan, patiently};
use process::NodeStart;

/// Maximum number of processes on one machine.
const NODES_MAX: usize = 64;

/// The options of a cluster.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct DemoClusterArguments {
    /// Run the system in N processes on --url instead, and kill (kill -9) and restart one of them
    /// every few seconds
    #[arg(
        id = "cluster",
        long = "cluster",
        value_name = "N",
        conflicts_with = "keep"
    )]
    pub(super) nodes: Option<NonZeroUsize>,

    /// Average number of seconds between two kills
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "4",
        value_parser = seconds,
        requires = "cluster"
    )]
    kill_every: Duration,

    /// Also stop a process (SIGSTOP) this often, until its leases have ended, then wake it
    #[arg(long, value_name = "SECONDS", value_parser = seconds, requires = "cluster")]
    freeze_every: Option<Duration>,

    /// Serve `/metrics` (for Prometheus), `/live` and `/ready` of node number K at HOST and PORT +
    /// K - 1
    #[arg(long, value_name = "HOST:PORT", requires = "cluster")]
    metrics: Option<SocketAddr>,

    /// Seed of the random choice of kills [default: random, printed]
    #[arg(long, value_name = "N", requires = "cluster")]
    seed: Option<u64>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|error| format!("{error}"))?;
    let duration = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
    match duration.is_zero() {
        true => Err("it must be more than 0".into()),
        false => Ok(duration),
    }
}

pub(super) async fn run(
    arguments: &super::DemoArguments,
    output: &mut Output,
) -> Result<CommandVerdict, CommandFailure> {
    let (url, shown) = store_of(arguments)?;
    let nodes = arguments.cluster.nodes.map_or(1, NonZeroUsize::get);
    if nodes > NODES_MAX {
        return Err(CommandFailure::Usage(format!(
            "--cluster {nodes} is too many processes for one machine; the maximum is {NODES_MAX}"
        )));
    }
    let input = read_input(arguments.data.clone(), arguments.flights_max).await?;
    let store = opening::writable(&url).await?;
    let infrastructure = Infrastructure::new(Arc::clone(&store));
    let open = OpenSystem::open(&built_in::system(), &infrastructure, Opening::Write).await?;
    let before = Census::of(&open).await?.total();
    if before > 0 {
        return Err(CommandFailure::Usage(format!(
            "{shown} has {before} events already, but the demonstration of a cluster needs an \
             empty store; name another file, or another schema with ?schema=NAME"
        )));
    }
    let stop = Stop::listen();
    let plan = Plan {
        nodes,
        callers: arguments.concurrency.get(),
        kill_every: arguments.cluster.kill_every,
        freeze_every: arguments.cluster.freeze_every,
        seed: arguments
            .cluster
            .seed
            .unwrap_or_else(|| u64::from(fastrand::u32(..))),
    };
    let mut report = DemoReport::new(output);
    report.show(&ClusterBeginning::new(arguments, &plan, &input, &shown))?;
    let flights: Arc<[FlightRecord]> = input.flights.into();
    let stopped = || CommandFailure::Failed(format!("stopped; the store {shown} is intact"));
    let memory = runs::on_memory(&flights, &stop).await?;
    let (memory_run, memory) = memory.ok_or_else(stopped)?;
    report.show(&MemoryRun::new(&memory_run))?;

    let start = NodeStart {
        url,
        data: arguments.data.clone(),
        flights_max: arguments.flights_max,
        metrics: arguments.cluster.metrics,
    };
    let events = memory_run.census.total();
    let course = Course::new(plan, start, &flights, (&*store, &open), events);
    let summary = course.run(&stop).await?.ok_or_else(stopped)?;
    let census = patiently(async || Census::of(&open).await).await?;
    let commands = memory_run.outcome.commands;
    report.show(&ClusterRun::new(&summary, commands, &census))?;

    let logs = [("of the cluster", &open)];
    let whole = Some((WholeOf::Cluster, &open));
    let retelling = check::retell(&logs, whole, &stop).await?;
    let retelling = retelling.ok_or_else(stopped)?;
    report.show(&Retold::new(&retelling))?;
    let compared = check::compare(&memory, &open, &stop).await?;
    let (compared, elapsed) = compared.ok_or_else(stopped)?;
    report.show(&Compared::new(&compared, elapsed))?;
    report.show(&Notices::new(&memory_run.census, &census))?;
    let expected = format!("{:?}", OnTime::read(memory.application(FLIGHTS)?).await?);
    let views = Views::new(expected, &summary.views);
    report.show(&views)?;

    let is_fine =
        retelling.differences().is_empty() && compared.difference.is_none() && views.are_equal();
    report.show(&ClusterConclusion::new(&summary, is_fine))?;
    report.finish()?;
    Ok(CommandVerdict::fine_if(is_fine))
}

/// Returns the URL, and the URL without its password.
fn store_of(arguments: &super::DemoArguments) -> Result<(String, String), CommandFailure> {
    let Some(url) = &arguments.store else {
        return Err(CommandFailure::Usage(
            "the processes need a store that they share: add --url postgres://USER@HOST/DATABASE \
             or --url sqlite:PATH"
                .into(),
        ));
    };
    let parsed = url.parse::<StoreUrl>();
    match parsed.map_err(|error: Invalid| CommandFailure::Usage(error.reason().to_owned()))? {
        StoreUrl::Memory { .. } => Err(CommandFailure::Usage(format!(
            "{url} is in the memory of one process; use --url postgres://USER@HOST/DATABASE or \
             --url sqlite:PATH, which processes can share"
        ))),
        parsed => Ok((url.clone(), parsed.to_string())),
    }
}
