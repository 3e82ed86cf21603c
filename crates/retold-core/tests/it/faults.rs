//! Commands over a recorder that fails as the contract allows: at every call of a workload in turn,
//! in every way. A caller that retries a command under its id until it gets a result finds each
//! command executed exactly once.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use retold_core::application::limits::SETTLE_ATTEMPTS_MAX;
use retold_core::application::{Application, Error, ExecuteError};
use retold_core::domain::Id;
use retold_core::mapping::Addressed;
use retold_core::recording::{
    Append, Appended, BoxFuture, Condition, EventId, ExpectedVersion, Head, LogRead, Page,
    RecordError, Recorder, RecorderLayer, StoredEvent, StoredSnapshot, StreamEntry, StreamRead,
    Version,
};

use crate::accounts::{Account, AccountCount, AccountEvent, deposited, opened};
use crate::racing;

/// The fault of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing is done.
    Unavailable,
    /// The outcome of an append is unknown, and it was not recorded.
    UnknownNotRecorded,
    /// The outcome is unknown, and it was recorded.
    UnknownRecorded,
    /// It is recorded after this number of further calls.
    UnknownLate(usize),
    /// Another writer is faster.
    Rival,
}

const FAULTS: [Fault; 7] = [
    Fault::Unavailable,
    Fault::UnknownNotRecorded,
    Fault::UnknownRecorded,
    Fault::UnknownLate(1),
    Fault::UnknownLate(2),
    Fault::UnknownLate(4),
    Fault::Rival,
];

/// Wraps a recorder; see the module. Every append pends once, and then until it is allowed.
pub(crate) struct Faulty {
    sound: Arc<dyn Recorder>,
    /// How many appends were begun.
    appends: AtomicUsize,
    /// How many of them are allowed.
    allowed: watch::Sender<usize>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How many calls were made.
    calls: usize,
    /// The faults of calls, by number; calls after the last are without faults.
    faults: VecDeque<(usize, Fault)>,
    /// Appends that land at a later call.
    late: Vec<(usize, Append)>,
}

impl Faulty {
    pub(crate) fn new(
        sound: Arc<dyn Recorder>,
        faults: impl IntoIterator<Item = (usize, Fault)>,
    ) -> Arc<Self> {
        let state = State {
            faults: faults.into_iter().collect(),
            ..State::default()
        };
        Arc::new(Self {
            sound,
            appends: AtomicUsize::new(0),
            allowed: watch::Sender::new(usize::MAX),
            state: Mutex::new(state),
        })
    }

    /// Allows this number of further appends, in the order in which they begin; others wait.
    pub(crate) fn allow(&self, appends: usize) {
        let begun = self.appends.load(Ordering::Relaxed);
        self.allowed.send_replace(begun.saturating_add(appends));
    }

    /// The recorder without its faults.
    pub(crate) fn sound(&self) -> &Arc<dyn Recorder> {
        &self.sound
    }

    /// From now on this is the only fault.
    fn fail(&self, faults: impl IntoIterator<Item = (usize, Fault)>) {
        self.state.lock().unwrap().faults = faults.into_iter().collect();
    }

    fn calls(&self) -> usize {
        self.state.lock().unwrap().calls
    }

    /// Counts a call, lands the appends that are due, and returns the fault.
    async fn call(&self) -> Option<Fault> {
        let (fault, landing) = {
            let mut state = self.state.lock().unwrap();
            let call = state.calls;
            state.calls += 1;
            let due = |(at, _): &mut (usize, Append)| *at <= call;
            let landing: Vec<_> = state.late.extract_if(.., due).collect();
            let fault = match state.faults.front() {
                Some((at, _)) if *at == call => state.faults.pop_front().map(|(_, fault)| fault),
                _ => None,
            };
            (fault, landing)
        };
        for (_, append) in landing {
            // The outcome is dropped.
            let _ = self.sound.append(append).await;
        }
        fault
    }

