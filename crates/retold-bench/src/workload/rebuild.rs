//! Appends at a steady rate, alone and while a view of the log is rebuilt: the cost of a rebuild
//! for writers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use retold::prelude::*;
use retold::projection::{Projection, ProjectionPipeline, ViewStore};
use retold::recording::{Append, NewEvent, Recorder, Store};
use retold::runner::MultiThread;
use retold::sqlite::{Sqlite, SqliteTables, SqliteViews};
use retold::system::{Infrastructure, Runner, System};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::bench::Bench;
use crate::contender::{Contender, Result, RunFn};
use crate::sample::{Run, Stopwatch};
use crate::subject::{LOG, Subject, open_store};

/// Number of events in the log, equal to the events of January's flights.
const EVENT_COUNT: u64 = 80_000;
/// The same, in a test.
const EVENT_COUNT_QUICK: u64 = 500;
/// Time between two appends: a thousand per second.
const PACE: Duration = Duration::from_millis(1);
/// Number of events per append when the log is written.
const BATCH: u64 = 1_000;

/// A flight arrived.
#[derive(Event, Serialize, Deserialize)]
#[event(topic = "Arrived")]
struct Arrived {
    carrier: u64,
    minutes: i64,
}

/// Returns the workloads on `subject`, if its views are SQLite's.
pub(crate) fn contenders<'a>(bench: &'a Bench, subject: &'a Subject) -> Vec<Contender<'a>> {
    let Some(folder) = subject.folder() else {
        return Vec::new();
    };
    let is_quick = bench.sizes.budget < Duration::from_millis(100);
    let events = if is_quick {
        EVENT_COUNT_QUICK
    } else {
        EVENT_COUNT
    };
    let runtime = &bench.many_threads;
    [
        ("append-1000/s", During::Nothing),
        ("append-1000/s-rebuild", During::Rebuilding),
    ]
    .into_iter()
    .map(|(name, during)| {
        let views = folder.join(format!("{}.views", name.replace('/', "-")));
        Contender::new(name, subject.label, "appends", move || {
            let url = subject.url(&name.replace('/', "-"));
            let store = runtime.block_on(open_store(&url))?;
            let log = runtime.block_on(write_log(&store, events))?;
            let views = SqliteViews::open(views)?;
            let mut version = 1;
            runtime.block_on(build(&log, view_store(&views, version)?))?;
            Ok(Box::new(move |budget| {
                version += 1;
                let rebuilt = match during {
                    During::Nothing => None,
                    During::Rebuilding => Some(view_store(&views, version)?),
                };
                append_at_pace(runtime, &store, &log, &views, rebuilt, budget)
            }) as RunFn<'a>)
        })
    })
    .collect()
}

/// What happens during the appends.
#[derive(Clone, Copy)]
enum During {
    Nothing,
    Rebuilding,
}

async fn write_log(store: &Arc<dyn Store>, events: u64) -> Result<Arc<dyn Recorder>> {
    let log = store.open(LOG, Uuid::now_v7().into()).await?;
    for first in (0..events).step_by(BATCH as usize) {
        let numbers = first..(first + BATCH).min(events);
        log.append(Append::of(numbers.map(event))).await?;
    }
    Ok(log)
}

fn event(number: u64) -> NewEvent {
    let payload = format!(r#"{{"carrier":{},"minutes":{}}}"#, number % 16, number % 90);
    NewEvent::new(Uuid::now_v7().into(), "Arrived", payload).stream(format!("Flight/{number}"))
}

/// A view of flights and minutes by carrier, in this version.
fn view_store(views: &SqliteViews, version: u32) -> Result<Arc<dyn ViewStore>> {
    let projection =
        Projection::<Sqlite>::new("arrivals", version, LOG).on::<Arrived>(|view, arrived| {
            let sql = format!(
                "INSERT INTO {} VALUES (?1, 1, ?2) ON CONFLICT (carrier) DO UPDATE \
                 SET flights = flights + 1, minutes = minutes + excluded.minutes",
                view.table("arrivals")
            );
            let carrier = i64::try_from(arrived.event.carrier)?;
            let values = [carrier, arrived.event.minutes];
            view.prepare_cached(&sql)?.execute(values)?;
            Ok(())
        });
    let tables = SqliteTables::new(["arrivals"], |view| {
        let sql = format!(
            "CREATE TABLE {} \
             (carrier INTEGER PRIMARY KEY, flights INTEGER, minutes INTEGER) STRICT",
            view.table("arrivals")
        );
        Ok(view.execute_batch(&sql)?)
    });
    Ok(views.keep(projection, tables)?)
}

/// The log alone, for the runner that keeps its view.
fn system() -> Result<System> {
    let system = System::new("arrivals").application(LOG, |app| app.event::<Arrived>());
    Ok(system.build()?)
}

async fn build(log: &Arc<dyn Recorder>, view_store: Arc<dyn ViewStore>) -> Result<()> {
    ProjectionPipeline::new(Arc::clone(log), view_store)
        .catch_up()
        .await?;
    Ok(())
}

/// Appends at the rate for the budget and until the rebuild is done, while a reader checks the
/// view.
fn append_at_pace(
    runtime: &Runtime,
    store: &Arc<dyn Store>,
    log: &Arc<dyn Recorder>,
    views: &SqliteViews,
    rebuilt: Option<Arc<dyn ViewStore>>,
    budget: Duration,
) -> Result<Run> {
    let is_done = Arc::new(AtomicBool::new(rebuilt.is_none()));
    let reader = watch_view(views, Arc::clone(&is_done))?;
    runtime.block_on(async {
        let rebuilding = match rebuilt {
            None => None,
            Some(view_store) => {
                let infrastructure = Infrastructure::new(Arc::clone(store)).view(view_store);
                let runner = MultiThread::start(&system()?, &infrastructure).await?;
                let is_done = Arc::clone(&is_done);
                Some(tokio::spawn(async move {
                    let rebuilt = runner.projections()[0].clone();
                    let head = runner.application(LOG)?.head().await?.position();
                    rebuilt.wait_for(head).await?;
                    is_done.store(true, Ordering::SeqCst);
                    drop(runner.stop().await);
                    Result::Ok(())
                }))
            }
        };
        let watch = Stopwatch::start(budget);
        let mut ticks = tokio::time::interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let number = AtomicU64::new(EVENT_COUNT);
        let mut appends = JoinSet::new();
        let mut run = Run::new();
        while watch.has_time() || !is_done.load(Ordering::SeqCst) {
            let due = ticks.tick().await;
            let (log, event) = (
                Arc::clone(log),
                event(number.fetch_add(1, Ordering::Relaxed)),
            );
            appends.spawn(async move {
                log.append(Append::of([event])).await?;
                Result::Ok(due.into_std().elapsed())
            });
            while let Some(done) = appends.try_join_next() {
                run.add(done??, 1);
            }
        }
        while let Some(done) = appends.join_next().await {
            run.add(done??, 1);
        }
        let took = watch.elapsed();
        if let Some(rebuilding) = rebuilding {
            rebuilding.await??;
        }
        reader
            .join()
            .map_err(|_| "the reader of the view panicked")??;
        Ok(run.took(took))
    })
}

/// Reads the view until everything is done. Returns an error if it ever shows less than before.
fn watch_view(
    views: &SqliteViews,
    is_done: Arc<AtomicBool>,
) -> Result<std::thread::JoinHandle<Result<()>>> {
    let reader = views.reader()?;
    Ok(std::thread::spawn(move || {
        let mut most = 0_i64;
        let began = Instant::now();
        while !is_done.load(Ordering::SeqCst) {
            let sql = "SELECT COALESCE(SUM(flights), 0) FROM arrivals";
            let seen: i64 = reader.query_row(sql, [], |row| row.get(0))?;
            if seen < most {
                let after = began.elapsed();
                return Err(format!("the view shows {seen} after {most}, {after:?} on").into());
            }
            most = seen;
            std::thread::sleep(PACE);
        }
        Ok(())
    }))
}
