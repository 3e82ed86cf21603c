//! Rule 7: a reader that only reads forward sees everything that is committed, in one order.

use fastrand::Rng;
use futures_util::FutureExt;

use super::dropping::poll_at_most;
use super::scene::{
    AppendOutcome, Scene, append_of, append_to, at_once, event, event_id, head, read, record, seed,
    send, soon, stream_at, stream_events,
};
use super::subject::Subject;
use super::whole::{check_positions, whole};
use retold_core::recording::NewEvent;
use retold_core::recording::Query;
use retold_core::recording::{Append, Positions};
use retold_core::recording::{Checkpoint, Position};
use retold_core::recording::{LogRead, Recorder};

const WRITERS: usize = 4;
/// Appends that each writer sends.
const ROUNDS: u128 = 60;

/// Rule 7. Many writers send appends of one event and of hundreds, with conflicts, mistakes and
/// dropped calls. Several readers only read forward from `read_to`, with and without a query, by
/// polling and by waiting. Each reader sees all committed events that it selects, in the order of
/// the log.
pub async fn a_tailing_reader_never_skips<S: Subject>() {
    let seed = seed();
    let scene = Scene::<S>::new().await;
    record(&*scene.log, append_of([0])).await;
    let mut tasks = Vec::new();
    for writer in 0..WRITERS {
        let log = scene.another_handle().await;
        let random = Rng::with_seed(seed ^ writer as u64);
        let task = async move { TaskResult::Reported(write(&*log, writer as u128, random).await) };
        tasks.push(task.boxed());
    }
    let reads = [
        (LogRead::new().limit(3), Pace::Polls),
        (LogRead::new(), Pace::Waits),
        (LogRead::of(Query::tag("even")).limit(2), Pace::Polls),
        (
            LogRead::of(Query::tag("rare").or(Query::topic("Dog.Never"))),
            Pace::Polls,
        ),
        (LogRead::of(Query::stream("dog/1")).limit(50), Pace::Waits),
    ];
    for (tail, pace) in reads.clone() {
        let log = scene.another_handle().await;
        let task = async move { TaskResult::Checkpoints(follow(&*log, tail, pace).await) };
        tasks.push(task.boxed());
    }
    let seen = soon("writers and readers end", at_once::<S, TaskResult>(tasks)).await;

    let committed = whole(&*scene.log).await;
    check_positions(&committed);
    for seen in &seen[..WRITERS] {
        let TaskResult::Reported(reported) = seen else {
            unreachable!("writers come first")
        };
        for (first, positions) in reported {
            for (number, position) in (*first..).zip(positions.iter()) {
                let index = usize::try_from(position.get() - 1).expect("a small number");
                assert_eq!(
                    committed[index].id(),
                    event_id(number),
                    "the event is at the returned position"
                );
            }
        }
    }
    for ((tail, _), seen) in reads.iter().zip(&seen[WRITERS..]) {
        let TaskResult::Checkpoints(seen) = seen else {
            unreachable!("readers come last")
        };
        let expected = committed.iter().filter(|it| tail.query.matches(it));
        let expected: Vec<Checkpoint> = expected.map(|it| it.checkpoint()).collect();
        assert_eq!(*seen, expected, "what was seen by {:?}", tail.query);
    }
}

/// The result of a task: a writer's positions, or the events that a reader saw.
enum TaskResult {
    Reported(Vec<(u128, Positions)>),
    Checkpoints(Vec<Checkpoint>),
}

#[derive(Clone, Copy)]
enum Pace {
    Polls,
    Waits,
}

/// Appends in all sizes and with all kinds of failures. Returns what was acknowledged: the number
/// of an append's first event and its positions.
async fn write(log: &dyn Recorder, writer: u128, mut random: Rng) -> Vec<(u128, Positions)> {
    let mut reported = Vec::new();
    for round in 0..ROUNDS {
        let first = 1_000_000 * (writer + 1) + 1000 * round;
        let size = [1, 1, 1, 2, 5, 40, 150][random.usize(..7)];
        let append = Append::of((first..first + size).map(|number| tagged(number, &mut random)));
        match random.u8(..8) {
            // A caller that drops its call; the append may be recorded.
            0 => {
                let polls = random.usize(..3);
                poll_at_most(log.append(append), polls).await;
            }
            // A conflict that is found after much was prepared.
            1 => {
                let append = append.condition(stream_at("dog/never", 3));
                let outcome = send(log, append).await;
                assert!(matches!(outcome, AppendOutcome::Conflict(_)), "{outcome:?}");
            }
            // A mistake, and an id that is taken, at the end of many.
            2 => {
                let outcome = send(log, append.clone().event(event(first))).await;
                assert_eq!(outcome, AppendOutcome::Invalid);
                let outcome = send(log, append.event(event(0))).await;
                assert!(matches!(outcome, AppendOutcome::Conflict(_)), "{outcome:?}");
            }
            _ => match send(log, append).await {
                AppendOutcome::Recorded(positions) => reported.push((first, positions)),
                other => panic!("an append without conditions resulted in {other:?}"),
            },
        }
    }
    record(log, append_to("dog/end", [2_000_000 * (writer + 10)])).await;
    reported
}

fn tagged(number: u128, random: &mut Rng) -> NewEvent {
    let event = match random.u8(..3) {
        0 => event(number),
        stream => event(number).stream(format!("dog/{stream}")),
    };
    let event = if random.u8(..40) == 0 {
        event.tag("rare")
    } else {
        event
    };
    if number.is_multiple_of(2) {
        event.tag("even")
    } else {
        event
    }
}

/// Reads forward until the writers are done and the head is reached.
async fn follow(log: &dyn Recorder, tail: LogRead, pace: Pace) -> Vec<Checkpoint> {
    let mut seen = Vec::<Checkpoint>::new();
    let mut went = None::<Position>;
    loop {
        // In this order: if some writers are not done now, there will be more appends than `known`.
        let known = head(log).await.append_count;
        let is_last = stream_events(log, "dog/end").await.len() == WRITERS;
        let end = head(log).await.position();
        loop {
            let page = read(log, tail.clone().after(went)).await;
            let position = page.read_to_position();
            assert!(position >= went, "a forward read never goes back");
            for event in &page.events {
                assert!(Some(event.position()) > went, "nothing is seen twice");
                assert!(
                    Some(event.position()) <= position,
                    "nothing is beyond `read_to`"
                );
                seen.push(event.checkpoint());
            }
            went = position;
            if went >= end {
                break;
            }
        }
        if is_last {
            return seen;
        }
        match pace {
            Pace::Polls => std::thread::yield_now(),
            Pace::Waits => {
                let count = log.changed_since(known).await.expect("a count");
                assert!(count > known, "the waiter wakes when there are more");
            }
        }
    }
}
