//! Tests of the Paxos example, as one binary.

#![allow(clippy::unwrap_used, reason = "a failing test reports the line")]

mod agreement;
mod cluster;
mod invariants;
mod rules;
mod simulation;
mod steps;
mod store;

/// Returns a random seed and prints it, so that it can be set again.
fn seed() -> u64 {
    let given = std::env::var("RETOLD_SEED").ok();
    let seed = given.map_or_else(
        || u64::from(fastrand::u32(..)),
        |text| text.parse().expect("RETOLD_SEED is a number"),
    );
    eprintln!("to repeat: RETOLD_SEED={seed}");
    seed
}
