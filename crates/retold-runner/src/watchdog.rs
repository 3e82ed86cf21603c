//! The watchdog: checks from its own thread whether policies, deliveries and handlers of views are
//! late or block their threads.
//!
//! A policy or handler that sleeps or loops keeps its task, and perhaps every thread of the
//! runtime, from reporting anything. Nothing can end it; the watchdog reports it.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;

use retold_core::health::Running;
use retold_core::projection::ProjectionHandle;
use retold_core::recording::Checkpoint;
use retold_core::system::OutboxCell;

use crate::follower_cell::FollowerCell;
use crate::limits::WATCH_INTERVAL;

/// Watches until it is dropped.
#[derive(Debug)]
pub(crate) struct Watchdog {
    /// Never used: dropping it ends the thread.
    _end: Option<Sender<()>>,
}

impl Watchdog {
    /// Starts to watch these followers, outboxes and views.
    pub(crate) fn watch(
        cells: Vec<Arc<FollowerCell>>,
        outboxes: Vec<OutboxCell>,
        views: Vec<ProjectionHandle>,
    ) -> Self {
        if cells.is_empty() && outboxes.is_empty() && views.is_empty() {
            return Self { _end: None };
        }
        let (end, ended) = channel::<()>();
        let watching = thread::Builder::new()
            .name("retold-watchdog".into())
            .spawn(move || {
                let mut of_cells = vec![None; cells.len()];
                let mut of_outboxes = vec![None; outboxes.len()];
                let mut of_views = vec![None; views.len()];
                while ended.recv_timeout(WATCH_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                    for (cell, reported) in cells.iter().zip(&mut of_cells) {
                        if let Some(late) = newly_late(cell.status.running(), reported) {
                            tracing::error!(follower = cell.title(), "{late}");
                            cell.status.report_late(&late);
                        }
                    }
                    for (outbox, reported) in outboxes.iter().zip(&mut of_outboxes) {
                        if let Some(late) = newly_late(outbox.running(), reported) {
                            tracing::error!(outbox = &*outbox.read().outbox, "{late}");
                            outbox.report_late(&late);
                        }
                    }
                    for (view, reported) in views.iter().zip(&mut of_views) {
                        if let Some(late) = newly_late(view.running(), reported) {
                            tracing::error!(view = %view.outline().label(), "{late}");
                            view.report_late(&late);
                        }
                    }
                }
            });
        if let Err(error) = watching {
            tracing::warn!(%error, "the watchdog did not start; late policies are not reported");
        }
        Self { _end: Some(end) }
    }
}

/// Returns a late function that was not reported yet; it is reported once, and a second time if it
/// blocks its thread.
fn newly_late(
    running: Option<Running>,
    reported: &mut Option<(Checkpoint, bool)>,
) -> Option<Running> {
    let late = running.filter(Running::is_late);
    let now = late.as_ref().map(|it| (it.event, it.blocks_for.is_some()));
    let is_new = *reported != now;
    *reported = now;
    late.filter(|_| is_new)
}
