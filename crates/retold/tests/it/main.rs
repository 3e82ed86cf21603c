//! Tests of the facade as programs use it: derives, compile errors, whole applications.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue fails")]

mod application;
mod blocking;
mod contention;
mod derive;
mod first_program;
#[cfg(all(feature = "schema", feature = "protection"))]
mod fuzz;
mod open;
#[cfg(feature = "protection")]
mod protection;
mod runtimes;
mod subscribing;
mod system;
mod ui;

/// The seed of a random test, printed so that the test can be repeated.
fn seed() -> u64 {
    let seed = std::env::var("RETOLD_SEED").map_or_else(
        |_| fastrand::u64(..),
        |seed| seed.parse().expect("RETOLD_SEED is a number"),
    );
    println!("RETOLD_SEED={seed}");
    seed
}
