//! Reading a log: filters, bounds, directions, pages.

use futures_util::TryStreamExt;
use retold_core::application::{Application, Error, LogReader, UnknownTopics};
use retold_core::recording::{Append, Position, Query, StoredEvent};

use crate::dogs::{DogEvent, registered, trick_added};
use crate::racing::{append, event, log, soon};

fn numbers(events: &[StoredEvent]) -> Vec<u64> {
    events.iter().map(|it| it.position().get()).collect()
}

/// A log of 10 events: those at odd positions have the topic `odd`, the others `even`.
async fn ten() -> LogReader {
    let log = log().await;
    for number in 1..=10 {
        append(&*log, if number % 2 == 1 { "odd" } else { "even" }, 1).await;
    }
    LogReader::new(log)
}

#[tokio::test]
async fn everything_is_read_with_pages_of_any_size() {
    let reader = ten().await;
    for size in [0, 1, 2, 3, 9, 10, 11, usize::MAX] {
        let all = reader
            .stored()
            .page_size(size)
            .read()
            .collect()
            .await
            .unwrap();
        assert_eq!(
            numbers(&all),
            (1..=10).collect::<Vec<_>>(),
            "pages of {size}"
        );
        let odd = reader
            .stored()
            .matching(Query::topic("odd"))
            .page_size(size);
        assert_eq!(
            numbers(&odd.read().collect().await.unwrap()),
            [1, 3, 5, 7, 9]
        );
    }
}

#[tokio::test]
async fn readings_begin_and_end_at_their_bounds() {
    let reader = ten().await;
    let at = Position::new;
    let read = || reader.stored().page_size(2).read();
    let check = async |reading: retold_core::application::Reading<_>, expected: &[u64]| {
        assert_eq!(numbers(&reading.collect().await.unwrap()), expected);
    };
    check(read().after(at(8)), &[9, 10]).await;
    check(read().after(at(10)), &[]).await;
    check(read().after(at(99)), &[]).await;
    check(read().until(at(3)), &[1, 2, 3]).await;
    check(read().after(at(3)).until(at(6)), &[4, 5, 6]).await;
    check(read().after(at(3)).until(at(99)).limit(3), &[4, 5, 6]).await;
    check(read().backward().limit(3), &[10, 9, 8]).await;
    check(read().backward().after(at(4)), &[3, 2, 1]).await;
    check(read().backward().after(at(8)).until(at(5)), &[7, 6, 5]).await;
    check(read().limit(0), &[]).await;

    let turned = read().after(at(5)).until(at(4)).collect().await;
    assert!(matches!(turned, Err(Error::Invalid(_))), "{turned:?}");
    assert_eq!(read().first().await.unwrap().map(|it| it.position()), at(1));
    assert!(read().after(at(10)).first().await.unwrap().is_none());
}

#[tokio::test]
async fn a_read_reports_its_extent() {
    let reader = ten().await;
    let mut events = reader
        .stored()
        .matching(Query::topic("none"))
        .read()
        .events();
    assert_eq!(events.next().await.unwrap(), None);
    assert_eq!(events.read_to().map(|it| it.position.get()), Some(10));

    let mut events = reader
        .stored()
        .page_size(3)
        .read()
        .until(Position::new(4))
        .events();
    let mut pages = Vec::new();
    while let Some(page) = events.next_page().await.unwrap() {
        pages.push(numbers(&page));
    }
    assert_eq!(pages, [vec![1, 2, 3], vec![4]]);
    assert_eq!(events.read_to().map(|it| it.position.get()), Some(4));
}

#[tokio::test]
async fn a_reading_is_a_stream() {
    let reader = ten().await;
    let events: Vec<_> = reader
        .stored()
        .page_size(4)
        .read()
        .events()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(events.len(), 10);
}

#[tokio::test]
async fn tags_narrow_every_item() {
    let log = log().await;
    let tagged =
        |topic: &str, tags: &[&str]| tags.iter().fold(event(topic), |event, tag| event.tag(*tag));
    let events = [
        tagged("a", &["x", "y"]),
        tagged("a", &["x"]),
        tagged("b", &["y"]),
    ];
    log.append(Append::of(events)).await.unwrap();
    let reader = LogReader::new(log);
    let query = Query::topic("a").or(Query::topic("b"));
    let read = reader
        .stored()
        .matching(query)
        .tag("y")
        .read()
        .collect()
        .await
        .unwrap();
    assert_eq!(numbers(&read), [1, 3]);
    let read = reader
        .stored()
        .tag("x")
        .tag("y")
        .read()
        .collect()
        .await
        .unwrap();
    assert_eq!(numbers(&read), [1]);
}

#[tokio::test]
async fn one_event_is_found_by_its_id() {
    let reader = ten().await;
    let third = reader
        .stored()
        .read()
        .after(Position::new(2))
        .first()
        .await
        .unwrap()
        .unwrap();
    assert_eq!(reader.stored_event(third.id()).await.unwrap(), Some(third));
    assert_eq!(reader.stored_event(event("x").id).await.unwrap(), None);
}

