//! One log of a store, shared by all its recorders: its name, its key and its waiters.

use std::sync::{Arc, OnceLock};

use retold_core::recording::LogId;
use tokio::sync::watch;

use super::seq::LogKey;

/// A log that a store has opened; it may not exist in the file yet.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) name: Arc<str>,
    birth: OnceLock<Born>,
    append_count: watch::Sender<u64>,
}

/// The key and id of a log, assigned at its creation and never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Born {
    pub(crate) key: LogKey,
    pub(crate) id: LogId,
}

impl Log {
    pub(crate) fn unborn(name: &str) -> Self {
        Self {
            name: name.into(),
            birth: OnceLock::new(),
            append_count: watch::Sender::new(0),
        }
    }

    /// The key and id, if known here.
    pub(crate) fn born(&self) -> Option<Born> {
        self.birth.get().copied()
    }

    /// Records that the log was created.
    pub(crate) fn learn_birth(&self, born: Born) {
        self.birth.get_or_init(|| born);
    }

    /// The key and id of a log that is open for writing.
    pub(crate) fn birth(&self) -> Born {
        self.born().expect("a log that is open for writing exists")
    }

    /// Records the number of appends in the file. If it is lower than was announced, the file was
    /// restored from an older copy. Every change wakes the waiters, which read the file before they
    /// wait again, so a concurrent announcement is not lost.
    pub(crate) fn correct(&self, append_count: u64) {
        self.append_count.send_if_modified(|known| {
            let is_less = append_count < *known;
            *known = append_count.min(*known);
            is_less
        });
    }

    /// Announces the number of appends to the waiters. Counts may arrive out of order; a lower one
    /// never replaces a higher one.
    pub(crate) fn announce(&self, append_count: u64) {
        self.append_count.send_if_modified(|known| {
            let grows = *known < append_count;
            *known = append_count.max(*known);
            grows
        });
    }

    /// The last announced number of appends.
    pub(crate) fn announced(&self) -> u64 {
        *self.append_count.borrow()
    }

    /// Makes the waiters read the file: another process may have written.
    pub(crate) fn nudge(&self) {
        self.append_count.send_modify(|_| {});
    }

    /// Whether there are waiters.
    pub(crate) fn is_awaited(&self) -> bool {
        self.append_count.receiver_count() > 0
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.append_count.subscribe()
    }
}
