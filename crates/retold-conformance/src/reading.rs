//! Rules 8, 9 and 17, and the rest of the contract of reads: their extent, freshness and direction.

use futures_util::FutureExt;

use super::scene::{
    AppendOutcome, LOG, Scene, append_of, append_to, at_once, checkpoint, conflict, event,
    event_id, event_of, head, log_id, numbers, position, read, read_all, read_stream, record, send,
    stream_at, stream_events, version,
};
use super::subject::Subject;
use retold_core::recording::Append;
use retold_core::recording::Condition;
use retold_core::recording::FollowerKey;
use retold_core::recording::RecordError;
use retold_core::recording::{Checkpoint, Position, Version};
use retold_core::recording::{Head, LogRead, Page, PageEnd, RangeRead, Recorder, StreamRead};
use retold_core::recording::{Query, QueryItem};

/// An expected page: the numbers of its events, the position that it read to, its end.
pub(super) type ExpectedPage<'a> = (&'a [u128], u64, PageEnd);

pub(super) fn check_page(what: &str, page: &Page, (events, read_to, end): ExpectedPage<'_>) {
    let found = numbers(&page.events);
    let went = Position::number(page.read_to_position());
    assert_eq!(
        (&found[..], went, page.end),
        (events, read_to, end),
        "{what}"
    );
    let expected = (went > 0).then(|| checkpoint(went, went.into()));
    assert_eq!(
        page.read_to, expected,
        "{what}: the checkpoint names the event there"
    );
}

/// Six events: 1, 3 and 6 in one stream, 2 and 5 with a tag.
pub(super) async fn six_events(log: &dyn Recorder) {
    record(log, append_to("dog/1", [1])).await;
    record(log, Append::of([event(2).tag("tag"), event_of("dog/1", 3)])).await;
    record(log, append_of([4])).await;
    record(log, Append::of([event(5).tag("tag"), event_of("dog/1", 6)])).await;
}

/// Rule 8. A page says how far the read went: to its last event if it is full, else to the event at
/// `until`, else to the head, regardless of the events found.
pub async fn a_read_says_how_far_it_went<S: Subject>() {
    let scene = Scene::<S>::new().await;
    let log = &*scene.log;
    let page = read(log, LogRead::new()).await;
    check_page("an empty log", &page, (&[], 0, PageEnd::Complete));
    let page = read(log, LogRead::new().after(position(7))).await;
    check_page("beyond an empty log", &page, (&[], 0, PageEnd::Complete));
    six_events(log).await;
    check_log_pages(log).await;
    check_filtered_pages(log).await;
    check_stream_pages(log).await;
    check_refused_reads(log).await;
}

async fn check_log_pages(log: &dyn Recorder) {
    use PageEnd::{Complete, Full};
    let all = LogRead::new;
    let at = position;
    let rows: Vec<(LogRead, ExpectedPage<'_>)> = vec![
        (all(), (&[1, 2, 3, 4, 5, 6], 6, Complete)),
        (all().limit(usize::MAX), (&[1, 2, 3, 4, 5, 6], 6, Complete)),
        (all().limit(2), (&[1, 2], 2, Full)),
        (all().limit(6), (&[1, 2, 3, 4, 5, 6], 6, Full)),
        (all().limit(7), (&[1, 2, 3, 4, 5, 6], 6, Complete)),
        (all().after(at(4)), (&[5, 6], 6, Complete)),
        (all().after(at(4)).limit(1), (&[5], 5, Full)),
        (all().after(at(6)), (&[], 6, Complete)),
        (all().after(at(7)), (&[], 6, Complete)),
        (all().after(at(1 << 63)), (&[], 6, Complete)),
        (all().after(at(u64::MAX)), (&[], 6, Complete)),
        (all().until(at(3)), (&[1, 2, 3], 3, Complete)),
        (all().until(at(3)).limit(3), (&[1, 2, 3], 3, Full)),
        (all().until(at(3)).limit(2), (&[1, 2], 2, Full)),
        (all().until(at(6)), (&[1, 2, 3, 4, 5, 6], 6, Complete)),
        (all().until(at(9)), (&[1, 2, 3, 4, 5, 6], 6, Complete)),
        (
            all().until(at(u64::MAX)),
            (&[1, 2, 3, 4, 5, 6], 6, Complete),
        ),
        (all().after(at(2)).until(at(4)), (&[3, 4], 4, Complete)),
        (all().after(at(3)).until(at(3)), (&[], 3, Complete)),
        (all().after(at(8)).until(at(9)), (&[], 6, Complete)),
    ];
    for (log_read, expected) in rows {
        let page = read(log, log_read.clone()).await;
        check_page(&format!("{log_read:?}"), &page, expected);
    }
}

