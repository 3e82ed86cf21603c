//! A log is replaced by an older copy of itself under running programs, and grows past the
//! positions of its readers, so that positions are assigned again: every reader reports it, and
//! nothing is recorded. Either it was restored from a copy, or an asynchronous standby that lacked
//! the last events was promoted.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use retold::Error;
use retold::application::{Application, fold_of};
use retold::domain::{Apply, ManualClock};
use retold::postgres::PostgresViews;
use retold::projection::{MemoryView, Projection, ProjectionError, ProjectionPipeline, ViewStore};
use retold::recording::{Checkpoint, MemoryStore, Store};
use retold::runner::{MultiThread, MultiThreadOptions};
use retold::sqlite::rusqlite::Connection;
use retold::system::{
    Context, Deadline, FindingKind, Follower, FollowerPath, Infrastructure, Outbox, Phase, Runner,
    StartingCheckpoint, System,
};
use rusqlite::backup::Backup;
use tokio::task::block_in_place;
use xtask::postgres_server::PostgresServer;

use crate::patience::{in_time, status_of, until, until_phase};
use crate::place::PlacedView;
use crate::shop::{Order, Overdue, Placed, Stock, place, reservations, reserved, settled};

/// The place of the orders' log, in a separate store, and an older copy of it.
enum Orders {
    Memory {
        store: MemoryStore,
        copy: MemoryStore,
    },
    File {
        folder: tempfile::TempDir,
    },
    Servers {
        primary: PostgresServer,
        standby: PostgresServer,
    },
}

impl Orders {
    fn memory() -> Self {
        let (store, copy) = (MemoryStore::new(), MemoryStore::new());
        Self::Memory { store, copy }
    }

    fn file() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::File { folder }
    }

    /// Starts a server with an asynchronous standby.
    fn servers() -> Self {
        let primary = PostgresServer::start().unwrap();
        let standby = primary.standby().unwrap();
        Self::Servers { primary, standby }
    }

    fn path(folder: &Path, name: &str) -> PathBuf {
        folder.join(name)
    }

    async fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Memory { store, .. } => Arc::new(store.clone()),
            Self::File { folder } => {
                let path = Self::path(folder.path(), "orders.db");
                let url = format!("sqlite:{}", path.display());
                retold::open_store(&url).await.unwrap()
            }
            Self::Servers { primary, standby } => {
                retold::open_store(&both(primary, standby)).await.unwrap()
            }
        }
    }

    /// Returns a view in the database of the log, if it is in one.
    fn view(&self) -> Option<PlacedView> {
        match self {
            Self::Servers { primary, standby } => {
                let views = PostgresViews::open(&both(primary, standby), "reports").unwrap();
                Some(PlacedView::Postgres(views))
            }
            _ => None,
        }
    }

    /// Makes the copy, which has the head `head`.
    async fn back_up(&mut self, head: Checkpoint) {
        match self {
            Self::Memory { store, copy } => *copy = store.fork(),
            Self::File { folder } => {
                let orders = Connection::open(Self::path(folder.path(), "orders.db")).unwrap();
                let copy = Self::path(folder.path(), "copy.db");
                let copy = copy.display().to_string();
                orders.execute("VACUUM INTO ?1", [copy]).unwrap();
            }
            Self::Servers { standby, .. } => {
                let reader = retold::open_store_read_only(&standby.url("postgres"))
                    .await
                    .unwrap();
                let log = reader.open_read_only("orders").await.unwrap();
                until("the standby has it", async || {
                    log.head().await.unwrap().checkpoint == Some(head)
                })
                .await;
                block_in_place(|| standby.crash()).unwrap();
            }
        }
    }

    /// Puts the copy in place while everything stays open.
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
            Self::Servers { primary, standby } => block_in_place(|| {
                primary.crash().unwrap();
                standby.launch().unwrap();
                standby.promote().unwrap();
            }),
        }
    }
}

/// As the guide recommends: all servers, where the writable one is selected.
fn both(primary: &PostgresServer, standby: &PostgresServer) -> String {
    format!(
        "postgres://retold@127.0.0.1:{},127.0.0.1:{}/postgres?sslmode=disable\
         &target_session_attrs=read-write",
        primary.port(),
        standby.port()
    )
}

#[derive(Clone, Default)]
struct Count(u64);

impl Apply<Placed> for Count {
    fn apply(&mut self, _: &Placed) {
        self.0 += 1;
    }
}

fn view_store(view: &MemoryView<u64>) -> Arc<dyn ViewStore> {
    let count = Projection::new("counted", 1, "orders").on::<Placed>(|count: &mut u64, _| {
        *count += 1;
        Ok(())
    });
    view.keep(count).unwrap()
}

