//! Tests of the service on each runner.

use std::time::Duration;

use retold::runner::{ClusterOptions, MultiThreadOptions};
use retold::system::Infrastructure;
use retold_service_example::limits::ServiceLimits;
use retold_service_example::runner::RunnerChoice;

use crate::patience::until;
use crate::running::Running;

/// How long a request waits: short, because one of them waits in vain.
const WAIT_MAX: Duration = Duration::from_millis(500);

/// Goal: a client gets the same responses, whichever runner does the work.
async fn a_booking_is_confirmed(runner: RunnerChoice, name: &str) {
    let store = retold::open_store(&format!("memory:service-runner-{name}")).await;
    let infrastructure = Infrastructure::new(store.unwrap());
    let limits = ServiceLimits {
        wait_max: WAIT_MAX,
        ..ServiceLimits::default()
    };
    let service = Running::start_by(runner, &infrastructure, limits).await;
    let client = service.client;
    client.until_ready().await;
    client.announce("hamlet", 10).await.expect(201);
    let booked = client.ask("key", "hamlet", 2).await.expect(201);
    let location = booked.header("location").to_owned();

    // An answer that is not there in time is requested again.
    let get = async |path: &str| {
        until("the request is answered", async || {
            client.get_after(path, &booked.token()).await.status == 200
        })
        .await;
        client.get(path).await.expect(200).body
    };
    assert_eq!(get(&location).await["status"], "confirmed");
    assert_eq!(get(&format!("{location}/tickets")).await["issued"], 1);
    let list = get("/shows/hamlet/bookings").await;
    assert_eq!(list["bookings"].as_array().unwrap().len(), 1);

    // The log is shorter than that.
    let never = client.get_after(&location, "bookings:1000").await;
    assert_eq!(never.expect(503).problem(), "not-yet");
    let status = client.get("/status").await.expect(200).body;
    assert_eq!(status["findings"].as_array().unwrap().len(), 0, "{status}");
    client.get("/health/live").await.expect(200);
    assert!(service.stop().await.is_clean());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_booking_is_confirmed_in_a_single_thread() {
    a_booking_is_confirmed(RunnerChoice::SingleThread, "single").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_booking_is_confirmed_in_many_threads() {
    let runner = RunnerChoice::MultiThread(MultiThreadOptions::new());
    a_booking_is_confirmed(runner, "multi").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_booking_is_confirmed_on_a_cluster() {
    let node = RunnerChoice::Cluster("one".into(), ClusterOptions::new());
    a_booking_is_confirmed(node, "cluster").await;
}
