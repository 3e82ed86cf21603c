//! The limits and defaults of runners, in one place.

use std::time::Duration;

pub use retold_core::following::limits::{PRESENCE_INTERVAL, PRESENCE_TIME_TO_LIVE};

/// How often a follower that waits for news looks into the logs by itself, unless told otherwise.
/// Stores wake it by hints or poll by themselves; this is for a hint that was lost nevertheless, for a
/// log that was restored from a copy, and for clocks that are moved by hand.
pub const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How long a follower that has nothing left to read keeps what it answered without effect, unless
/// told otherwise: so that a log in which little concerns it does not cost a sync for each event. That
/// much is answered again after a crash, which is harmless.
pub const FLUSH_DELAY: Duration = Duration::from_millis(50);

/// The same if no policy was asked at all, because only events of types without a policy were passed:
/// looking at them again costs a look into an index, so there is less hurry.
pub const PASSED_FLUSH_DELAY: Duration = Duration::from_secs(5);

/// Least time between two looks at a follower's own log for operators' acts, which each append of its
/// application may be. Bounds what a busy application costs its followers.
pub const OWN_LOG_INTERVAL: Duration = Duration::from_millis(20);

/// How often a follower that cannot go on, because a log has diverged or is corrupt, tries again,
/// unless told otherwise: time alone rarely mends that. An operator's act makes it try at once.
pub const FAILED_INTERVAL: Duration = Duration::from_secs(30);

/// Least time between two looks for operators' acts of a follower that cannot go on.
pub const FAILED_LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// How often it is looked whether a policy that runs has had its time, or an operator has acted on its
/// follower meanwhile; also how long such a look may take.
pub const POLICY_LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// How often a thread looks for policies that are late or keep their threads, to tell of them.
pub const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// How long a follower that was overtaken by another process keeps still the first time. Doubled with
/// every further time. It is about what an append takes, so that the other one gets ahead.
pub const STANDBY_MIN: Duration = Duration::from_millis(20);

/// The longest it keeps still: as long as this nobody works if the other process dies.
pub const STANDBY_MAX: Duration = Duration::from_secs(1);

/// How long a follower that was overtaken waits for another one that has the turn to decide on the same,
/// before it decides without a turn. A turn takes about what an append takes; one that takes longer is held
/// up by a policy or a store that does not return.
pub const TURN_HELD_MAX: Duration = Duration::from_secs(1);

/// How long a stop waits for the followers to finish the page they are at, unless told otherwise.
pub const STOP_WAIT_MAX: Duration = Duration::from_secs(10);

/// How often somebody who waits for a follower asks the log how far it is, when another process does
/// the work.
pub const WAIT_LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// The same when this process does: then it is told, and looks only in case it is not.
pub const WAIT_LOOK_INTERVAL_HERE: Duration = Duration::from_secs(1);

/// Events that are read at once by whoever looks whether another process has any left to answer.
pub const LEFT_PAGE_EVENTS: usize = 100;

/// Events that are read at once by [`wait_for_all_caused`](crate::MultiThread::wait_for_all_caused) in
/// its search for what an event caused.
pub const CAUSED_PAGE_EVENTS: usize = 500;

/// Events beyond which such a search is given up: an event that causes so many while it is waited for
/// has set off an endless cycle.
pub const CAUSED_EVENTS_MAX: usize = 1_000_000;

/// Least time between two looks for new timers in the log of a busy application; a timer may fire so
/// much late.
pub const TIMERS_READ_INTERVAL: Duration = Duration::from_millis(10);

/// How old the heads of the logs may be by which a lag is told, so that it may be asked for with each
/// request of a service.
pub const LAG_AGE_MAX: Duration = Duration::from_millis(100);

/// How long a lease of a cluster lasts after it was renewed, unless told otherwise: so long the work of
/// a node that died is not done. A node must be held up for this long, by its scheduler or its store,
/// to be taken for dead, which costs a takeover and nothing else.
pub const LEASE_TIME_TO_LIVE: Duration = Duration::from_secs(5);

/// How long the lease lasts by which a runner in one process drains an outbox, unless told otherwise: this long
/// an outbox is not drained after the process that drained it was killed.
pub const OUTBOX_TIME_TO_LIVE: Duration = LEASE_TIME_TO_LIVE;

/// Least time between two looks at the lease of an outbox that another process drains.
pub const OUTBOX_LOOK_MIN: Duration = Duration::from_millis(20);

/// The least that a lease may last: there must be time for several renewals, each a durable write.
pub const LEASE_TIME_TO_LIVE_MIN: Duration = Duration::from_millis(300);

/// How often a node looks at everybody's leases, unless told otherwise: one read of a few rows. Bounds,
/// with two looks and some calls, how long a unit is with nobody after it was handed over.
pub const LEASE_LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Leases that a node asks for at a time: enough for a slow store, and no burden to a busy one.
pub const LEASE_CALLS_MAX: usize = 8;

/// Leases that are read at once.
pub const LEASE_PAGE: usize = 1_000;

/// How many times to live a node keeps a unit that belongs on another, which did not take it. Then that
/// one may try again: if it does not even know the unit, nobody works at it for one time to live.
pub const ADOPTION_TIMES_TO_LIVE: u32 = 10;

/// How many times to live a unit must be free before a node takes it that has held it before an event
/// that it does not know: nodes that may know the event take it after one.
pub const HELD_TIMES_TO_LIVE: u32 = 3;

/// Times to live within which a node must look at its leases to be taken for working. A look has several
/// calls, of which each may take a third of one before it is given up.
pub const HEALTH_LOOK_TIMES_TO_LIVE: u32 = 6;

/// How long a health check waits for a log to be read: orchestrators ask every few seconds, and wait for
/// an answer for one by default.
pub const HEALTH_READ_MAX: Duration = Duration::from_millis(800);

/// Least time between two notes of a unit's failures, each a durable write: who looks wants the last one,
/// and a unit that fails often had better not keep its store busy with that.
pub const NOTE_INTERVAL: Duration = Duration::from_secs(1);

/// Most nodes of a cluster.
pub const NODES_MAX: usize = 1_000;

/// Bytes of a node's name: with the id of the node's life it must fit into the name of a lease's holder.
pub const NODE_NAME_MAX: usize = 200;

/// How long one call may take by which a runner shows what it has; a stop waits for it at most.
pub const PRESENCE_CALL_MAX: Duration = Duration::from_secs(2);

/// Pause between two pages of a view that catches up. A page is worked through on a thread of the
/// runtime, which meanwhile looks neither at its timers nor at those who write.
pub const VIEW_PAGE_PAUSE: Duration = Duration::from_millis(1);
