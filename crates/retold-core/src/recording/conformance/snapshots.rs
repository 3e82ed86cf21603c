//! What the recorder promises of snapshots: kept beside the log, not in it.

use super::scene::{Scene, append_to, head, record, version};
use super::subject::Subject;
use crate::domain::clock::Timestamp;
use crate::recording::encoding::Encoding;
use crate::recording::error::RecordError;
use crate::recording::identity::Version;
use crate::recording::limits::SNAPSHOTS_PER_STREAM_MAX;
use crate::recording::recorder::Recorder;
use crate::recording::snapshot::StoredSnapshot;

/// A snapshot is found by its stream and version, the newest up to a version; it is replaced by one
/// of the same version, only so many are kept of a stream, and none of a stream that dropped them.
pub async fn snapshots_are_kept_by_version<S: Subject>() {
    let scene = Scene::<S>::new().await;
    let log = &*scene.log;
    let snapshot = |stream: &str, number, payload: &str| {
        StoredSnapshot::new(stream, version(number), "Dog", payload.to_owned())
    };
    record(log, append_to("dog/1", 1..=9)).await;
    let before = head(log).await;
    let mut full = snapshot("dog/1", 7, "seven");
    full.state_type = "Dög".into();
    full.revision = 4;
    full.time = Timestamp::from_micros(-3);
    full.encoding = Encoding::parse("json+zstd@k").expect("an encoding");
    for put in [
        snapshot("dog/1", 3, "three"),
        full.clone(),
        snapshot("dog/2", 5, "other"),
        snapshot("dog/1", 5, ""),
    ] {
        log.put_snapshot(put).await.expect("a snapshot is put");
    }
    let found = async |log: &dyn Recorder, until: Option<u64>| -> Option<u64> {
        let until = until.and_then(Version::new);
        let found = log.snapshot("dog/1", until).await.expect("is read");
        found.map(|it| it.version.get())
    };
    let handle = scene.another_handle().await;
    let newest = handle.snapshot("dog/1", None).await.expect("is read");
    assert_eq!(newest, Some(full));
    let rows = [
        (None, Some(7)),
        (Some(u64::MAX), Some(7)),
        (Some(7), Some(7)),
        (Some(6), Some(5)),
        (Some(4), Some(3)),
        (Some(2), None),
    ];
    for (until, expected) in rows {
        assert_eq!(found(&*handle, until).await, expected, "until {until:?}");
    }
    log.put_snapshot(snapshot("dog/1", 7, "again"))
        .await
        .expect("is put");
    let newest = handle.snapshot("dog/1", None).await.expect("is read");
    assert_eq!(
        newest,
        Some(snapshot("dog/1", 7, "again")),
        "it is replaced"
    );

    // 3, 5, 7 and these are more than are kept: the lowest go.
    for number in 0..SNAPSHOTS_PER_STREAM_MAX as u64 - 1 {
        let put = snapshot("dog/1", 100 + number, "x");
        log.put_snapshot(put).await.expect("is put");
    }
    assert_eq!(found(log, Some(99)).await, Some(7));
    assert_eq!(found(log, Some(6)).await, None, "only so many are kept");
    let other = log.snapshot("dog/2", None).await.expect("is read");
    assert_eq!(other, Some(snapshot("dog/2", 5, "other")));

    log.drop_snapshots("dog/1").await.expect("they are dropped");
    assert_eq!(found(&*handle, None).await, None);
    assert!(
        log.snapshot("dog/2", None)
            .await
            .expect("is read")
            .is_some()
    );
    log.drop_snapshots("dog/unknown")
        .await
        .expect("nothing is dropped");
    assert_eq!(head(log).await, before, "the log knows nothing of it");
    refuse_bad_snapshots(log).await;
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
