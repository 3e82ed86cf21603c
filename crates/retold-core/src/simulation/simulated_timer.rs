//! Waits for the clock of a simulation, where time passes only by steps and jumps.

use std::fmt;
use std::future::{pending, ready};
use std::sync::Arc;

use super::call::{Call, CallOutcome};
use super::parking::Parking;
use crate::domain::{Clock, ManualClock, Timestamp};
use crate::recording::BoxFuture;

/// Waits for the clock of a [`Simulation`](super::Simulation).
///
/// When nothing else is left to do, the clock moves to the next instant that an actor waits for. A
/// service that waits for an instant does not move it, so that a service with a periodic task does
/// not keep the run from ending. Clones share the timer.
#[derive(Clone)]
pub struct SimulatedTimer {
    pub(crate) parking: Arc<Parking>,
    pub(crate) clock: Arc<ManualClock>,
}

impl SimulatedTimer {
    /// Waits until the clock shows `time` or later. The clock may be set back again before the
    /// actor continues.
    ///
    /// Outside the run the clock does not move: a wait for a later time never ends.
    pub fn wait_until(&self, time: Timestamp) -> BoxFuture<'static, ()> {
        let Self { parking, clock } = self.clone();
        Box::pin(async move {
            if parking.current().is_none() {
                if clock.now() < time {
                    pending::<()>().await;
                }
                return;
            }
            let due = Box::pin(ready(Ok(())));
            let call = parking.call(None, Call::WaitUntil { time }, due, CallOutcome::done);
            // The scheduler's only result is the end of the wait.
            let _: Result<(), _> = call.await;
        })
    }
}

impl fmt::Debug for SimulatedTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimulatedTimer").field(&self.clock).finish()
    }
}
