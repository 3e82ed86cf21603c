//! Projections into SQLite: view and checkpoint change together, despite failures, races and kills.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use retold_core::projection::{
    OnPoison, Projection, ProjectionError, ProjectionPipeline, ViewStore,
};
use retold_core::recording::{Recorder, Store};
use retold_sqlite::{
    Sqlite, SqliteInlineProjections, SqliteOptions, SqliteStore, SqliteTables, SqliteViews,
};

use crate::place::{Place, log, patient};
use crate::tricks::{
    TrickAdded, added, checkpoint_and_rows, pipeline, read, tables, teach, tricks,
};

/// Guards a test against hanging; it measures nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where views are stored.
#[derive(Clone, Copy, Debug)]
enum Home {
    Own,
    Store,
}

const HOMES: [Home; 2] = [Home::Own, Home::Store];

impl Home {
    fn views(self, place: &Place, store: &SqliteStore) -> SqliteViews {
        match self {
            Self::Own => SqliteViews::open(place.path().with_extension("views")).unwrap(),
            Self::Store => store.views(),
        }
    }
}

#[tokio::test]
async fn a_view_resumes_after_a_restart() {
    for home in HOMES {
        let place = Place::new();
        for round in 1..=3 {
            let store = place.open();
            let log = log(&store, "dogs").await;
            let views = home.views(&place, &store);
            let mut pipeline = pipeline(&log, &views, tricks(1)).page_size(2);
            let handle = pipeline.handle();
            for _ in 0..5 {
                teach(&*log, "sit").await.unwrap();
            }
            let step = pipeline.step().await.unwrap();
            assert_eq!(step.events, 2, "it resumes at its checkpoint");
            pipeline.catch_up().await.unwrap();
            assert_eq!(read(&views).len(), 5 * round);
            let status = handle.status().await.unwrap();
            assert_eq!(status.checkpoint, status.head);
            assert!(status.is_caught_up(), "{status:?}");
            assert_eq!(store.verify().await.unwrap(), [], "{home:?}");
        }
    }
}

/// Events that are recorded while no pipeline runs are not before "now".
#[tokio::test]
async fn a_view_from_now_on_begins_once() {
    let place = Place::new();
    let store = place.open();
    let log = log(&store, "dogs").await;
    let views = store.views();
    let from_now = || pipeline(&log, &views, tricks(1).from_now());
    from_now().catch_up().await.unwrap();
    teach(&*log, "sit").await.unwrap();
    let handle = from_now().handle();
    assert_eq!(handle.status().await.unwrap().lag_events, 1);
    from_now().catch_up().await.unwrap();
    assert_eq!(read(&views), ["sit"]);
    let status = from_now().handle().status().await.unwrap();
    assert!(
        status.is_caught_up(),
        "as the file says, before the first step"
    );
}

#[tokio::test]
async fn poison_leaves_no_trace_and_is_handled_as_configured() {
    for home in HOMES {
        let place = Place::new();
        let store = place.open();
        let log = log(&store, "dogs").await;
        let views = home.views(&place, &store);
        log.append(added(["sit", "bite", "fetch", "panic", "roll over"]))
            .await
            .unwrap();
        let mut stops = pipeline(&log, &views, tricks(1));
        let error = stops.catch_up().await.unwrap_err();
        assert!(
            error.to_string().contains("this trick is not taught"),
            "{error}"
        );
        assert_eq!(read(&views), ["sit"]);
        assert_eq!(checkpoint_and_rows(&views, 1), (1, 1));

        let mut skips = pipeline(&log, &views, tricks(1).on_poison(OnPoison::Skip));
        skips.catch_up().await.unwrap();
        assert_eq!(read(&views), ["sit", "fetch", "roll over"]);
        let skipped = skips.handle().skipped(None, 10).await.unwrap();
        let errors: Vec<_> = skipped.iter().map(|it| &*it.error).collect();
        assert_eq!(
            errors,
            [
                "this trick is not taught",
                "its handler panicked: too exciting"
            ]
        );
        assert_eq!(skips.handle().status().await.unwrap().skipped, 2);
        let after = Some(skipped[0].checkpoint.position);
        let page = skips.handle().skipped(after, 1).await.unwrap();
        assert_eq!(page, skipped[1..]);
    }
}

