//! Runs the system of flights in several processes on one SQLite file and kills them at random.
//!
//! Several processes are nodes: each runs the whole system with [`MultiThread`]. One process is the
//! feeder: it sends the commands, and after a restart it skips flights that are completely
//! recorded. A killed process gets no warning (`kill -9`) and is restarted immediately. Followers
//! and views of the nodes conflict all the time. When all events are fed and processed, [`check`]
//! verifies that the kills had no visible effect.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use retold::domain::ManualClock;
use retold::prelude::*;
use retold::projection::ProjectionPipeline;
use retold::recording::{MemoryStore, Position, verify_log};
use retold::retelling::{WholeReport, compare, retell, retell_whole};
use retold::runner::{MultiThread, MultiThreadOptions};
use retold::sqlite::SqliteStore;
use retold::system::{Infrastructure, OpenSystem, Opening, Runner, SingleThread};
use tokio::time::{Interval, interval};

use crate::flight::Flight;
use crate::input::Input;
use crate::on_time::OnTime;
use crate::on_time_view::{keep_on_time, read_on_time};
use crate::processed::is_processed;
use crate::record::{FlightRecord, Outcome};
use crate::replay::{id_of, replay};
use crate::system::{FLIGHTS, system};

/// Passes the file with the logs to a child; not set in the parent.
const STORE: &str = "RETOLD_FLIGHTS_KILLS_STORE";
/// Passes the file with the flights to a feeder; not set in a node.
const INPUT: &str = "RETOLD_FLIGHTS_KILLS_INPUT";

/// Concurrent callers in the feeder.
const CALLERS: usize = 8;

/// Interval between checks of the logs' progress. Short compared with the start of a process.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// Maximum time without new events before the run fails. It is many times longer than processes
/// need to start and take over on a busy machine.
const PROGRESS_WAIT_MAX: Duration = Duration::from_secs(60);

/// Maximum back-off of a node after it lost a race. Short, so that a killed process is replaced
/// soon and conflicts are frequent.
const STANDBY_MAX: Duration = Duration::from_millis(50);

/// The number of processes and kills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kills {
    /// Total number of kills, of nodes and of the feeder.
    pub kills: usize,
    /// Processes that run the system.
    pub nodes: usize,
    /// Decides which process is killed and when. What the processes are doing at that time depends
    /// on the machine.
    pub seed: u64,
}

/// The result of [`run`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Killed {
    /// Number of kills of nodes.
    pub nodes: usize,
    /// Number of kills of the feeder.
    pub feeders: usize,
    /// Number of events in all logs at the end.
    pub events: u64,
    /// Time from the start of the first process until the last event was processed.
    pub elapsed: Duration,
}

/// The result of [`check`].
#[derive(Clone, Debug)]
pub struct Checked {
    /// The report of retelling the whole system, without a difference.
    pub whole: WholeReport,
    /// Duration of both forms of retelling.
    pub elapsed: Duration,
}

/// In a process started by [`run`], does that process's work and exits. In any other process,
/// returns.
///
/// # Panics
///
/// If the logs cannot be opened or the flights cannot be read. The parent then restarts the
/// process.
pub fn child() {
    let Some(store) = std::env::var_os(STORE) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_time()
        .build()
        .expect("a process can start threads");
    let worked = runtime.block_on(async {
        let infrastructure = infrastructure(Path::new(&store))?;
        match std::env::var_os(INPUT) {
            Some(input) => feed(&infrastructure, Path::new(&input)).await,
            None => work(&infrastructure).await,
        }
    });
    worked.expect("the parent restarts a process that failed");
    std::process::exit(0);
}

/// Uses a clock that stands still in all processes, so that every run records the same times.
fn infrastructure(store: &Path) -> retold::Result<Infrastructure> {
    let store = SqliteStore::open(store)?;
    let view = keep_on_time(&store.views())?;
    Ok(timeless(Infrastructure::new(Arc::new(store)).view(view)))
}

fn timeless(infrastructure: Infrastructure) -> Infrastructure {
    infrastructure.clock(Arc::new(ManualClock::new(Timestamp::default())))
}

type AnyError = Box<dyn std::error::Error>;

