//! Amendments while others append: appends that were compared with events before these were
//! amended, several programs that amend the same event, and SQL that would amend in another way.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};

use retold_core::application::Logged;
use retold_core::projection::{BoxError, Projection};
use retold_core::recording::checksum::{self, Checksum, Content};
use retold_core::recording::{
    AMENDED_TOPIC, Amendment, AmendmentConflict, Append, AppendPlace, Appended, Condition,
    Conflict, ERASED_TOPIC, ErasedParts, EventId, LogId, LogRead, NewEvent, Query, RecordError,
    Recorder, Replacement, Store, Version, verify_log,
};
use retold_postgres::{
    Postgres, PostgresInlineProjections, PostgresOptions, PostgresStore, PostgresTables,
    PostgresTransaction,
};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::database::{Database, block_on, until};
use crate::tricks::{TrickAdded, tables, tricks};
use crate::writers::dogs;

fn id(number: u128) -> EventId {
    EventId::new(Uuid::from_u128(number))
}

fn event(number: u128) -> NewEvent {
    NewEvent::new(id(number), "Barked", "{}")
        .stream("dog/1")
        .tag("loud")
}

fn record(number: u128) -> NewEvent {
    NewEvent::new(id(number), AMENDED_TOPIC, "{}").stream("dog/1")
}

fn erase(number: u128, parts: ErasedParts) -> Amendment {
    Amendment::EraseEvent {
        event: id(number),
        stream: Some("dog/1".into()),
        parts,
    }
}

async fn replace(log: &dyn Recorder, number: u128, tag: &str, payload: &str) -> Amendment {
    let event = log.event(id(number)).await.unwrap().unwrap();
    let mut replacement = Replacement::of(&event, payload.to_owned()).unwrap();
    replacement.tags = [tag.into()].into();
    Amendment::ReplaceEvent {
        event: id(number),
        stream: Some("dog/1".into()),
        replacement,
    }
}

/// Waits until a number of statements wait for a lock in this database.
async fn waiting(client: &Client, count: i64) {
    let sql = "SELECT count(*) = $1 FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    until(async || client.query_one(sql, &[&count]).await.unwrap().get(0)).await;
}

async fn check_sound(store: &PostgresStore, log: &dyn Recorder) {
    let report = verify_log(log, &mut |_| {}).await.unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(store.verify().await.unwrap(), []);
}

/// Where a handler reports that it runs, and waits until it may end.
type Gate = (Sender<()>, Arc<Mutex<Receiver<()>>>);
static GATE: OnceLock<Gate> = OnceLock::new();

async fn wait_at_gate(
    _: &PostgresTransaction<'_>,
    logged: &Logged<TrickAdded>,
) -> Result<(), BoxError> {
    if logged.event.0 == "wait" {
        let (here, go) = GATE.get().unwrap();
        here.send(())?;
        go.lock().unwrap().recv()?;
    }
    Ok(())
}

/// Goal: an append on a condition is compared with events as they are when it is recorded, also if
/// they were amended after the comparison that precedes the lock. Method: an append with amendments
/// holds the lock in a handler of an inline projection, while appends on conditions wait for it.
#[test]
fn conditions_are_of_the_events_as_they_are() {
    block_on(async {
        let database = Database::create().await;
        let client = database.client().await;
        let (here, is_here) = channel();
        let (go, may_go) = channel();
        assert!(GATE.set((here, Arc::new(Mutex::new(may_go)))).is_ok());
        let gate = Projection::<Postgres>::new("gate", 1, "dogs").on_async(wait_at_gate);
        let tables = PostgresTables::new(["gate"], |names| {
            format!("CREATE TABLE {} (it integer)", names.table("gate"))
        });
        let inline = PostgresInlineProjections::new().with(gate, tables);
        let options = PostgresOptions::new();
        let url = database.url();
        let amending = PostgresStore::open_with_projections(&url, &options, inline).await;
        let amending = dogs(&amending.unwrap()).await;
        amending
            .append(Append::of([event(1), event(2)]))
            .await
            .unwrap();

        let appended = TrickAdded::append(["wait"])
            .event(record(10))
            .amendment(replace(&*amending, 1, "quiet", "{}").await)
            .amendment(erase(2, ErasedParts::ALL));
        let appended = tokio::spawn(async move { amending.append(appended).await });
        tokio::task::block_in_place(|| is_here.recv()).unwrap();
        let mut asked = Vec::new();
        for (number, tag) in [(20, "quiet"), (21, "loud")] {
            let log = dogs(&database.open().await).await;
            let none = Condition::none_match(Query::tag(tag));
            let append = Append::of([event(number).stream("dog/2")]).condition(none);
            asked.push(tokio::spawn(async move { log.append(append).await }));
        }
        waiting(&client, 2).await;
        go.send(()).unwrap();
        appended.await.unwrap().unwrap();
        let loud = asked.pop().unwrap().await.unwrap();
        let quiet = asked.pop().unwrap().await.unwrap();
        assert!(
            matches!(&quiet, Err(RecordError::Conflict(Conflict::Query { found, .. }))
                if found.event_id == id(1)),
            "{quiet:?}"
        );
        assert!(matches!(loud, Ok(Appended::Recorded(_))), "{loud:?}");
        let store = database.open().await;
        check_sound(&store, &*dogs(&store).await).await;
    });
}

