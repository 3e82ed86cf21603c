//! Rule 6: versions and positions, without gaps, in the order of commit.

use futures_util::FutureExt;

use super::scene::{
    AppendOutcome, Scene, append_of, append_to, at_once, conflict, event, event_of, head, record,
    send, stream_at,
};
use super::subject::Subject;
use super::whole::whole;
use retold_core::recording::Append;
use retold_core::recording::{Position, Version};

/// Rule 6. The versions of a stream are 1, 2, 3; within an append they follow the order of its
/// events.
pub async fn versions_have_no_gaps<S: Subject>() {
    let scene = Scene::<S>::new().await;
    let log = &*scene.log;
    record(log, append_to("dog/1", [1, 2])).await;
    // Interleaved streams, and events without a stream, in one append.
    let mixed = Append::of([
        event_of("dog/2", 3),
        event_of("dog/1", 4),
        event(5),
        event_of("dog/2", 6),
        event_of("dog/1", 7),
    ]);
    record(log, mixed).await;
    // Refused appends leave no gap.
    conflict(
        log,
        append_to("dog/1", [8]).condition(stream_at("dog/1", 9)),
    )
    .await;
    conflict(log, append_to("dog/2", [9, 1])).await;
    record(log, append_to("dog/1", [10])).await;

    let events = whole(log).await;
    let places: Vec<_> = events
        .iter()
        .map(|event| {
            (
                event.stream().unwrap_or("-"),
                Version::number(event.version()),
            )
        })
        .collect();
    let expected = [
        ("dog/1", 1),
        ("dog/1", 2),
        ("dog/2", 1),
        ("dog/1", 3),
        ("-", 0),
        ("dog/2", 2),
        ("dog/1", 4),
        ("dog/1", 5),
    ];
    assert_eq!(places, expected);
    write_at_once(&scene).await;
}

/// Rule 6. Positions are 1, 2, 3, in the order of commit; those of an append are consecutive and
/// equal to the returned ones.
pub async fn positions_have_no_gaps<S: Subject>() {
    let scene = Scene::<S>::new().await;
    let log = &*scene.log;
    assert_eq!(head(log).await.checkpoint, None);
    assert_eq!(record(log, append_of([1])).await, 1);
    conflict(log, append_of([2, 1])).await;
    assert_eq!(record(log, append_of([2, 3, 4])).await, 2);
    assert_eq!(Position::number(head(log).await.position()), 4);
    write_at_once(&scene).await;
}

/// Writers with separate handles and threads send appends of several sizes, with conflicts in
/// between. Afterwards the log is whole, and all events are at the returned positions.
async fn write_at_once<S: Subject>(scene: &Scene<S>) {
    const WRITERS: u128 = 4;
    const ROUNDS: u128 = 15;
    let before = whole(&*scene.log).await.len() as u64;
    let mut tasks = Vec::new();
    for writer in 0..WRITERS {
        let log = scene.another_handle().await;
        let task = async move {
            let mut reported = Vec::new();
            let (mut last, mut count) = (None, 0_u64);
            for round in 0..ROUNDS {
                let first = 10_000 + writer * 1000 + round * 10;
                let size = 1 + (round + writer) % 5;
                let stream = format!("dog/shared-{}", round % 3);
                if round % 4 == 3 {
                    let doomed = append_to(&stream, [first]).condition(stream_at("dog/none", 1));
                    conflict(&*log, doomed).await;
                }
                let append = append_to(&stream, first..first + size);
                match send(&*log, append).await {
                    AppendOutcome::Recorded(at) => {
                        assert_eq!(u128::from(at.count()), size);
                        assert!(at.first() > last, "a later append has later positions");
                        last = at.last();
                        reported.extend((first..first + size).zip(at.iter()));
                        count += 1;
                    }
                    other => panic!("an append without conditions resulted in {other:?}"),
                }
            }
            (reported, count)
        };
        tasks.push(task.boxed());
    }
    let appends_before = head(&*scene.log).await.append_count;
    let reported = at_once::<S, (Vec<(u128, Position)>, u64)>(tasks).await;
    let events = whole(&*scene.log).await;
    let mut total = before;
    let mut appends = appends_before;
    for (reported, count) in reported {
        total += reported.len() as u64;
        appends += count;
        for (number, position) in reported {
            let index = usize::try_from(position.get() - 1).expect("a small number");
            assert_eq!(events[index].id(), super::scene::event_id(number));
        }
    }
    assert_eq!(events.len() as u64, total);
    assert_eq!(head(&*scene.log).await.append_count, appends);
}
