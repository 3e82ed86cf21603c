//! `/status`: how each follower and the view is getting on, for people and their dashboards.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use retold::domain::clock::Timestamp;
use retold::recording::identity::{Mark, Position};
use retold::system::{FollowerStatus, UpstreamStatus};
use serde::Serialize;

use crate::desk::Desk;
use crate::problem::Problem;

/// How the service is getting on.
#[derive(Serialize)]
pub(super) struct ServiceStatus {
    /// Whether commands are refused because followers are behind.
    is_overloaded: bool,
    is_stopping: bool,
    /// Requests that are at work.
    requests: usize,
    followers: Vec<Follower>,
    view: View,
}

#[derive(Serialize)]
struct Follower {
    application: String,
    follower: String,
    phase: String,
    /// Events answered by this process.
    processed: u64,
    parked: usize,
    upstreams: Vec<Upstream>,
    last_error: Option<LastError>,
}

#[derive(Serialize)]
struct Upstream {
    upstream: String,
    /// Position up to which it is recorded to have answered; 0 before the first.
    checkpoint: u64,
    /// Position of the log's end; 0 if it is empty.
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
    /// Position up to which it has looked at its log.
    read_to: u64,
    head: u64,
    lag_events: u64,
    lag_seconds: f64,
    last_error: Option<String>,
}

/// `GET /status`.
pub(super) async fn status(State(desk): State<Arc<Desk>>) -> Result<Json<ServiceStatus>, Problem> {
    let now = SystemTime::now().into();
    let statuses = desk.runner.status().await;
    let limits = &desk.limits;
    Ok(Json(ServiceStatus {
        is_overloaded: desk.runner.is_overloaded(limits.lag_max).await,
        is_stopping: desk.is_stopping(),
        requests: limits
            .requests_max
            .saturating_sub(desk.places.available_permits()),
        followers: statuses.iter().map(|it| follower(it, now)).collect(),
        view: view(&desk).await?,
    }))
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

async fn view(desk: &Desk) -> Result<View, Problem> {
    let status = desk.progress.status().await?;
    Ok(View {
        name: status.name.to_string(),
        version: status.version,
        state: format!("{:?}", status.state),
        read_to: number(status.read_to),
        head: number(status.head),
        lag_events: status.lag_events,
        lag_seconds: status.lag.as_secs_f64(),
        last_error: status.last_error.map(|error| error.to_string()),
    })
}

fn number(mark: Option<Mark>) -> u64 {
    Position::number(mark.map(|mark| mark.position))
}