async fn set_deadline(_: &Placed, context: &mut Context) -> retold::Result<()> {
    let order = context.aggregate::<Order>().unwrap().key().clone();
    let due = context.time().saturating_add(Duration::from_secs(60));
    let overdue = Overdue {
        order: order.clone(),
    };
    context.schedule(Deadline::new(order, due, overdue))
}

/// The stock follows the orders, in another store; the orders follow themselves, and have timers.
fn shop() -> System {
    let deadlines = Follower::new("deadlines")
        .follows("orders")
        .on(set_deadline);
    System::new("shop")
        .application("orders", |app| {
            app.aggregate::<Order>()
                .event::<Overdue>()
                .follower(deadlines)
        })
        .application("stock", |app| {
            app.aggregate::<Stock>().follower(reservations())
        })
        .build()
        .unwrap()
}

async fn place_all(orders: &Application, name: &str, count: usize) {
    for number in 0..count {
        place(orders, &format!("{name}-{number}"), "tea").await;
    }
}

async fn timers_pending(runner: &MultiThread, count: usize) {
    let what = format!("{count} timers are known");
    until(&what, async || {
        let timers = runner.timers();
        let of_orders = timers.iter().find(|it| it.application == "orders");
        of_orders.is_some_and(|it| it.pending == count)
    })
    .await;
}

fn check_diverged<T: std::fmt::Debug>(what: &str, answer: Result<T, Error>) {
    assert!(
        matches!(answer, Err(Error::Diverged { .. })),
        "{what}: {answer:?}"
    );
}

