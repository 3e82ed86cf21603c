//! The limits and defaults of simulations, in one place.

use std::time::Duration;

/// Steps under faults, unless told otherwise. Enough for each of a dozen actors to be overtaken at
/// each of its calls; more seeds find more than longer runs.
pub const STEPS_DEFAULT: u64 = 1_000;

/// Steps without faults and without progress after that, before a run is said to make no progress, unless
/// told otherwise. Several processes that compete for an append need far fewer until one of them records
/// it.
pub const CALM_STEPS_DEFAULT: u64 = 20_000;

/// Appends of followers that count as progress in the calm for each append of a command or timer in the
/// run. More are not what the inputs caused but an endless cycle, perhaps.
pub const EFFECT_APPENDS_PER_INPUT: u64 = 1_000;

/// Most steps of a calm, whatever progress is made: actors that never end are found by this.
pub const CALM_STEPS_MAX: u64 = 10_000_000;

/// Lines of a trace, unless told otherwise: what a person reads through.
pub const TRACE_ENTRIES_DEFAULT: usize = 60;

/// How far the clock moves with each step: about what a call of a store takes.
pub const STEP_TIME: Duration = Duration::from_millis(1);

/// How far the clock jumps forward at most: beyond the end of any lease.
pub const CLOCK_FORWARD_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How far the clock jumps back at most: what a wall clock does that is set right.
pub const CLOCK_BACK_MAX: Duration = Duration::from_secs(60 * 60);