    async fn read<T>(&self, read: BoxFuture<'_, Result<T, RecordError>>) -> Result<T, RecordError> {
        match self.call().await {
            Some(Fault::Unavailable) => Err(unavailable()),
            _ => read.await,
        }
    }

    /// Another writer records an event like the first of this append, but without moving money.
    async fn be_faster(&self, append: &Append) {
        let mut rival = append.new_events()[0].clone();
        rival.id = racing::event("any").id;
        rival.metadata = Default::default();
        if rival.topic != "AccountEvent.Opened" {
            rival.payload = Some(r#"{"cents":0}"#.into());
        }
        self.sound.append(Append::of([rival])).await.unwrap();
    }
}

fn unavailable() -> RecordError {
    RecordError::unavailable("calling", std::io::Error::other("out of order"))
}

impl RecorderLayer for Faulty {
    fn inner(&self) -> &Arc<dyn Recorder> {
        &self.sound
    }

    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, RecordError>> {
        let number = self.appends.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            let unknown = || {
                let lost = std::io::Error::other("the line went dead");
                Err(RecordError::outcome_unknown("appending", lost))
            };
            tokio::task::yield_now().await;
            let mut allowed = self.allowed.subscribe();
            let waited = allowed.wait_for(|allowed| number < *allowed).await;
            drop(waited.expect("the sender lives as long as this"));
            match self.call().await {
                None => self.sound.append(append).await,
                Some(Fault::Unavailable) => Err(unavailable()),
                Some(Fault::UnknownNotRecorded) => unknown(),
                Some(Fault::UnknownRecorded) => {
                    let _ = self.sound.append(append).await;
                    unknown()
                }
                Some(Fault::UnknownLate(calls)) => {
                    let mut state = self.state.lock().unwrap();
                    let due = state.calls - 1 + calls;
                    state.late.push((due, append));
                    unknown()
                }
                Some(Fault::Rival) => {
                    self.be_faster(&append).await;
                    self.sound.append(append).await
                }
            }
        })
    }

    fn read_log(&self, read: LogRead) -> BoxFuture<'_, Result<Page, RecordError>> {
        Box::pin(self.read(self.sound.read_log(read)))
    }

    fn read_stream(&self, read: StreamRead) -> BoxFuture<'_, Result<Page, RecordError>> {
        Box::pin(self.read(self.sound.read_stream(read)))
    }

    fn event(&self, id: EventId) -> BoxFuture<'_, Result<Option<StoredEvent>, RecordError>> {
        Box::pin(self.read(self.sound.event(id)))
    }

    fn head(&self) -> BoxFuture<'_, Result<Head, RecordError>> {
        Box::pin(self.read(self.sound.head()))
    }

    fn streams<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<StreamEntry>, RecordError>> {
        Box::pin(self.read(self.sound.streams(prefix, after, limit)))
    }

    fn topics<'a>(
        &'a self,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Arc<str>>, RecordError>> {
        Box::pin(self.read(self.sound.topics(after, limit)))
    }

    fn put_snapshot(&self, snapshot: StoredSnapshot) -> BoxFuture<'_, Result<(), RecordError>> {
        Box::pin(self.read(self.sound.put_snapshot(snapshot)))
    }

    fn snapshot<'a>(
        &'a self,
        stream: &'a str,
        until: Option<Version>,
    ) -> BoxFuture<'a, Result<Option<StoredSnapshot>, RecordError>> {
        Box::pin(self.read(self.sound.snapshot(stream, until)))
    }
}

/// Retries a command until it gets a result; any other error is a failure of the test.
macro_rules! until_answered {
    ($command:expr) => {
        loop {
            match $command.await {
                Ok(answer) => break answer,
                Err(error) => match Error::from(error) {
                    Error::Unavailable(_) | Error::OutcomeUnknown { .. } => {}
                    other => panic!("{other}"),
                },
            }
        }
    };
}

