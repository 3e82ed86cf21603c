//! Operators' acts on followers, such as pausing, resuming and resetting. Each is recorded as an
//! event of the follower's own stream.
//!
//! An act needs no policy and no runner: any program that can write to the log can record it, and
//! so can the command line. Running pipelines, in any process, notice it before they record
//! anything more, because each of their appends has the condition that the follower's stream is
//! unchanged.

use std::cmp::min_by_key;
use std::sync::Arc;

use super::follower_event::{FOLLOWER_STREAM_TYPE, FollowerEvent, Parked, StartingCheckpoint};
use super::follower_record::FollowerRecord;
use super::partition::check_count;
use crate::application::{Application, Error, Result};
use crate::domain::Apply;
use crate::mapping::Envelope;
use crate::recording::limits::check_name;
use crate::recording::{Append, Checkpoint, LogId, Origin, Position, Recorder};

/// How many times an act is decided again because the follower recorded something first.
const ATTEMPTS_MAX: u32 = 100;

/// Names of followers read at once.
const NAMES_PAGE: usize = 1_000;

/// A follower as an operator sees it, through its application's log alone.
#[derive(Clone, Debug)]
pub struct FollowerOperator {
    application: Application,
    name: Arc<str>,
}

impl FollowerOperator {
    /// Returns the operator of the follower of this name in this application.
    pub fn new(application: &Application, follower: impl Into<Arc<str>>) -> Self {
        Self {
            application: application.clone(),
            name: follower.into(),
        }
    }

