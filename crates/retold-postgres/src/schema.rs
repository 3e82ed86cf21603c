//! The tables and functions of a store: created if they are missing, converted if they are of the
//! version before, refused if they are of another.

use retold_core::recording::{Invalid, RecordError};
use tokio_postgres::{Error, Transaction};

use crate::access::Access;
use crate::error::{Refusal, is_of_rights, of_statement};
use crate::limits::ANSWER_WAIT_MAX;
use crate::server::connection::{Connection, in_schema};
use crate::server::place::ServerPlace;
use crate::server::roles::{reader_role, writer_role};
use crate::sql_text::{check_schema, dollar_mark, quote, shell_word};

/// The version of the schema that this program writes and reads.
pub const SCHEMA_VERSION: i32 = 9;

/// The version that is converted to it.
const VERSION_BEFORE: i32 = 8;

/// Joins files of the folder `schema`, with an empty line between them.
macro_rules! files {
    ($first:literal $(, $file:literal)*) => {
        concat!(
            include_str!(concat!("schema/", $first, ".sql")),
            $("\n", include_str!(concat!("schema/", $file, ".sql")),)*
        )
    };
}

/// The schema: the tables with their triggers, the types of parameters, then the functions, each
/// after those that it uses, and last the rights, which cover everything before them.
const SCHEMA: &str = files!(
    "tables",
    "types",
    "amendment_tables",
    "functions/refuse",
    "functions/only_amend",
    "triggers",
    "amendment_types",
    "functions/version_from",
    "functions/rarest",
    "functions/has_tags",
    "functions/is_named",
    "functions/meeting",
    "functions/matches",
    "functions/presence_bits",
    "functions/make_presence",
    "functions/streams",
    "functions/has_topic",
    "functions/topics",
    "functions/put_snapshot",
    "functions/now_micros",
    "functions/acquire_lease",
    "functions/any_matches",
    "functions/prepare_judging",
    "functions/append_judged",
    "functions/append_group",
    "functions/compare_amended",
    "functions/judge_amendments",
    "functions/drop_presence",
    "functions/put_amended",
    "functions/append_amending",
    "rights"
);

/// The beginning of [`SCHEMA`], which a schema of the version before has, in its own form.
const KEPT: &str = files!("tables", "types");

const FROM_VERSION_BEFORE: &str = include_str!("schema/conversions/from_version_8.sql");
const AFTER_VERSION_BEFORE: &str = include_str!("schema/conversions/after_version_8.sql");

/// The advisory lock under which schemas are created: an arbitrary number, the same for all.
const SCHEMA_LOCK: i64 = 0x7265_746f_6c64;

/// Returns the SQL that creates the schema of a store, for roles that are not allowed to create it.
/// The role that will own the schema must run it in a transaction; [`roles_sql`](crate::roles_sql)
/// then creates roles for programs.
///
/// # Errors
///
/// [`Invalid`] for a name that PostgreSQL cannot store.
pub fn schema_sql(schema: &str) -> Result<String, Invalid> {
    let text = named(SCHEMA, schema)?;
    let quoted = quote(schema);
    Ok(format!(
        "CREATE SCHEMA IF NOT EXISTS {quoted};\nREVOKE ALL ON SCHEMA {quoted} FROM PUBLIC;\n{text}"
    ))
}

/// Returns the SQL that converts the schema of a store from the version before, for owners that no
/// program logs in as. The owner of the schema, or a role that may act as the owner, must run it in
/// a transaction, and acts as the owner until it ends. The roles of a store keep their rights, and
/// [`roles_sql`](crate::roles_sql) creates those that are new.
///
/// Programs that have the store open continue, also those of the version before.
///
/// # Errors
///
/// [`Invalid`] for a name that PostgreSQL cannot store.
pub fn conversion_sql(schema: &str) -> Result<String, Invalid> {
    let added = SCHEMA.strip_prefix(KEPT).unwrap_or_default();
    let added = added
        .replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")
        .replace("CREATE TRIGGER", "CREATE OR REPLACE TRIGGER");
    let text = format!("{FROM_VERSION_BEFORE}{added}\n{AFTER_VERSION_BEFORE}");
    named(&text, schema)
}

/// Returns SQL with the name of the schema filled in.
fn named(sql: &str, schema: &str) -> Result<String, Invalid> {
    check_schema(schema)?;
    let quoted = quote(schema);
    // The bodies of functions contain the schema's name, so their delimiter must not occur in it.
    let text = sql.replace("$$", &dollar_mark(&quoted));
    Ok(in_schema(&text, &quoted))
}

