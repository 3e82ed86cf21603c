//! Commands that contend for one aggregate decide on the events that earlier ones are about to
//! record: groups contain many of them, and after any failure no command decides on a state that
//! never existed.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use futures_util::FutureExt;
use tokio::sync::oneshot;

use retold_core::application::{Application, CommandId, Error, ExecuteError, Outcome, Recorded};
use retold_core::domain::Id;
use retold_core::recording::{
    Append, Appended, BoxFuture, RecordError, Recorder, RecorderLayer, StreamRead,
};

use crate::accounts::{Account, AccountEvent, Refusal, deposited, opened};
use crate::racing;

/// A rival's deposit: more than that of any command.
const RIVAL: i64 = 2_000_000;
/// Deposits of commands are below this.
const DEPOSIT_MAX: i64 = 1_000_003;

type Answer = Result<Appended, RecordError>;
type Done = Result<Recorded, ExecuteError<Refusal>>;
type Command<'a> = BoxFuture<'a, Done>;

/// The fault of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Unavailable,
    Invalid,
    UnknownNotRecorded,
    UnknownRecorded,
    /// Another process records something of the same stream just before it.
    Rival,
    /// The recorder panics.
    Panic,
}

const FAULTS: [Fault; 6] = [
    Fault::Unavailable,
    Fault::Invalid,
    Fault::UnknownNotRecorded,
    Fault::UnknownRecorded,
    Fault::Rival,
    Fault::Panic,
];

/// A recorder that holds appends, in the order in which their futures are first polled, until a
/// group of them is committed.
struct Grouped {
    sound: Arc<dyn Recorder>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(Append, oneshot::Sender<Option<Answer>>)>,
    /// The faults of appends, numbered in the order of commit.
    faults: HashMap<usize, Fault>,
    committed: usize,
}

impl RecorderLayer for Grouped {
    fn inner(&self) -> &Arc<dyn Recorder> {
        &self.sound
    }

    fn append(&self, append: Append) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            let (sender, answer) = oneshot::channel();
            self.state().waiting.push_back((append, sender));
            let answer = answer.await.expect("every append gets an outcome");
            answer.expect("the recorder panics")
        })
    }
}

impl Grouped {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Commits the waiting appends, and returns how many of them were recorded.
    async fn commit(&self) -> usize {
        let waiting: Vec<_> = self.state().waiting.drain(..).collect();
        let mut recorded = 0;
        for (append, sender) in waiting {
            let fault = {
                let mut state = self.state();
                state.committed += 1;
                let number = state.committed;
                state.faults.remove(&number)
            };
            let answer = self.perform(append, fault).await;
            recorded += usize::from(matches!(answer, Some(Ok(Appended::Recorded(_)))));
            // A command may be dropped.
            let _ = sender.send(answer);
        }
        recorded
    }

    async fn perform(&self, append: Append, fault: Option<Fault>) -> Option<Answer> {
        let lost = || std::io::Error::other("the line went dead");
        Some(match fault {
            None => self.sound.append(append).await,
            Some(Fault::Unavailable) => Err(RecordError::unavailable("appending", lost())),
            Some(Fault::Invalid) => Err(RecordError::invalid("it is too large")),
            Some(Fault::UnknownNotRecorded) => Err(RecordError::outcome_unknown("", lost())),
            Some(Fault::UnknownRecorded) => {
                let _ = self.sound.append(append).await;
                Err(RecordError::outcome_unknown("", lost()))
            }
            Some(Fault::Rival) => {
                self.rival(append.new_events()[0].stream.as_deref().unwrap())
                    .await;
                self.sound.append(append).await
            }
            Some(Fault::Panic) => return None,
        })
    }

