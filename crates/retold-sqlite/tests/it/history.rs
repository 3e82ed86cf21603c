//! Recorded data does not change, even by tools that do not know Retold.

use retold_core::recording::{
    Append, Checkpoint, Condition, Corrupt, EventId, FollowerKey, LogId, Position, ProcessedRange,
    Query, RecordError, Store, verify_log,
};
use rusqlite::Connection;
use uuid::Uuid;

use crate::place::{Place, event, log};

async fn filled() -> Place {
    let place = Place::new();
    let recorder = log(&place.open(), "dogs").await;
    let upstream = LogId::new(Uuid::from_u128(5));
    let to = Checkpoint {
        position: Position::FIRST,
        event_id: EventId::new(Uuid::from_u128(6)),
    };
    let events = (1..=3).map(|id| event(id).stream("dog/1").tag("good"));
    let append = Append::of(events.chain([event(4).tag("good")])).processed_range(
        ProcessedRange::new(FollowerKey::new("f"), upstream, None, to),
    );
    recorder.append(append).await.unwrap();
    place
}

/// Tries every way in which SQL can change a row of the history.
#[tokio::test]
async fn history_is_refused_to_sql() {
    let place = filled().await;
    let conn = Connection::open(place.path()).unwrap();
    let check = |sql: &str| {
        let refused = conn.execute_batch(sql).expect_err(sql);
        assert!(refused.to_string().contains("retold: "), "{sql}: {refused}");
    };
    check("UPDATE event SET payload = x'00'");
    check("UPDATE event SET payload = NULL");
    check("UPDATE OR IGNORE event SET time = 5 WHERE version = 2");
    check("UPDATE event SET seq = seq + 1 WHERE version = 3");
    check("DELETE FROM event");
    check("DELETE FROM event WHERE version = 3");
    check("INSERT OR REPLACE INTO event SELECT * FROM event WHERE version = 1");
    check("REPLACE INTO event SELECT * FROM event");
    check("INSERT OR IGNORE INTO event SELECT * FROM event");
    for table in ["log", "stream", "topic", "tag"] {
        check(&format!("UPDATE {table} SET name = 'other'"));
        check(&format!("DELETE FROM {table}"));
        check(&format!("REPLACE INTO {table} SELECT * FROM {table}"));
    }
    check("UPDATE event_tag SET seq = seq + 1");
    check("DELETE FROM event_tag");
    check("UPDATE follower SET name = 'other'");
    check("DELETE FROM follower");
    check("REPLACE INTO follower SELECT * FROM follower");
    check("UPDATE stretch SET to_position = 7");
    check("DELETE FROM stretch");
    check("REPLACE INTO stretch SELECT * FROM stretch");
    drop(conn);

    let store = place.open();
    assert_eq!(store.verify().await.unwrap(), []);
    let report = verify_log(&*log(&store, "dogs").await, &mut |_| {}).await;
    assert!(report.unwrap().is_sound());
}

