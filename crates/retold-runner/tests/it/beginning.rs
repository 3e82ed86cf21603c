//! How runners begin while their store is busy or absent, and that a node goes on whatever its store
//! does.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use retold::recording::error::RecordError;
use retold::recording::identity::LogId;
use retold::recording::layer::{RecorderLayer, StoreLayer};
use retold::recording::memory::MemoryStore;
use retold::recording::recorder::{BoxFuture, LogRead, Page, Recorder};
use retold::recording::store::{Lease, Store};
use retold::runner::{Cluster, ClusterOptions, JoinError, MultiThread};
use retold::sqlite::{SqliteOptions, SqliteStore};
use retold::system::{Infrastructure, OpenSystem, Opening, SingleThread};

use crate::nodes::{TIME_TO_LIVE, join, options, until_spread};
use crate::patience::{PATIENCE, in_time, until};
use crate::shop::{place, shop};

/// The calls of a store that a test looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Open,
    Lease,
    Leases,
    ReadLog,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Sound,
    Unavailable,
    Unknown,
    Invalid,
    Silent,
    Panic,
}

/// A store whose calls end as a function of their kind and number says, each kind counted from 1.
struct Fated {
    inner: Arc<dyn Store>,
    fates: Arc<Fates>,
}

struct Fates {
    of: Box<dyn Fn(Call, u32) -> Fate + Send + Sync>,
    counts: [AtomicU32; 4],
}

impl Fates {
    fn count(&self, call: Call) -> u32 {
        self.counts[call as usize].load(Ordering::SeqCst)
    }

    async fn meet<T>(
        &self,
        call: Call,
        sound: BoxFuture<'_, Result<T, RecordError>>,
    ) -> Result<T, RecordError> {
        let number = self.counts[call as usize].fetch_add(1, Ordering::SeqCst) + 1;
        let broken = || io::Error::from(io::ErrorKind::ConnectionRefused);
        match (self.of)(call, number) {
            Fate::Sound => sound.await,
            Fate::Unavailable => Err(RecordError::unavailable("calling", broken())),
            Fate::Unknown => Err(RecordError::outcome_unknown("calling", broken())),
            Fate::Invalid => Err(RecordError::invalid("it never will")),
            Fate::Silent => std::future::pending().await,
            Fate::Panic => panic!("the driver has a fault"),
        }
    }
}

struct FatedLog {
    inner: Arc<dyn Recorder>,
    fates: Arc<Fates>,
}

impl Fated {
    fn over(
        inner: impl Store + 'static,
        of: impl Fn(Call, u32) -> Fate + Send + Sync + 'static,
    ) -> (Infrastructure, Arc<Fates>) {
        let fates = Arc::new(Fates {
            of: Box::new(of),
            counts: Default::default(),
        });
        let store = Self {
            inner: Arc::new(inner),
            fates: Arc::clone(&fates),
        };
        (Infrastructure::new(Arc::new(store)), fates)
    }
}

impl StoreLayer for Fated {
    fn inner(&self) -> &Arc<dyn Store> {
        &self.inner
    }

    fn open<'a>(
        &'a self,
        log: &'a str,
        birth: LogId,
    ) -> BoxFuture<'a, Result<Arc<dyn Recorder>, RecordError>> {
        Box::pin(async move {
            let inner = self.fates.meet(Call::Open, self.inner.open(log, birth));
            let inner = inner.await?;
            let fates = Arc::clone(&self.fates);
            let log: Arc<dyn Recorder> = Arc::new(FatedLog { inner, fates });
            Ok(log)
        })
    }

    fn acquire_lease<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
        time_to_live: Duration,
    ) -> BoxFuture<'a, Result<Lease, RecordError>> {
        let sound = self.inner.acquire_lease(name, holder, time_to_live);
        Box::pin(self.fates.meet(Call::Lease, sound))
    }

    fn leases<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Lease>, RecordError>> {
        let sound = self.inner.leases(prefix, after, limit);
        Box::pin(self.fates.meet(Call::Leases, sound))
    }
}

