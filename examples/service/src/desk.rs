//! The desk: what all requests share. The running system, the view, and the limits.

use std::sync::atomic::{AtomicBool, Ordering};

use retold::application::Application;
use retold::runner::MultiThread;
use retold::system::memory_view::MemoryView;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::guest_list::{GUEST_LIST, GuestList};
use crate::limits::ServiceLimits;
use crate::office::BOOKINGS;
use crate::problem::Problem;
use crate::token::Token;

/// What all requests share.
pub struct Desk {
    /// What makes the system go.
    pub runner: MultiThread,
    /// Where guests' commands are recorded.
    pub bookings: Application,
    /// Where the houses' are.
    pub shows: Application,
    /// What the others cause.
    pub tickets: Application,
    /// The view.
    pub guests: MemoryView<GuestList>,
    /// The limits.
    pub limits: ServiceLimits,
    /// One for each request that may be at work.
    pub(crate) places: Semaphore,
    pub(crate) is_stopping: AtomicBool,
}

impl Desk {
    /// A place among the requests at work, as long as it is held.
    ///
    /// # Errors
    ///
    /// 503, at once: a queue here would only hide that the service is full.
    pub fn place(&self) -> Result<SemaphorePermit<'_>, Problem> {
        self.places.try_acquire().map_err(|_| {
            Problem::unavailable(
                "full",
                "the service has as many requests as it can take; send it again later",
            )
        })
    }

    /// Whether a command may be taken, or the followers are too far behind.
    ///
    /// # Errors
    ///
    /// 503. Nothing is recorded.
    pub async fn take_command(&self) -> Result<(), Problem> {
        if !self.runner.is_overloaded(self.limits.lag_max).await {
            return Ok(());
        }
        Err(Problem::unavailable(
            "behind",
            "the service is behind with what it was told already; nothing was recorded, send it again later",
        ))
    }

    /// Waits until the view knows the log up to this token.
    ///
    /// # Errors
    ///
    /// 400 for a token of another log; 503 if the view is not so far in time.
    pub async fn wait_for_view(&self, token: Option<Token>) -> Result<(), Problem> {
        let Some(token) = token else {
            return Ok(());
        };
        if token.log != BOOKINGS {
            return Err(Problem::bad_request(format!(
                "this list is made from the log {BOOKINGS:?}, and knows nothing of {token}"
            )));
        }
        let wait = self.limits.wait_max;
        let waited = self.runner.wait_for_view(GUEST_LIST, token.position, wait);
        Ok(waited.await?)
    }

    /// Waits until everything is processed that the log up to this token has caused, in all
    /// applications.
    ///
    /// # Errors
    ///
    /// 400 for a log that there is not; 503 if it is not processed in time, or a follower does not go
    /// on.
    pub async fn wait_for_caused(&self, token: Option<Token>) -> Result<(), Problem> {
        let Some(Token { log, position }) = token else {
            return Ok(());
        };
        let wait = self.limits.wait_max;
        let waited = self.runner.wait_for_all_caused(&log, position, wait);
        Ok(waited.await?)
    }

    /// Whether the service is about to end.
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }
}
