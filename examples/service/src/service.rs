//! The service: starts the system with its view, serves requests, and shuts down cleanly.

use std::fmt;
use std::future::IntoFuture;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use retold::projection::MemoryView;
use retold::recording::Invalid;
use retold::runner::JoinError;
use retold::system::{Infrastructure, StopReport};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::sleep;

use crate::desk::Desk;
use crate::guest_list::guest_list;
use crate::limits::ServiceLimits;
use crate::office::{BOOKINGS, SHOWS, TICKETS, ticket_office};
use crate::routes::routes;
use crate::runner::RunnerChoice;

/// A running ticket office: its followers and its view are active.
///
/// Dropping it without [`serve`](Self::serve) stops the followers immediately, which loses nothing.
pub struct Service {
    desk: Arc<Desk>,
}

impl Service {
    /// Opens the logs and starts the followers and the view, which resume where they stopped. Does
    /// not wait until they have caught up: see `/health/ready`.
    ///
    /// # Errors
    ///
    /// As for [`RunnerChoice::start`].
    pub async fn start(
        infrastructure: &Infrastructure,
        runner: RunnerChoice,
        limits: ServiceLimits,
    ) -> Result<Self, JoinError> {
        let invalid = |error: Invalid| JoinError::Failed(error.into());
        let guests = MemoryView::new();
        let infrastructure = infrastructure
            .clone()
            .view(guests.keep(guest_list()).map_err(invalid)?);
        let system = ticket_office().map_err(invalid)?;
        let runner = runner.start(&system, &infrastructure).await?;
        let desk = Desk {
            bookings: runner.application(BOOKINGS)?,
            shows: runner.application(SHOWS)?,
            tickets: runner.application(TICKETS)?,
            runner,
            guests,
            places: Semaphore::new(limits.requests_max.min(Semaphore::MAX_PERMITS)),
            limits,
            is_stopping: AtomicBool::new(false),
        };
        Ok(Self {
            desk: Arc::new(desk),
        })
    }

    /// Returns its routes, for another server or a test.
    pub fn router(&self) -> Router {
        routes(&self.desk)
    }

    /// Serves requests from `listener` until `stop` completes. Then accepts no more requests,
    /// finishes running ones, and stops the followers after their current work.
    ///
    /// Requests that take longer than the limit are aborted. What they have recorded remains.
    ///
    /// # Errors
    ///
    /// Errors of the listener. The followers are stopped in any case.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<StopReport> {
        let (stop_sender, mut stop_signal) = watch::channel(false);
        let desk = Arc::clone(&self.desk);
        let signal = async move {
            stop.await;
            desk.is_stopping.store(true, Ordering::Relaxed);
            stop_sender.send_replace(true);
            tracing::info!("stopping: no more requests are accepted");
        };
        let serving = axum::serve(listener, self.router()).with_graceful_shutdown(signal);
        let wait_max = self.desk.limits.stop_wait_max;
        let too_late = async {
            // If the sender was dropped, the server has ended on its own, and its result counts.
            if stop_signal
                .wait_for(|is_stopping| *is_stopping)
                .await
                .is_err()
            {
                std::future::pending::<()>().await;
            }
            sleep(wait_max).await;
        };
        let served = tokio::select! {
            served = serving.into_future() => served,
            () = too_late => {
                tracing::warn!(?wait_max, "requests exceeded the time limit and are aborted");
                Ok(())
            }
        };
        let report = self.desk.runner.stop().await;
        served.map(|()| report)
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("runner", &self.desk.runner)
            .field("limits", &self.desk.limits)
            .finish_non_exhaustive()
    }
}
