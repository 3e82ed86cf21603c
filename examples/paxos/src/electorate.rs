//! The electorate: the number of participants, their names, and the size of a majority.

use retold::prelude::*;
use retold::recording::Invalid;

/// Maximum number of participants in an electorate. Every participant follows every other, so the
/// work grows quadratically, and everything that one reaction reads must fit into one append.
pub const PARTICIPANTS_MAX: u32 = 9;

/// The participants of an agreement: an odd number, any two majorities of which have a participant
/// in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Electorate {
    participants: u32,
}

/// A participant in its role as proposer: its index, and the number of acceptors it needs.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_structs,
    reason = "its fields are the recorded format"
)]
pub struct Candidate {
    /// Index of the participant, from 0.
    pub index: u32,
    /// Number of acceptors in a majority.
    pub majority: u32,
}

impl Electorate {
    /// Creates an electorate of this many participants.
    ///
    /// # Errors
    ///
    /// [`Invalid`] if the number is even, because one participant fewer would tolerate as many
    /// failures, or above [`PARTICIPANTS_MAX`].
    pub fn of(participants: u32) -> Result<Self, Invalid> {
        if participants.is_multiple_of(2) || participants > PARTICIPANTS_MAX {
            return Err(Invalid::new(format!(
                "there cannot be {participants} participants; \
                 choose an odd number up to {PARTICIPANTS_MAX}"
            )));
        }
        Ok(Self { participants })
    }

    /// Creates the smallest electorate that tolerates this number of failures.
    ///
    /// # Errors
    ///
    /// As for [`of`](Self::of).
    pub fn tolerating(failures: u32) -> Result<Self, Invalid> {
        Self::of(failures.saturating_mul(2).saturating_add(1))
    }

    /// Returns the number of participants.
    pub fn participants(&self) -> u32 {
        self.participants
    }

    /// Returns the size of a majority.
    pub fn majority(&self) -> u32 {
        self.participants / 2 + 1
    }

    /// Returns the number of participants that may be down while the others still agree.
    pub fn failures_tolerated(&self) -> u32 {
        self.participants - self.majority()
    }

    /// Returns the names of the participants, and of their applications, in order.
    pub fn names(&self) -> impl Iterator<Item = String> + use<> {
        (0..self.participants).map(participant)
    }

    /// Returns the participant of this name in its role as proposer.
    ///
    /// # Errors
    ///
    /// [`Invalid`] if there is no such participant. The error lists the participants.
    pub fn candidate(&self, name: &str) -> Result<Candidate, Invalid> {
        let index = (0..self.participants).find(|index| participant(*index) == name);
        match index {
            Some(index) => Ok(Candidate {
                index,
                majority: self.majority(),
            }),
            None => Err(Invalid::new(format!(
                "{name:?} is not a participant; the participants are {:?}",
                self.names().collect::<Vec<_>>()
            ))),
        }
    }
}

/// Returns the name of the participant with this index, from 0.
pub fn participant(index: u32) -> String {
    format!("participant-{index}")
}
