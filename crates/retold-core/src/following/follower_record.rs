//! The state of a follower: the fold of its own stream.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::follower_event::{FollowerEvent, Parked, StartingCheckpoint, follower_stream};
use crate::application::Error;
use crate::domain::Apply;
use crate::mapping::Mapper;
use crate::recording::{
    Checkpoint, Condition, FollowerKey, Invalid, LogId, PageEnd, Position, RecordError, Recorder,
    StreamRead, Version,
};

/// The record of a follower: where it started, whether it is paused, the events it has parked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FollowerRecord {
    /// Its name.
    pub name: Arc<str>,
    /// Version of its stream; none if it never started.
    pub version: Option<Version>,
    /// The event of that version, which proves that the log still has the events that were read.
    checkpoint: Option<Checkpoint>,
    /// Number of the present generation, from 1.
    pub generation: u64,
    /// Number of the generation from which ids of effects are derived: the one that began with the
    /// last reset. A split keeps it, because a split processes nothing twice.
    pub generation_of_ids: u64,
    /// Number of partitions of the present generation, from 1.
    pub partitions: u32,
    /// Name of the rule that derives the key from an event; none if the follower was never split.
    pub partitioned_by: Option<String>,
    /// The split that an operator requested, until it happens.
    pub partitioning: Option<Partitioning>,
    /// Where the present generation began, by the name of the upstream.
    pub starts: BTreeMap<String, StartingCheckpoint>,
    /// Name of the system that it is part of; none if it is not recorded yet.
    pub system: Option<String>,
    /// Why it is paused, if it is.
    pub paused: Option<String>,
    /// Why it is retired, if it is.
    pub retired: Option<String>,
    /// How many times it was resumed. It retries its parked events each time.
    pub continued: u64,
    /// Its parked events, by the log and the position of the event.
    pub parked: BTreeMap<(LogId, Position), Parked>,
    /// Positions of the parked events of each stream, looked up for every event.
    held: HashMap<(LogId, String), BTreeSet<Position>>,
}

/// The name of a system, and its former names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SystemNames {
    pub(crate) name: String,
    pub(crate) former: Vec<String>,
}

impl SystemNames {
    fn has(&self, name: &str) -> bool {
        self.name == name || self.former.iter().any(|it| it == name)
    }
}

/// A requested split of a follower.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Partitioning {
    /// The requested number of partitions.
    pub partitions: u32,
    /// Name of the rule that derives the key from an event. None keeps the present rule.
    pub by: Option<String>,
}

