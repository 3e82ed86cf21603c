//! Limits and defaults of systems, in one place.

use std::time::Duration;

use crate::recording::limits::Limits;

/// Number of upstream events that a follower reads at once. Bounds memory, and the time until it
/// notices a stop.
pub const FOLLOW_PAGE_EVENTS: usize = 500;

/// Maximum number of upstream events that one append can cover, even if a follower allows more.
/// Beyond it, a conflict costs more than a larger append saves.
pub const BATCH_MAX: usize = 1_000;

/// Number of upstream events without effect after which a follower records its progress, unless it
/// has recorded something before. At most this many are processed again after a crash.
pub const UNFLUSHED_EVENTS_MAX: u64 = 1_000;

/// Number of reads and processed ranges after which a follower's append is full. It is half of what
/// every recorder accepts in one append, so that there is room for those of the last upstream
/// event.
pub const READS_PER_APPEND_MAX: usize = Limits::LEAST.append_conditions / 2;

/// Number of effects after which a follower's append is full, for the same reason.
pub const EFFECTS_PER_APPEND_MAX: usize = Limits::LEAST.append_events / 2;

/// Bytes of effects after which a follower's append is full, for the same reason.
pub const EFFECTS_SIZE_MAX: usize = Limits::LEAST.append_size / 2;

/// Maximum number of partitions of a follower. Each reads everything that is followed, so more
/// partitions cost more than they gain.
pub const PARTITIONS_MAX: u32 = 64;

/// Maximum number of events that a follower can have parked at once. One more stops the follower,
/// because so large a number indicates a fault that must be fixed.
pub const PARKED_MAX: usize = 10_000;

/// Longest name of a follower, in bytes. With its generation and partition it forms a follower key,
/// and with its prefix the name of a stream.
pub const FOLLOWER_NAME_SIZE_MAX: usize = 200;

/// Longest key of a timer, in bytes. With its prefix it forms the name of a stream.
pub const TIMER_KEY_SIZE_MAX: usize = 200;

/// Maximum number of pending timers of an application. More cannot be tracked.
pub const TIMERS_PENDING_MAX: usize = 1_000_000;

/// Longest error text that is recorded with a parked event or a stopped follower, in bytes.
pub const FAILURE_SIZE_MAX: usize = 4 * 1024;

/// How long a policy may take to process one event, unless its follower sets another limit. A
/// policy decides on states that are in memory or are read in milliseconds; a store that does not
/// respond times out before this.
pub const POLICY_TIME_MAX: Duration = Duration::from_secs(60);

/// How long an outbox that a runner drains may take to deliver one event, unless it sets another
/// limit. It is longer than the time limits of most external services.
pub const DELIVERY_TIME_MAX: Duration = Duration::from_secs(60);

/// Number of events that followers may process as a result of one command in a single thread before
/// the runner assumes an endless cycle, unless set otherwise.
pub const STEPS_MAX_DEFAULT: u64 = 1_000_000;

/// How long a follower waits before its first retry after its store failed. The wait doubles with
/// each consecutive failure.
pub const BACK_OFF_MIN: Duration = Duration::from_millis(10);

/// The longest wait between retries.
pub const BACK_OFF_MAX: Duration = Duration::from_secs(5);

/// Number of processes that run the same system in a simulation, unless set otherwise. Two
/// processes show every race that more would.
pub const SIMULATED_PROCESSES_DEFAULT: usize = 2;

/// How often a runner in one process announces that it runs its followers, timers and views, with a
/// small write to the store for each of them.
pub const PRESENCE_INTERVAL: Duration = Duration::from_secs(60);

/// How long a killed process is still considered present.
pub const PRESENCE_TIME_TO_LIVE: Duration = Duration::from_secs(180);

/// Number of events that an outbox reads at once. Bounds memory.
pub const OUTBOX_PAGE_EVENTS: usize = 100;

/// Number of events per page that a wait for everything that an event caused reads in its search
/// for effects.
pub const CAUSED_PAGE_EVENTS: usize = 500;

/// Number of events after which such a search is given up: an event that causes this many while it
/// is waited for has started an endless cycle.
pub const CAUSED_EVENTS_MAX: usize = 1_000_000;
