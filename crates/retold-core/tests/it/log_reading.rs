//! Reading a log once: filters, bounds, directions, pages.

use futures_util::TryStreamExt;
use retold_core::application::{Error, LogReader};
use retold_core::recording::identity::Position;
use retold_core::recording::query::Query;
use retold_core::recording::stored_event::StoredEvent;

use crate::racing::{append, event, log};

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
async fn everything_is_read_whatever_the_size_of_pages() {
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
async fn readings_begin_and_end_where_they_are_told() {
    let reader = ten().await;
    let at = Position::new;
    let read = || reader.stored().page_size(2).read();
    let check = async |reading: retold_core::application::log_reading::Reading<_>,
                       expected: &[u64]| {
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
async fn a_reading_says_how_far_it_went() {
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
    log.append(retold_core::recording::append::Append::of(events))
        .await
        .unwrap();
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
