//! Checks whether a program can read and fold all of a log: run it before a deployment, on the
//! production log.
//!
//! Every event is decoded as the types that the application declares, every aggregate of a declared
//! type is folded, and snapshots are compared with the fold of the events. At any time, one page of
//! events, one state and the snapshots of one stream are in memory.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures_util::FutureExt;

use super::cache::Folded;
use super::error::{Error, Result};
use super::handle::{Application, StreamCheck};
use super::limits::{AGGREGATES_PAGE, FOLD_PAGE_EVENTS};
use super::panic_text::panic_text;
use super::repository::folded_of;
use crate::domain::{Aggregate, Id, SnapshotRule};
use crate::mapping::{Arrays, EventReader, MappingError, StoredEventPlace, json_difference};
use crate::recording::limits::{FINDINGS_MAX, RESERVED_PREFIX, SNAPSHOTS_PER_STREAM_MAX};
use crate::recording::{
    BoxFuture, LogRead, NewEvent, PageEnd, Position, StoredEvent, StoredSnapshot, Version,
};

/// The result of checking a log against a program's types. `Display` prints one line per finding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogCheck {
    /// Name of the log.
    pub log: Arc<str>,
    /// Number of events checked.
    pub events: u64,
    /// Number of these events whose content was erased; they are not findings.
    pub erased: u64,
    /// Number of aggregates checked.
    pub aggregates: u64,
    /// Number of these aggregates that no program can fold because some of their content was
    /// erased; they are not findings.
    pub erased_aggregates: u64,
    /// Number of snapshots compared with the fold of the events.
    pub snapshots: u64,
    /// What the program cannot read or fold, at most [`FINDINGS_MAX`].
    pub findings: Vec<LogFinding>,
    /// Total number of findings, including those not kept in `findings`.
    pub finding_count: u64,
}

/// Something that a program cannot read or fold.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogFinding {
    /// The event, stream or snapshot.
    pub place: String,
    /// The topic of the event; `None` for a stream or a snapshot.
    pub topic: Option<Arc<str>>,
    /// The reason.
    pub reason: String,
}

impl LogCheck {
    /// Returns whether the program can read and fold all of the log.
    pub fn is_sound(&self) -> bool {
        self.finding_count == 0
    }

    fn note(&mut self, place: String, topic: Option<&str>, reason: String) {
        self.finding_count += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(LogFinding {
                place,
                topic: topic.map(Arc::from),
                reason,
            });
        }
    }
}

