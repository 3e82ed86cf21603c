//! Reading: pages of events, processed ranges of followers, snapshots, and the verification of a
//! file. The modules are in order; each uses only those above it.

pub(crate) mod matches;
pub(crate) mod processed_ranges;
pub(crate) mod readers;

pub(crate) mod event_row;

pub(crate) mod page;

pub(crate) mod snapshots;
pub(crate) mod streams;

pub(crate) mod verify;
