//! The writer's memory between transactions: keys of names, versions, heads.
//!
//! It is valid only while no other connection writes. The writer compares SQLite's `data_version`
//! inside each of its transactions and discards everything when that has changed, and whenever one
//! of its own transactions is rolled back. The memory is bounded: beyond [`NAMES_KNOWN_MAX`] names
//! it is discarded and refilled, which costs some lookups and never changes a result.

use std::collections::HashMap;
use std::sync::Arc;

use retold_core::recording::{Checkpoint, EventId, Head};

use super::log::Born;
use super::seq::LogKey;
use super::topics::Topics;

/// The most names that are remembered at a time, of all logs together.
const NAMES_KNOWN_MAX: usize = 200_000;

/// The writer's memory of the file.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// The value of SQLite's counter of others' changes for which this memory is valid.
    pub(crate) data_version: Option<i64>,
    /// No event of any log has an id beyond this one. Fresh ids usually have, because they
    /// increase.
    pub(crate) greatest_id: Option<EventId>,
    /// For reading events in a transaction of the writer.
    pub(crate) topics: Topics,
    logs: HashMap<LogKey, KnownLog>,
    names: usize,
}

/// The memory of one log.
#[derive(Debug)]
pub(crate) struct KnownLog {
    /// Its name, key and id, as stored in the file.
    pub(crate) name: Arc<str>,
    pub(crate) born: Born,
    pub(crate) head: Option<Checkpoint>,
    pub(crate) append_count: u64,
    streams: HashMap<Arc<str>, KnownStream>,
    topics: HashMap<Arc<str>, i64>,
    /// The number of topics of the log, once it was read.
    pub(crate) topic_count: Option<u64>,
    tags: HashMap<Arc<str>, i64>,
}

/// The memory of one stream. A stream has a key as soon as it has an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KnownStream {
    pub(crate) key: Option<i64>,
    /// Version of its last event; 0 if it has none.
    pub(crate) version: u64,
    /// Id of its last event.
    pub(crate) last: Option<EventId>,
    /// Whether its last event is the record of its deletion.
    pub(crate) is_deleted: bool,
}

/// The kind of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Label {
    Topic,
    Tag,
}

impl Known {
    /// Discards everything.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Enforces the bound. Called between two appends because the names of one append are needed
    /// together.
    pub(crate) fn trim(&mut self) {
        if self.names > NAMES_KNOWN_MAX {
            self.logs.clear();
            self.names = 0;
        }
    }

    pub(crate) fn log(&self, key: LogKey) -> Option<&KnownLog> {
        self.logs.get(&key)
    }

    pub(crate) fn learn_log(&mut self, name: &Arc<str>, born: Born, head: Head) {
        self.names += 1;
        let log = KnownLog {
            name: Arc::clone(name),
            born,
            head: head.checkpoint,
            append_count: head.append_count,
            streams: HashMap::new(),
            topics: HashMap::new(),
            topic_count: None,
            tags: HashMap::new(),
        };
        self.logs.insert(born.key, log);
    }

    /// Returns the memory of a log for changes; the log must be known.
    pub(crate) fn log_mut(&mut self, key: LogKey) -> &mut KnownLog {
        self.logs
            .get_mut(&key)
            .expect("a log is looked up before an append to it is recorded")
    }

    pub(crate) fn stream(&self, log: LogKey, name: &str) -> Option<KnownStream> {
        self.logs.get(&log)?.streams.get(name).copied()
    }

    pub(crate) fn learn_stream(&mut self, log: LogKey, name: &Arc<str>, stream: KnownStream) {
        let streams = &mut self.log_mut(log).streams;
        if let Some(known) = streams.get_mut(name) {
            *known = stream;
        } else {
            streams.insert(name.clone(), stream);
            self.names += 1;
        }
    }

    pub(crate) fn label(&self, log: LogKey, label: Label, name: &str) -> Option<i64> {
        let log = self.logs.get(&log)?;
        let keys = match label {
            Label::Topic => &log.topics,
            Label::Tag => &log.tags,
        };
        keys.get(name).copied()
    }

    /// Forgets a tag that no event has any more.
    pub(crate) fn forget_tag(&mut self, log: LogKey, name: &str) {
        if self.log_mut(log).tags.remove(name).is_some() {
            self.names -= 1;
        }
    }

    pub(crate) fn learn_label(&mut self, log: LogKey, label: Label, name: &str, key: i64) {
        let log = self.log_mut(log);
        let keys = match label {
            Label::Topic => &mut log.topics,
            Label::Tag => &mut log.tags,
        };
        keys.insert(name.into(), key);
        self.names += 1;
    }
}
