//! Inline projections: the view has the events of the log, or the append is not recorded.

use std::sync::OnceLock;

use futures_util::future::join_all;
use retold_core::application::Logged;
use retold_core::projection::{BoxError, OnPoison, Projection};
use retold_core::recording::{Appended, LogId, RecordError, Store, verify_log};
use retold_postgres::{
    Postgres, PostgresInlineProjections, PostgresOptions, PostgresStore, PostgresTables,
    PostgresTransaction,
};
use uuid::Uuid;

use crate::database::{Database, block_on};
use crate::opening::futures_executor;
use crate::tricks::{TrickAdded, checkpoint_and_rows, log, pipeline, read, tables, teach, tricks};

async fn open_with(database: &Database, projection: Projection<Postgres>) -> PostgresStore {
    let inline = PostgresInlineProjections::in_schema("public").with(projection, tables());
    open_inline(database, inline).await.unwrap()
}

async fn open_inline(
    database: &Database,
    inline: PostgresInlineProjections,
) -> Result<PostgresStore, RecordError> {
    let options = PostgresOptions::new();
    PostgresStore::open_with_projections(&database.url(), &options, inline).await
}

#[test]
fn the_view_has_what_was_acknowledged() {
    block_on(async {
        let database = Database::create().await;
        let store = open_with(&database, tricks(1)).await;
        let dogs = log(&store, "dogs").await;
        let other = log(&store, "cats").await;
        let views = store.views_in("public").unwrap();
        assert_eq!(read(&views).await, [""; 0]);
        for number in 1..=10 {
            dogs.append(TrickAdded::append(["sit", "fetch"]))
                .await
                .unwrap();
            teach(&*other, "bite").await.unwrap();
            assert_eq!(read(&views).await.len(), 2 * number);
            let number = number as i64 * 2;
            assert_eq!(checkpoint_and_rows(&views, 1).await, (number, number));
        }
    });
}

/// Another store, which a handler waits for.
static OTHER: OnceLock<PostgresStore> = OnceLock::new();

/// Blocks its thread until the other store has responded.
async fn ask_other(_: &PostgresTransaction<'_>, _: &Logged<TrickAdded>) -> Result<(), BoxError> {
    let asking = std::thread::spawn(|| futures_executor(OTHER.get().unwrap().now()));
    asking.join().unwrap()?;
    Ok(())
}

/// Goal: a handler can block its thread, and wait for data from a server in the meantime.
#[test]
fn a_handler_may_block() {
    block_on(async {
        let database = Database::create().await;
        assert!(OTHER.set(database.open().await).is_ok());
        let asking = Projection::<Postgres>::new("tricks", 1, "dogs").on_async(ask_other);
        let store = open_with(&database, asking).await;
        let dogs = log(&store, "dogs").await;
        for _ in 0..3 {
            dogs.append(TrickAdded::append(["sit"])).await.unwrap();
        }
    });
}

/// Goal: an append that a projection refuses is refused alone. Method: concurrent groups of good
/// and bad appends, with a result for each.
#[test]
fn one_that_fails_fails_its_own_append_alone() {
    block_on(async {
        let database = Database::create().await;
        let store = open_with(&database, tricks(1)).await;
        let log = log(&store, "dogs").await;
        let mut good = 0;
        for round in 0..3 {
            let appends = (0..40).map(|number| match (number + round) % 4 {
                0 => TrickAdded::append(["sit", "bite"]),
                1 => TrickAdded::append(["panic"]),
                _ => TrickAdded::append(["sit"]),
            });
            let answers = join_all(appends.map(|append| log.append(append))).await;
            for (number, answer) in (0..).zip(answers) {
                match ((number + round) % 4, answer) {
                    (0, Err(RecordError::Invalid(invalid))) => {
                        let text = invalid.to_string();
                        for part in [
                            "\"tricks\" version 1",
                            "this trick is not taught",
                            "nothing is recorded",
                        ] {
                            assert!(text.contains(part), "{part} is not in {text}");
                        }
                    }
                    (1, Err(RecordError::Invalid(invalid))) => {
                        assert!(invalid.to_string().contains("too exciting"), "{invalid}");
                    }
                    (2 | 3, Ok(Appended::Recorded(_))) => good += 1,
                    (kind, answer) => panic!("{kind}: {answer:?}"),
                }
            }
        }
        let head = log.head().await.unwrap();
        assert_eq!(head.position().unwrap().get(), good);
        assert_eq!(head.append_count, good);
        assert_eq!(
            read(&store.views_in("public").unwrap()).await.len() as u64,
            good
        );
        let report = verify_log(&*log, &mut |_| {}).await.unwrap();
        assert_eq!(report.findings, []);
    });
}