/// Listing the log in one table allows the changes of amendments, and nothing else.
#[tokio::test]
async fn amending_has_one_way_in() {
    let place = filled().await;
    let conn = Connection::open(place.path()).unwrap();
    conn.execute_batch(
        "INSERT INTO topic (log, name) VALUES (1, 'retold.erased'), (1, 'Dog.Renamed')",
    )
    .unwrap();
    let list = "INSERT INTO amending SELECT 1, max(seq) FROM event WHERE seq >> 40 = 1";
    let amending = |sql: &str| {
        let whole = format!("BEGIN; {list}; {sql}; ROLLBACK");
        let done = conn.execute_batch(&whole);
        // It was ended by a trigger, or not.
        drop(conn.execute_batch("ROLLBACK"));
        done
    };
    let erased = "payload = NULL, payload_checksum = -1";
    let record = "(SELECT key FROM topic WHERE name = 'retold.erased')";
    for refused in [
        "payload = NULL",
        "payload = NULL, payload_checksum = ~payload_checksum",
        "time = 1",
        &format!("{erased}, time = 1"),
        &format!("{erased}, recorded_at = 1"),
        &format!("{erased}, seq = 9"),
        &format!("{erased}, id = zeroblob(16)"),
        &format!("{erased}, append_number = 9"),
        &format!("{erased}, place_index = 9"),
        &format!("{erased}, place_count = 9"),
        &format!("{erased}, stream = NULL"),
        &format!("{erased}, version = NULL"),
        &format!("{erased}, origin = 'library'"),
        &format!("{erased}, topic = topic + 1"),
        &format!("{erased}, revision = 2"),
        &format!("{erased}, encoding = 'other'"),
        &format!("{erased}, tags = x'0161'"),
        &format!("{erased}, metadata = x'00'"),
        "payload = x'00', metadata = x'00'",
        "payload = x'00', time = 1",
        "payload = x'00', version = 4",
        "payload = x'00', origin = 'library'",
        &format!("topic = {record}"),
    ] {
        let sql = format!("UPDATE event SET {refused} WHERE version = 2");
        let error = amending(&sql).expect_err(&sql);
        assert!(error.to_string().contains("retold: "), "{sql}: {error}");
    }
    for refused in [
        "DELETE FROM event",
        "DELETE FROM tag",
        "DELETE FROM topic",
        "UPDATE amending SET head = head - 1",
        "UPDATE amending SET log = 2",
    ] {
        amending(refused).expect_err(refused);
    }
    for permitted in [
        "UPDATE event SET payload = x'00', revision = 2, tags = x'0161' WHERE version = 2",
        "UPDATE event SET topic = topic + 2 WHERE version = 2",
        "UPDATE event SET payload = NULL, payload_checksum = -1 WHERE version = 2",
        "UPDATE event SET payload = NULL, payload_checksum = -1, tags = x'', checksum = 5",
        "DELETE FROM event_tag; DELETE FROM tag",
    ] {
        amending(permitted).expect(permitted);
    }
    let erase = format!("UPDATE event SET {erased} WHERE version = 2");
    amending(&format!(
        "{erase}; UPDATE event SET payload = x'00' WHERE version = 2"
    ))
    .expect_err("an erased event is not replaced");
    for refused in [
        "INSERT INTO amending VALUES (1, 0)",
        "INSERT INTO amending SELECT 1, max(seq) - 1 FROM event",
        "INSERT INTO amending SELECT 1, max(seq) + 1 FROM event",
        "INSERT INTO amending SELECT 2, max(seq) FROM event",
    ] {
        let error = conn.execute_batch(refused).expect_err(refused);
        assert!(error.to_string().contains("last event"), "{error}");
    }
    // A record of an amendment.
    let insert =
        "INSERT INTO event SELECT seq + 2, randomblob(16), append_number + 1, 0, 1, stream,
         version + 1, (SELECT key FROM topic WHERE name = 'retold.erased'), revision, time,
         recorded_at, encoding, origin, tags, metadata, payload_checksum, checksum, payload
         FROM event WHERE version = 3";
    let error = amending("DELETE FROM amending").unwrap_err();
    assert!(error.to_string().contains("recorded by"), "{error}");
    amending(&format!("{insert}; DELETE FROM amending")).unwrap();
    conn.execute_batch(insert).unwrap();
    // An earlier record is none of this amendment.
    amending("DELETE FROM amending").unwrap_err();
    for refused in [erased, "payload = x'00'", "topic = 1"] {
        let sql = format!("UPDATE event SET {refused} WHERE version = 4");
        amending(&sql).expect_err(&sql);
    }
    conn.execute_batch(&erase)
        .expect_err("the log is not listed any more");
}

