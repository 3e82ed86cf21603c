//! Simulation: runs real code as futures, in an order that a seed determines, over a store in which
//! every possible fault can occur.
//!
//! A run has actors, which belong to processes and use [`SimulatedStore`]s. A step is one call of a
//! recorder or store: every call of an actor waits until the scheduler picks it. It is then carried
//! out completely on a reliable store, possibly with a [`Fault`], and the actor continues to its
//! next call. Other actors can therefore interleave between any two calls. There are no threads and
//! no real time. Everything that happens is a function of the seed, provided that the actors are
//! deterministic: they must take time and ids from [`Simulation::clock`] and [`Simulation::ids`],
//! choose between ready futures in a fixed order, and use no other runtime.
//!
//! The steps under faults are followed by a calm, which has no faults: stopped processes start,
//! late appends reach the log, and the run continues until all actors have returned or wait for
//! changes that do not come. The calm may last as long as there is progress: an actor returns, a
//! command or timer is recorded, or the effects of a follower are recorded. If there is no progress
//! for [`calm_steps`](Simulation::calm_steps) steps, the run fails and reports which actors are
//! still running. After the calm the test checks what is recorded.
//!
//! ```
//! use std::sync::Arc;
//!
//! use retold_core::domain::IdSource;
//! use retold_core::recording::{Append, LogRead, MemoryStore, NewEvent, Store};
//! use retold_core::simulation::{Simulation, seeds};
//!
//! seeds(100, |simulation: &mut Simulation| {
//!     let store = simulation.store(Arc::new(MemoryStore::new()));
//!     let ids = simulation.ids();
//!     let (shared, birth) = (store.clone(), ids.next_id().into());
//!     let append = Append::of([NewEvent::new(ids.next_id().into(), "Dog.Barked", "{}")]);
//!     simulation.process("kennel", move |process| {
//!         let (store, append) = (shared.clone(), append.clone());
//!         // Sent until it succeeds: the event is recorded once.
//!         process.actor("dog", async move {
//!             loop {
//!                 let Ok(log) = store.open("dogs", birth).await else { continue };
//!                 if log.append(append.clone()).await.is_ok() {
//!                     return;
//!                 }
//!             }
//!         });
//!     });
//!     simulation.run()?;
//!     let page = simulation.outside(async {
//!         let log = store.open_read_only("dogs").await?;
//!         log.read_log(LogRead::new()).await
//!     })?;
//!     match page.map_err(|error| error.to_string())?.events.len() {
//!         1 => Ok(()),
//!         count => Err(format!("{count} events are recorded")),
//!     }
//! });
//! ```

mod call;
mod fault;
pub mod limits;

mod parking;

mod actor;
mod simulated_recorder;
mod trace;

mod failure;
mod simulated_store;
mod simulated_timer;

mod scheduler;

mod seeds;

pub use self::actor::Process;
pub use self::failure::SimulationFailure;
pub use self::fault::{CHANCE_WHOLE, Fault, Faults};
pub use self::simulated_store::SimulatedStore;
pub use self::simulated_timer::SimulatedTimer;

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use self::actor::{Life, ProcessState};
use self::limits::{CALM_STEPS_DEFAULT, CALM_STEPS_MAX, STEPS_DEFAULT};
use self::scheduler::{Calm, Scheduler};
use crate::domain::{ManualClock, SequentialIds};
use crate::recording::Store;

pub use self::seeds::{first_failure, run_seed, seeds};

/// One run with a seed. See the [module](self).
pub struct Simulation {
    scheduler: Scheduler,
    ids: Arc<SequentialIds>,
    faults: Faults,
    steps: u64,
    calm_steps: u64,
}

impl Simulation {
    /// Creates a run without actors, with all [`Faults`] in a mixture that the seed determines.
    pub fn new(seed: u64) -> Self {
        let mut scheduler = Scheduler::new(seed);
        let faults = scheduler.varied(&Faults::all());
        Self {
            scheduler,
            ids: Arc::new(SequentialIds::new(seed)),
            faults,
            steps: STEPS_DEFAULT,
            calm_steps: CALM_STEPS_DEFAULT,
        }
    }

    /// Returns the seed.
    pub fn seed(&self) -> u64 {
        self.scheduler.seed
    }

    /// Returns the clock of this run, which is moved by every step and by faults. It starts at the
    /// beginning of 1970.
    pub fn clock(&self) -> Arc<ManualClock> {
        Arc::clone(&self.scheduler.clock)
    }

    /// Returns a timer that waits for that clock.
    pub fn timer(&self) -> SimulatedTimer {
        SimulatedTimer {
            parking: Arc::clone(&self.scheduler.parking),
            clock: self.clock(),
        }
    }

    /// Returns an id source that yields the same ids for the same seed, and no id twice in a run.
    pub fn ids(&self) -> Arc<SequentialIds> {
        Arc::clone(&self.ids)
    }

    /// Returns a store for the actors that wraps `inner`. The futures of `inner` must be ready at
    /// once, like those of a [`MemoryStore`](crate::recording::MemoryStore).
    pub fn store(&mut self, inner: Arc<dyn Store>) -> Arc<SimulatedStore> {
        Arc::new(SimulatedStore::new(&self.scheduler.parking, inner))
    }

    /// Sets these faults, with their chances, instead of the seed's mixture.
    pub fn faults(&mut self, faults: Faults) -> &mut Self {
        self.faults = faults;
        self
    }

