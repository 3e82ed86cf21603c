//! Who may read the files of a store, and how a user without write permission for the folder reads
//! a store.

#![cfg(unix)]

use std::env;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use retold_core::recording::{Append, LogRead, RecordError, Store};
use retold_sqlite::{SqliteOptions, SqliteStore, SqliteViews};

use crate::place::{Place, event, log};

/// Passes the path of its folder to a child; absent in the parent.
const FOLDER: &str = "RETOLD_SQLITE_RIGHTS_OF";
/// Passes to a child the rights for creating its files, and the rights that they must have.
const MODES: &str = "RETOLD_SQLITE_MODES";
/// How long a test waits until a program can be started.
const START_WAIT_MAX: Duration = Duration::from_secs(60);
/// An unprivileged user id, for tests in which root would not be refused.
const UNPRIVILEGED: u32 = 65_534;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// The child: creates files under the umask with which it was started.
#[tokio::test]
async fn child_that_makes_files() {
    let (Ok(folder), Ok(modes)) = (env::var(FOLDER), env::var(MODES)) else {
        return;
    };
    let folder = PathBuf::from(folder);
    let (asked, expected) = modes.split_once(' ').unwrap();
    let expected = u32::from_str_radix(expected, 8).unwrap();
    let mut options = SqliteOptions::new();
    let store_path = folder.join("dogs.db");
    let views_path = folder.join("views.db");
    let _views = match asked {
        "default" => SqliteViews::open(&views_path),
        asked => {
            let mode = u32::from_str_radix(asked, 8).unwrap();
            options = options.file_mode(mode);
            SqliteViews::open_with_mode(&views_path, mode)
        }
    };
    let store = SqliteStore::open_with(&store_path, &options).unwrap();
    let recorder = log(&store, "dogs").await;
    recorder.append(Append::of([event(1)])).await.unwrap();
    for name in [
        "dogs.db",
        "dogs.db-wal",
        "dogs.db-shm",
        "views.db",
        "views.db-wal",
    ] {
        assert_eq!(mode(&folder.join(name)), expected, "{name}, {modes}");
    }
    println!("made");
}