async fn work(infrastructure: &Infrastructure) -> Result<(), AnyError> {
    let options = MultiThreadOptions::new()
        .standby(LOOK_INTERVAL, STANDBY_MAX)
        .passed_flush_delay(STANDBY_MAX);
    let _runner = MultiThread::start_with(&system(), infrastructure, options).await?;
    std::future::pending().await
}

async fn feed(infrastructure: &Infrastructure, input: &Path) -> Result<(), AnyError> {
    let flights = Input::open(input)?.flights;
    let open = OpenSystem::open(&system(), infrastructure, Opening::Write).await?;
    let app = open.application(FLIGHTS)?;
    let mut left = Vec::new();
    for flight in flights {
        if !is_recorded(app, &flight).await? {
            left.push(flight);
        }
    }
    replay(app, left.into(), CALLERS, Arc::default()).await?;
    Ok(())
}

/// Returns whether everything that happened to a flight is recorded.
async fn is_recorded(app: &Application, flight: &FlightRecord) -> retold::Result<bool> {
    let events = match flight.outcome {
        Outcome::Cancelled => 2,
        Outcome::Arrived { .. } | Outcome::Diverted { .. } => 3,
    };
    match app.get::<Flight>(id_of(flight)).await {
        Ok(found) => Ok(found.version.get() >= events),
        Err(retold::Error::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A process that is killed when dropped, if not before.
struct Process {
    child: Child,
    role: Role,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Node,
    Feeder,
}

impl Process {
    fn kill(&mut self) -> io::Result<ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process may have ended already.
        drop(self.kill());
    }
}

/// The parent of all processes.
struct Parent<'p> {
    command: &'p dyn Fn() -> Command,
    store: PathBuf,
    input: &'p Path,
    open: OpenSystem,
    processes: Vec<Process>,
    rng: Rng,
    looks: Interval,
    killed: Killed,
}

/// Feeds the flights of a CSV file to the system in several processes, kills the processes at
/// random, and waits until all events are processed. The logs are then in this folder, in the file
/// [`store_path`]. `command` starts this program again in such a way that it calls [`child`].
///
/// Kills are spread over the time that it takes to record about `events` events.
///
/// # Errors
///
/// If nothing is recorded for a minute, or a process cannot be started.
pub async fn run(
    kills: Kills,
    events: u64,
    folder: &Path,
    input: &Path,
    command: &dyn Fn() -> Command,
) -> Result<Killed, String> {
    let begun = Instant::now();
    let store = store_path(folder);
    let open = opened(&store, Opening::Write).await?;
    let mut parent = Parent {
        command,
        store,
        input,
        open,
        processes: Vec::new(),
        rng: Rng::with_seed(kills.seed),
        looks: interval(LOOK_INTERVAL),
        killed: Killed::default(),
    };
    for _ in 0..kills.nodes {
        parent.start(Role::Node)?;
    }
    parent.start(Role::Feeder)?;
    for kill in 0..kills.kills {
        let recorded = parent.recorded().await?;
        let left = events.saturating_sub(recorded) / (kills.kills - kill) as u64;
        let goal = recorded + parent.rng.u64(0..=left * 2);
        parent.wait(goal).await?;
        parent.kill_one()?;
    }
    let mut last = (0, Instant::now());
    while parent.is_feeding() || !is_processed(&parent.open).await.map_err(text)? {
        let recorded = parent.recorded().await?;
        if recorded > last.0 {
            last = (recorded, Instant::now());
        } else if last.1.elapsed() > PROGRESS_WAIT_MAX {
            return Err(format!(
                "no event was processed within the time limit after {recorded} events"
            ));
        }
        parent.wait(recorded).await?;
    }
    parent.killed.events = parent.recorded().await?;
    parent.killed.elapsed = begun.elapsed();
    Ok(parent.killed)
}

/// Returns the file with the logs in this folder.
pub fn store_path(folder: &Path) -> PathBuf {
    folder.join("flights.db")
}

impl Parent<'_> {
    fn start(&mut self, role: Role) -> Result<(), String> {
        let mut command = (self.command)();
        command.env(STORE, &self.store);
        if role == Role::Feeder {
            command.env(INPUT, self.input);
        }
        let child = command.spawn().map_err(text)?;
        self.processes.push(Process { child, role });
        Ok(())
    }

    fn kill_one(&mut self) -> Result<(), String> {
        let doomed = self.rng.usize(..self.processes.len());
        let mut doomed = self.processes.swap_remove(doomed);
        doomed.kill().map_err(text)?;
        match doomed.role {
            Role::Node => self.killed.nodes += 1,
            Role::Feeder => self.killed.feeders += 1,
        }
        self.start(doomed.role)
    }

    fn is_feeding(&self) -> bool {
        self.processes.iter().any(|it| it.role == Role::Feeder)
    }

    /// Returns the number of events in all logs.
    async fn recorded(&self) -> Result<u64, String> {
        let mut events = 0;
        for app in self.open.applications() {
            events += Position::number(app.head().await.map_err(text)?.position());
        }
        Ok(events)
    }

    /// Waits for at least one interval, and until `goal` events are recorded or everything is fed.
    /// Restarts processes that ended before their work was done.
    async fn wait(&mut self, goal: u64) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            self.looks.tick().await;
            let mut ended = Vec::new();
            for index in (0..self.processes.len()).rev() {
                let status = self.processes[index].child.try_wait().map_err(text)?;
                if let Some(status) = status {
                    ended.push((self.processes.swap_remove(index).role, status));
                }
            }
            for (role, status) in ended {
                if role == Role::Node || !status.success() {
                    self.start(role)?;
                }
            }
            if self.recorded().await? >= goal || !self.is_feeding() {
                return Ok(());
            }
            if begun.elapsed() > PROGRESS_WAIT_MAX {
                return Err(format!("{goal} events were not recorded in time"));
            }
        }
    }
}

