//! What can be wrong, whatever was asked: a driver's failure, corrupt data, a caller's mistake. What it
//! means for an append is said by [`RecordError`](super::error::RecordError), which holds these.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// What a driver said, and what was being done.
#[derive(Clone)]
pub struct Failure {
    what: String,
    source: Arc<dyn StdError + Send + Sync + 'static>,
}

impl Failure {
    /// A failure while doing `what`, as in "opening dogs.db".
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

/// Stored data that is not what was written: where, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stored data is corrupt: {place}: {what}")]
pub struct Corrupt {
    place: String,
    what: String,
}

impl Corrupt {
    /// Something wrong at a place, as in "event at 17".
    pub fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            what: what.into(),
        }
    }

    /// Where.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// What is wrong there.
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
    /// The mistake, as a whole sentence without a full stop.
    pub fn new(reason: String) -> Self {
        Self { reason }
    }

    /// What is wrong, as a sentence without a full stop.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}
