//! Roles: a reader reads everything and writes nothing, a writer writes like a store and changes
//! nothing that is recorded, an amender also makes amendments, and no other role has any rights.

use std::time::Duration;

use retold_core::recording::{
    Amendment, Append, Checkpoint, ERASED_TOPIC, ErasedParts, EventId, FollowerKey, LogId, LogRead,
    NewEvent, Position, ProcessedRange, Query, QueryItem, RangeRead, RecordError, Store,
    StoredSnapshot, StreamRead, Version,
};
use retold_postgres::{
    PostgresInlineProjections, PostgresOptions, PostgresStore, roles_sql, schema_sql,
};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

use crate::database::{Database, block_on};
use crate::tricks::{TrickAdded, tables, tricks};

/// What reader, writer and amender are not allowed to do, with SQL of their own.
const REFUSED_TO_ALL: [&str; 16] = [
    "UPDATE kennel.event SET payload = ''",
    "DELETE FROM kennel.event",
    "TRUNCATE kennel.event",
    "INSERT INTO kennel.event SELECT * FROM kennel.event",
    "DELETE FROM kennel.event_tag",
    "INSERT INTO kennel.event_tag VALUES (1, 'a', 1)",
    "SELECT kennel.put_amended(1, '{}')",
    "INSERT INTO kennel.former_topic VALUES (1, 'x')",
    "UPDATE kennel.log SET position = position + 1, append_count = append_count + 1",
    "DELETE FROM kennel.log",
    "INSERT INTO kennel.stretch SELECT * FROM kennel.stretch",
    "UPDATE kennel.schema_version SET version = 2",
    "DROP TRIGGER event_is_only_amended ON kennel.event",
    "ALTER TABLE kennel.event DISABLE TRIGGER ALL",
    "SET session_replication_role = replica",
    "CREATE TABLE kennel.mine ()",
];

/// What a reader is not allowed to do either.
const REFUSED_TO_READERS: [&str; 5] = [
    "INSERT INTO kennel.log (name, id) VALUES ('x', gen_random_uuid())",
    "INSERT INTO kennel.lease VALUES ('a', 'b', 1, 1, 1, 1)",
    "UPDATE kennel.lease SET holder = 'me'",
    "DELETE FROM kennel.snapshot",
    "SELECT * FROM kennel.acquire_lease('a', 'b', 1, 1)",
];

/// What a writer is not allowed to do and an amender is.
const AMENDS: &str = "SELECT * FROM kennel.append_amending(
    1, false, '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', 0)";

/// What a role without grants is not allowed to do.
const REFUSED_TO_OTHERS: [&str; 3] = [
    "SELECT * FROM kennel.event",
    "SELECT kennel.now_micros()",
    "SELECT * FROM kennel.streams(1, '', NULL, 1)",
];

fn event(number: u128) -> NewEvent {
    let id = EventId::new(Uuid::from_u128(number));
    NewEvent::new(id, "Dog.Registered", "{}")
        .stream("dog/1")
        .tag("a")
        .tag("b")
}

/// Creates a role that logs in to the database, with or without a membership.
async fn login(database: &Database, owner: &Client, name: &str, member_of: &str) -> String {
    let role = format!("{}_{name}", database.name());
    let create = format!("CREATE ROLE {role} LOGIN {member_of}");
    owner.batch_execute(&create).await.unwrap();
    let url = database.url().replace("retold@", &format!("{role}@"));
    format!("{url}&schema=kennel")
}

