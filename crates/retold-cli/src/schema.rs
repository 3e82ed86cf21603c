//! `retold schema`: the SQL that makes a store's tables and roles, for those who keep a database.

use clap::ValueEnum;
use retold::postgres::{SCHEMA_DEFAULT, roles_sql, schema_sql};
use retold::recording::error::Invalid;
use serde_json::json;

use crate::failure::{Failure, Verdict};
use crate::output::Output;

/// Prints the SQL that makes a store, where the programs that use it may not make it themselves.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    store: Kind,
}

#[derive(Debug, clap::Subcommand)]
enum Kind {
    Postgres(Postgres),
}

/// Prints the SQL of a PostgreSQL store: tables, functions, triggers, and two roles.
///
/// Whoever runs it owns the tables: a role that no program logs in as. The roles are those of a reader and
/// of a writer, for programs to be members of.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
struct Postgres {
    /// The schema, as in the URL's parameter of that name
    #[arg(long, value_name = "NAME", default_value = SCHEMA_DEFAULT)]
    schema: String,

    /// Only this part
    #[arg(long, value_name = "PART")]
    only: Option<Part>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Part {
    /// What a store is made of; programs that own their schema make it by themselves
    Tables,
    /// The roles and their rights; may be run again at any time
    Roles,
}

const AFTER_HELP: &str = "\
Examples:
  retold schema postgres | psql -v ON_ERROR_STOP=1 dogs
  retold schema postgres --schema shop > shop.sql
  retold schema postgres --only roles | psql -v ON_ERROR_STOP=1 dogs

Then, for each program, as in:
  CREATE ROLE shop_service LOGIN PASSWORD '…' IN ROLE retold_writer;
  CREATE ROLE reports LOGIN PASSWORD '…' IN ROLE retold_reader;";

pub(crate) fn run(arguments: &Arguments, output: &mut Output) -> Result<Verdict, Failure> {
    let Kind::Postgres(Postgres { schema, only }) = &arguments.store;
    let mut parts = Vec::new();
    if !matches!(only, Some(Part::Roles)) {
        parts.push(schema_sql(schema).map_err(usage)?);
    }
    if !matches!(only, Some(Part::Tables)) {
        parts.push(roles_sql(schema).map_err(usage)?);
    }
    let sql = format!("BEGIN;\n\n{}\nCOMMIT;", parts.join("\n"));
    match output.is_json() {
        true => output.object(&json!({"schema": schema, "sql": sql}))?,
        false => output.line(&sql)?,
    }
    Ok(Verdict::Fine)
}

fn usage(invalid: Invalid) -> Failure {
    Failure::Usage(invalid.to_string())
}
