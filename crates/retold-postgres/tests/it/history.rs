//! Recorded history does not change: SQL that would change it is refused.

use retold_core::recording::{
    Append, Checkpoint, Condition, ERASED_TOPIC, EventId, FollowerKey, LogId, LogRead, NewEvent,
    Position, ProcessedRange, Query, RangeRead, RecordError, Store, StoredSnapshot, StreamRead,
    Version, verify_log,
};
use retold_postgres::schema_sql;
use uuid::Uuid;

use crate::database::{Database, block_on};

/// Statements that would rewrite history, each in another way.
const REFUSED: [&str; 20] = [
    "UPDATE retold.event SET payload = ''",
    "UPDATE retold.event SET topic = 'x' WHERE position = 1",
    "DELETE FROM retold.event",
    "TRUNCATE retold.event",
    "UPDATE retold.event_tag SET tag = 'x'",
    "DELETE FROM retold.event_tag",
    "TRUNCATE retold.event_tag",
    "UPDATE retold.presence SET bits = ~bits",
    "DELETE FROM retold.presence",
    "TRUNCATE retold.presence",
    "DELETE FROM retold.log",
    "UPDATE retold.log SET position = 0",
    "UPDATE retold.log SET id = gen_random_uuid(), append_count = append_count + 1",
    "UPDATE retold.log SET amendment_count = amendment_count - 1, append_count = append_count + 9",
    "DELETE FROM retold.stream_record",
    "UPDATE retold.stream_record SET version = version - 1",
    "DELETE FROM retold.former_topic",
    "UPDATE retold.stretch SET edition = 2",
    "DELETE FROM retold.stretch",
    "INSERT INTO retold.event SELECT * FROM retold.event ON CONFLICT (log, position) DO UPDATE \
     SET payload = ''",
];

#[test]
fn sql_that_would_change_history_is_refused() {
    block_on(async {
        let database = Database::create().await;
        let log = LogId::new(Uuid::from_u128(1));
        let recorder = database.open().await.open("dogs", log).await.unwrap();
        let id = EventId::new(Uuid::from_u128(2));
        let event = NewEvent::new(id, "Dog.Registered", "{}")
            .stream("dog/1")
            .tag("a");
        let to = Checkpoint {
            position: Position::FIRST,
            event_id: id,
        };
        let range = ProcessedRange::new(FollowerKey::new("f@1"), log, None, to);
        let record = EventId::new(Uuid::from_u128(3));
        let record = NewEvent::new(record, ERASED_TOPIC, "{}").stream("dog/1");
        let append = Append::of([event, record]).processed_range(range);
        recorder.append(append).await.unwrap();
        let before = recorder.read_log(LogRead::new()).await.unwrap();

        let client = database.client().await;
        for sql in REFUSED
            .iter()
            // The record that this names is of another transaction.
            .chain(&["SET retold.amendment = '1 2'"])
            .chain(&REFUSED)
            .chain(&["SET session_replication_role = replica"])
            .chain(&REFUSED)
        {
            if sql.starts_with("SET") {
                // With the second, other triggers do not fire from there on.
                client.batch_execute(sql).await.unwrap();
                continue;
            }
            let error = client.batch_execute(sql).await.unwrap_err();
            let message = error.as_db_error().unwrap().message();
            assert!(message.starts_with("retold: "), "{sql}: {message}");
        }
        assert_eq!(recorder.read_log(LogRead::new()).await.unwrap(), before);
    });
}

/// Changes of one event that bypass the triggers, each of another column.
const DAMAGE: [&str; 16] = [
    "payload = '\\x7b2031207d'",
    "payload = NULL",
    "payload_checksum = payload_checksum + 1",
    "checksum = checksum # 4",
    "position = 9",
    "id = gen_random_uuid()",
    "stream = 'dog/7'",
    "version = 9",
    "place_index = 0",
    "place_count = 3",
    "topic = 'Dog.Removed'",
    "revision = 2",
    "tags = '\\x0162'",
    "time = time + 1",
    "recorded_at = recorded_at # 1024",
    "origin = '\"library\"'",
];

fn is_corrupt<T>(read: Result<T, RecordError>) -> bool {
    matches!(read, Err(RecordError::Corrupt(_)))
}

