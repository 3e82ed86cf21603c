//! The limits and defaults of simulations, in one place.

use std::time::Duration;

/// Default number of steps under faults. Enough for other calls to come before each call of a dozen
/// actors. More seeds find more than longer runs.
pub const STEPS_DEFAULT: u64 = 1_000;

/// Default number of steps in the calm after which a run fails for lack of progress. Processes that
/// compete for an append need far fewer until one of them has recorded it.
pub const CALM_STEPS_DEFAULT: u64 = 20_000;

/// How many appends of followers count as progress in the calm, for each append of a command or
/// timer in the run. Further ones may be the result of an endless cycle.
pub const EFFECT_APPENDS_PER_INPUT: u64 = 1_000;

/// The maximum number of steps of a calm, regardless of progress, to detect actors that never end.
pub const CALM_STEPS_MAX: u64 = 10_000_000;

/// Default number of lines of a trace: few enough to be read.
pub const TRACE_ENTRIES_DEFAULT: usize = 60;

/// How far the clock moves with each step: about the duration of a store call.
pub const STEP_TIME: Duration = Duration::from_millis(1);

/// The furthest that the clock jumps forward: beyond the end of any lease.
pub const CLOCK_FORWARD_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The furthest that the clock jumps back: like a wall clock that is corrected.
pub const CLOCK_BACK_MAX: Duration = Duration::from_secs(60 * 60);