    /// An event that another process records.
    async fn rival(&self, stream: &str) {
        let mut rival = racing::event("AccountEvent.Deposited").stream(stream);
        rival.payload = Some(format!(r#"{{"cents":{RIVAL}}}"#).into());
        self.sound.append(Append::of([rival])).await.unwrap();
    }

    /// From now on the append of this number, counted from the next one, fails.
    fn fail(&self, number: usize, fault: Fault) {
        let mut state = self.state();
        let at = state.committed + number;
        state.faults.insert(at, fault);
    }
}

/// A command's deposit depends on all earlier deposits.
fn next(account: &Account) -> AccountEvent {
    deposited((account.cents * 3 + 7) % DEPOSIT_MAX)
}

struct Scene {
    log: Arc<Grouped>,
    bank: Application,
    id: Id<Account>,
}

impl Scene {
    /// A bank with an account.
    async fn new() -> Self {
        let sound = racing::log().await;
        let state = Mutex::default();
        let log = Arc::new(Grouped { sound, state });
        let id = Id::from("1");
        let sound = Application::builder("bank").recorder(Arc::clone(&log.sound));
        let sound = sound.open().await.unwrap();
        let open = sound.execute_or_create(&id, |_| opened("ann"));
        open.await.unwrap();
        let builder = Application::builder("bank").recorder(log.clone());
        let bank = builder.open().await.unwrap();
        bank.get(&id).await.unwrap();
        Self { log, bank, id }
    }

    fn deposit(&self) -> Command<'_> {
        let deposit = |account: &Account| Ok::<_, Refusal>(next(account));
        self.bank.execute(&self.id, deposit).into_future()
    }

    /// Commands of which one was recorded and the others were overtaken: they are in the lane now,
    /// and their appends wait to be committed.
    async fn lane(&self, length: usize) -> Vec<Running<'_>> {
        let mut commands: Vec<_> = (0..=length).map(|_| Running::new(self.deposit())).collect();
        poll_all(&mut commands).await;
        assert_eq!(self.log.commit().await, 1, "one wins");
        poll_all(&mut commands).await;
        let done = commands.remove(0);
        assert!(matches!(done, Running::Done(Some(Ok(_)))), "the first does");
        assert_eq!(self.log.state().waiting.len(), length);
        commands
    }

    /// Commits groups until all of these are done, and returns their results; `None` for a panic.
    async fn finish(&self, mut commands: Vec<Running<'_>>) -> Vec<Option<Done>> {
        for _ in 0..1_000 {
            poll_all(&mut commands).await;
            if commands.iter().all(|it| matches!(it, Running::Done(_))) {
                let done = commands.into_iter().map(|it| match it {
                    Running::Done(done) => done,
                    Running::Command(_) => unreachable!("all are done"),
                });
                return done.collect();
            }
            self.log.commit().await;
        }
        panic!("the commands come to no end");
    }

    /// Checks that every deposit in the log was decided on the state that it follows, and returns
    /// how many there are, without those of rivals.
    async fn deposits(&self) -> usize {
        let read = StreamRead::new(self.id.stream());
        let page = self.log.sound.read_stream(read).await.unwrap();
        let (mut account, mut count) = (Account::default(), 0);
        for stored in &page.events {
            let event: AccountEvent = self.bank.mapper().decode(stored).unwrap();
            match event {
                AccountEvent::Deposited { cents } if cents != RIVAL => {
                    assert_eq!(event, next(&account), "at version {:?}", stored.version());
                    count += 1;
                }
                _ => {}
            }
            retold_core::domain::Apply::apply(&mut account, &event);
        }
        let cached = self.bank.get(&self.id).await.unwrap();
        assert_eq!(cached.state, account);
        count
    }
}

/// A command or its result; `None` for a panic.
enum Running<'a> {
    Command(Command<'a>),
    Done(Option<Done>),
}

impl<'a> Running<'a> {
    fn new(command: Command<'a>) -> Self {
        Self::Command(command)
    }

    async fn poll(&mut self) {
        // A task that polls often without yielding finds the channels of tokio not ready.
        tokio::task::yield_now().await;
        let Self::Command(command) = self else {
            return;
        };
        let polled = poll_fn(|context| {
            let polled = catch_unwind(AssertUnwindSafe(|| command.as_mut().poll(context)));
            Poll::Ready(polled)
        });
        match polled.await {
            Ok(Poll::Pending) => {}
            Ok(Poll::Ready(done)) => *self = Self::Done(Some(done)),
            Err(_) => *self = Self::Done(None),
        }
    }
}