    /// Returns the names of the followers in the application's log.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Corrupt`].
    pub async fn all(application: &Application) -> Result<Vec<Self>> {
        let prefix = format!("{FOLLOWER_STREAM_TYPE}/");
        let mut followers = Vec::new();
        let mut after: Option<Arc<str>> = None;
        loop {
            let recorder = application.recorder();
            let page = recorder
                .streams(&prefix, after.as_deref(), NAMES_PAGE)
                .await?;
            let Some(last) = page.last() else {
                return Ok(followers);
            };
            after = Some(Arc::clone(&last.name));
            let names = page.iter().filter_map(|it| it.name.strip_prefix(&prefix));
            followers.extend(names.map(|name| Self::new(application, name)));
        }
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads the present record of the follower.
    ///
    /// # Errors
    ///
    /// [`Error::Mapping`] if a newer version of the library recorded it; [`Error::Unavailable`],
    /// [`Error::Corrupt`].
    pub async fn record(&self) -> Result<FollowerRecord> {
        let mut record = FollowerRecord::new(Arc::clone(&self.name));
        let recorder: &dyn Recorder = &**self.application.recorder();
        record.read_on(recorder, self.application.mapper()).await?;
        Ok(record)
    }

    /// Reads the follower's position in a log that it follows: the end of its last processed range,
    /// or its starting checkpoint. For a partitioned follower it is the position of the partition
    /// that is farthest behind.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Corrupt`].
    pub async fn checkpoint(
        &self,
        record: &FollowerRecord,
        log: LogId,
    ) -> Result<Option<Checkpoint>> {
        let mut least = self.checkpoint_of(record, 0, log).await?;
        for partition in 1..record.partitions {
            let place = self.checkpoint_of(record, partition, log).await?;
            least = min_by_key(least, place, |checkpoint| {
                checkpoint.map(|checkpoint| checkpoint.position)
            });
        }
        Ok(least)
    }

    /// Reads the position of one of its partitions, counted from 0, in a log that it follows.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Corrupt`].
    pub async fn checkpoint_of(
        &self,
        record: &FollowerRecord,
        partition: u32,
        log: LogId,
    ) -> Result<Option<Checkpoint>> {
        let recorder = self.application.recorder();
        let checkpoint = recorder.checkpoint(&record.key(partition), log).await?;
        let mut starts = record.starts.values();
        Ok(checkpoint.or(starts.find(|it| it.log == log).and_then(|it| it.after)))
    }

    /// Pauses it: it records nothing more until it is resumed. Returns false, and records nothing,
    /// if it was already paused.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if it never started; the errors of [`Application::settle`].
    pub async fn pause(&self, reason: &str) -> Result<bool> {
        self.act(|record| {
            Ok(record.paused.is_none().then(|| FollowerEvent::Paused {
                reason: reason.to_owned(),
                failed: None,
            }))
        })
        .await
    }

    /// Retires the follower: it records nothing more, and a program that still declares it is
    /// rejected when it starts. Use this once all programs have removed it. Returns false, and
    /// records nothing, if it was already retired. [`resume`](Self::resume) revokes it.
    ///
    /// # Errors
    ///
    /// As for [`pause`](Self::pause).
    pub async fn retire(&self, reason: &str) -> Result<bool> {
        let retired = |record: &FollowerRecord| {
            Ok(record.retired.is_none().then(|| FollowerEvent::Retired {
                reason: reason.to_owned(),
            }))
        };
        self.act_on_any(retired).await
    }

    /// Resumes the follower and retries its parked events. Also revokes its retirement. Returns
    /// whether anything changed.
    ///
    /// # Errors
    ///
    /// As for [`pause`](Self::pause).
    pub async fn resume(&self) -> Result<bool> {
        self.act_on_any(|record| {
            let is_needed = record.is_halted() || !record.parked.is_empty();
            Ok(is_needed.then_some(FollowerEvent::Continued))
        })
        .await
    }

    /// Gives up a parked event: it is never processed. Later events of its stream that it held back
    /// are processed at the next [`resume`](Self::resume).
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the event is not parked; otherwise as for [`pause`](Self::pause).
    pub async fn skip(&self, log: LogId, position: Position, reason: &str) -> Result<()> {
        self.act(|record| {
            let parked = record.parked.get(&(log, position)).ok_or_else(|| {
                Error::invalid(format!(
                    "the follower {:?} has not parked the event at {position} of the log {log}",
                    record.name
                ))
            })?;
            Ok(Some(FollowerEvent::Skipped {
                log,
                event: parked.event,
                reason: reason.to_owned(),
            }))
        })
        .await
        .map(drop)
    }

    /// Restarts the follower as a new generation: after these checkpoints, and from the first event
    /// of each log that is not named. What it has recorded stays in the log, and it records its
    /// effects again with other ids. So reset only followers whose effects can be repeated, or
    /// whose logs were replaced.
    ///
    /// # Errors
    ///
    /// As for [`pause`](Self::pause).
    pub async fn reset(&self, starts: &[StartingCheckpoint]) -> Result<()> {
        self.act(|record| {
            let mut begun = starts.to_vec();
            let is_named =
                |old: &StartingCheckpoint| starts.iter().any(|it| it.upstream == old.upstream);
            let others = record.starts.values().filter(|old| !is_named(old));
            begun.extend(others.map(|old| StartingCheckpoint::new(&*old.upstream, old.log, None)));
            let system = record.system.as_deref();
            let begun = begun.into_iter().map(|it| it.of_system(system)).collect();
            Ok(Some(FollowerEvent::Reset {
                generation: record.generation + 1,
                starts: begun,
            }))
        })
        .await
        .map(drop)
    }

    /// Requests a split into this many partitions, 1 to
    /// [`PARTITIONS_MAX`](super::limits::PARTITIONS_MAX), by the rule of this name or, without one,
    /// by the present rule. Returns false, and records nothing, if this was already requested.
    /// Requesting the present partitions withdraws an earlier request.
    ///
    /// The split happens while programs run the follower. Its partitions process all events up to
    /// the position of the one that is farthest ahead, and none beyond it. When all have reached
    /// it, the new partitions begin there. A paused follower does not advance until it is resumed.
    /// No event is processed twice or skipped, the order within a key is kept, and the ids of
    /// effects stay the same.
    ///
    /// If the running programs declare another rule, their pipelines of the follower stop, and
    /// programs that declare the requested rule take over.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a number out of range or an empty name; otherwise as for
    /// [`pause`](Self::pause).
    pub async fn repartition(&self, partitions: u32, by: Option<&str>) -> Result<bool> {
        check_count(&self.name, partitions)?;
        if let Some(by) = by {
            check_name("name of a rule of partitions", by)?;
        }
        self.act(|record| {
            let by = by.map(str::to_owned);
            let event = FollowerEvent::Partitioning { partitions, by };
            let mut after = record.clone();
            after.apply(&event);
            Ok((after.partitioning != record.partitioning).then_some(event))
        })
        .await
    }

    /// Returns its parked events, in the order of logs and positions.
    ///
    /// # Errors
    ///
    /// As for [`record`](Self::record).
    pub async fn parked(&self) -> Result<Vec<Parked>> {
        Ok(self.record().await?.parked.into_values().collect())
    }

    /// Records an act on a follower that is not retired. Returns false if there is nothing to
    /// record.
    async fn act(
        &self,
        decide: impl Fn(&FollowerRecord) -> Result<Option<FollowerEvent>>,
    ) -> Result<bool> {
        self.act_on_any(|record| match &record.retired {
            None => decide(record),
            Some(reason) => Err(Error::invalid(format!(
                "the follower {:?} of {:?} is retired ({reason}); resume it first, with `retold \
                 follower resume`",
                self.name,
                self.application.name()
            ))),
        })
        .await
    }

    /// Records an act. Returns false if there is nothing to record.
    async fn act_on_any(
        &self,
        decide: impl Fn(&FollowerRecord) -> Result<Option<FollowerEvent>>,
    ) -> Result<bool> {
        let mut attempts = 0;
        loop {
            let record = self.record().await?;
            if record.version.is_none() {
                return Err(Error::invalid(format!(
                    "no follower {:?} has started in {:?}",
                    self.name,
                    self.application.name()
                )));
            }
            let Some(event) = decide(&record)? else {
                return Ok(false);
            };
            let envelope = Envelope {
                stream: Some(record.stream()),
                origin: Origin::Library,
                ..Envelope::new(self.application.next_event_id(), self.application.now())
            };
            let (new, _) = self.application.mapper().encode(&event, envelope)?;
            let condition = record.condition();
            attempts += 1;
            match self
                .application
                .settle(Append::of([new]).condition(condition))
                .await
            {
                Err(Error::Conflict(_)) if attempts < ATTEMPTS_MAX => {}
                done => return done.map(|_| true),
            }
        }
    }
}
