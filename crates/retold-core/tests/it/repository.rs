//! Reading aggregates back: now, at a version, at a time, from snapshots; and thousands of logs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;

use retold_core::application::{Application, Error, ExecuteError};
use retold_core::domain::{Aggregate, Apply, Clock, Id, ManualClock, SnapshotRule, Timestamp};
use retold_core::recording::{Append, MemoryStore, Recorder, StoredSnapshot, Version};

use crate::accounts::{Account, AccountEvent, deposited, opened};
use crate::dogs::{Dog, DogEvent, registered};
use crate::racing;

fn version(number: u64) -> Version {
    Version::new(number).unwrap()
}

async fn open(log: &Arc<dyn Recorder>) -> Application {
    let builder = Application::builder("bank").recorder(Arc::clone(log));
    builder.open().await.unwrap()
}

/// An account with `count` cents, deposited one at a time after it was opened.
async fn account(bank: &Application, count: u64) -> Id<Account> {
    let id: Id<Account> = "1".into();
    bank.execute_or_create(&id, |_| opened("ann"))
        .await
        .unwrap();
    for _ in 0..count {
        bank.execute(&id, |_| deposited(1)).await.unwrap();
    }
    id
}

#[tokio::test]
async fn an_aggregate_is_read_at_a_version() {
    let log = racing::log().await;
    let bank = open(&log).await;
    let id = account(&bank, 24).await;
    for cold in [bank.clone(), open(&log).await] {
        for number in [1, 2, 9, 10, 11, 24, 25] {
            let then = cold.get_at(&id, version(number)).await.unwrap();
            assert_eq!(
                (then.version, then.state.cents),
                (version(number), number as i64 - 1)
            );
        }
        let later = cold.get_at(&id, version(26)).await;
        assert!(
            matches!(later, Err(Error::NotFound { version: Some(it), .. }) if it == version(26))
        );
    }
    let absent = bank.get_at(Id::<Account>::from("2"), version(1)).await;
    assert!(matches!(absent, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn an_aggregate_is_read_as_of_a_time() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_micros(100)));
    let builder = Application::builder("bank").recorder(racing::log().await);
    let bank = builder.clock(clock.clone()).open().await.unwrap();
    let id = account(&bank, 2).await;
    clock.advance(Duration::from_micros(10));
    bank.execute(&id, |_| deposited(1)).await.unwrap();
    // A clock that was set back: versions count, so this one is not seen before the one above.
    clock.set(Timestamp::from_micros(50));
    bank.execute(&id, |_| deposited(1)).await.unwrap();
    let as_of = |micros| bank.get_as_of(&id, Timestamp::from_micros(micros));
    // It exists, so the error does not suggest to create it.
    assert_eq!(
        as_of(99).await.unwrap_err().to_string(),
        "\"Account/1\" has no events up to 1970-01-01T00:00:00.000099Z"
    );
    assert_eq!(as_of(100).await.unwrap().version, version(3));
    assert_eq!(as_of(109).await.unwrap().state.cents, 2);
    assert_eq!(as_of(110).await.unwrap().version, version(5));
    assert_eq!(bank.now(), clock.now());
}

