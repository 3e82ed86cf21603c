//! The whole system, retold in memory by one schedule that is merged from its logs.
//!
//! Each log determines the order of its appends, and each processed range the part of another log
//! that existed before it. Together they form a partial order, and any total order that respects it
//! is a schedule that a single thread could have followed. This module follows one: inputs
//! (commands, timers, operator actions) are recorded as they were, effects are decided by the
//! policies, and the resulting logs are compared with the recorded ones. If the order cannot be
//! completed, the logs contradict each other: an event was processed before it was recorded.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

use super::generations::{Split, generations_of};
use super::reaction::{Keys, Processed, RetoldAppend};
use super::recorded_event::as_new;
use super::replaced::Replaced;
use super::report::{Difference, Facts, ShownEvent};
use crate::application::{Application, Error, Result};
use crate::following::{
    FOLLOWER_STREAM_TYPE, Follower, FollowerEvent, FollowerOperator, is_outbox,
};
use crate::mapping::Mapper;
use crate::recording::{
    Append, Checkpoint, EventId, FollowerKey, LogId, LogRead, MemoryStore, Origin, Position,
    RangeRead, RecordedRange, Recorder, StoredEvent,
};
use crate::system::{Infrastructure, Member, OpenSystem, Opening};

/// Events and processed ranges of a log that are read at once.
const PAGE: usize = 1_000;

/// The result of retelling a whole system.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct WholeReport {
    /// The number of events that are inputs: those of commands, timers and the library itself.
    pub inputs: u64,
    /// The number of upstream events that policies processed again.
    pub processed: u64,
    /// The number of effects that were decided again and found equal.
    pub effects: u64,
    /// The records that were accepted as they are.
    pub facts: Facts,
    /// The application and the first difference, if there is one.
    pub difference: Option<(Arc<str>, Difference)>,
}

impl fmt::Display for WholeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "one schedule: {} inputs, {} events processed, {} effects equal{}",
            self.inputs, self.processed, self.effects, self.facts
        )?;
        match &self.difference {
            None => write!(f, ", 0 differences"),
            Some((application, difference)) => {
                write!(f, "\nthe first difference, in {application}: {difference}")
            }
        }
    }
}

/// Retells the whole system. The retelling holds all of its logs in memory.
///
/// # Errors
///
/// [`Error::Unavailable`], [`Error::Corrupt`] if a log cannot be read; [`Error::Replaced`] if a log
/// is not the one that a follower processed. A difference is not an error; the report contains it.
pub async fn retell_whole(open: &OpenSystem) -> Result<WholeReport> {
    let mut infrastructure = Infrastructure::new(Arc::new(MemoryStore::new()));
    for application in open.applications() {
        if let Some(id) = application.log_id().await? {
            infrastructure = infrastructure.log_id(application.name(), id);
        }
    }
    let retold = OpenSystem::open(open.system(), &infrastructure, Opening::Write).await?;
    let replaced = Arc::new(replaced(open).await?);
    let mut tracks = Vec::new();
    let recorded = open.applications().iter().zip(retold.applications());
    for ((recorded, retold), member) in recorded.zip(open.system().members()) {
        for follower in member.followers() {
            follower.policies().register(retold.registry())?;
        }
        let end = recorded.head().await?;
        tracks.push(Track {
            recorded: Arc::clone(recorded.recorder()),
            log: retold.log_id().await?,
            replaced: Arc::clone(&replaced),
            application: retold.clone(),
            generations: generations(recorded, member).await?,
            followers: member.followers().to_vec(),
            head: None,
            until: end.position(),
            append_count: end.append_count,
            is_cut: false,
            events: VecDeque::new(),
            ranges: VecDeque::new(),
            ordinal: 0,
            open: BTreeMap::new(),
        });
    }
    check_upstreams(open).await?;
    let mut report = WholeReport::default();
    let difference = follow(&mut tracks, &mut report).await?;
    report.difference = difference;
    Ok(report)
}

async fn replaced(open: &OpenSystem) -> Result<Replaced> {
    let mut replaced = Replaced::default();
    for application in open.applications() {
        if let Some(log) = application.log_id().await? {
            replaced.read(log, &**application.recorder()).await?;
        }
    }
    Ok(replaced)
}

/// By follower name and generation number: how it is split, and the key from which ids are derived.
type Generations = BTreeMap<(String, u64), (Split, FollowerKey)>;

