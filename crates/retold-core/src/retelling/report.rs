//! The result of a retelling: counts, or the first difference with both sides.

use std::fmt;
use std::sync::Arc;

use crate::recording::{Checkpoint, NewEvent, Origin, Position, StoredEvent, Version};

/// The result of retelling one generation of a follower, or one partition of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FollowerReport {
    /// Name of its application.
    pub application: Arc<str>,
    /// The follower with its generation, and its partition if there are several.
    pub follower: Arc<str>,
    /// The number of upstream events that its policies processed again.
    pub processed: u64,
    /// The number of effects that were compared and found equal.
    pub effects: u64,
    /// The number of upstream positions that its processed ranges cover, including those of events
    /// that it does not process.
    pub covered: u64,
    /// The records that were accepted as they are.
    pub facts: Facts,
    /// The first difference, if there is one; the retelling stops there.
    pub difference: Option<Difference>,
}

/// The number of records that a retelling accepts as facts, because the decisions cannot be
/// repeated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Facts {
    /// Processed ranges that were recorded by another policy version of the follower, or with
    /// another partition rule.
    pub other_policy_version: u64,
    /// Upstream events that could not be processed again, because they or an event that was read
    /// for them is erased.
    pub erased: u64,
    /// Upstream events whose decision differs from the record and may have been made on an event
    /// that was replaced since.
    pub replaced: u64,
    /// Upstream events that were parked.
    pub parked: u64,
}

impl fmt::Display for Facts {
    /// Part of a sentence for each count that is not 0.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (count, what) in [
            (
                self.other_policy_version,
                "processed ranges of another policy version",
            ),
            (self.erased, "effects of erased events"),
            (self.replaced, "effects of replaced events"),
            (self.parked, "parked events"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what} accepted as recorded")?;
            }
        }
        Ok(())
    }
}

/// The first place where the retelling and the records differ.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Difference {
    /// The kind of difference, in a few words.
    pub what: String,
    /// The upstream event that was processed, if the difference is about one: its log, checkpoint
    /// and topic.
    pub cause: Option<(Arc<str>, Checkpoint, String)>,
    /// The last position of the follower's own log when the decision was made; none if the log was
    /// empty.
    pub decided_at: Option<Position>,
    /// The streams that were read, each with its version and, if a snapshot was used, the version
    /// of the snapshot.
    pub read: Vec<(Arc<str>, Option<Version>, Option<Version>)>,
    /// The recorded event; none if the retelling decided an additional event.
    pub recorded: Option<ShownEvent>,
    /// The event that the retelling decided; none if it did not decide the recorded event.
    pub retold: Option<ShownEvent>,
}

/// An event in a form for display.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShownEvent {
    /// Its position in the log, if it is recorded.
    pub position: Option<Position>,
    /// Everything else about the event: one pair of name and value per line.
    pub lines: Vec<(&'static str, String)>,
}

impl ShownEvent {
    pub(crate) fn of_recorded(event: &StoredEvent) -> Self {
        let tags: Vec<_> = event.tags().collect();
        let lines = vec![
            ("id", event.id().to_string()),
            ("stream", event.stream().unwrap_or("none").to_owned()),
            (
                "topic",
                format!("{}, revision {}", event.topic(), event.revision()),
            ),
            ("tags", tags.join(", ")),
            ("time", event.time().to_string()),
            ("origin", event.origin_text().to_owned()),
            ("metadata", text(event.metadata_bytes())),
            ("payload", event.payload().map_or("erased".into(), text)),
        ];
        Self {
            position: Some(event.position()),
            lines,
        }
    }

    pub(crate) fn of_new(event: &NewEvent) -> Self {
        let tags: Vec<_> = event.tags.iter().map(|tag| &**tag).collect();
        let lines = vec![
            ("id", event.id.to_string()),
            (
                "stream",
                event.stream.as_deref().unwrap_or("none").to_owned(),
            ),
            (
                "topic",
                format!("{}, revision {}", event.topic, event.revision),
            ),
            ("tags", tags.join(", ")),
            ("time", event.time.to_string()),
            ("origin", Origin::to_text(&event.origin)),
            ("metadata", text(&event.metadata)),
            (
                "payload",
                event.payload.as_deref().map_or("erased".into(), text),
            ),
        ];
        Self {
            position: None,
            lines,
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Difference {
    /// A difference that is not about a particular event.
    pub(crate) fn of_log(what: impl Into<String>, decided_at: Option<Position>) -> Self {
        Self {
            what: what.into(),
            cause: None,
            decided_at,
            read: Vec::new(),
            recorded: None,
            retold: None,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        if let Some((upstream, checkpoint, topic)) = &self.cause {
            write!(f, "\n  processing {topic} at {checkpoint} of {upstream:?}")?;
        }
        match self.decided_at {
            Some(position) => write!(f, "\n  decided on the log up to position {position}")?,
            None => write!(f, "\n  decided on the empty log")?,
        }
        for (stream, version, snapshot) in &self.read {
            match version {
                Some(version) => write!(f, "\n    {stream:?} at version {version}")?,
                None => write!(f, "\n    {stream:?} without events")?,
            }
            if let Some(snapshot) = snapshot {
                write!(f, ", from a snapshot of version {snapshot}")?;
            }
        }
        for (name, shown) in [("recorded", &self.recorded), ("retold", &self.retold)] {
            match shown {
                None => write!(f, "\n  {name}: nothing")?,
                Some(shown) => {
                    write!(f, "\n  {name}:")?;
                    if let Some(position) = shown.position {
                        write!(f, " at position {position}")?;
                    }
                    for (name, value) in &shown.lines {
                        write!(f, "\n    {name:8} {value}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for FollowerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            application,
            follower,
            processed,
            effects,
            covered,
            facts,
            difference,
        } = self;
        write!(
            f,
            "{follower} of {application}: {processed} events processed, {effects} effects equal, \
             {covered} positions covered"
        )?;
        write!(f, "{facts}")?;
        match difference {
            None => write!(f, ", 0 differences"),
            Some(difference) => write!(f, "\nthe first difference: {difference}"),
        }
    }
}
