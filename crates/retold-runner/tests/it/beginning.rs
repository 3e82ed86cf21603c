//! How runners start while their store is busy or absent, and that a node continues after any
//! failure of its store.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use retold::recording::{BoxFuture, MemoryStore, RecordError, Store};
use retold::runner::{Cluster, ClusterOptions, JoinError, MultiThread};
use retold::sqlite::{SqliteOptions, SqliteStore};
use retold::system::{Infrastructure, OpenSystem, Opening, Runner, SingleThread};

use crate::faulty::{Behaviour, Call, Fate, FaultyStore};
use crate::nodes::{TIME_TO_LIVE, join, options, until_spread};
use crate::patience::{PATIENCE, in_time, until};
use crate::shop::{place, shop};

/// The calls of a store that a test observes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Open,
    Lease,
    Leases,
    ReadLog,
}

impl Kind {
    fn of(call: &Call<'_>) -> Option<Self> {
        match call {
            Call::Open => Some(Self::Open),
            Call::Lease => Some(Self::Lease),
            Call::Leases => Some(Self::Leases),
            Call::ReadLog => Some(Self::ReadLog),
            _ => None,
        }
    }
}

/// How a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Sound,
    Unavailable,
    Unknown,
    Invalid,
    Silent,
    Panic,
}

/// Ends calls as a function of their kind and number decides; each kind is counted from 1.
struct Ends {
    of: Box<dyn Fn(Kind, u32) -> End + Send + Sync>,
    counts: [AtomicU32; 4],
}

impl Ends {
    fn count(&self, kind: Kind) -> u32 {
        self.counts[kind as usize].load(Ordering::SeqCst)
    }
}

impl Behaviour for Ends {
    fn meet<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Fate> {
        Box::pin(async move {
            let Some(kind) = Kind::of(&call) else {
                return Fate::Sound;
            };
            let number = self.counts[kind as usize].fetch_add(1, Ordering::SeqCst) + 1;
            let broken = || io::Error::from(io::ErrorKind::ConnectionRefused);
            Fate::Fail(match (self.of)(kind, number) {
                End::Sound => return Fate::Sound,
                End::Unavailable => RecordError::unavailable("calling", broken()),
                End::Unknown => RecordError::outcome_unknown("calling", broken()),
                End::Invalid => RecordError::invalid("this never succeeds"),
                End::Silent => std::future::pending().await,
                End::Panic => panic!("the driver has a fault"),
            })
        })
    }
}

fn ending(
    inner: impl Store + 'static,
    of: impl Fn(Kind, u32) -> End + Send + Sync + 'static,
) -> (Infrastructure, Arc<Ends>) {
    let ends = Ends {
        of: Box::new(of),
        counts: Default::default(),
    };
    let store = FaultyStore::over(inner, ends);
    let ends = Arc::clone(&store.behaviour);
    (Infrastructure::new(Arc::new(store)), ends)
}

/// How often each kind of call fails at first.
const FAILURES: u32 = 3;

