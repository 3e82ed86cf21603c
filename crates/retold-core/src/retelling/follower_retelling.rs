//! One follower, retold separately against the recorded logs.
//!
//! The history of a follower's processed ranges shows which upstream events it processed, in which
//! order, and how long its own log was at the time. The follower's policies are called again, with
//! its own log as it was at the time, and their decisions are compared with the next events of the
//! log. The logs are read forward once; aggregates that policies read are kept in a bounded cache.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

use super::generations::{Resumed, Split, generations_of};
use super::reaction::{Keys, Processed, RetoldAppend};
use super::replaced::Replaced;
use super::report::{Difference, Facts, FollowerReport, ShownEvent};
use super::upstream_cursor::UpstreamCursor;
use crate::application::{Application, Error, Result};
use crate::following::{Follower, PastRecorder, StartingCheckpoint};
use crate::recording::{
    Checkpoint, FollowerKey, LogId, LogRead, Origin, Position, RangeRead, RecordedRange, Recorder,
    StoredEvent,
};
use crate::system::OpenSystem;

/// The number of aggregates that are cached while a follower is retold. Bounds memory.
const CACHE_SIZE: usize = 10_000;
/// Events of the follower's own log that are read at once. Bounds memory.
const PAGE_EVENTS: usize = 1_000;

/// The retelling of one generation of a follower, or of one of its partitions. Each is independent
/// of all others, so a program may [run](Self::run) several at once.
pub struct FollowerRetelling {
    application: Application,
    follower: Arc<Follower>,
    key: FollowerKey,
    key_of_ids: FollowerKey,
    partition: u32,
    split: Split,
    starts: Vec<StartingCheckpoint>,
    /// Where it must have ended, because the follower was split.
    end: Option<Vec<StartingCheckpoint>>,
    /// Recorders of the logs it follows, by name.
    upstreams: Vec<(Arc<str>, Arc<dyn Recorder>)>,
    /// Events that were parked, by log and position, with the position of the note in the own log.
    parked: BTreeMap<(LogId, Position), Position>,
    /// Events that were resumed, in the order of their notes.
    resumed: VecDeque<Resumed>,
    /// Whether the follower was reset since.
    is_past: bool,
    until: Until,
    progress: RetellingProgress,
}

/// How far a follower is retold: as far as its log reached when the retelling began. Later records
/// are left for the next retelling, so that logs can be retold while programs write to them.
#[derive(Clone, Debug, Default)]
struct Until {
    /// Where the follower's own log ended.
    head: Option<Position>,
    /// How far the other logs were covered then; none if the own log grew before that was known, so
    /// that only records before its end are certain.
    covered: Option<BTreeMap<LogId, Position>>,
}

impl Until {
    /// Returns up to which position a processed range that was recorded at `head` is retold.
    fn end_of(&self, recorded: &RecordedRange) -> Option<Position> {
        let to = recorded.range.to.position;
        if recorded.head < self.head {
            return Some(to);
        }
        let covered = self.covered.as_ref()?.get(&recorded.range.upstream)?;
        (Some(*covered) > recorded.range.after).then(|| to.min(*covered))
    }
}

/// The progress of a retelling, which can be read from another task or thread while it runs.
#[derive(Clone, Debug, Default)]
pub struct RetellingProgress {
    covered: Arc<AtomicU64>,
}

impl RetellingProgress {
    /// Returns how many of the [positions](FollowerRetelling::position_count) have been retold.
    pub fn covered(&self) -> u64 {
        self.covered.load(Ordering::Relaxed)
    }
}

