//! The roles of a store: readers, writers and amenders, and the SQL that creates them.

use retold_core::recording::Invalid;

use crate::limits::SCHEMA_NAME_SIZE_MAX;
use crate::sql_text::{check_schema, fill, literal, quote};

const ROLES: &str = include_str!("roles.sql");

/// The suffix of a role's name after the name of the schema.
const READER: &str = "_reader";
const WRITER: &str = "_writer";
const AMENDER: &str = "_amender";

/// Returns the name of the role that reads a store: the name of the schema and `_reader`.
pub fn reader_role(schema: &str) -> String {
    role(schema, READER)
}

/// Returns the name of the role that writes to a store: the name of the schema and `_writer`.
pub fn writer_role(schema: &str) -> String {
    role(schema, WRITER)
}

/// Returns the name of the role that also amends recorded events: the name of the schema and
/// `_amender`.
pub fn amender_role(schema: &str) -> String {
    role(schema, AMENDER)
}

/// PostgreSQL would truncate a longer name, and the roles would have the same name.
fn role(schema: &str, suffix: &str) -> String {
    let mut end = schema.len().min(SCHEMA_NAME_SIZE_MAX - suffix.len());
    while !schema.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", &schema[..end])
}

/// Returns the SQL that creates the roles of a store, [`reader_role`], [`writer_role`] and
/// [`amender_role`], if they are missing, and grants them the rights that they need and no others.
/// The owner of the schema, with the right to create roles, must run it after the SQL of
/// [`schema_sql`](crate::schema_sql), and again when a new version of the schema has more tables.
///
/// # Errors
///
/// [`Invalid`] for a name that PostgreSQL cannot store.
pub fn roles_sql(schema: &str) -> Result<String, Invalid> {
    check_schema(schema)?;
    let roles = [
        reader_role(schema),
        writer_role(schema),
        amender_role(schema),
    ];
    let [reader, writer, amender] = &roles;
    let names = [reader, writer, amender, schema].map(quote);
    let placeholders = [
        "\"retold_reader\"",
        "\"retold_writer\"",
        "\"retold_amender\"",
        "\"retold\"",
    ];
    let values: Vec<_> = placeholders
        .into_iter()
        .zip(names.iter().map(|it| &**it))
        .collect();
    let grants = fill(ROLES, &values);
    let made: String = roles.iter().map(|role| make(role)).collect();
    Ok(format!("{made}{grants}"))
}

fn make(role: &str) -> String {
    let make = format!(
        "BEGIN IF NOT EXISTS (SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = {}) THEN \
         CREATE ROLE {} NOLOGIN; END IF; END",
        literal(role),
        quote(role)
    );
    format!("DO {};\n", literal(&make))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_of_long_schemas_differ() {
        let long = "ä".repeat(31);
        assert_eq!(writer_role(&long).len(), 63);
        assert_ne!(writer_role(&long), reader_role(&long));
        assert_ne!(writer_role(&long), amender_role(&long));
        assert_eq!(reader_role("dogs"), "dogs_reader");
    }

    #[test]
    fn names_are_quoted() {
        let sql = roles_sql("a'b\"c").unwrap();
        assert!(sql.contains("DO 'BEGIN IF NOT EXISTS"));
        assert!(sql.contains("rolname = ''a''''b\"c_reader''"));
        assert!(sql.contains("\"a'b\"\"c\".matches"));
        assert!(!sql.contains("\"retold"));
        let sql = roles_sql("x\"retold\"").unwrap();
        assert!(sql.contains("TO \"x\"\"retold\"\"_reader\""));
        assert!(roles_sql("a\nb").is_err());
    }
}
