//! Opening files that are new, empty, foreign, newer, damaged, read-only or missing. Each gives a
//! clear result, and a file that is refused is left unchanged.

use std::fs;
use std::path::Path;
use std::time::Duration;

use retold_core::recording::{Amendment, Append, ErasedParts, LogRead, RecordError, Store};
use retold_sqlite::{SqliteOptions, SqliteStore};
use rusqlite::Connection;

use crate::place::{Place, event, log, record};

fn refusal(path: &Path) -> RecordError {
    let error = SqliteStore::open(path).expect_err("the file is refused");
    let read_only = SqliteStore::open_read_only(path).expect_err("and for reading too");
    assert_eq!(
        std::mem::discriminant(&error),
        std::mem::discriminant(&read_only),
        "{error} / {read_only}"
    );
    error
}

/// A closed store with one event.
async fn closed(place: &Place) {
    let recorder = log(&place.open(), "dogs").await;
    recorder.append(Append::of([event(1)])).await.unwrap();
}

fn check_is_invalid(path: &Path, words: &str) {
    let before = fs::read(path).ok();
    let error = refusal(path);
    assert!(matches!(error, RecordError::Invalid(_)), "{error}");
    assert!(error.to_string().contains(words), "{error}");
    assert!(error.to_string().contains("dogs"), "says which: {error}");
    assert_eq!(fs::read(path).ok(), before, "left as it was");
}

#[test]
fn a_file_that_is_not_sqlite_is_invalid() {
    let place = Place::new();
    fs::write(
        place.path(),
        "not a database, but long enough for a header of one".repeat(99),
    )
    .unwrap();
    check_is_invalid(&place.path(), "not a SQLite database");
}

#[test]
fn a_database_of_another_program_is_invalid() {
    let place = Place::new();
    let conn = Connection::open(place.path()).unwrap();
    conn.execute_batch("CREATE TABLE dog (name TEXT)").unwrap();
    drop(conn);
    check_is_invalid(&place.path(), "of another program");
}

#[test]
fn a_store_of_a_newer_version_is_invalid() {
    let place = Place::new();
    drop(place.open());
    let conn = Connection::open(place.path()).unwrap();
    conn.pragma_update(None, "user_version", 5).unwrap();
    drop(conn);
    check_is_invalid(&place.path(), "newer version");
}

/// A file as version 3 made it.
fn of_version_3(place: &Place) {
    let conn = Connection::open(place.path()).unwrap();
    conn.execute_batch(include_str!("version_3.sql")).unwrap();
}

/// The logs, and all events with whether they are erased.
async fn content(store: &SqliteStore) -> Vec<(String, u64, bool)> {
    let mut content = Vec::new();
    for entry in store.logs(None, 10).await.unwrap() {
        let recorder = store.open_read_only(&entry.name).await.unwrap();
        let page = recorder.read_log(LogRead::new()).await.unwrap();
        let events = page.events.iter();
        content.extend(events.map(|it| {
            let name = entry.name.to_string();
            (name, it.position().get(), it.is_erased())
        }));
        let snapshot = recorder.snapshot("dog/1", None).await.unwrap();
        assert!(snapshot.is_some());
    }
    content
}

