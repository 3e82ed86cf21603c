//! Rules 10, 13 and 14: the state after a crash, and how a caller settles an unknown outcome.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fastrand::Rng;
use futures_util::FutureExt;

use super::dropping::poll_at_most;
use super::scene::{
    AppendOutcome, LOG, Scene, append_of, append_to, at_once, checkpoint, event, event_id,
    event_of, events, head, log_id, numbers, open, processed, read, record, seed, send, stream_at,
    stream_events, version,
};
use super::subject::Subject;
use super::whole::whole;
use retold_core::recording::Condition;
use retold_core::recording::FollowerKey;
use retold_core::recording::Query;
use retold_core::recording::StoredSnapshot;
use retold_core::recording::{Append, Appended};
use retold_core::recording::{BoxFuture, LogRead, RangeRead, Recorder};
use retold_core::recording::{Conflict, RecordError};
use retold_core::recording::{Position, Version};

/// Observations of rule 10, each followed by a crash.
const OBSERVATIONS: u64 = 30;
/// Appends that a writer may be ahead of each observation, so that the log stays small.
const HEADWAY: u64 = 8;

/// Rule 10. Everything that a reader, a hint, a conflict or a repeat shows is still present after a
/// crash just afterwards.
pub async fn nothing_is_seen_before_it_is_durable<S: Subject>() {
    let scene = Scene::<S>::new().await;
    let observed = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::<BoxFuture<'static, ()>>::new();
    for writer in 0..2 {
        let (log, observed) = (scene.another_handle().await, observed.clone());
        let task = async move {
            for round in 0..OBSERVATIONS * HEADWAY {
                while round >= (observed.load(Ordering::SeqCst) + 1) * HEADWAY {
                    std::thread::yield_now();
                }
                let append = observed_append(writer, round.into());
                let outcome = send(&*log, append).await;
                let is_there = matches!(
                    outcome,
                    AppendOutcome::Recorded(_) | AppendOutcome::Repeated(_)
                );
                assert!(is_there, "{outcome:?}");
            }
        };
        tasks.push(task.boxed());
    }
    let (subject, log) = (scene.subject.clone(), scene.another_handle().await);
    let observer = async move {
        // The writers end too, however this block ends.
        let _release = Release(observed.clone());
        for round in 0..OBSERVATIONS {
            observe(&*subject, &*log, round).await;
            observed.fetch_add(1, Ordering::SeqCst);
        }
    };
    tasks.push(observer.boxed());
    at_once::<S, ()>(tasks).await;
}

/// Makes the writers run to their end when it is dropped.
struct Release(Arc<AtomicU64>);

impl Drop for Release {
    fn drop(&mut self) {
        self.0.store(OBSERVATIONS, Ordering::SeqCst);
    }
}

/// The append of a writer in a round. It is computable by all, so that an observer can send it too.
fn observed_append(writer: u128, round: u128) -> Append {
    let number = 1_000_000 * (writer + 1) + round * 10;
    let of_stream = event_of(&format!("dog/{writer}"), number).tag(format!("round-{round}"));
    Append::of([of_stream, event(number + 1)])
}

/// Observes the log in one of many ways, then crashes; the image must contain what was seen.
async fn observe<S: Subject>(subject: &S, log: &dyn Recorder, round: u64) {
    let before = head(log).await;
    let seen = log.changed_since(before.append_count.max(1) - 1).await;
    let seen = seen.expect("a count");
    let at_least = match round % 5 {
        0 => head(log).await.checkpoint,
        1 => {
            let page = read(log, LogRead::new().backward().limit(1)).await;
            page.events.first().map(|it| it.checkpoint())
        }
        2 => {
            let append =
                append_to("dog/0", [100 + u128::from(round)]).condition(stream_at("dog/0", 0));
            match send(log, append).await {
                AppendOutcome::Conflict(Conflict::Stream { actual, .. }) => {
                    let image = open(&*subject.crash_image().await, LOG).await;
                    let found = stream_events(&*image, "dog/0").await.len() as u64;
                    let actual = actual.map_or(0, Version::get);
                    assert!(found >= actual, "a conflict shows what a crash undoes");
                }
                AppendOutcome::Recorded(_) => {}
                other => panic!("{other:?}"),
            }
            None
        }
        3 => {
            let condition = Condition::none_match_after(Query::All, before.position());
            match send(log, append_of([u128::from(round)]).condition(condition)).await {
                AppendOutcome::Conflict(Conflict::Query { found, .. }) => Some(found),
                _ => None,
            }
        }
        _ => {
            // The writer's next append, sent concurrently: once either sender gets the outcome, it
            // is durable.
            let next = stream_events(log, "dog/1").await.len() as u128;
            let append = observed_append(1, next);
            match send(log, append).await {
                AppendOutcome::Recorded(positions) | AppendOutcome::Repeated(positions) => {
                    let number = 1_000_000 * 2 + next * 10 + 1;
                    positions
                        .last()
                        .map(|position| checkpoint(position.get(), number))
                }
                other => panic!("{other:?}"),
            }
        }
    };
    let image = open(&*subject.crash_image().await, LOG).await;
    let left = head(&*image).await;
    assert!(
        left.append_count >= seen,
        "a hint announces what a crash undoes"
    );
    assert!(
        left.checkpoint.map(|it| it.position) >= before.position(),
        "the head shows what a crash undoes"
    );
    if let Some(checkpoint) = at_least {
        let found = image
            .event(checkpoint.event_id)
            .await
            .expect("an event is read");
        assert_eq!(
            found.map(|it| it.checkpoint()),
            Some(checkpoint),
            "round {round}: seen, then lost"
        );
    }
    whole(&*image).await;
}

