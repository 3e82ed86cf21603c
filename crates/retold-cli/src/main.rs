//! The command `retold`: a look into any store, and a demonstration on real data.
//!
//! Commands open a store by its URL, for reading only unless they act on a follower, and print tables for people at a terminal,
//! tab-separated lines into a pipe, or with `--json` one object per line for programs. One file per
//! command; what they share is [`output`], [`opening`] and [`failure`].

#![deny(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "they panic when nobody reads on; write to the output and let errors come back"
)]

mod failure;
mod output;
mod table;
mod told;

mod built_in;
mod event_record;
mod opening;

mod demo;
mod events;
mod follower;
mod followers;
mod logs;
mod schema;
mod streams;
mod system;
mod verify;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::{Failure, Verdict};
use output::Output;

const AFTER_HELP: &str = "\
A store is named by its URL: sqlite:PATH, as in sqlite:flights.db or sqlite:/var/lib/flights.db, or
postgres://USER@HOST/DATABASE?schema=NAME.
All commands but `demo` and `follower` open it for reading only, also while programs write to it.

At a terminal the output is a table that fits it; into a pipe go lines of tab-separated values, and
with --json one JSON object per line. Times are RFC 3339, in UTC.

Examples:
  retold demo --store sqlite:flights.db
  retold demo --cluster 3 --url postgres://localhost/flights
  retold logs sqlite:flights.db
  retold events sqlite:flights.db flights --tag carrier:UA --limit 10
  retold events sqlite:flights.db flights --topic Flight.Departed --follow
  retold events sqlite:flights.db flights --json | jq .payload
  retold followers sqlite:flights.db
  retold follower pause sqlite:flights.db aircraft movements --reason maintenance
  retold system status sqlite:flights.db --watch
  retold verify sqlite:flights.db
  retold verify sqlite:flights.db --retell
  retold schema postgres | psql -v ON_ERROR_STOP=1 flights

Exit codes:
  0  fine
  1  it failed, or `verify` found something; the error output says what
  2  the command line was not understood";

/// A look into Retold's stores: logs, streams, events, followers, and whether all is well.
#[derive(Debug, Parser)]
#[command(name = "retold", version, after_help = AFTER_HELP, arg_required_else_help = true)]
struct CommandLine {
    /// Prints one JSON object per line, for programs.
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Arguments),
    #[command(hide = true)]
    DemoNode(demo::cluster::node::Arguments),
    Logs(logs::Arguments),
    Streams(streams::Arguments),
    Events(events::Arguments),
    Followers(followers::Arguments),
    Follower(follower::Arguments),
    Verify(verify::Arguments),
    System(system::Arguments),
    Schema(schema::Arguments),
}

fn main() -> ExitCode {
    let command_line = CommandLine::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => {
            let done = runtime.block_on(run(command_line));
            // Nobody waits for reads that Ctrl-C has made needless.
            runtime.shutdown_background();
            done
        }
        Err(error) => Err(Failure::Failed(format!(
            "no threads can be started: {error}"
        ))),
    };
    match done {
        Ok(Verdict::Fine) | Err(Failure::Closed) => ExitCode::SUCCESS,
        Ok(Verdict::Found) => ExitCode::from(1),
        Err(Failure::Failed(message)) => fail(1, &message),
        Err(Failure::Usage(message)) => fail(2, &message),
    }
}

async fn run(command_line: CommandLine) -> Result<Verdict, Failure> {
    let mut output = Output::to_stdout(command_line.json);
    let verdict = match command_line.command {
        Command::Demo(arguments) => {
            told::show();
            demo::run(arguments, &mut output).await
        }
        Command::DemoNode(arguments) => {
            told::show();
            demo::cluster::node::run(arguments).await
        }
        Command::Logs(arguments) => logs::run(arguments, &mut output).await,
        Command::Streams(arguments) => streams::run(arguments, &mut output).await,
        Command::Events(arguments) => events::run(arguments, &mut output).await,
        Command::Followers(arguments) => followers::run(arguments, &mut output).await,
        Command::Follower(arguments) => follower::run(arguments, &mut output).await,
        Command::Schema(arguments) => schema::run(&arguments, &mut output),
        Command::System(arguments) => system::run(arguments, &mut output).await,
        Command::Verify(arguments) => verify::run(arguments, &mut output).await,
    };
    // What was read before something failed is shown too.
    output.finish()?;
    verdict
}

fn fail(code: u8, message: &str) -> ExitCode {
    // Nobody is there to be told that even this cannot be written.
    let _ = writeln!(io::stderr(), "retold: {message}");
    ExitCode::from(code)
}