async fn check_filtered_pages(log: &dyn Recorder) {
    use PageEnd::{Complete, Full};
    let tag = || LogRead::of(Query::tag("tag"));
    let none = || LogRead::of(Query::tag("unused tag"));
    let at = position;
    let both = Query::tag("tag").or(Query::item(
        QueryItem::new().stream("dog/1").topic("Dog.Barked"),
    ));
    let rows: Vec<(LogRead, ExpectedPage<'_>)> = vec![
        (tag(), (&[2, 5], 6, Complete)),
        (tag().limit(1), (&[2], 2, Full)),
        (tag().limit(2), (&[2, 5], 5, Full)),
        (tag().after(at(2)), (&[5], 6, Complete)),
        (tag().after(at(5)), (&[], 6, Complete)),
        (tag().until(at(4)), (&[2], 4, Complete)),
        (tag().until(at(2)).limit(1), (&[2], 2, Full)),
        (tag().after(at(2)).until(at(4)), (&[], 4, Complete)),
        (tag().after(at(9)), (&[], 6, Complete)),
        (none(), (&[], 6, Complete)),
        (none().until(at(4)), (&[], 4, Complete)),
        (none().after(at(3)), (&[], 6, Complete)),
        (LogRead::of(both), (&[1, 2, 3, 5, 6], 6, Complete)),
    ];
    for (log_read, expected) in rows {
        let page = read(log, log_read.clone()).await;
        check_page(&format!("{log_read:?}"), &page, expected);
    }
    let (events, read_to) = read_all(log, tag().limit(1)).await;
    assert_eq!(
        (numbers(&events), read_to),
        (vec![2, 5], Some(checkpoint(6, 6)))
    );
}

async fn check_stream_pages(log: &dyn Recorder) {
    use PageEnd::{Complete, Full};
    let dog = || StreamRead::new("dog/1");
    let at = version;
    let rows: Vec<(StreamRead, ExpectedPage<'_>)> = vec![
        (dog(), (&[1, 3, 6], 6, Complete)),
        (dog().limit(2), (&[1, 3], 3, Full)),
        (dog().limit(3), (&[1, 3, 6], 6, Full)),
        (dog().after(at(1)), (&[3, 6], 6, Complete)),
        (dog().after(at(3)), (&[], 6, Complete)),
        (dog().after(at(4)), (&[], 6, Complete)),
        (dog().after(at(u64::MAX)), (&[], 6, Complete)),
        (dog().until(at(2)), (&[1, 3], 3, Complete)),
        (dog().until(at(2)).limit(1), (&[1], 1, Full)),
        (dog().until(at(4)), (&[1, 3, 6], 6, Complete)),
        (dog().until(at(u64::MAX)), (&[1, 3, 6], 6, Complete)),
        (dog().after(at(1)).until(at(1)), (&[], 1, Complete)),
        (dog().after(at(5)).until(at(6)), (&[], 6, Complete)),
        (StreamRead::new("dog/2"), (&[], 6, Complete)),
    ];
    for (stream_read, expected) in rows {
        let page = read_stream(log, stream_read.clone()).await;
        check_page(&format!("{stream_read:?}"), &page, expected);
    }
    // A stream that ends before the log: the page is complete and reads to the head.
    record(log, append_of([7])).await;
    let page = read_stream(log, dog()).await;
    check_page(
        "a stream whose end is not the log's",
        &page,
        (&[1, 3, 6], 7, Complete),
    );
}

async fn check_refused_reads(log: &dyn Recorder) {
    let at = position;
    let too_many = (0..65).map(|number| QueryItem::new().tag(format!("{number}")));
    let large = (0..65).fold(QueryItem::new(), |item, number| {
        item.tag(format!("{number}"))
    });
    let refused = [
        LogRead::new().limit(0),
        LogRead::new().after(at(4)).until(at(3)),
        LogRead::new().backward().after(at(3)).until(at(4)),
        LogRead::of(Query::Items(Vec::new())),
        LogRead::of(Query::item(QueryItem::new())),
        LogRead::of(Query::tag("tag").or(Query::item(QueryItem::new()))),
        LogRead::of(Query::Items(too_many.collect())),
        LogRead::of(Query::item(large)),
        LogRead::of(Query::tag("")),
        LogRead::of(Query::stream("a\nb")),
        LogRead::of(Query::topic("x".repeat(256))),
    ];
    for log_read in refused {
        let result = log.read_log(log_read.clone()).await;
        let is_invalid = matches!(result, Err(RecordError::Invalid(_)));
        assert!(is_invalid, "{log_read:?} must be refused: {result:?}");
    }
    let dog = || StreamRead::new("dog/1");
    let refused = [
        dog().limit(0),
        dog().after(version(2)).until(version(1)),
        dog().backward().after(version(1)).until(version(2)),
        StreamRead::new(""),
    ];
    for stream_read in refused {
        let result = log.read_stream(stream_read.clone()).await;
        let is_invalid = matches!(result, Err(RecordError::Invalid(_)));
        assert!(is_invalid, "{stream_read:?} must be refused: {result:?}");
    }
}

