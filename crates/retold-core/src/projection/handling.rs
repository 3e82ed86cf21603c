//! The handler that takes an event into a view at this moment, for those who look whether it returns.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::Timestamp;
use crate::health::limits::VIEW_EVENT_TIME_EXPECTED;
use crate::health::{Began, Running, RunningCell};
use crate::recording::StoredEvent;

/// Which event a projection's handlers are at. A clone is the same.
#[derive(Clone, Debug, Default)]
pub struct Handling {
    running: RunningCell,
    /// The last that was noted as late, and when.
    late: Arc<Mutex<Option<(Timestamp, String)>>>,
}

impl Handling {
    /// The handler that is at work; none between events.
    pub fn running(&self) -> Option<Running> {
        self.running.read()
    }

    /// Notes that a handler is late, which is no failure yet.
    pub(crate) fn tell_late(&self, late: &Running) {
        let now = std::time::SystemTime::now().into();
        let mut told = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        *told = Some((now, late.to_string()));
    }

    /// The handler that was noted as late last, and when.
    pub(crate) fn last_late(&self) -> Option<(Timestamp, String)> {
        let told = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        told.clone()
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
