//! Rule 21: a recorder never serves another log, even if its log was replaced.

use super::scene::{
    LOG, Scene, append_of, append_to, event_id, head, log_id, numbers, open, processed, record,
    soon, version,
};
use super::subject::Subject;
use super::whole::whole;
use retold_core::recording::FollowerKey;
use retold_core::recording::LogId;
use retold_core::recording::Query;
use retold_core::recording::RecordError;
use retold_core::recording::StoredSnapshot;
use retold_core::recording::{LogRead, RangeRead, Recorder, StreamRead};

/// Rule 21. If the name of a log now refers to another log or to none, or if another log has
/// replaced it in the store, the recorder reports this, and reads and writes nothing.
pub async fn a_recorder_never_serves_another_log<S: Subject>() {
    let scene = Scene::<S>::new().await;
    let reader = scene
        .store
        .open_read_only(LOG)
        .await
        .expect("the log opens");
    let handle = scene.another_handle().await;
    let dogs = [scene.log.clone(), reader, handle];
    for log in &dogs {
        assert_eq!(log.log_id().await.expect("is read"), Some(log_id(1)));
    }
    let append = append_to("dog/1", [1, 2]).processed_range(processed("f@1", 0, 5));
    record(&*dogs[0], append).await;
    let cats = open(&*scene.store, "cats").await;
    record(&*cats, append_to("cat/1", [11])).await;

    // The cats took the place of the dogs, and the log named dogs is another one.
    let others = [("cats", log_id(2)), (LOG, log_id(3))];
    scene.subject.replace(&others).await;
    for log in &dogs {
        check_replaced(&**log, Some(log_id(3))).await;
    }
    let store = scene.subject.open().await;
    for name in ["cats", LOG] {
        let log = store.open(name, log_id(4)).await.expect("the log opens");
        assert_eq!(head(&*log).await, Default::default(), "{name:?} is empty");
    }
    // Opened again by the same store, the name leads to the log that has it now.
    let again = open(&*scene.store, LOG).await;
    assert_eq!(again.log_id().await.expect("is read"), Some(log_id(3)));
    assert_eq!(record(&*again, append_of([21])).await, 1);
    check_replaced(&*dogs[0], Some(log_id(3))).await;
    assert_eq!(numbers(&whole(&*again).await), [21]);

    // No log is named dogs any more.
    scene.subject.replace(&[("cats", log_id(2))]).await;
    check_replaced(&*again, None).await;
    let cats = open(&*scene.store, "cats").await;
    assert_eq!(record(&*cats, append_of([31])).await, 1);

    // The same log of dogs, but others took its place.
    let elsewhere = [("cows", log_id(5)), (LOG, log_id(3))];
    scene.subject.replace(&elsewhere).await;
    check_not_served(&*again, log_id(3)).await;
    let again = open(&*scene.store, LOG).await;
    assert_eq!(again.log_id().await.expect("is read"), Some(log_id(3)));
    assert_eq!(record(&*again, append_of([41])).await, 1);
    let cows = scene.subject.open().await.open_read_only("cows").await;
    assert_eq!(head(&*cows.expect("it opens")).await, Default::default());
}

/// Every call of a recorder is refused because its name leads to the log `found`.
async fn check_replaced(log: &dyn Recorder, found: Option<LogId>) {
    let key = FollowerKey::new("f@1");
    let after = StreamRead::new("dog/1").after(version(1));
    let all = Query::tag("a");
    // A count beyond the announced one may be returned without a look at the log.
    let waited = soon("a replaced log is not waited for", log.changed_since(1)).await;
    let answers = [
        ("log_id", log.log_id().await.err()),
        ("read_log", log.read_log(LogRead::new()).await.err()),
        ("a query", log.read_log(LogRead::of(all)).await.err()),
        ("read_stream", log.read_stream(after).await.err()),
        ("event", log.event(event_id(11)).await.err()),
        ("head", log.head().await.err()),
        ("streams", log.streams("", None, 9).await.err()),
        ("topics", log.topics(None, 9).await.err()),
        ("checkpoint", log.checkpoint(&key, log_id(9)).await.err()),
        (
            "processed ranges",
            log.processed_ranges(RangeRead::new()).await.err(),
        ),
        ("changed_since", waited.err()),
        ("snapshot", log.snapshot("dog/1", None).await.err()),
    ];
    for (method, answer) in answers {
        check_is_replaced(method, answer, found);
    }
    let snapshot = StoredSnapshot::new("dog/1", version(1), "Dog", "{}");
    let append = append_to("dog/1", [61]).processed_range(processed("f@1", 5, 6));
    let writes = [
        ("append", log.append(append).await.err()),
        ("put_snapshot", log.put_snapshot(snapshot).await.err()),
        ("drop_snapshots", log.drop_snapshots("dog/1").await.err()),
    ];
    for (method, answer) in writes {
        // A recorder that was opened for reading never writes.
        if !matches!(answer, Some(RecordError::Invalid(_))) {
            check_is_replaced(method, answer, found);
        }
    }
}

fn check_is_replaced(method: &str, answer: Option<RecordError>, leads_to: Option<LogId>) {
    match answer {
        Some(RecordError::Replaced { log, found, .. }) => {
            assert_eq!((&*log, found), (LOG, leads_to), "{method}");
        }
        other => panic!("{method} of a log that was replaced: {other:?}"),
    }
}

/// The recorder finds its log at its new place or refuses; it does not serve the log that took the
/// place.
async fn check_not_served(log: &dyn Recorder, id: LogId) {
    match log.head().await {
        Ok(head) => assert_eq!(head, Default::default(), "its own log, which is empty"),
        error => {
            check_is_replaced("head", error.err(), Some(id));
            let answer = log.append(append_of([51])).await.err();
            check_is_replaced("append", answer, Some(id));
        }
    }
}
