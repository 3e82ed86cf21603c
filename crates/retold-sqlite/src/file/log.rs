//! One log of a store, as all its recorders share it: its name, its key and who waits for it.

use std::sync::{Arc, OnceLock};

use retold_core::recording::LogId;
use tokio::sync::watch;

use super::seq::LogKey;

/// A log that a store has opened; perhaps not born yet.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) name: Arc<str>,
    birth: OnceLock<Born>,
    append_count: watch::Sender<u64>,
}

/// What a log is given at its birth, for ever.
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

    /// What it was given at its birth, if that is known here.
    pub(crate) fn born(&self) -> Option<Born> {
        self.birth.get().copied()
    }

    /// Takes note of its birth.
    pub(crate) fn learn_birth(&self, born: Born) {
        self.birth.get_or_init(|| born);
    }

    /// What a log that is open for writing was given at its birth.
    pub(crate) fn birth(&self) -> Born {
        self.born().expect("a log that is open for writing is born")
    }

    /// Takes note of how many appends the file has. Fewer than were announced: it was restored from
    /// an older copy. Every change wakes those who wait, and they look at the file before they wait
    /// again, so an announcement that comes at the same time is not lost.
    pub(crate) fn correct(&self, append_count: u64) {
        self.append_count.send_if_modified(|known| {
            let is_less = append_count < *known;
            *known = append_count.min(*known);
            is_less
        });
    }

    /// Tells those who wait how many appends there are. Counts may come out of order; a lower one
    /// never replaces a higher.
    pub(crate) fn announce(&self, append_count: u64) {
        self.append_count.send_if_modified(|known| {
            let grows = *known < append_count;
            *known = append_count.max(*known);
            grows
        });
    }

    /// How many appends there were when one was announced last.
    pub(crate) fn announced(&self) -> u64 {
        *self.append_count.borrow()
    }

    /// Makes those who wait look for themselves: another process may have written.
    pub(crate) fn nudge(&self) {
        self.append_count.send_modify(|_| {});
    }

    /// Whether somebody waits.
    pub(crate) fn is_awaited(&self) -> bool {
        self.append_count.receiver_count() > 0
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.append_count.subscribe()
    }
}
