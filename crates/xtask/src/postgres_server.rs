//! A private PostgreSQL server for tests and trials: in a temporary folder, from the installed
//! programs, on a free port of loopback, with `fsync` on. It ends with its owner, even if the owner
//! is killed. It also accepts hosts that a test creates inside this machine, if they are named.
//!
//! PostgreSQL refuses to run as root; in that case it runs as the user `postgres`.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Longest wait until the server accepts connections. It takes 50 ms on an idle machine.
const START_WAIT_MAX: Duration = Duration::from_secs(60);

/// Interval of the checks in the meantime.
const START_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Attempts to find a port that no other process takes before the server does.
const PORT_ATTEMPTS: u32 = 5;

/// Connections that all tests on a machine may open at the same time.
const CONNECTIONS_MAX: u32 = 400;

/// Folders in which distributions install the programs, one per version.
const PROGRAM_FOLDERS: [&str; 3] = [
    "/usr/lib/postgresql",
    "/usr/local/lib/postgresql",
    "/opt/homebrew/opt",
];

/// The script of the reaper: it waits for the end of its input, which comes with the end of the
/// owner, then stops the server and removes its folder.
const REAPER: &str = "cat >/dev/null; \"$1\" stop -m immediate -s -D \"$2/data\"; rm -rf \"$2\"";

/// A server that runs as long as this value and its process.
pub struct PostgresServer {
    folder: PathBuf,
    programs: PathBuf,
    account: Option<Account>,
    private: Option<PrivateNetwork>,
    port: u16,
    settings: Vec<(String, String)>,
    reaper: Child,
    /// Closed with this process.
    life: Option<ChildStdin>,
}

/// Builds a server with other settings than the default.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    settings: Vec<(String, String)>,
    files: Vec<(String, Vec<u8>)>,
    private: Option<PrivateNetwork>,
}

impl Setup {
    /// Returns the default settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a setting of PostgreSQL.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a file of this name to the server's folder, readable only by the server.
    #[must_use]
    pub fn file(mut self, name: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((name.to_owned(), content.into()));
        self
    }

    /// Accepts the hosts of a network inside this machine too.
    #[must_use]
    pub fn private(mut self, network: PrivateNetwork) -> Self {
        self.private = Some(network);
        self
    }

    /// Creates and starts the server.
    ///
    /// # Errors
    ///
    /// A message that says what failed and what to do; nothing is left behind.
    pub fn start(&self) -> Result<PostgresServer, String> {
        let mut server = PostgresServer::empty(self.settings.clone(), self.private.clone())?;
        server.make_cluster()?;
        for (name, content) in &self.files {
            server.write(name, content)?;
        }
        server.launch_somewhere()?;
        Ok(server)
    }
}

/// A network inside this machine, whose hosts may connect like the machine itself.
#[derive(Clone, Debug)]
pub struct PrivateNetwork {
    /// The machine's address in the network, on which the server listens in addition to loopback.
    pub address: Ipv4Addr,
    /// Number of leading bits that all hosts have in common.
    pub prefix_bits: u8,
}

/// The account that the server runs as.
#[derive(Clone, Copy, Debug)]
struct Account {
    uid: u32,
    gid: u32,
}

/// The URL of a new, empty database on a server of this process, which is started with the first
/// and ends with the process: one server for all tests of a binary, one database for each.
///
/// # Panics
///
/// If there can be no server, with a message that says what to do.
pub fn database() -> String {
    static SERVER: LazyLock<Result<PostgresServer, String>> = LazyLock::new(PostgresServer::start);
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let server = SERVER.as_ref().map_err(Clone::clone);
    let made = server.and_then(|server| server.create_database(&format!("test_{number}")));
    made.unwrap_or_else(|error| panic!("{error}"))
}

impl PostgresServer {
    /// Creates and starts a server.
    ///
    /// # Errors
    ///
    /// A message that says what failed and what to do; nothing is left behind.
    pub fn start() -> Result<Self, String> {
        Setup::new().start()
    }

    /// A folder without a cluster.
    fn empty(
        settings: Vec<(String, String)>,
        private: Option<PrivateNetwork>,
    ) -> Result<Self, String> {
        let programs = programs()?;
        let account = account()?;
        let folder = make_folder(account)?;
        let reaper = start_reaper(&programs, &folder, account);
        let (reaper, life) = reaper.inspect_err(|_| drop(fs::remove_dir_all(&folder)))?;
        Ok(Self {
            folder,
            programs,
            account,
            private,
            port: 0,
            settings,
            reaper,
            life: Some(life),
        })
    }

