//! What a process sees that was forgotten in another one, and how often it looks.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use retold::prelude::*;
use retold::protection::SubjectKeys;
use retold::recording::{
    Append, Appended, BoxFuture, Head, LogId, LogRead, MemoryStore, RecordError, Recorder,
    RecorderLayer, Store, StoreLayer,
};
use tokio::sync::{Notify, Semaphore};

use super::forgetting::{Customer, CustomerEvent, SECRET, Shop, registered};
use super::{contains, keys, protection};

/// A store whose logs are wrapped.
struct Wrapping<W> {
    inner: Arc<dyn Store>,
    wrap: W,
}

impl<W> StoreLayer for Wrapping<W>
where
    W: Fn(Arc<dyn Recorder>) -> Arc<dyn Recorder> + Send + Sync,
{
    fn inner(&self) -> &Arc<dyn Store> {
        &self.inner
    }

    fn open<'a>(
        &'a self,
        log: &'a str,
        birth: LogId,
    ) -> BoxFuture<'a, Result<Arc<dyn Recorder>, RecordError>> {
        Box::pin(async move { Ok((self.wrap)(self.inner.open(log, birth).await?)) })
    }
}

/// A log whose next append is followed by something that another process does.
struct FollowedLog {
    inner: Arc<dyn Recorder>,
    then: Arc<Mutex<Option<Application>>>,
}

impl RecorderLayer for FollowedLog {
    fn inner(&self) -> &Arc<dyn Recorder> {
        &self.inner
    }

    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, RecordError>> {
        Box::pin(async move {
            let appended = self.inner.append(append).await?;
            let then = self.then.lock().unwrap().take();
            if let Some(other) = then {
                other.forget("customer:17", None).await.unwrap();
            }
            Ok(appended)
        })
    }
}

/// Goal: a state that was read before its subject was forgotten is not stored again. Method: the
/// subject is forgotten between the append of a command and the snapshot that it makes due.
#[tokio::test]
async fn a_snapshot_of_an_older_state_is_not_stored() {
    let shop = Shop::new();
    let other = shop.open().await;
    let id = Id::<Customer>::from(17);
    other
        .execute_or_create(id, |_| registered(17))
        .await
        .unwrap();
    let then = Arc::new(Mutex::new(None));
    let of_logs = then.clone();
    let followed = Wrapping {
        inner: shop.store.clone(),
        wrap: move |inner| {
            let then = of_logs.clone();
            Arc::new(FollowedLog { inner, then }) as Arc<dyn Recorder>
        },
    };
    let builder = Application::builder("shop").store(Arc::new(followed));
    let late = builder.protection(shop.protection()).open().await.unwrap();
    late.get(&id).await.unwrap();
    *then.lock().unwrap() = Some(other);
    let paid = |_: &Customer| CustomerEvent::Paid { amount: 5 };
    late.execute(id, paid).await.unwrap();
    assert!(then.lock().unwrap().is_none(), "the subject is forgotten");
    for application in [&late, &shop.open().await] {
        let state = application.get(&id).await.unwrap().state;
        assert_eq!((state.name, state.paid), (None, 5));
    }
}

struct Gate {
    permits: Semaphore,
    arrived: Notify,
}

/// A log whose appends wait for permits, and say that they arrived.
struct GatedLog {
    inner: Arc<dyn Recorder>,
    gate: Arc<Gate>,
}

impl RecorderLayer for GatedLog {
    fn inner(&self) -> &Arc<dyn Recorder> {
        &self.inner
    }

    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, RecordError>> {
        Box::pin(async move {
            if self.gate.permits.available_permits() == 0 {
                self.gate.arrived.notify_one();
            }
            self.gate.permits.acquire().await.unwrap().forget();
            self.inner.append(append).await
        })
    }
}

