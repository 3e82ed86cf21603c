//! The desk: state shared by all requests. The running system, the view, and the limits.

use std::sync::atomic::{AtomicBool, Ordering};

use retold::application::Application;
use retold::projection::MemoryView;
use retold::system::{Goal, Runner};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::guest_list::{GUEST_LIST, GuestList};
use crate::limits::ServiceLimits;
use crate::office::BOOKINGS;
use crate::problem::Problem;
use crate::token::Token;

/// State shared by all requests.
pub struct Desk {
    /// The runner.
    pub runner: Box<dyn Runner>,
    /// The application that records guests' commands.
    pub bookings: Application,
    /// The application that records the houses' commands.
    pub shows: Application,
    /// The application that records tickets, as effects of the others.
    pub tickets: Application,
    /// The view.
    pub guests: MemoryView<GuestList>,
    /// The limits.
    pub limits: ServiceLimits,
    /// One permit per concurrent request.
    pub(crate) places: Semaphore,
    pub(crate) is_stopping: AtomicBool,
}

impl Desk {
    /// Takes a request slot, which is released when the permit is dropped.
    ///
    /// # Errors
    ///
    /// 503 immediately: a queue here would only hide that the service is at capacity.
    pub fn place(&self) -> Result<SemaphorePermit<'_>, Problem> {
        self.places
            .try_acquire()
            .map_err(|_| Problem::unavailable("full", "the service is at capacity; retry later"))
    }

    /// Checks that the followers are not too far behind to accept a command.
    ///
    /// # Errors
    ///
    /// 503. Nothing is recorded.
    pub async fn take_command(&self) -> Result<(), Problem> {
        if self.runner.lag().await.events <= self.limits.lag_max {
            return Ok(());
        }
        Err(Problem::unavailable(
            "behind",
            "the service is behind with earlier commands; nothing was recorded, retry later",
        ))
    }

    /// Waits until the view includes the log up to this token.
    ///
    /// # Errors
    ///
    /// 400 for a token of another log; 503 if the view does not reach it in time.
    pub async fn wait_for_view(&self, token: Option<Token>) -> Result<(), Problem> {
        let Some(token) = token else {
            return Ok(());
        };
        if token.log != BOOKINGS {
            return Err(Problem::bad_request(format!(
                "this list is built from the log {BOOKINGS:?}, so it cannot wait for {token}"
            )));
        }
        let wait = self.limits.wait_max;
        let waited = self
            .runner
            .wait(Goal::shown_by(GUEST_LIST, token.position), wait);
        Ok(waited.await?)
    }

    /// Waits until everything that the log caused up to this token has been processed, in all
    /// applications.
    ///
    /// # Errors
    ///
    /// 400 for an unknown log; 503 if it is not processed in time, or a follower has stopped.
    pub async fn wait_for_caused(&self, token: Option<Token>) -> Result<(), Problem> {
        let Some(Token { log, position }) = token else {
            return Ok(());
        };
        let wait = self.limits.wait_max;
        let waited = self.runner.wait(Goal::caused_by(log, position), wait);
        Ok(waited.await?)
    }

    /// Returns whether the service is stopping.
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }
}
