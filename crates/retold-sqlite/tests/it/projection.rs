//! Projections into SQLite: view and checkpoint change together, despite failures, races and kills.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
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
use crate::tricks::{TrickAdded, checkpoint_and_rows, pipeline, read, tables, teach, tricks};

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
            log.append(TrickAdded::append(["sit", trick]))
                .await
                .unwrap();
            let mut pipeline = pipeline(&log, &views, tricks(1));
            let error = pipeline.catch_up().await.unwrap_err();
            assert!(error.to_string().contains("projection"), "{error}");
            assert_eq!(checkpoint_and_rows(&views, 1), (0, 0), "{trick}");
            teach(&*log, "fetch").await.unwrap();
        }
    }
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
    dogs.append(TrickAdded::append(["sit"; 20])).await.unwrap();
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
            let tricks = [["sit"; 3], ["fetch"; 3], ["bite"; 3]].map(TrickAdded::append);
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
