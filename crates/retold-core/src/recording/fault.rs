//! Faults that can occur in any call: a driver's failure, corrupt data, a caller's mistake.
//! [`RecordError`](super::error::RecordError) contains them and documents what each means for an
//! append.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// A driver's error, with the operation that failed.
#[derive(Clone)]
pub struct Failure {
    what: String,
    source: Arc<dyn StdError + Send + Sync + 'static>,
}

impl Failure {
    /// Creates a failure of the operation `what`, for example "opening dogs.db".
    pub fn new(what: impl Into<String>, source: impl StdError + Send + Sync + 'static) -> Self {
        Self {
            what: what.into(),
            source: Arc::new(source),
        }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure")
            .field("what", &self.what)
            .field("source", &self.source)
            .finish()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.source)
    }
}

impl StdError for Failure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.source)
    }
}

/// Stored data that differs from what was written: its place, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stored data is corrupt: {place}: {what}")]
pub struct Corrupt {
    place: String,
    what: String,
}

impl Corrupt {
    /// Describes what is wrong at a place, for example "event at 17".
    pub fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            what: what.into(),
        }
    }

    /// Returns the place.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Returns what is wrong there.
    pub fn what(&self) -> &str {
        &self.what
    }
}

/// A mistake of the caller: which limit or argument, and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid: {reason}")]
pub struct Invalid {
    reason: String,
}

impl Invalid {
    /// Creates the error with a reason: a complete sentence without a period.
    pub fn new(reason: String) -> Self {
        Self { reason }
    }

    /// Returns the reason, a sentence without a period.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}
