//! Serves the metrics and the health of a node by HTTP: `/metrics` in the text format of
//! Prometheus, `/live` and `/ready`.
//!
//! Most programs have an HTTP server and serve [`Runner::health`] with
//! it. This server does only what a probe and a scraper need: one request per connection,
//! without a body.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use retold::system::{Health, Runner};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::failure::CommandFailure;

/// Maximum size of a request's head, in bytes. Probes send some hundred.
const HEAD_SIZE_MAX: u64 = 8 * 1024;

/// Maximum time for a client to send its request and receive the response.
const CLIENT_WAIT_MAX: Duration = Duration::from_secs(10);

/// Maximum number of connections that are served at once. Others wait.
const CONNECTIONS_MAX: usize = 16;

/// How often histograms are compacted, so that they do not grow without a scraper.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Pause after accepting a connection failed, for example because all file descriptors are in use.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The node, once it has joined.
#[derive(Clone, Default)]
pub(super) struct Joined(Arc<OnceLock<Arc<dyn Runner>>>);

impl Joined {
    /// Sets the node, once.
    pub(super) fn set(&self, node: Arc<dyn Runner>) {
        let _ = self.0.set(node);
    }

    /// Returns the health of the node; it is not ready before it has joined.
    async fn health(&self) -> Health {
        match self.0.get() {
            Some(node) => node.health().await,
            None => {
                let mut health = Health::default();
                health.not_ready = Some("the node has not joined yet".into());
                health
            }
        }
    }
}

/// Serves metrics and health.
#[derive(Clone)]
pub(super) struct Monitor {
    metrics: PrometheusHandle,
    joined: Joined,
}

impl Monitor {
    /// Starts collecting the metrics of this process and serving them at this address.
    pub(super) async fn install(address: SocketAddr, joined: Joined) -> Result<(), CommandFailure> {
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|error| {
            CommandFailure::Failed(format!("cannot listen on {address}: {error}"))
        })?;
        let metrics = PrometheusBuilder::new().install_recorder();
        let metrics = metrics.map_err(|error| CommandFailure::Failed(error.to_string()))?;
        retold::application::telemetry::describe_metrics();
        retold::runner::telemetry::describe_metrics();
        let monitor = Self { metrics, joined };
        tokio::spawn(monitor.clone().keep_up());
        tokio::spawn(monitor.serve(listener));
        Ok(())
    }

    async fn keep_up(self) {
        let mut upkeeps = tokio::time::interval(UPKEEP_INTERVAL);
        loop {
            upkeeps.tick().await;
            self.metrics.run_upkeep();
        }
    }

    async fn serve(self, listener: TcpListener) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
            let Ok((client, _)) = listener.accept().await else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let monitor = self.clone();
            tokio::spawn(async move {
                // A client that is gone or too slow gets no response.
                let _ = timeout(CLIENT_WAIT_MAX, monitor.respond(client)).await;
                drop(permit);
            });
        }
    }

    async fn respond(&self, mut client: TcpStream) -> std::io::Result<()> {
        let (input, mut output) = client.split();
        let mut lines = BufReader::new(input.take(HEAD_SIZE_MAX)).lines();
        let request = lines.next_line().await?.unwrap_or_default();
        // If unread data is left at closing, the client may lose the response.
        while lines
            .next_line()
            .await?
            .is_some_and(|line| !line.is_empty())
        {}
        let mut words = request.split(' ');
        let (method, target) = (words.next(), words.next().unwrap_or_default());
        let path = target.split('?').next().unwrap_or_default();
        let (status, body) = match (method, path) {
            (Some("GET" | "HEAD"), "/metrics") => ("200 OK", self.metrics.render()),
            (Some("GET" | "HEAD"), "/live") => probe("live", self.joined.health().await.not_live),
            (Some("GET" | "HEAD"), "/ready") => {
                let health = self.joined.health().await;
                probe("ready", health.not_live.or(health.not_ready))
            }
            (Some("GET" | "HEAD"), _) => (
                "404 Not Found",
                "the paths are /metrics, /live and /ready\n".to_owned(),
            ),
            _ => (
                "405 Method Not Allowed",
                "the only methods are GET and HEAD\n".to_owned(),
            ),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        output.write_all(head.as_bytes()).await?;
        if method != Some("HEAD") {
            output.write_all(body.as_bytes()).await?;
        }
        output.shutdown().await
    }
}

fn probe(healthy: &str, reason: Option<String>) -> (&'static str, String) {
    match reason {
        None => ("200 OK", format!("{healthy}\n")),
        Some(reason) => ("503 Service Unavailable", format!("{reason}\n")),
    }
}
