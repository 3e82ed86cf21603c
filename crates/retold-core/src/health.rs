//! Health: whether a process is live and ready, and which of its parts need attention.

pub mod limits;

mod running;

use std::fmt;

use serde::Serialize;

pub use self::running::Running;
pub(crate) use self::running::{Began, RunningCell};

/// The health of a program that runs a system.
///
/// The first two fields are for the liveness and readiness probes of an orchestrator. The
/// [`findings`](Self::findings) are for people and alerts: a paused follower is no reason to
/// restart a process or to route its requests elsewhere. `Health` implements `Serialize`, so it can
/// be the body of an HTTP response.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// Why the process should be restarted; none if it works. An unavailable store is not such a
    /// reason, because a restart does not help.
    pub not_live: Option<String>,
    /// Why no requests should be sent to the process; none if it accepts them.
    pub not_ready: Option<String>,
    /// Everything that does not work properly, in the order of [`FindingKind`].
    pub findings: Vec<Finding>,
}

/// A part of the program that does not work properly, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The kind of part.
    pub kind: FindingKind,
    /// Its name, such as `APPLICATION/FOLLOWER` for a follower, `APPLICATION/OUTBOX` for an outbox,
    /// and the application's name for timers.
    pub name: String,
    /// What is wrong with this part.
    pub trouble: Trouble,
    /// The reason, for people.
    pub reason: String,
}

/// The kind of part that a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FindingKind {
    /// The process itself: its membership in a cluster, or a task that has ended.
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

/// What is wrong with a part of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Trouble {
    /// It failed and is retried automatically, for example because its store is unavailable.
    Retrying,
    /// It takes longer than expected: a policy, a delivery or a handler does not return.
    Late,
    /// It waits before an event of a topic or revision that this program does not know, until
    /// another program processes the event.
    Holding,
    /// It is running, but has parked events or timers that an operator must decide about.
    Parked,
    /// It is recorded as paused: an operator paused it, or its policy failed.
    Paused,
    /// It is recorded as retired, and this program still declares it.
    Retired,
    /// It has stopped, and an operator must act.
    Failed,
}

impl Health {
    /// Returns whether the process works.
    pub fn is_live(&self) -> bool {
        self.not_live.is_none()
    }

    /// Returns whether the process accepts requests.
    pub fn is_ready(&self) -> bool {
        self.not_live.is_none() && self.not_ready.is_none()
    }

    /// Returns whether the process works, accepts requests, and has no findings.
    pub fn is_well(&self) -> bool {
        self.is_ready() && self.findings.is_empty()
    }
}

impl Finding {
    /// For runners: creates a finding with these fields.
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

    /// For runners: creates a finding that the log of this application cannot be read.
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

    /// Returns the variant that is displayed as this word; none if no variant is.
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

/// Formats the finding as one line, such as `follower stock/reservations is paused: maintenance`.
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

/// Formats the health as one line for each problem; `well` if there is none.
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
