//! Files that are removed, renamed or replaced while a store has them open: nothing is acknowledged
//! in a file that no path leads to, and readers and waiters get an error.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use retold_core::projection::ProjectionError;
use retold_core::recording::{Append, Appended, LogRead, RecordError, Recorder, Store};
use retold_sqlite::{SqliteStore, SqliteViews};

use crate::place::{Place, event, log};
use crate::tricks::{pipeline, teach, tricks};

/// How long a test waits for an expected event.
const WAIT_MAX: Duration = Duration::from_secs(60);

fn sibling(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn check_is_lost<T: std::fmt::Debug>(result: Result<T, RecordError>, words: &str) {
    match result {
        Err(RecordError::Unavailable(failure)) => {
            let message = failure.to_string();
            assert!(message.contains(words), "{message}");
            assert!(
                message.contains("opened again"),
                "says what to do: {message}"
            );
            assert!(message.contains("dogs.db"), "says which file: {message}");
        }
        other => panic!("{other:?}"),
    }
}

/// Reads until it is refused, because reads check the file only from time to time.
async fn check_reads_are_lost(recorder: &dyn Recorder, words: &str) {
    let read = async {
        loop {
            match recorder.read_log(LogRead::new()).await {
                Ok(_) => tokio::task::yield_now().await,
                refused => return refused,
            }
        }
    };
    let refused = tokio::time::timeout(WAIT_MAX, read).await.unwrap();
    check_is_lost(refused, words);
    check_is_lost(recorder.head().await, words);
}

/// Opens a store at `opened`, loses its files by `lose`, and checks that everything is refused with
/// these words, even after the files are back.
async fn check(opened: &Path, words: &str, lose: impl FnOnce(), bring_back: impl FnOnce()) {
    let store = SqliteStore::open(opened).unwrap();
    let recorder = log(&store, "dogs").await;
    recorder.append(Append::of([event(1)])).await.unwrap();
    let waiting = tokio::spawn({
        let recorder = recorder.clone();
        async move { recorder.changed_since(1).await }
    });
    lose();
    for id in 2..5 {
        check_is_lost(recorder.append(Append::of([event(id)])).await, words);
    }
    check_reads_are_lost(&*recorder, words).await;
    let waited = tokio::time::timeout(WAIT_MAX, waiting).await.unwrap();
    check_is_lost(waited.unwrap(), words);
    let lease = store.acquire_lease("a", "b", Duration::from_secs(1)).await;
    check_is_lost(lease, words);
    bring_back();
    check_is_lost(recorder.append(Append::of([event(5)])).await, words);
    drop((recorder, store));
    // The file contains what was acknowledged, and nothing else.
    let reopened = log(&SqliteStore::open(opened).unwrap(), "dogs").await;
    let page = reopened.read_log(LogRead::new()).await.unwrap();
    let ids: Vec<_> = page
        .events
        .iter()
        .map(|it| it.id().uuid().as_u128())
        .collect();
    assert_eq!(ids, [1], "{words}");
    let again = reopened.append(Append::of([event(2)])).await.unwrap();
    assert!(matches!(again, Appended::Recorded(_)), "{again:?}");
}

fn rename_all(from: &Path, to: &Path) {
    for end in ["", "-wal", "-shm"] {
        if sibling(from, end).exists() {
            fs::rename(sibling(from, end), sibling(to, end)).unwrap();
        }
    }
}

#[tokio::test]
async fn a_file_that_is_renamed_is_noticed_at_the_next_append() {
    let place = Place::new();
    let (path, away) = (place.path(), sibling(&place.path(), ".away"));
    let back = || rename_all(&away, &path);
    check(
        &path,
        "removed or renamed",
        || rename_all(&path, &away),
        back,
    )
    .await;
}

#[tokio::test]
async fn a_file_that_is_removed_is_noticed_at_the_next_append() {
    let place = Place::new();
    let (path, kept) = (place.path(), sibling(&place.path(), ".kept"));
    let remove = || {
        for end in ["", "-wal", "-shm"] {
            fs::copy(sibling(&path, end), sibling(&kept, end)).unwrap();
            fs::remove_file(sibling(&path, end)).unwrap();
        }
    };
    let back = || rename_all(&kept, &path);
    check(&path, "removed or renamed", remove, back).await;
}

/// As a restore by `mv` does, which leaves the write-ahead log.
#[tokio::test]
async fn a_file_that_is_replaced_is_noticed_at_the_next_append() {
    let place = Place::new();
    let path = place.path();
    let (away, other) = (sibling(&path, ".away"), sibling(&path, ".other"));
    drop(log(&SqliteStore::open(&other).unwrap(), "cats").await);
    let replace = || {
        rename_all(&path, &away);
        fs::rename(&other, &path).unwrap();
    };
    let back = || {
        fs::remove_file(&path).unwrap();
        rename_all(&away, &path);
    };
    check(&path, "another file is at this path", replace, back).await;
}

#[tokio::test]
async fn a_write_ahead_log_that_is_removed_is_noticed_at_the_next_append() {
    let place = Place::new();
    let wal = sibling(&place.path(), "-wal");
    let away = sibling(&place.path(), ".away");
    let lose = || fs::rename(&wal, &away).unwrap();
    let back = || fs::rename(&away, &wal).unwrap();
    check(&place.path(), "write-ahead log", lose, back).await;
}

/// A link with a new target leads to another file, even if the old target is unchanged.
#[cfg(unix)]
#[tokio::test]
async fn a_link_that_leads_elsewhere_is_noticed_at_the_next_append() {
    use std::os::unix::fs::symlink;

    let place = Place::new();
    let link = place.path();
    let (first, second) = (sibling(&link, ".first"), sibling(&link, ".second"));
    drop(log(&SqliteStore::open(&second).unwrap(), "cats").await);
    symlink(&first, &link).unwrap();
    let lead_to = |target: &Path| {
        fs::remove_file(&link).unwrap();
        symlink(target, &link).unwrap();
    };
    let (lose, back) = (|| lead_to(&second), || lead_to(&first));
    check(&link, "another file is at this path", lose, back).await;
}

/// A store that only reads notices too, and so does a caller that waits for news of it.
#[tokio::test]
async fn a_reader_notices_that_its_file_is_gone() {
    let place = Place::new();
    let writing = log(&place.open(), "dogs").await;
    writing.append(Append::of([event(1)])).await.unwrap();
    let store = SqliteStore::open_read_only(place.path()).unwrap();
    let recorder = store.open_read_only("dogs").await.unwrap();
    assert_eq!(recorder.head().await.unwrap().append_count, 1);
    let away = sibling(&place.path(), ".away");
    rename_all(&place.path(), &away);
    let waited = tokio::time::timeout(WAIT_MAX, recorder.changed_since(1));
    check_is_lost(waited.await.unwrap(), "removed or renamed");
    check_reads_are_lost(&*recorder, "removed or renamed").await;
}

/// Views in a separate file: a step that is committed into a lost file is not reported as done.
#[tokio::test]
async fn a_file_of_views_that_is_removed_is_noticed_at_the_next_step() {
    let place = Place::new();
    let recorder = log(&place.open(), "dogs").await;
    let views_path = sibling(&place.path(), "-views");
    let views = SqliteViews::open(&views_path).unwrap();
    let mut pipeline = pipeline(&recorder, &views, tricks(1));
    teach(&*recorder, "sit").await.unwrap();
    pipeline.catch_up().await.unwrap();
    fs::remove_file(&views_path).unwrap();
    teach(&*recorder, "roll").await.unwrap();
    let error = pipeline.catch_up().await.expect_err("the file is gone");
    assert!(
        matches!(error, ProjectionError::Unavailable { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("removed or renamed"), "{error}");
    check_is_lost(views.reader().map(drop), "removed or renamed");
}
