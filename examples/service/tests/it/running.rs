//! A service that runs in the test's own process, on a free port.

use std::path::Path;
use std::time::Duration;

use retold::runner::MultiThreadOptions;
use retold::system::{Infrastructure, StopReport};
use retold_service_example::limits::ServiceLimits;
use retold_service_example::runner::RunnerChoice;
use retold_service_example::service::Service;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::client::Client;
use crate::patience::in_time;

pub(crate) struct Running {
    pub(crate) client: Client,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<StopReport>,
}

impl Running {
    /// Starts it on a separate memory store.
    pub(crate) async fn on_memory(name: &str) -> Self {
        Self::on_url(&format!("memory:service-{name}")).await
    }

    pub(crate) async fn on_file(path: &Path) -> Self {
        Self::on_url(&format!("sqlite:{}", path.display())).await
    }

    async fn on_url(url: &str) -> Self {
        let store = retold::open_store(url).await.unwrap();
        Self::start(&Infrastructure::new(store), ServiceLimits::default()).await
    }

    pub(crate) async fn start(infrastructure: &Infrastructure, limits: ServiceLimits) -> Self {
        // Operators act through another handle, so their actions should be noticed soon.
        let options = MultiThreadOptions::new().poll_interval(Duration::from_millis(20));
        Self::start_by(RunnerChoice::MultiThread(options), infrastructure, limits).await
    }

    pub(crate) async fn start_by(
        runner: RunnerChoice,
        infrastructure: &Infrastructure,
        limits: ServiceLimits,
    ) -> Self {
        let service = Service::start(infrastructure, runner, limits);
        let service = service.await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(async move {
            let stopped = async {
                stopped.await.ok();
            };
            service.serve(listener, stopped).await.unwrap()
        });
        Self {
            client: Client { address },
            stop,
            serving,
        }
    }

    /// Signals it to stop.
    pub(crate) fn begin_to_stop(self) -> JoinHandle<StopReport> {
        self.stop.send(()).unwrap();
        self.serving
    }

    pub(crate) async fn stop(self) -> StopReport {
        in_time("the service stops", self.begin_to_stop())
            .await
            .unwrap()
    }
}
