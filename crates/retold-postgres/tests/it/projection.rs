//! Projections into PostgreSQL: view and checkpoint stay consistent through failures, races and
//! kills.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use retold_core::application::Logged;
use retold_core::projection::{
    BoxError, OnPoison, Projection, ProjectionError, ProjectionPipeline, ViewStore,
};
use retold_core::recording::{Recorder, Store};
use retold_postgres::{
    Postgres, PostgresInlineProjections, PostgresOptions, PostgresStore, PostgresTables,
    PostgresTransaction, PostgresViews,
};

use crate::database::{Database, block_on};
use crate::tricks::{TrickAdded, checkpoint_and_rows, log, pipeline, read, tables, teach, tricks};

/// A handler that ends the transaction, or leaves it in a state that cannot be committed, is found
/// to be at fault: the events around it are in the view, once.
#[test]
fn a_handler_that_spoils_the_transaction_is_found() {
    block_on(async {
        for trick in ["commit", "roll back", "swallow", "promise"] {
            let database = Database::create().await;
            let store = database.open().await;
            let log = log(&store, "dogs").await;
            let views = store.views_in("public").unwrap();
            log.append(TrickAdded::append(["sit", trick, "fetch", "speak"]))
                .await
                .unwrap();
            let mut stops = pipeline(&log, &views, tricks(1));
            let error = stops.catch_up().await.unwrap_err();
            let is_meant = matches!(&error, ProjectionError::Poison { event, .. }
                if event.checkpoint.position.get() == 2);
            assert!(is_meant, "{trick}: {error}");
            assert_eq!(checkpoint_and_rows(&views, 1).await, (1, 1), "{trick}");
            let mut skips = pipeline(&log, &views, tricks(1).on_poison(OnPoison::Skip));
            skips.catch_up().await.unwrap();
            assert_eq!(read(&views).await, ["sit", "fetch", "speak"], "{trick}");
        }
    });
}

/// Readers keep their rights and their prepared statements when a version replaces an older one,
/// and find the view by the name of its schema.
#[test]
fn a_new_version_is_found_as_the_older_one() {
    block_on(async {
        let database = Database::create().await;
        let store = database.open().await;
        let log = log(&store, "dogs").await;
        let views = store.views_in("reports").unwrap();
        teach(&*log, "sit").await.unwrap();
        pipeline(&log, &views, tricks(1)).catch_up().await.unwrap();
        let admin = database.client().await;
        let grant = "CREATE ROLE looker; GRANT SELECT ON reports.trick TO looker";
        admin.batch_execute(grant).await.unwrap();
        let reader = views.reader().await.unwrap();
        let select = reader.prepare("SELECT count(*) FROM trick").await.unwrap();
        for version in 2..=5 {
            teach(&*log, "sit").await.unwrap();
            let mut next = pipeline(&log, &views, tricks(version));
            next.catch_up().await.unwrap();
            let sql = "SELECT count(*) FROM reports.trick";
            let by_schema: i64 = admin.query_one(sql, &[]).await.unwrap().get(0);
            let prepared: i64 = reader.query_one(&select, &[]).await.unwrap().get(0);
            assert_eq!(
                (by_schema, prepared),
                (i64::from(version), i64::from(version))
            );
        }
        let may = "SELECT has_table_privilege('looker', 'reports.trick', 'SELECT')";
        assert!(admin.query_one(may, &[]).await.unwrap().get::<_, bool>(0));
    });
}

