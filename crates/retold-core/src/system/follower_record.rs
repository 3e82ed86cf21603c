//! The state of a follower: the fold of its own stream.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::follower_event::{FollowerEvent, Parked, StartingMark, follower_stream};
use crate::application::Error;
use crate::domain::event::Apply;
use crate::mapping::mapper::Mapper;
use crate::recording::identity::{LogId, Position, Version};
use crate::recording::recorder::{PageEnd, Recorder, StreamRead};
use crate::recording::stretch::FollowerKey;

/// What is recorded of a follower: where it started, whether it is paused, what it has parked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FollowerRecord {
    /// Its name.
    pub name: Arc<str>,
    /// Version of its stream; none if it never started.
    pub version: Option<Version>,
    /// Number of the present generation, from 1.
    pub generation: u64,
    /// Where the present generation began, by the name of the upstream.
    pub starts: BTreeMap<String, StartingMark>,
    /// Why it is paused, if it is.
    pub paused: Option<String>,
    /// How often it was let continue: each time it answers what is parked once more.
    pub continued: u64,
    /// What it has put aside, by log and position.
    pub parked: BTreeMap<(LogId, Position), Parked>,
}

impl FollowerRecord {
    /// Of a follower that never started.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            version: None,
            generation: 1,
            starts: BTreeMap::new(),
            paused: None,
            continued: 0,
            parked: BTreeMap::new(),
        }
    }

    /// Name of its stream.
    pub fn stream(&self) -> Arc<str> {
        follower_stream(&self.name).into()
    }

    /// Key of the present generation.
    pub fn key(&self) -> FollowerKey {
        FollowerKey::new(format!("{}@{}", self.name, self.generation))
    }

    /// The parked event that holds back others of this stream, if there is one.
    pub fn holds_back(&self, log: LogId, stream: &str) -> Option<&Parked> {
        let parked = self.parked.values();
        parked
            .filter(|it| it.log == log)
            .find(|it| it.stream.as_deref() == Some(stream))
    }

    /// Takes in what the log has of the follower after [`version`](Self::version). Says whether there
    /// was anything.
    ///
    /// # Errors
    ///
    /// `Mapping` if an event was recorded by a newer version of the library; what the recorder
    /// reports. What was read before is taken in.
    pub async fn read_on(
        &mut self,
        recorder: &dyn Recorder,
        mapper: &Mapper,
    ) -> Result<bool, Error> {
        let stream = self.stream();
        let before = self.version;
        loop {
            let read = StreamRead::new(Arc::clone(&stream)).after(self.version);
            let page = recorder.read_stream(read).await?;
            for stored in &page.events {
                let event: FollowerEvent = mapper.decode(stored)?;
                self.apply(&event);
                self.version = stored.version();
            }
            if page.end == PageEnd::Complete {
                return Ok(self.version != before);
            }
        }
    }
}

impl Apply<FollowerEvent> for FollowerRecord {
    fn apply(&mut self, event: &FollowerEvent) {
        match event {
            FollowerEvent::Started(start) => {
                self.starts.insert(start.upstream.clone(), start.clone());
            }
            FollowerEvent::Parked(parked) => {
                let place = (parked.log, parked.event.position);
                self.parked.insert(place, parked.clone());
            }
            FollowerEvent::Resumed { log, event, .. }
            | FollowerEvent::Skipped { log, event, .. } => {
                self.parked.remove(&(*log, event.position));
            }
            FollowerEvent::Paused { reason, .. } => self.paused = Some(reason.clone()),
            FollowerEvent::Continued => {
                self.paused = None;
                self.continued += 1;
            }
            FollowerEvent::Reset { generation, starts } => {
                self.generation = *generation;
                self.parked.clear();
                self.starts = starts
                    .iter()
                    .map(|start| (start.upstream.clone(), start.clone()))
                    .collect();
            }
        }
    }
}
