//! `cargo xtask soak --minutes N`: systems in several processes, disturbed until the time is up.
//!
//! A round runs `retold demo --cluster`, either on a PostgreSQL server that crashes now and then or
//! on a SQLite file, or runs the Paxos example's test on a cluster, or the tests of SQLite that
//! kill processes while they erase and purge and that flip bits of files. Each round prints its
//! seed. The rounds themselves kill and suspend processes. A file in the folder holds the output of
//! a round. The first round that fails ends the soak, and the folder is kept.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use xtask::postgres_server::PostgresServer;

use crate::step::workspace_root;

/// Shortest and longest time between two crashes of the server during a round.
const CRASH_INTERVAL_SECONDS: std::ops::Range<u64> = 8..25;

/// Interval at which a round is checked.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// A round that takes longer than this hangs; it is many times the usual duration.
const ROUND_MAX: Duration = Duration::from_secs(30 * 60);

/// The line that `retold demo --cluster` prints when it only reads: a reader is not disturbed.
const PROCESSED: &str = "all commands are done and everything is processed";

/// Kinds of rounds, in the order in which they run.
const KINDS: [SoakKind; 4] = [
    SoakKind::Postgres,
    SoakKind::Paxos,
    SoakKind::Sqlite,
    SoakKind::SqliteFaults,
];

/// Files of a round whose bits are flipped.
const DAMAGED_FILES: &str = "1000";

/// Flights of a round on SQLite, which has one writer at a time and is slower.
const FLIGHTS_ON_SQLITE: &str = "6000";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SoakKind {
    Postgres,
    Sqlite,
    SqliteFaults,
    Paxos,
}

/// State shared by the rounds.
struct Soak {
    folder: PathBuf,
    /// Copies of the programs, so that a change of the sources does not affect later rounds.
    demo: PathBuf,
    paxos: PathBuf,
    sqlite_tests: PathBuf,
    server: PostgresServer,
    state: u64,
    crashes: u64,
}

