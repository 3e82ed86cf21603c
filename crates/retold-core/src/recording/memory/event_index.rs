//! Finds the positions of a log that match a query, from lists by stream, topic and tag.
//!
//! The memory log inserts every event when it commits it, and uses the index for conditions and
//! reads. An item of a query is an intersection of unions of sorted lists, so the next match is
//! found by letting the lists leapfrog each other (Veldhuizen, "Leapfrog Triejoin", 2012): no event
//! that does not match is ever visited.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use crate::recording::identity::{Position, Version};
use crate::recording::new_event::NewEvent;
use crate::recording::query::{Query, QueryItem};
use crate::recording::recorder::Direction;
use crate::recording::stored_event::StoredEvent;

/// Sorted positions of the events under one name.
type PositionIndex = Vec<u64>;

/// The numbers from `first` to `last`, both included; empty if `last` is before `first`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    first: u64,
    last: u64,
}

impl Span {
    /// Returns the part of the numbers 1 to `head` that a read covers: those beyond `after`, up to
    /// and including `until`.
    pub(super) fn asked(
        after: Option<u64>,
        until: Option<u64>,
        head: u64,
        direction: Direction,
    ) -> Self {
        let (first, last) = match direction {
            Direction::Forward => (
                after.map_or(1, |after| after.saturating_add(1)),
                until.unwrap_or(head),
            ),
            Direction::Backward => (
                until.unwrap_or(1),
                after.map_or(head, |after| after.saturating_sub(1)),
            ),
        };
        Self {
            first,
            last: last.min(head),
        }
    }

    /// Returns the number at which a read in this direction begins; none if the span is empty.
    pub(super) fn begin(self, direction: Direction) -> Option<u64> {
        (self.first <= self.last).then_some(match direction {
            Direction::Forward => self.first,
            Direction::Backward => self.last,
        })
    }

    /// Returns the rest of the span for a read in this direction that begins at `number`.
    fn from(self, number: u64, direction: Direction) -> Self {
        match direction {
            Direction::Forward => Self {
                first: number,
                ..self
            },
            Direction::Backward => Self {
                last: number,
                ..self
            },
        }
    }

    /// Returns the rest of the span for a read in this direction that has processed `number`.
    pub(super) fn beyond(self, number: u64, direction: Direction) -> Self {
        match direction {
            Direction::Forward => self.from(number.saturating_add(1), direction),
            Direction::Backward => self.from(number.saturating_sub(1), direction),
        }
    }
}

/// Returns the function that picks the number that a read in this direction meets first.
fn nearer(direction: Direction) -> fn(u64, u64) -> u64 {
    match direction {
        Direction::Forward => u64::min,
        Direction::Backward => u64::max,
    }
}

/// The positions of a log by stream, topic and tag.
#[derive(Clone, Debug, Default)]
pub(super) struct EventIndex {
    streams: HashMap<Arc<str>, PositionIndex>,
    topics: HashMap<Arc<str>, PositionIndex>,
    tags: HashMap<Arc<str>, PositionIndex>,
    stream_names: BTreeSet<Arc<str>>,
    topic_names: BTreeSet<Arc<str>>,
}

impl EventIndex {
    /// Inserts an event, which must come after all inserted ones; returns its version. A topic that
    /// only amended events had is listed already.
    pub(super) fn insert(&mut self, event: &NewEvent, position: Position) -> Option<Version> {
        if insert(&mut self.topics, &event.topic, position) == Some(Version::FIRST)
            && !self.topic_names.contains(&*event.topic)
        {
            self.topic_names.insert(Arc::from(&*event.topic));
        }
        for tag in &event.tags {
            insert(&mut self.tags, tag, position);
        }
        let stream = event.stream.as_ref()?;
        let version = insert(&mut self.streams, stream, position);
        if version == Some(Version::FIRST) {
            self.stream_names.insert(stream.clone());
        }
        version
    }

    /// Replaces the topic and tags of an event. A topic that no event has any more is still listed.
    pub(super) fn amend(&mut self, before: &StoredEvent, after: &StoredEvent) {
        let position = before.position();
        if before.topic() != after.topic() {
            remove(&mut self.topics, before.topic(), position);
            insert_between(&mut self.topics, after.topic(), position);
            if !self.topic_names.contains(after.topic()) {
                self.topic_names.insert(Arc::from(after.topic()));
            }
        }
        for tag in before.tags().filter(|tag| !after.has_tag(tag)) {
            remove(&mut self.tags, tag, position);
        }
        for tag in after.tags().filter(|tag| !before.has_tag(tag)) {
            insert_between(&mut self.tags, tag, position);
        }
    }

    /// Returns the positions of a stream's events; that of version `v` is at index `v - 1`.
    pub(super) fn stream(&self, name: &str) -> &[u64] {
        self.streams.get(name).map_or(&[], Vec::as_slice)
    }