    /// Sets these faults in a mixture that the seed determines: some left out, others more or less
    /// frequent.
    pub fn faults_varied(&mut self, faults: &Faults) -> &mut Self {
        self.faults = self.scheduler.varied(faults);
        self
    }

    /// Sets the maximum number of steps under faults; [`STEPS_DEFAULT`] by default.
    pub fn steps(&mut self, steps: u64) -> &mut Self {
        self.steps = steps;
        self
    }

    /// Sets the maximum number of steps in the calm between two signs of progress, regardless of
    /// the length of the run; [`CALM_STEPS_DEFAULT`] by default. Progress is an actor that returns,
    /// an append of events by a command or timer, or an append of events by a follower; of the
    /// latter, at most [`EFFECT_APPENDS_PER_INPUT`](limits::EFFECT_APPENDS_PER_INPUT) count for
    /// each append of a command or timer. Raise the number for actors that make many reads before
    /// they record anything.
    pub fn calm_steps(&mut self, steps: u64) -> &mut Self {
        self.calm_steps = steps;
        self
    }

    /// Sets the maximum number of lines of a trace;
    /// [`TRACE_ENTRIES_DEFAULT`](limits::TRACE_ENTRIES_DEFAULT) by default.
    pub fn trace_entries(&mut self, entries: usize) -> &mut Self {
        self.scheduler.trace.set_limit(entries);
        self
    }

    /// Adds a process with this name. `start` is called when the process starts, and again after
    /// each crash. It prepares what its actors share and adds the actors to the [`Process`]; it
    /// makes no calls itself.
    pub fn process(&mut self, name: impl Into<Arc<str>>, start: impl Fn(&mut Process) + 'static) {
        self.scheduler.processes.push(ProcessState {
            name: name.into(),
            start: Box::new(start),
            actors: Vec::new(),
            life: Life::Down,
        });
    }

    /// Adds a process with one actor, both with this name.
    pub fn actor<F>(&mut self, name: impl Into<Arc<str>>, start: impl Fn() -> F + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let name = name.into();
        let actor = Arc::clone(&name);
        self.process(name, move |process| process.actor(&*actor, start()));
    }

    /// Runs the actors: first under faults, then in calm, until all have returned or wait for
    /// changes that do not come. Afterwards, more processes can be added and `run` called again;
    /// existing actors continue where they were.
    ///
    /// # Errors
    ///
    /// [`SimulationFailure`] if an actor panics, if actors wait forever for something other than a
    /// log (a deadlock), or if the calm ends without progress or exceeds [`CALM_STEPS_MAX`]. The
    /// run cannot be continued then.
    pub fn run(&mut self) -> Result<SimulationReport, SimulationFailure> {
        match self.run_to_rest() {
            Ok(()) => Ok(self.report()),
            Err(reason) => Err(self.failure(reason)),
        }
    }

    fn run_to_rest(&mut self) -> Result<(), String> {
        self.scheduler.run(self.faults.clone(), self.steps)?;
        let calm = self.scheduler.run_in_calm(self.calm_steps)?;
        let reason = match calm {
            Calm::Rest => return Ok(()),
            Calm::NoProgress => format!(
                "no progress: in {} steps without faults no actor returned and nothing was \
                 recorded that a command or timer caused",
                self.calm_steps
            ),
            Calm::NoEnd => format!("no end: after {CALM_STEPS_MAX} steps without faults"),
        };
        let busy = self.scheduler.busy();
        Err(format!(
            "{reason}. Still running: {busy}. If they need more steps to record anything, raise \
             `calm_steps`"
        ))
    }

    /// Awaits a future outside the run: its calls are carried out immediately, without a schedule
    /// and faults. Use it in a test before and after a run.
    ///
    /// # Errors
    ///
    /// The reason, if the future waits for something that no actor will do.
    pub fn outside<T>(&self, future: impl Future<Output = T>) -> Result<T, String> {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        let mut future = pin!(future);
        while woken.0.swap(false, Ordering::Relaxed) {
            if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
                return Ok(value);
            }
        }
        Err("a future outside the run waits for something that no actor will do".into())
    }

    /// Returns a report of the run up to now.
    pub fn report(&self) -> SimulationReport {
        SimulationReport {
            steps: self.scheduler.steps,
            fault_counts: self.scheduler.fault_counts,
            fingerprint: self.scheduler.trace.fingerprint(),
        }
    }

    /// Returns the last entries of the trace, one per line.
    pub fn trace(&self) -> Vec<String> {
        self.scheduler.trace.lines(&self.scheduler.names())
    }

    /// Creates a failure of this run, for a problem that the test found.
    pub fn failure(&self, reason: impl Into<String>) -> SimulationFailure {
        SimulationFailure {
            seed: self.seed(),
            reason: reason.into(),
            steps: self.scheduler.steps,
            trace: self.trace(),
            dropped: self.scheduler.trace.dropped(),
        }
    }
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation")
            .field("seed", &self.seed())
            .field("steps", &self.scheduler.steps)
            .finish_non_exhaustive()
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A summary of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulationReport {
    steps: u64,
    fault_counts: [u64; Fault::ALL.len()],
    fingerprint: u64,
}

impl SimulationReport {
    /// Returns the number of steps that were made.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Returns how often this kind of fault happened.
    pub fn count(&self, fault: Fault) -> u64 {
        self.fault_counts[fault.index()]
    }

    /// Returns a hash of everything that happened: equal for equal runs, and different for
    /// different runs.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}
