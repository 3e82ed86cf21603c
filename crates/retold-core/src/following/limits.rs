//! The limits and defaults of systems, in one place.

use std::time::Duration;

use crate::recording::limits::Limits;

/// Upstream events that a follower reads at once. Bounds memory, and the time until a stop is noticed.
pub const FOLLOW_PAGE_EVENTS: usize = 500;

/// Most upstream events that one append may cover, whatever a follower asks for: beyond it a conflict
/// costs more than a further sync saves.
pub const BATCH_MAX: usize = 1_000;

/// Upstream events without effect after which a follower records how far it is, if nothing else made
/// it record before: as much is looked at again after a crash.
pub const UNFLUSHED_EVENTS_MAX: u64 = 1_000;

/// Reads and stretches after which a follower's append is full. Half of what every recorder accepts
/// in one append, so that the last upstream event has room for its own.
pub const READS_PER_APPEND_MAX: usize = Limits::LEAST.append_conditions / 2;

/// Effects after which a follower's append is full, for the same reason.
pub const EFFECTS_PER_APPEND_MAX: usize = Limits::LEAST.append_events / 2;

/// Bytes of effects after which a follower's append is full, for the same reason.
pub const EFFECTS_SIZE_MAX: usize = Limits::LEAST.append_size / 2;

/// Most partitions of a follower: each reads all that is followed, so more cost more than they share.
pub const PARTITIONS_MAX: u32 = 64;

/// Most events that a follower has parked at once; one more stops it, since whoever has so many has
/// a fault to mend and not a queue to fill.
pub const PARKED_MAX: usize = 10_000;

/// Longest name of a follower, in bytes: with its generation and partition it makes a follower key,
/// and with its prefix the name of a stream.
pub const FOLLOWER_NAME_SIZE_MAX: usize = 200;

/// Longest key of a timer, in bytes: with its prefix it makes the name of a stream.
pub const TIMER_KEY_SIZE_MAX: usize = 200;

/// Timers of an application that may be pending at once; one more cannot be watched.
pub const TIMERS_PENDING_MAX: usize = 1_000_000;

/// Longest text of an error that is recorded with a parked event or a stopped follower, in bytes.
pub const FAILURE_SIZE_MAX: usize = 4 * 1024;

/// How long a policy may take to answer one event, unless its follower says otherwise. A policy decides on
/// states that are in memory or are read in milliseconds; a store that does not answer gives up before
/// this.
pub const POLICY_TIME_MAX: Duration = Duration::from_secs(60);

/// How long an outbox that a runner drains may take to deliver one event, unless it says otherwise: longer
/// than the time limits of most services that are called.
pub const DELIVERY_TIME_MAX: Duration = Duration::from_secs(60);

/// Reactions that one command may cause on a single thread before they are taken for an endless
/// cycle, unless told otherwise.
pub const STEPS_MAX_DEFAULT: u64 = 1_000_000;

/// How long a follower that failed for want of its store waits before it tries again the first time.
/// Doubled with every failure in a row.
pub const BACK_OFF_MIN: Duration = Duration::from_millis(10);

/// The longest it waits.
pub const BACK_OFF_MAX: Duration = Duration::from_secs(5);

/// Processes that run the same system in a simulation, unless told otherwise: two show every race
/// between processes that more would.
pub const SIMULATED_PROCESSES_DEFAULT: usize = 2;

/// How often a runner in one process shows that it has its followers, timers and views: a small write to the store
/// for each of them.
pub const PRESENCE_INTERVAL: Duration = Duration::from_secs(60);

/// For this long a process that was killed is still seen.
pub const PRESENCE_TIME_TO_LIVE: Duration = Duration::from_secs(180);

/// Events that an outbox reads at once. Bounds memory.
pub const OUTBOX_PAGE_EVENTS: usize = 100;