    /// Starts the server on a free port.
    fn launch_somewhere(&mut self) -> Result<(), String> {
        let mut last = String::new();
        for _ in 0..PORT_ATTEMPTS {
            self.port = free_port()?;
            match self.launch() {
                Ok(()) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Writes a file of this name into the server's folder, readable only by the server.
    fn write(&self, name: &str, content: &[u8]) -> Result<(), String> {
        let path = self.folder.join("data").join(name);
        let failed = |error| format!("the file {}: {error}", path.display());
        fs::write(&path, content).map_err(failed)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        give_to(&path, self.account)
    }

    /// Creates and starts a standby that replicates from this server.
    ///
    /// # Errors
    ///
    /// A message that says what failed; nothing is left behind.
    pub fn standby(&self) -> Result<Self, String> {
        let mut standby = Self::empty(self.settings.clone(), None)?;
        let mut copy = self.command("pg_basebackup");
        copy.args([
            "-h",
            "127.0.0.1",
            "-U",
            "retold",
            "-X",
            "stream",
            "-c",
            "fast",
        ])
        .args(["--write-recovery-conf", "--no-sync", "-p"])
        .arg(self.port.to_string())
        .arg("-D")
        .arg(standby.folder.join("data"));
        run(copy, "copying a PostgreSQL server")?;
        standby.launch_somewhere()?;
        Ok(standby)
    }

    /// Promotes a standby, and waits until it accepts writes.
    ///
    /// # Errors
    ///
    /// A message that says what failed.
    pub fn promote(&self) -> Result<(), String> {
        let mut promote = self.command("pg_ctl");
        promote
            .args(["promote", "-w", "-s", "-D"])
            .arg(self.folder.join("data"));
        run(promote, "promoting a standby")
    }

    /// Returns the folder of the server and of everything that serves it, which is removed with it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the path of a program that is installed with the server, such as `psql`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// Returns a command that runs as the account of the server.
    pub fn command_as_owner(&self, program: &Path) -> Command {
        command(program, self.account)
    }

    /// Makes the account of the server the owner of a file or folder.
    ///
    /// # Errors
    ///
    /// A message that says what failed.
    pub fn give(&self, path: &Path) -> Result<(), String> {
        give_to(path, self.account)
    }

    /// The URL of a database of this name, for its owner, who may do everything.
    pub fn url(&self, database: &str) -> String {
        let port = self.port;
        format!("postgres://retold@127.0.0.1:{port}/{database}?sslmode=disable")
    }

    /// Makes an empty database of this name, which is a word, and gives its URL.
    ///
    /// # Errors
    ///
    /// A message that says what failed.
    pub fn create_database(&self, name: &str) -> Result<String, String> {
        let mut create = self.command("createdb");
        create.args(["-h", "127.0.0.1", "-U", "retold", "-p"]);
        create.arg(self.port.to_string()).arg(name);
        run(create, "making a database")?;
        Ok(self.url(name))
    }

    /// Its port, on loopback and in the private network.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops the server as a crash would, without writing anything, and starts it again.
    ///
    /// # Errors
    ///
    /// A message that says what failed.
    pub fn crash_and_restart(&self) -> Result<(), String> {
        self.crash()?;
        self.launch()
    }

    /// Stops the server as a crash would.
    ///
    /// # Errors
    ///
    /// A message that says what failed.
    pub fn crash(&self) -> Result<(), String> {
        let data = self.folder.join("data");
        let mut stop = self.command("pg_ctl");
        stop.args(["stop", "-m", "immediate", "-s", "-D"]).arg(data);
        run(stop, "stopping the PostgreSQL server")
    }

    /// Stops the server as a crash would, and keeps its folder for an investigation:
    /// `postgres -D FOLDER/data` starts it again.
    ///
    /// # Errors
    ///
    /// A text that says what went wrong; the folder is removed then.
    pub fn keep(mut self) -> Result<PathBuf, String> {
        self.crash()?;
        let killed = self.reaper.kill();
        killed.map_err(|error| format!("the reaper cannot be ended: {error}"))?;
        Ok(self.folder.clone())
    }

    fn command(&self, program: &str) -> Command {
        command(&self.programs.join(program), self.account)
    }

    fn make_cluster(&self) -> Result<(), String> {
        let mut initdb = self.command("initdb");
        initdb.args(["--username=retold", "--auth=trust", "--encoding=UTF8"]);
        initdb
            .args(["--no-locale", "--no-sync", "-D"])
            .arg(self.folder.join("data"));
        run(initdb, "making a PostgreSQL cluster")?;
        match &self.private {
            Some(private) => self.let_in(private),
            None => Ok(()),
        }
    }

    fn let_in(&self, private: &PrivateNetwork) -> Result<(), String> {
        let path = self.folder.join("data/pg_hba.conf");
        let PrivateNetwork {
            address,
            prefix_bits,
        } = private;
        let line = format!("host all all {address}/{prefix_bits} trust\n");
        let file = fs::OpenOptions::new().append(true).open(path);
        file.and_then(|mut file| file.write_all(line.as_bytes()))
            .map_err(|error| format!("letting in the hosts of {address}/{prefix_bits}: {error}"))
    }

    /// Starts the server on the port and waits until it takes connections.
    ///
    /// # Errors
    ///
    /// What its log says.
    pub fn launch(&self) -> Result<(), String> {
        let log = fs::File::create(self.folder.join("log"));
        let log = log.map_err(|error| format!("a file for the server's log: {error}"))?;
        let mut addresses = Ipv4Addr::LOCALHOST.to_string();
        if let Some(private) = &self.private {
            addresses = format!("{addresses},{}", private.address);
        }
        let mut postgres = self.command("postgres");
        postgres
            .arg("-D")
            .arg(self.folder.join("data"))
            .arg("-c")
            .arg(format!("listen_addresses={addresses}"))
            .arg("-c")
            .arg(format!("port={}", self.port))
            .args(["-c", "unix_socket_directories=", "-c", "fsync=on", "-c"])
            .arg(format!("max_connections={CONNECTIONS_MAX}"));
        for (name, value) in &self.settings {
            // Of several values of a setting the last holds.
            postgres.arg("-c").arg(format!("{name}={value}"));
        }
        postgres
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let server = postgres.spawn();
        let mut server = server.map_err(|error| format!("the server does not start: {error}"))?;
        let begun = Instant::now();
        while begun.elapsed() < START_WAIT_MAX {
            if let Ok(Some(status)) = server.try_wait() {
                return Err(format!("the server ended ({status}): {}", self.log()));
            }
            if takes_connections(self.port) {
                // It is waited for by a thread of its own, so that it leaves no zombie.
                std::thread::spawn(move || server.wait());
                return Ok(());
            }
            std::thread::sleep(START_POLL_INTERVAL);
        }
        Err(format!("the server takes no connections: {}", self.log()))
    }

    /// What the server wrote to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        drop(self.life.take());
        // Whether it went well or not, nothing more can be done here.
        let _ = self.reaper.wait();
    }
}

/// The folder of the newest installed server's programs.
fn programs() -> Result<PathBuf, String> {
    if let Some(folder) = std::env::var_os("RETOLD_POSTGRES_BIN") {
        return Ok(folder.into());
    }
    if let Some(found) = installed() {
        return Ok(found);
    }
    eprintln!("PostgreSQL is missing and is installed now, for the tests of its store");
    install("postgresql");
    installed().ok_or_else(|| {
        "no PostgreSQL server is installed. On Debian or Ubuntu type: \
         apt-get install --no-install-recommends postgresql; on macOS: brew install postgresql@17; \
         elsewhere install it and set RETOLD_POSTGRES_BIN to the folder that has the program \
         postgres"
            .to_owned()
    })
}

/// Installs a package where one command does it: on Debian and its relatives, as root. If it fails,
/// the package is still missing, and its user reports that.
pub(crate) fn install(package: &str) {
    let is_possible = Path::new("/usr/bin/apt-get").exists() && matches!(account(), Ok(Some(_)));
    if !is_possible {
        return;
    }
    for arguments in [
        &["update"][..],
        &["install", "--yes", "--no-install-recommends", package],
    ] {
        let mut command = Command::new("apt-get");
        command
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        if !command.status().is_ok_and(|status| status.success()) {
            eprintln!("apt-get {} failed", arguments.join(" "));
        }
    }
}

/// The folder with the programs of the newest version that is installed.
fn installed() -> Option<PathBuf> {
    let mut found = Vec::new();
    for entry in PROGRAM_FOLDERS
        .iter()
        .filter_map(|it| fs::read_dir(it).ok())
        .flatten()
    {
        let Ok(entry) = entry else { continue };
        let folder = entry.path().join("bin");
        let name = entry.file_name().to_string_lossy().into_owned();
        let version = name.trim_start_matches("postgresql@").parse::<u32>();
        if let (true, Ok(version)) = (folder.join("postgres").exists(), version) {
            found.push((version, folder));
        }
    }
    found.sort();
    found.pop().map(|(_, folder)| folder)
}

/// Whom the server is to run for: nobody else, unless this is root.
fn account() -> Result<Option<Account>, String> {
    let is_root = fs::metadata("/proc/self").map(|it| std::os::unix::fs::MetadataExt::uid(&it));
    let mut id = Command::new("id");
    let uid = match is_root {
        Ok(uid) => uid,
        Err(_) => {
            let output = id
                .arg("-u")
                .output()
                .map_err(|error| format!("id -u: {error}"))?;
            String::from_utf8_lossy(&output.stdout)
                .trim()
                .parse()
                .unwrap_or(1)
        }
    };
    if uid != 0 {
        return Ok(None);
    }
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = ["postgres", "nobody"]
        .iter()
        .find_map(|name| account_of(&accounts, name));
    found.map(Some).ok_or_else(|| {
        "PostgreSQL refuses to run for root, and there is neither a user postgres nor nobody"
            .to_owned()
    })
}

/// The account of this name in the text of `/etc/passwd`.
fn account_of(accounts: &str, name: &str) -> Option<Account> {
    let line = accounts
        .lines()
        .find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some(Account {
        uid: fields.next()?.parse().ok()?,
        gid: fields.next()?.parse().ok()?,
    })
}

fn make_folder(account: Option<Account>) -> Result<PathBuf, String> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("retold-postgres-{}-{number}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    let failed = |error| format!("the folder {}: {error}", folder.display());
    fs::create_dir(&folder).map_err(failed)?;
    give_to(&folder, account)?;
    Ok(folder)
}

fn give_to(path: &Path, account: Option<Account>) -> Result<(), String> {
    let Some(account) = account else {
        return Ok(());
    };
    chown(path, Some(account.uid), Some(account.gid))
        .map_err(|error| format!("giving {} to its owner: {error}", path.display()))
}

/// A command that runs for the account, in a process group of its own: a key that interrupts the
/// owner does not reach it.
fn command(program: &Path, account: Option<Account>) -> Command {
    let mut command = Command::new(program);
    command
        .process_group(0)
        .current_dir(std::env::temp_dir())
        .env("LC_ALL", "C");
    if let Some(account) = account {
        command.uid(account.uid).gid(account.gid);
    }
    command
}

fn start_reaper(
    programs: &Path,
    folder: &Path,
    account: Option<Account>,
) -> Result<(Child, ChildStdin), String> {
    let mut reaper = command(Path::new("/bin/sh"), account);
    reaper
        .args(["-c", REAPER, "reaper"])
        .arg(programs.join("pg_ctl"))
        .arg(folder);
    reaper
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let spawned = reaper.spawn();
    let mut reaper = spawned.map_err(|error| format!("the reaper does not start: {error}"))?;
    let life = reaper.stdin.take().ok_or("the reaper has no input")?;
    Ok((reaper, life))
}

fn run(mut command: Command, what: &str) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{what}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{what} failed ({}): {said}", output.status))
}

pub(crate) fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let address = listener.and_then(|listener| listener.local_addr());
    address
        .map(|it| it.port())
        .map_err(|error| format!("no port is free: {error}"))
}

/// Whether the server answers a client, even with a refusal, but not that it is starting.
fn takes_connections(port: u16) -> bool {
    /// Protocol 3.0, user `retold`, database `postgres`; before it its length.
    const GREETING: &[u8] =
        b"\x00\x00\x00\x27\x00\x03\x00\x00user\x00retold\x00database\x00postgres\x00\x00";
    /// What a server says that is not ready yet.
    const STARTING: &[u8] = b"C57P03\0";
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else {
        return false;
    };
    let mut answer = [0; 512];
    let asked = stream
        .write_all(GREETING)
        .and_then(|()| stream.read(&mut answer));
    match asked {
        Ok(count @ 1..) if answer[0] == b'E' => !answer[..count]
            .windows(STARTING.len())
            .any(|it| it == STARTING),
        Ok(_) => answer[0] == b'R',
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let accounts =
            "root:x:0:0::/root:/bin/sh\npostgresql:x:7:7::/:\npostgres:x:101:104:P,,,:/v:/b\n";
        let found = account_of(accounts, "postgres").expect("it is there");
        assert_eq!((found.uid, found.gid), (101, 104));
        assert!(account_of(accounts, "nobody").is_none());
    }
}
