//! Health: whether a process works and takes requests, and everything in it that somebody has to look at.

pub mod limits;

mod running;

use std::fmt;

use serde::Serialize;

pub use self::running::Running;
pub(crate) use self::running::{Began, RunningCell};

/// How a program that runs a system is getting on.
///
/// The first two answer the probes of an orchestrator, [`findings`](Self::findings) are for people and
/// their alarms: a follower that is paused is no reason to start a process again, and no reason to
/// send its requests elsewhere. It can be serialised, as the body of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// Why the process should be started again; none if it works. That a store does not answer is
    /// no such reason: starting again mends nothing then.
    pub not_live: Option<String>,
    /// Why no requests should be sent to it; none if it takes them.
    pub not_ready: Option<String>,
    /// Everything that does not work as it should, in the order of [`FindingKind`].
    pub findings: Vec<Finding>,
}

/// Something that does not work as it should, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// What it is.
    pub kind: FindingKind,
    /// Its name: of a follower `APPLICATION/FOLLOWER`, of an outbox `APPLICATION/OUTBOX`, of timers that
    /// of their application.
    pub name: String,
    /// What is wrong with it.
    pub trouble: Trouble,
    /// Why, for people.
    pub reason: String,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FindingKind {
    /// The process itself: its part in a cluster, or a task that has ended.
    Process,
    /// The log of an application.
    Log,
    /// A follower.
    Follower,
    /// The timers of an application.
    Timers,
    /// A view.
    View,
    /// An outbox.
    Outbox,
}

/// What is wrong with something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Trouble {
    /// It failed and tries again by itself, as when its store does not answer.
    Retrying,
    /// It takes longer than it should: a policy or a delivery does not return.
    Late,
    /// It holds before an event of a topic or revision that this program does not know, until another
    /// program answers it.
    Holding,
    /// It goes on, but has put events or timers aside that somebody has to decide about.
    Parked,
    /// It is recorded as paused: an operator paused it, or its policy failed.
    Paused,
    /// It is recorded as retired, and this program still declares it.
    Retired,
    /// It has stopped, and only somebody who acts helps.
    Failed,
}

impl Health {
    /// Whether it works.
    pub fn is_live(&self) -> bool {
        self.not_live.is_none()
    }

    /// Whether it takes requests.
    pub fn is_ready(&self) -> bool {
        self.not_live.is_none() && self.not_ready.is_none()
    }

    /// Whether it works, takes requests, and nothing in it needs anybody to look.
    pub fn is_well(&self) -> bool {
        self.is_ready() && self.findings.is_empty()
    }
}

impl Finding {
    /// For runners: that this is wrong.
    pub fn new(
        kind: FindingKind,
        name: impl Into<String>,
        trouble: Trouble,
        reason: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            name: name.into(),
            trouble,
            reason: reason.into(),
        }
    }

    /// For runners: that the log of this application cannot be read.
    pub fn unreadable_log(application: &str, error: &dyn fmt::Display) -> Self {
        let reason = format!("it cannot be read: {error}");
        Self::new(FindingKind::Log, application, Trouble::Retrying, reason)
    }
}

impl Trouble {
    /// All of them.
    const ALL: [Self; 7] = [
        Self::Retrying,
        Self::Late,
        Self::Holding,
        Self::Parked,
        Self::Paused,
        Self::Retired,
        Self::Failed,
    ];

    /// The one that is displayed as this word; none if there is none.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.to_string() == word)
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Process => "process",
            Self::Log => "log",
            Self::Follower => "follower",
            Self::Timers => "timers",
            Self::View => "view",
            Self::Outbox => "outbox",
        })
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Retrying => "retrying",
            Self::Late => "late",
            Self::Holding => "holding",
            Self::Parked => "parked",
            Self::Paused => "paused",
            Self::Retired => "retired",
            Self::Failed => "failed",
        })
    }
}

/// One line, as in `follower stock/reservations is paused: maintenance`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            name,
            trouble,
            reason,
        } = self;
        match trouble {
            Trouble::Parked => write!(f, "{kind} {name} has parked: {reason}"),
            _ => write!(f, "{kind} {name} is {trouble}: {reason}"),
        }
    }
}

/// A line for each thing that is wrong; `well` if there is none.
impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        lines.extend(self.not_live.iter().map(|it| format!("not live: {it}")));
        lines.extend(self.not_ready.iter().map(|it| format!("not ready: {it}")));
        lines.extend(self.findings.iter().map(Finding::to_string));
        match lines.is_empty() {
            true => f.write_str("well"),
            false => f.write_str(&lines.join("\n")),
        }
    }
}
