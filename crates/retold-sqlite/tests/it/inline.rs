//! Inline projections: the view has every event of the log, or the append is not recorded.

use futures_util::future::join_all;
use retold_core::projection::{OnPoison, Projection};
use retold_core::recording::{
    Amendment, Append, Appended, ErasedParts, LogId, LogRead, RecordError, Store, verify_log,
};
use retold_sqlite::{Sqlite, SqliteInlineProjections, SqliteStore, SqliteTables};
use uuid::Uuid;

use crate::place::{Place, log, patient, record};
use crate::tricks::{TrickAdded, checkpoint_and_rows, pipeline, read, tables, teach, tricks};

fn open_with(place: &Place, projection: Projection<Sqlite>) -> SqliteStore {
    let inline = SqliteInlineProjections::new().with(projection, tables());
    SqliteStore::open_with_projections(place.path(), &patient(), inline).unwrap()
}

#[tokio::test]
async fn the_view_has_what_was_acknowledged() {
    let place = Place::new();
    let store = open_with(&place, tricks(1));
    let dogs = log(&store, "dogs").await;
    let other = log(&store, "cats").await;
    let views = store.views();
    assert_eq!(read(&views), [""; 0]);
    for number in 1..=10 {
        dogs.append(TrickAdded::append(["sit", "fetch"]))
            .await
            .unwrap();
        teach(&*other, "bite").await.unwrap();
        assert_eq!(read(&views).len(), 2 * number);
        let number = number as i64 * 2;
        assert_eq!(checkpoint_and_rows(&views, 1), (number, number));
    }
}

