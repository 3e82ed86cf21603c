//! A whole system under simulation. Several processes run the same system at the same time, with
//! its followers and timers as actors, along with commands of the test, over a store in which every
//! possible fault can occur.
//!
//! Afterwards the library's own guarantees are checked: every follower has caught up, both forms of
//! retelling show no difference, and applications that claim to be confluent are confluent. The
//! test itself checks the guarantees of the system.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select, select_all};

use super::confluence::first_difference;
use super::retell;
use super::whole::retell_whole;
use crate::application::{Application, Error};
use crate::following::limits::SIMULATED_PROCESSES_DEFAULT;
use crate::following::{FollowerOperator, Pipeline, Step, Timers};
use crate::recording::{BoxFuture, Checkpoint, MemoryStore, Recorder, Store};
use crate::simulation::{SimulatedTimer, Simulation};
use crate::system::{Infrastructure, Member, OpenSystem, Opening, System};

/// A system under simulation.
///
/// ```
/// use retold::prelude::*;
/// use retold::simulation::seeds;
/// use retold::system::{Context, Follower, System};
/// use retold::retelling::SystemSimulation;
///
/// #[derive(Event, Serialize, Deserialize)]
/// struct Barked;
///
/// #[derive(Aggregate, Clone, Default)]
/// #[aggregate(event = Barked, key = String)]
/// struct Dog { barks: u32 }
///
/// impl Apply<Barked> for Dog {
///     fn apply(&mut self, _: &Barked) {
///         self.barks += 1;
///     }
/// }
///
/// /// The neighbor's dog answers.
/// async fn answer(_: &Barked, context: &mut Context) -> retold::Result<()> {
///     context.execute_or_create("rex", |_: &Dog| Barked).await?;
///     Ok(())
/// }
///
/// let street = System::new("street")
///     .application("here", |app| app.aggregate::<Dog>())
///     .application("there", |app| {
///         app.aggregate::<Dog>().follower(Follower::new("answers").follows("here").on(answer))
///     })
///     .build()?;
///
/// seeds(20, |simulation| {
///     let mut street = SystemSimulation::new(simulation, &street)?;
///     street.commands("walker", |street| async move {
///         let here = street.application("here").expect("it is part of the street").clone();
///         for walk in 0..3 {
///             // Sent until it succeeds: the id makes it happen once.
///             let bark = || {
///                 here.execute_or_create("fido", |_: &Dog| Barked)
///                     .command_id(format!("walk-{walk}"))
///             };
///             while bark().await.is_err() {}
///         }
///     });
///     street.run()?;
///     let rex = street.outside(|street| async move {
///         street.application("there")?.get::<Dog>("rex").await
///     })?;
///     assert_eq!(rex.state.barks, 3);
///     Ok(())
/// });
/// # Ok::<(), retold::Error>(())
/// ```
pub struct SystemSimulation<'s> {
    simulation: &'s mut Simulation,
    system: System,
    infrastructure: Infrastructure,
    processes: usize,
    is_started: bool,
}

impl<'s> SystemSimulation<'s> {
    /// Creates the system and its logs over a store in memory.
    ///
    /// # Errors
    ///
    /// The text of an error that occurs when the logs are opened.
    pub fn new(simulation: &'s mut Simulation, system: &System) -> Result<Self, String> {
        let store = MemoryStore::new().with_clock(simulation.clock());
        let store = simulation.store(Arc::new(store));
        Self::over(simulation, system, store)
    }

    /// Creates the system over a store of this simulation, or over a store that wraps one.
    ///
    /// # Errors
    ///
    /// The text of an error that occurs when the logs are opened.
    pub fn over(
        simulation: &'s mut Simulation,
        system: &System,
        store: Arc<dyn Store>,
    ) -> Result<Self, String> {
        // Failures there are retried by the actors; each attempt is a step.
        let infrastructure = Infrastructure::new(store)
            .clock(simulation.clock())
            .ids(simulation.ids())
            .open_wait_max(Duration::ZERO);
        let open = OpenSystem::open(system, &infrastructure, Opening::Write);
        simulation
            .outside(open)?
            .map_err(|error| error.to_string())?;
        Ok(Self {
            simulation,
            system: system.clone(),
            infrastructure,
            processes: SIMULATED_PROCESSES_DEFAULT,
            is_started: false,
        })
    }

    /// Sets how many processes run the system, each with all its followers and timers;
    /// [`SIMULATED_PROCESSES_DEFAULT`] by default.
    pub fn processes(&mut self, processes: usize) -> &mut Self {
        self.processes = processes;
        self
    }

