//! A forward walk through an upstream log, one page at a time.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::application::Result;
use crate::recording::{Checkpoint, LogId, LogRead, Position, Query, Recorder, StoredEvent};

/// Events read at once. Bounds memory.
const PAGE_EVENTS: usize = 1_000;

/// The events of a log that match a query, in order.
pub(crate) struct UpstreamCursor {
    pub(crate) name: Arc<str>,
    pub(crate) log: LogId,
    recorder: Arc<dyn Recorder>,
    query: Query,
    page: VecDeque<StoredEvent>,
    /// How far the log has been read.
    read_to: Option<Checkpoint>,
    /// Where the walk begins.
    start: Option<Position>,
}

impl UpstreamCursor {
    /// Creates a cursor that begins after a position.
    pub(crate) fn new(
        name: Arc<str>,
        log: LogId,
        recorder: Arc<dyn Recorder>,
        query: Query,
        after: Option<Position>,
    ) -> Self {
        Self {
            name,
            log,
            recorder,
            query,
            page: VecDeque::new(),
            read_to: None,
            start: after,
        }
    }

    /// Returns the next event up to and including `until`; none if there are no more.
    pub(crate) async fn next(&mut self, until: Position) -> Result<Option<StoredEvent>> {
        let read_to = self
            .read_to
            .map(|checkpoint| checkpoint.position)
            .or(self.start);
        if self.page.is_empty() && read_to < Some(until) {
            let read = LogRead::of(self.query.clone()).limit(PAGE_EVENTS);
            let read = match self.read_to {
                None => read.after(self.start),
                checkpoint => read.after_checkpoint(checkpoint),
            };
            let page = self.recorder.read_log(read).await?;
            self.read_to = page.read_to.filter(|it| Some(it.position) >= read_to);
            self.page = page.events.into();
        }
        let is_next = |event: &StoredEvent| event.position() <= until;
        match self.page.front().is_some_and(is_next) {
            true => Ok(self.page.pop_front()),
            false => Ok(None),
        }
    }
}
