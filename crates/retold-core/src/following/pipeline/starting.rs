//! The start of a pipeline: reads the record of its follower, and checks that the logs are still
//! those that were followed.

use std::cmp::max_by_key;
use std::sync::Arc;

use super::Pipeline;
use super::state::PipelineState;
use super::upstream::Upstream;
use crate::application::{Error, Result};
use crate::following::batch::Batch;
use crate::following::follower::Start;
use crate::following::follower_event::{FollowerEvent, StartingCheckpoint};
use crate::mapping::Envelope;
use crate::recording::{Append, Checkpoint, Conflict, LogId, NewEvent, Origin, prove_checkpoint};

impl Pipeline {
    /// Reads the follower's progress, starts it over logs that it never followed, and checks that
    /// the others are still those that it followed.
    pub(super) async fn start(&mut self) -> Result<()> {
        self.invalidate();
        self.follower
            .policies()
            .register(self.application.registry())?;
        loop {
            let recorder = Arc::clone(self.application.recorder());
            let mapper = self.application.mapper().clone();
            self.record.read_on(&*recorder, &mapper).await?;
            if let Some(system) = &self.system {
                self.record.check_system(self.application.name(), system)?;
            }
            if self.start_new_logs().await? && self.split_if_due().await? {
                break;
            }
        }
        self.check_rule()?;
        let is_own = |it: &u32| *it < self.record.partitions && self.lane.has(*it);
        self.partition = self.partition.filter(is_own);
        self.partition = self.partition.or(Some(self.lane.index).filter(is_own));
        self.key = self.record.key(self.partition.unwrap_or(0));
        self.key_of_ids = self.record.key_of_ids();
        for index in 0..self.upstreams.len() {
            self.find_place(index).await?;
        }
        self.state = PipelineState::Ready(Batch::default());
        self.report_progress();
        Ok(())
    }

    /// Records the start over logs that are followed for the first time. Returns false if the
    /// follower changed in the meantime.
    async fn start_new_logs(&mut self) -> Result<bool> {
        let system = self.system.as_ref().map(|it| it.name.as_str());
        let mut starts = Vec::new();
        for upstream in &self.upstreams {
            if self.record.starts.contains_key(&*upstream.name) {
                continue;
            }
            let log = log_id(upstream).await?;
            let after = match self.follower.starts() {
                Start::FirstEvent => None,
                Start::Now => upstream.recorder.head().await?.checkpoint,
            };
            starts.push(StartingCheckpoint::new(&*upstream.name, log, after).of_system(system));
        }
        if starts.is_empty() {
            return Ok(true);
        }
        let partitions = self.follower.pipeline_count();
        let started = match self.record.version.is_none() && partitions > 1 {
            true => vec![FollowerEvent::Partitioned {
                generation: self.record.generation,
                partitions,
                by: self.follower.partition_rule().name().to_owned(),
                starts,
            }],
            false => starts.into_iter().map(FollowerEvent::Started).collect(),
        };
        self.record_own(&started).await
    }

    /// Splits the follower, if an operator requested it and all partitions are at the same
    /// positions. Otherwise finds the positions up to which the partitions may process events until
    /// then. Returns false if the follower changed in the meantime.
    ///
    /// A pipeline that records a processed range after the operator's act knows of the act, because
    /// it changed the follower's stream. So from then on no partition advances beyond the one that
    /// is farthest ahead. That position does not change, and partitions that have reached it stay
    /// there until the split.
    async fn split_if_due(&mut self) -> Result<bool> {
        let Some(wanted) = self.record.partitioning.clone() else {
            self.upstreams.iter_mut().for_each(|it| it.limit = None);
            return Ok(true);
        };
        let mut starts = Vec::new();
        let mut is_even = true;
        for start in self.record.starts.values() {
            let mut farthest: Option<Checkpoint> = None;
            for partition in 0..self.record.partitions {
                let key = self.record.key(partition);
                let recorder = self.application.recorder();
                let checkpoint = recorder.checkpoint(&key, start.log).await?;
                let place = checkpoint.or(start.after);
                is_even &= partition == 0 || place == farthest;
                farthest = max_by_key(farthest, place, |checkpoint| {
                    checkpoint.map(|checkpoint| checkpoint.position)
                });
            }
            let system = self.record.system.as_deref();
            let start = StartingCheckpoint::new(&*start.upstream, start.log, farthest);
            starts.push(start.of_system(system));
        }
        for upstream in &mut self.upstreams {
            let mut starts = starts.iter();
            let start = starts.find(|start| *start.upstream == *upstream.name);
            upstream.limit = start.map(|start| start.after);
        }
        if !is_even {
            return Ok(true);
        }
        // A single partition has all events, under any rule.
        let rule = self.record.partitioned_by.clone();
        let rule = wanted.by.or(rule.filter(|_| self.record.partitions > 1));
        let split = FollowerEvent::Partitioned {
            generation: self.record.generation + 1,
            partitions: wanted.partitions,
            by: rule.unwrap_or_else(|| self.follower.partition_rule().name().to_owned()),
            starts,
        };
        self.record_own(&[split]).await
    }

    /// Records events of the follower itself, if its stream has not changed since it was read.
    /// Returns false, also after a conflict, because it has changed now and must be read again.
    async fn record_own(&mut self, events: &[FollowerEvent]) -> Result<bool> {
        let append = Append::of(self.own_events(events)?).condition(self.record.condition());
        match self.application.settle(append).await {
            Ok(_) | Err(Error::Conflict(Conflict::Stream { .. })) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Checks that this program has the recorded rule of partitions.
    fn check_rule(&self) -> Result<()> {
        let own = self.follower.partition_rule().name();
        match &self.record.partitioned_by {
            Some(recorded) if self.record.partitions > 1 && recorded != own => {
                Err(Error::invalid(format!(
                    "the follower {:?} is split by {recorded:?}, but by {own:?} in this program, \
                     which therefore cannot run it; have an operator split it by {own:?} while a \
                     program that splits it by {recorded:?} runs",
                    self.follower.name()
                )))
            }
            _ => Ok(()),
        }
    }

    /// Encodes events of the follower itself for a recorder.
    pub(super) fn own_events(&self, events: &[FollowerEvent]) -> Result<Vec<NewEvent>> {
        let encode = |event| {
            let envelope = Envelope {
                stream: Some(Arc::clone(&self.stream)),
                origin: Origin::Library,
                ..Envelope::new(self.application.next_event_id(), self.application.now())
            };
            let (new, _) = self.application.mapper().encode(event, envelope)?;
            Ok(new)
        };
        events.iter().map(encode).collect()
    }

    /// Finds the follower's position in the log at this index, and checks that it is still the same
    /// log.
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
        let checkpoint = match self.partition {
            Some(_) => own.checkpoint(&self.key, start.log).await?,
            None => None,
        };
        let checkpoint = checkpoint.or(start.after);
        if let Some(checkpoint) = checkpoint {
            prove_checkpoint(&*recorder, checkpoint).await?;
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
            "the log {:?} does not exist yet, so it cannot be followed; open its application for \
             writing first",
            upstream.name
        ))),
    }
}
