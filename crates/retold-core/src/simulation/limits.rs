//! The limits and defaults of simulations, in one place.

use std::time::Duration;

/// Default number of steps under faults. Enough for each of a dozen actors to be overtaken at each
/// of its calls; more seeds find more than longer runs.
pub const STEPS_DEFAULT: u64 = 1_000;

/// Default number of steps without faults and without progress, after which a run fails for lack of
/// progress. Several processes that compete for an append need far fewer until one of them records
/// it.
pub const CALM_STEPS_DEFAULT: u64 = 20_000;

/// Appends of followers that count as progress in the calm for each append of a command or timer in
/// the run. More of them may come from an endless cycle rather than from the inputs.
pub const EFFECT_APPENDS_PER_INPUT: u64 = 1_000;

/// The maximum number of steps of a calm, regardless of progress: it detects actors that never end.
pub const CALM_STEPS_MAX: u64 = 10_000_000;

/// Default number of lines of a trace: as many as a person reads.
pub const TRACE_ENTRIES_DEFAULT: usize = 60;

/// How far the clock moves with each step: about the duration of a store call.
pub const STEP_TIME: Duration = Duration::from_millis(1);

/// The furthest that the clock jumps forward: beyond the end of any lease.
pub const CLOCK_FORWARD_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The furthest that the clock jumps back: like a wall clock that is corrected.
pub const CLOCK_BACK_MAX: Duration = Duration::from_secs(60 * 60);
