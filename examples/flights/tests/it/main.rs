//! Tests of the flights example, as one binary.

#![allow(clippy::unwrap_used, reason = "a failing test reports the line")]

mod airframes;
mod following;
mod itineraries;
mod killed;
mod notices;
mod reading;
mod replaying;
mod rules;
mod simulated;

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
