//! Reading: pages of events, ranges of followers and snapshots.

pub(crate) mod page;
pub(crate) mod snapshots;
pub(crate) mod stretches;

pub(crate) mod verify;
