//! A private PgBouncer in front of a private PostgreSQL server, for tests: from the installed
//! package, on a free port of loopback, and ended with its owner.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::time::{Duration, Instant};

use crate::postgres_server::{PostgresServer, free_port, install};

/// Longest wait until it accepts connections.
const START_WAIT_MAX: Duration = Duration::from_secs(30);

/// Interval of the checks in the meantime.
const START_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Paths at which distributions install the program.
const PROGRAMS: [&str; 3] = [
    "/usr/sbin/pgbouncer",
    "/usr/bin/pgbouncer",
    "/opt/homebrew/bin/pgbouncer",
];

/// Runs the program until the input ends, which happens when the owner ends.
const RUNNER: &str = "\"$1\" -q \"$2\" & cat >/dev/null; kill -INT $!; wait $!";

/// A pool that runs as long as this value and its process.
pub struct PgBouncer {
    port: u16,
    runner: Child,
    /// Closed with this process.
    life: Option<ChildStdin>,
}

impl PgBouncer {
    /// Starts one before a server, in a mode (`transaction`, `session`), with further lines of
    /// configuration. None where it is not installed and cannot be.
    ///
    /// # Errors
    ///
    /// A message that says what failed.
    pub fn before(
        server: &PostgresServer,
        mode: &str,
        settings: &str,
    ) -> Result<Option<Self>, String> {
        let Some(program) = program() else {
            return Ok(None);
        };
        let port = free_port()?;
        let file = server.folder().join(format!("pgbouncer-{port}.ini"));
        let users = server.folder().join(format!("pgbouncer-{port}.users"));
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {}\n\
             pool_mode = {mode}\n{settings}\n",
            server.port(),
            users.display()
        );
        for (path, content) in [(&file, &*text), (&users, "\"retold\" \"\"\n")] {
            fs::write(path, content).map_err(|error| format!("{}: {error}", path.display()))?;
            server.give(path)?;
        }
        let mut runner = server.command_as_owner(Path::new("/bin/sh"));
        runner.args(["-c", RUNNER, "runner"]).arg(program).arg(file);
        runner
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let runner = runner.spawn();
        let mut runner = runner.map_err(|error| format!("PgBouncer does not start: {error}"))?;
        let life = runner.stdin.take();
        let pool = Self { port, runner, life };
        let begun = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if begun.elapsed() > START_WAIT_MAX {
                return Err("PgBouncer takes no connections".into());
            }
            std::thread::sleep(START_POLL_INTERVAL);
        }
        Ok(Some(pool))
    }

    /// Returns the URL of a database of this name through the pool.
    pub fn url(&self, database: &str) -> String {
        let port = self.port;
        format!("postgres://retold@127.0.0.1:{port}/{database}?sslmode=disable")
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        drop(self.life.take());
        // Nothing more can be done here if it failed.
        let _ = self.runner.wait();
    }
}

fn program() -> Option<PathBuf> {
    let find = || PROGRAMS.iter().map(PathBuf::from).find(|it| it.exists());
    find().or_else(|| {
        eprintln!("PgBouncer is missing and is installed now, for a test of the PostgreSQL store");
        install("pgbouncer");
        find()
    })
}
