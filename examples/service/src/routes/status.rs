//! `/status`: the progress of each follower and the view, for operators and dashboards.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use retold::domain::Timestamp;
use retold::projection::ProjectionHandle;
use retold::recording::{Checkpoint, Position};
use retold::system::{Finding, FollowerStatus, UpstreamStatus};
use serde::Serialize;

use crate::desk::Desk;

/// The state of the service.
#[derive(Serialize)]
pub(super) struct ServiceStatus {
    /// Whether commands are refused because followers are behind.
    is_overloaded: bool,
    is_stopping: bool,
    /// Number of running requests.
    requests: usize,
    /// All problems that need attention.
    findings: Vec<Finding>,
    followers: Vec<Follower>,
    views: Vec<View>,
}

#[derive(Serialize)]
struct Follower {
    application: String,
    follower: String,
    phase: String,
    /// Number of events processed by this process.
    processed: u64,
    parked: usize,
    upstreams: Vec<Upstream>,
    last_error: Option<LastError>,
}

#[derive(Serialize)]
struct Upstream {
    upstream: String,
    /// Recorded position up to which it has processed; 0 before the first event.
    checkpoint: u64,
    /// Position of the end of the log; 0 if it is empty.
    head: u64,
    lag_events: u64,
    lag_seconds: f64,
}

#[derive(Serialize)]
struct LastError {
    time: String,
    text: String,
}

#[derive(Serialize)]
struct View {
    name: String,
    version: u32,
    state: String,
    /// Progress of the view; `None` if the store is not reachable.
    progress: Option<Progress>,
    last_error: Option<String>,
}

#[derive(Serialize)]
struct Progress {
    /// Position up to which it has read its log.
    read_to: u64,
    head: u64,
    lag_events: u64,
    lag_seconds: f64,
}

/// `GET /status`.
pub(super) async fn status(State(desk): State<Arc<Desk>>) -> Json<ServiceStatus> {
    let now = SystemTime::now().into();
    let statuses = desk.runner.status().await;
    let limits = &desk.limits;
    let mut views = Vec::new();
    for handle in desk.runner.projections() {
        views.push(view(handle).await);
    }
    Json(ServiceStatus {
        is_overloaded: desk.runner.lag().await.events > limits.lag_max,
        is_stopping: desk.is_stopping(),
        requests: limits
            .requests_max
            .saturating_sub(desk.places.available_permits()),
        findings: desk.runner.health().await.findings,
        followers: statuses.iter().map(|it| follower(it, now)).collect(),
        views,
    })
}

fn follower(status: &FollowerStatus, now: Timestamp) -> Follower {
    let last_error = status.last_error.as_ref();
    Follower {
        application: status.application.to_string(),
        follower: status.follower.to_string(),
        phase: format!("{:?}", status.phase),
        processed: status.processed,
        parked: status.parked,
        upstreams: status
            .upstreams
            .iter()
            .map(|it| upstream(it, now))
            .collect(),
        last_error: last_error.map(|(time, text)| LastError {
            time: time.to_string(),
            text: text.clone(),
        }),
    }
}

fn upstream(status: &UpstreamStatus, now: Timestamp) -> Upstream {
    Upstream {
        upstream: status.upstream.to_string(),
        checkpoint: number(status.checkpoint),
        head: number(status.head),
        lag_events: status.lag_events(),
        lag_seconds: status.lag(now).as_secs_f64(),
    }
}

async fn view(handle: &ProjectionHandle) -> View {
    let outline = handle.outline();
    let status = handle.status().await;
    let (progress, last_error) = match status {
        Ok(status) => {
            let progress = Progress {
                read_to: number(status.read_to),
                head: number(status.head),
                lag_events: status.lag_events,
                lag_seconds: status.lag.as_secs_f64(),
            };
            (Some(progress), status.last_error)
        }
        Err(error) => (None, Some(error)),
    };
    View {
        name: outline.name.to_string(),
        version: outline.version,
        state: format!("{:?}", handle.state()),
        progress,
        last_error: last_error.map(|error| error.to_string()),
    }
}

fn number(checkpoint: Option<Checkpoint>) -> u64 {
    Position::number(checkpoint.map(|checkpoint| checkpoint.position))
}
