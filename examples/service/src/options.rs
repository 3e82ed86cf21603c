//! The command line of the service.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use retold::runner::{ClusterOptions, MultiThreadOptions};

use crate::limits::{LAG_MAX, READY_LAG_MAX, REQUESTS_MAX, STOP_WAIT_MAX, ServiceLimits, WAIT_MAX};
use crate::runner::RunnerChoice;

const AFTER_HELP: &str = "\
Several processes may serve one store (sqlite:PATH, on one machine); each booking is still processed
once. SIGTERM or Ctrl-C stops the service cleanly: running requests are finished, and followers
record their progress.

Examples:
  ticket-office
  ticket-office --store sqlite:office.db --listen 0.0.0.0:8080
  ticket-office --store sqlite:office.db --runner cluster --node one";

/// The name of a runner on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RunnerName {
    /// The requests do the work of the followers.
    SingleThread,
    /// Each follower has a task.
    MultiThread,
    /// The followers are spread over all processes; requires --node.
    Cluster,
}

/// A ticket office over HTTP.
#[derive(Clone, Debug, Parser)]
#[command(name = "ticket-office", version, after_help = AFTER_HELP)]
pub struct ServiceOptions {
    /// Store of the logs: memory:NAME or sqlite:PATH.
    #[arg(long, value_name = "URL", default_value = "memory:ticket-office")]
    pub store: String,
    /// Address to listen on; port 0 chooses a free port.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// How to run the followers.
    #[arg(long, value_enum, default_value_t = RunnerName::MultiThread)]
    pub runner: RunnerName,
    /// Name of this process in the cluster.
    #[arg(long, value_name = "NAME", required_if_eq("runner", "cluster"))]
    pub node: Option<String>,
    /// Refuse commands while a follower is behind by more events than this.
    #[arg(long, value_name = "EVENTS", default_value_t = LAG_MAX)]
    pub lag_max: u64,
    /// Report not ready while a follower is behind by more events than this.
    #[arg(long, value_name = "EVENTS", default_value_t = READY_LAG_MAX)]
    pub ready_lag_max: u64,
    /// Refuse requests beyond this number of concurrent ones.
    #[arg(long, value_name = "COUNT", default_value_t = REQUESTS_MAX, value_parser = at_least_one)]
    pub requests_max: usize,
    /// Time limit of a request that waits for a view or for effects.
    #[arg(long, value_name = "SECONDS", default_value_t = WAIT_MAX.as_secs())]
    pub wait_max: u64,
    /// Time limit of a shutdown that waits for running requests.
    #[arg(long, value_name = "SECONDS", default_value_t = STOP_WAIT_MAX.as_secs())]
    pub stop_wait_max: u64,
}

impl ServiceOptions {
    /// Returns the runner with its default options.
    pub fn choice(&self) -> RunnerChoice {
        match self.runner {
            RunnerName::SingleThread => RunnerChoice::SingleThread,
            RunnerName::MultiThread => RunnerChoice::MultiThread(MultiThreadOptions::new()),
            RunnerName::Cluster => {
                let node = self.node.clone().unwrap_or_default();
                RunnerChoice::Cluster(node, ClusterOptions::new())
            }
        }
    }

    /// Returns the limits.
    pub fn limits(&self) -> ServiceLimits {
        ServiceLimits {
            lag_max: self.lag_max,
            ready_lag_max: self.ready_lag_max,
            requests_max: self.requests_max,
            wait_max: Duration::from_secs(self.wait_max),
            stop_wait_max: Duration::from_secs(self.stop_wait_max),
        }
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".into()),
        Ok(count) => Ok(count),
        Err(error) => Err(format!("{error}")),
    }
}