/// Goal: a store of version 3 is read as it is, and converted when it is opened for writing.
#[tokio::test]
async fn a_store_of_version_3_is_converted() {
    let place = Place::new();
    of_version_3(&place);
    let before = fs::read(place.path()).unwrap();
    let reading = SqliteStore::open_read_only(place.path()).unwrap();
    let there = content(&reading).await;
    assert_eq!(there.len(), 8);
    let erased: Vec<_> = there.iter().filter(|it| it.2).collect();
    assert_eq!(erased, [&("cats".to_owned(), 2, true)]);
    // It was erased with SQL, and nothing records it.
    let found = reading.verify().await.unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].what().contains("no later event records it"));
    assert_eq!(fs::read(place.path()).unwrap(), before, "left as it was");

    let store = place.open();
    assert_eq!(content(&store).await, there);
    assert_eq!(store.verify().await.unwrap(), found);
    // The store that reads it follows the conversion.
    assert_eq!(content(&reading).await, there);
    let dogs = log(&store, "dogs").await;
    let erase = Append::of([record(9, "dog/1")]).amendment(Amendment::EraseEvent {
        event: event(1).id,
        stream: Some("dog/1".into()),
        parts: ErasedParts::ALL,
    });
    dogs.append(erase).await.unwrap();
    assert_eq!(reading.verify().await.unwrap(), found);
    let page = reading.open_read_only("dogs").await.unwrap();
    let page = page.read_log(LogRead::new()).await.unwrap();
    assert!(page.events[0].is_erased());
    drop((dogs, store));
    assert_eq!(place.open().verify().await.unwrap(), found);
}

/// Goal: a conversion does not cover up that another program has removed a guard. Method: change
/// triggers that the conversion replaces.
#[tokio::test]
async fn a_conversion_hides_no_changed_guard() {
    let harmless = "CREATE TRIGGER event_never_changes BEFORE UPDATE ON event BEGIN SELECT 1; END";
    for (name, sql) in [
        ("event_never_changes", harmless),
        ("event_tag_is_never_deleted", ""),
        ("tag_is_never_deleted", ""),
    ] {
        let place = Place::new();
        of_version_3(&place);
        let conn = Connection::open(place.path()).unwrap();
        conn.execute_batch(&format!("DROP TRIGGER {name}; {sql}"))
            .unwrap();
        drop(conn);
        let reading = SqliteStore::open_read_only(place.path()).unwrap();
        let found = reading.verify().await.unwrap();
        let place_found = format!("the trigger {name}");
        assert!(
            found.iter().any(|it| it.place() == place_found),
            "{found:?}"
        );
        for _ in 0..2 {
            assert_eq!(place.open().verify().await.unwrap(), found);
        }
    }
}

/// A file that lacks a table is refused before it is converted.
#[test]
fn a_conversion_refuses_a_file_without_a_table() {
    for table in ["lease", "snapshot", "erasing"] {
        let place = Place::new();
        of_version_3(&place);
        let conn = Connection::open(place.path()).unwrap();
        conn.execute_batch(&format!("DROP TABLE {table}")).unwrap();
        let error = SqliteStore::open(place.path()).unwrap_err();
        assert!(matches!(error, RecordError::Corrupt(_)), "{error}");
        let text = error.to_string();
        assert!(text.contains(table) && text.contains("a backup"), "{text}");
        let version = conn.pragma_query_value(None, "user_version", |row| row.get(0));
        assert_eq!(version, Ok(3), "{table}");
    }
}

/// The topics of records were not reserved before.
#[test]
fn a_conversion_finds_the_records_that_are_there() {
    let place = Place::new();
    of_version_3(&place);
    let conn = Connection::open(place.path()).unwrap();
    conn.execute_batch(
        "INSERT INTO topic VALUES (100, 1, 'retold.deleted');
         INSERT INTO event
             SELECT seq + 100, zeroblob(16), append_number + 100, place_index, place_count, stream,
                 version + 100, 100, revision, time, recorded_at, encoding, origin, x'', metadata,
                 payload_checksum, checksum, payload
             FROM event WHERE seq >> 40 = 1 AND stream IS NOT NULL",
    )
    .unwrap();
    drop(place.open());
    let read = |sql: &str| -> Vec<(i64, i64)> {
        let mut select = conn.prepare(sql).unwrap();
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.unwrap().collect::<Result<_, _>>().unwrap()
    };
    let there = read("SELECT stream, version FROM last_record ORDER BY stream");
    let last = "SELECT stream, max(version) FROM event WHERE topic = 100 GROUP BY stream";
    assert!(!there.is_empty());
    assert_eq!(there, read(last));
}

