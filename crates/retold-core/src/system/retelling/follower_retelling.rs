//! One follower, retold by itself against the recorded logs.
//!
//! The history of its stretches says which upstream events it answered, in which order, and how long
//! its own log was then. So its policies are asked again, each on the own log as it was, and what they
//! decide is compared with what the log has next. Everything is read forward once; aggregates that
//! policies read are kept in a bounded cache that only ever moves forward.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::reaction::{Answered, Retold};
use super::report::{Difference, Facts, FollowerReport, Shown};
use super::upstream_cursor::UpstreamCursor;
use crate::application::{Application, Error, Result};
use crate::recording::identity::{EventId, LogId, Mark, Position};
use crate::recording::origin::Origin;
use crate::recording::recorder::{LogRead, PageEnd, Recorder, StreamRead, StretchRead};
use crate::recording::stored_event::StoredEvent;
use crate::recording::stretch::{FollowerKey, RecordedStretch};
use crate::system::follower::Follower;
use crate::system::follower_event::{FollowerEvent, StartingMark, follower_stream};
use crate::system::open_system::OpenSystem;
use crate::system::past_recorder::PastRecorder;

/// Aggregates that are kept while a follower is retold. Bounds memory.
const CACHE_SIZE: usize = 10_000;
/// Own events read at once. Bounds memory.
const PAGE_EVENTS: usize = 1_000;

/// One generation of a follower, to be retold. Each is independent of all others, so a program may
/// [run](Self::run) several at once.
pub struct FollowerRetelling {
    application: Application,
    follower: Arc<Follower>,
    key: FollowerKey,
    starts: Vec<StartingMark>,
    /// Recorders of the logs it follows, by name.
    upstreams: Vec<(Arc<str>, Arc<dyn Recorder>)>,
    /// Events that were parked, by log and position, with the place of the note in the own log.
    parked: BTreeMap<(LogId, Position), Position>,
    /// Events that were resumed, in the order of their notes.
    resumed: VecDeque<Resumed>,
    /// Whether the follower was reset since.
    is_past: bool,
    /// End of the own log when all this was read: what is recorded meanwhile is left out.
    until: Option<Position>,
}

/// A note that a parked event was answered after all.
struct Resumed {
    /// Place of the note in the own log.
    position: Position,
    /// Its id.
    id: EventId,
    log: LogId,
    event: Mark,
    edition: u32,
}

impl FollowerRetelling {
    /// Every generation of every follower of the system that is in its logs.
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

    /// Name of its application.
    pub fn application(&self) -> &str {
        self.application.name()
    }

    /// The follower with its generation.
    pub fn key(&self) -> &FollowerKey {
        &self.key
    }

    /// Retells it, to its end or to the first difference.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Corrupt`] if a log cannot be read; [`Error::Registry`].
    pub async fn run(self) -> Result<FollowerReport> {
        self.follower
            .policies()
            .register(self.application.registry())?;
        let recorder = Arc::clone(self.application.recorder());
        let past = Arc::new(PastRecorder::new(Arc::clone(&recorder), None, Vec::new()));
        let shown = self.application.over(past.clone(), CACHE_SIZE);
        let report = FollowerReport {
            application: self.application.name().into(),
            follower: self.key.as_str().into(),
            answered: 0,
            effects: 0,
            covered: 0,
            facts: Facts::default(),
            difference: None,
        };
        let mut walk = Walk {
            retelling: self,
            past,
            shown,
            recorder,
            report,
            head: None,
            cursors: Vec::new(),
            places: BTreeMap::new(),
            own: VecDeque::new(),
            is_beyond: false,
        };
        let difference = walk.run().await?;
        walk.report.difference = difference;
        Ok(walk.report)
    }
}

/// The generations of a follower, from what its stream says.
async fn generations(
    application: &Application,
    follower: &Arc<Follower>,
    upstreams: &[(Arc<str>, Arc<dyn Recorder>)],
) -> Result<Vec<FollowerRetelling>> {
    let until = application.head().await?.position();
    let begin = |generation: u64, starts| FollowerRetelling {
        application: application.clone(),
        follower: Arc::clone(follower),
        key: FollowerKey::new(format!("{}@{generation}", follower.name())),
        starts,
        upstreams: upstreams.to_vec(),
        parked: BTreeMap::new(),
        resumed: VecDeque::new(),
        is_past: false,
        until,
    };
    let mut all = vec![begin(1, Vec::new())];
    let mut read = StreamRead::new(follower_stream(follower.name()));
    loop {
        let page = application.recorder().read_stream(read.clone()).await?;
        for stored in &page.events {
            let event: FollowerEvent = application.mapper().decode(stored)?;
            let Some(present) = all.last_mut() else {
                continue;
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
                    edition,
                } => present.resumed.push_back(Resumed {
                    position: stored.position(),
                    id: stored.id(),
                    log,
                    event,
                    edition,
                }),
                FollowerEvent::Reset { generation, starts } => {
                    present.is_past = true;
                    all.push(begin(generation, starts));
                }
                FollowerEvent::Skipped { .. }
                | FollowerEvent::Paused { .. }
                | FollowerEvent::Continued => {}
            }
        }
        read = read.after(page.events.last().and_then(StoredEvent::version));
        if page.end == PageEnd::Complete {
            return Ok(all);
        }
    }
}