/// Rule 13. What was acknowledged is present when the store is reopened, even after a kill at any
/// moment, including everything with which later appends are checked.
pub async fn acknowledged_events_survive_reopen<S: Subject>() {
    if !S::IS_DURABLE {
        eprintln!("not applicable: the store reports that its data does not survive the process");
        return;
    }
    let Scene {
        subject,
        store,
        log,
    } = Scene::<S>::new().await;
    for number in 1..=10_u64 {
        let id = u128::from(number) * 10;
        let append = Append::of([event_of("dog/1", id).tag("tag"), event(id + 1)]);
        let range = processed("f@1", (number - 1) * 5, number * 5);
        record(&*log, append.processed_range(range)).await;
        let image = open(&*subject.crash_image().await, LOG).await;
        check_survivors(&*image, number).await;
    }
    let snapshot = StoredSnapshot::new("dog/1", version(10), "Dog", "{}");
    log.put_snapshot(snapshot.clone())
        .await
        .expect("the snapshot is put");
    let lease = store
        .acquire_lease("work", "a", std::time::Duration::from_secs(3600))
        .await;
    let lease = lease.expect("a lease");
    let before = events(&*log).await;
    drop((log, store));

    let store = subject.open().await;
    let log = store.open(LOG, log_id(404)).await.expect("the log opens");
    assert_eq!(log.log_id().await.expect("is read"), Some(log_id(1)));
    check_survivors(&*log, 10).await;
    assert_eq!(events(&*log).await, before, "to the byte");
    let found = log
        .snapshot("dog/1", None)
        .await
        .expect("the snapshot is read");
    assert_eq!(found, Some(snapshot));
    let leases = store
        .leases("", None, 10)
        .await
        .expect("the leases are read");
    assert_eq!(leases, [lease]);
    let next = append_to("dog/1", [1000]).condition(stream_at("dog/1", 10));
    assert_eq!(record(&*log, next).await, 21);
    kills_spare_the_acknowledged(&subject).await;
}

/// Checks that the log contains exactly this number of appends.
async fn check_survivors(log: &dyn Recorder, appends: u64) {
    let events = whole(log).await;
    let ids = (1..=u128::from(appends)).flat_map(|it| [it * 10, it * 10 + 1]);
    assert_eq!(numbers(&events), ids.collect::<Vec<_>>());
    assert_eq!(head(log).await.append_count, appends);
    let recorded = log.checkpoint(&FollowerKey::new("f@1"), log_id(9)).await;
    let end = appends * 5;
    assert_eq!(
        recorded.expect("the checkpoint is read"),
        Some(checkpoint(end, end.into()))
    );
    let ranges = log
        .processed_ranges(RangeRead::new())
        .await
        .expect("the processed ranges are read");
    assert_eq!(ranges.len() as u64, appends);
    // Appends are judged as before: a repeat, a taken id, a version, a query.
    let last = u128::from(appends) * 10;
    let repeat = send(log, append_of([last, last + 1])).await;
    assert!(matches!(repeat, AppendOutcome::Repeated(_)), "{repeat:?}");
    for refused in [
        append_of([5, last]),
        append_of([5]).condition(stream_at("dog/1", appends - 1)),
        append_of([5]).condition(Condition::none_match(Query::tag("tag"))),
        append_of([5]).processed_range(processed("f@1", end - 5, end)),
    ] {
        let outcome = send(log, refused).await;
        assert!(matches!(outcome, AppendOutcome::Conflict(_)), "{outcome:?}");
    }
}

