//! The limits and defaults of applications, in one place.

/// Aggregates an application keeps in memory unless told otherwise.
pub const CACHE_SIZE_DEFAULT: usize = 1_000;

/// How often a command is decided again because others were faster, unless told otherwise. Every
/// such conflict means that somebody else's append was recorded, so this is how many others may
/// overtake a command before it is given up.
pub const RETRIES_DEFAULT: u32 = 1_000;

/// Most appends of one aggregate that are on their way, each decided on those before it. Further commands
/// wait until the last of them is recorded.
pub const LANE_APPENDS_MAX: usize = 128;

/// How often a command that contends for an aggregate decides and finds another command faster before it
/// decides while the others wait.
pub const LANE_LOOKS_MAX: u32 = 4;

/// How often the same append is sent while its outcome is unknown, before the caller is told so.
pub const SETTLE_ATTEMPTS_MAX: u32 = 10;

/// Events read at once when a state is folded. Bounds memory, not the length of a stream.
pub const FOLD_PAGE_EVENTS: usize = 1_000;

/// Names of aggregates read at once, unless told otherwise.
pub const AGGREGATES_PAGE: usize = 1_000;

/// Commits kept for a subscriber in process that has fallen behind; it misses older ones and is told
/// how many. Counted, not weighed: they hold the payloads of as many appends, of whatever size.
pub const COMMITS_KEPT: usize = 1_024;

/// Publications of an event bus kept for a subscriber that has fallen behind; it misses older ones and
/// is told how many.
pub const PUBLICATIONS_KEPT: usize = 1_024;

/// Longest text of a command id, in bytes; the shortest has one.
pub const COMMAND_ID_SIZE_MAX: usize = 255;
