//! Aggregates, caches, snapshots, views and followers when recorded events are amended.

use std::sync::Arc;
use std::sync::Mutex;

use retold_core::application::limits::ERASED_PART_MAX;
use retold_core::application::{
    AmendmentRecord, Application, Error, ExecuteError, Outcome, fold_of,
};
use retold_core::domain::Id;
use retold_core::mapping::Addressed;
use retold_core::recording::{
    Append, BoxFuture, ErasedParts, EventId, LogRead, NewEvent, Page, RecordError, Recorder,
    RecorderLayer, StoredEvent, StoredSnapshot, StreamRead, Version,
};
use uuid::Uuid;

use crate::accounts::{Account, AccountEvent, deposited, opened};
use crate::racing;

fn version(number: u64) -> Version {
    Version::new(number).unwrap()
}

async fn open(log: &Arc<dyn Recorder>) -> Application {
    let builder = Application::builder("bank").recorder(Arc::clone(log));
    builder.open().await.unwrap()
}

/// An account of ann with this number of deposits of one cent.
async fn account(bank: &Application, key: &str, deposits: u64) -> Id<Account> {
    let id: Id<Account> = key.into();
    bank.execute_or_create(&id, |_| opened("ann"))
        .await
        .unwrap();
    for _ in 0..deposits {
        bank.execute(&id, |_| deposited(1)).await.unwrap();
    }
    id
}

async fn event_at(log: &Arc<dyn Recorder>, id: &Id<Account>, number: u64) -> StoredEvent {
    let before = Version::new(number - 1);
    let read = StreamRead::new(id.stream()).after(before);
    log.read_stream(read.limit(1))
        .await
        .unwrap()
        .events
        .remove(0)
}

async fn stream(log: &Arc<dyn Recorder>, id: &Id<Account>) -> Vec<StoredEvent> {
    let page = log.read_stream(StreamRead::new(id.stream())).await;
    page.unwrap().events
}

fn assert_deleted<T>(result: Result<T, Error>) {
    match result {
        Err(Error::Deleted { .. }) => {}
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it is deleted"),
    }
}

/// Every process that knew the aggregate refuses it from then on, however it read it before.
#[tokio::test]
async fn a_deleted_aggregate_is_gone_in_every_process() {
    let log = racing::log().await;
    let (bank, other) = (open(&log).await, open(&log).await);
    let id = account(&bank, "1", 12).await;
    assert_eq!(other.get(&id).await.unwrap().state.cents, 12);
    let mut view = other.view(id.clone()).await.unwrap();
    assert!(log.snapshot("Account/1", None).await.unwrap().is_some());

    let amended = bank.delete(&id, "eve", "request 17").await.unwrap();
    assert_eq!(amended.events, 13);
    assert_eq!(log.snapshot("Account/1", None).await.unwrap(), None);
    for bank in [&bank, &other, &open(&log).await] {
        assert_deleted(bank.get(&id).await);
        assert_eq!(bank.find(&id).await.unwrap(), None);
        assert_deleted(bank.get_at(&id, version(14)).await);
        assert_deleted(bank.get_as_of(&id, bank.now()).await);
        assert_deleted(bank.take_snapshot(&id).await.map(drop));
        let commands = [
            bank.execute(&id, |_| deposited(1)).await,
            bank.execute(&id, |_| deposited(1)).command_id("c").await,
            bank.execute_or_create(&id, |_| opened("ann")).await,
            bank.execute(&id, |_| Vec::<AccountEvent>::new()).await,
        ];
        for command in commands {
            assert_deleted(command.map_err(Error::from));
        }
        let to_it = bank.decide((), |()| deposited(1).to(&id)).await;
        assert_deleted(to_it.map_err(Error::from));
        assert!(
            bank.aggregates::<Account>()
                .collect()
                .await
                .unwrap()
                .is_empty()
        );
    }
    assert_deleted(view.refresh(&other).await);
    // Neither is an earlier version, also if a process had cached one.
    let erased = other
        .get_at(&id, version(13))
        .await
        .unwrap_err()
        .to_string();
    assert!(erased.contains("erased"), "{erased}");

    let events = stream(&log, &id).await;
    assert_eq!(events.len(), 14);
    assert!(events[..13].iter().all(StoredEvent::is_erased));
    assert!(events.iter().all(|it| it.tags().count() == 0));
    let record: AmendmentRecord = bank.mapper().decode(&events[13]).unwrap();
    assert_eq!((record.by(), record.reason()), ("eve", "request 17"));
    let again = other.delete(&id, "eve", "again").await.unwrap();
    assert_eq!((again.events, again.record), (0, None));
}

