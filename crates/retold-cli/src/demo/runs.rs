//! Runs the system twice: with one thread in memory, and with many threads on SQLite.

use std::sync::Arc;
use std::time::{Duration, Instant};

use retold::prelude::Application;
use retold::recording::MemoryStore;
use retold::runner::MultiThread;
use retold::sqlite::SqliteStore;
use retold::system::{Goal, Infrastructure, OpenSystem, Runner, SingleThread};
use retold_flights::on_time::OnTime;
use retold_flights::on_time_view::{ON_TIME, keep_on_time, read_on_time};
use retold_flights::record::FlightRecord;
use retold_flights::replay::{Outcome, Progress, command_count, replay};
use retold_flights::system::FLIGHTS;

use super::census::Census;
use super::stop::{Stop, bar, unless_stopped, until_done};
use crate::built_in;
use crate::failure::CommandFailure;

/// Maximum wait for followers and the view after the last command. On a slow disk they need some
/// minutes for a year of flights.
const CATCH_UP_MAX: Duration = Duration::from_secs(30 * 60);

const COMMANDS_BAR: &str = "{bar:32} {human_pos} of {human_len} commands, {msg} ({elapsed})";
const LAG_BAR: &str = "{spinner} followers are {human_pos} events behind ({elapsed})";

/// A run that is complete.
pub(super) struct Run {
    /// The results of the commands.
    pub(super) outcome: Outcome,
    /// The events that it recorded.
    pub(super) census: Census,
    /// From the first command until everything was processed.
    pub(super) elapsed: Duration,
    /// From the first command until the last one was done.
    pub(super) commands_elapsed: Duration,
}

/// Runs the system in one thread in memory, with one caller. Returns none if it was stopped.
pub(super) async fn on_memory(
    flights: &Arc<[FlightRecord]>,
    stop: &Stop,
) -> Result<Option<(Run, OpenSystem)>, CommandFailure> {
    let progress = Arc::new(Progress::default());
    let (flights, done) = (Arc::clone(flights), Arc::clone(&progress));
    let bar = bar(command_count(&flights), COMMANDS_BAR);
    let began = Instant::now();
    // A runtime of its own, because the runtime of this process has many threads.
    let work = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime
            .map_err(|error| CommandFailure::Failed(format!("cannot start a runtime: {error}")))?;
        runtime.block_on(in_one_thread(flights, done))
    });
    let rate = replay_rate(&progress, began);
    let done = until_done(work, &bar, rate, stop, || progress.stop()).await;
    let done =
        done.map_err(|error| CommandFailure::Failed(format!("the thread was aborted: {error}")))?;
    let (outcome, open) = done?;
    let elapsed = began.elapsed();
    if outcome.is_stopped {
        return Ok(None);
    }
    let run = Run {
        census: Census::of(&open).await?,
        outcome,
        elapsed,
        commands_elapsed: elapsed,
    };
    Ok(Some((run, open)))
}

async fn in_one_thread(
    flights: Arc<[FlightRecord]>,
    progress: Arc<Progress>,
) -> Result<(Outcome, OpenSystem), CommandFailure> {
    let memory = Infrastructure::new(Arc::new(MemoryStore::new()));
    let runner = SingleThread::start(&built_in::system(), &memory).await?;
    let app = runner.application(FLIGHTS)?;
    let outcome = replay(&app, flights, 1, progress).await?;
    check_followers(&runner).await?;
    stop_cleanly(&runner).await?;
    Ok((outcome, runner.open_system().clone()))
}

/// Checks that no follower has failed.
async fn check_followers(runner: &dyn Runner) -> Result<(), CommandFailure> {
    for follower in runner.status().await {
        if let (false, Some((_, error))) = (follower.is_well(), &follower.last_error) {
            return Err(CommandFailure::Failed(format!(
                "the follower {:?} of {:?} has failed: {error}",
                follower.follower, follower.application
            )));
        }
    }
    Ok(())
}

/// Stops a runner, and checks that everything it processed is recorded.
async fn stop_cleanly(runner: &dyn Runner) -> Result<(), CommandFailure> {
    let report = runner.stop().await;
    match report.is_clean() {
        true => Ok(()),
        false => Err(CommandFailure::Failed(format!(
            "the followers did not stop cleanly: {report:?}"
        ))),
    }
}

/// The end of a run on SQLite.
pub(super) enum Ended {
    /// Ctrl-C stopped it after its commands had recorded this number of events.
    Stopped(u64),
    /// It is complete, and the view was read afterwards.
    Done(Box<Run>, OnTime),
}

/// Runs the system on SQLite: many callers, a task for each follower, and the view in the file of
/// the logs.
pub(super) async fn on_sqlite(
    store: &SqliteStore,
    before: &Census,
    flights: &Arc<[FlightRecord]>,
    callers: usize,
    stop: &Stop,
) -> Result<Ended, CommandFailure> {
    let views = store.views();
    let view_store = keep_on_time(&views).map_err(retold::Error::from)?;
    let infrastructure = Infrastructure::new(Arc::new(store.clone())).view(view_store);
    let runner = MultiThread::start(&built_in::system(), &infrastructure).await?;
    let app = runner.application(FLIGHTS)?;
    let progress = Arc::new(Progress::default());
    let commands = bar(command_count(flights), COMMANDS_BAR);
    let began = Instant::now();
    let work = replay(&app, Arc::clone(flights), callers, Arc::clone(&progress));
    let rate = replay_rate(&progress, began);
    let outcome = until_done(work, &commands, rate, stop, || progress.stop()).await;
    let commands_elapsed = began.elapsed();
    let caught_up = match &outcome {
        Ok(outcome) if !outcome.is_stopped => {
            let lag = bar(0, LAG_BAR);
            let look = async |bar: &indicatif::ProgressBar| {
                bar.set_position(runner.lag().await.events);
            };
            unless_stopped(catch_up(&runner, &app), &lag, look, stop).await
        }
        _ => None,
    };
    let elapsed = began.elapsed();
    // Stop in good order, even after a failure.
    let stopped = stop_cleanly(&runner).await;
    let outcome = outcome?;
    match caught_up {
        None => return Ok(Ended::Stopped(outcome.events)),
        Some(caught_up) => caught_up?,
    }
    stopped?;
    let run = Run {
        outcome,
        census: Census::of(runner.open_system()).await?.since(before),
        elapsed,
        commands_elapsed,
    };
    let view = read_on_time(&views.reader()?);
    let view =
        view.map_err(|error| CommandFailure::Failed(format!("cannot read the view: {error}")))?;
    Ok(Ended::Done(Box::new(run), view))
}

/// Waits until everything that the commands caused is processed and the view shows it.
async fn catch_up(runner: &dyn Runner, app: &Application) -> Result<(), CommandFailure> {
    let failed = |error: &dyn std::fmt::Display| CommandFailure::Failed(error.to_string());
    let Some(head) = app.head().await?.position() else {
        return Ok(());
    };
    let caused = runner.wait(Goal::caused_by(FLIGHTS, head), CATCH_UP_MAX);
    caused.await.map_err(|error| failed(&error))?;
    let view = runner.wait(Goal::shown_by(ON_TIME, head), CATCH_UP_MAX);
    view.await.map_err(|error| failed(&error))
}

/// Shows the number of commands that are done, and their rate.
fn replay_rate(progress: &Progress, began: Instant) -> impl AsyncFn(&indicatif::ProgressBar) {
    async move |bar| {
        let rate = progress.commands() as f64 / began.elapsed().as_secs_f64().max(0.001);
        bar.set_message(format!("{rate:.0}/s"));
        bar.set_position(progress.commands());
    }
}