impl FollowerRetelling {
    /// Returns a retelling for each recorded generation of each follower of the system, with a
    /// separate one for each partition.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Corrupt`], [`Error::Mapping`].
    pub async fn all(open: &OpenSystem) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for (application, member) in open.applications().iter().zip(open.system().members()) {
            for follower in member.followers() {
                let upstreams = follower.upstreams().filter_map(|name| {
                    let upstream = &open.applications()[open.system().index_of(name)?];
                    Some((Arc::from(name), Arc::clone(upstream.recorder())))
                });
                let upstreams: Vec<_> = upstreams.collect();
                all.extend(generations(application, follower, &upstreams).await?);
            }
        }
        Ok(all)
    }

    /// Returns the name of its application.
    pub fn application(&self) -> &str {
        self.application.name()
    }

    /// Returns the follower with its generation, and its partition if there are several.
    pub fn key(&self) -> &FollowerKey {
        &self.key
    }

    /// Returns whether an event belongs to this partition.
    fn has(&self, event: &StoredEvent) -> bool {
        self.split.has(&self.follower, self.partition, event)
    }

    /// Returns a handle to the progress of its [run](Self::run).
    pub fn progress(&self) -> RetellingProgress {
        self.progress.clone()
    }

    /// Returns the number of upstream positions that its processed ranges cover so far, including
    /// those of events that it does not process.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Corrupt`].
    pub async fn position_count(&self) -> Result<u64> {
        let mut count = 0;
        for start in &self.starts {
            let recorder = self.application.recorder();
            let checkpoint = recorder.checkpoint(&self.key, start.log).await?;
            let number = |checkpoint: Option<Checkpoint>| {
                Position::number(checkpoint.map(|checkpoint| checkpoint.position))
            };
            count += number(checkpoint).saturating_sub(number(start.after));
        }
        Ok(count)
    }

    /// Returns how far it is retold, if its log ended at `head` before its notes were read.
    async fn until(&self, head: Option<Position>) -> Result<Until> {
        let mut covered = BTreeMap::new();
        for start in &self.starts {
            let recorder = self.application.recorder();
            let checkpoint = recorder.checkpoint(&self.key, start.log).await?;
            covered.extend(checkpoint.map(|checkpoint| (start.log, checkpoint.position)));
        }
        let is_at_rest = self.application.head().await?.position() == head;
        Ok(Until {
            head,
            covered: is_at_rest.then_some(covered),
        })
    }

    /// Retells everything that was recorded when [`all`](Self::all) was called, up to the first
    /// difference.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Corrupt`] if a log cannot be read; [`Error::Registry`].
    pub async fn run(self) -> Result<FollowerReport> {
        self.follower
            .policies()
            .register(self.application.registry())?;
        let recorder = Arc::clone(self.application.recorder());
        let past = Arc::new(PastRecorder::before_all(Arc::clone(&recorder)));
        let shown = self.application.over(past.clone(), CACHE_SIZE);
        let report = FollowerReport {
            application: self.application.name().into(),
            follower: self.key.as_str().into(),
            processed: 0,
            effects: 0,
            covered: 0,
            facts: Facts::default(),
            difference: None,
        };
        let mut replaced = Replaced::default();
        // Without a log, nothing is retold.
        let log = recorder.log_id().await?.unwrap_or(LogId::new(Uuid::nil()));
        replaced.read(log, &*recorder).await?;
        for (_, upstream) in &self.upstreams {
            if let Some(log) = upstream.log_id().await? {
                replaced.read(log, &**upstream).await?;
            }
        }
        let mut walk = Walk {
            retelling: self,
            log,
            replaced: Arc::new(replaced),
            past,
            shown,
            recorder,
            report,
            head: None,
            cursors: Vec::new(),
            places: BTreeMap::new(),
            own: VecDeque::new(),
        };
        let difference = walk.run().await?;
        walk.report.difference = difference;
        Ok(walk.report)
    }
}

/// Returns the generations of a follower, with a separate entry for each partition.
async fn generations(
    application: &Application,
    follower: &Arc<Follower>,
    upstreams: &[(Arc<str>, Arc<dyn Recorder>)],
) -> Result<Vec<FollowerRetelling>> {
    // Read before the notes, so that they include those of everything that is retold.
    let head = application.head().await?.position();
    let mut all = Vec::new();
    for generation in generations_of(application, follower.name()).await? {
        let end = generation.end.as_ref();
        let end = end.filter(|(position, _)| Some(*position) <= head);
        for partition in 0..generation.record.partitions {
            let is_of_partition = |it: &&Resumed| it.partition == partition;
            let mut retelling = FollowerRetelling {
                application: application.clone(),
                follower: Arc::clone(follower),
                key: generation.record.key(partition),
                key_of_ids: generation.key_of_ids(),
                partition,
                split: generation.split(follower),
                starts: generation.starts.clone(),
                end: end.map(|(_, checkpoints)| checkpoints.clone()),
                upstreams: upstreams.to_vec(),
                parked: generation.parked.clone(),
                resumed: generation
                    .resumed
                    .iter()
                    .filter(is_of_partition)
                    .cloned()
                    .collect(),
                is_past: generation.is_past,
                until: Until::default(),
                progress: RetellingProgress::default(),
            };
            retelling.until = retelling.until(head).await?;
            all.push(retelling);
        }
    }
    Ok(all)
}