/// It begins again with the default, and its versions continue.
#[tokio::test]
async fn a_reopened_aggregate_begins_again() {
    let log = racing::log().await;
    let (bank, other) = (open(&log).await, open(&log).await);
    let id = account(&bank, "1", 3).await;
    other.get(&id).await.unwrap();
    let early = bank.reopen(&id, "eve", "too early").await;
    assert!(matches!(early, Err(Error::Invalid(_))), "{early:?}");
    bank.delete(&id, "eve", "request 17").await.unwrap();
    for bank in [&bank, &other] {
        assert_deleted(bank.get(&id).await);
    }
    bank.reopen(&id, "eve", "it was a mistake").await.unwrap();
    for bank in [&bank, &other, &open(&log).await] {
        let loaded = bank.get(&id).await.unwrap();
        assert_eq!(
            (loaded.version, loaded.state),
            (version(6), Account::default())
        );
    }
    for bank in [&bank, &other] {
        let decided = bank.decide(id.clone(), |_: &Account| Vec::<AccountEvent>::new());
        decided.await.unwrap();
    }
    let recorded = other.execute(&id, |_| opened("bob")).await.unwrap();
    assert_eq!(recorded.version, Some(version(7)));
    for bank in [&bank, &other, &open(&log).await] {
        assert_eq!(bank.get(&id).await.unwrap().state.owner, "bob");
        let alive = bank.aggregates::<Account>().collect().await.unwrap();
        assert_eq!(alive, std::slice::from_ref(&id));
    }
    let twice = bank.reopen(&id, "eve", "again").await;
    assert!(matches!(twice, Err(Error::Invalid(_))), "{twice:?}");
}

/// Caches of other processes, snapshots and views are folded again from the replaced events.
#[tokio::test]
async fn a_replaced_event_changes_every_state_that_has_seen_it() {
    let log = racing::log().await;
    let (bank, other) = (open(&log).await, open(&log).await);
    let id = account(&bank, "1", 12).await;
    other.get(&id).await.unwrap();
    let mut accounts = other
        .view(fold_of::<Account, AccountEvent>())
        .await
        .unwrap();
    let mut single = other.view(id.clone()).await.unwrap();
    let deposit = event_at(&log, &id, 2).await;
    let amender = bank.amender("eve", "a typing error").unwrap();
    let amended = amender.replace_by(deposit.id(), &deposited(100)).await;
    assert_eq!(amended.unwrap().events, 1);
    for bank in [&bank, &other, &open(&log).await] {
        assert_eq!(bank.get(&id).await.unwrap().state.cents, 111);
        let recorded = bank.execute(&id, |it: &Account| {
            assert_eq!(it.cents, 111);
            Vec::<AccountEvent>::new()
        });
        assert_eq!(recorded.await.unwrap().outcome, Outcome::Nothing);
    }
    single.refresh(&other).await.unwrap();
    assert_eq!(single.state.cents, 111);
    accounts.refresh(&other).await.unwrap();
    assert_eq!(accounts.state.cents, 111);
    let then = other.get_at(&id, version(2)).await.unwrap();
    assert_eq!(then.state.cents, 100);
}

