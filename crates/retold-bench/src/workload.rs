//! The workloads, in groups. The runs of a group's contenders are interleaved.

pub(crate) mod append;
pub(crate) mod application;
pub(crate) mod condition;
pub(crate) mod contention;
pub(crate) mod erase;
pub(crate) mod idle;
pub(crate) mod load;
pub(crate) mod processes;
pub(crate) mod read;
pub(crate) mod rebuild;
pub(crate) mod system;
mod upcast;

use crate::bench::Bench;
use crate::contender::Contender;
use crate::subject::Subject;

/// A group of workloads that are measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkloadGroup {
    /// Appends of one event.
    Append,
    /// Writing the log of orders.
    Load,
    /// Reading the log of orders.
    Read,
    /// Conditional appends to the log of orders.
    Condition,
    /// Erasing streams of the log of orders.
    Erase,
    /// Commands and loads of an application.
    Application,
    /// Applications that follow each other.
    System,
    /// Appends during the rebuild of a view.
    Rebuild,
    /// Several processes on one database.
    Processes,
    /// Idle systems.
    Idle,
}

impl WorkloadGroup {
    /// All groups, in the order of measurement: reads come before the log of orders grows.
    pub(crate) const ALL: [Self; 10] = [
        Self::Append,
        Self::Load,
        Self::Read,
        Self::Condition,
        Self::Erase,
        Self::Application,
        Self::System,
        Self::Rebuild,
        Self::Processes,
        Self::Idle,
    ];

    /// Returns the name of the group, by which it is selected.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Load => load::NAME,
            Self::Read => "read",
            Self::Condition => "condition",
            Self::Erase => "erase",
            Self::Application => "application",
            Self::System => "system",
            Self::Rebuild => "rebuild",
            Self::Processes => "processes",
            Self::Idle => "idle",
        }
    }

    /// Returns the workloads on `subject` and on its bare driver. The load runs in separate
    /// processes and is not included.
    pub(crate) fn contenders<'a>(
        self,
        bench: &'a Bench,
        subject: &'a Subject,
    ) -> Vec<Contender<'a>> {
        match self {
            Self::Append => append::contenders(bench, subject),
            Self::Load => Vec::new(),
            Self::Read => read::contenders(bench, subject),
            Self::Condition => condition::contenders(bench, subject),
            Self::Erase => erase::contenders(bench, subject),
            Self::Application => application::contenders(bench, subject),
            Self::System => system::contenders(bench, subject),
            Self::Rebuild => rebuild::contenders(bench, subject),
            Self::Processes => processes::contenders(bench, subject),
            Self::Idle => idle::contenders(bench, subject),
        }
    }
}
