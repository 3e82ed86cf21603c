//! Ballots: the unique, ordered numbers of proposals.

use std::fmt;

use retold::prelude::*;

/// The number of a proposal, ordered by round, then by proposer. Each proposer uses its own
/// ballots, so no two proposals have the same number.
#[derive(
    Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default,
)]
#[allow(
    clippy::exhaustive_structs,
    reason = "a ballot has exactly these fields"
)]
pub struct Ballot {
    /// Round, from 1.
    pub round: u32,
    /// Index of the proposer, from 0.
    pub proposer: u32,
}

impl Ballot {
    /// Creates the ballot of this round and proposer index.
    pub const fn new(round: u32, proposer: u32) -> Self {
        Self { round, proposer }
    }

    /// Returns the lowest ballot of a proposer that is above `seen`, or its first ballot if it has
    /// seen none.
    pub fn above(seen: Option<Self>, proposer: u32) -> Self {
        match seen {
            None => Self::new(1, proposer),
            Some(seen) if seen.proposer < proposer => Self::new(seen.round, proposer),
            Some(seen) => Self::new(seen.round.saturating_add(1), proposer),
        }
    }
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.round, self.proposer)
    }
}
