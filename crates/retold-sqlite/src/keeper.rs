//! The keeper: a thread of a store for what must not depend on anybody being polled.
//!
//! It commits what is queued and nobody leads, waits for other processes, reminds those who wait for
//! a place in the queue of the time, empties a write-ahead log that has grown too large, and, while
//! somebody waits for news of a log, asks the file whether another process has written. While there is nothing to do it sleeps without waking.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::options::{POLL_INTERVAL, WAL_EMPTYING_PAUSE, WAL_EMPTYING_WAIT_MAX, WAL_LOOK_INTERVAL};
use super::queue::Progress;
use super::wal::Wal;
use super::watcher::Watcher;
use super::writer::Writer;

/// How often the keeper looks while there is work: the longest that a group waits for a leader.
const TICK: Duration = Duration::from_millis(5);
/// Looks without any work after which the keeper sleeps until it is woken.
const IDLE_TICKS: u32 = 20;

/// What wakes the keeper.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    state: Mutex<Raised>,
    raised: Condvar,
    /// The keeper sleeps until it is woken.
    asleep: AtomicBool,
    /// Another process has the file; the keeper waits for it, and nobody else tries.
    contended: AtomicBool,
    /// How many wait for news.
    waiting: AtomicUsize,
}

#[derive(Debug, Default)]
struct Raised {
    lead: bool,
    wake: bool,
    stop: bool,
}

impl Alarm {
    fn state(&self) -> MutexGuard<'_, Raised> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is something to commit and nobody to do it.
    pub(crate) fn raise(&self) {
        self.state().lead = true;
        self.raised.notify_one();
    }

    /// Another process has the file.
    pub(crate) fn raise_contended(&self) {
        self.contended.store(true, Ordering::Release);
        self.raise();
    }

    pub(crate) fn clear_contended(&self) {
        self.contended.store(false, Ordering::Release);
    }

    pub(crate) fn is_contended(&self) -> bool {
        self.contended.load(Ordering::Acquire)
    }

    /// Something was queued: the keeper is to look after it. Costs nothing while it is awake.
    pub(crate) fn stay_awake(&self) {
        if self.asleep.load(Ordering::SeqCst) {
            self.state().wake = true;
            self.raised.notify_one();
        }
    }

    fn stop(&self) {
        self.state().stop = true;
        self.raised.notify_one();
    }

    /// Somebody waits for news, until what is returned is dropped.
    pub(crate) fn wait_for_news(self: &Arc<Self>) -> Waiting {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.stay_awake();
        Waiting(self.clone())
    }

    fn is_waited(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Sleeps for a tick, or without end; says what it was woken for.
    fn sleep(&self, tick: Option<Duration>) -> Raised {
        let mut state = self.state();
        let mut deadline = tick.map(|tick| Instant::now() + tick);
        while !state.lead && !state.wake && !state.stop {
            state = match deadline {
                None => self
                    .raised
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let left = at.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    deadline = Some(at);
                    let waited = self.raised.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        let raised = Raised {
            lead: state.lead,
            wake: state.wake,
            stop: state.stop,
        };
        state.lead = false;
        state.wake = false;
        raised
    }
}

/// Somebody who waits for news.
#[derive(Debug)]
pub(crate) struct Waiting(Arc<Alarm>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

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
        writer: Option<(Arc<Writer>, Wal)>,
        watcher: Watcher,
    ) -> std::io::Result<Self> {
        let (writer, wal) = writer.unzip();
        let rounds = Rounds {
            alarm: alarm.clone(),
            writer,
            wal,
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
        if let Some(thread) = self.thread.take()
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
        self.alarm.asleep.store(true, Ordering::SeqCst);
        // What came between the last look and falling asleep has not woken anybody.
        let has_work = self.alarm.is_waited()
            || self.writer.as_ref().is_some_and(|writer| {
                let progress = writer.progress();
                progress.length > 0 || progress.has_refused
            });
        let raised = self.alarm.sleep(has_work.then_some(TICK));
        self.alarm.asleep.store(false, Ordering::SeqCst);
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
    fn look_at_wal(&mut self, writer: &Writer) {
        if Instant::now() < self.wal_look_at {
            return;
        }
        let mut pause = WAL_LOOK_INTERVAL;
        if self.wal.as_ref().is_some_and(Wal::is_too_large) {
            writer.empty_wal(WAL_EMPTYING_WAIT_MAX);
            pause = WAL_EMPTYING_PAUSE;
        }
        self.wal_look_at = Instant::now() + pause;
    }
}
