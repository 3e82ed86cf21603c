//! Where a pipeline begins: what is recorded of its follower, and whether the logs are still those
//! that were followed.

use std::sync::Arc;

use super::{Pipeline, Upstream};
use crate::application::subscription::check_mark;
use crate::application::{Error, Result};
use crate::mapping::mapper::Envelope;
use crate::recording::append::Append;
use crate::recording::condition::{Condition, ExpectedVersion};
use crate::recording::error::Conflict;
use crate::recording::identity::LogId;
use crate::recording::new_event::NewEvent;
use crate::recording::origin::Origin;
use crate::system::batch::Batch;
use crate::system::follower::Start;
use crate::system::follower_event::{FollowerEvent, StartingMark};

impl Pipeline {
    /// Reads where the follower is, starts it over logs that it never followed, and checks that the
    /// others are still those that it followed.
    pub(super) async fn start(&mut self) -> Result<()> {
        self.is_prepared = false;
        self.batch = Batch::default();
        self.follower
            .policies()
            .register(self.application.registry())?;
        loop {
            let recorder = Arc::clone(self.application.recorder());
            let mapper = *self.application.mapper();
            self.record.read_on(&*recorder, &mapper).await?;
            if self.start_anew().await? {
                break;
            }
        }
        self.key = self.record.key();
        for index in 0..self.upstreams.len() {
            self.find_place(index).await?;
        }
        self.is_prepared = true;
        self.tell_places();
        Ok(())
    }

    /// Records the start over logs that are followed for the first time. False if somebody else
    /// changed the follower meanwhile.
    async fn start_anew(&mut self) -> Result<bool> {
        let mut started = Vec::new();
        for upstream in &self.upstreams {
            if self.record.starts.contains_key(&*upstream.name) {
                continue;
            }
            let log = log_id(upstream).await?;
            let after = match self.follower.starts() {
                Start::FirstEvent => None,
                Start::Now => upstream.recorder.head().await?.mark,
            };
            let start = StartingMark::new(&*upstream.name, log, after);
            started.push(FollowerEvent::Started(start));
        }
        if started.is_empty() {
            return Ok(true);
        }
        // Read back by the next round, whoever recorded it.
        match self.record_own(&started).await {
            Ok(()) | Err(Error::Conflict(Conflict::Stream { .. })) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Records events of the follower itself, if nothing of it has changed since it was read.
    pub(super) async fn record_own(&mut self, events: &[FollowerEvent]) -> Result<()> {
        let append = Append::of(self.own_events(events)?).condition(self.own_condition());
        self.application.settle(append).await.map(drop)
    }

    /// Events of the follower itself, as a recorder takes them.
    pub(super) fn own_events(&self, events: &[FollowerEvent]) -> Result<Vec<NewEvent>> {
        let encode = |event| {
            let envelope = Envelope {
                stream: Some(Arc::clone(&self.stream)),
                origin: Origin::Library,
                ..Envelope::new(self.application.next_event_id(), self.application.now())
            };
            Ok(self.application.mapper().encode(event, envelope)?)
        };
        events.iter().map(encode).collect()
    }

    pub(super) fn own_condition(&self) -> Condition {
        let expected = ExpectedVersion::seen(self.record.version);
        Condition::stream_at(Arc::clone(&self.stream), expected)
    }

    /// Finds out how far the follower is in the log at this index, and whether it is still that log.
    async fn find_place(&mut self, index: usize) -> Result<()> {
        let upstream = &self.upstreams[index];
        let (recorder, name) = (Arc::clone(&upstream.recorder), Arc::clone(&upstream.name));
        let start = self.record.starts.get(&*name);
        let Some(start) = start else {
            return Err(Error::invalid(format!(
                "the follower {:?} has not started over {name:?}",
                self.follower.name()
            )));
        };
        let found = recorder.log_id().await?;
        if found != Some(start.log) {
            return Err(Error::Replaced {
                log: name,
                expected: start.log,
                found,
            });
        }
        let own = self.application.recorder();
        let checkpoint = own.checkpoint(&self.key, start.log).await?.or(start.after);
        if let Some(mark) = checkpoint {
            check_mark(&*recorder, mark).await?;
        }
        let log = start.log;
        let upstream = &mut self.upstreams[index];
        upstream.log = log;
        upstream.checkpoint = checkpoint;
        upstream.reached = checkpoint;
        Ok(())
    }
}

async fn log_id(upstream: &Upstream) -> Result<LogId> {
    match upstream.recorder.log_id().await? {
        Some(id) => Ok(id),
        None => Err(Error::invalid(format!(
            "the log {:?} does not exist yet, so nobody can follow it; open its application for writing first",
            upstream.name
        ))),
    }
}