/// Goal: a command on an aggregate whose other commands are on their way does not decide on data
/// that another process has forgotten. Method: a command is overtaken, and its second append is
/// held; then the subject is forgotten elsewhere, and another command is sent.
#[tokio::test]
async fn a_busy_aggregate_sees_what_another_process_forgot() {
    let shop = Shop::new();
    let other = shop.open().await;
    let id = Id::<Customer>::from(17);
    let paid = |_: &Customer| CustomerEvent::Paid { amount: 5 };
    let created = other.execute_or_create(id, |_| registered(17));
    created.await.unwrap();
    let gate = Arc::new(Gate {
        permits: Semaphore::new(0),
        arrived: Notify::new(),
    });
    let of_logs = gate.clone();
    let gated = Wrapping {
        inner: shop.store.clone(),
        wrap: move |inner| {
            let gate = of_logs.clone();
            Arc::new(GatedLog { inner, gate }) as Arc<dyn Recorder>
        },
    };
    let builder = Application::builder("shop").store(Arc::new(gated));
    let late = builder.protection(shop.protection()).open().await.unwrap();
    late.get(&id).await.unwrap();
    other.execute(id, paid).await.unwrap();

    let seen = Mutex::new(Vec::new());
    let first = late.execute(id, paid);
    let second = async {
        // The first append is overtaken, and the second is held.
        gate.arrived.notified().await;
        gate.permits.add_permits(1);
        gate.arrived.notified().await;
        other.forget("customer:17", None).await.unwrap();
        let command = late.execute(id, |customer: &Customer| {
            seen.lock().unwrap().push(customer.name.clone());
            CustomerEvent::Paid { amount: 1 }
        });
        let release = async { gate.permits.add_permits(10) };
        // The command is polled first.
        let (recorded, ()) = tokio::join!(biased; command, release);
        recorded.unwrap();
    };
    let (first, ()) = tokio::join!(first, second);
    first.unwrap();
    let seen = seen.into_inner().unwrap();
    assert!(
        !seen.is_empty() && seen.iter().all(Option::is_none),
        "{seen:?}"
    );
    assert_eq!(late.get(&id).await.unwrap().state.paid, 11);
}

struct Heads {
    count: AtomicUsize,
    gate: Semaphore,
}

/// A log that counts how often its head is read, and can hold these reads.
struct CountedLog {
    inner: Arc<dyn Recorder>,
    heads: Arc<Heads>,
}

impl RecorderLayer for CountedLog {
    fn inner(&self) -> &Arc<dyn Recorder> {
        &self.inner
    }

    fn head(&self) -> BoxFuture<'_, Result<Head, RecordError>> {
        Box::pin(async move {
            self.heads.count.fetch_add(1, Ordering::Relaxed);
            let _permit = self.heads.gate.acquire().await.unwrap();
            self.inner.head().await
        })
    }
}

fn counted() -> (Arc<Heads>, Arc<SubjectKeys>) {
    let heads = Arc::new(Heads {
        count: AtomicUsize::new(0),
        gate: Semaphore::new(100),
    });
    let of_logs = heads.clone();
    let store = Wrapping {
        inner: Arc::new(MemoryStore::new()),
        wrap: move |inner| {
            let heads = of_logs.clone();
            Arc::new(CountedLog { inner, heads }) as Arc<dyn Recorder>
        },
    };
    let subjects = SubjectKeys::new(Arc::new(store), "keys", keys());
    (heads, Arc::new(subjects))
}

#[tokio::test]
async fn a_page_looks_once_for_what_was_forgotten() {
    let (heads, subjects) = counted();
    let builder = Application::builder("shop").store(Arc::new(MemoryStore::new()));
    let protection = protection().subject_keys(subjects);
    let shop = builder.protection(protection).open().await.unwrap();
    for number in 0..20 {
        let id = Id::<Customer>::from(number);
        let recorded = shop.execute_or_create(id, |_| registered(number));
        recorded.await.unwrap();
    }
    heads.count.store(0, Ordering::Relaxed);
    let page = shop.recorder().read_log(LogRead::new()).await.unwrap();
    assert!(page.events.iter().all(|it| contains(it, SECRET)));
    assert_eq!(
        (page.events.len(), heads.count.load(Ordering::Relaxed)),
        (20, 1)
    );
}

#[tokio::test]
async fn tasks_that_look_at_once_share_one_read() {
    let (heads, subjects) = counted();
    subjects.refresh().await.unwrap();
    heads.count.store(0, Ordering::Relaxed);
    let permits = heads.gate.acquire_many(100).await.unwrap();
    let mut first = pin!(subjects.refresh());
    assert!(futures_util::poll!(first.as_mut()).is_pending());
    // These begin while the first is on its way, which may have read before something was recorded.
    let mut others: Vec<_> = (0..50).map(|_| Box::pin(subjects.refresh())).collect();
    for other in &mut others {
        assert!(futures_util::poll!(other).is_pending());
    }
    drop(permits);
    first.await.unwrap();
    for other in others {
        other.await.unwrap();
    }
    assert_eq!(heads.count.load(Ordering::Relaxed), 2);
}