/// A version with other columns replaces the older one, with the rights that were granted.
#[test]
fn a_new_version_may_have_other_columns() {
    block_on(async {
        let database = Database::create().await;
        let store = database.open().await;
        let log = log(&store, "dogs").await;
        let views = store.views_in("public").unwrap();
        teach(&*log, "sit").await.unwrap();
        pipeline(&log, &views, tricks(1)).catch_up().await.unwrap();
        let admin = database.client().await;
        let grant = "CREATE ROLE \"a looker\"; GRANT SELECT ON trick TO \"a looker\", PUBLIC";
        admin.batch_execute(grant).await.unwrap();
        let projection = Projection::<Postgres>::new("tricks", 2, "dogs").on_async(
            async |view: &PostgresTransaction<'_>, logged: &Logged<TrickAdded>| {
                let sql = format!("INSERT INTO {} VALUES ($1)", view.table("trick"));
                view.execute(&sql, &[&logged.event.0]).await?;
                Ok(())
            },
        );
        let tables = PostgresTables::new(["trick"], |names| {
            format!("CREATE TABLE {} (label text)", names.table("trick"))
        });
        let view_store = views.keep(projection, tables).unwrap();
        let mut second = ProjectionPipeline::new(log.clone(), view_store);
        second.catch_up().await.unwrap();
        let label: String = admin
            .query_one("SELECT label FROM trick", &[])
            .await
            .unwrap()
            .get(0);
        assert_eq!(label, "sit");
        let may = "SELECT has_table_privilege('a looker', 'trick', 'SELECT')";
        assert!(admin.query_one(may, &[]).await.unwrap().get::<_, bool>(0));
        let gone = "SELECT to_regclass('trick_count') IS NULL";
        assert!(admin.query_one(gone, &[]).await.unwrap().get::<_, bool>(0));
    });
}

async fn nothing(_: &PostgresTransaction<'_>, _: &Logged<TrickAdded>) -> Result<(), BoxError> {
    Ok(())
}

#[test]
fn tables_that_cannot_be_are_a_clear_error() {
    block_on(async {
        let database = Database::create().await;
        let store = database.open().await;
        let log = log(&store, "dogs").await;
        teach(&*log, "sit").await.unwrap();
        let admin = database.client().await;
        let taken = "CREATE TABLE public.taken (it integer)";
        admin.batch_execute(taken).await.unwrap();
        let views = store.views_in("public").unwrap();
        assert!(store.views_in("a b").is_err());
        let projection =
            |name: &str| Projection::<Postgres>::new(name, 1, "dogs").on_async(nothing);
        let one = |name: &'static str| {
            PostgresTables::new([name], move |names| {
                format!("CREATE TABLE {} (it integer)", names.table(name))
            })
        };
        let Err(error) = views.keep(projection("other"), one("a b")) else {
            panic!("it must be refused");
        };
        assert!(error.to_string().contains("\"a b\""), "{error}");
        let step = |view_store: Arc<dyn ViewStore>| {
            let log = log.clone();
            async move { ProjectionPipeline::new(log, view_store).step().await }
        };
        for (tables, hint) in [
            // The plain name belongs to another table.
            (one("taken"), "taken"),
            // The table is not created.
            (
                PostgresTables::new(["forgotten"], |_| String::new()),
                "forgotten__v1",
            ),
            (
                PostgresTables::new(["it"], |_| "CREATE TABEL".into()),
                "TABEL",
            ),
        ] {
            let view_store = views.keep(projection("other"), tables).unwrap();
            let error = step(view_store).await.unwrap_err();
            assert!(matches!(error, ProjectionError::Invalid { .. }), "{error}");
            assert!(error.to_string().contains(hint), "{error}");
        }
        // Nothing is left of these attempts.
        step(views.keep(projection("other"), one("dog")).unwrap())
            .await
            .unwrap();
        // Another projection has the table.
        let error = step(views.keep(projection("second"), one("dog")).unwrap())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("already exists"), "{error}");
    });
}

