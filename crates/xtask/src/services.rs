//! `cargo xtask services`: a private PostgreSQL server for trials by hand.

use std::io::Read;
use std::process::ExitCode;

use xtask::postgres_server::PostgresServer;

/// Starts the server, says where it is, and stops it when the input ends. When this process is
/// ended, however that is, the server is stopped too.
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
    // What is typed means nothing; its end does.
    let mut input = [0; 64];
    while std::io::stdin()
        .read(&mut input)
        .is_ok_and(|count| count > 0)
    {}
    ExitCode::SUCCESS
}
