//! Admission control: checks that every request passes before it is processed.
//!
//! Health routes bypass it, so that a service at full capacity still reports that it is live.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::desk::Desk;

/// Takes one of the limited request slots, and refuses commands while the followers are too far
/// behind.
pub async fn admit(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    let _place = match desk.place() {
        Ok(place) => place,
        Err(problem) => return problem.into_response(),
    };
    if !request.method().is_safe()
        && let Err(problem) = desk.take_command().await
    {
        return problem.into_response();
    }
    next.run(request).await
}