async fn generations(recorded: &Application, member: &Member) -> Result<Generations> {
    let mut all = Generations::new();
    for follower in member.followers() {
        for generation in generations_of(recorded, follower.name()).await? {
            let known = (generation.split(follower), generation.key_of_ids());
            all.insert((follower.name().to_owned(), generation.number()), known);
        }
    }
    Ok(all)
}

/// Checks that names still resolve to the logs that followers began with.
async fn check_upstreams(open: &OpenSystem) -> Result<()> {
    for (application, member) in open.applications().iter().zip(open.system().members()) {
        for follower in member.followers() {
            let operator = FollowerOperator::new(application, follower.name());
            for start in operator.record().await?.starts.values() {
                let Some(upstream) = open.system().index_of(&start.upstream) else {
                    continue;
                };
                let found = open.applications()[upstream].log_id().await?;
                if found != Some(start.log) {
                    return Err(Error::Replaced {
                        log: start.upstream.as_str().into(),
                        expected: start.log,
                        found,
                    });
                }
            }
        }
    }
    Ok(())
}

/// One log while it is retold.
struct Track {
    recorded: Arc<dyn Recorder>,
    log: Option<LogId>,
    replaced: Arc<Replaced>,
    /// The application in memory.
    application: Application,
    followers: Vec<Arc<Follower>>,
    /// The known generations of followers, by name and number.
    generations: Generations,
    /// The head of the log in memory.
    head: Option<Position>,
    /// How far the log is retold: as far as it reached when the retelling began, or less if the
    /// next append processed events that another log recorded later. This way logs can be retold
    /// while programs write to them.
    until: Option<Position>,
    /// The number of appends that it had then.
    append_count: u64,
    is_cut: bool,
    /// Recorded events after `head` that have been read.
    events: VecDeque<StoredEvent>,
    /// Recorded processed ranges that have been read and are not retold yet.
    ranges: VecDeque<RecordedRange>,
    ordinal: u64,
    /// Unfinished appends of followers at `head`, with the results of their processed ranges.
    open: BTreeMap<FollowerKey, RetoldAppend>,
}

/// The next action that a track can take.
enum Next {
    /// It has reached its end.
    Nothing,
    /// It waits for another log.
    Waits(LogId, Position),
    ProcessedRange(RecordedRange),
    Append(Vec<StoredEvent>),
}

type Found = Option<(Arc<str>, Difference)>;

async fn follow(tracks: &mut [Track], report: &mut WholeReport) -> Result<Found> {
    loop {
        let mut is_moved = false;
        let mut waits = Vec::new();
        for index in 0..tracks.len() {
            loop {
                let heads: BTreeMap<LogId, Option<Position>> = tracks
                    .iter()
                    .filter_map(|track| Some((track.log?, track.head)))
                    .collect();
                let next = tracks[index].next(&heads).await?;
                let name: Arc<str> = tracks[index].application.name().into();
                let difference = match next {
                    Next::Nothing => break,
                    Next::Waits(log, position) => {
                        waits.push((index, name, tracks[index].head, log, position));
                        break;
                    }
                    Next::ProcessedRange(range) => {
                        let upstream = upstream_of(tracks, &range);
                        tracks[index].process(&range, upstream, report).await?
                    }
                    Next::Append(events) => {
                        let upstreams = upstreams(tracks);
                        tracks[index].append(events, &upstreams, report).await?
                    }
                };
                if let Some(difference) = difference {
                    return Ok(Some((name, difference)));
                }
                is_moved = true;
            }
        }
        if !is_moved && !cut(tracks, &waits) {
            return Ok(waits.into_iter().next().map(|(_, name, head, log, position)| {
                let what = format!(
                    "the logs contradict each other: this log processed events of the log {log} up \
                     to {position} before they were recorded"
                );
                (name, Difference::of_log(what, head))
            }));
        }
    }
}

/// An application that waits: its index, name and head, the log that it waits for, and the position
/// that log must reach.
type Wait = (usize, Arc<str>, Option<Position>, LogId, Position);

/// Ends the retelling of tracks that wait for events that another log recorded after the retelling
/// began. Returns whether there were any.
fn cut(tracks: &mut [Track], waits: &[Wait]) -> bool {
    let mut is_cut = false;
    for (index, _, head, log, position) in waits {
        let awaited = tracks.iter().find(|track| track.log == Some(*log));
        if awaited.is_some_and(|track| track.until < Some(*position)) {
            tracks[*index].is_cut = true;
            tracks[*index].until = *head;
            is_cut = true;
        }
    }
    is_cut
}

