//! `retold schema`: prints the SQL that creates a store's tables and roles, for database
//! administrators, and the events of a program.

mod events;

use clap::ValueEnum;
use retold::postgres::{SCHEMA_DEFAULT, conversion_sql, roles_sql, schema_sql};
use retold::recording::Invalid;
use serde::Serialize;

use crate::failure::{CommandFailure, CommandVerdict};
use crate::output::{Output, Report};

/// Print the SQL that creates a store, or the events of a program.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct SchemaArguments {
    #[command(subcommand)]
    store: SchemaKind,
}

#[derive(Debug, clap::Subcommand)]
enum SchemaKind {
    Postgres(Postgres),
    Events(events::EventsOfProgram),
}

/// Print the SQL of a PostgreSQL store: tables, functions, triggers and three roles.
///
/// The role that runs the SQL owns the tables, so no program should log in as that role. The SQL
/// creates a reader role, a writer role and an amender role, which also erases and replaces
/// recorded events; make the roles of your programs members of them.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
struct Postgres {
    /// The schema, as in the URL parameter `schema`
    #[arg(long, value_name = "NAME", default_value = SCHEMA_DEFAULT)]
    schema: String,

    /// Print only this part
    #[arg(long, value_name = "PART")]
    only: Option<SchemaPart>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SchemaPart {
    /// Tables, functions and triggers; a program that owns its schema creates them itself
    Tables,
    /// The roles and their privileges; safe to run again
    Roles,
    /// The conversion of a schema that the version before created, instead of the tables
    Conversion,
}

const AFTER_HELP: &str = "\
Examples:
  retold schema postgres | psql -v ON_ERROR_STOP=1 dogs
  retold schema postgres --schema shop > shop.sql
  retold schema postgres --only roles | psql -v ON_ERROR_STOP=1 dogs
  retold schema postgres --only conversion | psql -v ON_ERROR_STOP=1 dogs

Then create a role for each program, for example:
  CREATE ROLE shop_service LOGIN PASSWORD '…' IN ROLE retold_writer;
  CREATE ROLE reports LOGIN PASSWORD '…' IN ROLE retold_reader;";

pub(crate) fn run(
    arguments: &SchemaArguments,
    output: &mut Output,
) -> Result<CommandVerdict, CommandFailure> {
    let Postgres { schema, only } = match &arguments.store {
        SchemaKind::Postgres(postgres) => postgres,
        SchemaKind::Events(arguments) => return events::run(arguments, output),
    };
    let mut parts = Vec::new();
    if matches!(only, Some(SchemaPart::Conversion)) {
        parts.push(conversion_sql(schema).map_err(usage)?);
    }
    if matches!(only, None | Some(SchemaPart::Tables)) {
        parts.push(schema_sql(schema).map_err(usage)?);
    }
    if matches!(only, None | Some(SchemaPart::Roles)) {
        parts.push(roles_sql(schema).map_err(usage)?);
    }
    let sql = format!("BEGIN;\n\n{}\nCOMMIT;", parts.join("\n"));
    output.report(&Sql { schema, sql })?;
    Ok(CommandVerdict::Fine)
}

#[derive(Debug, Serialize)]
struct Sql<'a> {
    schema: &'a str,
    sql: String,
}

impl Report for Sql<'_> {
    fn lines(&self) -> Vec<String> {
        vec![self.sql.clone()]
    }
}

fn usage(invalid: Invalid) -> CommandFailure {
    CommandFailure::Usage(invalid.to_string())
}
