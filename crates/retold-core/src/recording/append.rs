//! The only write primitive: events, conditions, processed ranges and amendments, recorded together
//! or not at all.

use std::collections::HashSet;
use std::sync::Arc;

use super::amendment::{Amendment, check_amendments, check_deletions};
use super::condition::Condition;
use super::fault::Invalid;
use super::identity::Position;
use super::limits::Limits;
use super::new_event::NewEvent;
use super::processed_range::ProcessedRange;

/// Events, conditions, processed ranges and amendments that are recorded together or not at all.
///
/// A valid append has at least one event or processed range. Clones share their content and are
/// cheap, so a caller that may have to resend an append keeps a clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Append {
    parts: Arc<AppendParts>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct AppendParts {
    events: Vec<NewEvent>,
    conditions: Vec<Condition>,
    ranges: Vec<ProcessedRange>,
    amendments: Vec<Amendment>,
}

impl Append {
    /// Creates an empty append.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates an append of these events, in this order.
    pub fn of(events: impl IntoIterator<Item = NewEvent>) -> Self {
        Self::new().events(events)
    }

    /// Adds an event.
    #[must_use]
    pub fn event(mut self, event: NewEvent) -> Self {
        Arc::make_mut(&mut self.parts).events.push(event);
        self
    }

    /// Adds events, in this order.
    #[must_use]
    pub fn events(mut self, events: impl IntoIterator<Item = NewEvent>) -> Self {
        Arc::make_mut(&mut self.parts).events.extend(events);
        self
    }

    /// Adds a condition. Conditions are checked in the order in which they were added.
    #[must_use]
    pub fn condition(mut self, condition: Condition) -> Self {
        Arc::make_mut(&mut self.parts).conditions.push(condition);
        self
    }

    /// Adds conditions.
    #[must_use]
    pub fn conditions(mut self, conditions: impl IntoIterator<Item = Condition>) -> Self {
        Arc::make_mut(&mut self.parts).conditions.extend(conditions);
        self
    }

    /// Adds a processed range. Processed ranges are added in the order in which they were
    /// processed.
    #[must_use]
    pub fn processed_range(mut self, range: ProcessedRange) -> Self {
        Arc::make_mut(&mut self.parts).ranges.push(range);
        self
    }

    /// Adds an amendment of recorded events. Amendments are made in the order in which they were
    /// added.
    #[must_use]
    pub fn amendment(mut self, amendment: Amendment) -> Self {
        Arc::make_mut(&mut self.parts).amendments.push(amendment);
        self
    }

    /// Returns the events, in the order of their future positions.
    pub fn new_events(&self) -> &[NewEvent] {
        &self.parts.events
    }

    /// Returns the conditions, in the order in which they are checked.
    pub fn all_conditions(&self) -> &[Condition] {
        &self.parts.conditions
    }

    /// Returns the processed ranges, in the order in which they were processed.
    pub fn processed_ranges(&self) -> &[ProcessedRange] {
        &self.parts.ranges
    }

    /// Returns the amendments, in the order in which they are made.
    pub fn amendments(&self) -> &[Amendment] {
        &self.parts.amendments
    }

    /// Checks everything that does not depend on the log: that there is something to record, that
    /// the append is within the limits, that no event id and no stream with an expected version
    /// occurs twice, and that each amendment is recorded by an event. Every recorder calls this
    /// before anything else.
    ///
    /// # Errors
    ///
    /// [`Invalid`] with the reason; nothing has been written.
    pub fn check(&self, limits: &Limits) -> Result<(), Invalid> {
        let AppendParts {
            events,
            conditions,
            ranges,
            amendments,
        } = &*self.parts;
        if events.is_empty() && ranges.is_empty() {
            return Err(Invalid::new(
                "an append has neither an event nor a processed range; there is nothing to record"
                    .into(),
            ));
        }
        check_count("events", events.len(), limits.append_events)?;
        let condition_count = conditions.len() + ranges.len();
        check_count(
            "conditions and processed ranges",
            condition_count,
            limits.append_conditions,
        )?;
        events.iter().try_for_each(|event| event.check(limits))?;
        let replaced: usize = amendments.iter().map(Amendment::size).sum();
        let size = replaced + events.iter().map(NewEvent::size).sum::<usize>();
        check_count("bytes of payload and metadata", size, limits.append_size)?;
        conditions.iter().try_for_each(Condition::check)?;
        ranges.iter().try_for_each(ProcessedRange::check)?;
        check_amendments(amendments, events, limits)?;
        check_deletions(events)?;
        self.check_ids()?;
        self.check_streams()
    }

    fn check_ids(&self) -> Result<(), Invalid> {
        let events = &self.parts.events;
        let twice = match events.as_slice() {
            [] | [_] => None,
            [first, second] => (first.id == second.id).then_some(second),
            _ => {
                let mut seen = HashSet::with_capacity(events.len());
                events.iter().find(|event| !seen.insert(event.id))
            }
        };
        match twice {
            Some(event) => Err(Invalid::new(format!(
                "the event id {} occurs twice",
                event.id
            ))),
            None => Ok(()),
        }
    }

    fn check_streams(&self) -> Result<(), Invalid> {
        let mut streams = self
            .parts
            .conditions
            .iter()
            .filter_map(|condition| match condition {
                Condition::StreamAt { stream, .. } => Some(stream),
                Condition::NoneMatch { .. } | Condition::TopicCount { .. } => None,
            });
        let mut seen = HashSet::new();
        match streams.find(|stream| !seen.insert(&***stream)) {
            Some(stream) => Err(Invalid::new(format!(
                "two conditions expect a version of the stream {stream:?}; only one is allowed"
            ))),
            None => Ok(()),
        }
    }
}

fn check_count(what: &str, count: usize, max: usize) -> Result<(), Invalid> {
    if count > max {
        return Err(Invalid::new(format!(
            "an append has {count} {what}; at most {max} are allowed"
        )));
    }
    Ok(())
}

/// The positions of an append's events: consecutive, in the order of the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Positions {
    first: Option<Position>,
    count: u64,
}

impl Positions {
    /// No positions: the append had only processed ranges.
    pub const NONE: Self = Self {
        first: None,
        count: 0,
    };

    /// Creates `count` positions, starting at `first`.
    pub fn new(first: Position, count: u64) -> Self {
        if count == 0 {
            Self::NONE
        } else {
            Self {
                first: Some(first),
                count,
            }
        }
    }

    /// Returns the number of positions.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns whether there are no positions.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the position of the append's first event.
    pub fn first(&self) -> Option<Position> {
        self.first
    }

    /// Returns the position of the append's last event.
    pub fn last(&self) -> Option<Position> {
        self.first.map(|first| first.plus(self.count - 1))
    }

    /// Returns all positions, in order.
    pub fn iter(&self) -> impl Iterator<Item = Position> + use<> {
        let first = self.first;
        (0..self.count).filter_map(move |index| first.map(|first| first.plus(index)))
    }
}

/// How an append was recorded: by this call or by an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Appended {
    /// Recorded now, at these positions.
    Recorded(Positions),
    /// Recorded earlier, at these positions, by an append with the same event ids; this call
    /// recorded nothing.
    Repeated(Positions),
}

impl Appended {
    /// Returns the positions of the append's events.
    pub fn positions(&self) -> Positions {
        match self {
            Self::Recorded(positions) | Self::Repeated(positions) => *positions,
        }
    }
}