/// A backward read returns the events of a forward read in reverse order, and the head of its
/// state.
pub async fn backward_reads_mirror_forward_reads<S: Subject>() {
    use PageEnd::{Complete, Full};
    let scene = Scene::<S>::new().await;
    let log = &*scene.log;
    let page = read(log, LogRead::new().backward()).await;
    check_page("an empty log", &page, (&[], 0, Complete));
    six_events(log).await;
    let all = || LogRead::new().backward();
    let tag = || LogRead::of(Query::tag("tag")).backward();
    let at = position;
    let rows: Vec<(LogRead, ExpectedPage<'_>)> = vec![
        (all(), (&[6, 5, 4, 3, 2, 1], 6, Complete)),
        (all().limit(2), (&[6, 5], 6, Full)),
        (all().limit(6), (&[6, 5, 4, 3, 2, 1], 6, Full)),
        (all().after(at(3)), (&[2, 1], 6, Complete)),
        (all().after(at(1)), (&[], 6, Complete)),
        (all().after(at(9)), (&[6, 5, 4, 3, 2, 1], 6, Complete)),
        (all().after(at(u64::MAX)).limit(1), (&[6], 6, Full)),
        (all().until(at(4)), (&[6, 5, 4], 6, Complete)),
        (all().until(at(9)), (&[], 6, Complete)),
        (all().after(at(5)).until(at(3)), (&[4, 3], 6, Complete)),
        (all().after(at(3)).until(at(3)), (&[], 6, Complete)),
        (tag(), (&[5, 2], 6, Complete)),
        (tag().limit(1), (&[5], 6, Full)),
        (tag().after(at(5)), (&[2], 6, Complete)),
        (tag().until(at(3)), (&[5], 6, Complete)),
    ];
    for (log_read, expected) in rows {
        let page = read(log, log_read.clone()).await;
        check_page(&format!("{log_read:?}"), &page, expected);
    }
    let dog = || StreamRead::new("dog/1").backward();
    let at = version;
    let rows: Vec<(StreamRead, ExpectedPage<'_>)> = vec![
        (dog(), (&[6, 3, 1], 6, Complete)),
        (dog().limit(1), (&[6], 6, Full)),
        (dog().after(at(3)), (&[3, 1], 6, Complete)),
        (dog().after(at(9)).limit(2), (&[6, 3], 6, Full)),
        (dog().after(at(1)), (&[], 6, Complete)),
        (dog().until(at(2)), (&[6, 3], 6, Complete)),
        (dog().until(at(4)), (&[], 6, Complete)),
        (dog().after(at(3)).until(at(2)), (&[3], 6, Complete)),
        (StreamRead::new("dog/2").backward(), (&[], 6, Complete)),
    ];
    for (stream_read, expected) in rows {
        let page = read_stream(log, stream_read.clone()).await;
        check_page(&format!("{stream_read:?}"), &page, expected);
    }
}

/// Rule 9. A read sees everything that was acknowledged before it began, through any handle, and so
/// does the check of an append.
pub async fn a_read_sees_what_was_acknowledged<S: Subject>() {
    let scene = Scene::<S>::new().await;
    let other = scene.another_handle().await;
    let handles = [scene.log.clone(), other, scene.another_handle().await];
    for number in 1..=24_u64 {
        let writer = &*handles[number as usize % 3];
        let id = u128::from(number);
        let tag = format!("tag-{number}");
        let event = event_of("dog/1", id).tag(tag.as_str());
        record(writer, Append::of([event])).await;
        for reader in &handles {
            let expected = Some(checkpoint(number, id));
            check_sees(&**reader, number, &tag, expected).await;
        }
        // Every other handle judges by it as well.
        let judge = &*handles[(number as usize + 1) % 3];
        let stale = append_of([1000 + id]).condition(stream_at("dog/1", number - 1));
        conflict(judge, stale).await;
        let stale = append_of([1000 + id]).condition(Condition::none_match(Query::tag(tag)));
        conflict(judge, stale).await;
        conflict(judge, append_of([1000 + id, id])).await;
        let repeat = send(judge, append_of([id])).await;
        assert!(matches!(repeat, AppendOutcome::Repeated(_)), "{repeat:?}");
    }
    threads_see_each_other(&scene).await;
}

