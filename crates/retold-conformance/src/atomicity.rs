//! Rules 1 and 11: an append is atomic, and does not depend on the appends committed with it.

use std::sync::Arc;

use futures_util::FutureExt;

use super::scene::{
    AppendOutcome, LOG, Scene, append_of, append_to, at_once, event, event_of, events, head,
    log_id, numbers, open, processed, record, send, stream_at,
};
use super::subject::Subject;
use super::whole::whole;
use retold_core::recording::Append;
use retold_core::recording::FollowerKey;
use retold_core::recording::{RangeRead, Recorder};

/// Rule 1. All events, their streams and the processed ranges are recorded, or nothing, even after
/// a crash.
pub async fn append_is_atomic<S: Subject>() {
    let scene = Scene::<S>::new().await;
    let log = &*scene.log;
    record(log, append_to("dog/1", [1])).await;

    // Only the last condition does not hold.
    let refused = Append::of([
        event_of("dog/1", 2),
        event_of("dog/2", 3).tag("tag"),
        event(4),
    ])
    .processed_range(processed("follower@1", 0, 5))
    .condition(stream_at("dog/2", 0))
    .condition(stream_at("dog/1", 7));
    let outcome = send(log, refused).await;
    assert!(matches!(outcome, AppendOutcome::Conflict(_)), "{outcome:?}");
    // Only the last event has an id that is taken.
    let refused = append_to("dog/3", [5, 6, 7, 1]).processed_range(processed("follower@1", 0, 5));
    let outcome = send(log, refused).await;
    assert!(matches!(outcome, AppendOutcome::Conflict(_)), "{outcome:?}");

    assert_eq!(numbers(&whole(log).await), [1]);
    let streams = log.streams("", None, 10).await.expect("streams are read");
    assert_eq!(streams.len(), 1, "no stream of a refused append");
    let ranges = log
        .processed_ranges(RangeRead::new())
        .await
        .expect("the processed ranges are read");
    assert_eq!(ranges, [], "no processed range of a refused append");
    assert_eq!(head(log).await.append_count, 1);

    let accepted = Append::of([event_of("dog/1", 2), event_of("dog/2", 3), event(4)])
        .processed_range(processed("follower@1", 0, 5));
    record(log, accepted).await;
    assert_eq!(numbers(&whole(log).await), [1, 2, 3, 4]);
    let ranges = log
        .processed_ranges(RangeRead::new())
        .await
        .expect("the processed ranges are read");
    assert_eq!(ranges.len(), 1);
    assert_eq!(head(log).await.append_count, 2);

    crashes_leave_whole_appends(&scene).await;
}

/// Crashes while large appends are being recorded leave only whole appends, each with its processed
/// range.
async fn crashes_leave_whole_appends<S: Subject>(scene: &Scene<S>) {
    const APPENDS: u64 = 12;
    const EVENTS: u128 = 50;
    let writer = {
        let log = scene.another_handle().await;
        async move {
            for number in 0..APPENDS {
                let first = 1000 + u128::from(number) * EVENTS;
                let append = append_to("dog/large", first..first + EVENTS);
                let after = number * EVENTS as u64;
                let range = processed("large@1", after, after + EVENTS as u64);
                record(&*log, append.processed_range(range)).await;
            }
        }
    };
    let crasher = {
        let subject = Arc::clone(&scene.subject);
        async move {
            for _ in 0..4 {
                let log = open(&*subject.crash_image().await, LOG).await;
                let events = whole(&*log).await;
                let large = events.iter().filter(|it| it.stream() == Some("dog/large"));
                let key = FollowerKey::new("large@1");
                let upstream = log_id(9);
                let checkpoint = log
                    .checkpoint(&key, upstream)
                    .await
                    .expect("the checkpoint is read");
                let processed = checkpoint.map_or(0, |checkpoint| checkpoint.position.get());
                assert_eq!(
                    large.count() as u64,
                    processed,
                    "an append's events and its processed range survive together"
                );
            }
        }
    };
    at_once::<S, ()>([writer.boxed(), crasher.boxed()]).await;
}

/// Rule 11. An append that is refused, or whose caller drops the future, does not affect the
/// appends that are committed with it.
pub async fn an_append_fails_alone<S: Subject>() {
    const ROUNDS: u128 = 12;
    let scene = Scene::<S>::new().await;
    record(&*scene.log, append_to("dog/taken", [1])).await;
    let member = |which: u128, log: Arc<dyn Recorder>| {
        async move {
            let mut recorded = Vec::new();
            for round in 0..ROUNDS {
                let number = 100 + round * 100 + which * 10;
                let outcome = send(&*log, member(which, number)).await;
                match (which % 4, &outcome) {
                    (0, AppendOutcome::Recorded(_)) => recorded.extend(number..number + 3),
                    (1, AppendOutcome::Invalid) | (2 | 3, AppendOutcome::Conflict(_)) => {}
                    _ => panic!("member {which} of round {round} resulted in {outcome:?}"),
                }
            }
            recorded
        }
        .boxed()
    };
    let mut tasks = Vec::new();
    for which in 0..8 {
        tasks.push(member(which, scene.log.clone()));
    }
    let mut recorded: Vec<_> = at_once::<S, Vec<u128>>(tasks).await.concat();
    recorded.push(1);
    recorded.sort_unstable();
    whole(&*scene.log).await;
    let mut found = numbers(&events(&*scene.log).await);
    found.sort_unstable();
    assert_eq!(found, recorded, "exactly the valid members");

    /// Of four members, one is valid, one is malformed, one expects a wrong stream version, and one
    /// has an id that is taken. The mistakes come after two good events.
    fn member(which: u128, number: u128) -> Append {
        let good = append_to(&format!("dog/{which}"), number..number + 2);
        match which % 4 {
            0 => good.event(event(number + 2)),
            1 => good.event(event_of("", number + 2)),
            2 => good.condition(stream_at("dog/taken", 5)),
            _ => good.events(append_of([1]).new_events().iter().cloned()),
        }
    }
}