/// Returns the name of the application that a processed range is about, and its recorded log. As in
/// the original run, policies receive events as recorded; the copy in memory has another time of
/// recording.
fn upstream_of(tracks: &[Track], range: &RecordedRange) -> Option<(Arc<str>, Arc<dyn Recorder>)> {
    let upstream = tracks
        .iter()
        .find(|track| track.log == Some(range.range.upstream))?;
    let name = upstream.application.name().into();
    Some((name, Arc::clone(&upstream.recorded)))
}

type Upstreams = BTreeMap<LogId, (Arc<str>, Arc<dyn Recorder>)>;

fn upstreams(tracks: &[Track]) -> Upstreams {
    tracks
        .iter()
        .filter_map(|track| {
            let name: Arc<str> = track.application.name().into();
            Some((track.log?, (name, Arc::clone(&track.recorded))))
        })
        .collect()
}

impl Track {
    /// Returns the log and the application that shows it. Without a log, nothing is retold.
    fn own(&self) -> (LogId, Application) {
        let log = self.log.unwrap_or(LogId::new(Uuid::nil()));
        (log, self.application.clone())
    }

    async fn next(&mut self, heads: &BTreeMap<LogId, Option<Position>>) -> Result<Next> {
        if self.is_cut || !self.is_begun_before_end().await? {
            return Ok(Next::Nothing);
        }
        self.read().await?;
        if let Some(range) = self.ranges.front()
            && range.head <= self.head
        {
            let (log, to) = (range.range.upstream, range.range.to.position);
            // A log that is no longer part of the system is accepted as it is.
            if heads.get(&log).is_some_and(|head| *head < Some(to)) {
                return Ok(Next::Waits(log, to));
            }
            return Ok(match self.ranges.pop_front() {
                Some(range) => Next::ProcessedRange(range),
                None => Next::Nothing,
            });
        }
        let Some(first) = self.events.front() else {
            return Ok(Next::Nothing);
        };
        if Some(first.position()) > self.until {
            return Ok(Next::Nothing);
        }
        let count = first.place().count as usize;
        if let Some(resumed) = self.resumed(first)?
            && heads
                .get(&resumed.0)
                .is_some_and(|head| *head < Some(resumed.1.position))
        {
            return Ok(Next::Waits(resumed.0, resumed.1.position));
        }
        Ok(Next::Append(self.events.drain(..count).collect()))
    }

    /// Returns whether the next append existed when the retelling began. At the log's end that is
    /// certain only if nothing was recorded since, because an append that was begun there may have
    /// had effects.
    async fn is_begun_before_end(&self) -> Result<bool> {
        if self.head < self.until {
            return Ok(true);
        }
        let head = self.recorded.head().await?;
        Ok(head.append_count == self.append_count)
    }

    /// Reads ahead, so that the next append is complete, with the processed ranges before it.
    async fn read(&mut self) -> Result<()> {
        if self.ranges.is_empty() {
            let read = RangeRead::new().after(self.ordinal).limit(PAGE);
            let page = self.recorded.processed_ranges(read).await?;
            if let Some(last) = page.last() {
                self.ordinal = last.ordinal;
            }
            self.ranges.extend(page);
        }
        let is_whole = |events: &VecDeque<StoredEvent>| {
            let first = events.front();
            first.is_some_and(|first| events.len() >= first.place().count as usize)
        };
        while !is_whole(&self.events) {
            let after = self.events.back().map(StoredEvent::position).or(self.head);
            let page = self
                .recorded
                .read_log(LogRead::new().after(after).limit(PAGE))
                .await?;
            if page.events.is_empty() {
                return Ok(());
            }
            self.events.extend(page.events);
        }
        Ok(())
    }

    /// Returns the event that is resumed by the append that begins with `first`, if it resumes one,
    /// and the policy version that did it.
    fn resumed(&self, first: &StoredEvent) -> Result<Option<(LogId, Checkpoint, u32)>> {
        if first.topic() != FollowerEvent::RESUMED {
            return Ok(None);
        }
        let event: FollowerEvent = Mapper::default().decode(first)?;
        Ok(match event {
            FollowerEvent::Resumed {
                log,
                event,
                policy_version,
                ..
            } => Some((log, event, policy_version)),
            _ => None,
        })
    }

    fn follower(&self, key: &FollowerKey) -> Option<Arc<Follower>> {
        let name = key.name()?;
        let mut followers = self.followers.iter();
        followers.find(|it| it.name() == name).cloned()
    }

    /// Returns the generation of this key, if it is known.
    fn generation(&self, key: &FollowerKey) -> Option<&(Split, FollowerKey)> {
        let (name, number) = (key.name()?.to_owned(), key.generation()?);
        self.generations.get(&(name, number))
    }