/// Goal: of two programs that amend the same event, the second amends what the first left, or
/// conflicts with it; neither writes over what it has not read. Method: both read the event, and
/// then wait for the lock.
#[test]
fn an_event_that_two_programs_amend_is_read_again() {
    block_on(async {
        let database = Database::create().await;
        let client = database.client().await;
        let store = database.open().await;
        let log = dogs(&store).await;
        for round in 0..6_u128 {
            let number = 100 * (round + 1);
            log.append(Append::of([event(number)])).await.unwrap();
            let other = dogs(&database.open().await).await;
            let second = match round % 3 {
                0 => erase(number, ErasedParts::ALL),
                1 => erase(number, ErasedParts::PAYLOAD.metadata(true)),
                _ => replace(&*log, number, "second", "2").await,
            };
            let amendments = [replace(&*log, number, "first", "1").await, second];
            client
                .batch_execute("BEGIN; SELECT 1 FROM retold.log FOR UPDATE")
                .await
                .unwrap();
            let mut asked = Vec::new();
            for (index, amendment) in (1..).zip(amendments) {
                let append = Append::of([record(number + index)]).amendment(amendment);
                let log = [&log, &other][index as usize - 1].clone();
                asked.push(tokio::spawn(async move { log.append(append).await }));
                waiting(&client, index as i64).await;
            }
            client.batch_execute("COMMIT").await.unwrap();
            for asked in asked {
                asked.await.unwrap().unwrap();
            }
            let found = log.event(id(number)).await.unwrap().unwrap();
            let tags: Vec<_> = found.tags().collect();
            let expected = match round % 3 {
                0 => (None, vec![]),
                1 => (None, vec!["first"]),
                _ => (Some(&b"2"[..]), vec!["second"]),
            };
            assert_eq!((found.payload(), tags), expected, "{round}");
        }
        check_sound(&store, &*log).await;
    });
}

/// Goal: an amendment is judged by what others recorded in the meantime, and with the earlier
/// amendments of its append. Method: an append erases a stream up to a version that does not exist
/// when its events are read.
#[test]
fn an_amendment_meets_events_that_came_meanwhile() {
    block_on(async {
        let database = Database::create().await;
        let client = database.client().await;
        let store = database.open().await;
        let log = dogs(&store).await;
        log.append(Append::of([event(1)])).await.unwrap();
        client
            .batch_execute("BEGIN; SELECT 1 FROM retold.log FOR UPDATE")
            .await
            .unwrap();
        let other = dogs(&database.open().await).await;
        let two = tokio::spawn({
            let log = log.clone();
            async move { log.append(Append::of([event(2)])).await }
        });
        waiting(&client, 1).await;
        let all = Amendment::EraseStream {
            stream: "dog/1".into(),
            after: None,
            until: Version::new(2).unwrap(),
            parts: ErasedParts::ALL,
        };
        let erased = Append::of([record(10)]).amendment(all.clone());
        let erased = tokio::spawn(async move { other.append(erased).await });
        waiting(&client, 2).await;
        client.batch_execute("COMMIT").await.unwrap();
        two.await.unwrap().unwrap();
        erased.await.unwrap().unwrap();
        for number in [1, 2] {
            let event = log.event(id(number)).await.unwrap().unwrap();
            assert!(event.is_erased() && event.tags().next().is_none());
        }

        log.append(Append::of([event(3), event(4)])).await.unwrap();
        let loud = |until| Amendment::EraseStream {
            stream: "dog/1".into(),
            after: Version::new(3),
            until: Version::new(until).unwrap(),
            parts: ErasedParts::PAYLOAD,
        };
        let rows = [
            (
                erase(3, ErasedParts::PAYLOAD),
                Some(AmendmentConflict::Erased),
            ),
            (
                replace(&*log, 3, "quiet", "{}").await,
                Some(AmendmentConflict::Erased),
            ),
            (erase(3, ErasedParts::PAYLOAD.tags(true)), None),
            (erase(4, ErasedParts::PAYLOAD), None),
        ];
        for (number, (amendment, reason)) in (20..).zip(rows) {
            let append = Append::of([record(number)])
                .amendment(loud(4))
                .amendment(amendment);
            let answer = log.append(append).await;
            match (reason, answer) {
                (None, Ok(_)) => {}
                (
                    Some(expected),
                    Err(RecordError::Conflict(Conflict::Amendment {
                        amendment: 1,
                        reason,
                    })),
                ) => assert_eq!(reason, expected),
                other => panic!("{number}: {other:?}"),
            }
        }
        check_sound(&store, &*log).await;
    });
}