/// Goal: every difference between an event and its record is found by every read that returns the
/// event, and by verifying. Method: change one column after the other, bypassing the triggers. The
/// events are recorded by one statement, alone and as a group that is checked one by one.
#[test]
fn an_event_that_differs_from_its_record_is_corrupt() {
    block_on(async {
        let database = Database::create().await;
        let store = database.open().await;
        let client = database.client().await;
        for (number, set) in (1..).zip(DAMAGE) {
            let name = format!("dogs {number}");
            let log = LogId::new(Uuid::from_u128(number));
            let recorder = store.open(&name, log).await.unwrap();
            let event = |id| {
                let id = EventId::new(Uuid::from_u128(id));
                NewEvent::new(id, "Dog.Registered", "{}")
                    .stream("dog/1")
                    .tag("a")
            };
            recorder.append(Append::of([event(1)])).await.unwrap();
            recorder
                .append(Append::of([event(2), event(3)]))
                .await
                .unwrap();
            let page = recorder.read_log(LogRead::new()).await.unwrap();
            assert_eq!(page.events.len(), 3);
            let report = verify_log(&*recorder, &mut |_| {}).await.unwrap();
            assert!(report.is_sound(), "{report:?}");
            let damage = format!(
                "ALTER TABLE retold.event DISABLE TRIGGER USER;
                 UPDATE retold.event SET {set} WHERE position = 3
                 AND log = (SELECT key FROM retold.log WHERE name = '{name}');
                 ALTER TABLE retold.event ENABLE ALWAYS TRIGGER event_is_only_amended"
            );
            client.batch_execute(&damage).await.unwrap();
            let read = recorder.read_log(LogRead::new()).await;
            assert!(is_corrupt(read), "{set}");
            let after = Position::new(2);
            let read = recorder
                .read_log(LogRead::of(Query::tag("a")).after(after))
                .await;
            let is_hidden = set.starts_with("position");
            assert!(is_corrupt(read) || is_hidden, "{set}");
            let read = recorder.read_stream(StreamRead::new("dog/1").after(Version::new(2)));
            let is_elsewhere = set.starts_with("stream");
            assert!(is_corrupt(read.await) || is_elsewhere, "{set}");
            let report = verify_log(&*recorder, &mut |_| {}).await.unwrap();
            assert!(!report.is_sound(), "{set}");
        }
    });
}

/// Changes of one processed range that bypass the triggers, each of another column.
const DAMAGE_OF_RANGE: [&str; 11] = [
    "ordinal = 9",
    "follower = 'g@1'",
    "upstream = gen_random_uuid()",
    "after = 1",
    "to_position = to_position + 1",
    "to_id = gen_random_uuid()",
    "edition = 2",
    "head = 7",
    "with_events = NOT with_events",
    "checksum = checksum # 4",
    "to_checksum = to_checksum # 4",
];

/// Goal: every difference between a processed range and its record is found by reading a checkpoint
/// or the history, and by verifying. Method: change one column after the other, bypassing the
/// triggers, of processed ranges that were recorded with events at once, checked one by one, and
/// extended.
#[test]
fn a_range_that_differs_from_its_record_is_corrupt() {
    block_on(async {
        let database = Database::create().await;
        let store = database.open().await;
        let client = database.client().await;
        let upstream = LogId::new(Uuid::from_u128(77));
        let follower = FollowerKey::new("f@1");
        let to = |number: u64| Checkpoint {
            position: Position::new(number).unwrap(),
            event_id: EventId::new(Uuid::from_u128(number.into())),
        };
        let processed = |after: u64, until: u64| {
            ProcessedRange::new(follower.clone(), upstream, Position::new(after), to(until))
        };
        let event = |id| NewEvent::new(EventId::new(Uuid::from_u128(id)), "Dog.Registered", "{}");
        let next_of_all = Condition::none_match_after(Query::All, Position::new(1));
        let mut number = 0;
        for set in DAMAGE_OF_RANGE {
            for ordinal in 1..=3 {
                number += 1;
                let name = format!("dogs {number}");
                let birth = LogId::new(Uuid::from_u128(number));
                let recorder = store.open(&name, birth).await.unwrap();
                let appends = [
                    Append::of([event(1)]).processed_range(processed(0, 3)),
                    // An append that expects to be the next event of all is checked by itself.
                    Append::of([event(2)])
                        .condition(next_of_all.clone())
                        .processed_range(processed(3, 5))
                        .processed_range(
                            ProcessedRange::new(FollowerKey::new("h@1"), upstream, None, to(2))
                                .policy_version(3),
                        ),
                    Append::new().processed_range(processed(5, 7)),
                    Append::new().processed_range(processed(7, 9)),
                ];
                for append in appends {
                    recorder.append(append).await.unwrap();
                }
                let history = recorder.processed_ranges(RangeRead::new()).await.unwrap();
                assert_eq!(history.len(), 4);
                let checkpoint = async || recorder.checkpoint(&follower, upstream).await;
                assert_eq!(checkpoint().await.unwrap(), Some(to(9)));
                let report = verify_log(&*recorder, &mut |_| {}).await.unwrap();
                assert!(report.is_sound(), "{report:?}");
                // The first, one of those that were checked one by one, and the one that was
                // extended.
                let place = [1, 2, 4][ordinal - 1];
                let damage = format!(
                    "ALTER TABLE retold.stretch DISABLE TRIGGER USER;
                     UPDATE retold.stretch SET {set} WHERE ordinal = {place}
                     AND log = (SELECT key FROM retold.log WHERE name = '{name}');
                     ALTER TABLE retold.stretch ENABLE ALWAYS TRIGGER stretch_is_never_deleted;
                     ALTER TABLE retold.stretch ENABLE ALWAYS TRIGGER stretch_only_grows"
                );
                client.batch_execute(&damage).await.unwrap();
                let read = recorder.processed_ranges(RangeRead::new()).await;
                assert!(is_corrupt(read), "{set} of {place}");
                let of_one = RangeRead::new().follower(follower.clone());
                let is_elsewhere = set.starts_with("follower");
                let read = recorder.processed_ranges(of_one).await;
                assert!(is_corrupt(read) || is_elsewhere, "{set} of {place}");
                let is_elsewhere = is_elsewhere || set.starts_with("upstream");
                let is_last = (place == 4 || set.starts_with("ordinal")) && !is_elsewhere;
                assert_eq!(is_corrupt(checkpoint().await), is_last, "{set} of {place}");
                let report = verify_log(&*recorder, &mut |_| {}).await.unwrap();
                assert!(!report.is_sound(), "{set} of {place}");
            }
        }
    });
}

