//! The function that amends, called by an amender with SQL of its own: it changes no event in
//! another way than an amendment names and an event of the append records.

use retold_postgres::{roles_sql, schema_sql};

use crate::database::{Database, block_on, connect};

/// A log with three events of a stream, each with a tag and metadata.
const FILL: &str = "INSERT INTO retold.log (name, id, position, append_count, topic_count)
        VALUES ('dogs', gen_random_uuid(), 3, 1, 1);
    INSERT INTO retold.event SELECT 1, n, ('00000000-0000-4000-8000-00000000000' || n)::uuid,
        'dog/1', n, 0, 1, 'Barked', 1, '\\x0161', 0, 0, 'json', '', 'm', '{}', 1, 1
        FROM generate_series(1, 3) AS n;
    INSERT INTO retold.event_tag SELECT 1, 'a', n FROM generate_series(1, 3) AS n";

/// A call of the function: `$amendments`, and `$columns` of the events at the positions `$of` as
/// the amendments leave them.
const CALL: &str = "SELECT g.result::text FROM retold.append_amending(1, false, '{1}', '{0}',
    '{0}', ARRAY[gen_random_uuid()], '{dog/1}', '{retold.erased}', ARRAY[ROW(1, 1, 0, 1, 1, 0, 0,
    0, 1, 1, 'json', '', '{}', '', '', '{}')::retold.new_event], '{}', '{}',
    ARRAY[$amendments]::retold.amendment[], ARRAY(SELECT ROW(e.position, e.payload_checksum,
    e.checksum, $columns)::retold.amended_event FROM retold.event e
    JOIN unnest('{$of}'::bigint[]) AS o ON o = e.position), 99) g";

/// Amendments of the first event, and of the first two by their stream.
const ERASE: &str =
    "ROW('00000000-0000-4000-8000-000000000001', 'dog/1', NULL, NULL, false, false, false)";
const ERASE_ALL: &str =
    "ROW('00000000-0000-4000-8000-000000000001', 'dog/1', NULL, NULL, false, true, true)";
const REPLACE: &str =
    "ROW('00000000-0000-4000-8000-000000000001', 'dog/1', NULL, NULL, true, false, false)";
const PAYLOADS: &str = "ROW(NULL, 'dog/1', 0, 2, false, false, false)";
const ALL: &str = "ROW(NULL, 'dog/1', 0, 2, false, true, true)";

/// Columns after the checksums that the event had: topic, revision, encoding, tags, removed and
/// added tags, whether the metadata are erased, payload and checksums.
const ERASED: &str = "NULL, NULL, NULL, NULL, '{}', '{}', false, NULL, -1, 0";
const ALL_ERASED: &str = "NULL, NULL, NULL, '', '{a}', '{}', true, NULL, -1, 0";
const REPLACED: &str = "'Meowed', 2, 'x', '\\x0162', '{a}', '{b}', false, '[]', 0, 0";

