//! Snapshots as the recorder stores them: a state's bytes at a version of its stream.

use std::sync::Arc;

use bytes::Bytes;

use super::checksum;
use super::encoding::Encoding;
use super::fault::Invalid;
use super::identity::{LogId, Version};
use super::limits::{Limits, check_name};
use crate::domain::Timestamp;

/// A state at a version of its stream. It is only an optimization: only the events are the truth,
/// so a snapshot may be missing, and a reader must check that it has the expected type and
/// revision.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredSnapshot {
    /// Name of the stream.
    pub stream: Arc<str>,
    /// The version of the last event that the state includes.
    pub version: Version,
    /// The stable name of the state's type.
    pub state_type: Arc<str>,
    /// The version number of the state's shape and of the rules that folded it.
    pub revision: u32,
    /// The time when it was taken.
    pub time: Timestamp,
    /// How the payload was encoded.
    pub encoding: Encoding,
    /// The state, encoded.
    pub payload: Bytes,
    /// How many subjects the process had seen forgotten when it folded the state. Not stored: a
    /// protected log does not keep the state if it has seen more by now.
    pub(crate) forgets: u64,
}

impl StoredSnapshot {
    /// Creates a snapshot of revision 1, in JSON, taken at time 0.
    pub fn new(
        stream: impl Into<Arc<str>>,
        version: Version,
        state_type: impl Into<Arc<str>>,
        payload: impl Into<Bytes>,
    ) -> Self {
        Self {
            stream: stream.into(),
            version,
            state_type: state_type.into(),
            revision: 1,
            time: Timestamp::default(),
            encoding: Encoding::JSON,
            payload: payload.into(),
            forgets: 0,
        }
    }

    /// Returns the checksum that a store keeps with the snapshot, over all its fields and the id of
    /// its log.
    pub fn checksum(&self, log: LogId) -> u64 {
        checksum::of_pieces([
            &log.uuid().as_bytes()[..],
            self.stream.as_bytes(),
            &self.version.get().to_le_bytes(),
            self.state_type.as_bytes(),
            &self.revision.to_le_bytes(),
            &self.time.as_micros().to_le_bytes(),
            self.encoding.as_str().as_bytes(),
            &self.payload,
        ])
    }

    /// Returns whether this is the snapshot that was stored with this checksum. If not, the store
    /// logs an error and treats the snapshot as missing, and the state is folded from its events.
    pub fn is_intact(&self, log: LogId, checksum: u64) -> bool {
        let is_intact = self.checksum(log) == checksum;
        if !is_intact {
            tracing::error!(stream = %self.stream, version = self.version.get(),
                "a snapshot is corrupt; it is ignored");
        }
        is_intact
    }

    /// Checks names and size. Every recorder calls this before it writes.
    ///
    /// # Errors
    ///
    /// [`Invalid`] with the reason.
    pub fn check(&self, limits: &Limits) -> Result<(), Invalid> {
        check_name("stream name", &self.stream)?;
        check_name("state type", &self.state_type)?;
        if self.payload.len() > limits.payload_size {
            return Err(Invalid::new(format!(
                "a snapshot has {} bytes; at most {} are allowed",
                self.payload.len(),
                limits.payload_size
            )));
        }
        Ok(())
    }
}
