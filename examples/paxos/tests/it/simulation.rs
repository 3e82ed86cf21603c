//! Tests of the participants in simulation: each is a process that crashes and restarts, on stores
//! with every kind of fault.

use std::cell::Cell;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use futures_util::future::{Either, select, select_all};
use retold::domain::{Clock, ManualClock, SequentialIds};
use retold::prelude::*;
use retold::recording::{MemoryStore, verify_log};
use retold::simulation::{
    Process, SimulatedStore, SimulatedTimer, Simulation, first_failure, run_seed, seeds,
};
use retold::system::{
    Context, Follower, Infrastructure, OpenSystem, Opening, Pipeline, Step, System, Timers,
};
use retold_paxos::client::{propose, submit};
use retold_paxos::command::{Command, Request};
use retold_paxos::electorate::Electorate;
use retold_paxos::instance::Instance;
use retold_paxos::invariants::History;
use retold_paxos::message::{Accepted, InstanceEvent, Proposed, RetryDue};
use retold_paxos::participant::follower;
use retold_paxos::replica::Replica;
use tokio::sync::OnceCell;

use crate::agreement::difference;

const KEY: &str = "drink";

/// What a participant needs on each start.
#[derive(Clone)]
struct Site {
    electorate: Electorate,
    system: System,
    store: Arc<SimulatedStore>,
    clock: Arc<ManualClock>,
    ids: Arc<SequentialIds>,
    timer: SimulatedTimer,
}

/// What the clients do.
#[derive(Clone, Copy, PartialEq)]
enum Asked {
    /// Each proposes its own text for one key.
    Text,
    /// Each submits one command.
    Command,
}

impl Site {
    fn new(simulation: &mut Simulation, follower: fn(Electorate) -> Follower) -> Self {
        let electorate = Electorate::of(3).unwrap();
        let system = electorate.names().fold(System::new("Paxos"), |it, name| {
            it.application(name, |app| {
                let app = app.aggregate::<Instance>().aggregate::<Replica>();
                app.event::<RetryDue>().follower(follower(electorate))
            })
        });
        let clock = simulation.clock();
        let memory = MemoryStore::new().with_clock(clock.clone());
        Self {
            electorate,
            system: system.build().unwrap(),
            store: simulation.store(Arc::new(memory)),
            clock,
            ids: simulation.ids(),
            timer: simulation.timer(),
        }
    }

    async fn open(&self) -> retold::Result<OpenSystem> {
        // The actors retry without a pause; a pause in real time would stop the simulated time.
        let infrastructure = Infrastructure::new(self.store.clone())
            .clock(self.clock.clone())
            .ids(self.ids.clone())
            .open_wait_max(Duration::ZERO);
        OpenSystem::open(&self.system, &infrastructure, Opening::Write).await
    }

    /// The actors of one participant.
    fn start(&self, process: &mut Process, index: usize, asked: Asked) {
        let opened = Arc::new(OnceCell::new());
        let open = move |site: Self| {
            let opened = Arc::clone(&opened);
            async move {
                loop {
                    match opened.get_or_try_init(|| site.open()).await {
                        Ok(open) => return OpenSystem::clone(open),
                        Err(error) => assert_transient(&error),
                    }
                }
            }
        };
        let (opening, name) = (open(self.clone()), format!("follower-{index}"));
        process.actor(name, async move {
            let mut pipelines = opening.await.pipelines().into_iter();
            let own = pipelines.find(|(of, _)| *of == index);
            let (_, pipeline) = own.expect("each participant has a follower");
            follow(pipeline).await;
        });
        let (site, opening) = (self.clone(), open(self.clone()));
        process.actor(format!("timers-{index}"), async move {
            let application = opening.await.applications()[index].clone();
            site.keep_time(application).await;
        });
        let (site, opening) = (self.clone(), open(self.clone()));
        process.actor(format!("client-{index}"), async move {
            let application = opening.await.applications()[index].clone();
            site.ask(&application, asked).await;
        });
    }

    /// Fires due timers, forever.
    async fn keep_time(&self, application: Application) {
        let mut timers = Timers::new(application.clone());
        let mut count = 0;
        loop {
            if let Err(error) = timers.read_on().await {
                assert_transient(&error);
                continue;
            }
            match timers.fire_next(self.clock.now()).await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    assert_transient(&error);
                    continue;
                }
            }
            let changed = application.recorder().changed_since(count);
            let changed = match timers.next_due() {
                None => changed.await,
                Some(due) => match select(self.timer.wait_until(due), changed).await {
                    Either::Left(_) => continue,
                    Either::Right((changed, _)) => changed,
                },
            };
            count = changed.unwrap_or(count);
        }
    }

    /// Retries until the result is known: recorded or refused.
    async fn ask(&self, application: &Application, asked: Asked) {
        let name = application.name();
        let request = Request::new(name, Command::set(KEY, name));
        loop {
            let error = match asked {
                Asked::Text => match propose(application, self.electorate, KEY, name).await {
                    Ok(()) | Err(ExecuteError::Refused(_)) => return,
                    Err(ExecuteError::Retold(error)) => error,
                },
                Asked::Command => match submit(application, self.electorate, &request).await {
                    Ok(()) => return,
                    Err(ExecuteError::Refused(busy)) => panic!("{busy}"),
                    Err(ExecuteError::Retold(error)) => error,
                },
            };
            assert_transient(&error);
        }
    }
}

