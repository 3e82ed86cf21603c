//! Rules 24 to 28: how recorded events are amended, and how streams are deleted.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::join_all;

use super::scene::{
    AppendOutcome, Scene, append_to, at_once, checkpoint, conflict, event, event_id, event_of,
    events, head, numbers, read, record, refuse, send, stream_at, stream_events, version,
    without_wall_clock,
};
use super::subject::Subject;
use super::whole::whole;
use retold_core::recording::limits::{AMENDMENTS_MAX, ERASED_EVENTS_MAX};
use retold_core::recording::{
    AMENDED_TOPIC, Amendment, AmendmentConflict, Append, Condition, Conflict, DELETED_TOPIC,
    ERASED_TOPIC, Encoding, ErasedParts, LogRead, NewEvent, Query, REOPENED_TOPIC, RecordError,
    Recorder, Replacement, StoredEvent, StoredSnapshot,
};

/// The event with this number in a stream, with a topic that records amendments.
fn record_of(topic: &'static str, stream: &str, number: u128) -> NewEvent {
    NewEvent::new(event_id(number), topic, r#"{"by":"ann"}"#).stream(stream)
}

fn erase_event(stream: Option<&str>, number: u128, parts: ErasedParts) -> Amendment {
    Amendment::EraseEvent {
        event: event_id(number),
        stream: stream.map(Arc::from),
        parts,
    }
}

fn erase_stream(stream: &str, after: u64, until: u64, parts: ErasedParts) -> Amendment {
    Amendment::EraseStream {
        stream: stream.into(),
        after: retold_core::recording::Version::new(after),
        until: version(until),
        parts,
    }
}

fn replace(stream: Option<&str>, number: u128, replacement: Replacement) -> Amendment {
    Amendment::ReplaceEvent {
        event: event_id(number),
        stream: stream.map(Arc::from),
        replacement,
    }
}

/// The content of the event with this number after it is replaced.
fn other_content(log: &[StoredEvent], number: u128) -> Replacement {
    let before = log.iter().find(|it| it.id() == event_id(number));
    let before = before.expect("the event is in the log");
    let mut content = Replacement::of(before, r#"{"other":true}"#).expect("a good encoding");
    content.topic = "Dog.Replaced".into();
    content.revision = 7;
    content.tags = ["new".into(), "kept".into()].into();
    content.encoding = Encoding::parse("msgpack@key").expect("an encoding");
    content
}

fn erased(events: &[StoredEvent]) -> Vec<u128> {
    let erased: Vec<_> = events.iter().filter(|it| it.is_erased()).cloned().collect();
    numbers(&erased)
}

/// An append that closes a stream.
fn delete(stream: &str, number: u128) -> Append {
    Append::of([record_of(DELETED_TOPIC, stream, number)])
}

/// The log that most tests amend: three events of one stream, two of another, one of none.
async fn dogs(log: &dyn Recorder) {
    let tagged = |stream, number| {
        event_of(stream, number)
            .tag("brown")
            .tag("kept")
            .metadata(r#"{"user":"ann"}"#)
    };
    let mixed = [
        tagged("dog/1", 1),
        tagged("dog/1", 2),
        tagged("dog/2", 3),
        event(4).tag("brown"),
    ];
    record(log, Append::of(mixed)).await;
    record(log, Append::of([tagged("dog/1", 5), tagged("dog/2", 6)])).await;
}

/// Rule 24. The amendments and the events that record them are recorded together or not at all,
/// once, and never without these events.
pub async fn amendments_are_recorded_with_their_events<S: Subject>() {
    let scene = Scene::<S>::new().await;
    let log = &*scene.log;
    dogs(log).await;
    let before = whole(log).await;
    let payload = ErasedParts::PAYLOAD;
    let elsewhere = Append::of([record_of(ERASED_TOPIC, "dog/2", 10)]);
    let unrecorded = [
        Append::of([event_of("dog/1", 10)]).amendment(erase_event(Some("dog/1"), 1, payload)),
        elsewhere.amendment(erase_stream("dog/1", 0, 1, payload)),
        Append::of([event(10)]).amendment(erase_event(None, 4, payload)),
        Append::new().amendment(erase_event(None, 4, payload)),
    ];
    for append in unrecorded {
        refuse(log, append, "an amendment that no event records").await;
    }
    let failing = Append::of([record_of(ERASED_TOPIC, "dog/1", 10)]).amendment(erase_event(
        Some("dog/1"),
        1,
        payload,
    ));
    conflict(log, failing.clone().condition(stream_at("dog/1", 9))).await;
    conflict(
        log,
        failing
            .clone()
            .amendment(erase_event(Some("dog/1"), 99, payload)),
    )
    .await;
    assert_eq!(whole(log).await, before, "nothing is recorded");

    let head_before = head(log).await;
    record(log, failing.clone()).await;
    let after = head(log).await;
    assert_eq!(after.append_count, head_before.append_count + 1);
    assert_eq!(erased(&whole(log).await), [1]);
    let repeated = send(log, failing).await;
    assert!(
        matches!(repeated, AppendOutcome::Repeated(_)),
        "{repeated:?}"
    );
    let nowhere = NewEvent::new(event_id(11), ERASED_TOPIC, "{}");
    record(
        log,
        Append::of([nowhere]).amendment(erase_event(None, 4, payload)),
    )
    .await;
    assert_eq!(erased(&whole(&*scene.another_handle().await).await), [1, 4]);
}

/// Rule 25. Amendments are judged after everything else, in their order, against the log before the
/// append, including the earlier appends of its group.
pub async fn amendments_are_judged_last<S: Subject>() {
    let scene = Scene::<S>::new().await;
    let log = &*scene.log;
    dogs(log).await;
    let content = other_content(&events(log).await, 2);
    let payload = ErasedParts::PAYLOAD;
    let first = [
        record_of(ERASED_TOPIC, "dog/1", 10),
        record_of(ERASED_TOPIC, "dog/2", 11),
    ];
    record(
        log,
        Append::of(first).amendment(erase_event(Some("dog/1"), 1, payload)),
    )
    .await;
    let before = whole(log).await;
    let dog = Some("dog/1");
    let rows = [
        (erase_event(dog, 99, payload), AmendmentConflict::Missing),
        (erase_event(dog, 20, payload), AmendmentConflict::Missing),
        (erase_event(dog, 3, payload), AmendmentConflict::OtherStream),
        (erase_event(dog, 4, payload), AmendmentConflict::OtherStream),
        (
            erase_event(None, 1, payload),
            AmendmentConflict::OtherStream,
        ),
        (erase_event(dog, 1, payload), AmendmentConflict::Erased),
        (erase_event(dog, 10, payload), AmendmentConflict::Record),
        (replace(dog, 1, content.clone()), AmendmentConflict::Erased),
        (replace(dog, 10, content.clone()), AmendmentConflict::Record),
        (
            replace(dog, 3, content.clone()),
            AmendmentConflict::OtherStream,
        ),
        (
            replace(dog, 99, content.clone()),
            AmendmentConflict::Missing,
        ),
        (
            erase_stream("dog/1", 0, 5, payload),
            AmendmentConflict::BeyondStream,
        ),
        (
            erase_stream("dog/1", 4, 9, payload),
            AmendmentConflict::BeyondStream,
        ),
        (
            erase_stream("cat", 0, 1, payload),
            AmendmentConflict::BeyondStream,
        ),
    ];
    for (amendment, reason) in rows {
        let stream = amendment.stream().map_or("dog/1", |stream| stream);
        let append = Append::of([record_of(AMENDED_TOPIC, stream, 20)]);
        let good = erase_event(Some("dog/2"), 6, payload);
        let append = append
            .event(record_of(ERASED_TOPIC, "dog/2", 21))
            .amendment(good)
            .amendment(amendment.clone());
        let expected = Conflict::Amendment {
            amendment: 1,
            reason,
        };
        assert_eq!(
            conflict(log, append.clone()).await,
            expected,
            "{amendment:?}"
        );
        let earlier = conflict(log, append.condition(stream_at("dog/2", 1))).await;
        assert!(
            matches!(earlier, Conflict::Stream { .. }),
            "conditions are first: {earlier:?}"
        );
    }
    assert_eq!(whole(log).await, before, "nothing is recorded");

    // Amendments of one append are made in their order; a record is passed over.
    let both = Append::of([record_of(ERASED_TOPIC, "dog/1", 30)])
        .amendment(replace(dog, 2, content))
        .amendment(erase_stream("dog/1", 0, 4, payload));
    record(log, both).await;
    let found = whole(log).await;
    assert_eq!(erased(&found), [1, 2, 5]);
    assert_eq!(found[1].topic(), "Dog.Replaced");
    let nothing_left = Append::of([record_of(ERASED_TOPIC, "dog/1", 31)]);
    record(
        log,
        nothing_left.amendment(erase_stream("dog/1", 0, 4, payload)),
    )
    .await;

    refuse_malformed(log).await;
    amendments_of_a_group_see_each_other(&scene).await;
}

async fn refuse_malformed(log: &dyn Recorder) {
    let dog = Some("dog/1");
    let payload = ErasedParts::PAYLOAD;
    let recorded = || Append::of([record_of(ERASED_TOPIC, "dog/1", 40)]);
    let all = events(log).await;
    let with = |change: fn(&mut Replacement)| {
        let mut content = other_content(&all, 2);
        change(&mut content);
        recorded().amendment(replace(dog, 2, content))
    };
    let too_many = (0..=AMENDMENTS_MAX as u128).fold(recorded(), |append, number| {
        append.amendment(erase_event(dog, number, payload))
    });
    let rows = [
        (
            recorded().amendment(erase_stream("dog/1", 2, 2, payload)),
            "an empty span",
        ),
        (
            recorded().amendment(erase_stream("dog/1", 0, ERASED_EVENTS_MAX + 1, payload)),
            "too many versions",
        ),
        (
            recorded()
                .amendment(erase_stream("dog/1", 0, ERASED_EVENTS_MAX, payload))
                .amendment(erase_stream("dog/1", 0, 1, payload)),
            "too many versions in all",
        ),
        (
            recorded()
                .amendment(erase_event(dog, 2, payload))
                .amendment(erase_event(dog, 2, payload)),
            "two amendments of one event",
        ),
        (with(|it| it.revision = 0), "revision 0"),
        (with(|it| it.topic = "".into()), "an empty topic"),
        (
            with(|it| it.topic = DELETED_TOPIC.into()),
            "a record as content",
        ),
        (with(|it| it.tags = ["a\nb".into()].into()), "a bad tag"),
        (too_many, "too many amendments"),
        (
            Append::of([NewEvent::new(event_id(40), DELETED_TOPIC, "{}")]),
            "a deletion of no stream",
        ),
    ];
    for (append, why) in rows {
        refuse(log, append, why).await;
    }
}

/// Appends that are sent at once are judged one after the other.
async fn amendments_of_a_group_see_each_other<S: Subject>(scene: &Scene<S>) {
    let log = &*scene.log;
    let payload = ErasedParts::PAYLOAD;
    for round in 0..10_u128 {
        let stream = format!("pup/{round}");
        let number = 1000 + 10 * round;
        let new = append_to(&stream, [number]);
        let erase = |record| {
            Append::of([record_of(ERASED_TOPIC, &stream, record)]).amendment(erase_event(
                Some(&stream),
                number,
                payload,
            ))
        };
        let sent = [new, erase(number + 1), erase(number + 2)];
        let outcomes = join_all(sent.map(|append| send(log, append))).await;
        let is_recorded = |it: &&AppendOutcome| matches!(it, AppendOutcome::Recorded(_));
        assert!(is_recorded(&&outcomes[0]), "{outcomes:?}");
        let erased = stream_events(log, &stream).await[0].is_erased();
        let made = outcomes[1..].iter().filter(is_recorded).count();
        assert_eq!(
            made,
            usize::from(erased),
            "one at most erases it: {outcomes:?}"
        );
    }
    whole(log).await;
}

/// Rule 26. An amendment changes what it names and nothing else, in every way of reading.
pub async fn an_amendment_changes_only_what_it_names<S: Subject>() {
    let scene = Scene::<S>::new().await;
    let log = &*scene.log;
    dogs(log).await;
    // A log of the same store with the same events and names stays as it is.
    let other = super::scene::open(&*scene.store, "other").await;
    dogs(&*other).await;
    let others = events(&*other).await;
    let before = events(log).await;
    let topics = head(log).await.topic_count;

    let content = other_content(&before, 2);
    let all = Append::of([record_of(AMENDED_TOPIC, "dog/1", 10)])
        .amendment(erase_event(Some("dog/1"), 1, ErasedParts::PAYLOAD))
        .amendment(replace(Some("dog/1"), 2, content.clone()))
        .amendment(erase_event(Some("dog/1"), 5, ErasedParts::ALL))
        .event(record_of(AMENDED_TOPIC, "dog/2", 11))
        .amendment(erase_stream("dog/2", 1, 2, ErasedParts::PAYLOAD.tags(true)));
    record(log, all).await;
    let found = whole(log).await;
    let mut expected: Vec<StoredEvent> = before.iter().map(without_wall_clock).collect();
    expected[0] = amended(
        &erase_event(Some("dog/1"), 1, ErasedParts::PAYLOAD),
        &expected[0],
    );
    expected[1] = amended(&replace(Some("dog/1"), 2, content), &expected[1]);
    expected[4] = amended(
        &erase_event(Some("dog/1"), 5, ErasedParts::ALL),
        &expected[4],
    );
    let rest = erase_event(Some("dog/2"), 6, ErasedParts::PAYLOAD.tags(true));
    expected[5] = amended(&rest, &expected[5]);
    let changed: Vec<_> = found[..6].iter().map(without_wall_clock).collect();
    assert_eq!(changed, expected);
    for (old, new) in before.iter().zip(&found) {
        assert_eq!(
            old.recorded_at(),
            new.recorded_at(),
            "the time of recording"
        );
    }
    assert_eq!(
        head(log).await.topic_count,
        topics + 2,
        "a record and a replacement"
    );
    assert_eq!(events(&*other).await, others, "another log");

    check_queries(log).await;
    let last_of_its_topic = Append::of([record_of(AMENDED_TOPIC, "dog/1", 12)]).amendment(replace(
        Some("dog/1"),
        2,
        other_topic(&found, 2),
    ));
    record(log, last_of_its_topic).await;
    let listed = log.topics(None, 100).await.expect("topics");
    assert!(
        listed.iter().any(|it| &**it == "Dog.Replaced"),
        "{listed:?}"
    );
    assert_eq!(listed.len() as u64, head(log).await.topic_count);
    let gone = read(log, LogRead::of(Query::topic("Dog.Replaced"))).await;
    assert_eq!(gone.events, [], "no event has the topic any more");
    whole(log).await;
}

fn amended(amendment: &Amendment, event: &StoredEvent) -> StoredEvent {
    let amended = amendment.amended(event).expect("it can be amended");
    amended.expect("it is not passed over")
}

fn other_topic(log: &[StoredEvent], number: u128) -> Replacement {
    let mut content = other_content(log, number);
    content.topic = "Dog.Barked".into();
    content
}

/// Queries and conditions find the new tags and topics, and only these.
async fn check_queries(log: &dyn Recorder) {
    let rows = [
        (Query::tag("brown"), vec![1, 3, 4]),
        (Query::tag("kept"), vec![1, 2, 3]),
        (Query::tag("new"), vec![2]),
        (Query::topic("Dog.Replaced"), vec![2]),
        (Query::topic("Dog.Barked"), vec![1, 3, 4, 5, 6]),
        (Query::stream("dog/1"), vec![1, 2, 5, 10]),
    ];
    for (query, expected) in rows {
        let page = read(log, LogRead::of(query.clone())).await;
        assert_eq!(numbers(&page.events), expected, "{query:?}");
        let append = Append::of([event(50)]).condition(Condition::none_match(query.clone()));
        match conflict(log, append).await {
            Conflict::Query { found, .. } => {
                assert_eq!(found.event_id, event_id(expected[0]), "{query:?}");
            }
            other => panic!("{query:?}: {other:?}"),
        }
    }
    let gone = Query::tag("brown");
    let after = retold_core::recording::Position::new(4);
    let append = Append::of([event(51)]).condition(Condition::none_match_after(gone, after));
    record(log, append).await;
}

/// Rule 27. The snapshots of an amended stream are dropped, and those of an older state are not
/// stored any more.
pub async fn amended_streams_lose_their_snapshots<S: Subject>() {
    let scene = Scene::<S>::new().await;
    let log = &*scene.log;
    dogs(log).await;
    let snapshot = |stream: &str, at| StoredSnapshot::new(stream, version(at), "Dog", "{}");
    for (stream, at) in [("dog/1", 1), ("dog/1", 3), ("dog/2", 2)] {
        let put = log.put_snapshot(snapshot(stream, at)).await;
        put.expect("a snapshot is stored");
    }
    let newest = async |stream| {
        let found = log
            .snapshot(stream, None)
            .await
            .expect("a snapshot is read");
        found.map(|it| it.version.get())
    };
    let append = Append::of([record_of(ERASED_TOPIC, "dog/1", 10)]).amendment(erase_event(
        Some("dog/1"),
        1,
        ErasedParts::PAYLOAD,
    ));
    record(log, append).await;
    assert_eq!(newest("dog/1").await, None);
    assert_eq!(newest("dog/2").await, Some(2), "another stream");
    for (at, expected) in [
        (3, None),
        (1, None),
        (4, Some(4)),
        (3, Some(4)),
        (5, Some(5)),
    ] {
        let put = log.put_snapshot(snapshot("dog/1", at)).await;
        put.expect("a late snapshot is no error");
        assert_eq!(
            newest("dog/1").await,
            expected,
            "after the one of version {at}"
        );
    }
    let nothing_is_left = Append::of([record_of(ERASED_TOPIC, "dog/1", 12)])
        .amendment(erase_stream("dog/1", 0, 1, ErasedParts::PAYLOAD));
    record(log, nothing_is_left).await;
    assert_eq!(newest("dog/1").await, Some(5), "no event was changed");
    let only_a_record = Append::of([record_of(REOPENED_TOPIC, "dog/2", 11)]);
    record(log, only_a_record).await;
    log.put_snapshot(snapshot("dog/2", 1))
        .await
        .expect("no error");
    let lower = log.snapshot("dog/2", Some(version(1))).await;
    assert_eq!(
        lower.expect("a snapshot is read"),
        None,
        "it is older than the record"
    );
}

/// Rule 28. A deleted stream takes no events until it is reopened; its versions continue.
pub async fn a_deleted_stream_takes_no_events<S: Subject>() {
    let scene = Scene::<S>::new().await;
    let log = &*scene.log;
    dogs(log).await;
    let all = erase_stream("dog/1", 0, 3, ErasedParts::ALL);
    record(log, delete("dog/1", 10).amendment(all)).await;
    assert_eq!(erased(&whole(log).await), [1, 2, 5]);
    let listed = log.streams("dog", None, 10).await.expect("streams");
    let listed: Vec<_> = listed
        .iter()
        .map(|it| (&*it.name, it.version.get(), it.is_deleted))
        .collect();
    assert_eq!(listed, [("dog/1", 4, true), ("dog/2", 2, false)]);

    let deleted = Conflict::Deleted {
        stream: "dog/1".into(),
        record: checkpoint(7, 10),
    };
    let another = scene.another_handle().await;
    for log in [log, &*another] {
        let to_both = Append::of([event_of("dog/2", 20), event_of("dog/1", 21)]);
        assert_eq!(conflict(log, to_both.clone()).await, deleted);
        let with_range = to_both.processed_range(super::scene::processed("f@1", 0, 1));
        assert_eq!(conflict(log, with_range).await, deleted);
        let later = append_to("dog/1", [22]).condition(stream_at("dog/1", 9));
        let first = conflict(log, later).await;
        assert!(
            matches!(first, Conflict::Stream { .. }),
            "conditions are first: {first:?}"
        );
        let erased = Append::of([record_of(ERASED_TOPIC, "dog/1", 23)]);
        assert_eq!(conflict(log, erased).await, deleted);
    }
    record(log, delete("dog/1", 24)).await;
    let reopened = Append::of([
        record_of(REOPENED_TOPIC, "dog/1", 25),
        event_of("dog/1", 26),
    ]);
    let at = record(&*another, reopened.condition(stream_at("dog/1", 5))).await;
    assert_eq!(at, 9);
    let stream = stream_events(log, "dog/1").await;
    assert_eq!(numbers(&stream), [1, 2, 5, 10, 24, 25, 26]);
    record(log, append_to("dog/1", [27])).await;
    let after_deletion = Append::of([record_of(DELETED_TOPIC, "dog/1", 28), event_of("dog/1", 29)]);
    refuse(log, after_deletion, "an event after the deletion").await;
    deletions_of_a_group_count(&scene).await;
    a_deletion_wins_once(&scene).await;
}

async fn deletions_of_a_group_count<S: Subject>(scene: &Scene<S>) {
    let log = &*scene.log;
    for round in 0..10_u128 {
        let stream = format!("pup/{round}");
        let number = 1000 + 10 * round;
        let sent = [
            append_to(&stream, [number]),
            delete(&stream, number + 1),
            append_to(&stream, [number + 2]),
            append_to("dog/2", [number + 3]),
        ];
        let outcomes = join_all(sent.map(|append| send(log, append))).await;
        let found = numbers(&stream_events(log, &stream).await);
        let end = found.iter().position(|it| *it == number + 1);
        assert_eq!(end, Some(found.len() - 1), "it is the last: {outcomes:?}");
        assert!(
            matches!(outcomes[3], AppendOutcome::Recorded(_)),
            "{outcomes:?}"
        );
    }
    whole(log).await;
}

/// Of writers that race with a deletion, none records after it.
async fn a_deletion_wins_once<S: Subject>(scene: &Scene<S>) {
    let mut tasks = Vec::new();
    for writer in 0..3_u128 {
        let log = scene.another_handle().await;
        let task = async move {
            for number in 0..20 {
                let number = 2000 + 100 * writer + number;
                let append = match (writer, number % 20) {
                    (0, 10) => delete("race", number),
                    _ => append_to("race", [number]),
                };
                match log.append(append).await {
                    Ok(_) | Err(RecordError::Conflict(Conflict::Deleted { .. })) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        };
        tasks.push(task.boxed());
    }
    at_once::<S, _>(tasks).await;
    let stream = stream_events(&*scene.log, "race").await;
    let deleted = stream.iter().position(|it| it.topic() == DELETED_TOPIC);
    assert_eq!(deleted, Some(stream.len() - 1), "{:?}", numbers(&stream));
}