async fn client(url: &str) -> Client {
    let url = url.replace("&schema=kennel", "");
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn check_all_refused(client: &Client, statements: &[&str]) {
    for sql in statements {
        let error = client.batch_execute(sql).await.unwrap_err();
        let code = error.as_db_error().unwrap().code().code();
        assert_eq!(code, "42501", "{sql}: {error:?}");
    }
}

#[track_caller]
fn check_unavailable<T: std::fmt::Debug>(done: Result<T, RecordError>) {
    match done {
        Err(RecordError::Unavailable(error)) => {
            assert!(
                error.to_string().contains("retold schema postgres"),
                "{error}"
            );
        }
        other => panic!("{other:?}"),
    }
}

/// Goal: a program that only reads or only records needs no more than its role, and can do no harm
/// with it. Method: the operations of a store with each role, and then forbidden SQL of its own.
#[test]
fn roles_have_the_rights_they_need_and_no_others() {
    block_on(async {
        let database = Database::create().await;
        let owner = database.client().await;
        owner
            .batch_execute(&schema_sql("kennel").unwrap())
            .await
            .unwrap();
        // The second time changes nothing.
        for _ in 0..2 {
            owner
                .batch_execute(&roles_sql("kennel").unwrap())
                .await
                .unwrap();
        }
        let writer = login(&database, &owner, "writer", "IN ROLE kennel_writer").await;
        let reader = login(&database, &owner, "reader", "IN ROLE kennel_reader").await;
        let other = login(&database, &owner, "other", "").await;

        let store = PostgresStore::open(&writer).await.unwrap();
        let id = LogId::new(Uuid::from_u128(1));
        let log = store.open("dogs", id).await.unwrap();
        let to = Checkpoint {
            position: Position::FIRST,
            event_id: EventId::new(Uuid::from_u128(9)),
        };
        let processed = |after, to| ProcessedRange::new(FollowerKey::new("f@1"), id, after, to);
        let append = Append::of([event(1), event(2)]).processed_range(processed(None, to));
        log.append(append).await.unwrap();
        for position in 2..4 {
            let to = Checkpoint {
                position: Position::new(position).unwrap(),
                ..to
            };
            let after = Position::new(position - 1);
            let append = Append::of([]).processed_range(processed(after, to));
            log.append(append).await.unwrap();
        }
        for _ in 0..2 {
            let snapshot = StoredSnapshot::new("dog/1", Version::FIRST, "Dog", b"{}".to_vec());
            log.put_snapshot(snapshot).await.unwrap();
        }
        let minute = Duration::from_secs(60);
        for _ in 0..2 {
            store.acquire_lease("a", "b", minute).await.unwrap();
        }
        store.release_lease("a", "b").await.unwrap();

        check_reading(&reader, &store).await;
        let sql = client(&writer).await;
        check_all_refused(&sql, &REFUSED_TO_ALL).await;
        check_all_refused(&sql, &[AMENDS]).await;
        let sql = client(&reader).await;
        check_all_refused(&sql, &REFUSED_TO_ALL).await;
        check_all_refused(&sql, &REFUSED_TO_READERS).await;
        check_all_refused(&client(&other).await, &REFUSED_TO_OTHERS).await;
        log.drop_snapshots("dog/1").await.unwrap();

        let refused = PostgresStore::open(&reader).await.map(drop).unwrap_err();
        let expected = format!("GRANT \"kennel_writer\" TO \"{}_reader\"", database.name());
        assert!(refused.to_string().contains(&expected), "{refused}");
        let refused = PostgresStore::open_read_only(&other).await;
        let refused = refused.map(drop).unwrap_err().to_string();
        assert!(refused.contains("GRANT \"kennel_reader\" TO"), "{refused}");

        // Revokes the rights of a running program.
        let revoke = format!("REVOKE kennel_writer FROM {}_writer", database.name());
        owner.batch_execute(&revoke).await.unwrap();
        check_unavailable(log.append(Append::of([event(3)])).await);
        check_unavailable(log.read_log(LogRead::new()).await);
    });
}

/// Goal: only an amender amends, with the same rights as a writer otherwise, and the error of a
/// writer names the role that it needs; with and without inline projections. Method: the same
/// amendment as a writer, as an amender, and as a writer that becomes an amender.
#[test]
fn only_an_amender_amends() {
    block_on(async {
        let database = Database::create().await;
        let owner = database.client().await;
        let sql = format!(
            "{}{}",
            schema_sql("hutch").unwrap(),
            roles_sql("hutch").unwrap()
        );
        owner.batch_execute(&sql).await.unwrap();
        let name = database.name();
        let writer = login(&database, &owner, "w", "IN ROLE hutch_writer").await;
        let amender = login(&database, &owner, "a", "IN ROLE hutch_amender").await;
        let [writer, amender] = [writer, amender].map(|url| url.replace("=kennel", "=hutch"));
        owner
            .batch_execute(&format!("CREATE SCHEMA tricks AUTHORIZATION {name}_w"))
            .await
            .unwrap();
        let inline = PostgresInlineProjections::in_schema("tricks").with(tricks(1), tables());
        let options = PostgresOptions::new();
        let with_views = PostgresStore::open_with_projections(&writer, &options, inline).await;
        let with_views = with_views.unwrap();
        let plain = PostgresStore::open(&writer).await.unwrap();
        let amending = PostgresStore::open(&amender).await.unwrap();
        let id = LogId::new(Uuid::from_u128(1));
        let [plain_log, log] = [&plain, &amending].map(|store| store.open("rabbits", id));
        let (plain_log, log) = (plain_log.await.unwrap(), log.await.unwrap());
        let log_with_views = with_views.open("dogs", id).await.unwrap();
        let erase = |number: u128| {
            let record = EventId::new(Uuid::from_u128(number));
            let record = NewEvent::new(record, ERASED_TOPIC, "{}").stream("dog/1");
            Append::of([record]).amendment(Amendment::EraseStream {
                stream: "dog/1".into(),
                after: None,
                until: Version::FIRST,
                parts: ErasedParts::ALL,
            })
        };
        log.append(Append::of([event(1)])).await.unwrap();
        let tricks = TrickAdded::append(["sit"]).event(event(1));
        log_with_views.append(tricks).await.unwrap();
        for log in [&plain_log, &log_with_views] {
            let refused = log.append(erase(20)).await;
            let Err(RecordError::Invalid(refused)) = refused else {
                panic!("{refused:?}");
            };
            let expected = format!("GRANT \"hutch_amender\" TO \"{name}_w\"");
            assert!(refused.to_string().contains(&expected), "{refused}");
            assert!(!log.event(event(1).id).await.unwrap().unwrap().is_erased());
        }
        log.append(erase(20)).await.unwrap();
        assert!(log.event(event(1).id).await.unwrap().unwrap().is_erased());
        owner
            .batch_execute(&format!("GRANT hutch_amender TO {name}_w"))
            .await
            .unwrap();
        log_with_views.append(erase(20)).await.unwrap();
        let read_only = amending.open_read_only("rabbits").await.unwrap();
        let refused = read_only.append(erase(21)).await;
        assert!(
            matches!(refused, Err(RecordError::Invalid(_))),
            "{refused:?}"
        );
        let sql = client(&amender.replace("=hutch", "=kennel")).await;
        let statements = REFUSED_TO_ALL.map(|sql| sql.replace("kennel.", "hutch."));
        let statements = statements.each_ref().map(|sql| &**sql);
        check_all_refused(&sql, &statements).await;
    });
}

/// Reads everything, and waits for a change by the writer.
async fn check_reading(reader: &str, writer: &PostgresStore) {
    let store = PostgresStore::open_read_only(reader).await.unwrap();
    assert_eq!(store.logs(None, 10).await.unwrap().len(), 1);
    assert_eq!(store.leases("", None, 10).await.unwrap().len(), 1);
    let log = store.open_read_only("dogs").await.unwrap();
    let read = async |read: LogRead| log.read_log(read).await.unwrap().events.len();
    let item = QueryItem::new().stream("dog/1").topic("Dog.Registered");
    for item in [item.clone(), item.tag("a").tag("b")] {
        let query = Query::item(item);
        for query in [LogRead::of(query.clone()), LogRead::of(query).backward()] {
            assert_eq!(read(query).await, 2);
        }
    }
    assert_eq!(read(LogRead::new()).await, 2);
    let stream = log.read_stream(StreamRead::new("dog/1")).await.unwrap();
    assert_eq!(stream.events.len(), 2);
    assert_eq!(log.streams("dog", None, 9).await.unwrap().len(), 1);
    assert!(log.event(stream.events[0].id()).await.unwrap().is_some());
    assert!(log.snapshot("dog/1", None).await.unwrap().is_some());
    let ranges = log.processed_ranges(RangeRead::new()).await.unwrap();
    let key = FollowerKey::new("f@1");
    let id = log.log_id().await.unwrap().unwrap();
    assert!(log.checkpoint(&key, id).await.unwrap().is_some());
    assert!(!ranges.is_empty());

    let there = log.head().await.unwrap().append_count;
    let waiting = tokio::spawn(async move { log.changed_since(there).await });
    let writing = writer.open("dogs", id).await.unwrap();
    writing.append(Append::of([event(7)])).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), there + 1);
}

#[test]
fn names_in_functions_mean_the_same_for_every_role() {
    block_on(async {
        let database = Database::create().await;
        drop(database.open().await);
        let client = database.client().await;
        let open =
            "SELECT p.proname::text FROM pg_proc p WHERE p.pronamespace = 'retold'::regnamespace
            AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false)";
        let open = client.query(open, &[]).await.unwrap();
        assert!(open.is_empty(), "{open:?}");
        let public =
            "SELECT p.proname::text FROM pg_proc p WHERE p.pronamespace = 'retold'::regnamespace
            AND EXISTS (SELECT 1 FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner)))
                WHERE grantee = 0)";
        let public = client.query(public, &[]).await.unwrap();
        assert!(public.is_empty(), "{public:?}");
    });
}