/// A connection that the server ends is no fault of the event in the handler.
#[test]
fn a_connection_that_is_cut_poisons_nothing() {
    block_on(async {
        let database = Database::create().await;
        let store = database.open().await;
        let log = log(&store, "dogs").await;
        log.append(TrickAdded::append(["sit"; 20])).await.unwrap();
        let views = store.views_in("public").unwrap();
        let projection = Projection::<Postgres>::new("tricks", 1, "dogs")
            .on_async(
                async |view: &PostgresTransaction<'_>, logged: &Logged<TrickAdded>| {
                    if logged.position().get() == 7 {
                        view.query("SELECT pg_terminate_backend(pg_backend_pid())", &[])
                            .await?;
                    }
                    Ok(())
                },
            )
            .on_poison(OnPoison::Skip);
        let view_store = views.keep(projection, tables()).unwrap();
        let mut cut = ProjectionPipeline::new(log.clone(), view_store);
        let error = cut.catch_up().await.unwrap_err();
        assert!(
            matches!(error, ProjectionError::Unavailable { .. }),
            "{error}"
        );
        pipeline(&log, &views, tricks(1)).catch_up().await.unwrap();
        assert_eq!(read(&views).await.len(), 20);
    });
}

#[test]
fn a_role_without_rights_gets_advice() {
    block_on(async {
        let database = Database::create().await;
        let store = database.open().await;
        let log = log(&store, "dogs").await;
        teach(&*log, "sit").await.unwrap();
        let admin = database.client().await;
        let role = format!("weak_{}", database.name());
        let create = format!("CREATE ROLE {role} LOGIN");
        admin.batch_execute(&create).await.unwrap();
        let url = database.url().replace("//retold@", &format!("//{role}@"));
        let views = PostgresViews::open(&url, "nowhere").unwrap();
        let mut pipeline = pipeline(&log, &views, tricks(1));
        let error = pipeline.catch_up().await.unwrap_err();
        assert!(matches!(error, ProjectionError::Invalid { .. }), "{error}");
        assert!(error.to_string().contains("permission denied"), "{error}");
    });
}

/// Passes its database and its task to a child; absent in the parent.
const URL: &str = "RETOLD_POSTGRES_VIEWS_CHILD_OF";
const DOES: &str = "RETOLD_POSTGRES_VIEWS_CHILD_DOES";
/// Children that are killed, one after the other, for each kind of views.
const KILLS: usize = 12;
/// After this time no further child is started.
const TIME_MAX: Duration = Duration::from_secs(20);

/// The child: appends and drives a projection forever, and begins a new version now and then. It is
/// a test of its own so that the test binary can be the child; without a parent it does nothing.
#[test]
fn child() {
    let (Ok(url), Ok(does)) = (env::var(URL), env::var(DOES)) else {
        return;
    };
    match does.as_str() {
        "inline" => block_on(append_inline(&url)),
        _ => block_on(drive(&url)),
    }
}

async fn drive(url: &str) {
    let store = PostgresStore::open(url).await.unwrap();
    let log = log(&store, "dogs").await;
    let views = store.views_in("public").unwrap();
    let appending = log.clone();
    tokio::spawn(async move {
        loop {
            drop(teach(&*appending, "sit").await);
        }
    });
    let mut version = newest_version(&views).await;
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
}

/// The child whose view changes with its appends.
async fn append_inline(url: &str) {
    let inline = PostgresInlineProjections::in_schema("public").with(tricks(1), tables());
    let options = PostgresOptions::new();
    let store = PostgresStore::open_with_projections(url, &options, inline).await;
    let log = log(&store.unwrap(), "dogs").await;
    loop {
        let tricks = [["sit"; 3], ["fetch"; 3], ["bite"; 3]].map(TrickAdded::append);
        join_all(tricks.map(|append| log.append(append))).await;
        say_stepped();
    }
}

fn say_stepped() {
    std::io::stdout().write_all(b"stepped\n").unwrap();
    std::io::stdout().flush().unwrap();
}

async fn newest_version(views: &PostgresViews) -> u32 {
    let sql = "SELECT coalesce(max(version), 0) FROM retold_projection";
    let newest = views.reader().await.unwrap().query_one(sql, &[]).await;
    newest.map_or(0, |row| u32::try_from(row.get::<_, i64>(0)).unwrap())
}

