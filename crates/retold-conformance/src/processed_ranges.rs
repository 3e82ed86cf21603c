//! Rule 12: processed ranges join, and their history is kept.

use futures_util::FutureExt;

use super::scene::{
    AppendOutcome, Scene, append_of, append_to, at_once, checkpoint, conflict, event, head, log_id,
    numbers, position, processed, record, refuse, send, stream_events,
};
use super::subject::Subject;
use super::whole::whole;
use retold_core::recording::Conflict;
use retold_core::recording::{Append, Positions};
use retold_core::recording::{Checkpoint, Position};
use retold_core::recording::{FollowerKey, ProcessedRange, RecordedRange};
use retold_core::recording::{RangeRead, Recorder};

/// Rule 12. A processed range begins where the previous one of its follower and upstream ended; the
/// history is kept with the head before each append, and neighbors without effects merge.
pub async fn ranges_join<S: Subject>() {
    check_joins(&Scene::<S>::new().await).await;
    check_several_in_one_append(&Scene::<S>::new().await).await;
    check_history(&Scene::<S>::new().await).await;
    check_pages(&Scene::<S>::new().await).await;
    followers_exclude_each_other(&Scene::<S>::new().await).await;
}

async fn checkpoint_of(log: &dyn Recorder, follower: &str) -> Option<Checkpoint> {
    let key = FollowerKey::new(follower);
    let checkpoint = log.checkpoint(&key, log_id(9)).await;
    checkpoint.expect("a checkpoint is read")
}

async fn history(log: &dyn Recorder) -> Vec<RecordedRange> {
    let history = log.processed_ranges(RangeRead::new()).await;
    history.expect("the history is read")
}

/// The conflict of a processed range of `a@1`, with the recorded checkpoint.
fn does_not_join(recorded: Option<Checkpoint>) -> Conflict {
    Conflict::Checkpoint {
        follower: FollowerKey::new("a@1"),
        upstream: log_id(9),
        checkpoint: recorded,
    }
}

async fn check_joins<S: Subject>(scene: &Scene<S>) {
    let log = &*scene.log;
    assert_eq!(checkpoint_of(log, "a@1").await, None);
    // The first processed range may start anywhere.
    record(log, append_of([1]).processed_range(processed("a@1", 7, 9))).await;
    let recorded = Some(checkpoint(9, 9));
    assert_eq!(checkpoint_of(log, "a@1").await, recorded);
    let far = (u64::MAX - 1, u64::MAX);
    for (after, to) in [(0, 3), (0, 12), (7, 9), (8, 12), (10, 12), far] {
        let append = append_of([2]).processed_range(processed("a@1", after, to));
        let found = conflict(log, append).await;
        assert_eq!(found, does_not_join(recorded), "after {after}");
    }
    // Another upstream of the same follower has a separate history.
    let other = ProcessedRange::new(FollowerKey::new("a@1"), log_id(8), None, checkpoint(2, 2));
    record(log, Append::new().processed_range(other)).await;
    assert_eq!(checkpoint_of(log, "a@1").await, recorded);
    assert_eq!(numbers(&whole(log).await), [1]);
    let handle = scene.another_handle().await;
    assert_eq!(checkpoint_of(&*handle, "a@1").await, recorded);

    // Processed ranges that are invalid in every log.
    for (after, to) in [(5, 5), (6, 5)] {
        let turned = append_of([4]).processed_range(processed("c@1", after, to));
        refuse(log, turned, "a processed range that ends before it begins").await;
    }
    let nameless = append_of([4]).processed_range(processed("", 0, 1));
    refuse(log, nameless, "an empty follower key").await;
}

/// The processed ranges of one append join each other; a conflict names the recorded checkpoint.
async fn check_several_in_one_append<S: Subject>(scene: &Scene<S>) {
    let log = &*scene.log;
    let torn = append_of([1])
        .processed_range(processed("a@1", 0, 3))
        .processed_range(processed("a@1", 4, 5));
    assert_eq!(conflict(log, torn).await, does_not_join(None));
    record(log, append_of([1]).processed_range(processed("a@1", 7, 9))).await;
    let of_three = |third| {
        Append::new()
            .processed_range(processed("a@1", 9, 10))
            .processed_range(processed("b@1", 0, 4))
            .processed_range(third)
    };
    let torn = of_three(processed("a@1", 11, 12));
    let recorded = Some(checkpoint(9, 9));
    assert_eq!(conflict(log, torn).await, does_not_join(recorded));
    assert_eq!(checkpoint_of(log, "b@1").await, None);

    let joined = of_three(processed("a@1", 10, 12));
    let before = head(log).await;
    let outcome = send(log, joined.clone()).await;
    assert_eq!(outcome, AppendOutcome::Recorded(Positions::NONE));
    let after = head(log).await;
    assert_eq!(after.checkpoint, before.checkpoint);
    assert_eq!(
        after.append_count,
        before.append_count + 1,
        "an append without events is counted"
    );
    let recorded = Some(checkpoint(12, 12));
    assert_eq!(checkpoint_of(log, "a@1").await, recorded);
    // A second attempt is refused, with the events that come with it.
    let again = conflict(log, joined.event(event(3))).await;
    assert_eq!(again, does_not_join(recorded));
    assert_eq!(numbers(&whole(log).await), [1]);
}

