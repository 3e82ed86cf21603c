//! The limits and defaults of runners.

use std::time::Duration;

pub use retold_core::following::limits::{PRESENCE_INTERVAL, PRESENCE_TIME_TO_LIVE};

/// Default interval at which a follower that waits for news checks the logs by itself. Stores wake
/// it with hints or poll by themselves; this covers a lost hint, a log that was restored from a
/// copy, and clocks that are moved by hand.
pub const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Default time for which a follower that has nothing left to read holds back events processed
/// without effects before it records its checkpoint, so that a log in which few events concern it
/// does not cost a sync for each event. After a crash those events are processed again, which is
/// harmless.
pub const FLUSH_DELAY: Duration = Duration::from_millis(50);

/// The same delay if no policy was called, because the follower only passed over events for which
/// it has no policy. Passing over them again costs one index lookup, so recording this is less
/// urgent.
pub const PASSED_FLUSH_DELAY: Duration = Duration::from_secs(5);

/// Minimum time between two checks of a follower's own log for operators' acts; each append of its
/// application may be one. Bounds the cost that a busy application causes its followers.
pub const OWN_LOG_INTERVAL: Duration = Duration::from_millis(20);

/// Default interval at which a follower that cannot continue, because a log has diverged or is
/// corrupt, retries: time alone rarely fixes that. An operator's act makes it retry immediately.
pub const FAILED_INTERVAL: Duration = Duration::from_secs(30);

/// Minimum time between two checks for operators' acts on a follower that cannot continue.
pub const FAILED_LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// How often a task checks whether a running policy has reached its time limit, or an operator has
/// acted on its follower meanwhile; also how long such a check may take.
pub const POLICY_LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// How often a thread looks for policies that are late or block their threads, to report them.
pub const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// How long a follower waits the first time that another process overtakes it. The wait doubles
/// each further time. It is about the duration of an append, so that the other process gets ahead.
pub const STANDBY_MIN: Duration = Duration::from_millis(20);

/// The longest such wait: for this long no process does the work if the other one dies.
pub const STANDBY_MAX: Duration = Duration::from_secs(1);

/// Followers in one process that decide on the same aggregate or query take turns once they have
/// overtaken each other. This is how long a follower waits while none of them gets a turn, before
/// it decides without one. A turn takes about as long as an append; a longer one is held up by a
/// policy or a store that does not return.
pub const TURN_HELD_MAX: Duration = Duration::from_secs(1);

/// Default time for which a stop waits for the followers to finish their current page.
pub const STOP_WAIT_MAX: Duration = Duration::from_secs(10);

/// How often a caller that waits for a follower polls the log when another process does the work.
pub const WAIT_LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// The same interval when this process does the work: the caller is then notified, and polls only
/// in case the notification is lost.
pub const WAIT_LOOK_INTERVAL_HERE: Duration = Duration::from_secs(1);

/// The number of events per page when checking whether another process has any left to process.
pub const LEFT_PAGE_EVENTS: usize = 100;

/// Minimum time between two checks for new timers in the log of a busy application; a timer may
/// fire this much late.
pub const TIMERS_READ_INTERVAL: Duration = Duration::from_millis(10);

/// How old the heads of the logs can be when a lag is returned, so that a service can ask for it
/// with each request.
pub const LAG_AGE_MAX: Duration = Duration::from_millis(100);

/// Default time to live of a cluster's leases, counted from the last renewal. For this long, no
/// node does the work of a node that died. A node that is held up for this long, by its scheduler
/// or its store, is considered dead, which costs a takeover and nothing else.
pub const LEASE_TIME_TO_LIVE: Duration = Duration::from_secs(5);

/// Default time to live of the lease that a runner in one process holds while it drains an outbox.
/// After the process was killed, the outbox is not drained for this long.
pub const OUTBOX_TIME_TO_LIVE: Duration = LEASE_TIME_TO_LIVE;

/// Minimum time between two looks at the lease of an outbox that another process drains.
pub const OUTBOX_LOOK_MIN: Duration = Duration::from_millis(20);

/// Minimum time to live of a lease: there must be time for several renewals, each a durable write.
pub const LEASE_TIME_TO_LIVE_MIN: Duration = Duration::from_millis(300);

/// Default interval at which a node looks at the leases of all nodes: one read of a few rows. A
/// unit that was handed over has no holder for at most two looks and a few calls.
pub const LEASE_LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// The number of leases that a node asks for at a time: enough for a slow store, and no burden on a
/// busy one.
pub const LEASE_CALLS_MAX: usize = 8;

/// The number of leases that are read at once.
pub const LEASE_PAGE: usize = 1_000;

/// How long a node keeps a unit that belongs on another node which did not take it, as a multiple
/// of the leases' time to live. After that, the other node can try again: if it does not even know
/// the unit, no node works on the unit for one time to live.
pub const ADOPTION_TIMES_TO_LIVE: u32 = 10;

/// How long a unit must be free before it is taken again by a node that gave it up because its
/// program does not know the next event, as a multiple of the leases' time to live. Nodes that may
/// know the event take it after one time to live.
pub const HELD_TIMES_TO_LIVE: u32 = 3;

/// How recently a node must have looked at its leases to count as working, as a multiple of their
/// time to live. A look consists of several calls, each of which is given up after a third of the
/// time to live.
pub const HEALTH_LOOK_TIMES_TO_LIVE: u32 = 6;

/// How long a health check waits for a log to be read: orchestrators ask every few seconds, and by
/// default wait one second for a response.
pub const HEALTH_READ_MAX: Duration = Duration::from_millis(800);

/// Minimum time between two notes in which a node records a unit's failures for other processes,
/// each a durable write: readers want the last one, and a unit that fails often should not keep its
/// store busy with notes.
pub const NOTE_INTERVAL: Duration = Duration::from_secs(1);

/// The maximum number of nodes of a cluster.
pub const NODES_MAX: usize = 1_000;

/// The maximum length of a node's name in bytes: together with the id that the node gets when it
/// joins, it must fit into the name of a lease's holder.
pub const NODE_NAME_MAX: usize = 200;

/// Time limit for a call with which a runner in one process announces that it runs a job, and for
/// withdrawing the announcements when it stops.
pub const PRESENCE_CALL_MAX: Duration = Duration::from_secs(2);

/// Pause between two pages of a view that catches up. A page is processed on a thread of the
/// runtime, which meanwhile runs neither its timers nor the tasks that write.
pub const VIEW_PAGE_PAUSE: Duration = Duration::from_millis(1);