/// Writers on several handles while the store is killed repeatedly: every image contains everything
/// that was acknowledged before it was taken.
async fn kills_spare_the_acknowledged<S: Subject>(subject: &Arc<S>) {
    let acknowledged = Arc::new(Mutex::new(Vec::<u128>::new()));
    let lock =
        |list: &Mutex<Vec<u128>>| list.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut tasks = Vec::<BoxFuture<'static, ()>>::new();
    for writer in 0..3_u128 {
        let log = open(&*subject.open().await, "killed").await;
        let acknowledged = acknowledged.clone();
        let task = async move {
            for round in 0..25 {
                let first = 10_000 * (writer + 1) + round * 10;
                record(&*log, append_of(first..first + 3)).await;
                let mut list = acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
                list.extend(first..first + 3);
            }
        };
        tasks.push(task.boxed());
    }
    let subject = subject.clone();
    let killer = async move {
        for _ in 0..8 {
            let expected = lock(&acknowledged);
            let image = open(&*subject.crash_image().await, "killed").await;
            let found = numbers(&whole(&*image).await);
            let lost: Vec<_> = expected.iter().filter(|it| !found.contains(it)).collect();
            assert!(lost.is_empty(), "acknowledged, then lost: {lost:?}");
        }
    };
    tasks.push(killer.boxed());
    at_once::<S, ()>(tasks).await;
}

/// Rule 14. If the caller drops the future of an append, or it returns `OutcomeUnknown`, sending
/// the append again gives the final outcome: it is recorded once, at the returned positions, or
/// never.
pub async fn a_retry_settles_the_unknown<S: Subject>() {
    const TASKS: u128 = 4;
    let seed = seed();
    let scene = Scene::<S>::new().await;
    let mut tasks = Vec::new();
    for task in 0..TASKS {
        let log = scene.another_handle().await;
        let random = Rng::with_seed(seed ^ task as u64);
        tasks.push(async move { lose_patience(&*log, task, random).await }.boxed());
    }
    let settled = at_once::<S, Vec<u128>>(tasks).await;
    let mut expected = settled.concat();
    expected.sort_unstable();
    let mut found = numbers(&whole(&*scene.log).await);
    found.sort_unstable();
    assert_eq!(found, expected, "everything is recorded once");
    for task in 0..TASKS {
        let ranges = log_ranges(&*scene.log, task).await;
        assert!(
            ranges.windows(2).all(|pair| pair[0].1 == pair[1].0),
            "{ranges:?}"
        );
    }
}

async fn log_ranges(log: &dyn Recorder, task: u128) -> Vec<(u64, u64)> {
    let read = RangeRead::new().follower(FollowerKey::new(format!("f{task}@1")));
    let ranges = log
        .processed_ranges(read)
        .await
        .expect("the processed ranges are read");
    let number = Position::number;
    let ends = ranges
        .iter()
        .map(|it| (number(it.range.after), it.range.to.position.get()));
    ends.collect()
}

/// Sends appends and drops their futures one or more times before it settles them. Returns what is
/// recorded.
async fn lose_patience(log: &dyn Recorder, task: u128, mut random: Rng) -> Vec<u128> {
    let mut recorded = Vec::new();
    let (mut stream_version, mut done) = (0, 0);
    let stream = format!("dog/{task}");
    let follower = format!("f{task}@1");
    for round in 0..30 {
        let first = 10_000 * (task + 1) + round * 10;
        let size = random.u128(1..6);
        let append = append_to(&stream, first..first + size);
        let append = match round % 3 {
            0 => append,
            1 => append.condition(stream_at(&stream, stream_version)),
            _ => append.processed_range(processed(&follower, done, done + 2)),
        };
        for _ in 0..random.usize(1..4) {
            let polls = random.usize(..3);
            poll_at_most(log.append(append.clone()), polls).await;
        }
        settle(log, &append).await;
        if round % 3 == 2 {
            done += 2;
        }
        stream_version += size as u64;
        recorded.extend(first..first + size);
        let seen = stream_events(log, &stream).await;
        assert_eq!(seen.len() as u64, stream_version, "settled once");
        assert_eq!(
            seen.last().map(|it| it.id()),
            Some(event_id(first + size - 1))
        );
    }
    recorded
}

/// Sends an append until it gets an outcome, which must be that the append is in the log.
async fn settle(log: &dyn Recorder, append: &Append) {
    loop {
        match log.append(append.clone()).await {
            Ok(Appended::Recorded(_)) => return,
            Ok(Appended::Repeated(_)) if append.processed_ranges().is_empty() => return,
            Err(RecordError::Conflict(Conflict::Checkpoint { checkpoint, .. })) => {
                let to = append.processed_ranges().last().map(|it| it.to);
                assert_eq!(checkpoint, to, "an earlier attempt was recorded");
                return;
            }
            Err(RecordError::Unavailable(_) | RecordError::OutcomeUnknown(_)) => {}
            other => panic!("an append to a private stream resulted in {other:?}"),
        }
    }
}