/// Goal: after an erasure, neither the hash of the payload nor anything that was computed from it
/// is left, by which someone who reads the rows could find out whether a guess of a short payload
/// is right. Method: the rows of all tables are searched for the hash and its inverse, and the
/// payload that was erased is tried.
#[test]
fn a_guess_of_an_erased_payload_cannot_be_tested() {
    block_on(async {
        let database = Database::create().await;
        let store = database.open().await;
        let log = dogs(&store).await;
        log.append(Append::of((1..=3).map(event))).await.unwrap();
        let id_of_log = log.log_id().await.unwrap().unwrap();
        let place = AppendPlace { index: 0, count: 1 };
        let hash = Content::of_new(id_of_log, &event(1), place, b"", "").payload;
        let client = database.client().await;
        let all = "SELECT (SELECT jsonb_agg(e) FROM retold.event e)::text
            || coalesce((SELECT jsonb_agg(s) FROM retold.snapshot s)::text, '')
            || coalesce((SELECT jsonb_agg(r) FROM retold.stream_record r)::text, '')";
        let found = async || {
            let rows: String = client.query_one(all, &[]).await.unwrap().get(0);
            let is_in = |hash: u64| rows.contains(&hash.cast_signed().to_string());
            is_in(hash) || is_in(!hash)
        };
        assert!(found().await, "the rows have the hash before");
        let stream = Amendment::EraseStream {
            stream: "dog/1".into(),
            after: Some(Version::FIRST),
            until: Version::new(2).unwrap(),
            parts: ErasedParts::PAYLOAD,
        };
        let rest = erase(3, ErasedParts::PAYLOAD.metadata(true));
        for (number, amendment) in (10..).zip([erase(1, ErasedParts::PAYLOAD), stream, rest]) {
            let mut record = record(number);
            record.payload = Some("{\"by\":1}".into());
            let append = Append::of([record]).amendment(amendment);
            log.append(append).await.unwrap();
        }
        assert!(!found().await, "the rows have the hash");
        let checksums = "SELECT position, checksum, payload_checksum FROM retold.event
            WHERE topic = 'Barked'";
        for row in client.query(checksums, &[]).await.unwrap() {
            let position = row.get::<_, i64>(0);
            let erased = log.event(id(position.cast_unsigned().into())).await;
            let erased = erased.unwrap().unwrap();
            assert_eq!((erased.payload(), row.get::<_, i64>(2)), (None, -1));
            let guess = Checksum {
                payload: !hash,
                event: row.get::<_, i64>(1).cast_unsigned(),
            };
            assert!(checksum::check(id_of_log, &erased, 0, guess).is_err());
        }
        check_sound(&store, &*log).await;
    });
}

