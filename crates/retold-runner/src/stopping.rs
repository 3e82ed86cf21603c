//! Stopping: waits until tasks have ended by themselves, and aborts those that do not.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use retold_core::system::StopReport;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// A task that ends by itself when it is stopped, with its name. It returns the reason if something
/// could not be recorded.
pub(crate) type NamedTask = (String, JoinHandle<Option<String>>);

/// Returns the time after this duration. A clock cannot represent the end of the longest ones, so
/// they are cut; they do not end in either case.
pub(crate) fn after(duration: Duration) -> Instant {
    Instant::now() + duration.min(Duration::MAX / 4)
}

/// Waits until these tasks have ended, and aborts those that have not at the deadline. The call may
/// be dropped: the tasks that have not ended stay in the list for the next call, and the report
/// keeps what is known of the others.
pub(crate) async fn end_tasks(
    tasks: &mut Vec<NamedTask>,
    deadline: Instant,
    report: &Mutex<StopReport>,
) {
    while let Some((_, task)) = tasks.first_mut() {
        let ended = timeout_at(deadline, &mut *task).await;
        let (name, task) = tasks.remove(0);
        let mut report = locked(report);
        match ended {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(reason))) => report.unrecorded.push((name, reason)),
            Ok(Err(error)) => report.unrecorded.push((name, error.to_string())),
            Err(_) => {
                task.abort();
                report.unfinished.push(name);
            }
        }
    }
}

/// Returns the report that a stop has written, also if the call that began it was dropped.
pub(crate) fn take_report(report: &Mutex<StopReport>) -> StopReport {
    std::mem::take(&mut *locked(report))
}

/// Locks a report.
pub(crate) fn locked(report: &Mutex<StopReport>) -> MutexGuard<'_, StopReport> {
    report.lock().unwrap_or_else(PoisonError::into_inner)
}
