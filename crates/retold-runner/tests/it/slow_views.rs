//! Handlers of views that do not return: status and health report them, with the event and the
//! time, and readers do not wait for them.

use std::future::pending;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use retold::application::Logged;
use retold::postgres::{self, Postgres, PostgresTables, PostgresViews};
use retold::projection::{BoxError, MemoryView, Projection, ViewStore};
use retold::runner::{Cluster, MultiThread, MultiThreadOptions};
use retold::sqlite::{Sqlite, SqliteTables, SqliteViews};
use retold::system::{FindingKind, FollowerPath, Goal, Runner, Trouble, WaitError};

use crate::nodes::options;
use crate::patience::{PATIENCE, in_time, until};
use crate::place::Place;
use crate::shop::{Placed, memory, one_way, place, reservations};

/// Whether handlers may return.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Blocks the thread until the gate is opened.
    fn wait(&self) {
        let (is_open, changed) = &*self.0;
        drop(changed.wait_while(is_open.lock().unwrap(), |is_open| !*is_open));
    }

    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

/// Opens the gate also when a test fails, because a runtime waits for its threads.
impl Drop for Opened {
    fn drop(&mut self) {
        self.0.open();
    }
}

struct Opened(Gate);

fn in_memory(gate: &Gate) -> Arc<dyn ViewStore> {
    let gate = gate.clone();
    let counting =
        Projection::new("placed", 1, "orders").on::<Placed>(move |count: &mut u64, _| {
            gate.wait();
            *count += 1;
            Ok(())
        });
    MemoryView::<u64>::new().keep(counting).unwrap()
}

fn in_file(gate: &Gate, folder: &tempfile::TempDir) -> Arc<dyn ViewStore> {
    let gate = gate.clone();
    let projection =
        Projection::<Sqlite>::new("placed", 1, "orders").on::<Placed>(move |view, placed| {
            gate.wait();
            let sql = format!("INSERT INTO {} VALUES (?1)", view.table("placed"));
            view.execute(&sql, [i64::try_from(placed.position().get())?])?;
            Ok(())
        });
    let tables = SqliteTables::new(["placed"], |view| {
        let table = view.table("placed");
        let sql = format!("CREATE TABLE {table} (position INTEGER PRIMARY KEY)");
        Ok(view.execute_batch(&sql)?)
    });
    let views = SqliteViews::open(folder.path().join("views.db")).unwrap();
    views.keep(projection, tables).unwrap()
}

