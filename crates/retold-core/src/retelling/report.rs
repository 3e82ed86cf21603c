//! What a retelling comes to: counts, or the first difference with both its sides.

use std::fmt;
use std::sync::Arc;

use crate::recording::{Mark, NewEvent, Origin, Position, StoredEvent, Version};

/// What retelling one generation of a follower, or one partition of it, came to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FollowerReport {
    /// Name of its application.
    pub application: Arc<str>,
    /// The follower with its generation, and its partition if there are several.
    pub follower: Arc<str>,
    /// Upstream events that its policies answered once more.
    pub answered: u64,
    /// Effects that were compared and found equal.
    pub effects: u64,
    /// Upstream positions that its stretches cover, those that concern it not among them.
    pub covered: u64,
    /// What was taken as it is.
    pub facts: Facts,
    /// The first difference, if there is one: what follows it was not looked at.
    pub difference: Option<Difference>,
}

/// What a retelling takes as it is, because it cannot or must not be decided again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Facts {
    /// Stretches that another edition of the follower recorded, or partitions by another rule.
    pub other_edition: u64,
    /// Upstream events that could not be answered once more, for they or something that was read for
    /// them is erased.
    pub erased: u64,
    /// Upstream events that were parked.
    pub parked: u64,
}

impl fmt::Display for Facts {
    /// A part of a sentence for each that is not 0.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (count, what) in [
            (self.other_edition, "stretches of another edition"),
            (self.erased, "answers to what is erased"),
            (self.parked, "parked events"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what} taken as they are")?;
            }
        }
        Ok(())
    }
}

/// Where what is retold is not what is recorded.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Difference {
    /// What differs, in a few words.
    pub what: String,
    /// The upstream event that was answered, if it is about one: whose log, where, and its topic.
    pub cause: Option<(Arc<str>, Mark, String)>,
    /// The position of the follower's own log that was decided on; none for its beginning.
    pub decided_at: Option<Position>,
    /// The streams that were read, with the versions they had, and the version of the snapshot that was
    /// begun with, if one was.
    pub read: Vec<(Arc<str>, Option<Version>, Option<Version>)>,
    /// The event that is recorded; none if more was decided than is recorded.
    pub recorded: Option<Shown>,
    /// The event that was decided now; none if less was.
    pub retold: Option<Shown>,
}

/// An event as it is shown to people.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shown {
    /// Its place in the log, if it is recorded.
    pub position: Option<Position>,
    /// The rest, one entry a line: name and value.
    pub lines: Vec<(&'static str, String)>,
}

impl Shown {
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
    /// A difference about no event in particular.
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
        if let Some((upstream, mark, topic)) = &self.cause {
            write!(f, "\n  answering {topic} at {mark} of {upstream:?}")?;
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
            answered,
            effects,
            covered,
            facts,
            difference,
        } = self;
        write!(
            f,
            "{follower} of {application}: {answered} events answered, {effects} effects equal, {covered} positions covered"
        )?;
        write!(f, "{facts}")?;
        match difference {
            None => write!(f, ", 0 differences"),
            Some(difference) => write!(f, "\nthe first difference: {difference}"),
        }
    }
}
