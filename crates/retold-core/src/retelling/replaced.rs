//! The events of the retold logs that were replaced: a decision that involves one cannot be
//! repeated, because it was made on the old content, so a record that differs is accepted.

use std::collections::HashSet;
use std::sync::Arc;

use crate::application::{AmendmentRecord, Result};
use crate::following::Batch;
use crate::mapping::Mapper;
use crate::recording::{
    AMENDED_TOPIC, DELETED_TOPIC, ERASED_TOPIC, EventId, LogId, LogRead, PageEnd, Query, QueryItem,
    Recorder, StoredEvent,
};

/// The replaced events of some logs, and the streams with amended events.
#[derive(Debug, Default)]
pub(crate) struct Replaced {
    events: HashSet<(LogId, EventId)>,
    streams: HashSet<(LogId, Arc<str>)>,
}

impl Replaced {
    /// Reads the records of a log.
    ///
    /// # Errors
    ///
    /// As for reading a log and decoding its events.
    pub(crate) async fn read(&mut self, log: LogId, recorder: &dyn Recorder) -> Result<()> {
        let topics = [ERASED_TOPIC, AMENDED_TOPIC, DELETED_TOPIC];
        let records = topics.into_iter().fold(QueryItem::new(), QueryItem::topic);
        let mut read = LogRead::of(Query::item(records));
        loop {
            let page = recorder.read_log(read.clone()).await?;
            for stored in &page.events {
                if let AmendmentRecord::Amended { event, .. } = Mapper::default().decode(stored)? {
                    self.events.insert((log, event));
                }
                if let Some(stream) = stored.stream() {
                    self.streams.insert((log, stream.into()));
                }
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

    /// Returns whether a decision on the log `own` may have read an amended event: one of a stream
    /// that it read, or any one if it read by a query.
    pub(crate) fn may_be_read(&self, own: LogId, batch: &Batch) -> bool {
        let is_amended = |stream: &Arc<str>| self.streams.contains(&(own, Arc::clone(stream)));
        batch.streams().any(|(stream, _)| is_amended(stream))
            || (batch.has_queries() && self.streams.iter().any(|(log, _)| *log == own))
    }
}
