//! The search for everything that an event caused, for runners.
//!
//! When all followers of a log have processed it up to the last event of interest, the effects are
//! in their own logs. A log that is reached for the first time is of interest up to its end,
//! because effects caused before the search began are somewhere in it; beyond that, only effects
//! of events of interest are. A cycle therefore ends when its effects end, even if other events are
//! recorded meanwhile.
//!
//! Each log is read forward once. An effect may be read before its cause, because the cause is in
//! another log; it is then kept until that log is read that far.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use super::definition::System;
use super::open_system::OpenSystem;
use super::waiting::Searching;
use crate::application::{Result, yield_once};
use crate::following::limits::{CAUSED_EVENTS_MAX, CAUSED_PAGE_EVENTS};
use crate::recording::{Invalid, LogId, LogRead, Origin, PageEnd, Position};

/// For runners: searches for everything that the events of a log up to a position caused. It
/// returns one goal after the other; when the runner has reached all of them, everything is
/// processed.
pub struct CausedSearch<'a> {
    open: &'a OpenSystem,
    /// The log that [`next`](Self::next) returned last.
    last: Option<usize>,
    /// The parts of interest, by the index of their applications.
    concerned: BTreeMap<usize, Concerned>,
    /// Logs whose followers must be waited for.
    queue: VecDeque<usize>,
    /// The applications of the logs; read before the first goal.
    logs: Option<BTreeMap<LogId, usize>>,
    /// The applications that effects of the first one can reach.
    downstream: BTreeSet<usize>,
    /// Effects that were read, but whose causes are not decided yet, so it is unknown whether they
    /// are of interest.
    undecided: BTreeSet<EventPlace>,
    /// The same effects, by their causes.
    awaiting: BTreeMap<EventPlace, Vec<EventPlace>>,
    searching: Searching,
}

/// An event: the index of its application, and its position.
type EventPlace = (usize, Position);

/// The part of a log that is of interest.
struct Concerned {
    /// All events up to this position.
    until: Position,
    /// And these events.
    beyond: BTreeSet<Position>,
    /// The position up to which the log was read.
    read_to: Position,
}

impl Concerned {
    fn has(&self, position: Position) -> bool {
        position <= self.until || self.beyond.contains(&position)
    }

    fn last(&self) -> Position {
        self.beyond.last().copied().unwrap_or(self.until)
    }
}

/// Whether an event is an effect of an event of interest.
enum EffectVerdict {
    Concerned,
    Other,
    /// Known once this cause is decided.
    Undecided(EventPlace),
}

impl<'a> CausedSearch<'a> {
    /// Returns the search for everything that was caused by the events of the log of the
    /// application at this index, up to and including this position.
    pub fn new(open: &'a OpenSystem, application: usize, position: Position) -> Self {
        let mut search = Self {
            open,
            last: None,
            concerned: BTreeMap::new(),
            queue: VecDeque::new(),
            logs: None,
            downstream: downstream(open.system(), application),
            undecided: BTreeSet::new(),
            awaiting: BTreeMap::new(),
            searching: Searching {
                application: open.applications()[application].name().into(),
                read_to: None,
                until: None,
            },
        };
        search.begin(application, position);
        search
    }

    /// Returns how far the search is, for the error of a wait whose time is up.
    pub fn searching(&self) -> &Searching {
        &self.searching
    }

    /// Returns the next goal: all followers of the application at this index must process its log
    /// up to and including this position. Call it again when they have; none if everything is
    /// processed.
    ///
    /// # Errors
    ///
    /// Those of reading the logs; [`Error::Invalid`](crate::application::Error::Invalid) if more
    /// than [`CAUSED_EVENTS_MAX`] events would have to be remembered.
    pub async fn next(&mut self) -> Result<Option<(usize, Position)>> {
        if self.logs.is_none() {
            let mut logs = BTreeMap::new();
            for (index, application) in self.open.applications().iter().enumerate() {
                if let Some(log) = application.log_id().await? {
                    logs.insert(log, index);
                }
            }
            self.logs = Some(logs);
        }
        if let Some(processed) = self.last {
            for application in followed_by(self.open.system(), processed) {
                self.extend(application).await?;
            }
            self.last = None;
        }
        let Some(log) = self.queue.pop_front() else {
            return Ok(None);
        };
        self.last = Some(log);
        Ok(Some((log, self.concerned[&log].last())))
    }

    /// Starts with a log: all of it up to this position is of interest.
    fn begin(&mut self, application: usize, until: Position) {
        let concerned = Concerned {
            until,
            beyond: BTreeSet::new(),
            read_to: until,
        };
        self.concerned.insert(application, concerned);
        self.queue.push_back(application);
        let later = self.awaiting.split_off(&(application, until.next()));
        let mut before = std::mem::replace(&mut self.awaiting, later);
        let effects = before.split_off(&(application, Position::FIRST));
        self.awaiting.extend(before);
        effects
            .into_values()
            .flatten()
            .for_each(|effect| self.concern(effect));
    }

