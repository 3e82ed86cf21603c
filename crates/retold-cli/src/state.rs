//! The states of followers and views: the one place that names them.
//!
//! A store records that a follower is paused, retired or repartitioning, what it has parked, and
//! which process holds its lease. These facts give its states. The phase inside a process, such as
//! catching up, is not recorded and has no state here.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::output::one_line;

/// A state of a follower or of a view. The order is that of importance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    Retired,
    Diverged,
    Replaced,
    Paused,
    Stopped,
    Retrying,
    Parked,
    Repartitioning,
    Building,
    Incomplete,
    Running,
}

impl State {
    /// The states of a follower, for the help.
    pub(crate) const OF_FOLLOWERS: [Self; 9] = [
        Self::Running,
        Self::Paused,
        Self::Retrying,
        Self::Parked,
        Self::Stopped,
        Self::Repartitioning,
        Self::Retired,
        Self::Diverged,
        Self::Replaced,
    ];

    /// The states of a view, for the help.
    pub(crate) const OF_VIEWS: [Self; 5] = [
        Self::Running,
        Self::Stopped,
        Self::Building,
        Self::Incomplete,
        Self::Diverged,
    ];

    /// Returns the adjective that tables and `--json` show, and its meaning.
    fn describe(self) -> (&'static str, &'static str) {
        match self {
            Self::Running => ("running", "a process runs it"),
            Self::Paused => ("paused", "an operator or a failed policy paused it"),
            Self::Retrying => ("retrying", "a process runs it, and the last attempt failed"),
            Self::Parked => ("parked", "it has parked events, see --parked"),
            Self::Stopped => ("stopped", "no process holds its lease"),
            Self::Repartitioning => ("repartitioning", "it changes its number of partitions"),
            Self::Retired => ("retired", "an operator ended it for good"),
            Self::Diverged => ("diverged", "the log lost the event of its checkpoint"),
            Self::Replaced => ("replaced", "another log has the name of the log"),
            Self::Building => ("building", "readers still see an older version"),
            Self::Incomplete => ("incomplete", "it skipped events"),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        self.describe().0
    }
}

/// Returns a list of states with their meanings, for the help.
pub(crate) fn help(states: &[State]) -> String {
    let states = states.iter().map(|it| it.describe());
    let lines: Vec<_> = states
        .map(|(name, meaning)| format!("  {name:<14}  {meaning}"))
        .collect();
    lines.join("\n")
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// All states of a follower or of a view, each with its reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct States(Vec<(State, Option<String>)>);

impl States {
    /// Adds a state that needs no reason.
    pub(crate) fn add(&mut self, state: State) {
        self.0.push((state, None));
        self.0.sort_by_key(|(state, _)| *state);
    }

    /// Adds a state with its reason.
    pub(crate) fn add_with(&mut self, state: State, reason: impl Into<String>) {
        self.0.push((state, Some(reason.into())));
        self.0.sort_by_key(|(state, _)| *state);
    }

    /// Returns whether no state was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the most important state.
    pub(crate) fn first(&self) -> State {
        self.0.first().map_or(State::Running, |(state, _)| *state)
    }
}

impl fmt::Display for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str(State::Running.name());
        }
        for (index, (state, reason)) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            f.write_str(state.name())?;
            if let Some(reason) = reason {
                write!(f, ": {}", one_line(reason))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_important_state_is_first() {
        let mut states = States::default();
        assert_eq!(states.to_string(), "running");
        assert_eq!(states.first(), State::Running);
        states.add(State::Parked);
        states.add(State::Stopped);
        states.add_with(State::Paused, "stock\ttaking");
        assert_eq!(states.to_string(), "paused: stock taking; stopped; parked");
        assert_eq!(states.first(), State::Paused);
    }
}