/// Goal: an append that a projection refuses is the only one refused, and leaves nothing in the
/// writer's memory. Method: groups of good and bad appends, each with its own outcome.
#[tokio::test]
async fn one_that_fails_fails_its_own_append_alone() {
    let place = Place::new();
    let store = open_with(&place, tricks(1));
    let log = log(&store, "dogs").await;
    let mut good = 0;
    for round in 0..5 {
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
    assert_eq!(read(&store.views()).len() as u64, good);
    let report = verify_log(&*log, &mut |_| {}).await.unwrap();
    assert_eq!(report.findings, []);
    assert_eq!(store.verify().await.unwrap(), []);
}

#[tokio::test]
async fn several_projections_take_an_append_or_none_does() {
    let place = Place::new();
    let strict =
        Projection::<Sqlite>::new("strict", 1, "dogs").on::<TrickAdded>(
            |view, logged| match logged.event.0.as_str() {
                "speak" => Err("dogs are quiet here".into()),
                _ => {
                    let sql = format!("INSERT INTO {} VALUES (1)", view.table("quiet"));
                    view.execute(&sql, [])?;
                    Ok(())
                }
            },
        );
    let quiet = SqliteTables::new(["quiet"], |view| {
        let sql = format!("CREATE TABLE {} (it INTEGER)", view.table("quiet"));
        Ok(view.execute_batch(&sql)?)
    });
    let inline = SqliteInlineProjections::new()
        .with(tricks(1), tables())
        .with(strict, quiet);
    let store = SqliteStore::open_with_projections(place.path(), &patient(), inline).unwrap();
    let log = log(&store, "dogs").await;
    let appends = ["sit", "speak", "bite", "fetch"].map(|it| TrickAdded::append([it]));
    let answers = join_all(appends.map(|append| log.append(append))).await;
    let recorded: Vec<_> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(recorded, [true, false, false, true], "{answers:?}");
    assert_eq!(read(&store.views()), ["sit", "fetch"]);
    let count = |table: &str| -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        let reader = store.views().reader().unwrap();
        reader.query_row(&sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!(count("quiet"), 2);
    assert_eq!(count("retold_projection"), 2);
}

/// A handler that ends the transaction is refused, and other appends of its group are not affected.
#[tokio::test]
async fn one_that_ends_the_transaction_is_refused() {
    let place = Place::new();
    let store = open_with(&place, tricks(1));
    let log = log(&store, "dogs").await;
    let appends =
        ["sit", "commit", "fetch", "roll back", "speak"].map(|it| TrickAdded::append([it]));
    let answers = join_all(appends.map(|append| log.append(append))).await;
    let recorded: Vec<_> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(recorded, [true, false, true, false, true], "{answers:?}");
    let mut names = read(&store.views());
    names.sort();
    assert_eq!(names, ["fetch", "sit", "speak"]);
    assert_eq!(store.verify().await.unwrap(), []);
}

#[tokio::test]
async fn it_catches_up_before_the_first_append_and_with_other_programs() {
    let place = Place::new();
    {
        let log = log(&place.open(), "dogs").await;
        for _ in 0..3 {
            log.append(TrickAdded::append(["sit"; 700])).await.unwrap();
        }
    }
    let store = open_with(&place, tricks(1));
    let with = log(&store, "dogs").await;
    assert_eq!(read(&store.views()).len(), 2100);
    // A program that does not know the projection.
    let without = log(&place.open(), "dogs").await;
    without
        .append(TrickAdded::append(["fetch"; 1500]))
        .await
        .unwrap();
    assert_eq!(read(&store.views()).len(), 2100);
    teach(&*with, "speak").await.unwrap();
    assert_eq!(read(&store.views()).len(), 3601);
    assert_eq!(checkpoint_and_rows(&store.views(), 1), (3601, 3601));
}

#[tokio::test]
async fn existing_poison_fails_the_opening_unless_it_is_skipped() {
    let place = Place::new();
    {
        let log = log(&place.open(), "dogs").await;
        log.append(TrickAdded::append(["sit", "bite", "fetch"]))
            .await
            .unwrap();
    }
    let birth = LogId::new(Uuid::now_v7());
    let store = open_with(&place, tricks(1));
    let Err(error) = store.open("dogs", birth).await else {
        panic!("it must not catch up");
    };
    assert!(matches!(error, RecordError::Invalid(_)), "{error}");
    for part in ["position 2", "this trick is not taught"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    let store = open_with(&place, tricks(1).on_poison(OnPoison::Skip));
    let log = log(&store, "dogs").await;
    assert_eq!(read(&store.views()), ["sit", "fetch"]);
    // An event that is not recorded yet is not skipped but refused.
    assert!(teach(&*log, "bite").await.is_err());
    teach(&*log, "speak").await.unwrap();
    assert_eq!(read(&store.views()), ["sit", "fetch", "speak"]);
    let handle = pipeline(&log, &store.views(), tricks(1)).handle();
    assert_eq!(handle.skipped(None, 10).await.unwrap().len(), 1);
}

/// The reason why an event was skipped may quote it, so it goes with what the event had.
#[tokio::test]
async fn the_reason_for_a_skip_is_erased_with_the_event() {
    let place = Place::new();
    {
        let log = log(&place.open(), "dogs").await;
        let tricks = TrickAdded::append(["sit", "bite", "call"]);
        let mut events = tricks.new_events().to_vec();
        events[2].payload = Some("5551234".into());
        events[2].stream = Some("dog/1".into());
        log.append(Append::of(events)).await.unwrap();
    }
    let store = open_with(&place, tricks(1).on_poison(OnPoison::Skip));
    let dogs = log(&store, "dogs").await;
    let handle = pipeline(&dogs, &store.views(), tricks(1)).handle();
    let reasons = async || {
        let skipped = handle.skipped(None, 10).await.unwrap();
        [0, 1].map(|it: usize| skipped[it].error.to_string())
    };
    let before = reasons().await;
    assert!(before[1].contains("5551234"), "{before:?}");
    let call = dogs.read_log(LogRead::new()).await.unwrap().events[2].id();
    let erase = Amendment::EraseEvent {
        event: call,
        stream: Some("dog/1".into()),
        parts: ErasedParts::ALL,
    };
    dogs.append(Append::of([record(1, "dog/1")]).amendment(erase))
        .await
        .unwrap();
    let after = reasons().await;
    assert_eq!(after[0], before[0], "of another event");
    assert!(after[1].contains("erased or replaced"), "{after:?}");
    assert!(!after[1].contains("5551234"), "{after:?}");
}

#[tokio::test]
async fn a_newer_version_supersedes_the_older() {
    let place = Place::new();
    let old = open_with(&place, tricks(1));
    let old_log = log(&old, "dogs").await;
    teach(&*old_log, "sit").await.unwrap();
    let new = open_with(&place, tricks(2));
    let new_log = log(&new, "dogs").await;
    assert_eq!(read(&new.views()), ["sit"]);
    teach(&*new_log, "fetch").await.unwrap();
    assert_eq!(checkpoint_and_rows(&new.views(), 2), (2, 2));
    let error = teach(&*old_log, "speak").await.unwrap_err();
    assert!(error.to_string().contains("superseded"), "{error}");
    assert_eq!(read(&new.views()), ["sit", "fetch"]);
}

#[tokio::test]
async fn it_may_begin_with_now() {
    let place = Place::new();
    teach(&*log(&place.open(), "dogs").await, "sit")
        .await
        .unwrap();
    let store = open_with(&place, tricks(1).from_now());
    let log = log(&store, "dogs").await;
    teach(&*log, "fetch").await.unwrap();
    assert_eq!(read(&store.views()), ["fetch"]);
}

#[tokio::test]
async fn what_is_declared_wrongly_is_invalid() {
    let place = Place::new();
    let bare = Projection::<Sqlite>::new("tricks", 1, "dogs");
    let inline = SqliteInlineProjections::new().with(bare, tables());
    let opened = SqliteStore::open_with_projections(place.path(), &patient(), inline);
    assert!(matches!(opened, Err(RecordError::Invalid(_))), "{opened:?}");
}

/// Goal: an append whose view lost a table is refused as corrupt, and leaves nothing.
#[tokio::test]
async fn a_view_whose_table_was_dropped_refuses_appends_as_corrupt() {
    let place = Place::new();
    let store = open_with(&place, tricks(1));
    let dogs = log(&store, "dogs").await;
    teach(&*dogs, "sit").await.unwrap();
    let other = rusqlite::Connection::open(place.path()).unwrap();
    other.execute_batch("DROP TABLE trick__v1").unwrap();
    let refused = teach(&*dogs, "fetch").await;
    let Err(RecordError::Corrupt(corrupt)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(corrupt.place(), "the table trick__v1");
    assert_eq!(dogs.head().await.unwrap().append_count, 1);
}