/// Commands of every kind, each under an id and retried until it gets a result.
async fn workload(bank: &Application) {
    let one: Id<Account> = "1".into();
    let two: Id<Account> = "2".into();
    for (id, command) in [(&one, "open 1"), (&two, "open 2")] {
        until_answered!(
            bank.execute_or_create(id, |_| opened("ann"))
                .command_id(command)
        );
    }
    for number in 0..12 {
        until_answered!(
            bank.execute(&one, |_| [deposited(1), deposited(2)])
                .command_id(format!("deposit {number}"))
        );
    }
    for number in 0..3 {
        until_answered!(
            bank.change((one.clone(), two.clone()), |(one, two)| {
                one.record(one.withdraw(5)?);
                two.record(deposited(5));
                Ok::<_, crate::accounts::Refusal>(())
            })
            .command_id(format!("transfer {number}"))
        );
    }
    let accounts = retold_core::application::fold_of::<AccountCount, AccountEvent>()
        .only("AccountEvent.Opened")
        .tag("owner:ann");
    until_answered!(
        bank.decide(&accounts, |accounts| {
            (accounts.0 >= 2).then(|| opened("ann").to(&Id::<Account>::from("3")))
        })
        .command_id("open 3")
    );
}

async fn check(log: &Arc<dyn Recorder>, cache_size: usize) {
    let builder = Application::builder("bank").recorder(Arc::clone(log));
    let bank = builder.cache_size(cache_size).open().await.unwrap();
    let one = bank.get(Id::<Account>::from("1")).await.unwrap();
    let two = bank.get(Id::<Account>::from("2")).await.unwrap();
    let three = bank.get(Id::<Account>::from("3")).await.unwrap();
    assert_eq!(
        (one.state.cents, two.state.cents, three.state.cents),
        (21, 15, 0)
    );
    // As counted by the events themselves: a rival deposits nothing, under no command.
    let events = log.read_log(LogRead::new()).await.unwrap().events;
    let of_commands = events.iter().filter(|it| !it.metadata_bytes().is_empty());
    assert_eq!(of_commands.count(), 2 + 24 + 6 + 1);
}

#[tokio::test]
async fn every_fault_at_every_call_leaves_each_command_executed_once() {
    for cache_size in [0, 10] {
        let dry = Faulty::new(racing::log().await, []);
        let open = |log: Arc<Faulty>| async move {
            let builder = Application::builder("bank").recorder(log);
            builder.cache_size(cache_size).open().await.unwrap()
        };
        workload(&open(dry.clone()).await).await;
        check(&dry.sound, cache_size).await;
        for call in 0..dry.calls() {
            for fault in FAULTS {
                let log = racing::log().await;
                let faulty = Faulty::new(log.clone(), [(call, fault)]);
                println!("{fault:?} at call {call}, cache of {cache_size}");
                workload(&open(faulty).await).await;
                check(&log, cache_size).await;
            }
        }
    }
}

#[tokio::test]
async fn many_faults_leave_each_command_executed_once() {
    let seed = racing::seed();
    for round in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed.wrapping_add(round));
        let mut faults = Vec::new();
        for call in 0..400 {
            if random.u8(0..3) == 0 {
                faults.push((call, FAULTS[random.usize(..FAULTS.len())]));
            }
        }
        let log = racing::log().await;
        let faulty = Faulty::new(log.clone(), faults);
        let builder = Application::builder("bank").recorder(faulty);
        let bank = builder.open().await.unwrap();
        println!("round {round}");
        racing::soon(workload(&bank)).await;
        check(&log, 10).await;
    }
}

