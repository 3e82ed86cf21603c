//! The trace: the last steps of a run, and the fingerprint of all of them.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::call::{Call, CallOutcome};
use super::fault::Fault;
use super::parking::{ActorIndex, LogIndex};
use crate::domain::Timestamp;

/// One entry of the trace.
#[derive(Clone, Debug, Hash)]
pub(crate) struct TraceEntry {
    /// The step, counted from 1.
    pub(crate) step: u64,
    /// The actor that acted, or that made the call.
    pub(crate) actor: Option<ActorIndex>,
    pub(crate) log: Option<LogIndex>,
    pub(crate) fault: Option<Fault>,
    pub(crate) happening: Happening,
}

/// What happened in a step.
#[derive(Clone, Debug, Hash)]
pub(crate) enum Happening {
    /// A call had its turn.
    Called(Call, CallOutcome),
    /// An append whose caller was dropped, or received an unknown outcome, reached the log.
    Landed(Call, CallOutcome),
    /// An append whose caller was dropped never reaches the log.
    Vanished(Call),
    /// A notification of a change was lost, late or spurious.
    Hint,
    /// An actor that was woken by something in its process ran.
    Ran,
    /// An actor returned.
    Returned,
    /// A process started or restarted.
    Started(usize),
    /// A process ended, with everything in it.
    Crashed(usize),
    /// The clock shows this time now.
    Clock(Timestamp),
}

/// The last entries of a run.
pub(crate) struct Trace {
    kept: VecDeque<TraceEntry>,
    /// The maximum number of entries that are kept.
    limit: usize,
    count: u64,
    fingerprint: DefaultHasher,
}

impl Trace {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            kept: VecDeque::new(),
            limit,
            count: 0,
            fingerprint: DefaultHasher::new(),
        }
    }

    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        let excess = self.kept.len().saturating_sub(limit);
        self.kept.drain(..excess);
    }

    pub(crate) fn push(&mut self, entry: TraceEntry) {
        entry.hash(&mut self.fingerprint);
        self.count += 1;
        if self.limit == 0 {
            return;
        }
        if self.kept.len() == self.limit {
            self.kept.pop_front();
        }
        self.kept.push_back(entry);
    }

    /// Returns the number of entries that were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.count - self.kept.len() as u64
    }

    /// Returns a hash of all entries.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprint.finish()
    }

    /// Returns a line for each entry that is kept.
    pub(crate) fn lines(&self, names: &TraceNames) -> Vec<String> {
        self.kept.iter().map(|entry| names.line(entry)).collect()
    }
}

/// The meaning of the numbers in entries.
pub(crate) struct TraceNames {
    pub(crate) actors: Vec<Arc<str>>,
    pub(crate) processes: Vec<Arc<str>>,
    pub(crate) logs: Vec<Arc<str>>,
}

impl TraceNames {
    fn line(&self, entry: &TraceEntry) -> String {
        let mut line = format!("{:>6} ", entry.step);
        if let Some(actor) = entry.actor {
            line += &self.actors[actor as usize];
            line += ": ";
        }
        line += &match &entry.happening {
            Happening::Called(call, outcome) => format!("{call} -> {outcome}"),
            Happening::Landed(call, outcome) => format!("landed late: {call} -> {outcome}"),
            Happening::Vanished(call) => format!("never lands: {call}"),
            Happening::Hint => "waits for a change".into(),
            Happening::Ran => "ran".into(),
            Happening::Returned => "returned".into(),
            Happening::Started(process) => format!("started {}", self.processes[*process]),
            Happening::Crashed(process) => format!("crashed {}", self.processes[*process]),
            Happening::Clock(now) => format!("the clock shows {now}"),
        };
        if let Some(log) = entry.log {
            line += &format!(" (log {})", self.logs[log as usize]);
        }
        if let Some(fault) = entry.fault {
            line += &format!(" [{fault}]");
        }
        line
    }
}