/// A command that was decided on the old content is decided again.
#[tokio::test]
async fn a_decision_on_amended_events_is_made_again() {
    let log = racing::log().await;
    let (bank, other) = (open(&log).await, open(&log).await);
    let id = account(&bank, "1", 1).await;
    other.get(&id).await.unwrap();
    let deposit = event_at(&log, &id, 2).await;
    let amender = bank.amender("eve", "a typing error").unwrap();
    amender
        .replace_by(deposit.id(), &deposited(100))
        .await
        .unwrap();
    let seen = Mutex::new(Vec::new());
    let decide = |it: &Account| {
        seen.lock().unwrap().push(it.cents);
        deposited(1)
    };
    other.execute(&id, decide).await.unwrap();
    assert_eq!(seen.into_inner().unwrap(), [1, 100]);
}

/// An erased event whose type declares no value for it is an error, which names it, and another
/// that is deleted is not.
#[tokio::test]
async fn an_aggregate_with_an_erased_event_is_not_guessed() {
    let log = racing::log().await;
    let (bank, other) = (open(&log).await, open(&log).await);
    let id = account(&bank, "1", 3).await;
    other.get(&id).await.unwrap();
    let deposit = event_at(&log, &id, 2).await;
    let amender = bank.amender("eve", "request 17").unwrap();
    let dry = amender.clone().dry_run(true);
    let dry = dry
        .erase_event(deposit.id(), ErasedParts::ALL)
        .await
        .unwrap();
    assert_eq!((dry.events, dry.record), (1, None));
    assert_eq!(other.get(&id).await.unwrap().state.cents, 3);
    amender
        .erase_event(deposit.id(), ErasedParts::ALL)
        .await
        .unwrap();
    for bank in [&bank, &other, &open(&log).await] {
        let error = bank.get(&id).await.unwrap_err().to_string();
        assert!(
            error.contains("version 2") && error.contains("erased"),
            "{error}"
        );
    }
    let again = amender.erase_event(deposit.id(), ErasedParts::ALL).await;
    let error = again.unwrap_err().to_string();
    assert!(error.contains("already been erased"), "{error}");
}

#[tokio::test]
async fn bad_amendments_are_refused_with_reasons() {
    let log = racing::log().await;
    let bank = open(&log).await;
    let id = account(&bank, "1", 1).await;
    for (by, reason) in [("", "why"), ("eve", " "), ("eve", &*"x".repeat(1025))] {
        assert!(matches!(bank.amender(by, reason), Err(Error::Invalid(_))));
    }
    let amender = bank.amender("eve", "request 17").unwrap();
    let unknown = EventId::new(Uuid::from_u128(7));
    let missing = amender.erase_event(unknown, ErasedParts::PAYLOAD).await;
    assert!(
        missing
            .unwrap_err()
            .to_string()
            .contains("no event with the id")
    );
    let parts = ErasedParts::PAYLOAD;
    let late = amender
        .erase_stream(id.stream(), Some(version(3)), parts)
        .await;
    assert!(matches!(late, Err(Error::NotFound { .. })), "{late:?}");
    let absent = amender.delete_stream("Account/9", parts).await;
    assert!(matches!(absent, Err(Error::NotFound { .. })), "{absent:?}");
    let record = bank.delete(&id, "eve", "request 17").await.unwrap().record;
    let of_record = amender.erase_event(record.unwrap().event_id, parts).await;
    let error = of_record.unwrap_err().to_string();
    assert!(error.contains("records an amendment"), "{error}");
    assert_deleted(amender.erase_stream(id.stream(), None, parts).await);
}

/// A recorder that does something once, just before the append with this number.
struct Interrupting {
    inner: Arc<dyn Recorder>,
    appends: Mutex<u32>,
    /// The number of the append that fails, counted from 1.
    fails_at: u32,
}

impl RecorderLayer for Interrupting {
    fn inner(&self) -> &Arc<dyn Recorder> {
        &self.inner
    }

    fn append(
        &self,
        append: Append,
    ) -> BoxFuture<'_, Result<retold_core::recording::Appended, RecordError>> {
        let mut appends = self.appends.lock().unwrap();
        *appends += 1;
        if *appends == self.fails_at {
            let gone = std::io::Error::other("the process was killed");
            return Box::pin(async { Err(RecordError::unavailable("appending", gone)) });
        }
        self.inner.append(append)
    }
}

