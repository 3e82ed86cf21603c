//! The routes and their handlers.
//!
//! | request | effect |
//! |---|---|
//! | `PUT /shows/{show}` | announces a show |
//! | `GET /shows/{show}` | returns the show |
//! | `PATCH /shows/{show}` | renames it, at the version in `If-Match` |
//! | `GET /shows/{show}/bookings` | returns the guest list, a view |
//! | `POST /bookings` | requests seats |
//! | `GET /bookings/{id}` | returns the booking |
//! | `POST /bookings/{id}/cancel` | cancels it |
//! | `GET /bookings/{id}/tickets` | returns its tickets |
//! | `GET /health/live`, `/health/ready`, `/status` | return the state of the service |

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post, put};

use crate::admission::admit;
use crate::desk::Desk;
use crate::limits::BODY_SIZE_MAX;
use crate::problem::Problem;

mod bookings;
mod health;
mod shows;
mod status;

/// Returns all routes of the service.
pub fn routes(desk: &Arc<Desk>) -> Router {
    let show = put(shows::announce).get(shows::show).patch(shows::rename);
    let business = Router::new()
        .route("/shows/{show}", show)
        .route("/shows/{show}/bookings", get(shows::bookings))
        .route("/bookings", post(bookings::ask))
        .route("/bookings/{id}", get(bookings::booking))
        .route("/bookings/{id}/cancel", post(bookings::cancel))
        .route("/bookings/{id}/tickets", get(bookings::tickets))
        .route_layer(from_fn_with_state(Arc::clone(desk), admit))
        .layer(DefaultBodyLimit::max(BODY_SIZE_MAX));
    let health = Router::new()
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/status", get(status::status));
    business
        .merge(health)
        .fallback(unknown)
        .method_not_allowed_fallback(not_so)
        .with_state(Arc::clone(desk))
}

async fn unknown(uri: Uri) -> Problem {
    Problem::not_found(format!("there is no resource at {}", uri.path()))
}

async fn not_so(uri: Uri) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        format!("{} does not support this method; see Allow", uri.path()),
    )
}
