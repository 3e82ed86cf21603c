//! `cargo xtask services`: a private PostgreSQL server for trials by hand.

use std::io::Read;
use std::process::ExitCode;

use xtask::postgres_server::PostgresServer;

/// Starts the server, prints its URL, and stops it when the input ends. The server also stops when
/// this process ends in any way.
pub(crate) fn run() -> ExitCode {
    let server = match PostgresServer::start() {
        Ok(server) => server,
        Err(error) => {
            eprintln!("xtask: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("{}", server.url("postgres"));
    eprintln!("A PostgreSQL server runs there until Ctrl-D or Ctrl-C; nothing of it is kept.");
    // The input has no meaning; only its end counts.
    let mut input = [0; 64];
    while std::io::stdin()
        .read(&mut input)
        .is_ok_and(|count| count > 0)
    {}
    ExitCode::SUCCESS
}
