//! The queue of a single thread: which follower is to answer which event next.
//!
//! It is filled from the logs and bounded: a log that has more than fits is queued as far as there is
//! room, and on from there once the queue is empty.

use std::collections::VecDeque;

use crate::application::Result;
use crate::recording::{LogRead, Mark, PageEnd, Recorder, StoredEvent};

/// Entries after which nothing more is queued before the queue is empty. Bounds memory: each holds an
/// event.
const QUEUE_LENGTH_MAX: usize = 10_000;

/// An event that a follower is to answer.
pub(super) struct Item {
    /// Which follower, by its index.
    pub(super) follower: usize,
    /// Which of the logs that it follows, by its index in its declaration.
    pub(super) upstream: usize,
    pub(super) event: StoredEvent,
}

/// See the module.
pub(super) struct Queue {
    items: VecDeque<Item>,
    /// How far each log is queued.
    queued: Vec<Option<Mark>>,
    /// Whether a log has more than was queued.
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

    /// Whether a log has more than was queued. Forgotten by being told, for the next filling finds it
    /// again.
    pub(super) fn is_cut(&mut self) -> bool {
        std::mem::take(&mut self.is_cut)
    }

    /// How far this log is queued.
    pub(super) fn queued(&self, log: usize) -> Option<Mark> {
        self.queued[log]
    }

    /// The first that is queued of this log is what follows this mark.
    pub(super) fn begin(&mut self, log: usize, after: Mark) {
        self.queued[log] = Some(after);
    }

    /// Forgets what was queued of a log, for that may be of a history that is gone.
    pub(super) fn forget(&mut self, log: usize, is_of_log: impl Fn(&Item) -> bool) {
        self.queued[log] = None;
        self.items.retain(|item| !is_of_log(item));
    }

    /// Gives back what was taken and not done.
    pub(super) fn put_back(&mut self, item: Item) {
        self.items.push_front(item);
    }

    /// Queues the events that a log has beyond what is queued, each for those of its readers, a
    /// follower and which of its upstreams this log is, that are to answer it.
    pub(super) async fn fill(
        &mut self,
        log: usize,
        recorder: &dyn Recorder,
        readers: &[(usize, usize)],
        is_to_answer: impl Fn(&StoredEvent, (usize, usize)) -> bool,
    ) -> Result<()> {
        while !self.is_cut {
            let room = QUEUE_LENGTH_MAX.saturating_sub(self.items.len());
            if room == 0 {
                self.is_cut = true;
                return Ok(());
            }
            let read = LogRead::new().after_mark(self.queued[log]).limit(room);
            let page = recorder.read_log(read).await?;
            for event in &page.events {
                let meant = readers.iter().filter(|it| is_to_answer(event, **it));
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