impl fmt::Display for LogCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            log,
            events,
            aggregates,
            snapshots,
            finding_count,
            ..
        } = self;
        write!(
            f,
            "{log}: {events} events, {aggregates} aggregates, {snapshots} snapshots, \
             {finding_count} findings"
        )?;
        for finding in &self.findings {
            write!(f, "\n{finding}")?;
        }
        match finding_count - self.findings.len() as u64 {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

impl fmt::Display for LogFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)?;
        if let Some(topic) = &self.topic {
            write!(f, ", {topic:?}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// Events of a topic that no type has: the first one, and their number.
struct Unknown {
    first: StoredEventPlace,
    count: u64,
}

impl Application {
    /// Checks the log, up to its current end, against the declared types and these.
    pub(crate) async fn check_against(&self, more: &[EventReader]) -> Result<LogCheck> {
        let mut check = LogCheck {
            log: self.name().into(),
            ..LogCheck::default()
        };
        let Some(until) = self.head().await?.position() else {
            return Ok(check);
        };
        self.check_events(more, until, &mut check).await?;
        for aggregate in &self.core.declared.aggregates {
            let prefix = format!("{}/", aggregate.stream_type);
            let mut after: Option<Arc<str>> = None;
            loop {
                let recorder = &self.core.recorder;
                let page = recorder
                    .streams(&prefix, after.as_deref(), AGGREGATES_PAGE)
                    .await?;
                let Some(last) = page.last() else {
                    break;
                };
                after = Some(Arc::clone(&last.name));
                for entry in &page {
                    let checked = (aggregate.check)(self, &entry.name, until).await?;
                    check.aggregates += 1;
                    check.erased_aggregates += u64::from(checked.is_erased);
                    check.snapshots += checked.snapshots;
                    for (place, reason) in checked.findings {
                        check.note(place, None, reason);
                    }
                }
            }
        }
        Ok(check)
    }

    /// Returns the readers of the declared event types.
    pub(crate) fn declared_readers(&self) -> &[EventReader] {
        &self.core.declared.readers
    }

    /// Returns whether a recorded event of any shape is read as the same event as a new one,
    /// as one of the declared types.
    pub(crate) fn is_read_as(&self, recorded: &StoredEvent, new: &NewEvent) -> bool {
        let mut readers = self.core.declared.readers.iter();
        readers.any(|reader| {
            reader.topics().any(|topic| topic == recorded.topic())
                && reader.is_same(&self.core.mapper, recorded, new)
        })
    }

    async fn check_events(
        &self,
        more: &[EventReader],
        until: Position,
        check: &mut LogCheck,
    ) -> Result<()> {
        let mut by_topic: BTreeMap<&'static str, Vec<&EventReader>> = BTreeMap::new();
        for reader in self.core.declared.readers.iter().chain(more) {
            for topic in reader.topics() {
                let readers = by_topic.entry(topic).or_default();
                if !readers.iter().any(|it| it.is(reader)) {
                    readers.push(reader);
                }
            }
        }
        let mut unknown: BTreeMap<Arc<str>, Unknown> = BTreeMap::new();
        let mut read = LogRead::new().until(until).limit(FOLD_PAGE_EVENTS);
        loop {
            let page = self.core.recorder.read_log(read.clone()).await?;
            for stored in &page.events {
                check.events += 1;
                check.erased += u64::from(stored.is_erased());
                match by_topic.get(stored.topic()) {
                    None if self.core.registry.is_retired(stored.topic()) => {}
                    None => count_unknown(&mut unknown, stored),
                    Some(_) if stored.is_erased() => {}
                    Some(readers) => {
                        for reader in readers {
                            if let Err(reason) = self.try_to_read(reader, stored) {
                                let place = StoredEventPlace::from(stored).to_string();
                                check.note(place, Some(stored.topic()), reason);
                            }
                        }
                    }
                }
            }
            if page.end == PageEnd::Complete {
                break;
            }
            read = read.after(page.read_to_position());
        }
        for (topic, Unknown { first, count }) in unknown {
            let reason = match topic.starts_with(RESERVED_PREFIX) {
                true => "a newer version of the library recorded it".into(),
                false => format!(
                    "no declared type has this topic, which {count} events have. If a type was \
                     renamed, give it its former topic: `#[event(formerly({topic:?}))]`; if there \
                     is a type, declare it: `.event::<T>()` or `.aggregate::<A>()`"
                ),
            };
            check.note(first.to_string(), Some(&topic), reason);
        }
        Ok(())
    }

    /// Decodes an event, or returns the reason why it cannot be decoded.
    fn try_to_read(&self, reader: &EventReader, stored: &StoredEvent) -> Result<(), String> {
        let read = || reader.read(&self.core.mapper, stored);
        match catch_unwind(AssertUnwindSafe(read)) {
            Ok(read) => read.map_err(|error| error.to_string()),
            Err(panic) => Err(panicked("reading it", &*panic)),
        }
    }
}

fn count_unknown(unknown: &mut BTreeMap<Arc<str>, Unknown>, stored: &StoredEvent) {
    match unknown.entry(stored.topic().into()) {
        Entry::Occupied(mut known) => known.get_mut().count += 1,
        Entry::Vacant(new) => {
            new.insert(Unknown {
                first: stored.into(),
                count: 1,
            });
        }
    }
}

fn panicked(what: &str, panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic_text(panic).unwrap_or("without a message");
    format!("{what} panicked: {text}")
}

/// Folds a stream, and compares its snapshots with the fold of the events.
pub(super) fn check_stream<'a, A: Aggregate>(
    application: &'a Application,
    stream: &'a Arc<str>,
    until: Position,
) -> BoxFuture<'a, Result<StreamCheck>> {
    Box::pin(async move {
        let mut checked = StreamCheck::default();
        let place = format!("the stream {stream:?}");
        if Id::<A>::of_stream(stream).is_none() {
            let reason = format!("its name has no key of {}", std::any::type_name::<A>());
            checked.findings.push((place, reason));
            return Ok(checked);
        }
        let walk = Walk::<A> {
            application,
            stream,
            until,
            aggregate: PhantomData,
        };
        match walk.check(&mut checked).await {
            Ok(()) => {}
            Err(Error::Mapping(MappingError::Erased { .. })) => checked.is_erased = true,
            Err(Error::Mapping(error)) => checked.findings.push((place, error.to_string())),
            Err(Error::Corrupt(error)) => checked.findings.push((place, error.to_string())),
            Err(Error::Invalid(reason)) => checked.findings.push((place, reason.to_string())),
            Err(error) => return Err(error),
        }
        Ok(checked)
    })
}

