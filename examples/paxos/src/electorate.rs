//! The electorate: how many participants there are, their names, and how many make a majority.

use retold::prelude::*;
use retold::recording::error::Invalid;

/// Most participants of one electorate. Every participant hears every other, so the work grows with
/// their square; and what one reaction reads must fit into one append.
pub const PARTICIPANTS_MAX: u32 = 9;

/// Who agrees: an odd number of participants, of whom any two majorities have one in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Electorate {
    participants: u32,
}

/// A participant as it proposes: who it is, and how many acceptors it needs.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "it is recorded as it is")]
pub struct Candidate {
    /// Index of the participant, counted from 0.
    pub index: u32,
    /// How many acceptors make a majority.
    pub majority: u32,
}

impl Electorate {
    /// So many participants.
    ///
    /// # Errors
    ///
    /// [`Invalid`] if the number is even, for one more would tolerate as many failures, or above
    /// [`PARTICIPANTS_MAX`].
    pub fn of(participants: u32) -> Result<Self, Invalid> {
        if participants.is_multiple_of(2) || participants > PARTICIPANTS_MAX {
            return Err(Invalid::new(format!(
                "{participants} participants cannot be an electorate; choose an odd number up to {PARTICIPANTS_MAX}"
            )));
        }
        Ok(Self { participants })
    }

    /// As many participants as are needed for the others to go on when so many are down.
    ///
    /// # Errors
    ///
    /// As for [`of`](Self::of).
    pub fn tolerating(failures: u32) -> Result<Self, Invalid> {
        Self::of(failures.saturating_mul(2).saturating_add(1))
    }

    /// How many participants there are.
    pub fn participants(&self) -> u32 {
        self.participants
    }

    /// How many of them make a majority.
    pub fn majority(&self) -> u32 {
        self.participants / 2 + 1
    }

    /// How many of them may be down while the others still agree.
    pub fn failures_tolerated(&self) -> u32 {
        self.participants - self.majority()
    }

    /// Names of the participants, and of their applications, in order.
    pub fn names(&self) -> impl Iterator<Item = String> + use<> {
        (0..self.participants).map(participant)
    }

    /// The participant of this name as it proposes.
    ///
    /// # Errors
    ///
    /// [`Invalid`] if there is none, with those that there are.
    pub fn candidate(&self, name: &str) -> Result<Candidate, Invalid> {
        let index = (0..self.participants).find(|index| participant(*index) == name);
        match index {
            Some(index) => Ok(Candidate {
                index,
                majority: self.majority(),
            }),
            None => Err(Invalid::new(format!(
                "{name:?} is no participant; there are {:?}",
                self.names().collect::<Vec<_>>()
            ))),
        }
    }
}

/// Name of the participant with this index, counted from 0.
pub fn participant(index: u32) -> String {
    format!("participant-{index}")
}
