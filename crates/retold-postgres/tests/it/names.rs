//! Every name that PostgreSQL can store works, with any characters: as a schema, and so in roles
//! and in the bodies of functions.

use std::io::Write;
use std::process::{Command, Stdio};

use fastrand::Rng;
use retold_core::recording::{
    Append, Condition, EventId, LogId, LogRead, NewEvent, Query, QueryItem, Store, StreamRead,
};
use retold_postgres::{
    PostgresOptions, PostgresStore, amender_role, conversion_sql, reader_role, roles_sql,
    schema_sql, writer_role,
};
use uuid::Uuid;

use crate::database::{Database, block_on, program};
use crate::writers::seed;

/// Number of random names, in addition to those that are known to be hard.
const NAMES: usize = 24;

const HARD: [&str; 14] = [
    "a$$b",
    "$$; DROP TABLE x; $$",
    "$retold_0$",
    "$retold_0$$retold_1$",
    "retold\"",
    "\"retold\".",
    "x\"retold_reader\"",
    "back\\slash",
    "\\",
    "it's; --",
    ":name /* x",
    "Ünïcode 🐕",
    " leading and trailing ",
    "select",
];

/// Pieces of random names.
const PIECES: [&str; 16] = [
    "$",
    "$$",
    "$retold_0$",
    "'",
    "\"",
    "\\",
    ";",
    "--",
    "/*",
    "*/",
    "E'",
    "{}",
    "%s",
    "é",
    "𝔸",
    "a",
];

fn by_chance(random: &mut Rng) -> String {
    let mut name = String::new();
    for _ in 0..random.usize(1..20) {
        let piece = random.choice(PIECES).unwrap();
        if name.len() + piece.len() <= 63 {
            name.push_str(piece);
        }
    }
    name
}

fn names() -> Vec<String> {
    let mut random = Rng::with_seed(seed());
    let mut names: Vec<String> = HARD.into_iter().map(Into::into).collect();
    names.push("ß".repeat(31));
    names.push("\"".repeat(63));
    names.extend((0..NAMES).map(|_| by_chance(&mut random)));
    names.sort();
    names.dedup();
    names
}

fn psql(url: &str, sql: &str) {
    let mut psql = Command::new(program("psql"))
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", url])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let input = psql.stdin.take().unwrap();
    { input }.write_all(sql.as_bytes()).unwrap();
    assert!(psql.wait().unwrap().success(), "{sql}");
}

/// Uses the functions that call others in their bodies.
async fn use_store(store: &PostgresStore) {
    let log = store
        .open("dogs", LogId::new(Uuid::now_v7()))
        .await
        .unwrap();
    let event = || NewEvent::new(EventId::new(Uuid::now_v7()), "Began", "{}");
    let event = || event().stream("dog/1").tag("a").tag("b");
    log.append(Append::new().event(event()).event(event()))
        .await
        .unwrap();
    let query = Query::item(QueryItem::new().tag("a").tag("b").topic("Began"));
    let none = Condition::none_match(query.clone());
    let refused = log
        .append(Append::new().event(event()).condition(none))
        .await;
    assert!(refused.is_err());
    assert_eq!(
        log.read_log(LogRead::of(query)).await.unwrap().events.len(),
        2
    );
    let stream = log.read_stream(StreamRead::new("dog/1")).await.unwrap();
    assert_eq!(stream.events.len(), 2);
    assert_eq!(log.streams("dog/", None, 10).await.unwrap().len(), 1);
}

#[test]
fn every_name_that_can_be_stored_works() {
    block_on(async {
        let database = Database::create().await;
        let client = database.client().await;
        for (number, name) in names().iter().enumerate() {
            let sql = format!("{}{}", schema_sql(name).unwrap(), roles_sql(name).unwrap());
            // By the driver, by psql, and by the store itself.
            match number % 3 {
                0 => client.batch_execute(&sql).await.unwrap(),
                1 => psql(&database.url(), &sql),
                _ => {}
            }
            let options = PostgresOptions::new().schema(name);
            let store = PostgresStore::open_with(&database.url(), &options)
                .await
                .unwrap();
            use_store(&store).await;
            let there = "SELECT count(*) FROM pg_namespace WHERE nspname = $1";
            let there: i64 = client.query_one(there, &[name]).await.unwrap().get(0);
            assert_eq!(there, 1, "{name}");
            if number % 3 != 2 {
                let roles = [reader_role(name), writer_role(name), amender_role(name)];
                let there = "SELECT count(*) FROM pg_roles WHERE rolname = ANY ($1)";
                let there: i64 = client
                    .query_one(there, &[&&roles[..]])
                    .await
                    .unwrap()
                    .get(0);
                assert_eq!(there, 3, "{name}");
                for role in roles {
                    let role = role.replace('"', "\"\"");
                    let drop = format!("DROP OWNED BY \"{role}\"; DROP ROLE \"{role}\"");
                    client.batch_execute(&drop).await.unwrap();
                }
            }
        }
        let others = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
        let others: i64 = client.query_one(others, &[]).await.unwrap().get(0);
        assert_eq!(others, 0, "something was created outside of the schemas");
    });
}

#[test]
fn names_that_cannot_be_stored_are_refused_before_connecting() {
    let nowhere = "postgres://retold@127.0.0.1:1/dogs";
    for name in ["", "a\0b", "a\nb", "\u{7f}", "pg_dogs", &"x".repeat(64)] {
        assert!(schema_sql(name).is_err(), "{name:?}");
        assert!(roles_sql(name).is_err(), "{name:?}");
        assert!(conversion_sql(name).is_err(), "{name:?}");
        let options = PostgresOptions::new().schema(name);
        let opened = block_on(PostgresStore::open_with(nowhere, &options)).map(drop);
        let error = opened.unwrap_err().to_string();
        assert!(error.contains("schema"), "{name:?}: {error}");
    }
}
