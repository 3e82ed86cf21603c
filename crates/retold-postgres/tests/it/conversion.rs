//! A schema of the version before is converted: by the owner's program when it opens the store, or
//! by the SQL that is printed for owners that no program logs in as.

use retold_core::recording::{
    Amendment, Append, ERASED_TOPIC, ErasedParts, EventId, LogId, LogRead, NewEvent, RecordError,
    Recorder, Store, Version, verify_log,
};
use retold_postgres::{PostgresOptions, PostgresStore, conversion_sql, roles_sql};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::database::{Database, block_on, connect};

/// The SQL by which version 8 created a schema, for the schema `retold`.
const SCHEMA_8: &str = include_str!("schema_8.sql");
const BIRTH: LogId = LogId::new(Uuid::from_u128(1));

fn event(number: u128) -> NewEvent {
    NewEvent::new(EventId::new(Uuid::from_u128(number)), "Barked", "{}")
        .stream("dog/1")
        .tag("loud")
}

async fn open(database: &Database, schema: &str) -> Result<PostgresStore, RecordError> {
    let options = PostgresOptions::new().schema(schema);
    PostgresStore::open_with(&database.url(), &options).await
}

/// Creates a schema of version 8 with a log, whose rows are those of a store in another schema.
async fn create_version_8(database: &Database, client: &Client, schema: &str) {
    create_version_8_of("retold", database, client, schema).await;
}

/// The same for an owner of the schema.
async fn create_version_8_of(owner: &str, database: &Database, client: &Client, schema: &str) {
    let source = format!("{schema}_source");
    let log = open(database, &source).await.unwrap();
    let log = log.open("dogs", BIRTH).await.unwrap();
    log.append(Append::of((1..=20).map(event))).await.unwrap();
    log.append(Append::of([event(21)])).await.unwrap();
    let tables = SCHEMA_8.replace("\"retold\".", &format!("{schema}."));
    let create = format!(
        "CREATE SCHEMA {schema} AUTHORIZATION {owner}; GRANT USAGE ON SCHEMA {source} TO {owner};
         GRANT SELECT ON ALL TABLES IN SCHEMA {source} TO {owner};
         SET ROLE {owner}; {tables};
         INSERT INTO {schema}.log OVERRIDING SYSTEM VALUE SELECT key, name, id, position, head_id,
             append_count, stretch_count, topic_count FROM {source}.log;
         INSERT INTO {schema}.event SELECT * FROM {source}.event;
         INSERT INTO {schema}.event_tag SELECT * FROM {source}.event_tag;
         ANALYZE {schema}.event, {schema}.event_tag; RESET ROLE"
    );
    client.batch_execute(&create).await.unwrap();
}

async fn check_used(log: &dyn Recorder) {
    let events = log.read_log(LogRead::new()).await.unwrap().events;
    assert_eq!(events.len(), 21);
    let erase = Amendment::EraseStream {
        stream: "dog/1".into(),
        after: None,
        until: Version::new(21).unwrap(),
        parts: ErasedParts::ALL,
    };
    let record = NewEvent::new(EventId::new(Uuid::from_u128(30)), ERASED_TOPIC, "{}");
    let append = Append::of([record.stream("dog/1")]).amendment(erase);
    log.append(append).await.unwrap();
    let events = log.read_log(LogRead::new()).await.unwrap().events;
    assert_eq!(events.iter().filter(|it| it.is_erased()).count(), 21);
    let report = verify_log(log, &mut |_| {}).await.unwrap();
    assert!(report.is_sound(), "{report:?}");
}

/// Everything of a schema that its SQL defines, in a form that does not depend on its name.
const DEFINITION: &str = "
    SELECT concat_ws(' ', 'function', p.proname, pg_get_function_arguments(p.oid),
        pg_get_function_result(p.oid), p.prosrc, p.prosecdef, p.provolatile, p.proconfig::text)
        FROM pg_proc p WHERE p.pronamespace = $1::text::regnamespace
    UNION ALL
    SELECT concat_ws(' ', 'trigger', pg_get_triggerdef(t.oid), t.tgenabled) FROM pg_trigger t
        JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relnamespace = $1::text::regnamespace
    UNION ALL
    SELECT concat_ws(' ', 'column', c.relname, a.attname, a.attnum, format_type(a.atttypid, -1),
        a.attnotnull, a.attstorage, a.attstattarget, pg_get_expr(d.adbin, d.adrelid))
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE c.relnamespace = $1::text::regnamespace AND a.attnum > 0
    UNION ALL
    SELECT concat_ws(' ', 'label', e.enumlabel, rank() OVER (ORDER BY e.enumsortorder))
        FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid
        WHERE t.typnamespace = $1::text::regnamespace
    UNION ALL
    SELECT concat_ws(' ', 'index', pg_get_indexdef(i.indexrelid)) FROM pg_index i
        JOIN pg_class c ON c.oid = i.indrelid WHERE c.relnamespace = $1::text::regnamespace
    UNION ALL
    SELECT concat_ws(' ', 'statistics', c.relname, s.staattnum) FROM pg_statistic s
        JOIN pg_class c ON c.oid = s.starelid JOIN pg_attribute a ON a.attrelid = s.starelid
        AND a.attnum = s.staattnum WHERE c.relnamespace = $1::text::regnamespace
        AND a.attname IN ('tags', 'metadata', 'payload', 'tag')
    UNION ALL
    SELECT concat_ws(' ', 'version', pg_temp.version_of())";

