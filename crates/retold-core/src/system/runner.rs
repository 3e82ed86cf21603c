//! The interface of all runners: what a program can ask of a running system, whichever runner runs
//! it.

use std::fmt;
use std::time::Duration;

use super::delivery::OutboxStatus;
use super::follower_path::FollowerPath;
use super::goal::Goal;
use super::lag::Lag;
use super::open_system::OpenSystem;
use super::stop_report::StopReport;
use super::timers_status::TimersStatus;
use super::waiting::WaitError;
use crate::application::{Application, Result};
use crate::following::{FollowerOperator, FollowerStatus};
use crate::health::Health;
use crate::projection::ProjectionHandle;
use crate::recording::BoxFuture;

/// A running system. [`SingleThread`](super::SingleThread) runs it in one thread; the crate's
/// module `runner` has `MultiThread`, with a task for each follower, and `Cluster`, across
/// processes and machines.
///
/// A program is written over `&dyn Runner` or `Arc<dyn Runner>`, so that the choice of a runner is
/// one line where the program starts. All runners record results that a single thread could have
/// recorded. They differ in when that happens: the commands of a `SingleThread` return after
/// everything that they caused has happened, while other runners need a [`wait`](Self::wait).
///
/// ```
/// use std::time::Duration;
/// use retold::prelude::*;
/// use retold::system::{Goal, Runner};
///
/// # #[derive(Event, Serialize, Deserialize)]
/// # struct Ordered { item: String }
/// # #[derive(Aggregate, Clone, Default)]
/// # #[aggregate(event = Ordered)]
/// # struct Order;
/// # impl Apply<Ordered> for Order {
/// #     fn apply(&mut self, _: &Ordered) {}
/// # }
/// /// Places an order, and waits for everything that it causes.
/// async fn order(shop: &dyn Runner, item: &str) -> Result<(), Box<dyn std::error::Error>> {
///     let orders = shop.application("orders")?;
///     orders.create::<Order>(Ordered { item: item.into() }).await?;
///     if let Some(position) = orders.head().await?.position() {
///         shop.wait(Goal::caused_by("orders", position), Duration::from_secs(5)).await?;
///     }
///     Ok(())
/// }
/// ```
pub trait Runner: fmt::Debug + Send + Sync {
    /// Returns the system with its logs.
    fn open_system(&self) -> &OpenSystem;

    /// Returns the application with this name, for commands and reads.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::application::Error::Invalid) if there is none; the message lists
    /// the applications.
    fn application(&self, name: &str) -> Result<Application> {
        self.open_system().application(name).cloned()
    }

    /// Returns the operator of a follower, who pauses, resumes, resets or partitions it. A runner
    /// notices these acts soon, and a `SingleThread` when it next [waits](Self::wait) or
    /// [catches up](super::SingleThread::catch_up).
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::application::Error::Invalid) if there is no such application or
    /// follower; the message lists them.
    fn operator(&self, follower: &FollowerPath) -> Result<FollowerOperator> {
        let open = self.open_system();
        open.system().expect_follower(follower)?;
        let application = open.application(follower.application())?;
        Ok(FollowerOperator::new(application, follower.follower()))
    }

    /// Returns handles of the views, in the order in which they were given to the infrastructure.
    fn projections(&self) -> &[ProjectionHandle];

    /// Returns the status of each follower, in the order of declaration, relative to the current
    /// ends of the logs. A follower with several pipelines has a status for each. For a log that
    /// cannot be read, the end that was last read is used.
    fn status(&self) -> BoxFuture<'_, Vec<FollowerStatus>>;

    /// Returns the status of each application's timers, in the order of declaration.
    fn timers(&self) -> Vec<TimersStatus>;

    /// Returns the status of the outboxes, in the order in which their deliveries were given to the
    /// infrastructure.
    fn outboxes(&self) -> Vec<OutboxStatus>;

    /// Returns whether this process works, whether it can take requests, and every problem that
    /// needs attention: for the probes of an orchestrator and for alarms. Once the runner is
    /// stopping, it is not ready and has no findings.
    fn health(&self) -> BoxFuture<'_, Health>;

    /// Returns how far the followers are behind: the largest lag in events and the largest lag in
    /// time. Paused, retired and failed followers do not count. A runner may return a value that is
    /// up to a tenth of a second old, so that a service can call this for every request, and ask
    /// its clients to come back later while the lag is too large.
    fn lag(&self) -> BoxFuture<'_, Lag>;

    /// Waits until the goal is reached, at most for this time. A `SingleThread` does the work
    /// itself, and checks the time only when nothing is left to do.
    ///
    /// # Errors
    ///
    /// [`WaitError::Timeout`] lists what is behind. [`WaitError::Halted`] is returned immediately
    /// if a follower must reach the position and is paused, retired or stopped, or has failed, and
    /// [`WaitError::View`] if the view has stopped. [`WaitError::Failed`] if a log cannot be
    /// read, or if there is no such application, follower or view.
    fn wait(&self, goal: Goal, timeout: Duration) -> BoxFuture<'_, Result<(), WaitError>>;

    /// Stops the runner: each follower finishes its current work and records its progress. A
    /// follower that does not end in time is aborted and listed in the report. A second call finds
    /// nothing to do. Nothing is lost if this is not called.
    ///
    /// The applications remain usable, but this runner follows nothing any more.
    fn stop(&self) -> BoxFuture<'_, StopReport>;
}