/// The walk along the processed ranges of one follower.
struct Walk {
    retelling: FollowerRetelling,
    /// The follower's own log.
    log: LogId,
    replaced: Arc<Replaced>,
    past: Arc<PastRecorder>,
    /// The follower's application, showing its log up to `head`.
    shown: Application,
    recorder: Arc<dyn Recorder>,
    report: FollowerReport,
    head: Option<Position>,
    cursors: Vec<UpstreamCursor>,
    /// How far each log is covered by processed ranges.
    places: BTreeMap<LogId, Option<Position>>,
    /// Events of the own log after `head` that have been read.
    own: VecDeque<StoredEvent>,
}

impl Walk {
    async fn run(&mut self) -> Result<Option<Difference>> {
        for start in &self.retelling.starts {
            let after = start.after.map(|checkpoint| checkpoint.position);
            self.places.insert(start.log, after);
            let upstreams = self.retelling.upstreams.iter();
            for (name, recorder) in upstreams.filter(|(name, _)| **name == *start.upstream) {
                let found = recorder.log_id().await?;
                if found != Some(start.log) && self.retelling.is_past {
                    // The follower was reset for this reason.
                    continue;
                }
                if found != Some(start.log) {
                    return Err(Error::Replaced {
                        log: Arc::clone(name),
                        expected: start.log,
                        found,
                    });
                }
                self.cursors.push(UpstreamCursor::new(
                    Arc::clone(name),
                    start.log,
                    Arc::clone(recorder),
                    self.retelling.follower.query(),
                    after,
                ));
            }
        }
        let mut ordinal = 0;
        let mut group: Vec<RecordedRange> = Vec::new();
        loop {
            let read = RangeRead::new()
                .follower(self.retelling.key.clone())
                .after(ordinal);
            let page = self.recorder.processed_ranges(read).await?;
            let Some(last) = page.last() else {
                break;
            };
            ordinal = last.ordinal;
            for range in page {
                if group.first().is_some_and(|it| it.head != range.head)
                    && let Some(difference) = self.retell_group(std::mem::take(&mut group)).await?
                {
                    return Ok(Some(difference));
                }
                group.push(range);
            }
        }
        if !group.is_empty()
            && let Some(difference) = self.retell_group(group).await?
        {
            return Ok(Some(difference));
        }
        self.end().await
    }

    /// Retells resumed and remaining events, and checks that the processed ranges reach the
    /// checkpoints.
    async fn end(&mut self) -> Result<Option<Difference>> {
        if let Some(difference) = self.move_to(self.retelling.until.head).await? {
            return Ok(Some(difference));
        }
        let covered = self.retelling.until.covered.iter().flatten();
        for (log, checkpoint) in covered {
            let place = self.places.get(log).copied().flatten();
            if place < Some(*checkpoint) {
                let what = format!(
                    "the processed ranges over the log {log} end at {}, but the checkpoint is at \
                     {checkpoint}",
                    Position::number(place),
                );
                return Ok(Some(Difference::of_log(what, self.head)));
            }
        }
        for end in self.retelling.end.iter().flatten() {
            let place = self.places.get(&end.log).copied().flatten();
            let after = end.after.map(|checkpoint| checkpoint.position);
            if place != after {
                let what = format!(
                    "the follower was split where it had processed the log {} up to {}, but this \
                     partition had processed it up to {}",
                    end.log,
                    Position::number(after),
                    Position::number(place),
                );
                return Ok(Some(Difference::of_log(what, self.head)));
            }
        }
        Ok(None)
    }