    /// Returns how the generation of this key is split, and the partition of the key.
    fn split(&self, key: &FollowerKey) -> (Split, u32) {
        let split = self
            .generation(key)
            .map_or(Split::NONE, |(split, _)| *split);
        (split, key.partition().unwrap_or(0))
    }

    fn keys(&self, key: &FollowerKey) -> Keys {
        let of_ids = self.generation(key).map_or(key, |(_, of_ids)| of_ids);
        Keys {
            follower: key.clone(),
            of_ids: of_ids.clone(),
        }
    }

    /// Processes a processed range again; the results are compared when its append is complete.
    async fn process(
        &mut self,
        range: &RecordedRange,
        upstream: Option<(Arc<str>, Arc<dyn Recorder>)>,
        report: &mut WholeReport,
    ) -> Result<Option<Difference>> {
        let range = &range.range;
        if is_outbox(&range.follower) {
            return Ok(None);
        }
        let follower = self.follower(&range.follower);
        let follower = follower.filter(|it| it.policy_version_number() == range.policy_version);
        let Some(follower) = follower else {
            report.facts.other_policy_version += 1;
            return Ok(None);
        };
        // Everything at this head belongs to at most one append, because an append moves the head.
        let recorded = self.effects_ahead(&range.follower);
        let parked = self.parked_ahead(&range.follower)?;
        if !self.open.contains_key(&range.follower) {
            let retold = RetoldAppend::new(
                self.own(),
                &self.replaced,
                Arc::clone(&follower),
                self.keys(&range.follower),
                self.head,
                recorded,
            );
            self.open.insert(range.follower.clone(), retold);
        }
        let (split, partition) = self.split(&range.follower);
        let Some((name, recorder)) = upstream.filter(|_| split.is_known) else {
            // The processed range is of an application that is no longer part of the system, or of
            // a log that was replaced; or it is unknown which events belonged to this partition.
            report.facts.other_policy_version += 1;
            if let Some(retold) = self.open.get_mut(&range.follower) {
                retold.take_range(range);
            }
            return Ok(None);
        };
        let mut after = range.after;
        loop {
            let read = LogRead::of(follower.query())
                .after(after)
                .until(range.to.position)
                .limit(PAGE);
            let page = recorder.read_log(read).await?;
            let Some(last) = page.events.last() else {
                return Ok(None);
            };
            after = Some(last.position());
            for event in &page.events {
                if !split.has(&follower, partition, event) {
                    continue;
                }
                if parked == Some((range.upstream, event.checkpoint())) {
                    report.facts.parked += 1;
                    continue;
                }
                let Some(retold) = self.open.get_mut(&range.follower) else {
                    continue;
                };
                let processed = retold.process(&name, range.upstream, event, None).await?;
                if let Some(difference) = count(processed, report) {
                    return Ok(Some(difference));
                }
            }
        }
    }

    /// Returns the events of the next append, if this follower recorded it.
    fn effects_ahead(&self, key: &FollowerKey) -> Vec<StoredEvent> {
        let Some(first) = self.events.front() else {
            return Vec::new();
        };
        let count = first.place().count as usize;
        match effect_of(first) {
            Some(follower) if follower == *key => self.events.iter().take(count).cloned().collect(),
            _ => Vec::new(),
        }
    }

    /// Returns the event that the next append parks, if it belongs to this follower.
    fn parked_ahead(&self, key: &FollowerKey) -> Result<Option<(LogId, Checkpoint)>> {
        let Some(first) = self.events.front() else {
            return Ok(None);
        };
        let (name, partition) = (key.name().unwrap_or(""), key.partition().unwrap_or(0));
        let stream = first.stream().unwrap_or_default();
        let is_own = stream
            .strip_prefix(FOLLOWER_STREAM_TYPE)
            .is_some_and(|rest| rest.strip_prefix('/') == Some(name));
        if !is_own || first.topic() != FollowerEvent::PARKED {
            return Ok(None);
        }
        let event: FollowerEvent = Mapper::default().decode(first)?;
        Ok(match event {
            FollowerEvent::Parked(parked) if parked.partition == partition => {
                Some((parked.log, parked.event))
            }
            _ => None,
        })
    }