    /// Returns the version of a stream's last event.
    pub(super) fn version(&self, name: &str) -> Option<Version> {
        Version::new(self.stream(name).len() as u64)
    }

    /// Returns the streams whose names begin with `prefix` and come after the name `after`, in
    /// order of their names.
    pub(super) fn streams<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&str>,
    ) -> impl Iterator<Item = (Arc<str>, Version)> + use<'a> {
        names_from(&self.stream_names, prefix, after)
            .filter_map(|name| Some((name.clone(), self.version(name)?)))
    }

    /// Returns the topics after the topic `after`, in order.
    pub(super) fn topics<'a>(
        &'a self,
        after: Option<&str>,
    ) -> impl Iterator<Item = Arc<str>> + use<'a> {
        names_from(&self.topic_names, "", after).cloned()
    }

    /// Returns the number of topics.
    pub(super) fn topic_count(&self) -> u64 {
        self.topic_names.len() as u64
    }

    /// Returns the positions that match a query.
    pub(super) fn matches<'a>(&'a self, query: &Query) -> Matches<'a> {
        match query {
            Query::All => Matches::All,
            Query::Items(items) => {
                Matches::Items(items.iter().filter_map(|item| self.item(item)).collect())
            }
        }
    }

    /// Returns the lists of an item; none if it matches nothing because one of its names is
    /// unknown.
    fn item<'a>(&'a self, item: &QueryItem) -> Option<Vec<Union<'a>>> {
        let mut unions = Vec::with_capacity(2 + item.tags.len());
        if !item.streams.is_empty() {
            unions.push(Union::of(&self.streams, &item.streams)?);
        }
        if !item.topics.is_empty() {
            unions.push(Union::of(&self.topics, &item.topics)?);
        }
        for tag in &item.tags {
            unions.push(Union(vec![self.tags.get(tag)?]));
        }
        // The rarest leaps first, and farthest.
        unions.sort_unstable_by_key(Union::size);
        Some(unions)
    }
}

/// Adds a position to the list of a name; returns the new size of the list.
fn insert(
    lists: &mut HashMap<Arc<str>, PositionIndex>,
    name: &str,
    position: Position,
) -> Option<Version> {
    match lists.get_mut(name) {
        Some(list) => {
            list.push(position.get());
            Version::new(list.len() as u64)
        }
        None => {
            lists.insert(name.into(), vec![position.get()]);
            Some(Version::FIRST)
        }
    }
}

/// Adds a position to the list of a name, between those that are there.
fn insert_between(lists: &mut HashMap<Arc<str>, PositionIndex>, name: &str, position: Position) {
    let list = match lists.get_mut(name) {
        Some(list) => list,
        None => lists.entry(name.into()).or_default(),
    };
    if let Err(index) = list.binary_search(&position.get()) {
        list.insert(index, position.get());
    }
}

/// Removes a position from the list of a name.
fn remove(lists: &mut HashMap<Arc<str>, PositionIndex>, name: &str, position: Position) {
    if let Some(list) = lists.get_mut(name)
        && let Ok(index) = list.binary_search(&position.get())
    {
        list.remove(index);
        if list.is_empty() {
            lists.remove(name);
        }
    }
}

/// Returns the names that begin with `prefix` and come after the name `after`, in order.
fn names_from<'a>(
    names: &'a BTreeSet<Arc<str>>,
    prefix: &'a str,
    after: Option<&str>,
) -> impl Iterator<Item = &'a Arc<str>> + use<'a> {
    let from = match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    names
        .range::<str, _>((from, Bound::Unbounded))
        .take_while(move |name| name.starts_with(prefix))
}

/// The positions that match a query, found on demand.
#[derive(Debug)]
pub(super) enum Matches<'a> {
    /// Every position.
    All,
    /// The positions that are in all unions of at least one item.
    Items(Vec<Vec<Union<'a>>>),
}

impl Matches<'_> {
    /// Returns the match in `span` that a read in this direction meets first.
    pub(super) fn first_in(&self, span: Span, direction: Direction) -> Option<u64> {
        match self {
            Self::All => span.begin(direction),
            Self::Items(items) => items
                .iter()
                .filter_map(|unions| first_in_all(unions, span, direction))
                .reduce(nearer(direction)),
        }
    }
}