/// A snapshot is a hint: a damaged one is ignored.
#[test]
fn a_damaged_snapshot_is_ignored() {
    block_on(async {
        let database = Database::create().await;
        let log = LogId::new(Uuid::from_u128(1));
        let recorder = database.open().await.open("dogs", log).await.unwrap();
        let snapshot = StoredSnapshot::new("dog/1", Version::FIRST, "Dog", "{}");
        recorder.put_snapshot(snapshot.clone()).await.unwrap();
        let read = async || recorder.snapshot("dog/1", None).await.unwrap();
        assert_eq!(read().await, Some(snapshot));
        let client = database.client().await;
        let damage = "UPDATE retold.snapshot SET payload = '[]'";
        client.batch_execute(damage).await.unwrap();
        assert_eq!(read().await, None);
    });
}

/// Goal: a table, column or function that something else dropped is reported as damage, not as an
/// unavailable server.
#[test]
fn a_dropped_table_column_or_function_is_corrupt() {
    block_on(async {
        for drop in [
            "DROP TABLE retold.event",
            "DROP TABLE retold.log",
            "DROP FUNCTION retold.append_group, retold.matches",
            "DROP SCHEMA retold CASCADE",
        ] {
            let database = Database::create().await;
            let store = database.open().await;
            let log = LogId::new(Uuid::from_u128(1));
            let recorder = store.open("dogs", log).await.unwrap();
            let event = || NewEvent::new(EventId::new(Uuid::now_v7()), "Began", "{}");
            recorder.append(Append::of([event()])).await.unwrap();
            recorder
                .read_log(LogRead::of(Query::topic("Began")))
                .await
                .unwrap();
            database.client().await.batch_execute(drop).await.unwrap();
            let appended = recorder.append(Append::of([event()])).await;
            assert!(
                matches!(appended, Err(RecordError::Corrupt(_))),
                "{drop}: {appended:?}"
            );
            let read = recorder.read_log(LogRead::of(Query::topic("Began"))).await;
            assert!(
                matches!(read, Err(RecordError::Corrupt(_))),
                "{drop}: {read:?}"
            );
            let error = read.unwrap_err().to_string();
            assert!(error.contains("dropped or changed"), "{error}");
        }
    });
}

/// Goal: a type of the schema that something else changed is reported as damage, both on a
/// connection that has prepared its statements and on a new one.
#[test]
fn a_changed_type_is_corrupt() {
    block_on(async {
        let database = Database::create().await;
        let log = LogId::new(Uuid::from_u128(1));
        let event = || NewEvent::new(EventId::new(Uuid::now_v7()), "Began", "{}");
        let recorder = database.open().await.open("dogs", log).await.unwrap();
        recorder.append(Append::of([event()])).await.unwrap();
        let client = database.client().await;
        for change in ["DROP ATTRIBUTE revision", "ADD ATTRIBUTE revision text"] {
            let change = format!("ALTER TYPE retold.new_event {change}");
            client.batch_execute(&change).await.unwrap();
            let other = database.open().await.open("dogs", log).await.unwrap();
            for recorder in [&recorder, &other] {
                let appended = recorder.append(Append::of([event()])).await;
                let is_corrupt = matches!(appended, Err(RecordError::Corrupt(_)));
                assert!(is_corrupt, "{change}: {appended:?}");
            }
        }
    });
}

/// Goal: an open store continues after its schema was dropped and restored, with other types of
/// parameters than those that its connections know.
#[test]
fn an_open_store_continues_after_its_schema_was_restored() {
    block_on(async {
        let database = Database::create().await;
        let log = LogId::new(Uuid::from_u128(1));
        let recorder = database.open().await.open("dogs", log).await.unwrap();
        let event = || NewEvent::new(EventId::new(Uuid::now_v7()), "Began", "{}");
        for _ in 0..2 {
            let appended = recorder.append(Append::of([event()])).await.unwrap();
            assert_eq!(appended.positions().first(), Position::new(1));
            let restore = format!(
                "BEGIN; DROP SCHEMA retold CASCADE; {}
                 INSERT INTO retold.log (name, id) VALUES ('dogs', '{}'); COMMIT",
                schema_sql("retold").unwrap(),
                log.uuid()
            );
            let client = database.client().await;
            client.batch_execute(&restore).await.unwrap();
        }
    });
}
