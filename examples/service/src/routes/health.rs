//! `/health`: for orchestrators and load balancers.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use retold::system::{Finding, FollowerStatus, Phase, Trouble};
use serde::Serialize;

use crate::desk::Desk;

/// Whether the service should receive requests.
#[derive(Serialize)]
pub(super) struct Readiness {
    is_ready: bool,
    /// The reasons if not.
    reasons: Vec<String>,
}

/// `GET /health/live`: whether the process responds and its runner works. An unreachable store is
/// no reason to restart it.
pub(super) async fn live(State(desk): State<Arc<Desk>>) -> (StatusCode, String) {
    match desk.runner.health().await.not_live {
        None => (StatusCode::OK, "live\n".into()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason + "\n"),
    }
}

/// `GET /health/ready`: 200 if the logs can be read, nothing has stopped, and every follower and
/// the view has caught up except for a few events; otherwise 503.
pub(super) async fn ready(State(desk): State<Arc<Desk>>) -> (StatusCode, Json<Readiness>) {
    let mut reasons = Vec::new();
    if desk.is_stopping() {
        reasons.push("the service is stopping".into());
    }
    let health = desk.runner.health().await;
    let stopped = |it: &&Finding| matches!(it.trouble, Trouble::Paused | Trouble::Failed);
    let stopped = health.findings.iter().filter(stopped);
    reasons.extend(stopped.map(Finding::to_string));
    reasons.extend(health.not_live.into_iter().chain(health.not_ready));
    let statuses = desk.runner.status().await;
    let lag_max = desk.limits.ready_lag_max;
    reasons.extend(statuses.iter().filter_map(|it| obstacle(it, lag_max)));
    for view in desk.runner.projections() {
        match view.status().await {
            Ok(view) if view.is_seen && view.lag_events <= lag_max => {}
            Ok(view) => reasons.push(format!(
                "the view {:?} is {:?}, {} events behind",
                view.name, view.state, view.lag_events
            )),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    let is_ready = reasons.is_empty();
    let status = match is_ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(Readiness { is_ready, reasons }))
}

/// Returns why a running follower is not ready, if it is not.
fn obstacle(status: &FollowerStatus, lag_max: u64) -> Option<String> {
    let has_begun = !matches!(status.phase, Phase::Starting | Phase::Stopped);
    if has_begun && status.lag_events() <= lag_max {
        return None;
    }
    Some(format!(
        "the follower {}/{} is {:?}, {} events behind",
        status.application,
        status.follower,
        status.phase,
        status.lag_events()
    ))
}