#[tokio::test]
async fn snapshots_are_taken_by_interval_and_on_demand() {
    let log = racing::log().await;
    let bank = open(&log).await;
    let id = account(&bank, 24).await;
    let newest = |until| log.snapshot("Account/1", until);
    assert_eq!(newest(None).await.unwrap().unwrap().version, version(20));
    let earlier = newest(Some(version(19))).await.unwrap().unwrap();
    assert_eq!(earlier.version, version(10));
    assert_eq!(bank.take_snapshot(&id).await.unwrap(), version(25));
    bank.take_snapshot_at(&id, version(15)).await.unwrap();
    let at_15 = newest(Some(version(19))).await.unwrap().unwrap();
    assert_eq!(&at_15.payload[..], br#"{"owner":"ann","cents":14}"#);
    let late = bank.take_snapshot_at(&id, version(26)).await;
    assert!(matches!(late, Err(Error::NotFound { .. })));
    bank.drop_snapshots(&id).await.unwrap();
    assert_eq!(newest(None).await.unwrap(), None);
    assert_eq!(open(&log).await.get(&id).await.unwrap().state.cents, 24);
}

/// A state is the fold of its events, whichever snapshots exist, unless a snapshot fits.
#[tokio::test]
async fn snapshots_that_do_not_fit_are_ignored() {
    let log = racing::log().await;
    let id = account(&open(&log).await, 4).await;
    let forged = r#"{"owner":"ann","cents":1000}"#;
    let snapshot = |at, of, payload: &'static str| {
        StoredSnapshot::new("Account/1", version(at), of, payload.as_bytes())
    };
    let mut other_revision = snapshot(4, "Account", forged);
    other_revision.revision = 2;
    let useless = [
        other_revision,
        snapshot(4, "Dog", forged),
        snapshot(4, "Account", r#"{"owner":7}"#),
        snapshot(4, "Account", ""),
        snapshot(6, "Account", forged),
        snapshot(u64::MAX, "Account", forged),
    ];
    for snapshot in useless {
        log.drop_snapshots("Account/1").await.unwrap();
        log.put_snapshot(snapshot.clone()).await.unwrap();
        let account = open(&log).await.get(&id).await.unwrap();
        assert_eq!(
            (account.version, account.state.cents),
            (version(5), 4),
            "{snapshot:?}"
        );
    }
    // A snapshot that fits is used, which shows that snapshots are read at all.
    log.drop_snapshots("Account/1").await.unwrap();
    log.put_snapshot(snapshot(4, "Account", forged))
        .await
        .unwrap();
    let account = open(&log).await.get(&id).await.unwrap();
    assert_eq!((account.version, account.state.cents), (version(5), 1001));
}

/// A state that cannot be written as JSON.
#[derive(Clone, Debug, Default)]
struct Unwritable;

impl Apply<AccountEvent> for Unwritable {
    fn apply(&mut self, _: &AccountEvent) {}
}

impl Aggregate for Unwritable {
    type Event = AccountEvent;
    type Key = u64;
    const TYPE: &'static str = "Unwritable";
    const SNAPSHOTS: Option<SnapshotRule<Self>> = Some(SnapshotRule {
        every: 1,
        revision: 1,
        encode: |_| serde_json::from_str::<Vec<u8>>("no"),
        decode: |_| Ok(Self),
        is_equal: None,
    });
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_taken_fails_no_command() {
    let bank = open(&racing::log().await).await;
    let id = Id::<Unwritable>::new(1);
    let recorded = bank.execute_or_create(id, |_| opened("ann")).await.unwrap();
    assert_eq!(recorded.version, Some(version(1)));
    assert!(matches!(
        bank.take_snapshot(id).await,
        Err(Error::Invalid(_))
    ));
    let rex = bank.create::<Dog>(registered("Rex")).await.unwrap();
    assert!(matches!(
        bank.take_snapshot(rex).await,
        Err(Error::Invalid(_))
    ));
}

/// Longer than a page of the fold.
#[tokio::test]
async fn long_streams_are_read_in_pages() {
    let log = racing::log().await;
    let bank = open(&log).await;
    let id = bank.create::<Dog>(registered("Rex")).await.unwrap();
    for _ in 0..5 {
        let many: Vec<_> = (0..700).map(|_| DogEvent::Walked).collect();
        bank.execute(id, |_| many.clone()).await.unwrap();
    }
    assert_eq!(
        open(&log).await.get(id).await.unwrap().version,
        version(3501)
    );
    let then = open(&log).await.get_at(id, version(1001)).await.unwrap();
    assert_eq!(then.version, version(1001));
}

/// Many tasks on two handles: no update is lost, and none needs more retries than there are others.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_update_is_lost_under_races() {
    let log = racing::log().await;
    let banks = [open(&log).await, open(&log).await];
    let id = account(&banks[0], 0).await;
    let tasks: Vec<_> = (0..64)
        .map(|index| {
            let (bank, id) = (banks[index % 2].clone(), id.clone());
            tokio::spawn(async move {
                for _ in 0..10 {
                    let seen = |account: &Account| deposited(account.cents % 2 + 1);
                    bank.execute(&id, seen).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        racing::soon(task).await.unwrap();
    }
    let account = banks[0].get(&id).await.unwrap();
    assert_eq!(account.version, version(641));
    // 1, 3, 5, …: every deposit was decided on the state that it met.
    assert_eq!(account.state.cents, 1 + 639 * 2);
}

/// Of many requests under one command id one is executed; all get its result.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_under_one_id_are_executed_once_under_races() {
    let log = racing::log().await;
    let banks = [open(&log).await, open(&log).await];
    let id = account(&banks[0], 0).await;
    for round in 0..20_u32 {
        let before = banks[0].get(&id).await.unwrap().version;
        let tasks: Vec<_> = (0..8_usize)
            .map(|index| {
                let (bank, id) = (banks[index % 2].clone(), id.clone());
                // They decide on different numbers of events, as requests at different times may.
                let deposits = vec![deposited(1); 1 + index % 3];
                tokio::spawn(async move {
                    bank.execute(&id, |_| deposits.clone())
                        .command_id(format!("round {round}"))
                        .await
                })
            })
            .collect();
        let mut answers = Vec::new();
        for task in tasks {
            answers.push(racing::soon(task).await.unwrap().unwrap());
        }
        let executed = answers.iter().filter(|it| !it.is_repeated()).count();
        assert_eq!(executed, 1);
        let first = &answers[0];
        assert!(answers.iter().all(|it| it.positions == first.positions));
        assert!(answers.iter().all(|it| it.version == first.version));
        assert!(answers.iter().all(|it| it.checkpoint == first.checkpoint));
        let cents = [
            banks[0].get(&id).await.unwrap(),
            banks[1].get(&id).await.unwrap(),
        ];
        assert_eq!(cents[0].version, before.plus(first.positions.count()));
        assert_eq!(cents[0].state, cents[1].state);
        let cold = open(&log).await.get(&id).await.unwrap();
        assert_eq!(cents[0].state, cold.state);
    }
}

#[tokio::test]
async fn retries_are_bounded() {
    let log = racing::log().await;
    let id = account(&open(&log).await, 0).await;
    let builder = Application::builder("bank").recorder(log.clone());
    let bank = builder.retries(3).open().await.unwrap();
    let decided = AtomicUsize::new(0);
    let overtaken = bank
        .execute(&id, |_| {
            decided.fetch_add(1, Ordering::Relaxed);
            // Another writer records in between, each time; in memory that needs no waiting.
            let mut rival = racing::event("AccountEvent.Deposited").stream(id.stream());
            rival.payload = Some(r#"{"cents":0}"#.into());
            log.append(Append::of([rival]))
                .now_or_never()
                .unwrap()
                .unwrap();
            deposited(1)
        })
        .await;
    assert!(matches!(
        overtaken,
        Err(ExecuteError::Retold(Error::Conflict(_)))
    ));
    assert_eq!(decided.into_inner(), 4);
}

#[tokio::test]
async fn ten_thousand_logs_are_opened_lazily() {
    let store = Arc::new(MemoryStore::new());
    let first = Application::builder("tenant 0")
        .store(store)
        .aggregate::<Account>();
    let first = first.open().await.unwrap();
    let mut tenants = vec![first];
    for number in 1..10_000 {
        let another = tenants[0].another(format!("tenant {number}"));
        tenants.push(another.open().await.unwrap());
    }
    for (number, tenant) in tenants.iter().enumerate() {
        let cents = number as i64;
        tenant
            .execute_or_create("1", |_: &Account| [opened("ann"), deposited(cents)])
            .await
            .unwrap();
    }
    for (number, tenant) in tenants.iter().enumerate() {
        let account = tenant.get(Id::<Account>::from("1")).await.unwrap();
        assert_eq!(account.state.cents, number as i64);
        assert_eq!(tenant.head().await.unwrap().append_count, 1);
    }
}
