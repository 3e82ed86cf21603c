//! The committer: the thread of a store that commits groups.
//!
//! A commit is one blocking call that ends with a sync. On a thread of the caller's runtime it
//! would hold up every other task of that thread, among them those whose outcomes were just
//! delivered and that would form the next group. So callers only queue what they write, and this
//! thread commits it: all that is queued, in one transaction.
//!
//! A group that is committed too early costs a sync. After a commit, the callers that got an
//! outcome often return with another append, so the thread waits for as many members as the last
//! group had, for a part of the time that a commit takes. While this turns out to be in vain, it
//! usually skips the wait.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use retold_core::recording::OwnProcess;

use super::store_thread::StoreThread;
use super::writer::Writer;

/// The longest wait for the members of the last group.
const COMPANY_WAIT_MAX: Duration = Duration::from_micros(200);
/// The wait for them is at most this part of the time of the last commit.
const COMPANY_WAIT_PART: u32 = 2;
/// After waits in vain, at most this many groups are committed without one.
const GROUPS_WITHOUT_WAIT_MAX: u32 = 32;

/// The thread. On drop it commits the queue and ends.
pub(crate) struct Committer {
    writer: Arc<Writer>,
    thread: StoreThread,
}

impl Committer {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// The operating system's error if no thread can be started.
    pub(crate) fn start(process: Arc<OwnProcess>, writer: Arc<Writer>) -> std::io::Result<Self> {
        let of_thread = writer.clone();
        let run = move || run(&of_thread);
        let thread = StoreThread::start(process, "retold-sqlite-commit", run)?;
        Ok(Self { writer, thread })
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.thread.end(|| self.writer.queue().close());
    }
}

/// Commits groups until the queue is closed and empty.
fn run(writer: &Writer) {
    let mut company = Company::default();
    while writer.queue().wait() {
        company.gather(writer);
        let group = writer.queue().take_group();
        let length = group.len();
        let began = Instant::now();
        // A panic, of an inline projection or of a caller's waker, drops the members, which gives
        // them an outcome, and leaves a transaction, which the next group rolls back.
        if catch_unwind(AssertUnwindSafe(|| writer.commit(group))).is_err() {
            tracing::error!("committing a group panicked; its appends have failed");
        }
        company.learn(length, began.elapsed());
    }
}

/// How many members are worth waiting for, and how long.
#[derive(Debug, Default)]
struct Company {
    /// The length of the last group.
    last_length: usize,
    /// How long its commit took.
    last_commit: Duration,
    /// How many waits in a row were in vain.
    vain_waits: u32,
    /// How many groups are to be committed without a wait.
    groups_without_wait: u32,
}

impl Company {
    /// Waits for the members that are expected.
    fn gather(&mut self, writer: &Writer) {
        let expected = self.last_length;
        if writer.queue().length() >= expected {
            return;
        }
        if self.groups_without_wait > 0 {
            self.groups_without_wait -= 1;
            return;
        }
        let wait = (self.last_commit / COMPANY_WAIT_PART).min(COMPANY_WAIT_MAX);
        let began = Instant::now();
        while writer.queue().length() < expected {
            if began.elapsed() >= wait {
                self.vain_waits += 1;
                let groups = 1_u32.checked_shl(self.vain_waits).unwrap_or(u32::MAX);
                self.groups_without_wait = groups.min(GROUPS_WITHOUT_WAIT_MAX);
                return;
            }
            thread::yield_now();
        }
        self.vain_waits = 0;
    }

    fn learn(&mut self, length: usize, took: Duration) {
        self.last_length = length;
        self.last_commit = took;
    }
}
