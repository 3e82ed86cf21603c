//! Tests of the Paxos example, as one binary.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod agreement;
mod invariants;
mod rules;
mod simulation;
mod steps;
mod store;