/// Returns the first number of `span` that is in every union: each union in turn leaps to its first
/// number at or beyond the present one, until all agree.
fn first_in_all(unions: &[Union<'_>], mut span: Span, direction: Direction) -> Option<u64> {
    let (mut candidate, mut agreed) = (span.begin(direction)?, 0);
    for union in unions.iter().cycle() {
        let number = union.first_in(span, direction)?;
        if number != candidate {
            (candidate, agreed) = (number, 0);
            span = span.from(number, direction);
        }
        agreed += 1;
        if agreed == unions.len() {
            return Some(candidate);
        }
    }
    // Without unions, nothing restricts the match.
    Some(candidate)
}

/// The positions that are in at least one of some lists.
#[derive(Debug)]
pub(super) struct Union<'a>(Vec<&'a PositionIndex>);

impl<'a> Union<'a> {
    /// Returns the union of the lists of these names; none if there are no such lists.
    fn of(lists: &'a HashMap<Arc<str>, PositionIndex>, names: &BTreeSet<Arc<str>>) -> Option<Self> {
        let lists: Vec<_> = names.iter().filter_map(|name| lists.get(name)).collect();
        (!lists.is_empty()).then_some(Self(lists))
    }

    /// Returns the total size of the lists.
    fn size(&self) -> usize {
        self.0.iter().map(|list| list.len()).sum()
    }

    fn first_in(&self, span: Span, direction: Direction) -> Option<u64> {
        self.0
            .iter()
            .filter_map(|list| first_in_list(list, span, direction))
            .reduce(nearer(direction))
    }
}

fn first_in_list(list: &[u64], span: Span, direction: Direction) -> Option<u64> {
    match direction {
        Direction::Forward => {
            let index = count_below(list, span.first);
            list.get(index).copied().filter(|it| *it <= span.last)
        }
        Direction::Backward => {
            let index = count_below(list, span.last.saturating_add(1)).checked_sub(1)?;
            list.get(index).copied().filter(|it| *it >= span.first)
        }
    }
}

/// Returns the number of entries of a sorted list that are below `number`. Searches from the end,
/// in growing steps, because conditions ask about the few events after a read.
fn count_below(list: &[u64], number: u64) -> usize {
    let mut tail = 1;
    while tail < list.len() && list[list.len() - tail] >= number {
        tail *= 2;
    }
    let start = list.len().saturating_sub(tail);
    start + list[start..].partition_point(|it| *it < number)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::Timestamp;
    use crate::recording::identity::EventId;
    use crate::recording::stored_event::{AppendPlace, StoredEvent};

    fn names(prefix: &str, random: &mut fastrand::Rng, most: usize) -> BTreeSet<Arc<str>> {
        let count = random.usize(0..=most);
        let name = |_| format!("{prefix}{}", random.u8(0..4)).into();
        (0..count).map(name).collect()
    }

    fn event(number: u64, random: &mut fastrand::Rng) -> NewEvent {
        let id = EventId::new(Uuid::from_u128(number.into()));
        let mut event = NewEvent::new(id, format!("T{}", random.u8(0..4)), "");
        event.stream = names("s/", random, 1).pop_first();
        event.tags = names("tag", random, 4);
        event
    }

    fn item(random: &mut fastrand::Rng) -> QueryItem {
        QueryItem {
            streams: names("s/", random, 2),
            topics: names("T", random, 2),
            tags: names("tag", random, 2),
        }
    }

    /// Goal: the index finds the events that a query defines as matches. Method: random events and
    /// queries; every match from every span, in both directions, compared with checking each event.
    #[test]
    fn the_index_finds_what_matches() {
        let given = std::env::var("RETOLD_SEED").ok();
        let seed = given.map_or_else(|| fastrand::u64(..), |it| it.parse().unwrap());
        let mut random = fastrand::Rng::with_seed(seed);
        let mut index = EventIndex::default();
        let mut events = Vec::new();
        for number in 1..=60 {
            let (event, position) = (event(number, &mut random), Position::new(number).unwrap());
            let version = index.insert(&event, position);
            let place = AppendPlace { index: 0, count: 1 };
            let now = Timestamp::default();
            events.push(StoredEvent::from_new(&event, position, version, place, now));
        }
        for _ in 0..200 {
            let items: Vec<_> = (0..random.usize(1..4)).map(|_| item(&mut random)).collect();
            let query = Query::Items(items);
            let span = Span {
                first: random.u64(1..62),
                last: random.u64(0..61),
            };
            let mut expected: Vec<u64> = events
                .iter()
                .filter(|it| query.matches(it))
                .map(|it| it.position().get())
                .filter(|it| span.first <= *it && *it <= span.last)
                .collect();
            for direction in [Direction::Forward, Direction::Backward] {
                let matches = index.matches(&query);
                let (mut rest, mut found) = (span, Vec::new());
                while let Some(number) = matches.first_in(rest, direction) {
                    found.push(number);
                    rest = rest.beyond(number, direction);
                }
                assert_eq!(found, expected, "RETOLD_SEED={seed}: {query:?} {span:?}");
                expected.reverse();
            }
        }
    }
}