fn start_child(url: &str, does: &str) -> Child {
    let arguments = [
        "--exact",
        "projection::child",
        "--nocapture",
        "--test-threads=1",
    ];
    Command::new(env::current_exe().unwrap())
        .args(arguments)
        .env(URL, url)
        .env(DOES, does)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills a child after a number of steps, at any moment of the next.
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

/// Goal: view and checkpoint are consistent after `kill -9` at any moment, also while another
/// process drives the same projection. Method: two children at a time are killed; then the rows of
/// every version are counted against its checkpoint, since every event creates one row.
#[test]
fn killed_processes_leave_view_and_checkpoint_consistent() {
    let database = block_on(Database::create());
    let began = Instant::now();
    let mut stepped = 0;
    let mut running = start_child(&database.url(), "drive");
    for _ in 0..KILLS {
        if began.elapsed() > TIME_MAX {
            break;
        }
        let next = start_child(&database.url(), "drive");
        stepped += kill_after(running, fastrand::usize(1..40));
        running = next;
        block_on(check_versions(&database));
    }
    stepped += kill_after(running, 1);
    assert!(stepped > KILLS, "the children made progress: {stepped}");
    block_on(async {
        check_versions(&database).await;
        let store = database.open().await;
        let log = log(&store, "dogs").await;
        let views = store.views_in("public").unwrap();
        let version = newest_version(&views).await + 1;
        let mut last = pipeline(&log, &views, tricks(version));
        while let Err(error) = last.catch_up().await {
            // Locks of a killed process are released when the server notices.
            assert!(error.is_retriable(), "{error}");
        }
        let head = log.head().await.unwrap().position().unwrap().get();
        assert!(read(&views).await.len() as u64 >= head);
    });
}

/// Goal and method as above, for a view that changes with the appends: it has every event of the
/// log.
#[test]
fn killed_processes_leave_log_and_inline_view_consistent() {
    let database = block_on(Database::create());
    let began = Instant::now();
    let mut running = start_child(&database.url(), "inline");
    for _ in 0..KILLS {
        if began.elapsed() > TIME_MAX {
            break;
        }
        let next = start_child(&database.url(), "inline");
        assert!(kill_after(running, fastrand::usize(1..20)) > 0);
        running = next;
        block_on(async {
            check_versions(&database).await;
            let sql = "SELECT (SELECT count(*) FROM retold.event) - (SELECT count(*) FROM trick)";
            let client = database.client().await;
            let missing: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
            assert_eq!(missing, 0);
        });
    }
    kill_after(running, 1);
}

/// Checks every version in one snapshot of the database.
async fn check_versions(database: &Database) {
    let mut client = database.client().await;
    let state = client
        .build_transaction()
        .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead)
        .start()
        .await
        .unwrap();
    // A table that is dropped in the meantime is not in this snapshot any more, and is not counted.
    let lock = "LOCK TABLE retold_projection IN SHARE MODE";
    if state.batch_execute(lock).await.is_err() {
        // The first child was killed before it began.
        return;
    }
    let select = "SELECT version, coalesce(position, 0), state FROM retold_projection";
    let versions = state.query(select, &[]).await.unwrap();
    let is_seen = |row: &&tokio_postgres::Row| row.get::<_, &str>(2) == "seen";
    let seen = versions.iter().filter(is_seen).count();
    assert_eq!(seen, 1, "readers see one: {versions:?}");
    for row in &versions {
        let (version, position): (i64, i64) = (row.get(0), row.get(1));
        let mut tables = vec![format!("trick__v{version}")];
        tables.extend(is_seen(&row).then(|| "trick".to_owned()));
        for table in tables {
            let sql = format!("SELECT count(*) FROM {table}");
            let count: i64 = state.query_one(&sql, &[]).await.unwrap().get(0);
            assert_eq!(count, position, "{table}");
        }
    }
}

#[test]
fn a_read_only_store_reads_views() {
    block_on(async {
        let database = Database::create().await;
        let log = log(&database.open().await, "dogs").await;
        teach(&*log, "sit").await.unwrap();
        let store = PostgresStore::open_read_only(&database.url())
            .await
            .unwrap();
        let log: Arc<dyn Recorder> = store.open_read_only("dogs").await.unwrap();
        let view_store = store
            .views_in("public")
            .unwrap()
            .keep(tricks(1), tables())
            .unwrap();
        let error = ProjectionPipeline::new(log, view_store).step().await;
        let error = error.unwrap_err();
        assert!(error.to_string().contains("reading only"), "{error}");
    });
}