/// Runs the system of flights on a single thread in memory, for comparison.
///
/// # Errors
///
/// As for [`replay`].
pub async fn expected(flights: Arc<[FlightRecord]>) -> retold::Result<OpenSystem> {
    let memory = timeless(Infrastructure::new(Arc::new(MemoryStore::new())));
    let runner = SingleThread::start(&system(), &memory).await?;
    replay(&runner.application(FLIGHTS)?, flights, 1, Arc::default()).await?;
    Ok(runner.open_system().clone())
}

/// Checks that the kills had no effect on the logs in this folder: each log is sound and retells,
/// each aircraft has the same history as in the expected run, and the view equals the fold.
///
/// # Errors
///
/// A description of the first problem found.
pub async fn check(folder: &Path, expected: &OpenSystem) -> Result<Checked, String> {
    let store = store_path(folder);
    let open = opened(&store, Opening::ReadOnly).await?;
    for app in open.applications() {
        let report = verify_log(&**app.recorder(), &mut |_| {}).await;
        let report = report.map_err(text)?;
        if !report.is_sound() {
            return Err(format!("{}: {:?}", app.name(), report.findings));
        }
    }
    let begun = Instant::now();
    for report in retell(&open).await.map_err(text)? {
        if report.difference.is_some() {
            return Err(report.to_string());
        }
    }
    let whole = retell_whole(&open).await.map_err(text)?;
    if whole.difference.is_some() {
        return Err(whole.to_string());
    }
    let elapsed = begun.elapsed();
    if let Some(difference) = compare(expected, &open).await.map_err(text)? {
        return Err(difference.to_string());
    }
    check_view(&store, open.application(FLIGHTS).map_err(text)?).await?;
    Ok(Checked { whole, elapsed })
}

async fn check_view(store: &Path, app: &Application) -> Result<(), String> {
    let store = SqliteStore::open(store).map_err(text)?;
    let view_store = keep_on_time(&store.views()).map_err(text)?;
    let mut pipeline = ProjectionPipeline::new(Arc::clone(app.recorder()), view_store);
    pipeline.catch_up().await.map_err(text)?;
    let reader = store.views().reader().map_err(text)?;
    let view = read_on_time(&reader).map_err(text)?;
    match view == OnTime::read(app).await.map_err(text)? {
        true => Ok(()),
        false => Err("the view differs from the fold".into()),
    }
}

async fn opened(store: &Path, opening: Opening) -> Result<OpenSystem, String> {
    let infrastructure = infrastructure(store).map_err(text)?;
    let open = OpenSystem::open(&system(), &infrastructure, opening).await;
    open.map_err(text)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
