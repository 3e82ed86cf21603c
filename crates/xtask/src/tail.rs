//! `cargo xtask tail`: processes that write to one log while others follow it, in a release build.

use std::process::ExitCode;

use super::step::{Failure, Step};
use xtask::postgres_server::PostgresServer;

/// Runs the workload, on a private server unless the arguments name a store.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let run = [
        "run",
        "--release",
        "--package",
        "retold-bench",
        "--",
        "tail",
    ];
    let step = Step::cargo("tail", &run).arguments(arguments);
    let says_where = |it: &String| it == "-h" || it == "--help" || it.starts_with("--url");
    if arguments.iter().any(says_where) {
        return exit_code(step.run());
    }
    match PostgresServer::start() {
        Ok(server) => {
            let url = ["--url".to_owned(), server.url("postgres")];
            exit_code(step.arguments(&url).run())
        }
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn exit_code(done: Result<(), Failure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}