async fn a_handler_that_blocks_its_thread_is_shown(gate: Gate, view_store: Arc<dyn ViewStore>) {
    let opened = Opened(gate);
    let infrastructure = memory().view(view_store);
    let options = MultiThreadOptions::new().stop_wait_max(Duration::from_millis(100));
    let system = one_way(reservations());
    let runner = MultiThread::start_with(&system, &infrastructure, options);
    let runner = runner.await.unwrap();
    let orders = runner.application("orders").unwrap();
    let first = place(&orders, "1", "tea").await;
    let handle = &runner.projections()[0];
    until("it is found", async || {
        let findings = runner.health().await.findings;
        findings.iter().any(|it| {
            (it.kind, it.trouble) == (FindingKind::View, Trouble::Late)
                && it.name == "placed"
                && it
                    .reason
                    .contains("the handler for Placed at 1 of \"orders\"")
                && it.reason.contains("blocks its thread")
        })
    })
    .await;
    // Readers do not have to wait for the handler.
    let status = in_time("the status", handle.status()).await.unwrap();
    let running = status.running.unwrap();
    assert_eq!((running.event.position, running.what), (first, "handler"));
    assert!(
        running.is_late() && running.blocks_for.is_some(),
        "{running}"
    );
    assert_eq!((status.lag_events, status.read_to), (1, None));
    let shown = in_time("the checkpoint", handle.recorded_checkpoint()).await;
    assert_eq!(shown.unwrap(), None);
    assert!(!in_time("a look", handle.has_recorded(first)).await.unwrap());
    let waited = runner
        .wait(Goal::shown_by("placed", first), Duration::from_millis(1))
        .await;
    assert!(
        matches!(waited, Err(WaitError::Timeout { .. })),
        "{waited:?}"
    );
    until("it is noted", async || {
        handle
            .last_late()
            .is_some_and(|(_, late)| late.contains("blocks its thread"))
    })
    .await;

    // Operators act on followers, and that is recorded.
    let operator = runner
        .operator(&FollowerPath::new("stock", "reservations"))
        .unwrap();
    assert!(operator.pause("stocktaking").await.unwrap());
    assert!(operator.record().await.unwrap().is_halted());

    // A stop waits no longer than its limit, and names the view.
    let stopped = in_time("the stop", runner.stop()).await;
    assert!(
        stopped.unfinished.iter().any(|it| it.contains("placed")),
        "{stopped:?}"
    );
    drop(opened);
    until("the handler has returned", async || {
        handle.running().is_none()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_handler_in_memory_that_blocks_its_thread_is_shown() {
    let gate = Gate::default();
    a_handler_that_blocks_its_thread_is_shown(gate.clone(), in_memory(&gate)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_handler_in_a_file_that_blocks_its_thread_is_shown() {
    let (gate, folder) = (Gate::default(), tempfile::tempdir().unwrap());
    a_handler_that_blocks_its_thread_is_shown(gate.clone(), in_file(&gate, &folder)).await;
}

/// The other nodes of a cluster see it, as for policies.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_handler_that_blocks_its_thread_is_seen_from_other_nodes() {
    let (gate, folder) = (Gate::default(), tempfile::tempdir().unwrap());
    let opened = Opened(gate.clone());
    let memory = memory();
    let with_view = memory.clone().view(in_file(&gate, &folder));
    let system = one_way(reservations());
    // Only one node has the view.
    let one = Cluster::join(&system, &with_view, "one", options())
        .await
        .unwrap();
    place(&one.application("orders").unwrap(), "1", "tea").await;
    until("it is noted", async || {
        let units = one.cluster_status().await.units;
        let mut errors = units.into_iter().filter_map(|it| it.last_error);
        errors.any(|(_, error)| error.contains("blocks its thread"))
    })
    .await;
    drop(opened);
    let handle = &one.projections()[0];
    until("the handler has returned", async || {
        handle.running().is_none()
    })
    .await;
    assert!(one.stop().await.is_clean());
}

async fn never(_: &postgres::PostgresTransaction<'_>, _: &Logged<Placed>) -> Result<(), BoxError> {
    pending().await
}

/// A handler that waits blocks no thread: it is shown while it runs, and ends with its runner.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_waits_forever_is_shown_and_ends_with_its_runner() {
    let home = Place::postgres();
    let views = PostgresViews::open(&home.url(), "public").unwrap();
    let projection = Projection::<Postgres>::new("placed", 1, "orders").on_async(never);
    let tables = PostgresTables::new(["placed"], |names| {
        format!(
            "CREATE TABLE {} (position bigint PRIMARY KEY)",
            names.table("placed")
        )
    });
    let infrastructure = memory().view(views.keep(projection, tables).unwrap());
    let runner = MultiThread::start(&one_way(reservations()), &infrastructure).await;
    let runner = runner.unwrap();
    let first = place(&runner.application("orders").unwrap(), "1", "tea").await;
    let handle = &runner.projections()[0];
    until("it is shown", async || handle.running().is_some()).await;
    let status = in_time("the status", handle.status()).await.unwrap();
    let running = status.running.unwrap();
    assert_eq!((running.event.position, running.blocks_for), (first, None));
    assert!(
        running.to_string().contains("has been running since"),
        "{running}"
    );
    let waited = runner
        .wait(Goal::shown_by("placed", first), Duration::from_millis(1))
        .await;
    assert!(
        matches!(waited, Err(WaitError::Timeout { .. })),
        "{waited:?}"
    );
    let stopped = tokio::time::timeout(PATIENCE, runner.stop()).await.unwrap();
    assert!(stopped.is_clean(), "{stopped:?}");
    until("the handler has ended", async || handle.running().is_none()).await;
}