impl RecorderLayer for FatedLog {
    fn inner(&self) -> &Arc<dyn Recorder> {
        &self.inner
    }

    fn read_log(&self, read: LogRead) -> BoxFuture<'_, Result<Page, RecordError>> {
        Box::pin(self.fates.meet(Call::ReadLog, self.inner.read_log(read)))
    }
}

/// How often each kind of call fails at first.
const FAILURES: u32 = 3;

fn absent_at_first(call: Call, number: u32) -> Fate {
    match (call, number) {
        (_, 1) => Fate::Unavailable,
        (Call::Open | Call::Lease, 2..=FAILURES) => Fate::Unknown,
        (_, 2..=FAILURES) => Fate::Unavailable,
        _ => Fate::Sound,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_runner_begins_over_a_store_that_is_absent_at_first() {
    let (infrastructure, fates) = Fated::over(MemoryStore::new(), absent_at_first);
    let system = shop();
    let open = OpenSystem::open(&system, &infrastructure, Opening::Write);
    in_time("the logs are opened", open).await.unwrap();
    assert_eq!(fates.count(Call::Open), FAILURES + 2);

    let (infrastructure, fates) = Fated::over(MemoryStore::new(), absent_at_first);
    let started = MultiThread::start(&shop(), &infrastructure).await.unwrap();
    place(&started.application("orders").unwrap(), "1", "tea").await;
    crate::shop::settled(&started).await;
    assert!(fates.count(Call::Open) > FAILURES);

    let (infrastructure, fates) = Fated::over(MemoryStore::new(), absent_at_first);
    let started = SingleThread::start(&shop(), &infrastructure).await.unwrap();
    assert!(fates.count(Call::ReadLog) > FAILURES);
    place(&started.application("orders").unwrap(), "1", "tea").await;
    assert_eq!(
        crate::shop::count(&started.application("stock").unwrap(), "Reserved").await,
        1
    );

    let (infrastructure, fates) = Fated::over(MemoryStore::new(), absent_at_first);
    let node = join(&infrastructure, "one").await;
    assert!(fates.count(Call::Lease) > FAILURES && fates.count(Call::Leases) > FAILURES);
    until_spread(&node, &["one"]).await;
}

/// A lease is asked for with a limit of a third of its life, and a store that was held for longer ended the
/// node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_joins_though_a_lease_was_not_answered_in_time() {
    let silent_at_first = |call, number| match (call, number) {
        (Call::Lease, 1) | (Call::Leases, 1) => Fate::Silent,
        _ => Fate::Sound,
    };
    let (infrastructure, _) = Fated::over(MemoryStore::new(), silent_at_first);
    let node = join(&infrastructure, "one").await;
    until_spread(&node, &["one"]).await;
}

#[tokio::test]
async fn what_waiting_does_not_mend_fails_at_once() {
    let never = |failing: Call| {
        move |call, _| match call == failing {
            true => Fate::Invalid,
            false => Fate::Sound,
        }
    };
    let (infrastructure, fates) = Fated::over(MemoryStore::new(), never(Call::Open));
    let started = MultiThread::start(&shop(), &infrastructure).await;
    assert!(
        matches!(started, Err(retold::Error::Invalid(_))),
        "{started:?}"
    );
    assert_eq!(fates.count(Call::Open), 1);

    let (infrastructure, fates) = Fated::over(MemoryStore::new(), never(Call::Lease));
    let joined = Cluster::join(&shop(), &infrastructure, "one", options()).await;
    let error = joined.unwrap_err();
    assert!(
        matches!(error, JoinError::Retold(retold::Error::Invalid(_))),
        "{error:?}"
    );
    assert_eq!(fates.count(Call::Lease), 1);
}

#[tokio::test]
async fn a_beginning_fails_with_what_the_store_says_when_its_time_is_up() {
    for (wait, attempts) in [(Duration::ZERO, 1..=1), (Duration::from_millis(30), 2..=30)] {
        let absent = |_, _| Fate::Unavailable;
        let (infrastructure, fates) = Fated::over(MemoryStore::new(), absent);
        let infrastructure = infrastructure.open_wait_max(wait);
        let error = MultiThread::start(&shop(), &infrastructure).await;
        let error = error.unwrap_err();
        assert!(matches!(error, retold::Error::Unavailable(_)), "{error:?}");
        let made = fates.count(Call::Open);
        assert!(attempts.contains(&made), "{made} attempts in {wait:?}");

        let no_leases = |call, _| match call {
            Call::Lease => Fate::Unavailable,
            _ => Fate::Sound,
        };
        let (infrastructure, fates) = Fated::over(MemoryStore::new(), no_leases);
        let infrastructure = infrastructure.open_wait_max(wait);
        let joined = Cluster::join(&shop(), &infrastructure, "one", options()).await;
        let error = joined.unwrap_err();
        assert!(
            matches!(error, JoinError::Retold(retold::Error::Unavailable(_))),
            "{error:?}"
        );
        let made = fates.count(Call::Lease);
        assert!(attempts.contains(&made), "{made} attempts in {wait:?}");
    }
}

/// The other connection lets go when it has been met several times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_begins_on_a_file_that_another_connection_holds() {
    const MEETINGS: u32 = 4;
    for held in [Call::Open, Call::Lease] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.db");
        let patient = SqliteOptions::new().busy_wait_max(Duration::from_millis(1));
        let store = SqliteStore::open_with(&path, &patient).unwrap();
        let other = retold::sqlite::rusqlite::Connection::open(&path).unwrap();
        let other = Mutex::new(Some(other));
        let (infrastructure, fates) = Fated::over(store, move |call, number| {
            let mut other = other.lock().unwrap();
            match number {
                1 if call == held => {
                    let other = other.as_ref().unwrap();
                    other.execute_batch("BEGIN IMMEDIATE").unwrap();
                }
                MEETINGS if call == held => drop(other.take()),
                _ => {}
            }
            Fate::Sound
        });
        let node = join(&infrastructure, "one").await;
        assert!(fates.count(held) >= MEETINGS, "{held:?}");
        until_spread(&node, &["one"]).await;
    }
}

