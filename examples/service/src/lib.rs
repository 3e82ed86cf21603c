//! A ticket office over HTTP: how a service is built on a system of Retold.
//!
//! Guests ask for seats, shows reserve them, tickets are issued: three applications that follow each
//! other, run by [`MultiThread`](retold::runner::MultiThread) on any store that a URL names. What is
//! shown is what stands between such a system and the world:
//!
//! | question of a client | answer of the service |
//! |---|---|
//! | "I do not know whether you got it; what if I send it again?" | `Idempotency-Key` becomes the command's id: it is recorded once, and answered alike |
//! | "Has somebody changed it since I looked?" | `ETag` is the aggregate's version; `If-Match` demands it: 412 |
//! | "Why not?" | the domain's own refusal, 409 or 422, as `application/problem+json` (RFC 9457) |
//! | "I wrote it, why does the list not show it?" | commands answer `Retold-Position`; given back as `Retold-After`, the list waits until it has it |
//! | "And what came of it?" | the same token, given to a booking or its tickets, waits for everything it caused, through all applications |
//! | "Can you take more?" | 503 with `Retry-After`, while followers are behind, all places are taken or the store is busy; nothing is recorded then |
//! | "Shall I send guests to you?" | `/health/live`, `/health/ready`, `/status` |
//!
//! # What it relies on
//!
//! - **No request waits for followers unless it asks to.** A command is answered when its events are
//!   recorded. What they cause is recorded by followers, exactly once, whatever crashes meanwhile.
//! - **A token is a position, not a time.** Logs have no gaps and one order, so "the view is at 17" says
//!   which events it has; a wait for that is a comparison.
//! - **Waits are bounded.** What is not there in time is 503 with `Retry-After`, and the token is as good
//!   in the next request, at whichever instance.
//! - **Several processes may serve one store.** The log judges commands and followers alike: of two that
//!   decide the same one is recorded, and the other finds that.
//!
//! # Reading it
//!
//! Pure code first: [`show`], [`booking`], [`ticket`] decide; [`office`] says what causes what;
//! [`guest_list`] is the view. Then HTTP: [`problem`] and [`token`], what requests say ([`request`]) and
//! answers tell ([`answer`]), the [`desk`] that they share, [`admission`] and [`routes`]. Last, what
//! starts and stops it: [`service`], [`options`].
//!
//! # What a real one has besides
//!
//! TLS, users and their rights, and limits on slow senders belong to what stands before it. Whoever can
//! reach this one may do everything; it listens on the loopback unless told otherwise. The guest list is
//! kept in memory and built at the start; a long log wants it in SQLite.
//!
//! ```
//! use std::sync::Arc;
//!
//! use retold::runner::MultiThreadOptions;
//! use retold::system::Infrastructure;
//! use retold_service_example::limits::ServiceLimits;
//! use retold_service_example::service::Service;
//! use tokio::net::TcpListener;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let infrastructure = Infrastructure::new(retold::open_store("memory:office").await?);
//! let options = MultiThreadOptions::new();
//! let service = Service::start(&infrastructure, options, ServiceLimits::default()).await?;
//!
//! let listener = TcpListener::bind("127.0.0.1:0").await?;
//! let report = service.serve(listener, async { /* until told to stop */ }).await?;
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

pub mod options;
pub mod service;