/// Creates the schema if it is missing, and converts it if it is of the version before.
///
/// # Errors
///
/// `Invalid` for a schema of another version, a database whose encoding is not UTF-8, or a role
/// that is not allowed to create or convert the schema or to write to it; `Unavailable`.
pub(crate) async fn make(
    connection: &mut Connection,
    place: &ServerPlace,
) -> Result<(), RecordError> {
    const WHAT: &str = "creating the schema of the store";
    check_encoding(connection).await?;
    let (sql, is_found) = match find(connection, place, Access::ReadWrite).await? {
        SchemaState::Ours => return Ok(()),
        SchemaState::Before => (conversion_sql(&place.schema)?, FIND_BEFORE),
        SchemaState::Nothing => (schema_sql(&place.schema)?, FIND_NOTHING),
    };
    let is_found = in_schema(is_found, &place.quoted_schema());
    let making = make_now(connection, place, (&is_found, &sql));
    let made = match tokio::time::timeout(ANSWER_WAIT_MAX, making).await {
        Ok(made) => made,
        Err(_) => {
            connection.is_silent = true;
            return Err(RecordError::unavailable(WHAT, Refusal::Silent));
        }
    };
    match made {
        Ok(()) => check(connection, place, Access::ReadWrite).await.map(drop),
        Err(error) if is_of_rights(&error) => {
            match find(connection, place, Access::ReadWrite).await? {
                SchemaState::Before => Err(of_before(place)),
                _ => Err(may_not_make(connection, place).await?),
            }
        }
        Err(error) => Err(of_statement(WHAT, error)),
    }
}

/// Returns the error about a missing schema, with the commands that create it.
async fn may_not_make(
    connection: &mut Connection,
    place: &ServerPlace,
) -> Result<RecordError, RecordError> {
    const WHAT: &str = "asking for the name of the role";
    let sql = "SELECT current_user::text, current_database()::text";
    let row = connection.row(WHAT, sql, &[]).await?;
    let names = row.map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
    let names = names.transpose();
    let names = names.map_err(|error: Error| of_statement(WHAT, error))?;
    let (role, database): (String, String) = names.unwrap_or_default();
    let schema = &place.schema;
    Ok(RecordError::invalid(format!(
        "the schema {schema:?} is missing, and the role {role:?} is not allowed to create it in \
         the database {database:?}. As the owner of the database, or a superuser, run there the \
         output of `retold schema postgres --schema {}`, and then: GRANT {} TO {};",
        shell_word(schema),
        quote(&writer_role(schema)),
        quote(&role)
    )))
}

async fn make_now(
    connection: &mut Connection,
    place: &ServerPlace,
    steps: (&str, &str),
) -> Result<(), Error> {
    let transaction = connection.client.transaction().await?;
    make_in(&transaction, place, steps).await?;
    transaction.commit().await
}

async fn make_in(
    transaction: &Transaction<'_>,
    place: &ServerPlace,
    (is_found, sql): (&str, &str),
) -> Result<(), Error> {
    let lock = "SELECT pg_advisory_xact_lock($1)";
    transaction.execute(lock, &[&SCHEMA_LOCK]).await?;
    // Another process may have done it just now.
    let found = transaction.query_one(is_found, &[&place.schema]).await?;
    match found.try_get(0)? {
        true => transaction.batch_execute(sql).await,
        false => Ok(()),
    }
}

const FIND_NOTHING: &str = "SELECT NOT EXISTS (SELECT 1 FROM pg_catalog.pg_tables
    WHERE schemaname = $1 AND tablename = 'schema_version')";
const FIND_BEFORE: &str = "SELECT $1::text IS NOT NULL AND version = 8
    FROM \"retold\".schema_version";

/// Returns a row if the schema exists: whether we can read it and write to it, and the name of our
/// role.
const FOUND: &str =
    "SELECT has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'),
    coalesce((SELECT bool_and(has_function_privilege(p.oid, 'EXECUTE')) FROM pg_catalog.pg_proc p
        WHERE p.pronamespace = n.oid AND p.proname = 'append_group'), true),
    current_user::text
    FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid
    WHERE n.nspname = $1 AND c.relname = 'schema_version'";

/// What is found in place of the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SchemaState {
    Nothing,
    /// A schema of the version before ours.
    Before,
    Ours,
}

/// Whether the schema exists, in our version, with the rights that we need.
///
/// # Errors
///
/// `Invalid` for another version, or if the role lacks the rights; `Unavailable`.
pub(crate) async fn check(
    connection: &mut Connection,
    place: &ServerPlace,
    access: Access,
) -> Result<bool, RecordError> {
    match find(connection, place, access).await? {
        SchemaState::Nothing => Ok(false),
        SchemaState::Before => Err(of_before(place)),
        SchemaState::Ours => Ok(true),
    }
}