/// Goal: a deletion that is killed at any step leaves a stream that a second call deletes. Method:
/// a stream longer than one part; each append fails once.
#[tokio::test]
async fn a_deletion_that_was_interrupted_is_completed() {
    let long = ERASED_PART_MAX + 10;
    for fails_at in 1..=4 {
        let log = racing::log().await;
        let id: Id<Account> = "1".into();
        let events = (0..long).map(|number| {
            let id = EventId::new(Uuid::from_u128(u128::from(number) + 1));
            NewEvent::new(id, "AccountEvent.Deposited", r#"{"cents":1}"#).stream("Account/1")
        });
        let events: Vec<_> = events.collect();
        log.append(Append::of(events)).await.unwrap();
        let interrupted = Arc::new(Interrupting {
            inner: log.clone(),
            appends: Mutex::new(0),
            fails_at,
        });
        let failing = Application::builder("bank").recorder(interrupted);
        let failing = failing.open().await.unwrap();
        let first = failing.delete(&id, "eve", "request 17").await;
        let bank = open(&log).await;
        match fails_at {
            1 => assert_eq!(stream_version(&log, &id).await, long),
            2 => {
                assert!(first.is_err(), "{first:?}");
                assert_deleted(
                    bank.execute(&id, |_| deposited(1))
                        .await
                        .map_err(Error::from),
                );
            }
            _ => assert_eq!(first.unwrap().events, long),
        }
        bank.delete(&id, "eve", "request 17").await.unwrap();
        let all = log.read_log(LogRead::new().limit(2_000)).await.unwrap();
        let left = all
            .events
            .iter()
            .filter(|it| it.topic() == "AccountEvent.Deposited" && !it.is_erased());
        assert_eq!(left.count(), 0, "{fails_at}");
        assert_deleted(bank.get(&id).await);
    }
}

async fn stream_version(log: &Arc<dyn Recorder>, id: &Id<Account>) -> u64 {
    let read = StreamRead::new(id.stream()).backward().limit(1);
    let page = log.read_stream(read).await.unwrap();
    Version::number(page.events[0].version())
}

/// A recorder that amends an event between the first page of a fold and the second.
struct AmendsBetween {
    inner: Arc<dyn Recorder>,
    reads: Mutex<u32>,
    bank: Application,
    event: EventId,
}

impl RecorderLayer for AmendsBetween {
    fn inner(&self) -> &Arc<dyn Recorder> {
        &self.inner
    }

    fn read_stream(&self, read: StreamRead) -> BoxFuture<'_, Result<Page, RecordError>> {
        Box::pin(async move {
            let page = self.inner.read_stream(read).await?;
            let is_first = {
                let mut reads = self.reads.lock().unwrap();
                *reads += 1;
                *reads == 1
            };
            if is_first {
                let amender = self.bank.amender("eve", "a typing error").unwrap();
                amender
                    .replace_by(self.event, &deposited(100))
                    .await
                    .unwrap();
            }
            Ok(page)
        })
    }
}

/// Goal: a state is never a mixture of old and new content. Method: an event is replaced after its
/// page was read and before the next one is.
#[tokio::test]
async fn a_fold_that_is_overtaken_by_an_amendment_begins_again() {
    let log = racing::log().await;
    let bank = open(&log).await;
    // More than one page.
    let id: Id<Account> = "1".into();
    let deposits: Vec<AccountEvent> = (0..3_000).map(|_| deposited(1)).collect();
    bank.execute_or_create(&id, |_| deposits.clone())
        .await
        .unwrap();
    let event = event_at(&log, &id, 1).await.id();
    let between = Arc::new(AmendsBetween {
        inner: log.clone(),
        reads: Mutex::new(0),
        bank,
        event,
    });
    let reader = Application::builder("bank").recorder(between.clone());
    let reader = reader.open().await.unwrap();
    let state = reader.get(&id).await.unwrap();
    assert_eq!((state.state.cents, state.version), (3_099, version(3_001)));
    assert!(*between.reads.lock().unwrap() > 2, "there is a second page");
}