    /// Retells the processed ranges that were recorded while the own log ended at one position.
    async fn retell_group(&mut self, group: Vec<RecordedRange>) -> Result<Option<Difference>> {
        let head = group.first().and_then(|it| it.head);
        let is_meant = |it: &RecordedRange| self.retelling.until.end_of(it).is_some();
        if !group.iter().any(is_meant) {
            return Ok(None);
        }
        if let Some(difference) = self.move_to(head).await? {
            return Ok(Some(difference));
        }
        let recorded = self.own_append().await?;
        let (effects, is_own) = self.effects_of(&recorded);
        let mut retold = self.retold(effects);
        for range in &group {
            if let Some(difference) = self.retell_range(range, &mut retold, &recorded).await? {
                return Ok(Some(difference));
            }
        }
        if let Some(difference) = retold.end().await {
            return Ok(Some(difference));
        }
        if is_own {
            self.pass_own(recorded.len()).await?;
        }
        Ok(None)
    }

    fn retold(&self, effects: Vec<StoredEvent>) -> RetoldAppend {
        RetoldAppend::new(
            (self.log, self.shown.clone()),
            &self.replaced,
            Arc::clone(&self.retelling.follower),
            Keys {
                follower: self.retelling.key.clone(),
                of_ids: self.retelling.key_of_ids.clone(),
            },
            self.head,
            effects,
        )
        .with_past(&self.past)
    }

    /// Returns the effects among the events of an append, if the present policy version of this
    /// follower recorded it.
    fn effects_of(&self, append: &[StoredEvent]) -> (Vec<StoredEvent>, bool) {
        let policy_version = self.retelling.follower.policy_version_number();
        let is_own = append.first().is_some_and(|event| {
            matches!(
                event.origin(),
                Ok(Origin::Effect { follower, policy_version: of, .. })
                    if follower == self.retelling.key && of == policy_version
            )
        });
        match is_own {
            true => (append.to_vec(), true),
            false => (Vec::new(), false),
        }
    }

    async fn retell_range(
        &mut self,
        recorded: &RecordedRange,
        retold: &mut RetoldAppend,
        append: &[StoredEvent],
    ) -> Result<Option<Difference>> {
        let range = &recorded.range;
        let Some(to) = self.retelling.until.end_of(recorded) else {
            return Ok(None);
        };
        let place = self.places.get(&range.upstream).copied();
        if place != Some(range.after) {
            let what = format!(
                "a processed range over the log {} begins after {}, but the last covered \
                 position is {}",
                range.upstream,
                Position::number(range.after),
                place.map_or("none".into(), |it| Position::number(it).to_string()),
            );
            return Ok(Some(Difference::of_log(what, self.head)));
        }
        self.places.insert(range.upstream, Some(to));
        self.report.covered += to.get() - Position::number(range.after);
        let covered = &self.retelling.progress.covered;
        covered.store(self.report.covered, Ordering::Relaxed);
        let is_of_policy_version =
            range.policy_version == self.retelling.follower.policy_version_number();
        if !is_of_policy_version {
            self.report.facts.other_policy_version += 1;
        }
        let upstream = self
            .cursors
            .iter()
            .position(|cursor| cursor.log == range.upstream);
        let is_known = self.retelling.split.is_known;
        let Some(upstream) = upstream.filter(|_| is_known) else {
            // The processed range is of an application that is no longer followed, or a log that
            // was replaced; or the program does not know which events belonged to this partition.
            self.report.facts.other_policy_version += u64::from(is_of_policy_version);
            retold.take_range(range);
            return Ok(None);
        };
        while let Some(event) = self.cursors[upstream].next(to).await? {
            if !is_of_policy_version || !self.retelling.has(&event) {
                continue;
            }
            let place = (range.upstream, event.position());
            let note = self.retelling.parked.get(&place);
            if note.is_some() && note == append.first().map(StoredEvent::position).as_ref() {
                self.report.facts.parked += 1;
                continue;
            }
            let (name, log) = (Arc::clone(&self.cursors[upstream].name), range.upstream);
            let processed = retold.process(&name, log, &event, None).await?;
            if let Some(difference) = self.count(processed) {
                return Ok(Some(difference));
            }
        }
        Ok(None)
    }

