//! A log that is restored from an older copy under a running program, and grows past where its readers are,
//! so that positions are handed out again: every reader says so, and nothing is recorded.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use retold::Error;
use retold::application::{Application, fold_of};
use retold::domain::event::Apply;
use retold::recording::memory::MemoryStore;
use retold::runner::MultiThread;
use retold::sqlite::rusqlite::Connection;
use retold::system::memory_view::MemoryView;
use retold::system::projection::{Projection, ProjectionError, ProjectionPipeline, ViewKeeper};
use retold::system::{Infrastructure, Outbox, Phase};
use rusqlite::backup::Backup;

use crate::patience::{in_time, status_of, until_phase};
use crate::shop::{Order, Placed, one_way, place, reservations, reserved, settled};

/// The log of the orders, by itself, and a copy of it.
enum Orders {
    Memory {
        store: MemoryStore,
        copy: MemoryStore,
    },
    File {
        folder: tempfile::TempDir,
    },
}

impl Orders {
    fn path(folder: &Path, name: &str) -> PathBuf {
        folder.join(name)
    }

    async fn infrastructure(&self, stock: &MemoryStore) -> Infrastructure {
        let orders: Arc<dyn retold::recording::store::Store> = match self {
            Self::Memory { store, .. } => Arc::new(store.clone()),
            Self::File { folder } => {
                let path = Self::path(folder.path(), "orders.db");
                retold::open_store(&format!("sqlite:{}", path.display()))
                    .await
                    .unwrap()
            }
        };
        Infrastructure::new(Arc::new(stock.clone())).application_in("orders", orders)
    }

    fn back_up(&mut self) {
        match self {
            Self::Memory { store, copy } => *copy = store.fork(),
            Self::File { folder } => {
                let orders = Connection::open(Self::path(folder.path(), "orders.db")).unwrap();
                let copy = Self::path(folder.path(), "copy.db");
                let copy = copy.display().to_string();
                orders.execute("VACUUM INTO ?1", [copy]).unwrap();
            }
        }
    }

    /// Puts the copy in place, under all that is open.
    fn restore(&self) {
        match self {
            Self::Memory { store, copy } => store.restore(copy),
            Self::File { folder } => {
                let copy = Connection::open(Self::path(folder.path(), "copy.db")).unwrap();
                let mut orders = Connection::open(Self::path(folder.path(), "orders.db")).unwrap();
                orders.busy_timeout(Duration::from_secs(30)).unwrap();
                let backup = Backup::new(&copy, &mut orders).unwrap();
                let pause = Duration::from_millis(1);
                backup.run_to_completion(1_000, pause, None).unwrap();
            }
        }
    }
}

#[derive(Clone, Default)]
struct Count(u64);

impl Apply<Placed> for Count {
    fn apply(&mut self, _: &Placed) {
        self.0 += 1;
    }
}

fn keeper(view: &MemoryView<u64>) -> Arc<dyn ViewKeeper> {
    let count = Projection::new("placed", 1, "orders").on::<Placed>(|count: &mut u64, _| {
        *count += 1;
        Ok(())
    });
    view.keep(count).unwrap()
}

async fn place_all(orders: &Application, name: &str, count: usize) {
    for number in 0..count {
        place(orders, &format!("{name}-{number}"), "tea").await;
    }
}

fn check_diverged<T: std::fmt::Debug>(what: &str, answer: Result<T, Error>) {
    assert!(
        matches!(answer, Err(Error::Diverged { .. })),
        "{what}: {answer:?}"
    );
}

async fn every_reader_says_that_a_log_was_restored(mut log: Orders) {
    let stock = MemoryStore::new();
    let system = one_way(reservations());
    let infrastructure = log.infrastructure(&stock).await;
    let runner = MultiThread::start(&system, &infrastructure).await.unwrap();
    let orders = runner.application("orders").unwrap();
    place_all(&orders, "old", 10).await;
    settled(&runner).await;
    log.back_up();
    place_all(&orders, "lost", 10).await;
    settled(&runner).await;

    let mut outbox = Outbox::<Placed>::open(&orders, "mail").await.unwrap();
    while outbox.next().await.unwrap().is_some() {
        outbox.delivered().await.unwrap();
    }
    let view = MemoryView::new();
    let recorder = orders.recorder();
    let mut projection = ProjectionPipeline::new(Arc::clone(recorder), keeper(&view));
    projection.catch_up().await.unwrap();
    let mut subscription = orders.events::<Placed>().subscribe().await.unwrap();
    for _ in 0..20 {
        in_time("an event", subscription.next()).await.unwrap();
    }
    let mut model = orders.view(fold_of::<Count, Placed>()).await.unwrap();
    assert_eq!((model.state.0, view.read(|count| *count)), (20, 20));

    log.restore();
    place_all(&orders, "new", 15).await;
    assert_eq!(orders.head().await.unwrap().position().unwrap().get(), 25);

    until_phase(&runner, "reservations", Phase::Failed).await;
    let status = status_of(&runner, "reservations").await;
    let (_, reason) = status.last_error.unwrap();
    assert!(reason.contains("has diverged"), "{reason}");
    assert!(reason.contains("retold follower reset"), "{reason}");
    assert!(!runner.health().await.is_well());
    check_diverged("the outbox", outbox.next().await.map(drop));
    let reopened = Outbox::<Placed>::open(&orders, "mail").await;
    // What was delivered is recorded in the same log, which is as it was before.
    assert!(reopened.unwrap().checkpoint().is_none());
    let stepped = projection.catch_up().await;
    assert!(
        matches!(stepped, Err(ProjectionError::Diverged { .. })),
        "{stepped:?}"
    );
    assert_eq!(view.read(|count| *count), 20);
    let next = in_time("the subscription tells", subscription.next()).await;
    check_diverged("the subscription", next.map(drop));
    check_diverged("the model", model.refresh(&orders).await);
    // A state of events that are gone is folded from the log again.
    assert!(orders.find::<Order>("lost-1").await.unwrap().is_none());
    assert!(orders.find::<Order>("new-14").await.unwrap().is_some());
    let stock_there = runner.application("stock").unwrap();
    let before: Vec<String> = reserved(&stock_there).await;
    assert_eq!(before.len(), 20, "nothing is recorded: {before:?}");
    runner.stop().await;

    // A program that is started again is no wiser.
    let infrastructure = log.infrastructure(&stock).await;
    let runner = MultiThread::start(&system, &infrastructure).await.unwrap();
    until_phase(&runner, "reservations", Phase::Failed).await;
    let stock_there = runner.application("stock").unwrap();
    assert_eq!(reserved(&stock_there).await, before);
    let orders = runner.application("orders").unwrap();
    let rebuilt = MemoryView::new();
    let recorder = orders.recorder();
    let mut again = ProjectionPipeline::new(Arc::clone(recorder), keeper(&rebuilt));
    again.catch_up().await.unwrap();
    assert_eq!(rebuilt.read(|count| *count), 25);
    runner.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reader_says_that_a_log_in_memory_was_restored() {
    let (store, copy) = (MemoryStore::new(), MemoryStore::new());
    every_reader_says_that_a_log_was_restored(Orders::Memory { store, copy }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reader_says_that_a_file_was_restored() {
    let folder = tempfile::tempdir().unwrap();
    every_reader_says_that_a_log_was_restored(Orders::File { folder }).await;
}