/// A handler that ends the transaction loses its writes; nothing is committed without the
/// checkpoint.
#[tokio::test]
async fn a_handler_cannot_commit_by_itself() {
    for home in HOMES {
        for trick in ["commit", "roll back"] {
            let place = Place::new();
            let store = place.open();
            let log = log(&store, "dogs").await;
            let views = home.views(&place, &store);
            log.append(added(["sit", trick])).await.unwrap();
            let mut pipeline = pipeline(&log, &views, tricks(1));
            let error = pipeline.catch_up().await.unwrap_err();
            assert!(error.to_string().contains("projection"), "{error}");
            assert_eq!(checkpoint_and_rows(&views, 1), (0, 0), "{trick}");
            teach(&*log, "fetch").await.unwrap();
        }
    }
}

#[tokio::test]
async fn two_pipelines_of_one_version_apply_once() {
    for home in HOMES {
        let place = Place::new();
        let store = place.open();
        let log = log(&store, "dogs").await;
        for _ in 0..50 {
            teach(&*log, "sit").await.unwrap();
        }
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                // Like separate processes, each with its own connections.
                let (log, views) = (log.clone(), home.views(&place, &place.open()));
                tokio::spawn(async move {
                    let mut pipeline = pipeline(&log, &views, tricks(1)).page_size(3);
                    while let Err(error) = pipeline.catch_up().await {
                        assert!(error.is_retriable(), "{error}");
                    }
                })
            })
            .collect();
        for task in tasks {
            tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap();
        }
        let views = home.views(&place, &store);
        assert_eq!(read(&views).len(), 50, "{home:?}");
    }
}

