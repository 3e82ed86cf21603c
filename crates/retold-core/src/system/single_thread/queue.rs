//! The queue of a single thread: pairs of an event and the follower that must process it, in order.
//!
//! It is filled from the logs and bounded: a log with more events than fit is queued as far as
//! there is room, and further once the queue is empty.

use std::collections::VecDeque;

use crate::application::Result;
use crate::recording::{Checkpoint, LogRead, PageEnd, Recorder, StoredEvent};

/// Length at which no further events are queued until the queue is empty. Bounds memory: each entry
/// holds an event.
const QUEUE_LENGTH_MAX: usize = 10_000;

/// An event that a follower must process.
pub(super) struct Item {
    /// Index of the follower.
    pub(super) follower: usize,
    /// Index of the log among the upstreams in the follower's declaration.
    pub(super) upstream: usize,
    pub(super) event: StoredEvent,
}

/// See the module.
pub(super) struct Queue {
    items: VecDeque<Item>,
    /// The checkpoint up to which each log is queued.
    queued: Vec<Option<Checkpoint>>,
    /// Whether a log has more events than were queued.
    is_cut: bool,
}

impl Queue {
    pub(super) fn new(logs: usize) -> Self {
        Self {
            items: VecDeque::new(),
            queued: vec![None; logs],
            is_cut: false,
        }
    }

    pub(super) fn next(&mut self) -> Option<Item> {
        self.items.pop_front()
    }

    /// Returns whether a log has more events than were queued, and resets this: the next filling
    /// detects it again.
    pub(super) fn is_cut(&mut self) -> bool {
        std::mem::take(&mut self.is_cut)
    }

    /// Returns the checkpoint up to which this log is queued.
    pub(super) fn queued(&self, log: usize) -> Option<Checkpoint> {
        self.queued[log]
    }

    /// Sets the checkpoint after which this log is queued.
    pub(super) fn begin(&mut self, log: usize, after: Checkpoint) {
        self.queued[log] = Some(after);
    }

    /// Discards the queued events of a log, because they may belong to a history that no longer
    /// exists.
    pub(super) fn forget(&mut self, log: usize, is_of_log: impl Fn(&Item) -> bool) {
        self.queued[log] = None;
        self.items.retain(|item| !is_of_log(item));
    }

    /// Puts back an item that was taken and not processed.
    pub(super) fn put_back(&mut self, item: Item) {
        self.items.push_front(item);
    }

    /// Queues the events of a log that are not queued yet, each for every reader that must process
    /// it. A reader is a follower and the index of this log among its upstreams.
    pub(super) async fn fill(
        &mut self,
        log: usize,
        recorder: &dyn Recorder,
        readers: &[(usize, usize)],
        is_to_process: impl Fn(&StoredEvent, (usize, usize)) -> bool,
    ) -> Result<()> {
        while !self.is_cut {
            let room = QUEUE_LENGTH_MAX.saturating_sub(self.items.len());
            if room == 0 {
                self.is_cut = true;
                return Ok(());
            }
            let read = LogRead::new()
                .after_checkpoint(self.queued[log])
                .limit(room);
            let page = recorder.read_log(read).await?;
            for event in &page.events {
                let meant = readers.iter().filter(|it| is_to_process(event, **it));
                for (follower, upstream) in meant {
                    self.items.push_back(Item {
                        follower: *follower,
                        upstream: *upstream,
                        event: event.clone(),
                    });
                }
            }
            self.queued[log] = page.read_to.or(self.queued[log]);
            if page.end == PageEnd::Complete {
                return Ok(());
            }
        }
        Ok(())
    }
}
