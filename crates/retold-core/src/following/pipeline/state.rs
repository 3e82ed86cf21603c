//! The state of a pipeline: whether what it has in memory matches the logs.
//!
//! A step may be dropped wherever it awaits. So before it awaits anything that could change what is
//! in memory or in the logs, it leaves the state in which the next step must begin:
//!
//! | from | to | when |
//! |---|---|---|
//! | `Stale`, `Asking` | `Ready` | the follower's record and its checkpoints are read |
//! | `Ready` | `Stale` | the record is read again; `Ready` again if it has not changed |
//! | `Ready` | `Asking` | a policy is called; `Ready` again if it accepts the event, else `Stale` |
//! | `Ready` | `Unsettled` | an append is sent; `Ready` again if it is recorded, else `Stale` |
//! | `Unsettled` | `Stale` | a later step has settled the append |
//! | all but `Unsettled` | `Stale` | [`invalidate`](super::Pipeline::invalidate) |

use std::mem;

use crate::following::batch::Batch;
use crate::recording::{Append, Checkpoint, LogId};

/// An event of a followed log.
pub(super) type EventAt = (LogId, Checkpoint);

/// The state of a pipeline.
pub(super) enum PipelineState {
    /// What is in memory may not match the logs: the next step reads the follower's record and its
    /// checkpoints again. Events that were processed and not recorded are processed again.
    Stale,
    /// What is in memory matches the logs, except for the effects and processed ranges in this
    /// batch, which will form the next append.
    Ready(Batch),
    /// As [`Stale`](Self::Stale), because the policy for this event has the batch; or had it when
    /// the step was dropped.
    Asking(EventAt),
    /// An append was sent and its outcome is unknown. It is sent again before anything else is
    /// done.
    Unsettled(UnsettledAppend),
}

/// An append whose outcome is unknown.
pub(super) struct UnsettledAppend {
    pub(super) append: Append,
    /// What the append was built from.
    pub(super) batch: Batch,
    /// Where each log is processed up to, once it is recorded.
    pub(super) reached: Vec<Option<Checkpoint>>,
}

impl PipelineState {
    pub(super) fn is_ready(&self) -> bool {
        matches!(self, Self::Ready(_))
    }

    /// Returns the batch, if what is in memory matches the logs.
    pub(super) fn batch(&self) -> Option<&Batch> {
        match self {
            Self::Ready(batch) => Some(batch),
            _ => None,
        }
    }

    /// As [`batch`](Self::batch), to be changed.
    pub(super) fn batch_mut(&mut self) -> Option<&mut Batch> {
        match self {
            Self::Ready(batch) => Some(batch),
            _ => None,
        }
    }

    /// Takes the batch out, if what is in memory matches the logs; until it is put back, the state
    /// is stale.
    pub(super) fn take_batch(&mut self) -> Option<Batch> {
        match mem::replace(self, Self::Stale) {
            Self::Ready(batch) => Some(batch),
            other => {
                *self = other;
                None
            }
        }
    }

    /// Takes the append whose outcome is unknown, if there is one; the state is then stale.
    pub(super) fn take_unsettled(&mut self) -> Option<UnsettledAppend> {
        match mem::replace(self, Self::Stale) {
            Self::Unsettled(unsettled) => Some(unsettled),
            other => {
                *self = other;
                None
            }
        }
    }

    /// Drops what is in memory, but not an append whose outcome is unknown.
    pub(super) fn invalidate(&mut self) {
        if !self.is_unsettled() {
            *self = Self::Stale;
        }
    }

    /// Returns whether an append was sent whose outcome is unknown.
    pub(super) fn is_unsettled(&self) -> bool {
        matches!(self, Self::Unsettled(_))
    }

    /// Returns whether events were processed that are not recorded yet.
    pub(super) fn is_unflushed(&self) -> bool {
        self.batch().is_some_and(|batch| !batch.is_empty()) || self.is_unsettled()
    }
}