#[test]
fn a_conversion_that_fails_says_so() {
    let place = Place::new();
    of_version_3(&place);
    let other = Connection::open(place.path()).unwrap();
    other
        .pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))
        .unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let options = SqliteOptions::new().busy_wait_max(Duration::from_millis(20));
    let error = SqliteStore::open_with(place.path(), &options).unwrap_err();
    assert!(error.to_string().contains("converting"), "{error}");
}

/// Several programs may find the old version at the same time.
#[test]
fn a_store_is_converted_once() {
    let place = Place::new();
    of_version_3(&place);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let place = Place::at(place.path());
            std::thread::spawn(move || drop(place.open()))
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(SqliteStore::open_read_only(place.path()).is_ok());
}

/// Its events have no checksums, so it cannot be checked whether they are what was recorded.
#[test]
fn a_store_of_the_first_version_is_invalid() {
    let place = Place::new();
    let conn = Connection::open(place.path()).unwrap();
    conn.execute_batch(
        "CREATE TABLE log (key INTEGER PRIMARY KEY); PRAGMA application_id = 0x52746c64;
         PRAGMA user_version = 1",
    )
    .unwrap();
    drop(conn);
    check_is_invalid(&place.path(), "no checksums");
}

#[test]
fn a_folder_is_invalid() {
    let place = Place::new();
    fs::create_dir(place.path()).unwrap();
    check_is_invalid(&place.path(), "is a folder");
}

#[test]
fn a_missing_folder_is_unavailable() {
    let place = Place::new();
    let folder = place.path().parent().unwrap().join("no");
    let error = refusal(&folder.join("dogs.db"));
    assert!(matches!(error, RecordError::Unavailable(_)), "{error}");
    let text = error.to_string();
    assert!(
        text.contains(folder.to_str().unwrap()),
        "says which: {text}"
    );
    assert!(text.contains("make the folder first"), "{text}");
    assert!(!folder.exists(), "it makes none");
}

#[test]
fn a_missing_file_is_made_only_for_writing() {
    let place = Place::new();
    let error = SqliteStore::open_read_only(place.path()).expect_err("nothing to read");
    assert!(matches!(error, RecordError::Unavailable(_)), "{error}");
    assert!(!place.path().exists());
    drop(place.open());
    assert!(place.path().exists());
}

#[tokio::test]
async fn an_empty_file_becomes_a_store() {
    let place = Place::new();
    fs::write(place.path(), "").unwrap();
    let error = SqliteStore::open_read_only(place.path()).expect_err("nothing to read");
    assert!(matches!(error, RecordError::Invalid(_)), "{error}");
    closed(&place).await;
    SqliteStore::open_read_only(place.path()).unwrap();
}

#[tokio::test]
async fn a_truncated_file_is_corrupt() {
    let place = Place::new();
    closed(&place).await;
    let whole = fs::read(place.path()).unwrap();
    for pages in [1, 2, whole.len() / 4096 - 1] {
        fs::write(place.path(), &whole[..pages * 4096]).unwrap();
        let error = refusal(&place.path());
        assert!(
            matches!(error, RecordError::Corrupt(_)),
            "{pages} pages: {error}"
        );
    }
    fs::write(place.path(), &whole[..1000]).unwrap();
    refusal(&place.path());
}

/// Goal: if any one byte of the file changes, nothing panics, and reads return what was written or
/// an error. Method: damage every byte of every page in turn, open, read everything, verify.
#[tokio::test]
async fn damage_is_an_error_and_never_a_panic() {
    let place = Place::new();
    closed(&place).await;
    let whole = fs::read(place.path()).unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    for page in 0..whole.len() / 4096 {
        let damaged = page * 4096 + random.usize(0..4096.min(whole.len()));
        let mut bytes = whole.clone();
        bytes[damaged] ^= 1 << random.u8(0..8);
        fs::write(place.path(), &bytes).unwrap();
        let Ok(store) = SqliteStore::open_read_only(place.path()) else {
            continue;
        };
        let Ok(recorder) = store.open_read_only("dogs").await else {
            continue;
        };
        drop(recorder.read_log(LogRead::new()).await);
        drop(store.verify().await);
    }
}

