//! Tests of the flights example, as one binary.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod airframes;
mod following;
mod itineraries;
mod notices;
mod reading;
mod replaying;
mod rules;
mod simulated;