#[tokio::test]
async fn an_outcome_that_stays_unknown_is_returned_and_settled() {
    let log = racing::log().await;
    let sends = SETTLE_ATTEMPTS_MAX as usize;
    // The snapshot and the stream are read first.
    let faults = (2..2 + sends).map(|call| (call, Fault::UnknownNotRecorded));
    let faulty = Faulty::new(log.clone(), faults.collect::<Vec<_>>());
    let builder = Application::builder("bank").recorder(faulty.clone());
    let bank = builder.open().await.unwrap();
    let id: Id<Account> = "1".into();
    let unknown = bank.execute_or_create(&id, |_| opened("ann")).await;
    assert_eq!(faulty.calls(), 2 + sends);
    let Err(ExecuteError::Retold(Error::OutcomeUnknown {
        append: Some(append),
        ..
    })) = unknown
    else {
        panic!("{unknown:?}");
    };
    bank.settle(append.clone()).await.unwrap();
    assert_eq!(bank.get(&id).await.unwrap().state.owner, "ann");
    assert!(matches!(
        bank.settle(append).await.unwrap(),
        Appended::Repeated(_)
    ));
}

/// An append that can be resent without recording anything twice is retriable, and resending works.
#[tokio::test]
async fn an_unknown_outcome_is_retriable_where_the_same_is_sent_again() {
    for recorded in [Fault::UnknownRecorded, Fault::UnknownNotRecorded] {
        let log = racing::log().await;
        let faulty = Faulty::new(log.clone(), []);
        let builder = Application::builder("bank").recorder(faulty.clone());
        let bank = builder.open().await.unwrap();
        let fail = || {
            // Reads do not fail in this way.
            let next = faulty.calls();
            faulty.fail(
                (next..next + 10 * SETTLE_ATTEMPTS_MAX as usize).map(|call| (call, recorded)),
            );
        };
        let id: Id<Account> = "1".into();
        let open = || bank.execute_or_create(&id, |_| opened("ann"));
        fail();
        let unknown = open().command_id("request 1").await;
        let Err(ExecuteError::Retold(error)) = unknown else {
            panic!("{recorded:?}: {unknown:?}");
        };
        assert!(error.is_retriable(), "{recorded:?}: {error}");
        faulty.fail([]);
        open().command_id("request 1").await.unwrap();
        assert_eq!(bank.get(&id).await.unwrap().version, Version::FIRST);

        // Without an id it would be another command.
        fail();
        let unknown = bank.execute(&id, |_| deposited(1)).await;
        let Err(ExecuteError::Retold(error)) = unknown else {
            panic!("{recorded:?}: {unknown:?}");
        };
        assert!(!error.is_retriable(), "{recorded:?}: {error}");
        let Error::OutcomeUnknown {
            append: Some(append),
            ..
        } = error
        else {
            panic!("{recorded:?}: {error}");
        };
        // The append that was returned is the same one.
        let error = bank.settle(append.clone()).await.unwrap_err();
        assert!(error.is_retriable(), "{recorded:?}: {error}");
        faulty.fail([]);
        bank.settle(append).await.unwrap();
        assert_eq!(bank.get(&id).await.unwrap().state.cents, 1);
    }
}

/// A conflict that other writes may resolve does not settle an attempt that may still be in flight
/// (rule 14): it is not a final result. Method: the append lands after it was resent in vain and
/// another writer has written the event that it waits for.
#[tokio::test]
async fn a_conflict_that_may_pass_settles_nothing() {
    let expectations = [ExpectedVersion::Exists, ExpectedVersion::At(Version::FIRST)];
    for expected in expectations {
        let log = racing::log().await;
        let landing = SETTLE_ATTEMPTS_MAX as usize;
        let faulty = Faulty::new(log.clone(), [(0, Fault::UnknownLate(landing))]);
        let builder = Application::builder("bank").recorder(faulty.clone());
        let bank = builder.open().await.unwrap();
        let append = Append::new()
            .event(racing::event("any"))
            .condition(Condition::stream_at("awaited", expected));
        let outcome = bank.settle(append).await;
        let Err(Error::OutcomeUnknown {
            append: Some(append),
            ..
        }) = outcome
        else {
            panic!("{outcome:?}");
        };
        let awaited = racing::event("any").stream("awaited");
        log.append(Append::of([awaited])).await.unwrap();
        let settled = bank.settle(append).await.unwrap();
        assert!(matches!(settled, Appended::Repeated(_)), "{settled:?}");
    }
}
