//! Reads from standbys, each of which replays its primary's records at its own pace.
//!
//! A URL may name several standbys, so a reader may reach one that has not yet replayed a position
//! that the reader has read from another. That is lag and passes. Another event at the position of
//! a checkpoint is divergence, on every server; and so is a primary whose log ends before the
//! checkpoint.

use std::time::Instant;

use retold_core::recording::{Checkpoint, Position, RecordError};

use super::connection::Connection;
use crate::error::{Refusal, of_statement};
use crate::limits::{STANDBY_LOOK_INTERVAL, STANDBY_WAIT_MAX};

/// Whether the server replays the records of another.
pub(crate) async fn is_standby(connection: &mut Connection) -> Result<bool, RecordError> {
    const WHAT: &str = "asking whether the server is a standby";
    let row = connection.row(WHAT, "SELECT pg_is_in_recovery()", &[]);
    match row.await? {
        Some(row) => row.try_get(0).map_err(|error| of_statement(WHAT, error)),
        None => Ok(false),
    }
}

/// Returns the error of a read after a checkpoint that the standby has not replayed yet.
pub(crate) fn behind(checkpoint: Checkpoint, head: Option<Position>) -> RecordError {
    let (position, head) = (checkpoint.position.get(), Position::number(head));
    RecordError::unavailable("reading events", Refusal::StandbyBehind { position, head })
}

/// A read that is retried while the server is a standby that is behind the reader, for at most
/// [`STANDBY_WAIT_MAX`].
pub(crate) struct LagWait {
    begun: Instant,
}

impl LagWait {
    pub(crate) fn begin() -> Self {
        Self {
            begun: Instant::now(),
        }
    }

    /// Waits until the read should be retried.
    ///
    /// # Errors
    ///
    /// The error of the read, if it is not lag or has lasted too long.
    pub(crate) async fn outwait(&self, error: RecordError) -> Result<(), RecordError> {
        if !is_of_lag(&error) || self.begun.elapsed() >= STANDBY_WAIT_MAX {
            return Err(error);
        }
        tokio::time::sleep(STANDBY_LOOK_INTERVAL).await;
        Ok(())
    }
}

fn is_of_lag(error: &RecordError) -> bool {
    let refusal = Refusal::of(error);
    matches!(
        refusal,
        Some(Refusal::StandbyBehind { .. } | Refusal::StandbyBeforeBirth)
    )
}
