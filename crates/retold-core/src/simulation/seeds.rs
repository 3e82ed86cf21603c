//! Many runs, each under a different seed, until one fails.

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::failure::SimulationFailure;
use super::scheduler::said_by;
use super::{Simulation, SimulationReport};

/// The environment variable that repeats a run.
const SEED_VARIABLE: &str = "RETOLD_SEED";

/// Makes `count` runs with consecutive seeds, beginning with a random one. If the environment
/// variable `RETOLD_SEED` is set, makes one run with that seed.
///
/// `run` sets up a simulation, runs it, and returns an error if the result is wrong. It must depend
/// on nothing but the simulation.
///
/// # Panics
///
/// At the first run that fails, with its seed and the end of its trace; and if `RETOLD_SEED` is not
/// a number.
#[track_caller]
pub fn seeds(count: u64, run: impl Fn(&mut Simulation) -> Result<(), String>) {
    let (first, count) = match env::var(SEED_VARIABLE) {
        Ok(text) => match text.parse() {
            Ok(seed) => (seed, 1),
            Err(_) => panic!("{SEED_VARIABLE} is {text:?}, which is not a seed: set a number"),
        },
        // Short enough to type.
        Err(_) => (u64::from(fastrand::u32(..)), count),
    };
    if let Some(failure) = first_failure(first, count, run) {
        panic!("{failure}");
    }
}

/// Makes `count` runs with consecutive seeds, beginning with `first`, until one fails. Returns that
/// failure, if there is one.
pub fn first_failure(
    first: u64,
    count: u64,
    run: impl Fn(&mut Simulation) -> Result<(), String>,
) -> Option<SimulationFailure> {
    (0..count).find_map(|number| run_seed(first.wrapping_add(number), &run).err())
}

/// Makes one run.
///
/// # Errors
///
/// [`SimulationFailure`] if `run` returns an error or panics.
pub fn run_seed(
    seed: u64,
    run: impl Fn(&mut Simulation) -> Result<(), String>,
) -> Result<SimulationReport, SimulationFailure> {
    let mut simulation = Simulation::new(seed);
    match catch_unwind(AssertUnwindSafe(|| run(&mut simulation))) {
        Ok(Ok(())) => Ok(simulation.report()),
        Ok(Err(reason)) => Err(simulation.failure(reason)),
        Err(panic) => Err(simulation.failure(format!("a check panicked: {}", said_by(&*panic)))),
    }
}