/// Runs rounds for this number of minutes, and ends the last one.
pub(crate) fn run(minutes: &str) -> ExitCode {
    let Some(minutes) = minutes.parse::<u64>().ok().filter(|it| *it > 0) else {
        eprintln!("xtask: --minutes takes a whole number from 1, not {minutes:?}");
        return ExitCode::from(2);
    };
    match soak(Duration::from_secs(minutes.saturating_mul(60))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn soak(time: Duration) -> Result<(), String> {
    let demo = built(&["build", "--release", "--package", "retold-cli"], "retold")?;
    let paxos = built(&["test", "--no-run", "--package", "retold-paxos"], "it")?;
    let sqlite = ["test", "--no-run", "--package", "retold-sqlite"];
    let sqlite = built(&sqlite, "it")?;
    let name = format!("retold-soak-{}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let mut soak = Soak {
        server: PostgresServer::start()?,
        demo: kept_program(&demo, &folder)?,
        paxos: kept_program(&paxos, &folder)?,
        sqlite_tests: kept_program(&sqlite, &folder)?,
        state: now.map_or(0, |it| it.as_nanos() as u64),
        crashes: 0,
        folder,
    };
    let begun = Instant::now();
    let mut rounds = 0;
    while begun.elapsed() < time {
        rounds += 1;
        let kind = KINDS[rounds % KINDS.len()];
        let seed = soak.random() % 1_000_000_000;
        let from = Instant::now();
        println!("round {rounds}: {kind:?}, seed {seed}");
        if let Err(error) = soak.round(rounds, kind, seed) {
            return Err(soak.keep(&format!("round {rounds} ({kind:?}, seed {seed}): {error}")));
        }
        println!("  no difference, {:.0} s", from.elapsed().as_secs_f64());
    }
    println!(
        "{rounds} rounds in {:.0} minutes, {} crashes of the server: 0 differences",
        begun.elapsed().as_secs_f64() / 60.0,
        soak.crashes
    );
    fs::remove_dir_all(&soak.folder).map_err(|error| error.to_string())
}

impl Soak {
    /// The next random number: splitmix64 (Steele, Lea, Flood, 2014).
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut it = self.state;
        it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        it ^ (it >> 31)
    }

    fn round(&mut self, number: usize, kind: SoakKind, seed: u64) -> Result<(), String> {
        let log = self.folder.join(format!("round-{number}.log"));
        let mut command = match kind {
            SoakKind::Postgres => {
                let url = format!("{}&schema=round_{number}", self.server.url("postgres"));
                self.demo(&url, seed)
            }
            SoakKind::Sqlite => {
                let file = self.folder.join(format!("round-{number}.db"));
                let mut command = self.demo(&format!("sqlite:{}", file.display()), seed);
                command.args(["--flights-max", FLIGHTS_ON_SQLITE]);
                command
            }
            SoakKind::SqliteFaults => self.sqlite_faults(),
            SoakKind::Paxos => self.paxos(seed),
        };
        let output = File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        let asides = output.try_clone().map_err(|error| error.to_string())?;
        command.stdin(Stdio::null()).stdout(output).stderr(asides);
        let child = command.spawn().map_err(|error| error.to_string())?;
        self.watch(child, kind, &log)
    }

    /// Waits for a round to end, and crashes the server in the meantime.
    fn watch(&mut self, child: Child, kind: SoakKind, log: &Path) -> Result<(), String> {
        let mut round = Round(child);
        let begun = Instant::now();
        let mut crash_at = begun + self.pause();
        loop {
            if let Some(status) = round.0.try_wait().map_err(|error| error.to_string())? {
                return match status.success() {
                    true => Ok(()),
                    false => Err(format!("{status}; see {}", log.display())),
                };
            }
            if begun.elapsed() > ROUND_MAX {
                return Err(format!("it hangs; see {}", log.display()));
            }
            if kind == SoakKind::Postgres && Instant::now() >= crash_at {
                if !fs::read_to_string(log).is_ok_and(|it| it.contains(PROCESSED)) {
                    self.server.crash_and_restart()?;
                    self.crashes += 1;
                }
                crash_at = Instant::now() + self.pause();
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    fn pause(&mut self) -> Duration {
        let range = CRASH_INTERVAL_SECONDS;
        Duration::from_secs(range.start + self.random() % (range.end - range.start))
    }

    fn demo(&self, url: &str, seed: u64) -> Command {
        let mut command = Command::new(&self.demo);
        command.args(["demo", "--cluster", "3", "--url", url, "--kill-every", "3"]);
        command.args(["--freeze-every", "7", "--seed", &seed.to_string()]);
        command
    }

    fn paxos(&self, seed: u64) -> Command {
        let mut command = Command::new(&self.paxos);
        command
            .arg("cluster::")
            .env("RETOLD_SEED", seed.to_string())
            .current_dir(&self.folder);
        command
    }

    /// The tests choose and print their own seeds.
    fn sqlite_faults(&self) -> Command {
        let mut command = Command::new(&self.sqlite_tests);
        command
            .args([
                "damage::",
                "deleting::",
                "processes::",
                "amending::",
                "purging::",
            ])
            .arg("--nocapture")
            .env("RETOLD_ROUNDS", DAMAGED_FILES)
            .current_dir(&self.folder);
        command
    }

    /// Prints where everything is.
    fn keep(self, error: &str) -> String {
        let folder = self.folder.display().to_string();
        match self.server.keep() {
            Ok(server) => format!(
                "{error}\nkept: {folder}, and the server's {}",
                server.display()
            ),
            Err(failure) => format!("{error}\nkept: {folder}; the server is not: {failure}"),
        }
    }
}

/// A running round, which ends when this value is dropped.
struct Round(Child);

impl Drop for Round {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Builds a program and returns its path.
fn built(arguments: &[&str], target: &str) -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build
        .args(arguments)
        .arg("--message-format=json-render-diagnostics")
        .current_dir(workspace_root())
        .stderr(Stdio::inherit());
    let output = build.output().map_err(|error| format!("cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo {} failed", arguments.join(" ")));
    }
    let name = format!("\"name\":\"{target}\"");
    let messages = String::from_utf8_lossy(&output.stdout);
    let executable = messages.lines().filter(|line| line.contains(&name));
    let mut executable = executable.filter_map(|line| {
        let (_, rest) = line.split_once("\"executable\":\"")?;
        rest.split_once('"').map(|(path, _)| PathBuf::from(path))
    });
    let last = executable.next_back();
    last.ok_or_else(|| format!("cargo {} built no {target}", arguments.join(" ")))
}

/// A copy of a program in the folder, under its own name.
fn kept_program(program: &Path, folder: &Path) -> Result<PathBuf, String> {
    let name = program.file_name().unwrap_or_default();
    let copy = folder.join(name);
    fs::copy(program, &copy).map_err(|error| format!("{}: {error}", program.display()))?;
    Ok(copy)
}
