//! Tracks the handler that is processing an event, so that a late handler is noticed.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::Timestamp;
use crate::health::limits::VIEW_EVENT_TIME_EXPECTED;
use crate::health::{Began, Running, RunningCell};
use crate::recording::StoredEvent;

/// Tracks the event that a projection's handlers are processing. Clones share the state.
#[derive(Clone, Debug, Default)]
pub struct Handling {
    running: RunningCell,
    /// The last late handler that was noted, and when.
    late: Arc<Mutex<Option<(Timestamp, String)>>>,
}

impl Handling {
    /// Returns the handler that is running; none between events.
    pub fn running(&self) -> Option<Running> {
        self.running.read()
    }

    /// Notes that a handler is late, which is not yet a failure.
    pub(crate) fn report_late(&self, late: &Running) {
        let now = std::time::SystemTime::now().into();
        let mut reported = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        *reported = Some((now, late.to_string()));
    }

    /// Returns the last handler that was noted as late, and when.
    pub(crate) fn last_late(&self) -> Option<(Timestamp, String)> {
        let reported = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        reported.clone()
    }

    pub(crate) fn at_once<T>(
        &self,
        upstream: &Arc<str>,
        event: &StoredEvent,
        handle: impl FnOnce() -> T,
    ) -> T {
        self.running.watch_at_once(began(upstream, event), handle)
    }

    pub(crate) async fn awaited<T>(
        &self,
        upstream: &Arc<str>,
        event: &StoredEvent,
        handle: impl Future<Output = T>,
    ) -> T {
        self.running.watch(began(upstream, event), handle).await
    }
}

fn began(upstream: &Arc<str>, event: &StoredEvent) -> Began {
    let (upstream, event) = (Arc::clone(upstream), event.clone());
    Began::new("handler", upstream, event, None, VIEW_EVENT_TIME_EXPECTED)
}
