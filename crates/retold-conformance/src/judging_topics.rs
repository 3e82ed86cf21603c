//! Rule 23: the condition on the number of topics of a log.

use futures_util::FutureExt;

use super::scene::{
    AppendOutcome, Scene, append_of, at_once, conflict, event, head, open, record, send, stream_at,
};
use super::subject::Subject;
use super::whole::whole;
use retold_core::recording::Append;
use retold_core::recording::Condition;
use retold_core::recording::Conflict;
use retold_core::recording::NewEvent;

fn of_topic(number: u128, topic: &str) -> NewEvent {
    let mut event = event(number);
    event.topic = topic.to_owned().into();
    event
}

/// Rule 23. An append is recorded only if the log has the number of topics that it names, counted
/// before the append and after the earlier appends of its group.
pub async fn append_checks_the_count_of_topics<S: Subject>() {
    let scene = Scene::<S>::new().await;
    let log = &*scene.log;
    let on = |append: Append, count| append.condition(Condition::topic_count(count));
    let refused = async |append: Append, expected, actual| {
        let conflict = conflict(log, on(append, expected)).await;
        assert_eq!(conflict, Conflict::Topics { expected, actual });
    };
    refused(append_of([1]), 1, 0).await;
    // Topics that the append adds are not counted.
    let first = Append::of([of_topic(1, "a"), of_topic(2, "b"), of_topic(3, "a")]);
    record(log, on(first, 0)).await;
    refused(Append::of([of_topic(4, "a")]), 0, 2).await;
    refused(Append::of([of_topic(4, "a")]), 3, 2).await;
    refused(Append::of([of_topic(4, "a")]), u64::MAX, 2).await;
    record(log, on(Append::of([of_topic(4, "a")]), 2)).await;
    // It is judged in its turn among several conditions.
    let several = Append::of([of_topic(5, "c")])
        .condition(Condition::topic_count(1))
        .condition(stream_at("dog/1", 7));
    let expected = Conflict::Topics {
        expected: 1,
        actual: 2,
    };
    assert_eq!(conflict(log, several).await, expected);
    // Topics of another log do not count.
    let other = open(&*scene.store, "other").await;
    record(&*other, on(append_of([1]), 0)).await;

    racing_topics_exclude_each_other(&scene).await;
    whole(log).await;
}

/// Appends that are sent at once, each with a new topic and on the condition that no other topic
/// was added: of the appends that read one count, one is recorded, even if a store commits them as
/// a group.
async fn racing_topics_exclude_each_other<S: Subject>(scene: &Scene<S>) {
    const WRITERS: u128 = 4;
    const ROUNDS: u128 = 10;
    let before = head(&*scene.log).await.topic_count;
    let mut tasks = Vec::new();
    for writer in 0..WRITERS {
        let log = scene.another_handle().await;
        let task = async move {
            let mut won = 0_u64;
            for round in 0..ROUNDS {
                let count = before + u64::try_from(round).expect("it is small");
                let sends = (0..3).map(|number| {
                    let number = 10_000 + writer * 1000 + round * 10 + number;
                    let event = of_topic(number, &format!("topic {number}"));
                    let append = Append::of([event]).condition(Condition::topic_count(count));
                    send(&*log, append)
                });
                for outcome in futures_util::future::join_all(sends).await {
                    match outcome {
                        AppendOutcome::Recorded(_) => won += 1,
                        AppendOutcome::Conflict(Conflict::Topics { expected, actual }) => {
                            assert!(expected != actual, "the count has changed");
                        }
                        other => panic!("a race for the next topic resulted in {other:?}"),
                    }
                }
            }
            won
        };
        tasks.push(task.boxed());
    }
    let won: u64 = at_once::<S, u64>(tasks).await.iter().sum();
    let after = head(&*scene.log).await.topic_count;
    assert_eq!(u128::from(won), ROUNDS, "each count is increased once");
    assert_eq!(after, before + won);
}
