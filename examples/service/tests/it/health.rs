//! Tests of health: live, ready and status, and the effect of an operator's actions on them.

use retold::prelude::*;
use retold::system::FollowerOperator;

use crate::patience::until;
use crate::running::Running;

#[tokio::test]
async fn a_service_becomes_ready_and_reports_its_status() {
    let service = Running::on_memory("ready").await;
    let client = service.client;
    client.get("/health/live").await.expect(200);
    client.until_ready().await;
    client.announce("hamlet", 10).await.expect(201);
    let booked = client.ask("key", "hamlet", 2).await.expect(201);
    let location = booked.header("location").to_owned();
    client
        .get_after(&location, &booked.token())
        .await
        .expect(200);

    until("all followers are caught up", async || {
        let status = client.get("/status").await.expect(200).body;
        let followers = status["followers"].as_array().unwrap();
        followers
            .iter()
            .all(|it| it["upstreams"][0]["lag_events"] == 0)
    })
    .await;
    let status = client.get("/status").await.body;
    let followers = status["followers"].as_array().unwrap();
    let names: Vec<_> = followers.iter().map(|it| &it["follower"]).collect();
    assert_eq!(names, ["answers", "reservations", "issuing"]);
    let upstream = &followers[2]["upstreams"][0];
    assert_eq!(upstream["upstream"], "bookings");
    assert!(upstream["checkpoint"].as_u64().unwrap() > 0, "{status}");
    assert_eq!(followers[2]["last_error"], serde_json::Value::Null);
    assert_eq!(status["views"][0]["name"], "guest list");
    assert_eq!(status["is_overloaded"], false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_follower_makes_the_service_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("office.db");
    let service = Running::on_file(&path).await;
    let client = service.client;
    let is_ready = async || client.get("/health/ready").await.status == 200;
    until("it is ready", is_ready).await;

    // From another process, as an operator's program would.
    let url = format!("sqlite:{}", path.display());
    let tickets = Application::open("tickets", &url).await.unwrap();
    let operator = FollowerOperator::new(&tickets, "issuing");
    operator.pause("the printer has no paper").await.unwrap();
    until("it is not ready", async || !is_ready().await).await;
    let answered = client.get("/health/ready").await.expect(503);
    let reasons = answered.body["reasons"].to_string();
    assert!(
        reasons.contains("tickets/issuing is paused: the printer has no paper"),
        "{reasons}"
    );
    client.get("/health/live").await.expect(200);
    let status = client.get("/status").await.expect(200).body;
    assert_eq!(status["findings"][0]["name"], "tickets/issuing");
    assert_eq!(status["findings"][0]["trouble"], "paused");

    // Commands are accepted. A client that waits for tickets learns immediately that an operator
    // has to act.
    client.announce("hamlet", 10).await.expect(201);
    let booked = client.ask("key", "hamlet", 2).await.expect(201);
    let location = format!("{}/tickets", booked.header("location"));
    let halted = client.get_after(&location, &booked.token()).await;
    let halted = halted.expect(503);
    assert_eq!(halted.problem(), "halted");
    assert_eq!(halted.header("retry-after"), "30");
    assert!(halted.body["detail"].to_string().contains("no paper"));

    operator.resume().await.unwrap();
    until("it is ready again", is_ready).await;
    let issued = client.get_after(&location, &booked.token()).await;
    assert_eq!(issued.expect(200).body["issued"], 1);
    assert!(service.stop().await.is_clean());
}