/// Goal: a lock that any role can hold makes no append wait but the amendments of the stream that
/// it is for, in the same store. Method: a snapshot is being stored, in a transaction that is open.
#[test]
fn others_append_while_an_amendment_waits_for_a_snapshot() {
    block_on(async {
        let database = Database::create().await;
        let client = database.client().await;
        let log = dogs(&database.open().await).await;
        log.append(Append::of([event(1)])).await.unwrap();
        let options = PostgresOptions::new().schema("other");
        let other = PostgresStore::open_with(&database.url(), &options).await;
        let other = dogs(&other.unwrap()).await;
        other.append(Append::of([event(1)])).await.unwrap();
        let put = "BEGIN; SELECT retold.put_snapshot(1, 'dog/1', int8send(1), 'Dog', 1, 0, 'json',
            '{}', 0, 2)";
        client.batch_execute(put).await.unwrap();
        let append =
            |number| Append::of([record(number)]).amendment(erase(1, ErasedParts::PAYLOAD));
        let amending = tokio::spawn({
            let log = log.clone();
            async move { log.append(append(10)).await }
        });
        waiting(&client, 1).await;
        let third = dogs(&database.open().await).await;
        third.append(Append::of([event(2)])).await.unwrap();
        other.append(append(10)).await.unwrap();
        client.batch_execute("COMMIT").await.unwrap();
        amending.await.unwrap().unwrap();
        assert_eq!(log.snapshot("dog/1", None).await.unwrap(), None);
    });
}

/// Goal: an append that finds events amended each time that it is sent fails, and does not occupy
/// its log forever; with and without inline projections. Method: the server reports that each time.
#[test]
fn an_append_is_not_sent_again_forever() {
    block_on(async {
        let database = Database::create().await;
        let client = database.client().await;
        let inline = PostgresInlineProjections::new().with(tricks(1), tables());
        let options = PostgresOptions::new();
        let with_views =
            PostgresStore::open_with_projections(&database.url(), &options, inline).await;
        let logs = [
            dogs(&database.open().await).await,
            dogs(&with_views.unwrap()).await,
        ];
        let amended = "CREATE SEQUENCE public.sent; CREATE FUNCTION amended() RETURNS trigger
            LANGUAGE plpgsql AS $$ BEGIN
                PERFORM nextval('public.sent');
                RAISE EXCEPTION 'amended' USING ERRCODE = 'serialization_failure';
            END $$;
            CREATE TRIGGER amended BEFORE INSERT ON retold.event
            FOR EACH STATEMENT EXECUTE FUNCTION amended()";
        client.batch_execute(amended).await.unwrap();
        for (log, sent) in logs.iter().zip([32, 64]) {
            let refused = log.append(Append::of([event(1)])).await;
            let Err(RecordError::Unavailable(error)) = refused else {
                panic!("{refused:?}");
            };
            assert!(error.to_string().contains("each time"), "{error}");
            let found = client
                .query_one("SELECT last_value FROM public.sent", &[])
                .await;
            assert_eq!(found.unwrap().get::<_, i64>(0), sent);
        }
        client
            .batch_execute("DROP TRIGGER amended ON retold.event")
            .await
            .unwrap();
        for (number, log) in (1..).zip(&logs) {
            log.append(Append::of([event(number)])).await.unwrap();
        }
    });
}