/// The history of one follower: which processed ranges merge and which do not.
async fn check_history<S: Subject>(scene: &Scene<S>) {
    let log = &*scene.log;
    let only = |range| Append::new().processed_range(range);
    record(log, only(processed("a@1", 0, 1))).await;
    // Merges: no events, the same policy version and head. Another follower in between does not
    // matter.
    record(log, only(processed("b@1", 0, 1))).await;
    record(log, only(processed("a@1", 1, 2))).await;
    // Merges inside one append as well.
    record(
        log,
        only(processed("a@1", 2, 3)).processed_range(processed("a@1", 3, 4)),
    )
    .await;
    // Does not merge: another policy version.
    record(log, only(processed("a@1", 4, 5).policy_version(2))).await;
    record(log, only(processed("a@1", 5, 6).policy_version(2))).await;
    // Does not merge: this append has events. Its own processed ranges do not merge either.
    let both = append_of([1]).processed_range(processed("a@1", 6, 7).policy_version(2));
    record(
        log,
        both.processed_range(processed("a@1", 7, 8).policy_version(2)),
    )
    .await;
    // Does not merge: the head moved. The next one has the same head.
    record(log, only(processed("a@1", 8, 9).policy_version(2))).await;
    record(log, only(processed("a@1", 9, 10).policy_version(2))).await;
    // Does not merge: the head moved because of other appends.
    record(log, append_of([2])).await;
    record(log, only(processed("a@1", 10, 11).policy_version(2))).await;
    // Does not merge: the previous append had events, though the policy version is the same.
    record(log, append_of([3]).processed_range(processed("b@1", 1, 2))).await;
    record(log, only(processed("b@1", 2, 3))).await;

    let row = |ordinal, follower: &str, after, to, policy_version, head| {
        let range = processed(follower, after, to).policy_version(policy_version);
        RecordedRange::new(ordinal, range, Position::new(head))
    };
    let expected = [
        row(1, "a@1", 0, 4, 1, 0),
        row(2, "b@1", 0, 1, 1, 0),
        row(3, "a@1", 4, 6, 2, 0),
        row(4, "a@1", 6, 7, 2, 0),
        row(5, "a@1", 7, 8, 2, 0),
        row(6, "a@1", 8, 10, 2, 1),
        row(7, "a@1", 10, 11, 2, 2),
        row(8, "b@1", 1, 2, 1, 2),
        row(9, "b@1", 2, 3, 1, 3),
    ];
    assert_eq!(history(log).await, expected);
    assert_eq!(history(&*scene.another_handle().await).await, expected);
    assert_eq!(head(log).await.append_count, 13);
    assert_eq!(head(log).await.position(), Some(position(3)));
}

/// The history in pages, and of one follower or upstream only.
async fn check_pages<S: Subject>(scene: &Scene<S>) {
    let log = &*scene.log;
    for number in 1..=9_u64 {
        let follower = FollowerKey::new(["a@1", "b@1", "a@2"][number as usize % 3]);
        let upstream = log_id(u128::from(number % 2));
        let to = checkpoint(number, number.into());
        // Each pair occurs twice at most; the second continues where the first ended.
        let after = (number > 6).then(|| position(number - 6));
        let range =
            ProcessedRange::new(follower, upstream, after, to).policy_version(number as u32);
        let append = append_of([number.into()]);
        record(log, append.processed_range(range)).await;
    }
    let ordinals = async |read: RangeRead| -> Vec<u64> {
        let page = log
            .processed_ranges(read)
            .await
            .expect("the history is read");
        page.iter().map(|it| it.ordinal).collect()
    };
    let all = RangeRead::new;
    let a = || FollowerKey::new("a@1");
    assert_eq!(ordinals(all()).await, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(ordinals(all().limit(2)).await, [1, 2]);
    assert_eq!(ordinals(all().after(7)).await, [8, 9]);
    assert_eq!(ordinals(all().after(9)).await, [0; 0]);
    assert_eq!(ordinals(all().after(u64::MAX)).await, [0; 0]);
    assert_eq!(ordinals(all().follower(a())).await, [3, 6, 9]);
    assert_eq!(ordinals(all().follower(a()).after(3).limit(1)).await, [6]);
    assert_eq!(ordinals(all().upstream(log_id(0))).await, [2, 4, 6, 8]);
    assert_eq!(
        ordinals(all().follower(a()).upstream(log_id(1))).await,
        [3, 9]
    );
    assert_eq!(
        ordinals(all().follower(FollowerKey::new("a"))).await,
        [0; 0]
    );
    let refused = log.processed_ranges(all().limit(0)).await;
    assert!(refused.is_err(), "a page of 0 must be refused");
}

/// Workers of one follower compete, each as if it were alone: every upstream event has its effect
/// once.
async fn followers_exclude_each_other<S: Subject>(scene: &Scene<S>) {
    const UPSTREAM_EVENTS: u64 = 20;
    let mut tasks = Vec::new();
    for worker in 0..3_u128 {
        let log = scene.another_handle().await;
        let task = async move {
            loop {
                let done = checkpoint_of(&*log, "a@1").await;
                let done = done.map_or(0, |checkpoint| checkpoint.position.get());
                if done == UPSTREAM_EVENTS {
                    return;
                }
                let number = 1000 * (worker + 1) + u128::from(done);
                let effect = append_to(&format!("effect/{done}"), [number]);
                let append = effect.processed_range(processed("a@1", done, done + 1));
                match send(&*log, append).await {
                    AppendOutcome::Recorded(_)
                    | AppendOutcome::Conflict(Conflict::Checkpoint { .. }) => {}
                    other => panic!("a race of followers resulted in {other:?}"),
                }
            }
        };
        tasks.push(task.boxed());
    }
    at_once::<S, ()>(tasks).await;
    assert_eq!(whole(&*scene.log).await.len() as u64, UPSTREAM_EVENTS);
    for upstream_event in 0..UPSTREAM_EVENTS {
        let effects = stream_events(&*scene.log, &format!("effect/{upstream_event}")).await;
        assert_eq!(effects.len(), 1, "every upstream event has its effect once");
    }
}
