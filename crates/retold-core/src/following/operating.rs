//! What operators do with followers: acts, recorded as events of the follower's own stream.
//!
//! An act needs no policy and no runner: whoever can write the log can do it, from a program or from
//! the command line. Pipelines that are at work, in whatever process, find it before they record
//! anything more, for each of their appends demands that the follower's stream is as they know it.

use std::cmp::min_by_key;
use std::sync::Arc;

use super::follower_event::{FOLLOWER_STREAM_TYPE, FollowerEvent, Parked, StartingMark};
use super::follower_record::FollowerRecord;
use super::partition::check_count;
use crate::application::{Application, Error, Result};
use crate::domain::Apply;
use crate::mapping::Envelope;
use crate::recording::limits::check_name;
use crate::recording::{Append, LogId, Mark, Origin, Position, Recorder};

/// How often an act is decided again because the follower itself was faster.
const ATTEMPTS_MAX: u32 = 100;

/// Names of followers read at once.
const NAMES_PAGE: usize = 1_000;

/// A follower as its operator sees it: by its application's log alone.
#[derive(Clone, Debug)]
pub struct FollowerOperator {
    application: Application,
    name: Arc<str>,
}

impl FollowerOperator {
    /// The follower of this name, of this application.
    pub fn new(application: &Application, follower: impl Into<Arc<str>>) -> Self {
        Self {
            application: application.clone(),
            name: follower.into(),
        }
    }

    /// Those whose names are in the application's log.
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

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is recorded of it now.
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

    /// Where it is in a log that it follows: the end of its last stretch, or its starting mark. Of one that
    /// is split it is where the last of its partitions is.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Corrupt`].
    pub async fn checkpoint(&self, record: &FollowerRecord, log: LogId) -> Result<Option<Mark>> {
        let mut least = self.checkpoint_of(record, 0, log).await?;
        for partition in 1..record.partitions {
            let place = self.checkpoint_of(record, partition, log).await?;
            least = min_by_key(least, place, |mark| mark.map(|mark| mark.position));
        }
        Ok(least)
    }

    /// Where one of its partitions, counted from 0, is in a log that it follows.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Corrupt`].
    pub async fn checkpoint_of(
        &self,
        record: &FollowerRecord,
        partition: u32,
        log: LogId,
    ) -> Result<Option<Mark>> {
        let recorder = self.application.recorder();
        let checkpoint = recorder.checkpoint(&record.key(partition), log).await?;
        let mut starts = record.starts.values();
        Ok(checkpoint.or(starts.find(|it| it.log == log).and_then(|it| it.after)))
    }

    /// Pauses it: it records nothing more until it is let continue. Says whether it was not paused
    /// already; if it was, nothing is recorded.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if it never started; what [`Application::settle`] reports.
    pub async fn pause(&self, reason: &str) -> Result<bool> {
        self.act(|record| {
            Ok(record.paused.is_none().then(|| FollowerEvent::Paused {
                reason: reason.to_owned(),
                failed: None,
            }))
        })
        .await
    }

    /// Retires it: it records nothing more, and a program that still declares it is refused at its start. For
    /// a follower that was removed from the programs. Says whether it was not retired already; if it was,
    /// nothing is recorded. [`resume`](Self::resume) takes it back.
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

    /// Lets it go on, also if it is retired, and answer what is parked once more. Says whether there was
    /// anything to let.
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

    /// Decides that a parked event is not to be answered; later events of its stream that were held
    /// back by it are answered when it is next let [resume](Self::resume).
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the event is not parked; as for [`pause`](Self::pause).
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

    /// Lets it begin anew, as a generation of its own: from these marks, from the first event of each
    /// log that is not named. What it recorded before stays, and is recorded again with other ids, so
    /// this is for followers whose effects may be repeated, or after their logs were replaced.
    ///
    /// # Errors
    ///
    /// As for [`pause`](Self::pause).
    pub async fn reset(&self, starts: &[StartingMark]) -> Result<()> {
        self.act(|record| {
            let mut begun = starts.to_vec();
            let is_named = |old: &StartingMark| starts.iter().any(|it| it.upstream == old.upstream);
            let others = record.starts.values().filter(|old| !is_named(old));
            begun.extend(others.map(|old| StartingMark::new(&*old.upstream, old.log, None)));
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

    /// Lets it be split into so many partitions, 1 to [`PARTITIONS_MAX`](super::limits::PARTITIONS_MAX),
    /// by the rule of this name, or the one that it is split by. Says whether that was not asked for already;
    /// if it was, nothing is recorded. Asking for what there is takes back what was asked for before.
    ///
    /// It comes about by itself while programs run the follower: its partitions answer everything up to
    /// where the farthest of them is, and nothing beyond, and when all are there, the new ones begin there. A follower that
    /// is paused goes no further before it is let continue. Nothing is answered twice or left out, order
    /// within a key stays, and so do ids of effects.
    ///
    /// A rule other than that of the programs that run now stops those programs' pipelines of the
    /// follower, and lets those go on that have it.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for another number or an empty name; as for [`pause`](Self::pause).
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

    /// What it has parked, in the order of logs and positions.
    ///
    /// # Errors
    ///
    /// As for [`record`](Self::record).
    pub async fn parked(&self) -> Result<Vec<Parked>> {
        Ok(self.record().await?.parked.into_values().collect())
    }

    /// Records an act on a follower that is not retired; false if there is none to record.
    async fn act(
        &self,
        decide: impl Fn(&FollowerRecord) -> Result<Option<FollowerEvent>>,
    ) -> Result<bool> {
        self.act_on_any(|record| match &record.retired {
            None => decide(record),
            Some(reason) => Err(Error::invalid(format!(
                "the follower {:?} of {:?} is retired ({reason}); let it go on first, with `retold follower resume`",
                self.name,
                self.application.name()
            ))),
        })
        .await
    }

    /// Records an act; false if there is none to record.
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
