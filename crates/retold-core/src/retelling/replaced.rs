//! The events of the retold logs that were replaced: a decision that involves one cannot be
//! repeated, because it was made on the old content, so a record that differs is accepted.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::application::{AmendmentRecord, Result};
use crate::following::Batch;
use crate::mapping::Mapper;
use crate::recording::{
    AMENDED_TOPIC, DELETED_TOPIC, ERASED_TOPIC, EventId, LogId, LogRead, PageEnd, Position, Query,
    QueryItem, Recorder, StoredEvent,
};

/// The replaced events of some logs, and where the streams and logs with amended events have the
/// last record of it.
#[derive(Debug, Default)]
pub(crate) struct Replaced {
    events: HashSet<(LogId, EventId)>,
    streams: HashMap<(LogId, Arc<str>), Position>,
    logs: HashMap<LogId, Position>,
}

impl Replaced {
    /// Reads the records of a log.
    ///
    /// # Errors
    ///
    /// As for reading a log.
    pub(crate) async fn read(&mut self, log: LogId, recorder: &dyn Recorder) -> Result<()> {
        let topics = [ERASED_TOPIC, AMENDED_TOPIC, DELETED_TOPIC];
        let records = topics.into_iter().fold(QueryItem::new(), QueryItem::topic);
        let mut read = LogRead::of(Query::item(records));
        loop {
            let page = recorder.read_log(read.clone()).await?;
            for stored in &page.events {
                // The contract of recorders does not say what a record contains.
                if let Ok(AmendmentRecord::Amended { event, .. }) = Mapper::default().decode(stored)
                {
                    self.events.insert((log, event));
                }
                if let Some(stream) = stored.stream() {
                    self.streams.insert((log, stream.into()), stored.position());
                }
                self.logs.insert(log, stored.position());
            }
            if page.end == PageEnd::Complete {
                return Ok(());
            }
            read = read.after(page.events.last().map(StoredEvent::position));
        }
    }

    /// Returns whether this event was replaced.
    pub(crate) fn has(&self, log: LogId, event: EventId) -> bool {
        self.events.contains(&(log, event))
    }

    /// Returns whether a decision on the log `own`, up to `decided_at`, may have read an event that
    /// was amended later: one of a stream that it read, or any one if it read by a query. A
    /// decision after the last amendment has read the present content.
    pub(crate) fn may_be_read(
        &self,
        own: LogId,
        decided_at: Option<Position>,
        batch: &Batch,
    ) -> bool {
        let is_amended_later = |stream: &Arc<str>| {
            let last = self.streams.get(&(own, Arc::clone(stream)));
            last.is_some_and(|last| Some(*last) > decided_at)
        };
        let of_log = self.logs.get(&own);
        batch.streams().any(|(stream, _)| is_amended_later(stream))
            || (batch.has_queries() && of_log.is_some_and(|last| Some(*last) > decided_at))
    }
}