/// A recorder that amends an event between the first page of a read of the log and the second.
struct AmendsBetweenPages {
    inner: Arc<dyn Recorder>,
    reads: Mutex<u32>,
    bank: Application,
    event: EventId,
}

impl RecorderLayer for AmendsBetweenPages {
    fn inner(&self) -> &Arc<dyn Recorder> {
        &self.inner
    }

    fn read_log(&self, read: LogRead) -> BoxFuture<'_, Result<Page, RecordError>> {
        Box::pin(async move {
            let page = self.inner.read_log(read).await?;
            let is_first = {
                let mut reads = self.reads.lock().unwrap();
                *reads += 1;
                *reads == 1
            };
            if is_first {
                let amender = self.bank.amender("eve", "a typing error").unwrap();
                amender
                    .replace_by(self.event, &deposited(100))
                    .await
                    .unwrap();
            }
            Ok(page)
        })
    }
}

/// As for an aggregate: a fold over the log is of one state of it, whether or not the log had
/// amendments before.
#[tokio::test]
async fn a_fold_over_the_log_that_is_overtaken_begins_again() {
    for is_first_amendment in [true, false] {
        let log = racing::log().await;
        let bank = open(&log).await;
        let id: Id<Account> = "1".into();
        let deposits: Vec<AccountEvent> = (0..3_000).map(|_| deposited(1)).collect();
        bank.execute_or_create(&id, |_| deposits.clone())
            .await
            .unwrap();
        if !is_first_amendment {
            let second = event_at(&log, &id, 2).await.id();
            let amender = bank.amender("eve", "a typing error").unwrap();
            amender.replace_by(second, &deposited(1)).await.unwrap();
        }
        let between = Arc::new(AmendsBetweenPages {
            inner: log.clone(),
            reads: Mutex::new(0),
            bank: bank.clone(),
            event: event_at(&log, &id, 1).await.id(),
        });
        let reader = Application::builder("bank").recorder(between.clone());
        let reader = reader.open().await.unwrap();
        let view = reader
            .view(fold_of::<Account, AccountEvent>())
            .await
            .unwrap();
        assert_eq!(view.state.cents, 3_099, "{is_first_amendment}");
    }
}

/// The deletion of one aggregate leaves folds over all of them, and decisions on these, as they
/// would be without its events.
#[tokio::test]
async fn a_fold_over_the_log_passes_over_deleted_aggregates() {
    let log = racing::log().await;
    let bank = open(&log).await;
    let (one, other) = (account(&bank, "1", 3).await, account(&bank, "2", 5).await);
    let mut known = bank.view(fold_of::<Account, AccountEvent>()).await.unwrap();
    bank.delete(&one, "eve", "request 17").await.unwrap();
    known.refresh(&bank).await.unwrap();
    assert_eq!(known.state.cents, 5);
    let fold = fold_of::<Account, AccountEvent>();
    let recorded = bank.decide(fold, |all: &Account| {
        assert_eq!(all.cents, 5);
        deposited(1).to(&other)
    });
    recorded.await.unwrap();
    bank.reopen(&one, "eve", "a mistake").await.unwrap();
    bank.execute(&one, |_| deposited(2)).await.unwrap();
    let fresh = open(&log).await;
    let fresh = fresh
        .view(fold_of::<Account, AccountEvent>())
        .await
        .unwrap();
    assert_eq!(fresh.state.cents, 8);

    let erased = event_at(&log, &other, 2).await.id();
    let amender = bank.amender("eve", "request 18").unwrap();
    amender
        .erase_event(erased, ErasedParts::PAYLOAD)
        .await
        .unwrap();
    let unread = bank.view(fold_of::<Account, AccountEvent>()).await;
    assert!(
        unread.is_err(),
        "an erased event of a stream that is not deleted is not guessed"
    );
}