/// Polls each command until it waits for a group.
async fn poll_all(commands: &mut [Running<'_>]) {
    for command in commands {
        // A store in memory completes a read at once.
        for _ in 0..5 {
            command.poll().await;
        }
    }
}

#[tokio::test]
async fn a_group_takes_many_commands_of_one_aggregate() {
    let scene = Scene::new().await;
    let commands = scene.lane(20).await;
    assert_eq!(scene.log.commit().await, 20, "all in one group");
    let done = scene.finish(commands).await;
    let versions: Vec<_> = done.iter().map(version).collect();
    let expected: Vec<u64> = (3..23).collect();
    assert_eq!(versions, expected, "in the order in which they decided");
    assert_eq!(scene.deposits().await, 21);
}

fn version(done: &Option<Done>) -> u64 {
    let recorded = done.as_ref().unwrap().as_ref().unwrap();
    recorded.version.unwrap().get()
}

/// Goal: after any failure of an append, the later commands decide again on what is recorded, and
/// each is recorded once. Method: every append of a lane fails in every way.
#[tokio::test]
async fn commands_after_an_append_that_fails_decide_again() {
    const LENGTH: usize = 6;
    for fault in FAULTS {
        for number in 1..=LENGTH {
            let scene = Scene::new().await;
            let commands = scene.lane(LENGTH).await;
            scene.log.fail(number, fault);
            let done = scene.finish(commands).await;
            let what = format!("{fault:?} at {number}: {done:?}");
            let recorded = done.iter().filter(|it| matches!(it, Some(Ok(_)))).count();
            assert_eq!(scene.deposits().await, recorded + 1, "{what}");
            let failing = &done[number - 1];
            match fault {
                Fault::Unavailable => assert!(
                    is_error(failing, |it| matches!(it, Error::Unavailable(_))),
                    "{what}"
                ),
                Fault::Invalid => assert!(
                    is_error(failing, |it| matches!(it, Error::Invalid(_))),
                    "{what}"
                ),
                Fault::Panic => assert!(failing.is_none(), "{what}"),
                _ => assert!(matches!(failing, Some(Ok(_))), "{what}"),
            }
            let others = LENGTH - usize::from(!matches!(failing, Some(Ok(_))));
            assert_eq!(recorded, others, "{what}");
        }
    }
}

fn is_error(done: &Option<Done>, is_meant: impl Fn(&Error) -> bool) -> bool {
    matches!(done, Some(Err(ExecuteError::Retold(error))) if is_meant(error))
}

/// A conflict because another command of the process failed does not use up a retry; one because of
/// another process does.
#[tokio::test]
async fn only_appends_of_others_count_as_retries() {
    for (fault, is_given_up) in [(Fault::Unavailable, false), (Fault::Rival, true)] {
        let mut scene = Scene::new().await;
        let builder = Application::builder("bank").recorder(scene.log.clone());
        scene.bank = builder.retries(1).open().await.unwrap();
        scene.bank.get(&scene.id).await.unwrap();
        let commands = scene.lane(4).await;
        scene.log.fail(1, fault);
        let done = scene.finish(commands).await;
        for done in &done[1..] {
            let gave_up = is_error(done, |it| matches!(it, Error::Conflict(_)));
            assert_eq!(gave_up, is_given_up, "{fault:?}: {done:?}");
        }
    }
}

/// A refusal or an empty decision is not returned on a prediction; a panic on one is ignored.
#[tokio::test]
async fn nothing_is_answered_on_a_state_that_never_was() {
    for is_recorded in [true, false] {
        let scene = Scene::new().await;
        let mut commands = scene.lane(1).await;
        let (bank, id) = (&scene.bank, &scene.id);
        let known = bank.get(id).await.unwrap().state.cents;
        let refuse = move |account: &Account| match account.cents > known {
            true => Err(Refusal::TooManyAccounts { count: 1 }),
            false => Ok(next(account)),
        };
        let nothing = move |account: &Account| match account.cents > known {
            true => Ok(None),
            false => Ok::<_, Refusal>(Some(next(account))),
        };
        let panics = move |account: &Account| {
            assert!(account.cents <= known, "it has a maximum");
            Ok::<_, Refusal>(next(account))
        };
        commands.push(Running::new(bank.execute(id, refuse).into_future()));
        commands.push(Running::new(bank.execute(id, nothing).into_future()));
        commands.push(Running::new(bank.execute(id, panics).into_future()));
        poll_all(&mut commands).await;
        assert!(
            commands.iter().all(|it| matches!(it, Running::Command(_))),
            "none has a result yet"
        );
        if !is_recorded {
            scene.log.fail(1, Fault::Unavailable);
        }
        let done = scene.finish(commands).await;
        if is_recorded {
            assert!(
                matches!(done[1], Some(Err(ExecuteError::Refused(_)))),
                "{done:?}"
            );
            let nothing = done[2].as_ref().unwrap().as_ref().unwrap();
            assert_eq!(nothing.outcome, Outcome::Nothing);
            assert!(done[3].is_none(), "it panics");
            assert_eq!(scene.deposits().await, 2);
        } else {
            // One of the three finds the old state, and deposits.
            assert_eq!(scene.deposits().await, 2, "{done:?}");
            let deposited = done[1..].iter().filter(
                |it| matches!(it, Some(Ok(recorded)) if recorded.outcome == Outcome::Recorded),
            );
            assert_eq!(deposited.count(), 1, "{done:?}");
        }
    }
}

/// Sent several times under one id, in one lane, a command is recorded once, and later commands
/// decide on what is recorded.
#[tokio::test]
async fn duplicates_in_a_lane_are_recorded_once() {
    let scene = Scene::new().await;
    let mut commands = scene.lane(2).await;
    let deposit = |account: &Account| Ok::<_, Refusal>(next(account));
    for _ in 0..3 {
        let command = scene.bank.execute(&scene.id, deposit).command_id("once");
        commands.push(Running::new(command.into_future()));
        commands.push(Running::new(scene.deposit()));
    }
    let done = scene.finish(commands).await;
    let outcomes = done
        .iter()
        .map(|it| it.as_ref().unwrap().as_ref().unwrap().outcome);
    let repeated = outcomes.filter(|it| *it == Outcome::Repeated).count();
    assert_eq!(repeated, 2);
    assert_eq!(scene.deposits().await, 1 + 2 + 1 + 3);
}

/// Goal: no command depends on the event id of a command that may decide again under the same id.
/// Method: the next append has an unknown outcome and is resent after the command has changed its
/// decision.
#[tokio::test]
async fn no_command_decides_on_a_named_one_that_is_not_recorded() {
    let scene = Scene::new().await;
    let mut commands = scene.lane(1).await;
    let deposit = |account: &Account| Ok::<_, Refusal>(next(account));
    let named = scene.bank.execute(&scene.id, deposit).command_id("named");
    commands.push(Running::new(named.into_future()));
    commands.push(Running::new(scene.deposit()));
    poll_all(&mut commands).await;
    assert_eq!(scene.log.state().waiting.len(), 2, "the third waits");
    scene.log.fail(1, Fault::Rival);
    scene.log.fail(3, Fault::UnknownNotRecorded);
    let done = scene.finish(commands).await;
    assert!(done.iter().all(|it| matches!(it, Some(Ok(_)))), "{done:?}");
    assert_eq!(scene.deposits().await, 4);
}

/// Dropped commands withdraw nothing and block no others.
#[tokio::test]
async fn commands_continue_after_dropped_ones() {
    for dropped in 0..6 {
        let scene = Scene::new().await;
        let mut commands = scene.lane(6).await;
        drop(commands.remove(dropped));
        let after = Running::new(scene.deposit());
        commands.push(after);
        let done = scene.finish(commands).await;
        assert!(done.iter().all(|it| matches!(it, Some(Ok(_)))), "{done:?}");
        assert_eq!(
            scene.deposits().await,
            8,
            "a dropped command withdraws nothing"
        );
    }
}

/// A lane of the maximum length whose first append fails, with others that wait to enter.
#[tokio::test]
async fn a_full_lane_falls_back_as_a_whole() {
    let scene = Scene::new().await;
    let length = retold_core::application::limits::LANE_APPENDS_MAX;
    let mut commands = scene.lane(length).await;
    for _ in 0..length {
        commands.push(Running::new(scene.deposit()));
    }
    poll_all(&mut commands).await;
    assert_eq!(
        scene.log.state().waiting.len(),
        length,
        "no more are on their way"
    );
    scene.log.fail(1, Fault::Unavailable);
    let done = scene.finish(commands).await;
    let failed = done.iter().filter(|it| !matches!(it, Some(Ok(_)))).count();
    assert_eq!(failed, 1);
    assert_eq!(scene.deposits().await, 2 * length);
}

/// Goal: a decision over models, which must read before it appends, is not starved by a flow of
/// commands. Method: commands arrive as fast as they end.
#[tokio::test]
async fn commands_of_a_lane_do_not_starve_decisions() {
    let scene = Scene::new().await;
    let (bank, id) = (&scene.bank, &scene.id);
    let mut commands = scene.lane(8).await;
    let change = bank.change(
        id.clone(),
        |account: &mut retold_core::application::Draft<Account>| {
            account.record(next(account));
            Ok::<(), Refusal>(())
        },
    );
    let mut change = Running::new(change.into_future());
    let mut groups = 0;
    while !matches!(change, Running::Done(_)) {
        for _ in 0..5 {
            change.poll().await;
        }
        for command in &mut commands {
            for _ in 0..5 {
                command.poll().await;
            }
            if let Running::Done(done) = command {
                done.as_ref().unwrap().as_ref().unwrap();
                *command = Running::new(scene.deposit());
            }
        }
        scene.log.commit().await;
        groups += 1;
        assert!(groups < 100, "it is overtaken too often");
    }
    scene.finish(commands).await;
    scene.deposits().await;
}

/// Commands are polled and dropped, groups committed, and appends fail, all at random.
#[tokio::test]
async fn every_deposit_is_decided_on_the_state_that_it_follows() {
    let mut random = fastrand::Rng::with_seed(racing::seed());
    for _ in 0..60 {
        let scene = Scene::new().await;
        let mut commands: Vec<Running<'_>> = Vec::new();
        let (mut recorded, mut dropped, mut unknown) = (0, 0, 0);
        let mut named = 0;
        for _ in 0..300 {
            match random.u8(..100) {
                0..20 if commands.len() < 24 => {
                    let deposit = |account: &Account| Ok::<_, Refusal>(next(account));
                    let command = scene.bank.execute(&scene.id, deposit);
                    let command = match random.bool() {
                        true => command,
                        false => {
                            named += 1;
                            command.command_id(CommandId::from(format!("command {named}")))
                        }
                    };
                    commands.push(Running::new(command.into_future()));
                }
                20..75 if !commands.is_empty() => {
                    let index = random.usize(..commands.len());
                    commands[index].poll().await;
                    if let Running::Done(done) = &commands[index] {
                        match done {
                            Some(Ok(_)) => recorded += 1,
                            None => unknown += 1,
                            Some(Err(ExecuteError::Retold(Error::OutcomeUnknown { .. }))) => {
                                unknown += 1;
                            }
                            Some(Err(_)) => {}
                        }
                        drop(commands.swap_remove(index));
                    }
                }
                75..80 if !commands.is_empty() => {
                    drop(commands.swap_remove(random.usize(..commands.len())));
                    dropped += 1;
                }
                80..85 => {
                    let fault = FAULTS[random.usize(..FAULTS.len())];
                    scene.log.fail(random.usize(1..8), fault);
                }
                85..90 => scene.log.rival(&scene.id.stream()).await,
                _ => drop(scene.log.commit().await),
            }
        }
        for done in scene.finish(commands).await {
            match done {
                Some(Ok(_)) => recorded += 1,
                None | Some(Err(ExecuteError::Retold(Error::OutcomeUnknown { .. }))) => {
                    unknown += 1
                }
                Some(Err(_)) => {}
            }
        }
        scene.log.commit().await;
        let deposits = scene.deposits().await;
        assert!(deposits >= recorded, "{deposits} of {recorded}");
        assert!(
            deposits <= recorded + dropped + unknown,
            "{deposits} of {recorded}"
        );
    }
}

/// After the last command the lane is freed, with everything that it held.
#[tokio::test]
async fn an_application_is_closed_after_its_lanes() {
    let scene = Scene::new().await;
    let commands = scene.lane(5).await;
    drop(commands);
    let Scene { log, bank, .. } = scene;
    drop(bank);
    log.commit().await;
    assert_eq!(Arc::strong_count(&log), 1);
}

/// Polls of several threads: every command is recorded once, in any order.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_share_a_lane() {
    let log = racing::log().await;
    let builder = Application::builder("bank").recorder(log.clone());
    let bank = builder.open().await.unwrap();
    let id = Id::<Account>::from("1");
    let open = bank.execute_or_create(&id, |_| opened("ann"));
    open.await.unwrap();
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (bank, id) = (bank.clone(), id.clone());
            tokio::spawn(async move {
                for _ in 0..50 {
                    bank.execute(&id, next).await.unwrap();
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let all = futures_util::future::join_all(tasks).map(|all| all.into_iter().all(|it| it.is_ok()));
    assert!(racing::soon(all).await);
    assert_eq!(bank.get(&id).await.unwrap().version.get(), 801);
}
