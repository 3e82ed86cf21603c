//! The keeper: a thread of a store for what must not depend on anybody being polled.
//!
//! It commits what is queued and nobody leads, waits for other processes, reminds those who wait for
//! a place in the queue of the time, empties a write-ahead log that has grown too large, and, while
//! somebody waits for news of a log, asks the file whether another process has written. While there is nothing to do it sleeps without waking.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::alarm::{Alarm, Raised};
use super::options::{POLL_INTERVAL, WAL_EMPTYING_PAUSE, WAL_EMPTYING_WAIT_MAX, WAL_LOOK_INTERVAL};
use super::queue::Progress;
use super::wal::Wal;
use super::watcher::Watcher;
use super::watermark::Watermark;
use super::writer::Writer;

/// How often the keeper looks while there is work: the longest that a group waits for a leader.
const TICK: Duration = Duration::from_millis(5);
/// Looks without any work after which the keeper sleeps until it is woken.
const IDLE_TICKS: u32 = 20;

/// The thread. Dropped, it commits what is queued and ends.
#[derive(Debug)]
pub(crate) struct Keeper {
    alarm: Arc<Alarm>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts it; a read-only store has no writer.
    ///
    /// # Errors
    ///
    /// What the operating system says if there can be no thread.
    pub(crate) fn start(
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
            polled_at: Instant::now(),
        };
        let thread = thread::Builder::new()
            .name("retold-sqlite".into())
            .spawn(move || rounds.run())?;
        Ok(Self {
            alarm,
            thread: Some(thread),
        })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.alarm.stop();
        // Whom the keeper answers may be the last to hold the store; it ends by itself then.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the keeper of a SQLite store panicked");
        }
    }
}

struct Rounds {
    alarm: Arc<Alarm>,
    writer: Option<Arc<Writer>>,
    wal: Option<Wal>,
    watermark: Option<Watermark>,
    watcher: Watcher,
    /// When to look at the size of the write-ahead log.
    wal_look_at: Instant,
    last_progress: Option<Progress>,
    idle_ticks: u32,
    polled_at: Instant,
}

impl Rounds {
    fn run(mut self) {
        loop {
            let raised = self.sleep();
            if let Some(writer) = self.writer.clone() {
                self.look_after(&writer, raised.lead || raised.stop);
            }
            if raised.stop {
                self.write_watermark();
                return;
            }
            if self.alarm.is_waited() {
                self.idle_ticks = 0;
                if self.polled_at.elapsed() >= POLL_INTERVAL {
                    self.watcher.look();
                    self.polled_at = Instant::now();
                }
            }
        }
    }

    fn sleep(&mut self) -> Raised {
        if self.idle_ticks < IDLE_TICKS {
            self.idle_ticks += 1;
            return self.alarm.sleep(Some(TICK));
        }
        self.write_watermark();
        self.alarm.fall_asleep();
        // What came between the last look and falling asleep has not woken anybody.
        let has_work = self.alarm.is_waited()
            || self.writer.as_ref().is_some_and(|writer| {
                let progress = writer.progress();
                progress.length > 0 || progress.has_refused
            });
        let raised = self.alarm.sleep(has_work.then_some(TICK));
        self.alarm.wake_up();
        self.idle_ticks = 0;
        raised
    }

    /// Leads if it is asked to, or if what was queued a tick ago still is and nothing moved.
    fn look_after(&mut self, writer: &Writer, lead: bool) {
        let progress = writer.progress();
        let is_stuck = progress.length > 0 && self.last_progress == Some(progress);
        if lead || is_stuck {
            writer.lead_to_the_end();
        }
        if progress.has_refused {
            writer.wake_those_without_place();
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
