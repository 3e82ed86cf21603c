//! The keeper: a thread of a store for work that must not depend on a caller being polled.
//!
//! It wakes callers that wait for a place in the queue so that they check their time limit, empties
//! a write-ahead log that has grown too large and, while callers wait for news of a log, checks the
//! file for writes by other processes. While there is nothing to do it sleeps without waking.

use std::sync::Arc;
use std::time::{Duration, Instant};

use retold_core::recording::OwnProcess;

use super::alarm::{Alarm, Raised};
use super::queue::QueueProgress;
use super::store_thread::StoreThread;
use super::watcher::Watcher;
use super::watermark::Watermark;
use super::writer::Writer;
use crate::file::wal::Wal;
use crate::limits::{
    POLL_INTERVAL, POLL_INTERVAL_IDLE, POLL_QUICK_FOR, WAL_EMPTYING_PAUSE, WAL_EMPTYING_WAIT_MAX,
    WAL_LOOK_INTERVAL,
};

/// The keeper's interval while there is work.
const TICK: Duration = Duration::from_millis(5);
/// Ticks without any work after which the keeper sleeps until it is woken.
const IDLE_TICKS: u32 = 4;

/// The thread. On drop it ends.
#[derive(Debug)]
pub(crate) struct Keeper {
    alarm: Arc<Alarm>,
    thread: StoreThread,
}

impl Keeper {
    /// Starts the thread; a read-only store has no writer.
    ///
    /// # Errors
    ///
    /// The operating system's error if no thread can be started.
    pub(crate) fn start(
        process: Arc<OwnProcess>,
        alarm: Arc<Alarm>,
        writing: Option<(Arc<Writer>, Wal, Watermark)>,
        watcher: Watcher,
    ) -> std::io::Result<Self> {
        let (writer, wal, watermark) = match writing {
            Some((writer, wal, watermark)) => (Some(writer), Some(wal), Some(watermark)),
            None => (None, None, None),
        };
        let rounds = Rounds {
            alarm: alarm.clone(),
            writer,
            wal,
            watermark,
            watcher,
            wal_look_at: Instant::now(),
            last_progress: None,
            idle_ticks: 0,
            polls: Polls::new(),
        };
        let thread = StoreThread::start(process, "retold-sqlite", move || rounds.run())?;
        Ok(Self { alarm, thread })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.thread.end(|| self.alarm.stop());
    }
}

struct Rounds {
    alarm: Arc<Alarm>,
    writer: Option<Arc<Writer>>,
    wal: Option<Wal>,
    watermark: Option<Watermark>,
    watcher: Watcher,
    /// The schedule of checks of the write-ahead log's size.
    wal_look_at: Instant,
    last_progress: Option<QueueProgress>,
    idle_ticks: u32,
    polls: Polls,
}

/// The schedule of checks for writes by other processes: frequent while the logs grow, by any
/// writer, and less and less frequent otherwise.
struct Polls {
    polled_at: Instant,
    interval: Duration,
    /// When a log was last known to have grown.
    grown_at: Instant,
    /// How many appends the logs were then known to have.
    append_count: u64,
}

impl Polls {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            polled_at: now,
            interval: POLL_INTERVAL,
            grown_at: now,
            append_count: 0,
        }
    }

    /// Checks if it is time.
    fn look(&mut self, watcher: &mut Watcher) {
        let append_count = watcher.append_count();
        if append_count != self.append_count {
            self.append_count = append_count;
            self.be_quick();
        }
        if self.polled_at.elapsed() < self.interval {
            return;
        }
        self.polled_at = Instant::now();
        if watcher.look() {
            self.be_quick();
        } else if self.grown_at.elapsed() >= POLL_QUICK_FOR {
            self.interval = (self.interval * 2).min(POLL_INTERVAL_IDLE);
        }
    }

    fn be_quick(&mut self) {
        self.grown_at = Instant::now();
        self.interval = POLL_INTERVAL;
    }

    /// The time until the next check.
    fn rest(&self) -> Duration {
        self.interval.saturating_sub(self.polled_at.elapsed())
    }
}

impl Rounds {
    fn run(mut self) {
        loop {
            let raised = self.sleep();
            if let Some(writer) = self.writer.clone() {
                self.look_after(&writer);
            }
            if raised.stop {
                self.write_watermark();
                return;
            }
            if self.alarm.is_waited() {
                self.polls.look(&mut self.watcher);
            }
        }
    }

    fn sleep(&mut self) -> Raised {
        if self.idle_ticks < IDLE_TICKS {
            self.idle_ticks += 1;
            return self.alarm.sleep(Some(TICK));
        }
        self.alarm.fall_asleep();
        // An append that is announced after this wakes the keeper again.
        self.write_watermark();
        // Work that arrived between the last check and falling asleep has not woken the keeper.
        let has_work = self.writer.as_ref().is_some_and(|writer| {
            let progress = writer.queue().progress();
            progress.length > 0 || progress.has_refused
        });
        let wait = match has_work {
            true => Some(TICK),
            false => self.alarm.is_waited().then(|| self.polls.rest()),
        };
        let raised = self.alarm.sleep(wait);
        self.alarm.wake_up();
        if has_work || raised.wake {
            self.idle_ticks = 0;
        }
        raised
    }

    fn look_after(&mut self, writer: &Writer) {
        let progress = writer.queue().progress();
        if progress.has_refused {
            writer.queue().wake_those_without_place();
        }
        if self.last_progress != Some(progress) || progress.length > 0 {
            self.idle_ticks = 0;
            self.look_at_wal(writer);
        }
        self.last_progress = Some(progress);
    }

    fn write_watermark(&mut self) {
        if let Some(watermark) = &mut self.watermark {
            watermark.write();
        }
    }

    fn look_at_wal(&mut self, writer: &Writer) {
        if Instant::now() < self.wal_look_at {
            return;
        }
        self.write_watermark();
        let mut pause = WAL_LOOK_INTERVAL;
        if self.wal.as_ref().is_some_and(Wal::is_too_large) {
            writer.empty_wal(WAL_EMPTYING_WAIT_MAX);
            pause = WAL_EMPTYING_PAUSE;
        }
        self.wal_look_at = Instant::now() + pause;
    }
}
