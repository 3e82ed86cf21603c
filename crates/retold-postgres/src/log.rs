//! A log as one open store knows it: whether it exists, which appends wait, and which readers wait
//! for a change.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use retold_core::recording::LogId;
use tokio::sync::{Semaphore, watch};

use crate::limits::QUEUE_PLACES_MAX;
use crate::queue::Queue;

/// A log's key in the database, and its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Born {
    pub(crate) key: i32,
    pub(crate) id: LogId,
}

/// The log that a recorder opened; another log that has its name or its key now is not served.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Met<'a> {
    pub(crate) name: &'a Arc<str>,
    pub(crate) born: Born,
}

impl Met<'_> {
    pub(crate) fn key(&self) -> i32 {
        self.born.key
    }

    pub(crate) fn id(&self) -> uuid::Uuid {
        self.born.id.uuid()
    }
}

/// A log, shared by all its recorders of one open store.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) name: Arc<str>,
    born: OnceLock<Born>,
    pub(crate) queue: Queue,
    /// Places in the queue.
    pub(crate) places: Arc<Semaphore>,
    append_count: watch::Sender<u64>,
}

impl Log {
    fn unborn(name: &str) -> Self {
        Self {
            name: name.into(),
            born: OnceLock::new(),
            queue: Queue::default(),
            places: Arc::new(Semaphore::new(QUEUE_PLACES_MAX as usize)),
            append_count: watch::Sender::new(0),
        }
    }

    /// Returns the key and the id, if they are known.
    pub(crate) fn born(&self) -> Option<Born> {
        self.born.get().copied()
    }

    /// Records the key and the id; a log is created once, so the first is right.
    pub(crate) fn learn_birth(&self, born: Born) -> Born {
        *self.born.get_or_init(|| born)
    }

    /// Records how many appends the server has. If fewer than were announced, the server was
    /// restored from an older copy, or a standby that lacks them was promoted. Every change wakes
    /// the waiting readers, and they ask the server before they wait again, so a concurrent
    /// announcement is not lost.
    pub(crate) fn correct(&self, append_count: u64) {
        self.append_count.send_if_modified(|known| {
            let is_less = append_count < *known;
            *known = append_count.min(*known);
            is_less
        });
    }

    /// Notifies waiting readers of the number of durable appends. A lower count never replaces a
    /// higher one.
    pub(crate) fn announce(&self, append_count: u64) {
        self.append_count.send_if_modified(|known| {
            let grows = *known < append_count;
            *known = append_count.max(*known);
            grows
        });
    }

    /// Makes waiting readers look at the log themselves.
    pub(crate) fn nudge(&self) {
        self.append_count.send_modify(|_| {});
    }

    /// Returns a receiver of announced counts and nudges.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.append_count.subscribe()
    }
}

/// The logs that a store has opened, by name. Weak references: an unused log does not take memory
/// for long.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    logs: Mutex<HashMap<Arc<str>, Weak<Log>>>,
}

impl Logs {
    fn logs(&self) -> MutexGuard<'_, HashMap<Arc<str>, Weak<Log>>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the log of this name with this key and id, shared with all other users. A user of a
    /// former log of this name, which was replaced, keeps the former one.
    pub(crate) fn share(&self, name: &str, birth: Option<Born>) -> Arc<Log> {
        let mut logs = self.logs();
        let known = logs.get(name).and_then(Weak::upgrade);
        let is_same = |log: &Arc<Log>| log.born().is_none_or(|born| Some(born) == birth);
        if let Some(log) = known.filter(is_same) {
            birth.map(|born| log.learn_birth(born));
            return log;
        }
        if logs.len() == logs.capacity() {
            logs.retain(|_, log| log.strong_count() > 0);
        }
        let log = Arc::new(Log::unborn(name));
        birth.map(|born| log.learn_birth(born));
        logs.insert(log.name.clone(), Arc::downgrade(&log));
        log
    }

    /// Nudges the log with this key; without a key, all logs.
    pub(crate) fn nudge(&self, key: Option<i32>) {
        let logs: Vec<_> = self.logs().values().filter_map(Weak::upgrade).collect();
        for log in logs {
            // A log that was not known to exist may have been created just now.
            if key.is_none() || log.born().is_none_or(|born| Some(born.key) == key) {
                log.nudge();
            }
        }
    }
}