    /// Makes the next append in memory, as recorded: effects were decided again and are equal,
    /// except perhaps for the name of their topic.
    async fn append(
        &mut self,
        recorded: Vec<StoredEvent>,
        upstreams: &Upstreams,
        report: &mut WholeReport,
    ) -> Result<Option<Difference>> {
        let Some(first) = recorded.first() else {
            return Ok(None);
        };
        let key = effect_of(first);
        let mut is_retold = false;
        for (follower, retold) in std::mem::take(&mut self.open) {
            is_retold |= Some(&follower) == key.as_ref();
            if let Some(difference) = retold.end().await {
                return Ok(Some(difference));
            }
        }
        if let Some(resumed) = self.resumed(first)? {
            let resumed = self.resume(&recorded, resumed, upstreams, report).await?;
            if let Some(difference) = resumed {
                return Ok(Some(difference));
            }
            is_retold = true;
        }
        match &key {
            _ if is_retold => {}
            Some(key) if self.is_of_present_policy_version(first, key) => {
                let what = "effects are recorded without their processed range";
                let mut difference = Difference::of_log(what, self.head);
                difference.recorded = Some(ShownEvent::of_recorded(first));
                return Ok(Some(difference));
            }
            _ => {
                if key.is_none() {
                    report.inputs += recorded.len() as u64;
                }
                self.outdate_states(&recorded);
            }
        }
        let count = recorded.len() as u64;
        let events = recorded.iter().map(as_new);
        let appended = self.application.recorder().append(Append::of(events)).await;
        let positions = appended.map_err(Error::from)?.positions();
        let last = recorded.last().map(StoredEvent::position);
        if positions.count() != count || positions.last() != last {
            let what = "the events have other positions than recorded";
            return Ok(Some(Difference::of_log(what, self.head)));
        }
        self.head = last;
        Ok(None)
    }

    /// Marks the cached states of these streams as outdated, because they lack these events.
    fn outdate_states(&self, events: &[StoredEvent]) {
        for stream in events.iter().filter_map(StoredEvent::stream) {
            self.application.outdate_state(stream);
        }
    }

    fn is_of_present_policy_version(&self, first: &StoredEvent, key: &FollowerKey) -> bool {
        let policy_version = self.follower(key).map(|it| it.policy_version_number());
        matches!(
            first.origin(),
            Ok(Origin::Effect { policy_version: of, .. }) if Some(of) == policy_version
        )
    }

    /// Processes an event again that had been parked.
    async fn resume(
        &mut self,
        recorded: &[StoredEvent],
        (log, checkpoint, policy_version): (LogId, Checkpoint, u32),
        upstreams: &Upstreams,
        report: &mut WholeReport,
    ) -> Result<Option<Difference>> {
        let Some((note, effects)) = recorded.split_first() else {
            return Ok(None);
        };
        let name = note.stream().and_then(|it| it.split_once('/'));
        let name = name.map(|(_, name)| name.to_owned()).unwrap_or_default();
        let follower = self
            .followers
            .iter()
            .find(|it| *it.name() == *name)
            .cloned();
        let (Some(follower), Some((upstream, recorder))) = (follower, upstreams.get(&log)) else {
            report.facts.other_policy_version += 1;
            self.outdate_states(effects);
            return Ok(None);
        };
        let is_of_policy_version = policy_version == follower.policy_version_number();
        let event = recorder.event(checkpoint.event_id).await?;
        let (Some(event), true) = (event, is_of_policy_version) else {
            report.facts.other_policy_version += 1;
            self.outdate_states(effects);
            return Ok(None);
        };
        let key = effects.first().and_then(effect_of);
        let key = key.unwrap_or_else(|| FollowerKey::of(&name, 1, None));
        let mut retold = RetoldAppend::new(
            self.own(),
            &self.replaced,
            follower,
            self.keys(&key),
            self.head,
            effects.to_vec(),
        );
        let id: EventId = note.id();
        let processed = retold.process(upstream, log, &event, Some(id)).await?;
        match count(processed, report) {
            Some(difference) => Ok(Some(difference)),
            None => Ok(retold.end().await),
        }
    }
}

/// Returns the follower whose effect an event is.
fn effect_of(event: &StoredEvent) -> Option<FollowerKey> {
    match event.origin() {
        Ok(Origin::Effect { follower, .. }) => Some(follower),
        _ => None,
    }
}

fn count(processed: Processed, report: &mut WholeReport) -> Option<Difference> {
    match processed {
        Processed::Equal(effects) => {
            report.processed += 1;
            report.effects += effects;
            None
        }
        Processed::Replaced => {
            report.facts.replaced += 1;
            None
        }
        Processed::Erased => {
            report.facts.erased += 1;
            None
        }
        Processed::Different(difference) => Some(*difference),
    }
}
