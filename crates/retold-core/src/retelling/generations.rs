//! The generations of a follower, as recorded in its stream: where each began and ended, into how
//! many partitions it was split, and which events were parked and resumed in it.

use std::collections::{BTreeMap, VecDeque};

use crate::application::{Application, Result};
use crate::domain::Apply;
use crate::following::{
    Follower, FollowerEvent, FollowerRecord, StartingCheckpoint, follower_stream,
};
use crate::recording::{
    Checkpoint, EventId, FollowerKey, LogId, PageEnd, Position, StoredEvent, StreamRead,
};

/// The records of one generation.
pub(crate) struct Generation {
    /// The follower as the generation began: its number, its partitions.
    pub(crate) record: FollowerRecord,
    pub(crate) starts: Vec<StartingCheckpoint>,
    /// Events that were parked, by log and position, with the position of the note in the own log.
    pub(crate) parked: BTreeMap<(LogId, Position), Position>,
    /// Events that were resumed, in the order of their notes.
    pub(crate) resumed: VecDeque<Resumed>,
    /// Whether the follower was reset since.
    pub(crate) is_past: bool,
    /// Where all partitions of the generation ended, because the follower was split, with the
    /// position of that note in the own log.
    pub(crate) end: Option<(Position, Vec<StartingCheckpoint>)>,
}

/// A note that a parked event was processed later.
#[derive(Clone)]
pub(crate) struct Resumed {
    /// Position of the note in the own log.
    pub(crate) position: Position,
    /// Its id.
    pub(crate) id: EventId,
    pub(crate) log: LogId,
    pub(crate) event: Checkpoint,
    pub(crate) policy_version: u32,
    pub(crate) partition: u32,
}

impl Generation {
    fn begin(record: FollowerRecord, starts: Vec<StartingCheckpoint>) -> Self {
        Self {
            record,
            starts,
            parked: BTreeMap::new(),
            resumed: VecDeque::new(),
            is_past: false,
            end: None,
        }
    }

    /// Returns its number.
    pub(crate) fn number(&self) -> u64 {
        self.record.generation
    }

    pub(crate) fn key_of_ids(&self) -> FollowerKey {
        self.record.key_of_ids()
    }

    /// Returns how the generation assigns upstream events to partitions.
    pub(crate) fn split(&self, follower: &Follower) -> Split {
        let rule = follower.partition_rule().name();
        Split {
            partitions: self.record.partitions,
            is_known: self.record.partitions <= 1
                || self.record.partitioned_by.as_deref() == Some(rule),
        }
    }
}

/// How a generation is split.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Split {
    pub(crate) partitions: u32,
    /// Whether the program has the rule that derives an event's key.
    pub(crate) is_known: bool,
}

impl Split {
    /// For a generation without records.
    pub(crate) const NONE: Self = Self {
        partitions: 1,
        is_known: true,
    };

    /// Returns whether an event belongs to this partition.
    pub(crate) fn has(self, follower: &Follower, partition: u32, event: &StoredEvent) -> bool {
        let rule = follower.partition_rule();
        rule.partition_of(event, self.partitions) == partition
    }
}

/// Returns the generations of a follower in order; the first one even if it never started.
pub(crate) async fn generations_of(
    application: &Application,
    name: &str,
) -> Result<Vec<Generation>> {
    let mut record = FollowerRecord::new(name);
    let mut all = vec![Generation::begin(record.clone(), Vec::new())];
    let mut read = StreamRead::new(follower_stream(name));
    loop {
        let page = application.recorder().read_stream(read.clone()).await?;
        for stored in &page.events {
            let event: FollowerEvent = application.mapper().decode(stored)?;
            record.apply(&event);
            take_in(&mut all, event, stored, &record);
        }
        if let Some(last) = page.events.last() {
            read = read.after_checkpoint(last.version(), Some(last.checkpoint()));
        }
        if page.end == PageEnd::Complete {
            return Ok(all);
        }
    }
}

/// Applies an event, after which the follower is as in `record`.
fn take_in(
    all: &mut Vec<Generation>,
    event: FollowerEvent,
    stored: &StoredEvent,
    record: &FollowerRecord,
) {
    let Some(present) = all.last_mut() else {
        return;
    };
    match event {
        FollowerEvent::Started(start) => present.starts.push(start),
        FollowerEvent::Parked(parked) => {
            let place = (parked.log, parked.event.position);
            present.parked.insert(place, stored.position());
        }
        FollowerEvent::Resumed {
            log,
            event,
            policy_version,
            partition,
        } => present.resumed.push_back(Resumed {
            position: stored.position(),
            id: stored.id(),
            log,
            event,
            policy_version,
            partition,
        }),
        FollowerEvent::Reset { starts, .. } => {
            all.iter_mut().for_each(|it| it.is_past = true);
            all.push(Generation::begin(record.clone(), starts));
        }
        FollowerEvent::Partitioned { starts, .. } => {
            if record.generation == present.number() {
                // It was split when it started.
                present.record = record.clone();
                present.starts = starts;
                return;
            }
            present.end = Some((stored.position(), starts.clone()));
            all.push(Generation::begin(record.clone(), starts));
        }
        FollowerEvent::Skipped { .. }
        | FollowerEvent::Paused { .. }
        | FollowerEvent::Continued
        | FollowerEvent::Retired { .. }
        | FollowerEvent::Partitioning { .. } => {}
    }
}
