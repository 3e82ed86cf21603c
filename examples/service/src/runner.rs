//! The choice of a runner. The rest of the service is the same for each of them.

use retold::runner::{Cluster, ClusterOptions, JoinError, MultiThread, MultiThreadOptions};
use retold::system::{Infrastructure, Runner, SingleThread, System};

/// How the service runs its system.
#[derive(Clone, Debug)]
pub enum RunnerChoice {
    /// In the threads of the requests: a command returns when everything that it caused has
    /// happened. Several processes may do this on one store, but each sees the work of the others
    /// only when it has work of its own, so this is for one process.
    SingleThread,
    /// With a task for each follower.
    MultiThread(MultiThreadOptions),
    /// As a node of a cluster, under this name.
    Cluster(String, ClusterOptions),
}

impl RunnerChoice {
    /// Starts the chosen runner.
    ///
    /// # Errors
    ///
    /// As for the start of that runner.
    pub async fn start(
        self,
        system: &System,
        infrastructure: &Infrastructure,
    ) -> Result<Box<dyn Runner>, JoinError> {
        Ok(match self {
            Self::SingleThread => Box::new(SingleThread::start(system, infrastructure).await?),
            Self::MultiThread(options) => {
                Box::new(MultiThread::start_with(system, infrastructure, options).await?)
            }
            Self::Cluster(node, options) => {
                Box::new(Cluster::join(system, infrastructure, &node, options).await?)
            }
        })
    }
}
