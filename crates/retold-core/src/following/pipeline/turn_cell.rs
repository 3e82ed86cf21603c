//! A turn that a step holds until something is recorded or the step ends, also if it is dropped.

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Holds a turn, if there is one. A clone is the same cell.
#[derive(Clone, Default)]
pub(super) struct TurnCell(Arc<Mutex<Option<Box<dyn Any + Send>>>>);

/// Releases a turn when it is dropped.
pub(super) struct HeldTurn(TurnCell);

impl TurnCell {
    pub(super) fn hold(&self, turn: Box<dyn Any + Send>) -> HeldTurn {
        *self.lock() = Some(turn);
        HeldTurn(self.clone())
    }

    pub(super) fn give_back(&self) {
        let turn = self.lock().take();
        drop(turn);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<dyn Any + Send>>> {
        // No change under this lock can be left incomplete.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HeldTurn {
    fn drop(&mut self) {
        self.0.give_back();
    }
}
