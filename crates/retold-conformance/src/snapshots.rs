//! The contract of snapshots: they are stored next to the log, not in it.

use super::scene::{Scene, append_to, head, record, version};
use super::subject::Subject;
use retold_core::domain::Timestamp;
use retold_core::recording::Encoding;
use retold_core::recording::RecordError;
use retold_core::recording::Recorder;
use retold_core::recording::StoredSnapshot;
use retold_core::recording::Version;
use retold_core::recording::limits::SNAPSHOTS_PER_STREAM_MAX;

/// A read returns the latest snapshot of a stream, or the latest up to a version. A new snapshot
/// replaces one of the same version. The number of snapshots of a stream is limited, and after they
/// are dropped there are none.
pub async fn snapshots_are_kept_by_version<S: Subject>() {
    let scene = Scene::<S>::new().await;
    let log = &*scene.log;
    record(log, append_to("dog/1", 1..=9)).await;
    let before = head(log).await;
    let mut full = snapshot("dog/1", 7, "seven");
    full.state_type = "Dög".into();
    full.revision = 4;
    full.time = Timestamp::from_micros(-3);
    full.encoding = Encoding::parse("json+zstd@k").expect("an encoding");
    put(log, snapshot("dog/1", 3, "three")).await;
    put(log, full.clone()).await;
    put(log, snapshot("dog/2", 5, "other")).await;
    put(log, snapshot("dog/1", 5, "")).await;

    let handle = scene.another_handle().await;
    assert_eq!(newest(&*handle, "dog/1", None).await, Some(full));
    let rows = [
        (Some(u64::MAX), Some(7)),
        (Some(7), Some(7)),
        (Some(6), Some(5)),
        (Some(4), Some(3)),
        (Some(2), None),
    ];
    for (until, expected) in rows {
        let found = newest(&*handle, "dog/1", until).await;
        let found = found.map(|it| it.version.get());
        assert_eq!(found, expected, "until {until:?}");
    }
    let again = snapshot("dog/1", 7, "again");
    put(log, again.clone()).await;
    let found = newest(&*handle, "dog/1", None).await;
    assert_eq!(found, Some(again), "the snapshot is replaced");

    only_so_many_are_kept(log).await;
    let other = newest(log, "dog/2", None).await;
    assert_eq!(other, Some(snapshot("dog/2", 5, "other")));
    log.drop_snapshots("dog/1")
        .await
        .expect("the snapshots are dropped");
    assert_eq!(newest(&*handle, "dog/1", None).await, None);
    assert_eq!(newest(&*handle, "dog/2", None).await, other);
    let nothing = log.drop_snapshots("dog/unknown").await;
    nothing.expect("nothing is dropped");
    assert_eq!(head(log).await, before, "the log is unchanged");
    refuse_bad_snapshots(log).await;
}

fn snapshot(stream: &str, number: u64, payload: &str) -> StoredSnapshot {
    StoredSnapshot::new(stream, version(number), "Dog", payload.to_owned())
}

async fn put(log: &dyn Recorder, snapshot: StoredSnapshot) {
    let put = log.put_snapshot(snapshot).await;
    put.expect("a snapshot is put");
}

async fn newest(log: &dyn Recorder, stream: &str, until: Option<u64>) -> Option<StoredSnapshot> {
    let found = log.snapshot(stream, until.and_then(Version::new)).await;
    found.expect("a snapshot is read")
}

/// With 3, 5 and 7 these are more than are kept: the lowest are deleted.
async fn only_so_many_are_kept(log: &dyn Recorder) {
    for number in 0..SNAPSHOTS_PER_STREAM_MAX as u64 - 1 {
        put(log, snapshot("dog/1", 100 + number, "x")).await;
    }
    let found = newest(log, "dog/1", Some(99)).await;
    assert_eq!(found.map(|it| it.version), Some(version(7)));
    assert_eq!(newest(log, "dog/1", Some(6)).await, None);
    // A snapshot that is lower than all kept ones is deleted at once.
    put(log, snapshot("dog/1", 2, "low")).await;
    assert_eq!(newest(log, "dog/1", Some(6)).await, None);
}

async fn refuse_bad_snapshots(log: &dyn Recorder) {
    let large = vec![b'x'; log.limits().payload_size + 1];
    let bad = [
        StoredSnapshot::new("", version(1), "Dog", "{}"),
        StoredSnapshot::new("dog/1", version(1), "a\nb", "{}"),
        StoredSnapshot::new("dog/1", version(1), "Dog", large),
    ];
    for snapshot in bad {
        let refused = log.put_snapshot(snapshot).await;
        assert!(
            matches!(refused, Err(RecordError::Invalid(_))),
            "{refused:?}"
        );
    }
}