/// Goal: damage by a tool that circumvents the triggers is found. Method: drop the triggers, break
/// one thing, recreate them, verify.
#[tokio::test]
async fn verifying_finds_what_was_broken() {
    for breaking in [
        "DELETE FROM event_tag WHERE seq = (SELECT max(seq) FROM event)",
        "INSERT INTO event_tag SELECT key, 99 FROM tag",
        "UPDATE event SET stream = 77 WHERE version = 2",
        "UPDATE event SET topic = 77 WHERE version = 2",
        "UPDATE event SET append_number = 9 WHERE version = 2",
        "UPDATE event SET id = (SELECT id FROM event WHERE version = 1) WHERE version = 2",
        "UPDATE event SET version = NULL WHERE version = 2",
        "INSERT INTO stream (log, name) VALUES (1, 'dog/2')",
        "UPDATE stretch SET follower = 9",
        "UPDATE event_tag SET seq = seq + 100 WHERE seq = (SELECT max(seq) FROM event_tag)",
        "INSERT INTO snapshot
             VALUES (1, 1, 'dog/1', x'0000000000000001', 's', 1, 1, 'json', x'7b7d', 5)",
        "DELETE FROM log",
        "UPDATE event SET payload = NULL, payload_checksum = ~payload_checksum WHERE version = 2",
        "UPDATE event SET payload = NULL, payload_checksum = ~payload_checksum
             WHERE stream IS NULL",
        "INSERT INTO amending VALUES (1, 5)",
    ] {
        let place = filled().await;
        let conn = Connection::open(place.path()).unwrap();
        let triggers: Vec<(String, String)> = conn
            .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
            .and_then(|mut select| {
                let triggers = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
                triggers.collect()
            })
            .unwrap();
        for (name, _) in &triggers {
            conn.execute_batch(&format!("DROP TRIGGER {name}")).unwrap();
        }
        conn.execute_batch(breaking).unwrap();
        for (_, make) in &triggers {
            conn.execute_batch(make).unwrap();
        }
        drop(conn);
        let found = place.open().verify().await.unwrap();
        assert!(!found.is_empty(), "{breaking}");
    }
}

#[tokio::test]
async fn verifying_finds_a_missing_guard() {
    for (breaking, place_found) in [
        (
            "DROP TRIGGER event_never_changes",
            "the trigger event_never_changes",
        ),
        ("DROP INDEX event_topic", "the index event_topic"),
    ] {
        let place = filled().await;
        let conn = Connection::open(place.path()).unwrap();
        conn.execute_batch(breaking).unwrap();
        // Tables that a program keeps next to the store's are ignored.
        conn.execute_batch("CREATE TABLE a_view_of_mine (name TEXT)")
            .unwrap();
        drop(conn);
        let found = place.open().verify().await.unwrap();
        let places: Vec<_> = found.iter().map(Corrupt::place).collect();
        assert_eq!(places, [place_found]);
    }
}

#[tokio::test]
async fn verifying_finds_a_damaged_index() {
    let place = filled().await;
    let conn = Connection::open(place.path()).unwrap();
    // The schema says that the index is over other columns than those it was built from.
    conn.execute_batch(
        "PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = replace(sql, '(topic)', '(time)')
             WHERE name = 'event_topic'",
    )
    .unwrap();
    drop(conn);
    let found = place.open().verify().await.unwrap();
    assert!(!found.is_empty());
}

/// Goal: no decision is made with an index that names missing events.
#[tokio::test]
async fn a_condition_on_a_broken_log_is_corrupt() {
    let place = Place::new();
    let recorder = log(&place.open(), "dogs").await;
    let of = |id| Append::of([event(id).tag("breed:lab")]);
    for id in 1..=3 {
        recorder.append(of(id)).await.unwrap();
    }
    let other = Connection::open(place.path()).unwrap();
    other
        .execute_batch("DROP TRIGGER event_is_never_deleted; DELETE FROM event WHERE seq & 255 = 2")
        .unwrap();
    let first = Position::new(1);
    let condition = Condition::none_match_after(Query::tag("breed:lab"), first);
    let answer = recorder.append(of(4).condition(condition)).await;
    assert!(matches!(answer, Err(RecordError::Corrupt(_))), "{answer:?}");
}
