//! Rule 15, and how logs are created: the logs of a store are isolated from each other.

use futures_util::FutureExt;

use super::scene::{
    AppendOutcome, LOG, Scene, append_of, append_to, at_once, event, head, log_id, numbers, open,
    processed, record, send, soon, stream_at, version,
};
use super::subject::Subject;
use super::whole::whole;
use retold_core::recording::Condition;
use retold_core::recording::FollowerKey;
use retold_core::recording::LogId;
use retold_core::recording::Query;
use retold_core::recording::RangeRead;
use retold_core::recording::RecordError;
use retold_core::recording::StoredSnapshot;
use retold_core::recording::{LogEntry, Store};

/// Rule 15. The logs of a store share nothing: no events, ids, streams, tags, checkpoints,
/// snapshots or counts.
pub async fn logs_are_isolated<S: Subject>() {
    let scene = Scene::<S>::new().await;
    let dogs = &*scene.log;
    let cats = open(&*scene.store, "cats").await;
    let full = append_to("pet/1", [1, 2])
        .event(event(3).tag("tag"))
        .processed_range(processed("f@1", 0, 5));
    record(dogs, full.clone()).await;
    let snapshot = StoredSnapshot::new("pet/1", version(2), "Pet", "{}");
    dogs.put_snapshot(snapshot)
        .await
        .expect("the snapshot is put");

    assert_eq!(whole(&*cats).await, []);
    assert_eq!(head(&*cats).await, Default::default());
    let streams = cats
        .streams("", None, 10)
        .await
        .expect("the streams are read");
    assert_eq!(streams, []);
    let ranges = cats
        .processed_ranges(RangeRead::new())
        .await
        .expect("the processed ranges are read");
    assert_eq!(ranges, []);
    let key = FollowerKey::new("f@1");
    let checkpoint = cats
        .checkpoint(&key, log_id(9))
        .await
        .expect("the checkpoint is read");
    assert_eq!(checkpoint, None);
    let snapshot = cats
        .snapshot("pet/1", None)
        .await
        .expect("the snapshot is read");
    assert_eq!(snapshot, None);

    // The same append again, with conditions; the first log would refuse both.
    let again = full
        .condition(stream_at("pet/1", 0))
        .condition(Condition::none_match(Query::All));
    assert_eq!(record(&*cats, again).await, 1);
    cats.drop_snapshots("pet/1")
        .await
        .expect("the snapshots are dropped");
    let snapshot = dogs
        .snapshot("pet/1", None)
        .await
        .expect("the snapshot is read");
    assert!(snapshot.is_some(), "dropped in the other log only");

    // After both logs have diverged, each continues independently.
    record(dogs, append_to("pet/1", [4])).await;
    record(
        &*cats,
        append_to("pet/1", [5]).condition(stream_at("pet/1", 2)),
    )
    .await;
    assert_eq!(numbers(&whole(dogs).await), [1, 2, 3, 4]);
    assert_eq!(numbers(&whole(&*cats).await), [1, 2, 3, 5]);
    write_to_many_logs(&scene).await;
}

/// Writers on many logs at once: each log contains its own events, as if it were alone.
async fn write_to_many_logs<S: Subject>(scene: &Scene<S>) {
    // Names that a careless store could confuse with one another.
    let names = [
        "log", "Log", "log/1", "log_1", "log%", "log 1", "löɡ", "log'--", "..", "🐕",
    ];
    let mut tasks = Vec::new();
    for name in names {
        let store = scene.subject.open().await;
        let task = async move {
            let log = open(&*store, name).await;
            for number in 1..=6_u128 {
                let append = append_to("pet/1", [number, 100 + number]);
                let first = record(&*log, append).await;
                assert_eq!(u128::from(first), number * 2 - 1, "of {name:?}");
            }
        };
        tasks.push(task.boxed());
    }
    at_once::<S, ()>(tasks).await;
    let store = scene.subject.open().await;
    for name in names {
        let log = open(&*store, name).await;
        assert_eq!(log.log_name(), name);
        let expected: Vec<_> = (1..=6).flat_map(|number| [number, 100 + number]).collect();
        assert_eq!(numbers(&whole(&*log).await), expected, "of {name:?}");
    }
    let logs = store.logs(None, 100).await.expect("logs are read");
    let listed: Vec<_> = logs.iter().map(|entry| &*entry.name).collect();
    let mut expected = [&names[..], &[LOG, "cats"]].concat();
    expected.sort_unstable();
    assert_eq!(listed, expected, "in the order of their bytes");
}