/// Goal: each store has its own views. Method: two stores in one database with a projection of one
/// name, one of them in a schema whose name needs quotes.
#[test]
fn two_stores_never_share_the_tables_of_a_view() {
    block_on(async {
        let database = Database::create().await;
        for (schema, trick) in [("retold", "sit"), ("The \"Dogs\" \\ 2", "fetch")] {
            let options = PostgresOptions::new().schema(schema);
            let store = PostgresStore::open_with(&database.url(), &options)
                .await
                .unwrap();
            let log = log(&store, "dogs").await;
            teach(&*log, trick).await.unwrap();
            let views = store.views();
            assert_eq!(views.schema(), schema);
            let mut first = pipeline(&log, &views, tricks(1));
            first.catch_up().await.unwrap();
            assert_eq!(read(&views).await, [trick]);
            // A new version replaces it there.
            pipeline(&log, &views, tricks(2)).catch_up().await.unwrap();
            assert_eq!(read(&views).await, [trick]);
            let kept = Store::views(&store).await.unwrap();
            let [kept] = &kept[..] else {
                panic!("{kept:?}");
            };
            assert_eq!(
                (&*kept.name, kept.version, &*kept.upstream),
                ("tricks", 2, "dogs")
            );
            assert_eq!(Some(kept.log), log.log_id().await.unwrap());
            assert_eq!(kept.checkpoint, log.head().await.unwrap().checkpoint);
            assert!(kept.is_seen);
        }
    });
}

/// Views that an earlier version of the library kept in `public` are not built a second time while
/// readers still see the old rows.
#[test]
fn views_in_public_are_not_silently_built_twice() {
    block_on(async {
        let database = Database::create().await;
        let store = database.open().await;
        let log = log(&store, "dogs").await;
        teach(&*log, "sit").await.unwrap();
        let former = store.views_in("public").unwrap();
        pipeline(&log, &former, tricks(1)).catch_up().await.unwrap();
        let mut moved = pipeline(&log, &store.views(), tricks(1));
        let error = moved.catch_up().await.unwrap_err().to_string();
        assert!(error.contains("views_in(\"public\")"), "{error}");
        // It continues in its old schema; after it was removed, it is rebuilt.
        teach(&*log, "fetch").await.unwrap();
        pipeline(&log, &former, tricks(1)).catch_up().await.unwrap();
        assert_eq!(read(&former).await, ["sit", "fetch"]);
        former
            .keep(tricks(1), tables())
            .unwrap()
            .discard()
            .await
            .unwrap();
        moved.resume();
        moved.catch_up().await.unwrap();
        assert_eq!(read(&store.views()).await, ["sit", "fetch"]);
    });
}

/// Two stores share one schema for views: the second reports the owner of the rows.
#[test]
fn a_view_with_the_rows_of_another_store_is_reported() {
    block_on(async {
        let database = Database::create().await;
        let mut ids = Vec::new();
        for schema in ["one", "two"] {
            let options = PostgresOptions::new().schema(schema);
            let store = PostgresStore::open_with(&database.url(), &options)
                .await
                .unwrap();
            let log = log(&store, "dogs").await;
            teach(&*log, "sit").await.unwrap();
            let views = store.views_in("reports").unwrap();
            let caught_up = pipeline(&log, &views, tricks(1)).catch_up().await;
            ids.push(log.log_id().await.unwrap().unwrap().to_string());
            if schema == "two" {
                let error = caught_up.unwrap_err().to_string();
                assert!(ids.iter().all(|id| error.contains(id)), "{error}: {ids:?}");
                assert!(error.contains("rows belong to another store"), "{error}");
            }
        }
    });
}