    fn count(&mut self, processed: Processed) -> Option<Difference> {
        match processed {
            Processed::Equal(effects) => {
                self.report.processed += 1;
                self.report.effects += effects;
                None
            }
            Processed::Erased => {
                self.report.facts.erased += 1;
                None
            }
            Processed::Replaced => {
                self.report.facts.replaced += 1;
                None
            }
            Processed::Different(difference) => Some(*difference),
        }
    }

    /// Shows the own log up to and including a later position. The events in between were not
    /// recorded by a processed range of this follower, so none may be an effect of it, except
    /// resumed ones.
    async fn move_to(&mut self, head: Option<Position>) -> Result<Option<Difference>> {
        while self.head < head {
            let append = self.own_append().await?;
            let Some(first) = append.first() else {
                let what = format!(
                    "a processed range was recorded at {}, but the log ends before",
                    Position::number(head)
                );
                return Ok(Some(Difference::of_log(what, self.head)));
            };
            let resumed = self.retelling.resumed.front();
            if resumed.is_some_and(|it| it.position == first.position()) {
                if let Some(difference) = self.retell_resumed(&append).await? {
                    return Ok(Some(difference));
                }
                self.pass_own(append.len()).await?;
                continue;
            }
            if self.effects_of(&append).1 {
                let what = "effects are recorded without their processed range";
                let mut difference = Difference::of_log(what, self.head);
                difference.recorded = Some(ShownEvent::of_recorded(first));
                return Ok(Some(difference));
            }
            for event in &append {
                if let Some(stream) = event.stream() {
                    // Another writer's event: the cached state catches up when it is needed next.
                    self.shown.outdate_state(stream);
                }
            }
            self.pass_own(append.len()).await?;
        }
        Ok(None)
    }

    async fn retell_resumed(&mut self, append: &[StoredEvent]) -> Result<Option<Difference>> {
        let Some(resumed) = self.retelling.resumed.pop_front() else {
            return Ok(None);
        };
        let (id, log, checkpoint) = (resumed.id, resumed.log, resumed.event);
        let effects: Vec<_> = append.iter().skip(1).cloned().collect();
        let is_of_policy_version =
            resumed.policy_version == self.retelling.follower.policy_version_number();
        let upstream = self.cursors.iter().find(|cursor| cursor.log == log);
        let (Some(upstream), true) = (upstream, is_of_policy_version) else {
            self.report.facts.other_policy_version += 1;
            return Ok(None);
        };
        let name = Arc::clone(&upstream.name);
        let upstreams = self.retelling.upstreams.iter();
        let mut found = None;
        for (_, recorder) in upstreams.filter(|(it, _)| *it == name) {
            found = recorder.event(checkpoint.event_id).await?;
        }
        let Some(event) = found.filter(|event| event.checkpoint() == checkpoint) else {
            return Err(Error::diverged(&name, checkpoint, None));
        };
        let mut retold = self.retold(effects);
        let processed = retold.process(&name, log, &event, Some(id)).await?;
        if let Some(difference) = self.count(processed) {
            return Ok(Some(difference));
        }
        Ok(retold.end().await)
    }

    /// Returns the events of the append that follows `head` in the own log; none at the end of the
    /// retold part.
    async fn own_append(&mut self) -> Result<Vec<StoredEvent>> {
        if self.head >= self.retelling.until.head {
            return Ok(Vec::new());
        }
        loop {
            if let Some(first) = self.own.front() {
                let count = first.place().count as usize;
                if self.own.len() >= count {
                    return Ok(self.own.iter().take(count).cloned().collect());
                }
            }
            let after = self.own.back().map(StoredEvent::position).or(self.head);
            let read = LogRead::new().after(after).limit(PAGE_EVENTS);
            let page = self.recorder.read_log(read).await?;
            if page.events.is_empty() {
                return Ok(Vec::new());
            }
            self.own.extend(page.events);
        }
    }

    /// Shows `count` more events of the own log.
    async fn pass_own(&mut self, count: usize) -> Result<()> {
        for event in self.own.drain(..count) {
            self.head = Some(event.position());
            self.past.pass(&event);
        }
        Ok(())
    }
}