/// A log is created by the first opening for writing, with the id given there; all later openings
/// see that id. A reader that was opened before then sees what is recorded afterwards.
pub async fn a_log_is_born_once<S: Subject>() {
    let scene = Scene::<S>::new().await;
    let reader = scene.subject.open().await;
    let reader = reader.open_read_only("cats").await.expect("the log opens");
    assert_eq!(reader.log_id().await.expect("is read"), None);
    let refused = send(&*reader, append_of([1])).await;
    assert_eq!(refused, AppendOutcome::Invalid, "a reader does not write");
    let refused = reader.drop_snapshots("cat/1").await;
    assert!(
        matches!(refused, Err(RecordError::Invalid(_))),
        "{refused:?}"
    );
    let snapshot = StoredSnapshot::new("cat/1", version(2), "Cat", "{}");
    let refused = reader.put_snapshot(snapshot).await;
    assert!(
        matches!(refused, Err(RecordError::Invalid(_))),
        "{refused:?}"
    );

    let ids = openers_meet(&scene).await;
    let born = ids[0];
    assert!(
        ids.iter().all(|id| *id == born),
        "all openings return one id: {ids:?}"
    );
    let cats = scene
        .store
        .open("cats", log_id(404))
        .await
        .expect("it opens");
    assert_eq!(cats.log_id().await.expect("is read"), Some(born));

    let waiter = reader.clone();
    let woken = async move { waiter.changed_since(0).await.expect("a count") };
    let writer = async move { record(&*cats, append_of([1])).await };
    let both = [woken.boxed(), writer.boxed()];
    let both = soon(
        "a reader opened before the log existed wakes",
        at_once::<S, u64>(both),
    )
    .await;
    assert_eq!(both, [1, 1]);
    assert_eq!(reader.log_id().await.expect("is read"), Some(born));
    assert_eq!(numbers(&whole(&*reader).await), [1]);
    check_listing(&*scene.store, born).await;
}

/// Several tasks open a log that does not exist, each with a different id.
async fn openers_meet<S: Subject>(scene: &Scene<S>) -> Vec<LogId> {
    let mut tasks = Vec::new();
    for number in 20..24 {
        let store = scene.subject.open().await;
        let task = async move {
            let log = store.open("cats", log_id(number)).await.expect("it opens");
            let id = log.log_id().await.expect("the id is read");
            id.expect("a log that was opened for writing exists")
        };
        tasks.push(task.boxed());
    }
    at_once::<S, _>(tasks).await
}

async fn check_listing(store: &dyn Store, cats: LogId) {
    let entry = |name: &str, id| LogEntry {
        name: name.into(),
        id,
    };
    let all = [entry("cats", cats), entry(LOG, log_id(1))];
    let rows = [
        (None, 10, &all[..]),
        (None, 1, &all[..1]),
        (Some("cats"), 10, &all[1..]),
        (Some("cat"), 1, &all[..1]),
        (Some("d"), 10, &all[1..]),
        (Some("dogs"), 10, &[]),
    ];
    for (after, limit, expected) in rows {
        let logs = store.logs(after, limit).await.expect("logs are read");
        assert_eq!(logs, expected, "after {after:?}, at most {limit}");
    }
    let refused = store.logs(None, 0).await;
    assert!(
        matches!(refused, Err(RecordError::Invalid(_))),
        "{refused:?}"
    );
}