/// A command that is repeated under its id after its aggregate was deleted is the same command.
#[tokio::test]
async fn a_command_that_is_repeated_after_a_deletion_is_recognized() {
    let log = racing::log().await;
    let bank = open(&log).await;
    let id = account(&bank, "1", 0).await;
    let deposit = || bank.execute(&id, |_| deposited(1)).command_id("deposit 1");
    deposit().await.unwrap();
    let decide = || {
        let decided = bank.decide(fold_of::<Account, AccountEvent>(), |_: &Account| {
            deposited(1).to(&id)
        });
        decided.command_id("decide 1")
    };
    decide().await.unwrap();
    bank.delete(&id, "eve", "request 17").await.unwrap();
    assert_eq!(deposit().await.unwrap().outcome, Outcome::Repeated);
    assert_eq!(decide().await.unwrap().outcome, Outcome::Repeated);
}

#[tokio::test]
async fn the_history_of_a_follower_is_not_amended() {
    let log = racing::log().await;
    let bank = open(&log).await;
    let event = NewEvent::new(EventId::new(Uuid::from_u128(9)), "retold.paused", "{}");
    log.append(Append::of([event.stream("retold.follower/f")]))
        .await
        .unwrap();
    let amender = bank.amender("eve", "request 17").unwrap();
    let id = EventId::new(Uuid::from_u128(9));
    let parts = ErasedParts::PAYLOAD;
    for refused in [
        amender.erase_event(id, parts).await,
        amender.erase_stream("retold.follower/f", None, parts).await,
        amender.delete_stream("retold.follower/f", parts).await,
    ] {
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("history of a follower"), "{error}");
    }
}

/// A process that still has the old state stores no snapshot of it.
#[tokio::test]
async fn a_snapshot_of_an_older_state_is_not_used() {
    let log = racing::log().await;
    let (bank, late) = (open(&log).await, open(&log).await);
    let id = account(&bank, "1", 12).await;
    late.get(&id).await.unwrap();
    let old = log.snapshot("Account/1", None).await.unwrap().unwrap();
    let deposit = event_at(&log, &id, 2).await;
    let amender = bank.amender("eve", "a typing error").unwrap();
    amender
        .replace_by(deposit.id(), &deposited(100))
        .await
        .unwrap();
    log.put_snapshot(old).await.unwrap();
    assert_eq!(log.snapshot("Account/1", None).await.unwrap(), None);
    assert_eq!(open(&log).await.get(&id).await.unwrap().state.cents, 111);
    let forged = r#"{"owner":"ann","cents":5}"#;
    let newer = StoredSnapshot::new("Account/1", version(14), "Account", forged.as_bytes());
    log.put_snapshot(newer).await.unwrap();
    let used = open(&log).await.get(&id).await.unwrap();
    assert_eq!(used.state.cents, 5, "one of the present state is used");
}

/// Two amendments of one event at once: each is made on what the log has, or refused.
#[tokio::test]
async fn concurrent_amendments_are_judged_one_after_the_other() {
    let log = racing::log().await;
    let bank = open(&log).await;
    let id = account(&bank, "1", 1).await;
    let event = event_at(&log, &id, 2).await.id();
    let amender = bank.amender("eve", "request 17").unwrap();
    let erase = amender.erase_event(event, ErasedParts::PAYLOAD);
    let deposit = deposited(7);
    let replace = amender.replace_by(event, &deposit);
    let (erased, replaced) = futures_util::future::join(erase, replace).await;
    assert!(erased.is_ok() || replaced.is_ok());
    assert!(
        event_at(&log, &id, 2).await.is_erased(),
        "{erased:?} {replaced:?}"
    );
}

#[test]
fn refusals_of_deleted_streams_name_the_record() {
    let error: ExecuteError<std::convert::Infallible> =
        RecordError::from(retold_core::recording::Conflict::Deleted {
            stream: "Account/1".into(),
            record: retold_core::recording::Checkpoint {
                position: retold_core::recording::Position::FIRST,
                event_id: EventId::new(Uuid::nil()),
            },
        })
        .into();
    let text = error.to_string();
    assert!(
        text.contains("\"Account/1\" was deleted") && text.contains("reopen"),
        "{text}"
    );
}
