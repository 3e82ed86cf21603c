//! The limits and defaults of recording, in one place.

use std::time::Duration;

use super::fault::Invalid;

/// Maximum size of the name of a log, stream, tag or topic, in bytes of UTF-8; the minimum is one.
pub const NAME_SIZE_MAX: usize = 255;
/// Maximum size of an encoding's text, a snapshot's state type, or a lease's name or holder, in
/// bytes.
pub const LABEL_SIZE_MAX: usize = 255;
/// Maximum number of tags of an event.
pub const TAGS_MAX: usize = 64;
/// Maximum number of items in a query.
pub const QUERY_ITEMS_MAX: usize = 64;
/// Maximum number of names (streams, topics and tags together) in an item of a query.
pub const QUERY_NAMES_MAX: usize = 64;
/// Maximum size of an event's metadata, in bytes.
pub const METADATA_SIZE_MAX: usize = 64 * 1024;
/// Maximum number of events on a page of a read; a higher requested limit is reduced to it.
pub const PAGE_EVENTS_MAX: usize = 10_000;
/// A page of a read ends with the event that brings its payloads and metadata to this size, in
/// bytes, so that a page of large events does not use up memory.
pub const PAGE_SIZE_MAX: usize = 64 * 1024 * 1024;
/// Maximum number of names on a page of streams, logs or processed ranges.
pub const PAGE_NAMES_MAX: usize = 10_000;
/// Maximum number of snapshots kept for one stream. When there is one more, the snapshot of the
/// lowest version is dropped.
pub const SNAPSHOTS_PER_STREAM_MAX: usize = 16;
/// How far the renewal of a lease may be ahead of the store's clock. A lease that is further ahead
/// is ignored, because the clock was set back. Clocks that are adjusted gradually, and the clocks
/// of several processes on one host, differ by less.
pub const LEASE_CLOCK_BACK_MAX: Duration = Duration::from_secs(1);
/// Maximum number of findings that a verification keeps; further ones are only counted, so that a
/// badly damaged log does not use up memory.
pub const FINDINGS_MAX: usize = 1_000;
/// Maximum number of amendments in an append.
pub const AMENDMENTS_MAX: usize = 1_000;
/// Maximum number of versions of streams that the amendments of an append erase, so that an append
/// does not delay others for long.
pub const ERASED_EVENTS_MAX: u64 = 10_000;
/// The prefix of topics and stream types that belong to the library.
pub const RESERVED_PREFIX: &str = "retold.";

const _: () = assert!(
    NAME_SIZE_MAX <= u8::MAX as usize,
    "a packed tag has a length of one byte"
);

/// The limits of a recorder. A value equal to its limit is accepted; a higher one is `Invalid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Maximum number of events in an append.
    pub append_events: usize,
    /// Maximum number of conditions and processed ranges in an append, together.
    pub append_conditions: usize,
    /// Maximum size of an append's payloads and metadata together, in bytes.
    pub append_size: usize,
    /// Maximum size of an event's payload, in bytes.
    pub payload_size: usize,
}

impl Limits {
    /// The limits of a recorder unless its database allows less.
    pub const DEFAULT: Self = Self {
        append_events: 10_000,
        append_conditions: 10_000,
        append_size: 64 * 1024 * 1024,
        payload_size: 16 * 1024 * 1024,
    };

    /// The lowest limits that a recorder may have, with any database: a program that stays within
    /// them runs on all stores.
    pub const LEAST: Self = Self {
        append_events: 1_000,
        append_conditions: 1_000,
        append_size: 4 * 1024 * 1024,
        payload_size: 1024 * 1024,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Checks the name of a log, stream, tag or topic: 1 to [`NAME_SIZE_MAX`] bytes, no control
/// characters.
///
/// `what` names it in the error, for example "stream name".
///
/// # Errors
///
/// [`Invalid`] with the reason.
pub fn check_name(what: &str, name: &str) -> Result<(), Invalid> {
    if name.is_empty() {
        return Err(Invalid::new(format!(
            "a {what} is empty; it needs at least one byte"
        )));
    }
    if name.len() > NAME_SIZE_MAX {
        return Err(Invalid::new(format!(
            "a {what} is {} bytes long; at most {NAME_SIZE_MAX} are allowed: {name:?}",
            name.len(),
        )));
    }
    if let Some(control) = name.chars().find(|it| it.is_control()) {
        return Err(Invalid::new(format!(
            "a {what} has the control character {control:?}: {name:?}"
        )));
    }
    Ok(())
}

/// Checks the size of a payload.
pub(super) fn check_payload_size(size: usize, limits: &Limits) -> Result<(), Invalid> {
    if size > limits.payload_size {
        return Err(Invalid::new(format!(
            "a payload has {size} bytes; at most {} are allowed",
            limits.payload_size
        )));
    }
    Ok(())
}

/// Checks that a page's limit is not zero, and reduces it to at most `max`.
///
/// # Errors
///
/// [`Invalid`] for a limit of 0: paging with it would never advance.
pub fn check_page_limit(limit: usize, max: usize) -> Result<usize, Invalid> {
    if limit == 0 {
        return Err(Invalid::new(
            "a page limit of 0 would never advance; it must be at least 1".into(),
        ));
    }
    Ok(limit.min(max))
}