/// Goal: readers see the old version or the new one, and never fewer rows than before. Method: one
/// task writes, one drives the old version, one reads all the time, while new versions are built.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_version_is_built_while_readers_see_the_old_one() {
    for home in HOMES {
        let place = Place::new();
        let store = place.open();
        let log = log(&store, "dogs").await;
        let views = home.views(&place, &store);
        let mut first = pipeline(&log, &views, tricks(1));
        teach(&*log, "sit").await.unwrap();
        first.catch_up().await.unwrap();

        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let writing = log.clone();
        let writer = tokio::spawn(async move {
            while !over.load(Ordering::SeqCst) {
                teach(&*writing, "sit").await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let (over, looked_at) = (is_over.clone(), views.clone());
        let reader = std::thread::spawn(move || {
            let mut seen = 0;
            while !over.load(Ordering::SeqCst) {
                let count = read(&looked_at).len();
                assert!(count >= seen, "{count} rows after {seen}");
                seen = count;
            }
            seen
        });
        let mut old = tokio::spawn(async move { run(first).await });
        for version in 2..=5 {
            let mut new = pipeline(&log, &views, tricks(version)).page_size(10);
            while let Err(error) = new.catch_up().await {
                assert!(error.is_retriable(), "{error}");
            }
            let ended = tokio::time::timeout(PATIENCE, old).await.unwrap().unwrap();
            let is_meant = matches!(
                ended,
                ProjectionError::Superseded { current, .. } if current == version
            );
            assert!(is_meant, "{ended}");
            old = tokio::spawn(async move { run(new).await });
        }
        is_over.store(true, Ordering::SeqCst);
        writer.await.unwrap();
        assert!(reader.join().unwrap() > 0);
        old.abort();
        assert!(old.await.is_err());
        pipeline(&log, &views, tricks(5)).catch_up().await.unwrap();
        let (checkpoint, rows) = checkpoint_and_rows(&views, 5);
        assert_eq!(checkpoint, rows);
        let left: i64 = views
            .reader()
            .unwrap()
            .query_row(
                "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'trick%'
                 AND (name LIKE '%\\_\\_v%' ESCAPE '\\') AND name NOT LIKE '%\\_\\_v5' ESCAPE '\\'",
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(left, 0, "old tables are dropped");
        assert_eq!(store.verify().await.unwrap(), []);
    }
}

/// Runs until a failure that waiting does not fix.
async fn run(mut pipeline: ProjectionPipeline) -> ProjectionError {
    loop {
        let error = pipeline.run().await;
        if !error.is_retriable() {
            return error;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_view_of_a_log_that_was_replaced_is_diverged_until_rebuilt() {
    let place = Place::new();
    let views = SqliteViews::open(place.path().with_extension("views")).unwrap();
    {
        let first = log(&place.open(), "dogs").await;
        first.append(added(["sit", "fetch"])).await.unwrap();
        pipeline(&first, &views, tricks(1))
            .catch_up()
            .await
            .unwrap();
    }
    let other = Place::new();
    let replaced = log(&other.open(), "dogs").await;
    replaced.append(added(["speak"; 5])).await.unwrap();
    let mut pipeline = pipeline(&replaced, &views, tricks(1));
    let error = pipeline.catch_up().await.unwrap_err();
    assert!(matches!(error, ProjectionError::Diverged { .. }), "{error}");
    assert_eq!(read(&views), ["sit", "fetch"]);
    pipeline.rebuild().await.unwrap();
    pipeline.catch_up().await.unwrap();
    assert_eq!(read(&views), ["speak"; 5]);
}

/// Goal: of two stores that keep views in one file, one with a newer version does not replace the
/// other's; if the log was replaced, the view is rebuilt on request.
#[tokio::test]
async fn a_newer_version_does_not_supersede_the_view_of_another_store() {
    let (one, two) = (Place::new(), Place::new());
    let views = SqliteViews::open(one.path().with_extension("views")).unwrap();
    let first = log(&one.open(), "dogs").await;
    first.append(added(["sit"])).await.unwrap();
    let mut of_first = pipeline(&first, &views, tricks(2));
    of_first.catch_up().await.unwrap();
    let second = log(&two.open(), "dogs").await;
    second.append(added(["fetch"])).await.unwrap();
    let refused = async |pipeline: &mut ProjectionPipeline| {
        let error = pipeline.catch_up().await.unwrap_err();
        assert!(matches!(error, ProjectionError::Diverged { .. }), "{error}");
        assert!(
            error.to_string().contains("rows belong to another store"),
            "{error}"
        );
    };
    for version in [1, 3] {
        refused(&mut pipeline(&second, &views, tricks(version))).await;
    }
    first.append(added(["roll"])).await.unwrap();
    of_first.catch_up().await.unwrap();
    assert_eq!(read(&views), ["sit", "roll"]);

    let mut newer = pipeline(&second, &views, tricks(3));
    refused(&mut newer).await;
    newer.rebuild().await.unwrap();
    newer.catch_up().await.unwrap();
    assert_eq!(read(&views), ["fetch"]);
}

#[tokio::test]
async fn tables_that_cannot_be_are_a_clear_error() {
    let place = Place::new();
    let store = place.open();
    let log = log(&store, "dogs").await;
    teach(&*log, "sit").await.unwrap();
    let views = store.views();
    let projection =
        || Projection::<Sqlite>::new("other", 1, "dogs").on::<TrickAdded>(|_, _| Ok(()));
    let one = |name: &'static str| {
        SqliteTables::new([name], move |view| {
            let sql = format!("CREATE TABLE {} (it INTEGER)", view.table(name));
            Ok(view.execute_batch(&sql)?)
        })
    };
    let Err(error) = views.keep(projection(), one("a b")) else {
        panic!("it is refused");
    };
    assert!(error.to_string().contains("\"a b\""), "{error}");

    // The plain name is that of a table of the store.
    let step = |view_store: Arc<dyn ViewStore>| {
        let log = log.clone();
        async move { ProjectionPipeline::new(log, view_store).step().await }
    };
    let error = step(views.keep(projection(), one("event")).unwrap())
        .await
        .unwrap_err();
    assert!(matches!(error, ProjectionError::Invalid { .. }), "{error}");
    assert!(error.to_string().contains("event"), "{error}");
    // The table is not created by `create`.
    let tables = SqliteTables::new(["forgotten"], |_| Ok(()));
    let error = step(views.keep(projection(), tables).unwrap())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("forgotten__v1"), "{error}");
    // These attempts leave nothing.
    step(views.keep(projection(), one("dog")).unwrap())
        .await
        .unwrap();
    // Another projection has the table.
    let second = Projection::<Sqlite>::new("second", 1, "dogs").on::<TrickAdded>(|_, _| Ok(()));
    let error = step(views.keep(second, one("dog")).unwrap())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("already exists"), "{error}");
    assert_eq!(store.verify().await.unwrap(), []);
}

#[tokio::test]
async fn a_full_disk_poisons_nothing() {
    let place = Place::new();
    drop(log(&place.open(), "dogs").await);
    let options = SqliteOptions::new().file_size_max(400 * 1024);
    let store = SqliteStore::open_with(place.path(), &options).unwrap();
    let dogs = log(&store, "dogs").await;
    dogs.append(added(["sit"; 20])).await.unwrap();
    let views = store.views();
    let projection = Projection::<Sqlite>::new("tricks", 1, "dogs")
        .on::<TrickAdded>(|view, logged| {
            let sql = format!(
                "INSERT INTO {} VALUES (?1, zeroblob(100000))",
                view.table("trick")
            );
            view.execute(&sql, [logged.position().get().cast_signed()])?;
            Ok(())
        })
        .on_poison(OnPoison::Skip);
    let tables = SqliteTables::new(["trick"], |view| {
        let sql = format!(
            "CREATE TABLE {} (position INTEGER, name BLOB)",
            view.table("trick")
        );
        Ok(view.execute_batch(&sql)?)
    });
    let view_store = views.keep(projection, tables).unwrap();
    let mut pipeline = ProjectionPipeline::new(dogs.clone(), view_store);
    let error = pipeline.catch_up().await.unwrap_err();
    assert!(
        matches!(error, ProjectionError::Unavailable { .. }),
        "{error}"
    );
    assert_eq!(checkpoint_and_rows(&views, 1), (0, 0));
    teach(&*dogs, "fetch").await.unwrap();
}

/// Goal: a view that lost a table stops, and does not skip all its events as if they were poison.
#[tokio::test]
async fn a_view_whose_table_was_dropped_is_corrupt() {
    for home in HOMES {
        let place = Place::new();
        let store = place.open();
        let log = log(&store, "dogs").await;
        let views = home.views(&place, &store);
        let mut pipeline = pipeline(&log, &views, tricks(1).on_poison(OnPoison::Skip));
        teach(&*log, "sit").await.unwrap();
        pipeline.catch_up().await.unwrap();
        let other = rusqlite::Connection::open(views.path()).unwrap();
        other.execute_batch("DROP TABLE trick__v1").unwrap();
        teach(&*log, "fetch").await.unwrap();
        let error = pipeline.catch_up().await.unwrap_err();
        assert!(
            matches!(error, ProjectionError::Corrupt { .. }),
            "{home:?}: {error:?}"
        );
        assert!(error.to_string().contains("the table trick__v1"), "{error}");
        let position = "SELECT position FROM retold_projection";
        let position: i64 = other.query_row(position, [], |row| row.get(0)).unwrap();
        assert_eq!(position, 1, "the event was not processed");
    }
}

/// Passes the path of the file to a child; absent in the parent.
const PATH: &str = "RETOLD_SQLITE_VIEWS_CHILD_OF";
/// Children that are killed, one after another, for each home of views.
const KILLS: usize = 30;
/// Beyond this no further child is started, once there was enough to check.
const TIME_MAX: Duration = Duration::from_secs(20);

/// The child: appends and drives a projection forever, and sometimes begins a new version. It is a
/// test so that the test binary can be the child; without a parent it does nothing.
#[test]
fn child() {
    let Ok(path) = env::var(PATH) else { return };
    let (path, home) = path.rsplit_once('=').unwrap();
    let place = Place::at(path.into());
    let home = match home {
        "own" => Home::Own,
        "store" => Home::Store,
        _ => return append_inline(&place),
    };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).build().unwrap().block_on(async {
        let store = place.open();
        let log = log(&store, "dogs").await;
        let views = home.views(&place, &store);
        let appending = log.clone();
        tokio::spawn(async move {
            loop {
                drop(teach(&*appending, "sit").await);
                tokio::task::yield_now().await;
            }
        });
        let mut version = newest_version(&views);
        loop {
            version += u32::from(fastrand::u8(0..3) == 0);
            let mut pipeline = pipeline(&log, &views, tricks(version.max(1))).page_size(5);
            for _ in 0..10 {
                match pipeline.step().await {
                    Ok(_) => say_stepped(),
                    Err(ProjectionError::Superseded { current, .. }) => version = current,
                    Err(error) => assert!(error.is_retriable(), "{error}"),
                }
            }
        }
    });
}

/// The child whose view changes with its appends.
fn append_inline(place: &Place) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).build().unwrap().block_on(async {
        let inline = SqliteInlineProjections::new().with(tricks(1), tables());
        let store = SqliteStore::open_with_projections(place.path(), &patient(), inline).unwrap();
        let log = log(&store, "dogs").await;
        loop {
            let tricks = [["sit"; 3], ["fetch"; 3], ["bite"; 3]].map(added);
            join_all(tricks.map(|append| log.append(append))).await;
            say_stepped();
        }
    });
}

