//! A ticket office over HTTP: how to build a service on a system of Retold.
//!
//! Guests request seats, shows reserve them, and tickets are issued. Three applications follow each
//! other, and a [`Runner`](retold::system::Runner) runs them on the store that a URL names: in one
//! thread, in many threads, or on a cluster. The example focuses on the interface between such a
//! system and its clients:
//!
//! - **Safe retries.** `Idempotency-Key` becomes the command id: a repeated request is recorded
//!   once and gets the same response.
//! - **Lost updates.** `ETag` is the version of the aggregate. If `If-Match` names another version,
//!   the response is 412.
//! - **Refusals** come from the domain: 409 or 422, as `application/problem+json` (RFC 9457).
//! - **Reading your own writes.** Responses to commands contain `Retold-Position`. Sent back as
//!   `Retold-After`, it makes the list wait until it includes that position.
//! - **Waiting for effects.** The same token, sent for a booking or its tickets, waits for all
//!   effects of the command, through all applications.
//! - **Overload.** The response is 503 with `Retry-After` while followers are behind, all request
//!   slots are taken, or the store is busy. Nothing is recorded then.
//! - **Health.** `/health/live`, `/health/ready` and `/status`.
//!
//! # Principles
//!
//! - **No request waits for followers unless it asks to.** A command returns when its events are
//!   recorded. Followers record the effects exactly once, across crashes.
//! - **A token is a position, not a time.** Logs have one order and no gaps, so "the view is at 17"
//!   determines the events in it, and waiting for a position is a comparison.
//! - **Waits are bounded.** If the time limit passes, the response is 503 with `Retry-After`, and
//!   the token remains valid for the next request, on any instance.
//! - **Several processes may serve one store.** The log checks commands and followers alike: if two
//!   decide the same, one is recorded, and the other finds the recorded result.
//!
//! # Reading order
//!
//! Start with the pure code: [`show`], [`booking`] and [`ticket`] decide; [`office`] defines the
//! system with its policies; [`guest_list`] is the view. Then HTTP: [`problem`], [`token`],
//! [`request`], [`answer`], the [`desk`] that all requests share, [`admission`] and [`routes`].
//! Finally, [`runner`] chooses a runner, and [`service`] and [`options`] start and stop the
//! service.
//!
//! # Not included
//!
//! TLS, users and permissions, and limits on slow senders belong in front of the service. Every
//! client that can reach this one may do everything; by default it listens on the loopback
//! interface. The guest list is kept in memory and rebuilt at the start; for a long log, keep it in
//! SQLite.
//!
//! ```
//! use std::sync::Arc;
//!
//! use retold::system::Infrastructure;
//! use retold_service_example::limits::ServiceLimits;
//! use retold_service_example::runner::RunnerChoice;
//! use retold_service_example::service::Service;
//! use tokio::net::TcpListener;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let infrastructure = Infrastructure::new(retold::open_store("memory:office").await?);
//! let runner = RunnerChoice::SingleThread;
//! let service = Service::start(&infrastructure, runner, ServiceLimits::default()).await?;
//!
//! let listener = TcpListener::bind("127.0.0.1:0").await?;
//! let report = service.serve(listener, async { /* a signal to stop */ }).await?;
//! assert!(report.is_clean());
//! # Ok(())
//! # }
//! ```

pub mod limits;
pub mod token;

pub mod show;
pub mod ticket;

pub mod booking;

pub mod office;

pub mod guest_list;

pub mod problem;

pub mod answer;
pub mod request;

pub mod desk;

pub mod admission;

pub mod routes;

pub mod runner;

pub mod options;
pub mod service;