async fn definition(client: &Client, schema: &str) -> Vec<String> {
    let version_of = format!(
        "CREATE OR REPLACE FUNCTION pg_temp.version_of() RETURNS text LANGUAGE sql AS
         $$ SELECT version::text FROM {schema}.schema_version $$"
    );
    client.batch_execute(&version_of).await.unwrap();
    let rows = client.query(DEFINITION, &[&schema]).await.unwrap();
    let text = rows.iter().map(|row| row.get::<_, String>(0));
    let unquoted = text.map(|text| {
        text.replace(&format!("\"{schema}\"."), "S.")
            .replace(&format!("{schema}."), "S.")
    });
    let mut lines: Vec<String> = unquoted.collect();
    lines.sort();
    lines
}

/// Goal: a converted schema is the same as a new one, and its events are as they were. Method: the
/// catalog of both.
#[test]
fn a_converted_schema_is_like_a_new_one() {
    block_on(async {
        let database = Database::create().await;
        let client = database.client().await;
        create_version_8(&database, &client, "by_program").await;
        create_version_8(&database, &client, "by_sql").await;
        let sql = conversion_sql("by_sql").unwrap();
        client
            .batch_execute(&format!("BEGIN; {sql}; COMMIT"))
            .await
            .unwrap();
        let openings = (0..4).map(|_| open(&database, "by_program"));
        for opened in futures_util::future::join_all(openings).await {
            opened.unwrap();
        }
        let expected = definition(&client, "by_sql_source").await;
        assert!(expected.len() > 100, "{}", expected.len());
        for schema in ["by_program", "by_sql"] {
            let found = definition(&client, schema).await;
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found, expected, "{schema}");
            }
            assert_eq!(found.len(), expected.len(), "{schema}");
            let store = open(&database, schema).await.unwrap();
            check_used(&*store.open("dogs", BIRTH).await.unwrap()).await;
            assert_eq!(store.verify().await.unwrap(), []);
        }
    });
}

/// Goal: the roles of a store keep their rights through a conversion. The error of a role that may
/// not convert says who may.
#[test]
fn roles_keep_their_rights_in_a_conversion() {
    block_on(async {
        let database = Database::create().await;
        let client = database.client().await;
        create_version_8(&database, &client, "kennel_8").await;
        let name = database.name();
        let grants = format!(
            "CREATE ROLE {name}_old LOGIN; GRANT USAGE ON SCHEMA kennel_8 TO {name}_old;
             GRANT SELECT ON ALL TABLES IN SCHEMA kennel_8 TO {name}_old;
             GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA kennel_8 TO {name}_old;
             GRANT INSERT, UPDATE, DELETE ON kennel_8.snapshot TO {name}_old"
        );
        client.batch_execute(&grants).await.unwrap();
        let url = database.url().replace("retold@", &format!("{name}_old@"));
        let options = PostgresOptions::new().schema("kennel_8");
        let writing = PostgresStore::open_with(&url, &options).await.map(drop);
        let reading = format!("{url}&schema=kennel_8");
        let reading = PostgresStore::open_read_only(&reading).await.map(drop);
        for refused in [writing, reading] {
            let Err(RecordError::Invalid(refused)) = refused else {
                panic!("{refused:?}");
            };
            assert!(
                refused.to_string().contains("--only conversion"),
                "{refused}"
            );
        }
        open(&database, "kennel_8").await.unwrap();
        let store = PostgresStore::open_with(&url, &options).await.unwrap();
        let log = store.open("dogs", BIRTH).await.unwrap();
        log.append(Append::of([event(40)])).await.unwrap();
        assert_eq!(log.streams("", None, 10).await.unwrap().len(), 1);
        let snapshot = retold_core::recording::StoredSnapshot::new(
            "dog/1",
            Version::FIRST,
            "Dog",
            b"{}".to_vec(),
        );
        log.put_snapshot(snapshot).await.unwrap();
        let roles = roles_sql("kennel_8").unwrap();
        client.batch_execute(&roles).await.unwrap();
    });
}