/// Runs a follower forever: processes events, records effects, and waits for more.
async fn follow(mut pipeline: Pipeline) {
    let mut counts = vec![0; pipeline.upstream_count()];
    loop {
        match pipeline.step().await {
            Ok(Step::Moved) => continue,
            Ok(Step::Idle) => {}
            Ok(step) => panic!("{step:?}: {:?}", pipeline.record().paused),
            Err(error) => {
                assert_transient(&error);
                continue;
            }
        }
        if pipeline.is_unflushed() {
            // After a conflict, the follower has work to do again.
            if let Err(error) = pipeline.flush_idle().await {
                assert_transient(&error);
            }
            continue;
        }
        let changes = counts.iter().enumerate();
        let changes = changes.map(|(index, count)| pipeline.upstream(index).changed_since(*count));
        let (changed, index, _) = select_all(changes).await;
        if let Ok(count) = changed {
            counts[index] = count;
        }
    }
}

/// The caller retries on this error.
#[track_caller]
fn assert_transient(error: &retold::Error) {
    let is_transient = matches!(
        error,
        retold::Error::Unavailable(_) | retold::Error::OutcomeUnknown { .. }
    );
    assert!(is_transient, "{error}");
}

/// Three participants with a client each. At the end there are no violations, and every client has
/// its result.
fn three(asked: Asked) -> impl Fn(&mut Simulation) -> Result<(), String> {
    move |simulation| run(simulation, asked, follower).map(drop)
}

fn run(
    simulation: &mut Simulation,
    asked: Asked,
    follower: fn(Electorate) -> Follower,
) -> Result<History, String> {
    let site = Site::new(simulation, follower);
    for (index, name) in site.electorate.names().enumerate() {
        let site = site.clone();
        simulation.process(name, move |process| site.start(process, index, asked));
    }
    simulation.run()?;
    let (history, findings, difference) = simulation.outside(async {
        let open = site.open().await.unwrap();
        let mut findings = Vec::new();
        for application in open.applications() {
            let recorder = application.recorder();
            findings.push(verify_log(&**recorder, &mut |_| {}).await.unwrap());
        }
        let history = History::read(open.applications()).await.unwrap();
        (history, findings, difference(&open).await)
    })?;
    if let Some(finding) = findings.iter().find(|it| !it.is_sound()) {
        return Err(format!("{finding:?}"));
    }
    if let Some(difference) = difference {
        return Err(difference);
    }
    let violations = history.violations(site.electorate);
    if !violations.is_empty() {
        return Err(format!("{violations:?}"));
    }
    let expected = site.electorate.participants() as usize;
    let keys = match asked {
        Asked::Text => vec![KEY.to_owned()],
        Asked::Command => (1..=expected).map(|it| format!("slot-{it}")).collect(),
    };
    for key in keys {
        let decided = history.decided(&key).len();
        if decided != expected {
            return Err(format!(
                "{decided} of {expected} know what is decided for {key}"
            ));
        }
    }
    Ok(history)
}

/// Threads that share the seeds.
const THREADS: u64 = 2;

#[test]
fn three_agree_under_faults() {
    thread::scope(|threads| {
        for _ in 0..THREADS {
            threads.spawn(|| seeds(1_000 / THREADS, three(Asked::Text)));
        }
    });
}

#[test]
fn three_execute_the_same_commands_under_faults() {
    seeds(100, three(Asked::Command));
}

#[test]
fn a_seed_determines_a_run_of_participants() {
    for seed in 0..5 {
        let run = || run_seed(seed, three(Asked::Text)).unwrap();
        assert_eq!(run(), run());
    }
}

/// Situations that the seeds produce: proposers duel, and some of them need time to pass.
#[test]
fn the_simulation_produces_duels() {
    let (ballots, yields) = (Cell::new(0), Cell::new(0));
    for seed in 0..100 {
        let counted = run_seed(seed, |simulation| {
            for event in run(simulation, Asked::Text, follower)?.instance(KEY) {
                match event {
                    InstanceEvent::Prepared(it) if it.ballot.round > 1 => {
                        ballots.set(ballots.get() + 1);
                    }
                    InstanceEvent::Yielded(_) => yields.set(yields.get() + 1),
                    _ => {}
                }
            }
            Ok(())
        });
        counted.unwrap();
    }
    assert!(
        ballots.get() >= 10 && yields.get() >= 10,
        "{ballots:?} {yields:?}"
    );
}

/// Accepts every proposal, regardless of its promises.
async fn accept_anything(proposed: &Proposed, context: &mut Context) -> retold::Result<()> {
    let id = context
        .aggregate::<Instance>()
        .expect("it belongs to an instance");
    let proposal = proposed.proposal.clone();
    let accept = |it: &Instance| match it.accept(proposed) {
        Some(InstanceEvent::Refused(_)) => Some(Accepted { proposal }),
        _ => None,
    };
    context.execute_or_create(id, accept).await?;
    Ok(())
}

#[test]
fn an_acceptor_that_breaks_promises_is_detected() {
    let gullible = |electorate| follower(electorate).on(accept_anything);
    let failure = first_failure(0, 100, |simulation| {
        run(simulation, Asked::Text, gullible).map(drop)
    });
    let failure = failure.expect("promises are broken within a few seeds");
    assert!(failure.reason().contains("PromiseBroken"), "{failure}");
}
