//! The service: the system with its view started, served, and stopped in good order.

use std::fmt;
use std::future::IntoFuture;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use retold::runner::{MultiThread, MultiThreadOptions, StopReport};
use retold::system::Infrastructure;
use retold::system::memory_view::MemoryView;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::sleep;

use crate::desk::Desk;
use crate::guest_list::guest_list;
use crate::limits::ServiceLimits;
use crate::office::{BOOKINGS, SHOWS, TICKETS, ticket_office};
use crate::routes::routes;

/// A ticket office that is open: its followers and its view are at work.
///
/// Dropping it without [`serve`](Self::serve) ends the followers wherever they are, which loses nothing.
pub struct Service {
    desk: Arc<Desk>,
}

impl Service {
    /// Opens the logs and starts the followers and the view. They go on from where they were; this does
    /// not wait for them: see `/health/ready`.
    ///
    /// # Errors
    ///
    /// As for [`MultiThread::start`].
    pub async fn start(
        infrastructure: &Infrastructure,
        options: MultiThreadOptions,
        limits: ServiceLimits,
    ) -> retold::Result<Self> {
        let guests = MemoryView::new();
        let infrastructure = infrastructure.clone().view(guests.keep(guest_list())?);
        let system = ticket_office()?;
        let runner = MultiThread::start_with(&system, &infrastructure, options).await?;
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

    /// Its routes, for a server or a test of one's own.
    pub fn router(&self) -> Router {
        routes(&self.desk)
    }

    /// Answers requests that come to `listener` until `stop` is done; then takes no more, finishes those
    /// at work, and lets the followers finish what they are at.
    ///
    /// Requests that take longer than the limit are cut off. What they have recorded is recorded.
    ///
    /// # Errors
    ///
    /// Those of the listener. Followers are stopped in any case.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<StopReport> {
        let (told, mut is_told) = watch::channel(false);
        let desk = Arc::clone(&self.desk);
        let signal = async move {
            stop.await;
            desk.is_stopping.store(true, Ordering::Relaxed);
            told.send_replace(true);
            tracing::info!("stopping: no more requests are taken");
        };
        let serving = axum::serve(listener, self.router()).with_graceful_shutdown(signal);
        let wait_max = self.desk.limits.stop_wait_max;
        let too_late = async {
            // Without a word the server has ended by itself, and its own answer counts.
            if is_told.wait_for(|is_told| *is_told).await.is_err() {
                std::future::pending::<()>().await;
            }
            sleep(wait_max).await;
        };
        let served = tokio::select! {
            served = serving.into_future() => served,
            () = too_late => {
                tracing::warn!(?wait_max, "requests were not done in time and are cut off");
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
