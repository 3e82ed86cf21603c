//! `cargo xtask tail`: processes that write to one log while others follow it, optimised.

use std::process::ExitCode;

use super::step::{Failure, Step};
use xtask::postgres_server::PostgresServer;

/// Runs it; on a private server, unless the arguments say where.
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
        return told(step.run());
    }
    match PostgresServer::start() {
        Ok(server) => {
            let url = ["--url".to_owned(), server.url("postgres")];
            told(step.arguments(&url).run())
        }
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn told(done: Result<(), Failure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}
