//! The limits and defaults of applications, in one place.

/// Number of aggregates that an application keeps in memory, by default.
pub const CACHE_SIZE_DEFAULT: usize = 1_000;

/// Number of times a command is retried after a conflict, by default. Every conflict means that
/// another append was recorded first, so a command fails only when more appends than this have
/// overtaken it.
pub const RETRIES_DEFAULT: u32 = 1_000;

/// Maximum number of pending appends of one aggregate, each decided on the state after the one
/// before it. Further commands wait until the last of them is recorded.
pub const LANE_APPENDS_MAX: usize = 128;

/// Number of times a command that contends for an aggregate can decide and be overtaken; then it
/// decides while the other commands wait.
pub const LANE_LOOKS_MAX: u32 = 4;

/// Number of times the same append is sent, in total, while its outcome is unknown; then the error
/// is returned.
pub const SETTLE_ATTEMPTS_MAX: u32 = 10;

/// Number of events per read when a state is folded. It limits memory, not the length of a stream.
pub const FOLD_PAGE_EVENTS: usize = 1_000;

/// Maximum number of versions of a stream that an amender erases in one append. Other appends wait
/// while it is recorded, which takes tens of milliseconds.
pub const ERASED_PART_MAX: u64 = 1_000;

/// Number of ids of aggregates per page, by default.
pub const AGGREGATES_PAGE: usize = 1_000;

/// Number of commits kept for a subscriber in the process that has fallen behind. It misses older
/// ones, and learns how many. The limit is a count, not a size: the kept commits hold the payloads
/// of that many appends, however large.
pub const COMMITS_KEPT: usize = 1_024;

/// Number of publications of an event bus kept for a subscriber that has fallen behind. It misses
/// older ones, and learns how many.
pub const PUBLICATIONS_KEPT: usize = 1_024;

/// Maximum length of a command id, in bytes; the minimum is one.
pub const COMMAND_ID_SIZE_MAX: usize = 255;

/// Maximum size of the texts that say who amends events and why, in bytes; the minimum is one.
pub const AMENDING_TEXT_SIZE_MAX: usize = 1_024;

/// Number of events per page when a stream is read to be erased.
pub(crate) const AMENDING_PAGE_EVENTS: usize = 1_000;