/// Goal: SQL of the owner amends nothing without a record of it in the same transaction, and even
/// then changes nothing but the content of an event.
#[test]
fn sql_amends_nothing_but_the_content() {
    block_on(async {
        let database = Database::create().await;
        let log = dogs(&database.open().await).await;
        log.append(Append::of([event(1), record(2)])).await.unwrap();
        let client = database.client().await;
        let other_log = "INSERT INTO retold.log (key, name, id) OVERRIDING SYSTEM VALUE
                VALUES (2, 'cats', gen_random_uuid());
            INSERT INTO retold.event_tag VALUES (2, 'loud', 1);
            INSERT INTO retold.presence VALUES (2, 't', 'loud', 0, repeat('0', 8192)::bit(8192))";
        client.batch_execute(other_log).await.unwrap();
        // A record of an amendment in the same transaction, without the function.
        let with_record = |sql: &str| {
            format!(
                "BEGIN; INSERT INTO retold.event SELECT log, 3, gen_random_uuid(), stream, 3, 0, 1,
                    topic, revision, tags, time, recorded_at, encoding, origin, metadata, payload,
                    payload_checksum, checksum FROM retold.event WHERE position = 2;
                 SET LOCAL retold.amendment = '1 3'; {sql}; ROLLBACK"
            )
        };
        let content = "UPDATE retold.event SET topic = 'x', revision = 2, tags = '',
            encoding = 'x', metadata = '', payload = NULL, payload_checksum = 1, checksum = 1
            WHERE position = 1; DELETE FROM retold.event_tag WHERE log = 1;
            DELETE FROM retold.presence WHERE log = 1";
        client.batch_execute(&with_record(content)).await.unwrap();
        let refused = [
            "UPDATE retold.event SET position = 9 WHERE position = 1",
            "UPDATE retold.event SET log = 2 WHERE position = 1",
            "UPDATE retold.event SET id = gen_random_uuid() WHERE position = 1",
            "UPDATE retold.event SET stream = 'x' WHERE position = 1",
            "UPDATE retold.event SET stream = NULL, version = NULL WHERE position = 1",
            "UPDATE retold.event SET version = 9 WHERE position = 1",
            "UPDATE retold.event SET place_index = 9 WHERE position = 1",
            "UPDATE retold.event SET place_count = 9 WHERE position = 1",
            "UPDATE retold.event SET time = 9 WHERE position = 1",
            "UPDATE retold.event SET recorded_at = 9 WHERE position = 1",
            "UPDATE retold.event SET origin = '\"library\"' WHERE position = 1",
            "UPDATE retold.event SET payload = NULL WHERE position = 2",
            "UPDATE retold.event SET topic = 'retold.erased' WHERE position = 1",
            "DELETE FROM retold.event WHERE position = 1",
            "TRUNCATE retold.event",
            "UPDATE retold.event_tag SET tag = 'x'",
            "TRUNCATE retold.event_tag",
            "DELETE FROM retold.event_tag WHERE log = 2",
            "DELETE FROM retold.presence WHERE log = 2",
            "UPDATE retold.presence SET bits = ~bits",
            "TRUNCATE retold.presence",
            "SET LOCAL retold.amendment = '1 1'; UPDATE retold.event SET payload = NULL",
            "SET LOCAL retold.amendment = '2 3'; UPDATE retold.event SET payload = NULL",
            "SET LOCAL retold.amendment = 'x'; UPDATE retold.event SET payload = NULL",
            "RESET retold.amendment; UPDATE retold.event SET payload = NULL",
        ];
        for sql in refused {
            let error = client.batch_execute(&with_record(sql)).await.unwrap_err();
            let message = error.as_db_error().unwrap().message();
            assert!(message.starts_with("retold: "), "{sql}: {message}");
            client.batch_execute("ROLLBACK").await.unwrap();
        }
        let without_record = "BEGIN; SET LOCAL retold.amendment = '1 2';
            UPDATE retold.event SET payload = NULL WHERE position = 1";
        assert!(client.batch_execute(without_record).await.is_err());
        client.batch_execute("ROLLBACK").await.unwrap();
        let events = log.read_log(LogRead::new()).await.unwrap().events;
        assert_eq!(events.len(), 2);
        assert!(!events[0].is_erased());
    });
}

/// Goal: a record of an amendment that is missing in the table of them, or is not the last, is
/// found by verifying.
#[test]
fn a_damaged_record_of_a_stream_is_found() {
    block_on(async {
        let database = Database::create().await;
        let store = database.open().await;
        let log = store.open("dogs", LogId::new(Uuid::from_u128(1))).await;
        let log = log.unwrap();
        let erased = NewEvent::new(id(2), ERASED_TOPIC, "{}").stream("dog/1");
        log.append(Append::of([event(1), erased, record(3)]))
            .await
            .unwrap();
        assert_eq!(store.verify().await.unwrap(), []);
        let client = database.client().await;
        for damage in [
            "UPDATE retold.stream_record SET version = 2",
            "UPDATE retold.stream_record SET topic = 'retold.deleted'",
            "UPDATE retold.stream_record SET stream = 'dog/9'",
            "DELETE FROM retold.stream_record",
        ] {
            let damage = format!(
                "BEGIN; ALTER TABLE retold.stream_record DISABLE TRIGGER USER; {damage}; COMMIT"
            );
            client.batch_execute(&damage).await.unwrap();
            let found = store.verify().await.unwrap();
            assert!(
                found[0].to_string().contains("stream_record"),
                "{damage}: {found:?}"
            );
            let restore = "DELETE FROM retold.stream_record;
                INSERT INTO retold.stream_record VALUES (1, 'dog/1', 3, 'retold.amended')";
            client.batch_execute(restore).await.unwrap();
        }
    });
}