/// What a driver does is no reason for a node to end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_goes_on_after_a_panic_in_the_store() {
    let is_faulty = Arc::new(AtomicU32::new(0));
    let left = Arc::clone(&is_faulty);
    let panics = move |call, _| {
        let less = |left: u32| left.checked_sub(1);
        let is_meant = matches!(call, Call::Lease | Call::Leases);
        let taken = is_meant
            && left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
                .is_ok();
        if taken { Fate::Panic } else { Fate::Sound }
    };
    let (infrastructure, _) = Fated::over(MemoryStore::new(), panics);
    let node = join(&infrastructure, "one").await;
    until_spread(&node, &["one"]).await;
    is_faulty.store(3, Ordering::SeqCst);
    until("the panics have happened", async || {
        is_faulty.load(Ordering::SeqCst) == 0
    })
    .await;
    until("the node looks again", async || {
        node.status().await.is_well()
    })
    .await;
    assert!(node.health().await.is_live());
    place(&node.application("orders").unwrap(), "1", "tea").await;
    crate::nodes::settled(&node).await;
    assert!(node.leave().await.is_clean());
}

/// Only the name of a living node is waited for as its own option says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_is_taken_is_not_waited_for() {
    let (infrastructure, _) = Fated::over(MemoryStore::new(), |_, _| Fate::Sound);
    let long = ClusterOptions::new().time_to_live(PATIENCE.max(TIME_TO_LIVE) * 10);
    let system = shop();
    let _one = Cluster::join(&system, &infrastructure, "one", long.clone())
        .await
        .unwrap();
    let again = Cluster::join(&system, &infrastructure, "one", long);
    let again = in_time("it is refused", again).await;
    assert!(matches!(again, Err(JoinError::NameTaken { .. })));
}