/// What a schema has besides the store: a table and a function that all may use, as views of a
/// program are, and whom the objects of the store belong to.
const OF_OTHERS: &str = "SELECT has_table_privilege('public', $1 || '.mine', 'SELECT'),
    has_function_privilege('public', $1 || '.mine()', 'EXECUTE'),
    (SELECT p.proconfig IS NULL FROM pg_proc p WHERE p.oid = ($1 || '.mine()')::regprocedure),
    (SELECT array_agg(DISTINCT owner::regrole::text) FROM (
        SELECT c.relowner AS owner FROM pg_class c
        WHERE c.relnamespace = $1::regnamespace AND c.relname NOT LIKE 'mine%'
        UNION SELECT p.proowner FROM pg_proc p
        WHERE p.pronamespace = $1::regnamespace AND p.proname <> 'mine'
        UNION SELECT t.typowner FROM pg_type t WHERE t.typnamespace = $1::regnamespace
        AND t.typname NOT LIKE '%mine%'
    ) o)";

/// Goal: no matter who converts a schema, everything of the store belongs to its owner afterwards,
/// with whose rights appends run; a role that may not act as the owner is refused; and what else is
/// in the schema stays as it is. Method: the owner, a member of the owner's role, with and without
/// its rights at once, and a superuser, each with a program and with the printed SQL; then a
/// program that is neither of them appends.
#[test]
fn a_converted_schema_belongs_to_its_owner() {
    block_on(async {
        let database = Database::create().await;
        let client = database.client().await;
        let name = database.name();
        let roles = format!(
            "CREATE ROLE {name}_owner LOGIN; CREATE ROLE {name}_program LOGIN;
             CREATE ROLE {name}_member LOGIN IN ROLE {name}_owner;
             CREATE ROLE {name}_stranger LOGIN"
        );
        client.batch_execute(&roles).await.unwrap();
        let owner = format!("{name}_owner");
        for (kind, role) in [
            ("owner", owner.clone()),
            ("member", format!("{name}_member")),
            ("superuser", "retold".to_owned()),
        ] {
            for way in ["program", "sql"] {
                let schema = format!("of_{kind}_{way}");
                create_version_8_of(&owner, &database, &client, &schema).await;
                let grants = format!(
                    "GRANT USAGE ON SCHEMA {schema} TO {name}_program, {name}_stranger;
                     GRANT SELECT ON ALL TABLES IN SCHEMA {schema}
                         TO {name}_program, {name}_stranger;
                     GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema}
                         TO {name}_program, {name}_stranger;
                     CREATE TABLE {schema}.mine (it integer);
                     GRANT SELECT ON {schema}.mine TO PUBLIC;
                     CREATE FUNCTION {schema}.mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'"
                );
                client.batch_execute(&grants).await.unwrap();
                let url = |role: &str| database.url().replace("retold@", &format!("{role}@"));
                let options = PostgresOptions::new().schema(&schema);
                let sql = conversion_sql(&schema).unwrap();
                let stranger = url(&format!("{name}_stranger"));
                let refused = connect(&stranger).await.batch_execute(&sql).await;
                let refused = refused.unwrap_err();
                let refused = refused.as_db_error().unwrap().message();
                assert!(refused.contains(&owner), "{schema}: {refused}");
                let refused = PostgresStore::open_with(&stranger, &options).await;
                let refused = refused.map(drop).unwrap_err().to_string();
                assert!(refused.contains("--only conversion"), "{refused}");

                match way {
                    "sql" => {
                        let sql = format!("BEGIN; {sql}; COMMIT");
                        let client = connect(&url(&role)).await;
                        client.batch_execute(&sql).await.unwrap();
                        let us = client.query_one("SELECT current_user::text", &[]).await;
                        assert_eq!(us.unwrap().get::<_, String>(0), role);
                    }
                    _ => drop(
                        PostgresStore::open_with(&url(&role), &options)
                            .await
                            .unwrap(),
                    ),
                }
                let row = client.query_one(OF_OTHERS, &[&schema]).await.unwrap();
                for index in 0..3 {
                    assert!(row.get::<_, bool>(index), "{schema} {index}");
                }
                assert_eq!(row.get::<_, Vec<String>>(3), [owner.as_str()], "{schema}");
                let program = url(&format!("{name}_program"));
                let store = PostgresStore::open_with(&program, &options).await.unwrap();
                let log = store.open("dogs", BIRTH).await.unwrap();
                log.append(Append::of([event(40)])).await.unwrap();
                let store = PostgresStore::open_with(&url(&owner), &options)
                    .await
                    .unwrap();
                let erased = EventId::new(Uuid::from_u128(40));
                let record = NewEvent::new(EventId::new(Uuid::from_u128(41)), ERASED_TOPIC, "{}");
                let append = Append::of([record.stream("dog/1")]);
                let append = append.amendment(Amendment::EraseEvent {
                    event: erased,
                    stream: Some("dog/1".into()),
                    parts: ErasedParts::ALL,
                });
                let log = store.open("dogs", BIRTH).await.unwrap();
                log.append(append).await.unwrap();
            }
        }
    });
}