/// Goal: no reader passes over an event of a log that became an older one, for any reason; each
/// reports it before anything is recorded, and the guide's instructions for operators work.
async fn every_reader_reports_a_restored_log(mut log: Orders) {
    let stock = Arc::new(MemoryStore::new());
    let system = shop();
    let clock = Arc::new(ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap()));
    // A clock that is moved by hand is noticed by polling; followers that diverged soon check
    // whether their logs have the recorded checkpoint.
    let options = MultiThreadOptions::new()
        .poll_interval(Duration::from_millis(5))
        .failed_interval(Duration::from_millis(50));
    let (kept_view, in_database) = (MemoryView::new(), log.view());
    let start = async |store: Arc<dyn Store>, view: &MemoryView<u64>| {
        let mut infrastructure = Infrastructure::new(stock.clone())
            .application_in("orders", store)
            .clock(clock.clone())
            .view(view_store(view));
        if let Some(view) = &in_database {
            infrastructure = infrastructure.view(view.view_store());
        }
        MultiThread::start_with(&system, &infrastructure, options.clone())
            .await
            .unwrap()
    };
    let runner = start(log.store().await, &kept_view).await;
    let orders = runner.application("orders").unwrap();
    place_all(&orders, "old", 10).await;
    settled(&runner).await;
    timers_pending(&runner, 10).await;
    let both_know = orders.head().await.unwrap().checkpoint.unwrap();
    log.back_up(both_know).await;
    place_all(&orders, "lost", 10).await;
    settled(&runner).await;
    timers_pending(&runner, 20).await;

    let mut outbox = Outbox::<Placed>::open(&orders, "mail").await.unwrap();
    while outbox.next().await.unwrap().is_some() {
        outbox.delivered().await.unwrap();
    }
    let view = MemoryView::new();
    let recorder = orders.recorder();
    let mut projection = ProjectionPipeline::new(Arc::clone(recorder), view_store(&view));
    projection.catch_up().await.unwrap();
    let mut subscription = orders.events::<Placed>().subscribe().await.unwrap();
    for _ in 0..20 {
        in_time("an event", subscription.next()).await.unwrap();
    }
    let subscribed_to = subscription.checkpoint().unwrap();
    let mut model = orders.view(fold_of::<Count, Placed>()).await.unwrap();
    assert_eq!((model.state.0, view.read(|count| *count)), (20, 20));
    let old_head = orders.head().await.unwrap().checkpoint.unwrap();
    until("the runner's view has caught up", async || {
        kept_view.read(|count| *count) == 20
    })
    .await;

    if let Some(view) = &in_database {
        until("the view in the database has caught up", async || {
            view.count().await == 20
        })
        .await;
    }

    log.restore();
    until("the log is an older one", async || {
        let head = orders.head().await;
        head.is_ok_and(|head| head.position() < Some(old_head.position))
    })
    .await;
    place_all(&orders, "new", 15).await;
    until("it grew past all readers", async || {
        let head = orders.head().await;
        head.is_ok_and(|head| head.position() > Some(old_head.position))
    })
    .await;

    until_phase(&runner, "reservations", Phase::Failed).await;
    let status = status_of(&runner, "reservations").await;
    let (_, reason) = status.last_error.unwrap();
    assert!(reason.contains("has diverged"), "{reason}");
    assert!(reason.contains("retold follower reset"), "{reason}");
    for (kind, name) in [
        (FindingKind::Follower, "stock/reservations"),
        (FindingKind::View, "counted"),
    ] {
        until("its health reports it", async || {
            let health = runner.health().await;
            let mut of_it = health.findings.iter().filter(|it| it.kind == kind);
            of_it.any(|it| it.name == name && it.reason.contains("has diverged"))
        })
        .await;
    }
    assert_eq!(kept_view.read(|count| *count), 20);
    check_diverged("the outbox", outbox.next().await.map(drop));
    let reopened = Outbox::<Placed>::open(&orders, "mail").await;
    // Deliveries are recorded in the same log, which is as it was before.
    assert!(reopened.unwrap().checkpoint().is_none());
    let stepped = projection.catch_up().await;
    assert!(
        matches!(stepped, Err(ProjectionError::Diverged { .. })),
        "{stepped:?}"
    );
    assert_eq!(view.read(|count| *count), 20);
    let next = in_time("the subscription reports it", subscription.next()).await;
    check_diverged("the subscription", next.map(drop));
    let again = orders.events::<Placed>().subscribe().after(subscribed_to);
    check_diverged("a subscription that starts there", again.await.map(drop));
    check_diverged("the model", model.refresh(&orders).await);
    // A cached state of lost events is folded from the log again.
    assert!(orders.find::<Order>("lost-1").await.unwrap().is_none());
    assert!(orders.find::<Order>("new-14").await.unwrap().is_some());
    let stock_there = runner.application("stock").unwrap();
    let before: Vec<String> = reserved(&stock_there).await;
    assert_eq!(before.len(), 20, "nothing is recorded: {before:?}");

    // Timers, and the follower that follows its own log, were restored with the log: they report it
    // and continue.
    until("the timers reported it", async || {
        let timers = runner.timers();
        let said = timers.iter().filter_map(|it| it.last_error());
        said.into_iter()
            .any(|(_, error)| error.contains("has diverged"))
    })
    .await;
    timers_pending(&runner, 25).await;
    if let Some(view) = &in_database {
        until("a view in the same database reports it", async || {
            view.count().await == 25
        })
        .await;
    }
    clock.advance(Duration::from_secs(61));
    timers_pending(&runner, 0).await;
    let overdue = orders.events::<Overdue>().read().collect().await.unwrap();
    let overdue: Vec<&str> = overdue.iter().map(|it| &*it.event.order).collect();
    assert_eq!(overdue.len(), 25, "{overdue:?}");
    assert!(
        !overdue.iter().any(|it| it.starts_with("lost")),
        "{overdue:?}"
    );
    runner.stop().await;

    // A restarted program still reports it.
    let rebuilt = MemoryView::new();
    let runner = start(log.store().await, &rebuilt).await;
    until_phase(&runner, "reservations", Phase::Failed).await;
    let stock_there = runner.application("stock").unwrap();
    assert_eq!(reserved(&stock_there).await, before);
    // A view in memory is rebuilt with its program.
    until("the view is rebuilt", async || {
        rebuilt.read(|count| *count) == 25
    })
    .await;
    // The operator's acts: the follower starts at a checkpoint that both logs have, the view is
    // rebuilt.
    let orders = runner.application("orders").unwrap();
    let id = orders.log_id().await.unwrap().unwrap();
    let from = StartingCheckpoint::new("orders", id, Some(both_know));
    let operator = runner.operator(&FollowerPath::new("stock", "reservations"));
    operator.unwrap().reset(&[from]).await.unwrap();
    until("the follower has continued", async || {
        reserved(&stock_there).await.len() == before.len() + 15
    })
    .await;
    let new = reserved(&stock_there).await.split_off(before.len());
    assert!(new.iter().all(|order| order.starts_with("new")), "{new:?}");
    projection.rebuild().await.unwrap();
    projection.catch_up().await.unwrap();
    assert_eq!(view.read(|count| *count), 25);
    assert!(runner.stop().await.is_clean());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reader_reports_a_restored_log_in_memory() {
    every_reader_reports_a_restored_log(Orders::memory()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reader_reports_a_restored_file() {
    every_reader_reports_a_restored_log(Orders::file()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reader_reports_a_promoted_asynchronous_standby() {
    let servers = block_in_place(Orders::servers);
    every_reader_reports_a_restored_log(servers).await;
}