    /// Determines the part of a log that is now of interest.
    async fn extend(&mut self, application: usize) -> Result<()> {
        let known = self.concerned.get(&application);
        let open = self.open;
        let log = &open.applications()[application];
        self.searching = Searching {
            application: log.name().into(),
            read_to: known.map(|known| known.read_to),
            until: None,
        };
        let Some(head) = log.head().await?.position() else {
            return Ok(());
        };
        self.searching.until = Some(head);
        match self.concerned.contains_key(&application) {
            true => self.read_on(application, head).await,
            false => {
                self.begin(application, head);
                Ok(())
            }
        }
    }

    /// Finds effects of events of interest in the part of a log that was not read yet.
    async fn read_on(&mut self, application: usize, until: Position) -> Result<()> {
        let recorder = self.open.applications()[application].recorder();
        let mut read = LogRead::new()
            .after(self.read_to(application))
            .until(until)
            .limit(CAUSED_PAGE_EVENTS);
        while let Some(after) = self.read_to(application).filter(|after| *after < until) {
            let page = recorder.read_log(read.clone()).await?;
            for event in &page.events {
                let place = (application, event.position());
                match self.verdict(&event.origin()?) {
                    EffectVerdict::Concerned => self.concern(place),
                    EffectVerdict::Other => self.dismiss(place),
                    EffectVerdict::Undecided(cause) => {
                        self.undecided.insert(place);
                        self.awaiting.entry(cause).or_default().push(place);
                    }
                }
                self.move_to(application, event.position());
            }
            let read_to = page.read_to_position().unwrap_or(after);
            self.move_to(application, read_to);
            self.searching.read_to = Some(read_to);
            let beyond = self.concerned.values().map(|it| it.beyond.len());
            if beyond.sum::<usize>() + self.undecided.len() > CAUSED_EVENTS_MAX {
                return Err(Invalid::new(format!(
                    "the search for caused events must remember more than {CAUSED_EVENTS_MAX} \
                     events; the followers may cause events in an endless cycle"
                ))
                .into());
            }
            if page.end == PageEnd::Complete {
                break;
            }
            read = read.after_checkpoint(page.read_to);
            // A store that responds immediately would keep the deadline from being checked.
            yield_once().await;
        }
        Ok(())
    }

    fn read_to(&self, application: usize) -> Option<Position> {
        Some(self.concerned.get(&application)?.read_to)
    }

    fn move_to(&mut self, application: usize, position: Position) {
        if let Some(concerned) = self.concerned.get_mut(&application) {
            concerned.read_to = concerned.read_to.max(position);
        }
    }

    /// Marks an event as of interest, together with its effects that were read before.
    fn concern(&mut self, event: EventPlace) {
        for (application, position) in self.decide(event) {
            let Some(concerned) = self.concerned.get_mut(&application) else {
                continue;
            };
            concerned.beyond.insert(position);
            if !self.queue.contains(&application) {
                self.queue.push_back(application);
            }
        }
    }

    /// Marks an event as not of interest, together with the events that it caused.
    fn dismiss(&mut self, event: EventPlace) {
        self.decide(event);
    }

    /// Removes an event and its effects that were read before from the undecided ones, and returns
    /// them.
    fn decide(&mut self, event: EventPlace) -> Vec<EventPlace> {
        let mut decided = vec![event];
        let mut next = 0;
        while let Some(event) = decided.get(next).copied() {
            self.undecided.remove(&event);
            decided.extend(self.awaiting.remove(&event).unwrap_or_default());
            next += 1;
        }
        decided
    }

    fn verdict(&self, origin: &Origin) -> EffectVerdict {
        let Origin::Effect {
            upstream, position, ..
        } = origin
        else {
            return EffectVerdict::Other;
        };
        let upstream = self.logs.as_ref().and_then(|logs| logs.get(upstream));
        let Some(upstream) = upstream else {
            return EffectVerdict::Other;
        };
        let cause = (*upstream, *position);
        match self.concerned.get(upstream) {
            Some(concerned) if concerned.has(*position) => EffectVerdict::Concerned,
            Some(_) if self.undecided.contains(&cause) => EffectVerdict::Undecided(cause),
            Some(concerned) if *position <= concerned.read_to => EffectVerdict::Other,
            _ if self.downstream.contains(upstream) => EffectVerdict::Undecided(cause),
            // That cause will not be read.
            _ => EffectVerdict::Other,
        }
    }
}

/// Returns the applications with a follower of this application's log.
fn followed_by(system: &System, upstream: usize) -> BTreeSet<usize> {
    let upstream = system.members()[upstream].name();
    let members = system.members().iter().enumerate();
    let follows = members.filter(|(_, member)| {
        let mut followers = member.followers().iter();
        followers.any(|follower| follower.upstreams().any(|name| name == upstream))
    });
    follows.map(|(index, _)| index).collect()
}

/// Returns the applications whose followers follow this one, directly or through others.
fn downstream(system: &System, application: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut upstreams = vec![application];
    while let Some(upstream) = upstreams.pop() {
        let new = followed_by(system, upstream).into_iter();
        upstreams.extend(new.filter(|application| found.insert(*application)));
    }
    found
}

impl fmt::Debug for CausedSearch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CausedSearch")
            .field("searching", &self.searching)
            .finish_non_exhaustive()
    }
}
