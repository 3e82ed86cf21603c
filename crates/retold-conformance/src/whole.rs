//! The check that a log is whole: invariants that hold for every log at any time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::scene::{events, head, read_all, stream_events};
use retold_core::recording::Query;
use retold_core::recording::StoredEvent;
use retold_core::recording::is_amendment_record;
use retold_core::recording::limits::PAGE_NAMES_MAX;
use retold_core::recording::{Head, LogRead, Recorder};
use retold_core::recording::{Position, Version};

/// Checks that all ways of reading the log agree: positions, places in appends, versions, streams,
/// topics, tags, ids and the head. Returns all events.
pub(super) async fn whole(log: &dyn Recorder) -> Vec<StoredEvent> {
    let before = head(log).await;
    let events = events(log).await;
    let after = head(log).await;
    if before == after {
        let last = events.last().map(StoredEvent::checkpoint);
        assert_eq!(after.checkpoint, last, "the head is the last event");
    }
    check_positions(&events);
    check_places(&events);
    check_streams(log, &events).await;
    check_topics(log, &events, before, after).await;
    check_names(log, &events).await;
    for event in &events {
        let found = log.event(event.id()).await.expect("an event is read");
        assert_eq!(found.as_ref(), Some(event), "an event is found by its id");
    }
    events
}

/// Positions are 1, 2, 3, without gaps.
pub(super) fn check_positions(events: &[StoredEvent]) {
    for (expected, event) in (1..).zip(events) {
        assert_eq!(event.position().get(), expected, "positions have no gaps");
    }
}

/// Every append is complete, from its first event to its last.
fn check_places(events: &[StoredEvent]) {
    let mut rest = events;
    while let Some(first) = rest.first() {
        let count = first.place().count;
        let (append, others) = rest
            .split_at_checked(count as usize)
            .unwrap_or_else(|| panic!("the append at {} is cut short", first.position()));
        for (index, event) in (0..).zip(append) {
            let place = (event.place().index, event.place().count);
            assert_eq!(place, (index, count), "an append's events are adjacent");
        }
        rest = others;
    }
}

async fn check_streams(log: &dyn Recorder, events: &[StoredEvent]) {
    let mut streams = BTreeMap::<&str, Vec<StoredEvent>>::new();
    for event in events {
        assert_eq!(event.stream().is_some(), event.version().is_some());
        if let Some(stream) = event.stream() {
            streams.entry(stream).or_default().push(event.clone());
        }
    }
    for (stream, expected) in &streams {
        for (number, event) in (1..).zip(expected) {
            let version = event.version().map(Version::get);
            assert_eq!(version, Some(number), "versions of {stream:?} have no gaps");
        }
        let read = stream_events(log, stream).await;
        assert!(read.len() >= expected.len(), "{stream:?} is complete");
        assert_eq!(read[..expected.len()], expected[..], "{stream:?}");
    }
    let listed = log.streams("", None, 10_000).await.expect("streams");
    if listed.len() < 10_000 {
        for stream in streams.keys() {
            let is_listed = listed.iter().any(|entry| *entry.name == **stream);
            assert!(is_listed, "{stream:?} is listed");
        }
    }
}

/// Topics are listed and counted, including those that were added since the events were read.
async fn check_topics(log: &dyn Recorder, events: &[StoredEvent], before: Head, after: Head) {
    let met: BTreeSet<&str> = events.iter().map(StoredEvent::topic).collect();
    let listed = log.topics(None, PAGE_NAMES_MAX).await.expect("topics");
    for topic in &met {
        let is_listed = listed.iter().any(|it| **it == **topic);
        assert!(is_listed, "the topic {topic:?} is listed");
    }
    if before == after {
        assert_eq!(after.topic_count, listed.len() as u64, "topics are counted");
        let is_amended = events.iter().any(|it| is_amendment_record(it.topic()));
        assert!(is_amended || listed.len() == met.len(), "{listed:?}");
    }
}

/// Every topic and tag finds exactly the events that have it.
async fn check_names(log: &dyn Recorder, events: &[StoredEvent]) {
    let until = events.last().map(StoredEvent::position);
    let mut queries = BTreeMap::<(bool, Arc<str>), Vec<Position>>::new();
    for event in events {
        let names = event.tags().map(|tag| (true, tag));
        for (is_tag, name) in names.chain([(false, event.topic())]) {
            let found = queries.entry((is_tag, name.into())).or_default();
            found.push(event.position());
        }
    }
    for ((is_tag, name), expected) in queries {
        let query = if is_tag {
            Query::tag(name)
        } else {
            Query::topic(name)
        };
        let read = LogRead::of(query.clone()).until(until);
        let found: Vec<_> = read_all(log, read).await.0;
        let found: Vec<_> = found.iter().map(StoredEvent::position).collect();
        assert_eq!(found, expected, "{query:?} finds its events");
    }
}
