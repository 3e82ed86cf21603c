//! What a node tells monitors and orchestrators, by HTTP: `/metrics` in the text format of Prometheus,
//! `/live` and `/ready`.
//!
//! A program has an HTTP server of its own mostly, and lets it answer with
//! [`Cluster::health`](retold::runner::Cluster::health); this one is no more than what a probe and a scraper
//! need: one request a connection, and no body.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use retold::runner::Cluster;
use retold::system::Health;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::failure::Failure;

/// Bytes of a request's head: probes send some hundred.
const HEAD_SIZE_MAX: u64 = 8 * 1024;

/// So long a client may take for its request and for taking the answer.
const CLIENT_WAIT_MAX: Duration = Duration::from_secs(10);

/// Connections that are answered at once; others wait.
const CONNECTIONS_MAX: usize = 16;

/// How often histograms are folded, so that they do not grow while nobody scrapes.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Pause after a connection could not be taken, as when there are no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The node, once it has joined. A clone is the same.
#[derive(Clone, Default)]
pub(super) struct Joined(Arc<OnceLock<Arc<Cluster>>>);

impl Joined {
    /// It has joined; there is one time for that.
    pub(super) fn set(&self, cluster: &Arc<Cluster>) {
        let _ = self.0.set(Arc::clone(cluster));
    }

    /// Of a node that has not joined yet, that it waits.
    async fn health(&self) -> Health {
        match self.0.get() {
            Some(cluster) => cluster.health().await,
            None => {
                let mut health = Health::default();
                health.not_ready = Some("the node has not joined yet".into());
                health
            }
        }
    }
}

/// Answers monitors.
#[derive(Clone)]
pub(super) struct Monitor {
    metrics: PrometheusHandle,
    joined: Joined,
}

impl Monitor {
    /// Collects the metrics of this process from now on, and answers at this address.
    pub(super) async fn install(address: SocketAddr, joined: Joined) -> Result<(), Failure> {
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|error| {
            Failure::Failed(format!("nobody can be answered at {address}: {error}"))
        })?;
        let metrics = PrometheusBuilder::new().install_recorder();
        let metrics = metrics.map_err(|error| Failure::Failed(error.to_string()))?;
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
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let Ok((client, _)) = listener.accept().await else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let monitor = self.clone();
            tokio::spawn(async move {
                // A client that is gone, or too slow, has no answer.
                let _ = timeout(CLIENT_WAIT_MAX, monitor.answer(client)).await;
                drop(place);
            });
        }
    }

    async fn answer(&self, mut client: TcpStream) -> std::io::Result<()> {
        let (input, mut output) = client.split();
        let mut lines = BufReader::new(input.take(HEAD_SIZE_MAX)).lines();
        let request = lines.next_line().await?.unwrap_or_default();
        // The rest of the head is read, so that closing does not take the answer away from the client.
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
                "there are /metrics, /live and /ready\n".to_owned(),
            ),
            _ => (
                "405 Method Not Allowed",
                "only GET is answered\n".to_owned(),
            ),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        output.write_all(head.as_bytes()).await?;
        if method != Some("HEAD") {
            output.write_all(body.as_bytes()).await?;
        }
        output.shutdown().await
    }
}

fn probe(well: &str, reason: Option<String>) -> (&'static str, String) {
    match reason {
        None => ("200 OK", format!("{well}\n")),
        Some(reason) => ("503 Service Unavailable", format!("{reason}\n")),
    }
}