/// What is refused: amendments, positions and columns.
const REFUSED: [(&str, &str, &str); 22] = [
    // Other events than the amendment names, none, or one twice.
    (ERASE, "2", ERASED),
    (ERASE, "1, 2", ERASED),
    (ERASE, "", ERASED),
    (ERASE, "1, 1", ERASED),
    (PAYLOADS, "1", ERASED),
    (PAYLOADS, "1, 2, 3", ERASED),
    // Another content than an erasure leaves, or a replacement.
    (ERASE, "1", REPLACED),
    (REPLACE, "1", ERASED),
    (
        ERASE,
        "1",
        "'x', NULL, NULL, NULL, '{}', '{}', false, NULL, -1, 0",
    ),
    (
        ERASE,
        "1",
        "NULL, 2, NULL, NULL, '{}', '{}', false, NULL, -1, 0",
    ),
    (
        ERASE,
        "1",
        "NULL, NULL, 'x', NULL, '{}', '{}', false, NULL, -1, 0",
    ),
    (
        ERASE,
        "1",
        "NULL, NULL, NULL, NULL, '{}', '{}', false, '[]', 0, 0",
    ),
    // Tags and metadata that no flag names.
    (
        ERASE,
        "1",
        "NULL, NULL, NULL, '', '{a}', '{}', false, NULL, -1, 0",
    ),
    (
        ERASE,
        "1",
        "NULL, NULL, NULL, NULL, '{a}', '{}', false, NULL, -1, 0",
    ),
    (
        ERASE,
        "1",
        "NULL, NULL, NULL, NULL, '{}', '{b}', false, NULL, -1, 0",
    ),
    (
        ERASE,
        "1",
        "NULL, NULL, NULL, NULL, NULL, '{}', false, NULL, -1, 0",
    ),
    (
        ERASE,
        "1",
        "NULL, NULL, NULL, NULL, '{}', '{}', true, NULL, -1, 0",
    ),
    (
        ERASE,
        "1",
        "NULL, NULL, NULL, NULL, '{}', '{}', NULL, NULL, -1, 0",
    ),
    (
        REPLACE,
        "1",
        "NULL, NULL, NULL, NULL, '{}', '{}', true, '[]', 0, 0",
    ),
    // Tags and metadata that flags name and that stay.
    (ERASE_ALL, "1", ERASED),
    (ALL, "1, 2", ERASED),
    (
        ERASE_ALL,
        "1",
        "NULL, NULL, NULL, '\\x0162', '{a}', '{b}', true, NULL, -1, 0",
    ),
];

const RECORDED: [(&str, &str, &str); 5] = [
    (ERASE, "1", ERASED),
    (ERASE_ALL, "1", ALL_ERASED),
    (REPLACE, "1", REPLACED),
    (PAYLOADS, "1, 2", ERASED),
    (ALL, "1, 2", ALL_ERASED),
];

fn call((amendments, of, columns): (&str, &str, &str)) -> String {
    let call = CALL.replace("$amendments", amendments);
    call.replace("$of", of).replace("$columns", columns)
}

/// Goal: an amender changes no event without a record of what changed in the event's stream.
/// Method: calls of the function that differ from the right ones in one thing each.
#[test]
fn an_amender_changes_only_what_is_recorded() {
    block_on(async {
        let database = Database::create().await;
        let owner = database.client().await;
        let name = database.name();
        let [schema, roles] = [schema_sql("retold"), roles_sql("retold")].map(Result::unwrap);
        let login = format!("CREATE ROLE {name}_a LOGIN IN ROLE retold_amender");
        owner
            .batch_execute(&format!("{schema}; {roles}; {login}; {FILL}"))
            .await
            .unwrap();
        let url = database.url().replace("retold@", &format!("{name}_a@"));
        let amender = connect(&url).await;
        let refuse = async |sql: &str, reason: &str| {
            let refused = amender.batch_execute(sql).await.expect_err(sql);
            let refused = refused.as_db_error().unwrap().message();
            assert!(refused.contains(reason), "{sql}: {refused}");
        };
        for row in REFUSED {
            refuse(&call(row), "in another way than its amendment names").await;
        }
        let one = "one append with amendments was expected";
        refuse(&call(("", "", ERASED)), one).await;
        let good = call((ERASE, "1", ERASED));
        for counts in ["'{0}'", "'{1,0}'", "'{}'"] {
            refuse(&good.replacen("'{1}'", counts, 1), one).await;
        }
        let unrecorded = good.replace("retold.erased", "Barked");
        refuse(&unrecorded, "an event in its stream that records it").await;
        for row in RECORDED {
            amender.batch_execute("BEGIN").await.unwrap();
            let answer = amender.query_one(&call(row), &[]).await.unwrap();
            assert_eq!(answer.get::<_, String>(0), "recorded", "{row:?}");
            amender.batch_execute("ROLLBACK").await.unwrap();
        }
    });
}