fn absent_at_first(call: Kind, number: u32) -> End {
    match (call, number) {
        (_, 1) => End::Unavailable,
        (Kind::Open | Kind::Lease, 2..=FAILURES) => End::Unknown,
        (_, 2..=FAILURES) => End::Unavailable,
        _ => End::Sound,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_runner_starts_over_a_store_that_is_absent_at_first() {
    let (infrastructure, ends) = ending(MemoryStore::new(), absent_at_first);
    let system = shop();
    let open = OpenSystem::open(&system, &infrastructure, Opening::Write);
    in_time("the logs are opened", open).await.unwrap();
    assert_eq!(ends.count(Kind::Open), FAILURES + 2);

    let (infrastructure, ends) = ending(MemoryStore::new(), absent_at_first);
    let started = MultiThread::start(&shop(), &infrastructure).await.unwrap();
    place(&started.application("orders").unwrap(), "1", "tea").await;
    crate::shop::settled(&started).await;
    assert!(ends.count(Kind::Open) > FAILURES);

    let (infrastructure, ends) = ending(MemoryStore::new(), absent_at_first);
    let started = SingleThread::start(&shop(), &infrastructure).await.unwrap();
    assert!(ends.count(Kind::ReadLog) > FAILURES);
    place(&started.application("orders").unwrap(), "1", "tea").await;
    assert_eq!(
        crate::shop::count(&started.application("stock").unwrap(), "Reserved").await,
        1
    );

    let (infrastructure, ends) = ending(MemoryStore::new(), absent_at_first);
    let node = join(&infrastructure, "one").await;
    assert!(ends.count(Kind::Lease) > FAILURES && ends.count(Kind::Leases) > FAILURES);
    until_spread(&node, &["one"]).await;
}

/// A lease call has a time limit of a third of the lease's life; a store that was blocked for
/// longer used to end the node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_joins_although_a_lease_call_timed_out() {
    let silent_at_first = |call, number| match (call, number) {
        (Kind::Lease, 1) | (Kind::Leases, 1) => End::Silent,
        _ => End::Sound,
    };
    let (infrastructure, _) = ending(MemoryStore::new(), silent_at_first);
    let node = join(&infrastructure, "one").await;
    until_spread(&node, &["one"]).await;
}

#[tokio::test]
async fn permanent_failures_are_not_waited_for() {
    let never = |failing: Kind| {
        move |call, _| match call == failing {
            true => End::Invalid,
            false => End::Sound,
        }
    };
    let (infrastructure, ends) = ending(MemoryStore::new(), never(Kind::Open));
    let started = MultiThread::start(&shop(), &infrastructure).await;
    assert!(
        matches!(started, Err(retold::Error::Invalid(_))),
        "{started:?}"
    );
    assert_eq!(ends.count(Kind::Open), 1);

    let (infrastructure, ends) = ending(MemoryStore::new(), never(Kind::Lease));
    let joined = Cluster::join(&shop(), &infrastructure, "one", options()).await;
    let error = joined.unwrap_err();
    assert!(
        matches!(error, JoinError::Failed(retold::Error::Invalid(_))),
        "{error:?}"
    );
    assert_eq!(ends.count(Kind::Lease), 1);
}

#[tokio::test]
async fn a_start_fails_with_the_error_of_the_store_when_its_time_is_up() {
    for (wait, attempts) in [(Duration::ZERO, 1..=1), (Duration::from_millis(30), 2..=30)] {
        let absent = |_, _| End::Unavailable;
        let (infrastructure, ends) = ending(MemoryStore::new(), absent);
        let infrastructure = infrastructure.open_wait_max(wait);
        let error = MultiThread::start(&shop(), &infrastructure).await;
        let error = error.unwrap_err();
        assert!(matches!(error, retold::Error::Unavailable(_)), "{error:?}");
        let made = ends.count(Kind::Open);
        assert!(attempts.contains(&made), "{made} attempts in {wait:?}");

        let no_leases = |call, _| match call {
            Kind::Lease => End::Unavailable,
            _ => End::Sound,
        };
        let (infrastructure, ends) = ending(MemoryStore::new(), no_leases);
        let infrastructure = infrastructure.open_wait_max(wait);
        let joined = Cluster::join(&shop(), &infrastructure, "one", options()).await;
        let error = joined.unwrap_err();
        assert!(
            matches!(error, JoinError::Failed(retold::Error::Unavailable(_))),
            "{error:?}"
        );
        let made = ends.count(Kind::Lease);
        assert!(attempts.contains(&made), "{made} attempts in {wait:?}");
    }
}

/// The other connection releases the file after several attempts have met it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_starts_on_a_file_that_another_connection_locks() {
    const MEETINGS: u32 = 4;
    for held in [Kind::Open, Kind::Lease] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.db");
        let patient = SqliteOptions::new().busy_wait_max(Duration::from_millis(1));
        let store = SqliteStore::open_with(&path, &patient).unwrap();
        let other = retold::sqlite::rusqlite::Connection::open(&path).unwrap();
        let other = Mutex::new(Some(other));
        let (infrastructure, ends) = ending(store, move |call, number| {
            let mut other = other.lock().unwrap();
            match number {
                1 if call == held => {
                    let other = other.as_ref().unwrap();
                    other.execute_batch("BEGIN IMMEDIATE").unwrap();
                }
                MEETINGS if call == held => drop(other.take()),
                _ => {}
            }
            End::Sound
        });
        let node = join(&infrastructure, "one").await;
        assert!(ends.count(held) >= MEETINGS, "{held:?}");
        until_spread(&node, &["one"]).await;
    }
}

/// A fault of a driver is no reason for a node to end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_continues_after_a_panic_in_the_store() {
    let is_faulty = Arc::new(AtomicU32::new(0));
    let left = Arc::clone(&is_faulty);
    let panics = move |call, _| {
        let less = |left: u32| left.checked_sub(1);
        let is_meant = matches!(call, Kind::Lease | Kind::Leases);
        let taken = is_meant
            && left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
                .is_ok();
        if taken { End::Panic } else { End::Sound }
    };
    let (infrastructure, _) = ending(MemoryStore::new(), panics);
    let node = join(&infrastructure, "one").await;
    until_spread(&node, &["one"]).await;
    is_faulty.store(3, Ordering::SeqCst);
    until("the panics have happened", async || {
        is_faulty.load(Ordering::SeqCst) == 0
    })
    .await;
    until("the node looks again", async || {
        node.cluster_status().await.is_well()
    })
    .await;
    assert!(node.health().await.is_live());
    place(&node.application("orders").unwrap(), "1", "tea").await;
    crate::shop::settled(&node).await;
    assert!(node.stop().await.is_clean());
}

/// Waiting for the name of a living node has its own option.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_is_taken_is_not_waited_for() {
    let (infrastructure, _) = ending(MemoryStore::new(), |_, _| End::Sound);
    let long = ClusterOptions::new().time_to_live(PATIENCE.max(TIME_TO_LIVE) * 10);
    let system = shop();
    let _one = Cluster::join(&system, &infrastructure, "one", long.clone())
        .await
        .unwrap();
    let again = Cluster::join(&system, &infrastructure, "one", long);
    let again = in_time("it is refused", again).await;
    assert!(matches!(again, Err(JoinError::NameTaken { .. })));
}