/// An application with dogs, and events with some topics that it does not know, in this order: a
/// dog of the type's former name, an unknown topic, a trick, a topic of the library, a walk.
async fn kennel() -> Application {
    let app = Application::builder("log")
        .recorder(log().await)
        .event::<DogEvent>()
        .open()
        .await
        .unwrap();
    let of = |topic: &str, payload: &'static str| {
        let mut new = event(topic).stream("Dog/1");
        new.payload = Some(payload.into());
        new
    };
    let events = [
        of("HoundEvent.Registered", r#"{"name":"Fido"}"#),
        of("CatEvent.Seen", "{}"),
        of("DogEvent.TrickAdded", r#"{"trick":"sit"}"#).tag("trick:sit"),
        of("retold.noted", "{}"),
        of("DogEvent.Walked", "{}"),
    ];
    app.settle(Append::of(events)).await.unwrap();
    app
}

#[tokio::test]
async fn typed_events_are_read_under_all_their_topics_and_no_others() {
    let app = kennel().await;
    // The log has events of cats, which the kennel does not know.
    let events = || app.events::<DogEvent>().skips_unknown_events();
    let dogs = events().read().collect().await.unwrap();
    let read: Vec<_> = dogs.iter().map(|it| it.event.clone()).collect();
    assert_eq!(
        read,
        [registered("Fido"), trick_added("sit"), DogEvent::Walked]
    );
    let positions: Vec<_> = dogs.iter().map(|it| it.position().get()).collect();
    assert_eq!(positions, [1, 3, 5]);
    assert_eq!(dogs[1].version().map(|it| it.get()), Some(3));
    assert_eq!(dogs[1].stored.topic(), "DogEvent.TrickAdded");

    let select = |query| events().matching(query).read();
    let former = select(Query::topic("DogEvent.Registered"));
    assert_eq!(former.collect().await.unwrap().len(), 1);
    let tagged = select(Query::tag("trick:sit").or(Query::topic("CatEvent.Seen")));
    assert_eq!(tagged.collect().await.unwrap().len(), 1);
    let cats = select(Query::topic("CatEvent.Seen")).collect().await;
    assert!(matches!(cats, Err(Error::Invalid(_))), "{cats:?}");

    let mut subscription = events().subscribe().await.unwrap();
    for expected in &dogs {
        assert_eq!(&soon(subscription.next()).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn one_event_is_decoded_by_its_id() {
    let app = kennel().await;
    let all = app.log().stored().read().collect().await.unwrap();
    let found = app.log().event::<DogEvent>(all[2].id()).await.unwrap();
    assert_eq!(found.map(|it| it.event), Some(trick_added("sit")));
    let other = app.log().event::<DogEvent>(all[1].id()).await;
    assert!(matches!(other, Err(Error::Mapping(_))), "{other:?}");
    let none = app.log().event::<DogEvent>(event("x").id).await;
    assert!(none.unwrap().is_none());
}

#[tokio::test]
async fn unknown_topics_are_returned_skipped_or_an_error() {
    let app = kennel().await;
    let read = async |unknown| app.log().stored_where(unknown).read().collect().await;
    let positions = |events: Vec<StoredEvent>| numbers(&events);
    assert_eq!(
        positions(read(UnknownTopics::Give).await.unwrap()),
        [1, 2, 3, 4, 5]
    );
    assert_eq!(
        positions(read(UnknownTopics::Skip).await.unwrap()),
        [1, 3, 4, 5]
    );
    let error = read(UnknownTopics::Fail).await.unwrap_err().to_string();
    assert!(
        error.contains("position 2") && error.contains("CatEvent.Seen"),
        "{error}"
    );

    let selection = app.log().stored_where(UnknownTopics::Fail);
    let mut subscription = selection.subscribe().await.unwrap();
    assert_eq!(soon(subscription.next()).await.unwrap().position().get(), 1);
    for _ in 0..2 {
        assert!(soon(subscription.next()).await.is_err());
        assert_eq!(
            subscription.checkpoint().map(|it| it.position.get()),
            Some(1)
        );
    }
    assert_eq!(
        subscription.pass_over().map(|it| it.position().get()),
        Some(2)
    );
    assert!(subscription.pass_over().is_none());
    assert_eq!(soon(subscription.next()).await.unwrap().position().get(), 3);
}

#[tokio::test]
async fn an_event_that_cannot_be_decoded_is_reported_by_every_read() {
    let app = kennel().await;
    let mut broken = event("DogEvent.Registered");
    broken.payload = Some("{}".into());
    app.settle(Append::of([broken, event("DogEvent.Walked")]))
        .await
        .unwrap();

    let selected = || app.events::<DogEvent>().skips_unknown_events();
    let mut events = selected().read().events();
    let before = events.next_page().await.unwrap().unwrap();
    assert_eq!(before.len(), 3);
    for _ in 0..2 {
        let error = events.next_page().await.unwrap_err();
        assert!(
            error.to_string().contains("missing field `name`"),
            "{error}"
        );
    }
    let mut subscription = selected()
        .subscribe()
        .after_position(Position::new(5))
        .await
        .unwrap();
    assert!(soon(subscription.next()).await.is_err());
    assert!(subscription.pass_over().is_some());
    assert_eq!(
        soon(subscription.next()).await.unwrap().event,
        DogEvent::Walked
    );
}
