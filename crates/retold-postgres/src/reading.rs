//! Reading: pages of events, processed ranges of followers and snapshots.

pub(crate) mod page;
pub(crate) mod processed_ranges;
pub(crate) mod snapshots;

pub(crate) mod verify;