/// A stream that is being checked.
struct Walk<'a, A> {
    application: &'a Application,
    stream: &'a Arc<str>,
    until: Position,
    aggregate: PhantomData<fn() -> A>,
}

impl<A: Aggregate> Walk<'_, A> {
    async fn check(&self, checked: &mut StreamCheck) -> Result<()> {
        let mut full = Folded::<A>::default();
        // The newest snapshot that matches, followed by the later events.
        let mut begun: Option<(Version, Folded<A>)> = None;
        for (version, from_snapshot) in self.snapshots().await? {
            self.fold(&mut full, Some(version)).await?;
            if full.version != Some(version) {
                break;
            }
            checked.snapshots += 1;
            if let Some(difference) = difference(&full, &from_snapshot) {
                let place = self.snapshot_place(version);
                checked.findings.push((
                    place,
                    format!("it differs from the fold of the events: {difference}; {ADVICE}"),
                ));
            } else {
                begun = Some((version, from_snapshot));
            }
        }
        self.fold(&mut full, None).await?;
        if let Some((version, mut from_snapshot)) = begun {
            self.fold(&mut from_snapshot, None).await?;
            if let Some(difference) = difference(&full, &from_snapshot) {
                let place = self.snapshot_place(version);
                checked.findings.push((
                    place,
                    format!(
                        "with the events after it, it differs from the fold of all events: \
                         {difference}; {ADVICE}"
                    ),
                ));
            }
        }
        Ok(())
    }

    fn snapshot_place(&self, version: Version) -> String {
        format!("the snapshot of {:?} at version {version}", self.stream)
    }

    /// Applies the events up to a version, or all of them.
    async fn fold(&self, folded: &mut Folded<A>, version: Option<Version>) -> Result<()> {
        let continues = |stored: &StoredEvent| stored.position() <= self.until;
        let folding = self
            .application
            .fold_while(self.stream, folded, version, continues);
        match AssertUnwindSafe(folding).catch_unwind().await {
            Ok(done) => done.map(drop),
            Err(panic) => Err(Error::invalid(panicked("folding it", &*panic))),
        }
    }

    /// Returns the states in the snapshots that the program would use, oldest first.
    async fn snapshots(&self) -> Result<Vec<(Version, Folded<A>)>> {
        let mut found = Vec::new();
        let Some(rule) = &A::SNAPSHOTS else {
            return Ok(found);
        };
        let mut until = None;
        for _ in 0..SNAPSHOTS_PER_STREAM_MAX {
            let recorder = &self.application.core.recorder;
            let Some(snapshot) = recorder.snapshot(self.stream, until).await? else {
                break;
            };
            let StoredSnapshot { version, .. } = snapshot;
            if let Ok(folded) = folded_of(rule, &snapshot) {
                found.push((version, folded));
            }
            until = Version::new(version.get() - 1);
            if until.is_none() {
                break;
            }
        }
        found.reverse();
        Ok(found)
    }
}

const ADVICE: &str = "raise the revision of the snapshots if `apply` or the fields have changed, \
                      or drop them with `drop_snapshots`";

/// Describes how a snapshot's state differs from the fold of the events; `None` if they are equal
/// or cannot be compared.
fn difference<A: Aggregate>(full: &Folded<A>, from_snapshot: &Folded<A>) -> Option<String> {
    let rule: &SnapshotRule<A> = A::SNAPSHOTS.as_ref()?;
    let written = (rule.encode)(&full.state).ok()?;
    let found = (rule.encode)(&from_snapshot.state).ok()?;
    if let Some(difference) = json_difference(&written, &found, Arrays::Unordered) {
        let value = |value: Option<String>| value.unwrap_or("nothing".into());
        let (events, snapshot) = (value(difference.one), value(difference.other));
        return Some(format!(
            "`{}` is {events}, but {snapshot} in the snapshot",
            difference.path
        ));
    }
    let is_equal = rule.is_equal?;
    (!is_equal(&full.state, &from_snapshot.state)).then(|| "the two are not equal".into())
}