async fn quiet(
    view: &PostgresTransaction<'_>,
    logged: &Logged<TrickAdded>,
) -> Result<(), BoxError> {
    if logged.event.0 == "speak" {
        return Err("dogs are quiet here".into());
    }
    let sql = format!("INSERT INTO {} VALUES (1)", view.table("quiet"));
    view.execute(&sql, &[]).await?;
    Ok(())
}

#[test]
fn several_projections_process_an_append_or_none_does() {
    block_on(async {
        let database = Database::create().await;
        let strict = Projection::<Postgres>::new("strict", 1, "dogs").on_async(quiet);
        let quiet = PostgresTables::new(["quiet"], |names| {
            format!("CREATE TABLE {} (it integer)", names.table("quiet"))
        });
        let inline = PostgresInlineProjections::in_schema("public")
            .with(tricks(1), tables())
            .with(strict, quiet);
        let store = open_inline(&database, inline).await.unwrap();
        let log = log(&store, "dogs").await;
        let appends = ["sit", "speak", "bite", "fetch"].map(|it| TrickAdded::append([it]));
        let answers = join_all(appends.map(|append| log.append(append))).await;
        let recorded: Vec<_> = answers.iter().map(Result::is_ok).collect();
        assert_eq!(recorded, [true, false, false, true], "{answers:?}");
        assert_eq!(
            read(&store.views_in("public").unwrap()).await,
            ["sit", "fetch"]
        );
        let reader = store.views_in("public").unwrap().reader().await.unwrap();
        for table in ["quiet", "retold_projection"] {
            let sql = format!("SELECT count(*) FROM {table}");
            let count: i64 = reader.query_one(&sql, &[]).await.unwrap().get(0);
            assert_eq!(count, 2, "{table}");
        }
    });
}

/// A handler that ends the transaction, or leaves it in a state that cannot be committed, is
/// refused, and the other appends of the group are not harmed.
#[test]
fn one_that_spoils_the_transaction_is_refused() {
    block_on(async {
        let database = Database::create().await;
        let store = open_with(&database, tricks(1)).await;
        let log = log(&store, "dogs").await;
        let tricks = [
            "sit",
            "commit",
            "fetch",
            "roll back",
            "speak",
            "swallow",
            "promise",
        ];
        let answers = join_all(tricks.map(|it| log.append(TrickAdded::append([it])))).await;
        let recorded: Vec<_> = answers.iter().map(Result::is_ok).collect();
        assert_eq!(
            recorded,
            [true, false, true, false, true, false, false],
            "{answers:?}"
        );
        for refused in answers.iter().filter_map(|it| it.as_ref().err()) {
            assert!(matches!(refused, RecordError::Invalid(_)), "{refused}");
        }
        let mut names = read(&store.views_in("public").unwrap()).await;
        names.sort();
        assert_eq!(names, ["fetch", "sit", "speak"]);
    });
}

#[test]
fn it_catches_up_before_the_first_append_and_with_other_programs() {
    block_on(async {
        let database = Database::create().await;
        {
            let log = log(&database.open().await, "dogs").await;
            for _ in 0..3 {
                log.append(TrickAdded::append(["sit"; 700])).await.unwrap();
            }
        }
        let store = open_with(&database, tricks(1)).await;
        let with = log(&store, "dogs").await;
        let views = store.views_in("public").unwrap();
        assert_eq!(read(&views).await.len(), 2100);
        // A program without the projection appends few events, then many.
        let without = log(&database.open().await, "dogs").await;
        let mut expected = 2100;
        for count in [15, 2500] {
            without
                .append(TrickAdded::append(vec!["fetch"; count]))
                .await
                .unwrap();
            assert_eq!(read(&views).await.len(), expected);
            teach(&*with, "speak").await.unwrap();
            expected += count + 1;
            assert_eq!(read(&views).await.len(), expected);
        }
        let there = i64::try_from(expected).unwrap();
        assert_eq!(checkpoint_and_rows(&views, 1).await, (there, there));
    });
}

