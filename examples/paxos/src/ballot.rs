//! Ballots: the numbers of proposals, distinct and ordered.

use std::fmt;

use retold::prelude::*;

/// The number of a proposal. Each proposer has its own, so that no two proposals share one: ordered by
/// round, then by proposer.
#[derive(
    Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default,
)]
#[allow(clippy::exhaustive_structs, reason = "a ballot is these two")]
pub struct Ballot {
    /// From 1.
    pub round: u32,
    /// Index of the proposer, counted from 0.
    pub proposer: u32,
}

impl Ballot {
    /// The ballot with this round of the proposer with this index.
    pub const fn new(round: u32, proposer: u32) -> Self {
        Self { round, proposer }
    }

    /// The least ballot of a proposer that is above `seen`; its first, if it has seen none.
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