impl FollowerRecord {
    /// Creates the record of a follower that never started.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            version: None,
            checkpoint: None,
            generation: 1,
            generation_of_ids: 1,
            partitions: 1,
            partitioned_by: None,
            partitioning: None,
            starts: BTreeMap::new(),
            system: None,
            paused: None,
            retired: None,
            continued: 0,
            parked: BTreeMap::new(),
            held: HashMap::new(),
        }
    }

    /// Returns the name of its stream.
    pub fn stream(&self) -> Arc<str> {
        follower_stream(&self.name).into()
    }

    /// Returns the condition that its stream is unchanged since it was read.
    pub(crate) fn condition(&self) -> Condition {
        let event = self.checkpoint.map(|checkpoint| checkpoint.event_id);
        Condition::stream_read(self.stream(), self.version, event)
    }

    /// Returns the key of a partition, counted from 0, of the present generation, under which its
    /// processed ranges are recorded. If there is a single partition, the key contains no partition
    /// number.
    pub fn key(&self, partition: u32) -> FollowerKey {
        let partition = (self.partitions > 1).then_some(partition);
        FollowerKey::of(&self.name, self.generation, partition)
    }

    /// Returns the key from which ids of effects are derived. It has no partition, and stays the
    /// same when the follower is split.
    pub fn key_of_ids(&self) -> FollowerKey {
        FollowerKey::of(&self.name, self.generation_of_ids, None)
    }

    /// Returns whether an earlier event of its stream is parked, so that the event at this position
    /// must not be processed now.
    pub(crate) fn is_held_back(
        &self,
        log: LogId,
        stream: Option<&str>,
        position: Position,
    ) -> bool {
        if self.parked.is_empty() {
            return false;
        }
        let held = stream.and_then(|stream| self.held.get(&(log, stream.to_owned())));
        let first = held.and_then(|held| held.first());
        first.is_some_and(|first| *first < position)
    }

    /// Returns whether it records nothing until an operator resumes it: it is paused or retired.
    pub fn is_halted(&self) -> bool {
        self.paused.is_some() || self.retired.is_some()
    }

    /// Checks that the follower belongs to the system of this name, or of one of its former names,
    /// so that its program may run it.
    ///
    /// # Errors
    ///
    /// [`Invalid`] if it is part of another system.
    pub(crate) fn check_system(
        &self,
        application: &str,
        system: &SystemNames,
    ) -> Result<(), Invalid> {
        match &self.system {
            Some(recorded) if !system.has(recorded) => Err(Invalid::new(format!(
                "the follower {:?} of {application:?} is part of the system {recorded:?}, and \
                 this program is the system {:?}: two systems must not share a follower, because \
                 each would take the other's work for its own; open another store, rename the \
                 application or the follower, or, if the system was renamed, declare \
                 `.formerly({recorded:?})`",
                self.name, system.name
            ))),
            _ => Ok(()),
        }
    }

    /// Checks that a program may declare it.
    ///
    /// # Errors
    ///
    /// [`Invalid`] if it is retired.
    pub(crate) fn check_not_retired(&self, application: &str) -> Result<(), Invalid> {
        match &self.retired {
            Some(reason) => Err(Invalid::new(format!(
                "the follower {:?} of {application:?} is retired ({reason}); remove it from the \
                 program, or resume it with `retold follower resume`",
                self.name
            ))),
            None => Ok(()),
        }
    }

    fn take_starts(&mut self, starts: &[StartingCheckpoint]) {
        self.starts = by_upstream(starts);
        self.note_system(starts);
    }

    fn note_system(&mut self, starts: &[StartingCheckpoint]) {
        let noted = starts.iter().find_map(|start| start.system.as_ref());
        if let Some(system) = noted {
            self.system = Some(system.clone());
        }
    }

    /// Returns the first parked event whose policy failed, by log and position, or the first parked
    /// event if no policy failed; none if nothing is parked.
    pub fn first_failed(&self) -> Option<&Parked> {
        let mut failed = self.parked.values().filter(|it| it.failure.is_some());
        failed.next().or_else(|| self.parked.values().next())
    }

    fn park(&mut self, parked: &Parked) {
        let position = parked.event.position;
        if let Some(stream) = &parked.stream {
            let of_stream = self.held.entry((parked.log, stream.clone())).or_default();
            of_stream.insert(position);
        }
        self.parked.insert((parked.log, position), parked.clone());
    }

    fn unpark(&mut self, log: LogId, position: Position) {
        let Some(parked) = self.parked.remove(&(log, position)) else {
            return;
        };
        let Some(stream) = parked.stream else {
            return;
        };
        let key = (log, stream);
        if let Some(of_stream) = self.held.get_mut(&key) {
            of_stream.remove(&position);
            if of_stream.is_empty() {
                self.held.remove(&key);
            }
        }
    }

    /// Reads and applies the events of the follower after [`version`](Self::version). Returns
    /// whether there were any.
    ///
    /// # Errors
    ///
    /// `Mapping` if an event was recorded by a newer version of the library; the errors of the
    /// recorder. Events that were read before the error are applied.
    ///
    /// If the log no longer has the events that were applied, because it was restored from an older
    /// copy, this is not an error: everything is read again.
    pub async fn read_on(
        &mut self,
        recorder: &dyn Recorder,
        mapper: &Mapper,
    ) -> Result<bool, Error> {
        let stream = self.stream();
        let mut before = Some(self.version);
        loop {
            let read = StreamRead::new(Arc::clone(&stream))
                .after_checkpoint(self.version, self.checkpoint);
            let page = match recorder.read_stream(read).await {
                Err(RecordError::Diverged { .. }) => {
                    *self = Self::new(Arc::clone(&self.name));
                    before = None;
                    continue;
                }
                page => page?,
            };
            for stored in &page.events {
                let event: FollowerEvent = mapper.decode(stored)?;
                self.apply(&event);
                self.version = stored.version();
                self.checkpoint = Some(stored.checkpoint());
            }
            if page.end == PageEnd::Complete {
                return Ok(Some(self.version) != before);
            }
        }
    }
}

fn by_upstream(starts: &[StartingCheckpoint]) -> BTreeMap<String, StartingCheckpoint> {
    let starts = starts.iter();
    starts
        .map(|start| (start.upstream.clone(), start.clone()))
        .collect()
}

impl Apply<FollowerEvent> for FollowerRecord {
    fn apply(&mut self, event: &FollowerEvent) {
        match event {
            FollowerEvent::Started(start) => {
                self.starts.insert(start.upstream.clone(), start.clone());
                self.note_system(std::slice::from_ref(start));
            }
            FollowerEvent::Parked(parked) => self.park(parked),
            FollowerEvent::Resumed { log, event, .. }
            | FollowerEvent::Skipped { log, event, .. } => {
                self.unpark(*log, event.position);
            }
            FollowerEvent::Paused { reason, .. } => self.paused = Some(reason.clone()),
            FollowerEvent::Continued => {
                self.paused = None;
                self.retired = None;
                self.continued += 1;
            }
            FollowerEvent::Retired { reason } => self.retired = Some(reason.clone()),
            FollowerEvent::Reset { generation, starts } => {
                self.generation = *generation;
                self.generation_of_ids = *generation;
                self.parked.clear();
                self.held.clear();
                self.take_starts(starts);
            }
            FollowerEvent::Partitioning { partitions, by } => {
                let is_as_it_is = *partitions == self.partitions
                    && by
                        .as_ref()
                        .is_none_or(|by| Some(by) == self.partitioned_by.as_ref());
                // Requesting the present partitions withdraws an earlier request.
                self.partitioning = (!is_as_it_is).then(|| Partitioning {
                    partitions: *partitions,
                    by: by.clone(),
                });
            }
            FollowerEvent::Partitioned {
                generation,
                partitions,
                by,
                starts,
            } => {
                self.generation = *generation;
                self.partitions = *partitions;
                self.partitioned_by = Some(by.clone());
                self.partitioning = None;
                self.take_starts(starts);
            }
        }
    }
}