fn say_stepped() {
    std::io::stdout().write_all(b"stepped\n").unwrap();
    std::io::stdout().flush().unwrap();
}

fn newest_version(views: &SqliteViews) -> u32 {
    let conn = views.reader().unwrap();
    let sql = "SELECT coalesce(max(version), 0) FROM retold_projection";
    conn.query_row(sql, [], |row| row.get(0)).unwrap_or(0)
}

fn start_child(place: &Place, home: &str) -> Child {
    Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "projection::child",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(PATH, format!("{}={home}", place.path().display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills a child after this many steps, at any moment of the next.
fn kill_after(mut child: Child, steps: usize) -> usize {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let stepped = lines
        .map_while(Result::ok)
        .filter(|line| line.ends_with("stepped"))
        .take(steps)
        .count();
    child.kill().unwrap();
    child.wait().unwrap();
    stepped
}

/// Goal: view and checkpoint agree after `kill -9` at any moment, even while another process drives
/// the same projection. Method: two children at a time are killed; then the rows of every version
/// are compared with its checkpoint, because every event makes one row.
#[test]
fn killed_processes_leave_view_and_checkpoint_together() {
    for home in HOMES {
        let place = Place::new();
        let began = Instant::now();
        let mut stepped = 0;
        let name = match home {
            Home::Own => "own",
            Home::Store => "store",
        };
        let mut running = start_child(&place, name);
        for _ in 0..KILLS {
            if began.elapsed() > TIME_MAX && stepped > KILLS {
                break;
            }
            let next = start_child(&place, name);
            stepped += kill_after(running, fastrand::usize(1..40));
            running = next;
            check_versions(&place, home);
        }
        stepped += kill_after(running, 1);
        assert!(stepped > KILLS, "the children did too little: {stepped}");
        check_versions(&place, home);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let store = place.open();
            let log = log(&store, "dogs").await;
            let views = home.views(&place, &store);
            let version = newest_version(&views) + 1;
            pipeline(&log, &views, tricks(version))
                .catch_up()
                .await
                .unwrap();
            let head = log.head().await.unwrap().position().unwrap().get();
            assert_eq!(read(&views).len() as u64, head);
            assert_eq!(store.verify().await.unwrap(), []);
        });
    }
}

/// Goal and method as above, for a view that changes with the appends: it has every event of the
/// log.
#[test]
fn killed_processes_leave_log_and_inline_view_together() {
    let place = Place::new();
    let began = Instant::now();
    let mut running = start_child(&place, "inline");
    for _ in 0..KILLS {
        if began.elapsed() > TIME_MAX {
            break;
        }
        let next = start_child(&place, "inline");
        assert!(kill_after(running, fastrand::usize(1..20)) > 0);
        running = next;
        check_versions(&place, Home::Store);
        let conn = rusqlite::Connection::open(place.path()).unwrap();
        conn.busy_timeout(PATIENCE).unwrap();
        let sql = "SELECT (SELECT count(*) FROM event) - (SELECT count(*) FROM trick)";
        let missing: i64 = conn.query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(missing, 0);
    }
    kill_after(running, 1);
}

/// Checks every version in one state of the file.
fn check_versions(place: &Place, home: Home) {
    let path = match home {
        Home::Own => place.path().with_extension("views"),
        Home::Store => place.path(),
    };
    let conn = rusqlite::Connection::open(path).unwrap();
    conn.busy_timeout(PATIENCE).unwrap();
    conn.execute_batch("BEGIN").unwrap();
    let Ok(mut select) =
        conn.prepare("SELECT version, coalesce(position, 0), state FROM retold_projection")
    else {
        // The first child was killed before it began.
        return;
    };
    let versions = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    let versions: Vec<(u32, i64, String)> = versions.unwrap().collect::<Result<_, _>>().unwrap();
    let seen = versions.iter().filter(|it| it.2 == "seen").count();
    assert_eq!(seen, 1, "readers see one: {versions:?}");
    for (version, position, state) in versions {
        let count = |table: String| -> i64 {
            let sql = format!("SELECT count(*) FROM {table}");
            conn.query_row(&sql, [], |row| row.get(0)).unwrap()
        };
        assert_eq!(
            count(format!("trick__v{version}")),
            position,
            "version {version}"
        );
        if state == "seen" {
            assert_eq!(count("trick".into()), position);
        }
    }
}

#[tokio::test]
async fn a_store_that_is_read_only_keeps_no_views() {
    let place = Place::new();
    {
        let log = log(&place.open(), "dogs").await;
        teach(&*log, "sit").await.unwrap();
    }
    let store = SqliteStore::open_read_only(place.path()).unwrap();
    let log: Arc<dyn Recorder> = store.open_read_only("dogs").await.unwrap();
    let view_store = store.views().keep(tricks(1), tables()).unwrap();
    let error = ProjectionPipeline::new(log, view_store)
        .step()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("reading only"), "{error}");
}
