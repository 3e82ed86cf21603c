//! The process that opened a store. A child that is made by `fork` has the memory of its parent, but not its threads
//! and not its locks: a store that it inherited would wait for ever, or spoil what the parent does. So stores ask
//! here before they do anything.

use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use super::error::RecordError;

/// The process that opened a store.
#[derive(Debug)]
pub struct OwnProcess {
    id: AtomicU32,
}

impl OwnProcess {
    /// The one that asks.
    pub fn current() -> Self {
        Self {
            id: AtomicU32::new(process::id()),
        }
    }

    /// Whether this process is another one, which inherited the store.
    pub fn is_inherited(&self) -> bool {
        self.id.load(Ordering::Relaxed) != process::id()
    }

    /// Checks that this process is the one. Costs a call of the operating system: 50 to 150 ns of
    /// processor time.
    ///
    /// # Errors
    ///
    /// `Invalid` in a process that inherited the store.
    pub fn check(&self) -> Result<(), RecordError> {
        let (opened_by, here) = (self.id.load(Ordering::Relaxed), process::id());
        match opened_by == here {
            true => Ok(()),
            false => Err(RecordError::invalid(format!(
                "the store was opened by the process {opened_by}, and the process {here} inherited it by `fork`; a child opens the store by itself, after the fork"
            ))),
        }
    }

    /// For tests of stores: as if another process had opened it.
    #[doc(hidden)]
    pub fn pretend(&self) {
        self.id
            .store(process::id().wrapping_add(1), Ordering::Relaxed);
    }
}