#[test]
fn recorded_poison_fails_the_opening_unless_it_is_skipped() {
    block_on(async {
        let database = Database::create().await;
        {
            let log = log(&database.open().await, "dogs").await;
            log.append(TrickAdded::append(["sit", "bite", "fetch"]))
                .await
                .unwrap();
        }
        let birth = LogId::new(Uuid::now_v7());
        let store = open_with(&database, tricks(1)).await;
        let Err(error) = store.open("dogs", birth).await else {
            panic!("it must not catch up");
        };
        assert!(matches!(error, RecordError::Invalid(_)), "{error}");
        for part in ["position 2", "this trick is not taught"] {
            assert!(error.to_string().contains(part), "{error}");
        }
        let store = open_with(&database, tricks(1).on_poison(OnPoison::Skip)).await;
        let log = log(&store, "dogs").await;
        let views = store.views_in("public").unwrap();
        assert_eq!(read(&views).await, ["sit", "fetch"]);
        // An event that is not recorded yet is refused, not skipped.
        assert!(teach(&*log, "bite").await.is_err());
        teach(&*log, "speak").await.unwrap();
        assert_eq!(read(&views).await, ["sit", "fetch", "speak"]);
        let handle = pipeline(&log, &views, tricks(1)).handle();
        assert_eq!(handle.skipped(None, 10).await.unwrap().len(), 1);
    });
}

#[test]
fn a_newer_version_replaces_the_older() {
    block_on(async {
        let database = Database::create().await;
        let old = open_with(&database, tricks(1)).await;
        let old_log = log(&old, "dogs").await;
        teach(&*old_log, "sit").await.unwrap();
        let new = open_with(&database, tricks(2)).await;
        let new_log = log(&new, "dogs").await;
        assert_eq!(read(&new.views_in("public").unwrap()).await, ["sit"]);
        teach(&*new_log, "fetch").await.unwrap();
        assert_eq!(
            checkpoint_and_rows(&new.views_in("public").unwrap(), 2).await,
            (2, 2)
        );
        let error = teach(&*old_log, "speak").await.unwrap_err();
        assert!(error.to_string().contains("superseded"), "{error}");
        assert_eq!(
            read(&new.views_in("public").unwrap()).await,
            ["sit", "fetch"]
        );
    });
}

/// Goal: log and view stay consistent when connections are cut. Method: backends are terminated at
/// random while several tasks append; each sends its append until it is settled.
#[test]
fn cut_connections_leave_log_and_view_consistent() {
    const APPENDS: usize = 60;
    block_on(async {
        let database = Database::create().await;
        let store = open_with(&database, tricks(1)).await;
        let dogs = log(&store, "dogs").await;
        let writers: Vec<_> = (0..4)
            .map(|_| {
                let dogs = dogs.clone();
                tokio::spawn(async move {
                    for _ in 0..APPENDS {
                        let append = TrickAdded::append(["sit", "fetch"]);
                        while let Err(error) = dogs.append(append.clone()).await {
                            let may_pass = matches!(
                                error,
                                RecordError::Unavailable(_) | RecordError::OutcomeUnknown(_)
                            );
                            assert!(may_pass, "{error}");
                        }
                    }
                })
            })
            .collect();
        let admin = database.client().await;
        let mut cut = 0;
        while !writers.iter().all(|it| it.is_finished()) {
            let one = "SELECT count(pg_terminate_backend(pid)) FROM (
                SELECT pid FROM pg_stat_activity WHERE datname = current_database()
                AND pid <> pg_backend_pid() AND backend_type = 'client backend'
                ORDER BY random() LIMIT 1) one";
            cut += admin.query_one(one, &[]).await.unwrap().get::<_, i64>(0);
            admin.query_one("SELECT pg_sleep(0.03)", &[]).await.unwrap();
        }
        for writer in writers {
            writer.await.unwrap();
        }
        assert!(cut > 0, "nothing was cut");
        let there = 4 * APPENDS * 2;
        assert_eq!(read(&store.views_in("public").unwrap()).await.len(), there);
        let head = dogs.head().await.unwrap().position().unwrap().get();
        assert_eq!(head as usize, there);
        let report = verify_log(&*dogs, &mut |_| {}).await.unwrap();
        assert_eq!(report.findings, []);
    });
}

#[test]
fn it_may_begin_with_now() {
    block_on(async {
        let database = Database::create().await;
        teach(&*log(&database.open().await, "dogs").await, "sit")
            .await
            .unwrap();
        let store = open_with(&database, tricks(1).from_now()).await;
        let log = log(&store, "dogs").await;
        teach(&*log, "fetch").await.unwrap();
        assert_eq!(read(&store.views_in("public").unwrap()).await, ["fetch"]);
    });
}

#[test]
fn wrong_declarations_are_invalid() {
    block_on(async {
        let database = Database::create().await;
        let bare = Projection::<Postgres>::new("tricks", 1, "dogs");
        let bare = PostgresInlineProjections::in_schema("public").with(bare, tables());
        let quoted = PostgresInlineProjections::in_schema("a b").with(tricks(1), tables());
        for inline in [bare, quoted] {
            let opened = open_inline(&database, inline).await.map(drop);
            assert!(matches!(opened, Err(RecordError::Invalid(_))), "{opened:?}");
        }
    });
}