/// Goal: under any umask, only the owner can read the store's files, unless other rights are
/// configured. Method: children with various umasks create files and check them.
#[test]
fn files_are_made_for_their_owner_only() {
    for (umask, asked, expected) in [
        ("000", "default", 0o600),
        ("022", "default", 0o600),
        ("077", "default", 0o600),
        ("000", "640", 0o640),
        ("022", "666", 0o644),
        ("077", "666", 0o600),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let script = format!("umask {umask}; exec \"$0\" \"$@\"");
        let output = Command::new("sh")
            .args(["-c", &script])
            .arg(env::current_exe().unwrap())
            .args(["--exact", "rights::child_that_makes_files", "--nocapture"])
            .env(FOLDER, folder.path())
            .env(MODES, format!("{asked} {expected:o}"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let failed = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && said.contains("made"),
            "{said}{failed}"
        );
    }
}

/// An existing file keeps its rights, even an empty one.
#[tokio::test]
async fn a_file_that_is_there_keeps_its_rights() {
    let place = Place::new();
    fs::write(place.path(), "").unwrap();
    set_mode(&place.path(), 0o640);
    let recorder = log(&place.open(), "dogs").await;
    recorder.append(Append::of([event(1)])).await.unwrap();
    assert_eq!(mode(&place.path()), 0o640);
}

#[test]
fn a_mode_that_no_store_can_have_is_invalid() {
    for mode in [0o400, 0o777, 0o0, 0o4600, 0o060] {
        let place = Place::new();
        let options = SqliteOptions::new().file_mode(mode);
        let refused = SqliteStore::open_with(place.path(), &options);
        assert!(matches!(refused, Err(RecordError::Invalid(_))), "{mode:o}");
        let views = SqliteViews::open_with_mode(place.path(), mode);
        assert!(matches!(views, Err(RecordError::Invalid(_))), "{mode:o}");
        assert!(!place.path().exists(), "nothing was created");
    }
}

/// The child: reads for each line that it receives, and prints what it found.
#[tokio::test]
async fn child_that_reads() {
    let Ok(folder) = env::var(FOLDER) else { return };
    if env::var(MODES).is_ok() {
        return;
    }
    let store = SqliteStore::open_read_only(Path::new(&folder).join("dogs.db"));
    let mut lines = std::io::stdin().lines();
    while let Some(Ok(_)) = lines.next() {
        let read = async {
            let store = store.as_ref().map_err(Clone::clone)?;
            let recorder = store.open_read_only("dogs").await?;
            let page = recorder.read_log(LogRead::new()).await?;
            Ok::<_, RecordError>(page.events.len())
        };
        match read.await {
            Ok(count) => println!("found {count}"),
            Err(error) => println!("found {error}"),
        }
    }
}

/// A command of another user, who may read the file and the folder and write to neither. If the
/// tests run as root, it is an unprivileged user, with a copy of this program, because that user
/// cannot access the build folder.
struct Stranger {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Stranger {
    fn start(folder: &Path, is_root: bool) -> Self {
        let mut program = env::current_exe().unwrap();
        if is_root {
            let copy = folder.join("program");
            if !copy.exists() {
                fs::copy(&program, &copy).unwrap();
                set_mode(&copy, 0o755);
            }
            program = copy;
        }
        let mut command = Command::new(&program);
        if is_root {
            command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
        }
        command
            .args(["--exact", "rights::child_that_reads", "--nocapture"])
            .env(FOLDER, folder)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        // A process that another test starts has the copy open for a moment, as if to write it.
        let deadline = Instant::now() + START_WAIT_MAX;
        let mut child = loop {
            match command.spawn() {
                Err(error)
                    if error.kind() == ErrorKind::ExecutableFileBusy
                        && Instant::now() < deadline =>
                {
                    thread::yield_now();
                }
                started => break started.unwrap(),
            }
        };
        Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    /// Returns what it finds now.
    fn read(&mut self) -> String {
        self.input.write_all(b"read\n").unwrap();
        let mut line = String::new();
        loop {
            line.clear();
            let size = self.output.read_line(&mut line).unwrap();
            assert!(size > 0, "the reader ended");
            if let Some((_, found)) = line.split_once("found ") {
                return found.trim().to_owned();
            }
        }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Whether permissions do not apply to this user, as for root.
fn is_root(folder: &Path) -> bool {
    let probe = folder.join("probe");
    fs::write(&probe, "").unwrap();
    set_mode(&probe, 0o000);
    let may = fs::read(&probe).is_ok();
    fs::remove_file(probe).unwrap();
    may
}

/// Goal: a user without rights to the folder never takes an old state for the present one. Method:
/// it opens the file while no process has it open; then another process writes, and it reads again,
/// both while that process has the file open and afterwards.
#[test]
fn a_reader_without_rights_to_the_folder_does_not_go_stale() {
    for is_closed_before_reading in [false, true] {
        let place = Place::new();
        let folder = place.path().parent().unwrap().to_owned();
        let is_root = is_root(&folder);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let append = |id| {
            let store =
                SqliteStore::open_with(place.path(), &SqliteOptions::new().file_mode(0o644));
            let store = store.unwrap();
            runtime.block_on(async {
                let recorder = log(&store, "dogs").await;
                recorder.append(Append::of([event(id)])).await.unwrap();
            });
            store
        };
        drop(append(1));
        set_mode(&place.path(), 0o644);
        set_mode(&folder, 0o555);
        let mut stranger = Stranger::start(&folder, is_root);
        assert_eq!(stranger.read(), "1");
        assert_eq!(stranger.read(), "1");
        set_mode(&folder, 0o755);
        let store = append(2);
        if is_closed_before_reading {
            drop(store);
        }
        let found = stranger.read();
        assert!(
            found.contains("right to write there") && found.contains("copy the file"),
            "{found}"
        );
        // After reopening it sees everything, in whichever way it now reads the file.
        let mut again = Stranger::start(&folder, is_root);
        assert_eq!(again.read(), "2");
        set_mode(&folder, 0o755);
    }
}