    /// Returns the simulation, to configure its faults and the number of its steps.
    pub fn simulation(&mut self) -> &mut Simulation {
        self.simulation
    }

    /// Adds commands from outside the system, in a process with this name, which reopens the
    /// system's logs whenever it starts. After a crash `commands` is called again, so it must send
    /// each command with a command id, and repeat it until it succeeds.
    pub fn commands<F>(
        &mut self,
        name: impl Into<Arc<str>>,
        commands: impl Fn(OpenSystem) -> F + Send + Sync + 'static,
    ) -> &mut Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let name = name.into();
        let (system, infrastructure) = (self.system.clone(), self.infrastructure.clone());
        let commands = Arc::new(commands);
        let actor = Arc::clone(&name);
        self.simulation.process(name, move |process| {
            let (system, infrastructure) = (system.clone(), infrastructure.clone());
            let commands = Arc::clone(&commands);
            process.actor(&*actor, async move {
                let open = open(&system, &infrastructure).await;
                commands(open).await;
            });
        });
        self
    }

    /// Runs the system under faults, then without faults until nothing is left to do, and checks
    /// the library's guarantees. It may be called again after more commands were added.
    ///
    /// # Errors
    ///
    /// The reason why the run failed, or the first guarantee that does not hold.
    pub fn run(&mut self) -> Result<(), String> {
        self.start();
        self.simulation.run()?;
        self.check()
    }

    /// Runs a future with the resulting system, opened for reading only and without faults.
    ///
    /// # Errors
    ///
    /// The text of an error that the future returns.
    pub fn outside<T, F>(&self, look: impl FnOnce(OpenSystem) -> F) -> Result<T, String>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let looked = self.simulation.outside(async {
            let (system, infrastructure) = (&self.system, &self.infrastructure);
            let open = OpenSystem::open(system, infrastructure, Opening::ReadOnly).await?;
            look(open).await
        })?;
        looked.map_err(|error| error.to_string())
    }

    fn start(&mut self) {
        if std::mem::replace(&mut self.is_started, true) {
            return;
        }
        for number in 1..=self.processes {
            let (system, infrastructure) = (self.system.clone(), self.infrastructure.clone());
            let timer = self.simulation.timer();
            self.simulation
                .process(format!("node-{number}"), move |process| {
                    let mut place = 0;
                    for (member, parts) in system.members().iter().enumerate() {
                        for name in names_of_pipelines(&system, parts) {
                            let (system, infrastructure) = (system.clone(), infrastructure.clone());
                            let own = place;
                            place += 1;
                            process.actor(name, async move {
                                let open = open(&system, &infrastructure).await;
                                if let Some((_, pipeline)) = open.pipelines().into_iter().nth(own) {
                                    follow(pipeline).await;
                                }
                            });
                        }
                        let (system, infrastructure) = (system.clone(), infrastructure.clone());
                        let timer = timer.clone();
                        process.actor(format!("timers of {}", parts.name()), async move {
                            let parts = &system.members()[member];
                            let application = loop {
                                if let Ok(it) = infrastructure.open(parts, Opening::Write).await {
                                    break it;
                                }
                            };
                            keep_time(application, timer).await;
                        });
                    }
                });
        }
    }

    fn check(&self) -> Result<(), String> {
        self.outside(|open| async move {
            let behind = first_behind(&open).await?;
            if let Some(behind) = behind {
                return Ok(Err(behind));
            }
            for report in retell(&open).await? {
                if report.difference.is_some() {
                    return Ok(Err(report.to_string()));
                }
            }
            let whole = retell_whole(&open).await?;
            if whole.difference.is_some() {
                return Ok(Err(whole.to_string()));
            }
            match first_difference(&open, self.simulation.seed()).await? {
                Some(difference) => Ok(Err(difference.to_string())),
                None => Ok(Ok(())),
            }
        })?
    }
}

/// Returns the names of the pipelines of an application's followers, in order: the follower's name,
/// with its application's name where another application has a follower of that name.
fn names_of_pipelines(system: &System, member: &Member) -> Vec<String> {
    let all = || system.members().iter().flat_map(Member::followers);
    let followers = member.followers().iter();
    let names = followers.flat_map(|follower| {
        let is_shared = all().filter(|it| it.name() == follower.name()).count() > 1;
        let name = match is_shared {
            true => format!("{} of {}", follower.name(), member.name()),
            false => follower.name().to_owned(),
        };
        let count = follower.pipeline_count();
        (0..count).map(move |pipeline| match count {
            1 => name.clone(),
            _ => format!("{name}/{pipeline}"),
        })
    });
    names.collect()
}

