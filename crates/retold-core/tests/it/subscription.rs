//! Subscriptions: nothing is skipped or duplicated, even in races.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_util::StreamExt;
use retold_core::application::{Error, LogReader, Signal, Subscription};
use retold_core::domain::{IdSource, UuidV7Source};
use retold_core::recording::{
    Checkpoint, EventId, LogId, MemoryStore, Position, Query, Recorder, Store, StoredEvent,
};

use crate::racing::{append, log, seed, soon, write};
use crate::unsteady::Unsteady;

const LAST: &str = "last";

/// Takes events until the one of the topic `last`, which is not returned, sometimes dropping `next`
/// after a few polls.
async fn take_to_last(
    mut subscription: Subscription<StoredEvent>,
    mut random: fastrand::Rng,
) -> Vec<EventId> {
    let mut ids = Vec::new();
    let mut last = None;
    loop {
        let event = {
            let mut next = pin!(subscription.next());
            let mut polls_left = random.u8(0..4);
            std::future::poll_fn(|context| match next.as_mut().poll(context) {
                Poll::Ready(event) => Poll::Ready(Some(event)),
                Poll::Pending if polls_left == 0 => Poll::Ready(None),
                Poll::Pending => {
                    polls_left -= 1;
                    Poll::Pending
                }
            })
            .await
        };
        let Some(event) = event else {
            tokio::task::yield_now().await;
            continue;
        };
        let event = match event {
            Ok(event) => event,
            Err(Error::Unavailable(_)) => continue,
            Err(error) => panic!("{error}"),
        };
        assert!(
            last < Some(event.position()),
            "{event:?} came after {last:?}"
        );
        last = Some(event.position());
        if event.topic() == LAST {
            return ids;
        }
        ids.push(event.id());
    }
}

async fn ids(reader: &LogReader, query: Query) -> Vec<EventId> {
    let events = reader
        .stored()
        .matching(query)
        .read()
        .collect()
        .await
        .unwrap();
    events.iter().map(StoredEvent::id).collect()
}

/// Goal: a subscriber receives the events that others record at the same time: all, once, in order.
/// Method: writers that conflict and record large appends; subscribers with pages of every size, of
/// all events and of some, that begin at different times and drop `next` at random polls; half of
/// them over a recorder that pends, fails and wakes at random.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_subscribers_skip_and_double_nothing() {
    let mut random = fastrand::Rng::with_seed(seed());
    let log = log().await;
    let reader = LogReader::new(log.clone());
    let readers = [
        reader.clone(),
        LogReader::new(Unsteady::new(log.clone(), random.u64(..))),
    ];
    let query_of = |number: usize| match number % 3 {
        0 => Query::All,
        1 => Query::topic("odd").or(Query::topic(LAST)),
        _ => Query::stream("stream/1").or(Query::topic(LAST)),
    };
    let mut subscribers = Vec::new();
    let mut subscribe = async |count: usize, random: &mut fastrand::Rng| {
        for _ in 0..count {
            let number = subscribers.len();
            let selection = readers[number % 2]
                .stored()
                .matching(query_of(number))
                .page_size(random.usize(1..80));
            let subscription = selection.subscribe().await.unwrap();
            let taken = take_to_last(subscription, random.fork());
            subscribers.push(tokio::spawn(taken));
        }
    };
    subscribe(6, &mut random).await;
    let writers: Vec<_> = (0..4)
        .map(|_| tokio::spawn(write(log.clone(), random.u64(..), 100)))
        .collect();
    subscribe(6, &mut random).await;
    for writer in writers {
        soon(writer).await.unwrap();
    }
    subscribe(3, &mut random).await;
    append(&*log, LAST, 1).await;

    for (number, subscriber) in subscribers.into_iter().enumerate() {
        let taken = soon(subscriber).await.unwrap();
        let mut recorded = ids(&reader, query_of(number)).await;
        recorded.pop();
        assert_eq!(taken.len(), recorded.len(), "subscriber {number}");
        assert!(taken == recorded, "subscriber {number} saw another order");
    }
}

/// Goal: a subscription that restarts from the last checkpoint receives the following events, once.
/// Method: restart after every few events, at checkpoints in the middle and at the end of pages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_is_where_the_next_one_resumes() {
    let mut random = fastrand::Rng::with_seed(seed());
    let log = log().await;
    let reader = LogReader::new(log.clone());
    let writer = tokio::spawn(write(log.clone(), random.u64(..), 100));
    let query = Query::topic("odd").or(Query::topic(LAST));
    let mut taken = Vec::new();
    let mut checkpoint = None;
    let mut is_over = false;
    let writer = tokio::spawn(async move {
        writer.await.unwrap();
        append(&*log, LAST, 1).await;
    });
    while !is_over {
        let size = random.usize(1..8);
        let selection = reader.stored().matching(query.clone()).page_size(size);
        let mut subscription = selection.subscribe().after(checkpoint).await.unwrap();
        for _ in 0..random.usize(1..10) {
            let event = soon(subscription.next()).await.unwrap();
            assert!(
                subscription
                    .checkpoint()
                    .is_some_and(|it| it.position >= event.position())
            );
            is_over = event.topic() == LAST;
            taken.push(event.id());
            if is_over {
                break;
            }
        }
        checkpoint = subscription.checkpoint();
    }
    writer.await.unwrap();
    assert!(taken == ids(&reader, query).await);
}

