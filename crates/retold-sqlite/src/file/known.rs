//! What the writer knows of the file without asking it: keys of names, versions, heads.
//!
//! True only while nobody else has written: the writer compares SQLite's `data_version` inside each
//! of its transactions and forgets everything when it moved, and whenever a transaction of its own
//! is rolled back. Bounded: beyond [`NAMES_KNOWN_MAX`] names it forgets all and begins anew, which
//! costs some look-ups, and never an answer.

use std::collections::HashMap;
use std::sync::Arc;

use retold_core::recording::{EventId, Head, Mark};

use super::log::Born;
use super::seq::LogKey;

/// Most names that are known at a time, of all logs together.
const NAMES_KNOWN_MAX: usize = 200_000;

/// What is known of the file.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// SQLite's count of what others have written, as of this knowledge.
    pub(crate) data_version: Option<i64>,
    /// No event of any log has an id beyond this one. Fresh ids mostly do, for they grow.
    pub(crate) greatest_id: Option<EventId>,
    logs: HashMap<LogKey, KnownLog>,
    names: usize,
}

/// What is known of one log.
#[derive(Debug)]
pub(crate) struct KnownLog {
    /// Its name and what it was given at its birth, as the file has them.
    pub(crate) name: Arc<str>,
    pub(crate) born: Born,
    pub(crate) head: Option<Mark>,
    pub(crate) append_count: u64,
    streams: HashMap<Arc<str>, KnownStream>,
    topics: HashMap<Arc<str>, i64>,
    /// How many topics the log has, once that was asked for.
    pub(crate) topic_count: Option<u64>,
    tags: HashMap<Arc<str>, i64>,
}

/// What is known of one stream. It has a key as soon as it has an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KnownStream {
    pub(crate) key: Option<i64>,
    /// Version of its last event, 0 without one.
    pub(crate) version: u64,
    /// Id of its last event.
    pub(crate) last: Option<EventId>,
}

/// Which kind of name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Label {
    Topic,
    Tag,
}

impl Known {
    /// Forgets everything.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Keeps within bounds; between two appends, for one append's names are wanted together.
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
            head: head.mark,
            append_count: head.append_count,
            streams: HashMap::new(),
            topics: HashMap::new(),
            topic_count: None,
            tags: HashMap::new(),
        };
        self.logs.insert(born.key, log);
    }

    /// What has to be changed of a log that is known.
    pub(crate) fn log_mut(&mut self, key: LogKey) -> &mut KnownLog {
        self.logs
            .get_mut(&key)
            .expect("a log is learned before an append to it is recorded")
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