/// Returns the error about a schema that is not converted.
fn of_before(place: &ServerPlace) -> RecordError {
    RecordError::invalid(format!(
        "the schema {0:?} has version {VERSION_BEFORE}, and this program reads {SCHEMA_VERSION}. \
         Open the store for writing once as the owner of the schema, which converts it, or run, as \
         the owner, the output of `retold schema postgres --schema {1} --only conversion`",
        place.schema,
        shell_word(&place.schema)
    ))
}

/// Finds the schema, with the rights that we need.
async fn find(
    connection: &mut Connection,
    place: &ServerPlace,
    access: Access,
) -> Result<SchemaState, RecordError> {
    const WHAT: &str = "looking for the schema of the store";
    let failed = |error| of_statement(WHAT, error);
    let Some(row) = connection.row(WHAT, FOUND, &[&place.schema]).await? else {
        return Ok(SchemaState::Nothing);
    };
    let may_read: bool = row.try_get(0).map_err(failed)?;
    let may_write: bool = row.try_get(1).map_err(failed)?;
    let us: &str = row.try_get(2).map_err(failed)?;
    let lacking = match access {
        Access::ReadOnly if !may_read => Some(("read", reader_role(&place.schema))),
        Access::ReadWrite if !may_read || !may_write => {
            Some(("write to", writer_role(&place.schema)))
        }
        _ => None,
    };
    if let Some((what, role)) = lacking {
        return Err(RecordError::invalid(format!(
            "the role {us:?} is not allowed to {what} the store in the schema {0:?}. As the owner \
             of the schema, or a superuser, run: GRANT {1} TO {2}; if that role is missing, \
             `retold schema postgres --schema {3} --only roles` prints the SQL that creates it",
            place.schema,
            quote(&role),
            quote(us),
            shell_word(&place.schema)
        )));
    }
    let sql = "SELECT version FROM \"retold\".schema_version";
    let versions = connection.rows(WHAT, sql, &[]).await?;
    let versions: Result<Vec<i32>, _> = versions.iter().map(|row| row.try_get(0)).collect();
    match versions.map_err(failed)?.as_slice() {
        [SCHEMA_VERSION] => Ok(SchemaState::Ours),
        [VERSION_BEFORE] => Ok(SchemaState::Before),
        [older @ (1 | 2)] => Err(RecordError::invalid(format!(
            "the schema {:?} was created by an older version of Retold, whose events have no \
             checksums (it has version {older}, this program reads {SCHEMA_VERSION}); read it \
             with that version, and append its events to a store in a new schema",
            place.schema
        ))),
        others => Err(Invalid::new(format!(
            "the schema {:?} has version {others:?}, and this program reads only {SCHEMA_VERSION}",
            place.schema
        ))
        .into()),
    }
}

async fn check_encoding(connection: &mut Connection) -> Result<(), RecordError> {
    const WHAT: &str = "asking the server for its encoding";
    let sql = "SELECT current_setting('server_encoding')";
    let Some(row) = connection.row(WHAT, sql, &[]).await? else {
        return Ok(());
    };
    let encoding: &str = row.try_get(0).map_err(|error| of_statement(WHAT, error))?;
    if encoding != "UTF8" {
        return Err(RecordError::invalid(format!(
            "the database has the encoding {encoding}; the store needs UTF8"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::SCHEMA;

    /// Goal: a file of the folder that is not part of the schema is noticed.
    #[test]
    fn the_schema_has_every_file() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/schema");
        let mut count = 0;
        for folder in [folder.join("functions"), folder] {
            for file in fs::read_dir(folder).unwrap() {
                let path = file.unwrap().path();
                if path.is_file() {
                    let text = fs::read_to_string(&path).unwrap();
                    assert_eq!(SCHEMA.matches(&text).count(), 1, "{path:?}");
                    count += 1;
                }
            }
        }
        assert_eq!(count, 31);
    }

    /// Goal: the rights of a new function or table are not forgotten.
    #[test]
    fn the_rights_name_every_function_and_table() {
        let rights = include_str!("schema/rights.sql");
        for (kind, end) in [("FUNCTION", '('), ("TABLE", ' ')] {
            let create = format!("\nCREATE {kind} \"retold\".");
            let made = SCHEMA.split(&create).skip(1);
            let names: Vec<_> = made.filter_map(|it| it.split(end).next()).collect();
            assert!(names.len() > 9, "{names:?}");
            for name in names {
                assert!(rights.contains(&format!("'{name}'")), "{kind} {name}");
            }
        }
    }
}
