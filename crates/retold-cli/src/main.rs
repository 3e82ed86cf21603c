//! The command `retold`: inspects any store, acts on followers, amends events, and runs a
//! demonstration on real data.
//!
//! A command opens a store by its URL, for reading only unless it acts on a follower or amends
//! events. It prints
//! tables at a terminal, tab-separated lines into a pipe, and one object per line with `--json`.
//! Each command has a file; they share [`output`], [`opening`] and [`failure`].

#![deny(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "these macros panic if the reader has closed the pipe; write to the output instead"
)]

mod failure;
mod logging;
mod output;
mod table;

mod built_in;
mod event_record;
mod keys;
mod opening;
mod state;

mod amending;
mod demo;
mod events;
mod follower;
mod logs;
mod schema;
mod streams;
mod system;
mod verify;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::{CommandFailure, CommandVerdict};
use output::{Format, Output};

const AFTER_HELP: &str = "\
Stores: a URL names a store, for example sqlite:flights.db, sqlite:/var/lib/flights.db or \
postgres://USER@HOST/DATABASE?schema=NAME. All commands except `demo`, `follower pause`, \
`resume`, `skip`, `partition`, `reset` and `retire`, `system retire`, and `delete`, `reopen`, \
`erase`, `amend`, `forget` and `purge` open it for reading only. Programs can write \
to the store at the same time.

Output: a table at a terminal, lines of tab-separated values in a pipe, and one JSON object per \
line with --json. Times are RFC 3339 in UTC.

Examples:
  retold demo --store sqlite:flights.db
  retold demo --cluster 3 --url postgres://localhost/flights
  retold logs sqlite:flights.db
  retold events sqlite:flights.db flights --tag carrier:UA --limit 10
  retold events sqlite:flights.db flights --topic Flight.Departed --follow
  retold events sqlite:flights.db flights --json | jq .payload
  retold follower list sqlite:flights.db
  retold system status sqlite:flights.db --watch
  retold verify sqlite:flights.db --retell
  retold delete sqlite:shop.db orders Order/17 --reason gdpr --dry-run
  retold forget sqlite:shop.db customer:17 --key-file keys --reason gdpr
  retold schema postgres | psql -v ON_ERROR_STOP=1 flights

Exit codes:
  0  success
  1  the command failed, or `verify` or `demo` found a problem
  2  the command line is invalid";

/// Inspect Retold's stores: logs, streams, events, followers and their health.
#[derive(Debug, Parser)]
#[command(name = "retold", version, after_help = AFTER_HELP, arg_required_else_help = true)]
struct CommandLine {
    #[command(flatten)]
    format: Format,

    #[command(flatten)]
    keys: keys::KeyArguments,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::DemoArguments),
    #[command(hide = true)]
    DemoNode(demo::cluster::node::DemoNodeArguments),
    Logs(logs::LogsArguments),
    Streams(streams::StreamsArguments),
    Events(events::EventsArguments),
    Follower(follower::FollowerArguments),
    Delete(amending::delete::DeleteArguments),
    Reopen(amending::delete::ReopenArguments),
    Erase(amending::erase::EraseArguments),
    Amend(amending::amend::AmendArguments),
    Forget(amending::forget::ForgetArguments),
    Purge(amending::purge::PurgeArguments),
    Verify(verify::VerifyArguments),
    System(system::SystemArguments),
    Schema(schema::SchemaArguments),
}

fn main() -> ExitCode {
    let command_line = CommandLine::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => {
            let done = runtime.block_on(run(command_line));
            // After Ctrl-C a blocking read may still run; do not wait for it.
            runtime.shutdown_background();
            done
        }
        Err(error) => Err(CommandFailure::Failed(format!(
            "cannot start threads: {error}"
        ))),
    };
    match done {
        Ok(CommandVerdict::Fine) | Err(CommandFailure::Closed) => ExitCode::SUCCESS,
        Ok(CommandVerdict::Found) => ExitCode::from(1),
        Err(CommandFailure::Failed(message)) => fail(1, &message),
        Err(CommandFailure::Usage(message)) => fail(2, &message),
    }
}

async fn run(command_line: CommandLine) -> Result<CommandVerdict, CommandFailure> {
    command_line.keys.load()?;
    let mut output = Output::to_stdout(&command_line.format);
    let verdict = match command_line.command {
        Command::Demo(arguments) => {
            logging::start();
            demo::run(arguments, &mut output).await
        }
        Command::DemoNode(arguments) => {
            logging::start();
            demo::cluster::node::run(arguments).await
        }
        Command::Logs(arguments) => logs::run(arguments, &mut output).await,
        Command::Streams(arguments) => streams::run(arguments, &mut output).await,
        Command::Events(arguments) => events::run(arguments, &mut output).await,
        Command::Follower(arguments) => follower::run(arguments, &mut output).await,
        Command::Delete(arguments) => amending::delete::delete(arguments, &mut output).await,
        Command::Reopen(arguments) => amending::delete::reopen(arguments, &mut output).await,
        Command::Erase(arguments) => amending::erase::run(arguments, &mut output).await,
        Command::Amend(arguments) => amending::amend::run(arguments, &mut output).await,
        Command::Forget(arguments) => amending::forget::run(arguments, &mut output).await,
        Command::Purge(arguments) => amending::purge::run(arguments, &mut output).await,
        Command::Schema(arguments) => schema::run(&arguments, &mut output),
        Command::System(arguments) => system::run(arguments, &mut output).await,
        Command::Verify(arguments) => verify::run(arguments, &mut output).await,
    };
    // Records that were read before a failure are shown too.
    output.finish()?;
    verdict
}

fn fail(code: u8, message: &str) -> ExitCode {
    // There is no other place to report that this write fails.
    let _ = writeln!(io::stderr(), "retold: {message}");
    ExitCode::from(code)
}
