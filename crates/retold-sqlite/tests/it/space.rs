//! A full disk: appends are refused with nothing written, and work again once there is room.

use retold_core::recording::{Append, Appended, LogRead, RecordError, Recorder, Store};
use retold_sqlite::{SqliteOptions, SqliteStore};

use crate::place::{Place, event, log};

fn large(id: u128) -> Append {
    let mut event = event(id);
    event.payload = Some(vec![0; 200_000].into());
    Append::of([event])
}

async fn fill(recorder: &dyn Recorder) -> u128 {
    let mut id = 0;
    loop {
        match recorder.append(large(id + 1)).await {
            Ok(_) => id += 1,
            Err(RecordError::Unavailable(_)) => return id,
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn a_full_file_is_unavailable_and_works_again_with_room() {
    let place = Place::new();
    let options = SqliteOptions::new().file_size_max(2_000_000);
    let store = SqliteStore::open_with(place.path(), &options).unwrap();
    let recorder = log(&store, "dogs").await;
    let count = fill(&*recorder).await;
    assert!(count > 3, "{count}");

    // Of a group, only the one that has no room fails.
    let (small, too_large) = tokio::join!(
        recorder.append(Append::of([event(1_000)])),
        recorder.append(large(1_001)),
    );
    assert!(matches!(small, Ok(Appended::Recorded(_))), "{small:?}");
    assert!(
        matches!(too_large, Err(RecordError::Unavailable(_))),
        "{too_large:?}"
    );
    drop((recorder, store));

    let store = place.open();
    let recorder = log(&store, "dogs").await;
    let events = recorder.read_log(LogRead::new()).await.unwrap().events;
    assert_eq!(events.len() as u128, count + 1);
    let appended = recorder.append(large(count + 1)).await.unwrap();
    assert!(matches!(appended, Appended::Recorded(_)));
    assert_eq!(store.verify().await.unwrap(), []);
}

/// Goal: a long read makes the write-ahead log grow, but not forever. Method: it grows during a
/// read, and is small again soon after that has ended.
#[tokio::test]
async fn the_write_ahead_log_is_emptied_when_it_is_large() {
    let place = Place::new();
    let options = SqliteOptions::new().wal_size_max(1_000_000);
    let store = SqliteStore::open_with(place.path(), &options).unwrap();
    let recorder = log(&store, "dogs").await;
    let wal_size = || {
        let wal = format!("{}-wal", place.path().display());
        std::fs::metadata(wal).unwrap().len()
    };
    let reader = rusqlite::Connection::open(place.path()).unwrap();
    reader
        .execute_batch("BEGIN; SELECT count(*) FROM event")
        .unwrap();
    let mut id = 0;
    while wal_size() < 2_000_000 {
        id += 1;
        recorder.append(large(id)).await.unwrap();
    }
    reader.execute_batch("COMMIT").unwrap();
    let emptied = async {
        while wal_size() > 1_000_000 {
            id += 1;
            recorder.append(Append::of([event(id)])).await.unwrap();
        }
    };
    let guard = std::time::Duration::from_secs(60);
    tokio::time::timeout(guard, emptied).await.unwrap();
    assert_eq!(recorder.head().await.unwrap().append_count as u128, id);
}