/// The walk along the stretches of one follower.
struct Walk {
    retelling: FollowerRetelling,
    past: Arc<PastRecorder>,
    /// The follower's application, showing its log up to `head`.
    shown: Application,
    recorder: Arc<dyn Recorder>,
    report: FollowerReport,
    head: Option<Position>,
    cursors: Vec<UpstreamCursor>,
    /// How far each log is covered by stretches.
    places: BTreeMap<LogId, Option<Position>>,
    /// Own events after `head` that are read already.
    own: VecDeque<StoredEvent>,
    /// Whether stretches were met that were recorded meanwhile.
    is_beyond: bool,
}

impl Walk {
    async fn run(&mut self) -> Result<Option<Difference>> {
        for start in &self.retelling.starts {
            let after = start.after.map(|mark| mark.position);
            self.places.insert(start.log, after);
            let upstreams = self.retelling.upstreams.iter();
            for (name, recorder) in upstreams.filter(|(name, _)| **name == *start.upstream) {
                let found = recorder.log_id().await?;
                if found != Some(start.log) && self.retelling.is_past {
                    // That is what it was reset for.
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
        let before = self.checkpoints().await?;
        let mut ordinal = 0;
        let mut group: Vec<RecordedStretch> = Vec::new();
        while !self.is_beyond {
            let read = StretchRead::new()
                .follower(self.retelling.key.clone())
                .after(ordinal);
            let page = self.recorder.stretches(read).await?;
            let Some(last) = page.last() else {
                break;
            };
            ordinal = last.ordinal;
            for stretch in page {
                if group.first().is_some_and(|it| it.head != stretch.head)
                    && let Some(difference) = self.retell_group(std::mem::take(&mut group)).await?
                {
                    return Ok(Some(difference));
                }
                group.push(stretch);
            }
        }
        if !group.is_empty()
            && let Some(difference) = self.retell_group(group).await?
        {
            return Ok(Some(difference));
        }
        self.end(before).await
    }

    /// Where the follower is in each log, if it has recorded that.
    async fn checkpoints(&self) -> Result<BTreeMap<LogId, Position>> {
        let mut checkpoints = BTreeMap::new();
        for log in self.places.keys() {
            let checkpoint = self.recorder.checkpoint(&self.retelling.key, *log).await?;
            checkpoints.extend(checkpoint.map(|mark| (*log, mark.position)));
        }
        Ok(checkpoints)
    }

    /// Retells what was resumed or is left over, and checks that the stretches reach the checkpoints:
    /// those that were there before the stretches were read, and not beyond those that are there now.
    async fn end(&mut self, before: BTreeMap<LogId, Position>) -> Result<Option<Difference>> {
        if let Some(difference) = self.move_to(self.retelling.until).await? {
            return Ok(Some(difference));
        }
        let now = self.checkpoints().await?;
        for (log, place) in &self.places {
            let (before, position) = (before.get(log).copied(), now.get(log).copied());
            let is_short = !self.is_beyond && *place < before;
            if is_short || (position.is_some() && *place > position) {
                let what = format!(
                    "the stretches over the log {log} end at {}, but the checkpoint is at {}",
                    Position::number(*place),
                    Position::number(position)
                );
                return Ok(Some(Difference::of_log(what, self.head)));
            }
        }
        Ok(None)
    }

    /// Retells the stretches that were recorded while the own log ended at one position.
    async fn retell_group(&mut self, group: Vec<RecordedStretch>) -> Result<Option<Difference>> {
        let head = group.first().and_then(|it| it.head);
        if self.is_beyond || head > self.retelling.until {
            self.is_beyond = true;
            return Ok(None);
        }
        if let Some(difference) = self.move_to(head).await? {
            return Ok(Some(difference));
        }
        let recorded = self.own_append().await?;
        if head == self.retelling.until && !recorded.is_empty() {
            // The log has grown, perhaps by what this stretch caused.
            self.is_beyond = true;
            return Ok(None);
        }
        let (effects, is_own) = self.effects_of(&recorded);
        let mut retold = self.retold(effects);
        for stretch in &group {
            if let Some(difference) = self.retell_stretch(stretch, &mut retold, &recorded).await? {
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

    fn retold(&self, effects: Vec<StoredEvent>) -> Retold {
        Retold::new(
            self.shown.clone(),
            Arc::clone(&self.retelling.follower),
            self.retelling.key.clone(),
            self.head,
            effects,
        )
        .with_past(&self.past)
    }

    /// The effects among the events of an append, if this follower in its present edition recorded it.
    fn effects_of(&self, append: &[StoredEvent]) -> (Vec<StoredEvent>, bool) {
        let edition = self.retelling.follower.edition_number();
        let is_own = append.first().is_some_and(|event| {
            matches!(
                event.origin(),
                Ok(Origin::Effect { follower, edition: of, .. })
                    if follower == self.retelling.key && of == edition
            )
        });
        match is_own {
            true => (append.to_vec(), true),
            false => (Vec::new(), false),
        }
    }

    async fn retell_stretch(
        &mut self,
        recorded: &RecordedStretch,
        retold: &mut Retold,
        append: &[StoredEvent],
    ) -> Result<Option<Difference>> {
        let stretch = &recorded.stretch;
        let place = self.places.get(&stretch.upstream).copied();
        if place != Some(stretch.after) {
            let what = format!(
                "a stretch over the log {} begins after {}, where {} was the last that is covered",
                stretch.upstream,
                Position::number(stretch.after),
                place.map_or("nothing".into(), |it| Position::number(it).to_string()),
            );
            return Ok(Some(Difference::of_log(what, self.head)));
        }
        self.places
            .insert(stretch.upstream, Some(stretch.to.position));
        self.report.covered += stretch.to.position.get() - Position::number(stretch.after);
        let is_of_edition = stretch.edition == self.retelling.follower.edition_number();
        if !is_of_edition {
            self.report.facts.other_edition += 1;
        }
        let upstream = self
            .cursors
            .iter()
            .position(|cursor| cursor.log == stretch.upstream);
        let Some(upstream) = upstream else {
            // Of an application that is followed no more, or a log that was replaced.
            self.report.facts.other_edition += u64::from(is_of_edition);
            retold.take_stretch(stretch);
            return Ok(None);
        };
        while let Some(event) = self.cursors[upstream].next(stretch.to.position).await? {
            if !is_of_edition {
                continue;
            }
            let place = (stretch.upstream, event.position());
            let note = self.retelling.parked.get(&place);
            if note.is_some() && note == append.first().map(StoredEvent::position).as_ref() {
                self.report.facts.parked += 1;
                continue;
            }
            let (name, log) = (Arc::clone(&self.cursors[upstream].name), stretch.upstream);
            let answered = retold.answer(&name, log, &event, None).await?;
            if let Some(difference) = self.count(answered) {
                return Ok(Some(difference));
            }
        }
        Ok(None)
    }

    fn count(&mut self, answered: Answered) -> Option<Difference> {
        match answered {
            Answered::Equal(effects) => {
                self.report.answered += 1;
                self.report.effects += effects;
                None
            }
            Answered::Erased => {
                self.report.facts.erased += 1;
                None
            }
            Answered::Different(difference) => Some(*difference),
        }
    }

    /// Shows the own log up to and with a later position. What lies between was not recorded by a
    /// stretch of this follower, so it may not be an effect of it, but for what was resumed.
    async fn move_to(&mut self, head: Option<Position>) -> Result<Option<Difference>> {
        while self.head < head {
            let append = self.own_append().await?;
            let Some(first) = append.first() else {
                let what = format!(
                    "a stretch was recorded at {}, but the log ends before",
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
                let what = "effects are recorded without the stretch they answer";
                let mut difference = Difference::of_log(what, self.head);
                difference.recorded = Some(Shown::of_recorded(first));
                return Ok(Some(difference));
            }
            for event in &append {
                if let Some(stream) = event.stream() {
                    // Somebody else wrote to it: what is cached is of the past.
                    self.shown.forget_state(stream);
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
        let (id, log, mark) = (resumed.id, resumed.log, resumed.event);
        let effects: Vec<_> = append.iter().skip(1).cloned().collect();
        let is_of_edition = resumed.edition == self.retelling.follower.edition_number();
        let upstream = self.cursors.iter().find(|cursor| cursor.log == log);
        let (Some(upstream), true) = (upstream, is_of_edition) else {
            self.report.facts.other_edition += 1;
            return Ok(None);
        };
        let name = Arc::clone(&upstream.name);
        let upstreams = self.retelling.upstreams.iter();
        let mut found = None;
        for (_, recorder) in upstreams.filter(|(it, _)| *it == name) {
            found = recorder.event(mark.event_id).await?;
        }
        let Some(event) = found.filter(|event| event.mark() == mark) else {
            return Err(Error::diverged(&name, mark, None));
        };
        let mut retold = self.retold(effects);
        let answered = retold.answer(&name, log, &event, Some(id)).await?;
        if let Some(difference) = self.count(answered) {
            return Ok(Some(difference));
        }
        Ok(retold.end().await)
    }

    /// The events of the append that follows `head` in the own log; none at its end.
    async fn own_append(&mut self) -> Result<Vec<StoredEvent>> {
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

    /// Shows so many more events of the own log.
    async fn pass_own(&mut self, count: usize) -> Result<()> {
        for event in self.own.drain(..count) {
            self.head = Some(event.position());
        }
        self.past.move_to(self.head);
        Ok(())
    }
}