#[cfg(unix)]
mod permissions {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Whether permissions do not apply to this user, as for root: then there is nothing to test.
    fn may_do_everything(folder: &Path) -> bool {
        let probe = folder.join("probe");
        fs::write(&probe, "").unwrap();
        set_mode(&probe, 0o000);
        let may = fs::read(&probe).is_ok();
        fs::remove_file(probe).unwrap();
        may
    }

    #[tokio::test]
    async fn a_read_only_file_is_read_and_not_written() {
        let place = Place::new();
        closed(&place).await;
        let folder = place.path().parent().unwrap().to_owned();
        if may_do_everything(&folder) {
            return;
        }
        set_mode(&place.path(), 0o444);
        set_mode(&folder, 0o555);
        let error = SqliteStore::open(place.path()).expect_err("it cannot be written");
        assert!(matches!(error, RecordError::Unavailable(_)), "{error}");
        let store = SqliteStore::open_read_only(place.path()).unwrap();
        let recorder = store.open_read_only("dogs").await.unwrap();
        let page = recorder.read_log(LogRead::new()).await.unwrap();
        assert_eq!(page.events.len(), 1);
        set_mode(&folder, 0o755);
    }

    #[tokio::test]
    async fn a_file_that_may_not_be_read_is_unavailable() {
        let place = Place::new();
        closed(&place).await;
        if may_do_everything(place.path().parent().unwrap()) {
            return;
        }
        set_mode(&place.path(), 0o000);
        let error = refusal(&place.path());
        assert!(matches!(error, RecordError::Unavailable(_)), "{error}");
    }
}

#[tokio::test]
async fn a_store_for_reading_writes_nothing() {
    let place = Place::new();
    closed(&place).await;
    let store = SqliteStore::open_read_only(place.path()).unwrap();
    let id = retold_core::recording::LogId::new(uuid::Uuid::nil());
    for refused in [
        store.open("cats", id).await.map(drop),
        store
            .acquire_lease("a", "b", std::time::Duration::ZERO)
            .await
            .map(drop),
    ] {
        let error = refused.expect_err("nothing is written");
        assert!(error.to_string().contains("reading only"), "{error}");
    }
    let recorder = store.open_read_only("dogs").await.unwrap();
    let error = recorder.append(Append::of([event(2)])).await;
    assert!(matches!(error, Err(RecordError::Invalid(_))));

    // Appends of another opening are seen, and can be waited for.
    let news = recorder.changed_since(1);
    let writing = log(&place.open(), "dogs").await;
    writing.append(Append::of([event(2)])).await.unwrap();
    assert_eq!(news.await.unwrap(), 2);
}

/// Goal: other programs see that the file is in use. A process loses all its POSIX locks on a file
/// when it closes any handle of that file; another program would then delete the write-ahead log in
/// use.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn opening_for_reading_keeps_the_locks_of_the_process() {
    let place = Place::new();
    let _recorder = log(&place.open(), "dogs").await;
    let path = fs::canonicalize(place.path()).unwrap();
    // By the path and not by the inode, because another file system may have a file with the same
    // inode.
    let locks = || -> usize {
        let handles = fs::read_dir("/proc/self/fd").unwrap().map(Result::unwrap);
        // Handles of other tests appear and disappear in the meantime.
        let of_file = handles.filter(|it| fs::read_link(it.path()).is_ok_and(|it| it == path));
        let locks = of_file.map(|handle| {
            let about = Path::new("/proc/self/fdinfo").join(handle.file_name());
            let about = fs::read_to_string(about).unwrap();
            about
                .lines()
                .filter(|line| line.starts_with("lock:"))
                .count()
        });
        locks.sum()
    };
    let before = locks();
    assert!(before > 0, "an open store holds a lock");
    drop(SqliteStore::open_read_only(place.path()).unwrap());
    assert_eq!(locks(), before);
}