#[tokio::test]
async fn a_checkpoint_of_another_history_is_reported() {
    let log = log().await;
    append(&*log, "a", 3).await;
    let reader = LogReader::new(log);
    let foreign = Checkpoint {
        position: Position::new(2).unwrap(),
        event_id: EventId::new(UuidV7Source.next_id()),
    };
    let error = reader
        .stored()
        .subscribe()
        .after(foreign)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Diverged { checkpoint: it, found: Some(_), .. } if *it == foreign)
    );
    assert!(error.to_string().contains("has diverged"), "{error}");

    let beyond = Checkpoint {
        position: Position::new(9).unwrap(),
        ..foreign
    };
    let error = reader.stored().subscribe().after(beyond).await.unwrap_err();
    assert!(matches!(error, Error::Diverged { found: None, .. }));

    let error = reader
        .stored()
        .subscribe()
        .after_position(Position::new(9))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
    let mut from = reader
        .stored()
        .subscribe()
        .after_position(Position::new(2))
        .await
        .unwrap();
    assert_eq!(soon(from.next()).await.unwrap().position().get(), 3);
}

#[tokio::test]
async fn a_subscriber_hears_when_it_caught_up_and_fell_behind() {
    let log = log().await;
    append(&*log, "a", 3).await;
    let selection = LogReader::new(log.clone()).stored().page_size(2);
    let mut subscription = selection.subscribe().await.unwrap();
    let mut heard = async |count: usize| {
        let mut text = String::new();
        for _ in 0..count {
            text += &match soon(subscription.next_signal()).await.unwrap() {
                Signal::Event(event) => format!("{} ", event.position()),
                Signal::CaughtUp(checkpoint) => {
                    assert_eq!(checkpoint, subscription.checkpoint());
                    "up ".into()
                }
                Signal::FellBehind => "behind ".into(),
                other => panic!("{other:?}"),
            };
        }
        text
    };
    assert_eq!(heard(4).await, "1 2 3 up ");
    append(&*log, "a", 1).await;
    assert_eq!(heard(1).await, "4 ");
    append(&*log, "a", 3).await;
    assert_eq!(heard(5).await, "behind 5 6 7 up ");
}

#[tokio::test]
async fn a_filtered_subscription_advances_over_unselected_events() {
    let log = log().await;
    append(&*log, "other", 50).await;
    let selection = LogReader::new(log.clone())
        .stored()
        .matching(Query::topic("a"));
    let mut subscription = selection.subscribe().await.unwrap();
    let signal = soon(subscription.next_signal()).await.unwrap();
    assert!(
        matches!(signal, Signal::CaughtUp(Some(checkpoint)) if checkpoint.position.get() == 50)
    );
    append(&*log, "other", 50).await;
    append(&*log, "a", 1).await;
    append(&*log, "other", 9).await;
    assert_eq!(
        soon(subscription.next()).await.unwrap().position().get(),
        101
    );
    assert_eq!(subscription.checkpoint().unwrap().position.get(), 110);
}

#[tokio::test]
async fn a_subscription_from_now_returns_later_events() {
    let log = log().await;
    append(&*log, "a", 5).await;
    let mut subscription = LogReader::new(log.clone())
        .stored()
        .subscribe()
        .from_now()
        .await
        .unwrap();
    append(&*log, "a", 1).await;
    let event = soon(subscription.next()).await;
    assert_eq!(event.unwrap().position().get(), 6);
    let mut waker = Context::from_waker(Waker::noop());
    assert!(subscription.poll_next_unpin(&mut waker).is_pending());
}

#[tokio::test]
async fn a_log_can_be_read_before_it_exists() {
    let store = MemoryStore::new();
    let reader = LogReader::new(store.open_read_only("later").await.unwrap());
    assert!(reader.stored().read().collect().await.unwrap().is_empty());
    let mut subscription = reader.stored().subscribe().await.unwrap();
    assert_eq!(
        soon(subscription.next_signal()).await.unwrap(),
        Signal::CaughtUp(None)
    );

    let birth = LogId::new(UuidV7Source.next_id());
    let log: Arc<dyn Recorder> = store.open("later", birth).await.unwrap();
    append(&*log, "a", 1).await;
    assert_eq!(soon(subscription.next()).await.unwrap().position().get(), 1);
}