async fn check_sees(reader: &dyn Recorder, number: u64, tag: &str, expected: Option<Checkpoint>) {
    assert_eq!(head(reader).await.checkpoint, expected, "by the head");
    let after = Position::new(number - 1);
    let page = read(reader, LogRead::new().after(after)).await;
    assert_eq!(page.read_to, expected, "by a read of the log");
    assert_eq!(page.events.len(), 1);
    let page = read_stream(
        reader,
        StreamRead::new("dog/1").after(Version::new(number - 1)),
    )
    .await;
    assert_eq!(page.events.len(), 1, "by a read of the stream");
    let page = read(reader, LogRead::of(Query::tag(tag))).await;
    assert_eq!(page.events.len(), 1, "by a query");
    let found = reader
        .event(event_id(number.into()))
        .await
        .expect("an event is read");
    assert_eq!(found.map(|it| it.checkpoint()), expected, "by its id");
    let count = reader.changed_since(number - 1).await.expect("a count");
    assert_eq!(count, number, "by the count of appends");
}

/// Threads append and immediately read through another handle while others do the same.
async fn threads_see_each_other<S: Subject>(scene: &Scene<S>) {
    let mut tasks = Vec::new();
    for thread in 0..3_u128 {
        let (writer, reader) = (scene.another_handle().await, scene.another_handle().await);
        let task = async move {
            let stream = format!("dog/thread-{thread}");
            for round in 1..=15_u128 {
                let at = record(&*writer, append_to(&stream, [5000 + thread * 1000 + round])).await;
                assert!(Position::number(head(&*reader).await.position()) >= at);
                let seen = stream_events(&*reader, &stream).await;
                assert_eq!(
                    seen.len() as u128,
                    round,
                    "the thread's own last append is seen"
                );
            }
        };
        tasks.push(task.boxed());
    }
    at_once::<S, ()>(tasks).await;
}

/// Rule 17. Every read of an unknown stream or log finds nothing.
pub async fn unknown_is_empty<S: Subject>() {
    let scene = Scene::<S>::new().await;
    record(&*scene.log, append_to("dog/1", [1])).await;
    let unborn = scene
        .store
        .open_read_only("cats")
        .await
        .expect("the log opens");
    assert_eq!(unborn.log_name(), "cats");
    assert_eq!(unborn.log_id().await.expect("is read"), None);
    check_empty(&*unborn, None).await;
    assert_eq!(head(&*unborn).await, Head::default());
    check_empty_names(&*scene.log).await;
    let logs = scene.store.logs(None, 10).await.expect("logs are read");
    let logs: Vec<_> = logs.iter().map(|entry| &*entry.name).collect();
    assert_eq!(logs, [LOG], "reading creates no log");
}

async fn check_empty(log: &dyn Recorder, head: Option<Checkpoint>) {
    for log_read in [
        LogRead::new(),
        LogRead::new().backward(),
        LogRead::of(Query::tag("tag")),
        LogRead::new().after(position(5)).until(position(9)),
    ] {
        let page = read(log, log_read).await;
        assert_eq!((page.events.len(), page.read_to), (0, head));
    }
    let streams = log
        .streams("", None, 10)
        .await
        .expect("the streams are read");
    assert_eq!(streams, []);
    let ranges = log
        .processed_ranges(RangeRead::new())
        .await
        .expect("the processed ranges are read");
    assert_eq!(ranges, []);
    check_empty_names(log).await;
}

/// Names that no log of these tests uses.
async fn check_empty_names(log: &dyn Recorder) {
    let head = head(log).await.checkpoint;
    let page = read_stream(log, StreamRead::new("dog/unknown")).await;
    assert_eq!((page.events.len(), page.read_to), (0, head));
    let page = read_stream(log, StreamRead::new("dog/unknown").backward()).await;
    assert_eq!((page.events.len(), page.read_to), (0, head));
    for query in [
        Query::stream("dog/unknown"),
        Query::topic("Unknown"),
        Query::tag("unknown"),
    ] {
        let page = read(log, LogRead::of(query)).await;
        assert_eq!((page.events.len(), page.read_to), (0, head));
    }
    assert_eq!(log.event(event_id(404)).await.expect("is read"), None);
    let follower = FollowerKey::new("unknown@1");
    let checkpoint = log.checkpoint(&follower, log_id(404)).await;
    assert_eq!(checkpoint.expect("is read"), None);
    let snapshot = log.snapshot("dog/unknown", None).await;
    assert_eq!(snapshot.expect("is read"), None);
    let none = log
        .streams("dog/unknown", None, 10)
        .await
        .expect("are read");
    assert_eq!(none, []);
}
