//! `retold demo --cluster N`: the system of flights in several processes on one store, killed at random,
//! and shown to be the story that one thread tells on memory.
//!
//! The nodes run the system and send the commands. Commands have ids, and what a node was to tell when it was
//! killed is told again, by whichever node: so clients of a service do who got no answer.

mod monitor;
mod word;

pub(crate) mod node;

mod bars;
mod process;

pub(super) mod course;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use retold::recording::error::Invalid;
use retold::store_url::StoreUrl;
use retold::system::{Infrastructure, OpenSystem, Opening};
use retold_flights::on_time::OnTime;
use retold_flights::record::FlightRecord;
use retold_flights::system::FLIGHTS;

use super::census::Census;
use super::report::Report;
use super::stop::Stop;
use super::story::{self, WholeOf};
use super::{read_input, runs};
use crate::built_in;
use crate::failure::{Failure, Verdict};
use crate::opening;
use crate::output::Output;
use course::{Course, Plan, patiently};
use process::Start;

/// Most processes: as many as fit on one machine, with room.
const NODES_MAX: usize = 64;

/// How the second run is made by several processes.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Arguments {
    /// Runs the system in N processes on --url instead, of which one is killed every few seconds
    /// (kill -9) and started again
    #[arg(
        id = "cluster",
        long = "cluster",
        value_name = "N",
        conflicts_with = "keep"
    )]
    pub(super) nodes: Option<NonZeroUsize>,

    /// Seconds between two kills, on average
    #[arg(long, value_name = "SECONDS", default_value = "4", value_parser = seconds, requires = "cluster")]
    kill_every: Duration,

    /// Also stops a process in the middle of its work (SIGSTOP) that often, for longer than its leases
    /// last, and lets it wake up
    #[arg(long, value_name = "SECONDS", value_parser = seconds, requires = "cluster")]
    freeze_every: Option<Duration>,

    /// Lets node number K answer `/metrics` (for Prometheus), `/live` and `/ready` at HOST and PORT + K - 1
    #[arg(long, value_name = "HOST:PORT", requires = "cluster")]
    metrics: Option<SocketAddr>,

    /// Decides who is killed when [default: another each time, printed]
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
    arguments: &super::Arguments,
    output: &mut Output,
) -> Result<Verdict, Failure> {
    let (url, shown) = store_of(arguments)?;
    let nodes = arguments.cluster.nodes.map_or(1, NonZeroUsize::get);
    if nodes > NODES_MAX {
        return Err(Failure::Usage(format!(
            "{nodes} processes are more than one machine should have; {NODES_MAX} is the most"
        )));
    }
    let input = read_input(arguments.data.clone(), arguments.flights_max).await?;
    let store = opening::writable(&url).await?;
    let infrastructure = Infrastructure::new(Arc::clone(&store));
    let open = OpenSystem::open(&built_in::system(), &infrastructure, Opening::Write).await?;
    let before = Census::of(&open).await?.total();
    if before > 0 {
        return Err(Failure::Usage(format!(
            "{shown} has {before} events already, and the demonstration of a cluster begins with none; name another file, or another schema as in ?schema=NAME"
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
    let mut report = Report::new(output, &shown, true);
    report.cluster_beginning(arguments, &plan, &input)?;
    let flights: Arc<[FlightRecord]> = input.flights.into();
    let stopped = || Failure::Failed(format!("stopped; what is recorded is good, in {shown}"));
    let memory = runs::on_memory(&flights, &stop).await?;
    let (memory_run, memory) = memory.ok_or_else(stopped)?;
    report.cluster_expected(&memory_run)?;

    let start = Start {
        url,
        data: arguments.data.clone(),
        flights_max: arguments.flights_max,
        metrics: arguments.cluster.metrics,
    };
    let events = memory_run.census.total();
    let course = Course::new(plan, start, &flights, (&*store, &open), events);
    let told = course.run(&stop).await?.ok_or_else(stopped)?;
    let census = patiently(async || Census::of(&open).await).await?;
    report.cluster_told(&told, memory_run.outcome.commands, &census)?;

    let logs = [("of the cluster", &open)];
    let whole = Some((WholeOf::Cluster, &open));
    let retelling = story::retell(&logs, whole, &stop).await?;
    let retelling = retelling.ok_or_else(stopped)?;
    report.retold(&retelling)?;
    let compared = story::compare(&memory, &open, &stop).await?;
    let (compared, elapsed) = compared.ok_or_else(stopped)?;
    report.compared(&compared, elapsed)?;
    report.notices(&memory_run.census, &census)?;
    let expected = format!("{:?}", OnTime::read(memory.application(FLIGHTS)?).await?);
    let different: Vec<_> = told
        .views
        .iter()
        .filter(|(_, it)| *it != expected)
        .collect();
    report.cluster_views(&expected, &told.views, different.len())?;

    let is_fine =
        retelling.differences().is_empty() && compared.difference.is_none() && different.is_empty();
    report.cluster_conclusion(&told, is_fine)?;
    match is_fine {
        true => Ok(Verdict::Fine),
        false => Ok(Verdict::Found),
    }
}

/// The URL, and as it may be shown.
fn store_of(arguments: &super::Arguments) -> Result<(String, String), Failure> {
    let Some(url) = &arguments.store else {
        return Err(Failure::Usage(
            "processes share a store that lasts: add --url postgres://USER@HOST/DATABASE, or --url sqlite:PATH"
                .into(),
        ));
    };
    let parsed = url.parse::<StoreUrl>();
    match parsed.map_err(|error: Invalid| Failure::Usage(error.reason().to_owned()))? {
        StoreUrl::Memory { .. } => Err(Failure::Usage(format!(
            "{url} is in the memory of one process; processes share --url postgres://USER@HOST/DATABASE, or --url sqlite:PATH"
        ))),
        parsed => Ok((url.clone(), parsed.to_string())),
    }
}