/// Opens the logs, retrying until it succeeds.
async fn open(system: &System, infrastructure: &Infrastructure) -> OpenSystem {
    loop {
        if let Ok(open) = OpenSystem::open(system, infrastructure, Opening::Write).await {
            return open;
        }
    }
}

/// Follows its upstreams forever.
async fn follow(mut pipeline: Pipeline) {
    let recorders: Vec<Arc<dyn Recorder>> = (0..pipeline.upstream_count())
        .map(|index| Arc::clone(pipeline.upstream(index)))
        .chain([Arc::clone(pipeline.application().recorder())])
        .collect();
    loop {
        // Read before the step, so that no change is missed between the step and the wait.
        let Some(counts) = append_counts(&recorders).await else {
            continue;
        };
        let is_at_rest = match pipeline.step().await {
            Ok(Step::Moved) => false,
            Ok(Step::Idle) if pipeline.is_unflushed() => {
                settled(pipeline.flush_idle().await);
                false
            }
            Ok(Step::Idle | Step::Holding | Step::Paused) => true,
            Err(error) => {
                settled(Err(error));
                false
            }
        };
        if is_at_rest {
            let waits = recorders.iter().zip(counts);
            let waits = waits.map(|(recorder, count)| recorder.changed_since(count));
            // The result does not matter: the next step checks.
            let _ = select_all(waits).await;
        }
    }
}

async fn append_counts(recorders: &[Arc<dyn Recorder>]) -> Option<Vec<u64>> {
    let mut counts = Vec::with_capacity(recorders.len());
    for recorder in recorders {
        counts.push(recorder.head().await.ok()?.append_count);
    }
    Some(counts)
}

/// Accepts errors that any store may return.
fn settled(result: Result<(), Error>) {
    match result {
        Ok(()) | Err(Error::Unavailable(_) | Error::OutcomeUnknown { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

/// Fires the timers of an application forever.
async fn keep_time(application: Application, timer: SimulatedTimer) {
    let mut timers = Timers::new(application.clone());
    loop {
        let Ok(head) = application.recorder().head().await else {
            continue;
        };
        match fire_due(&mut timers, &application).await {
            Ok(()) => {}
            Err(error) => {
                settled(Err(error));
                continue;
            }
        }
        let changed = application.recorder().changed_since(head.append_count);
        match timers.next_due() {
            None => drop(changed.await),
            Some(due) => match select(changed, timer.wait_until(due)).await {
                Either::Left(_) | Either::Right(_) => {}
            },
        }
    }
}

async fn fire_due(timers: &mut Timers, application: &Application) -> Result<(), Error> {
    timers.read_on().await?;
    while timers.fire_next(application.now()).await? {}
    Ok(())
}

/// Returns a follower that has not processed everything, if there is one.
fn first_behind(open: &OpenSystem) -> BoxFuture<'_, Result<Option<String>, Error>> {
    Box::pin(async move {
        for (_, pipeline) in open.pipelines() {
            let follower = pipeline.follower().name().to_owned();
            let operator = FollowerOperator::new(pipeline.application(), &*follower);
            let record = operator.record().await?;
            if let Some(wanted) = &record.partitioning {
                return Ok(Some(format!("{follower:?} is not split: {wanted:?}")));
            }
            if let Some(reason) = &record.paused {
                return Ok(Some(format!("{follower:?} is paused: {reason}")));
            }
            for index in 0..pipeline.upstream_count() {
                let upstream = Arc::clone(pipeline.upstream(index));
                let Some(log) = upstream.log_id().await? else {
                    continue;
                };
                let checkpoint = operator.checkpoint(&record, log).await?;
                let head = upstream.head().await?.checkpoint;
                if checkpoint != head {
                    let shown = |checkpoint: Option<Checkpoint>| {
                        checkpoint.map_or("nothing".into(), |checkpoint| checkpoint.to_string())
                    };
                    return Ok(Some(format!(
                        "{follower:?} of {:?} has recorded {} of {:?}, whose head is {}",
                        pipeline.application().name(),
                        shown(checkpoint),
                        upstream.log_name(),
                        shown(head)
                    )));
                }
            }
        }
        Ok(None)
    })
}

impl fmt::Debug for SystemSimulation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemSimulation")
            .field("simulation", &self.simulation)
            .field("system", &self.system.name())
            .field("processes", &self.processes)
            .finish_non_exhaustive()
    }
}
