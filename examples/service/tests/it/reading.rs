//! Tests of reading: the view by token, and the effects in other applications.

use std::sync::Arc;
use std::time::Duration;

use retold::recording::MemoryStore;
use retold::system::Infrastructure;
use retold_service_example::limits::ServiceLimits;
use serde_json::json;

use crate::running::Running;

#[tokio::test]
async fn the_list_includes_the_position_of_the_token() {
    let service = Running::on_memory("list").await;
    let client = service.client;
    client.announce("hamlet", 1_000).await.expect(201);
    for count in 1..=30 {
        let booked = client.ask(&format!("key-{count}"), "hamlet", 1).await;
        let token = booked.expect(201).token();
        let path = match count % 2 {
            0 => format!("/shows/hamlet/bookings?after={token}"),
            _ => "/shows/hamlet/bookings".to_owned(),
        };
        let list = match count % 2 {
            0 => client.get(&path).await,
            _ => client.get_after(&path, &token).await,
        };
        let list = list.expect(200);
        assert_eq!(list.body["bookings"].as_array().unwrap().len(), count);
        assert_eq!(list.body["next"], json!(null));
    }
}

#[tokio::test]
async fn the_list_comes_in_pages() {
    let service = Running::on_memory("pages").await;
    let client = service.client;
    client.announce("hamlet", 1_000).await.expect(201);
    let mut token = String::new();
    for count in 1..=150 {
        let booked = client.ask(&format!("key-{count}"), "hamlet", 1).await;
        token = booked.expect(201).token();
    }
    let first = client.get_after("/shows/hamlet/bookings", &token).await;
    assert_eq!(first.body["bookings"].as_array().unwrap().len(), 100);
    let next = first.body["next"].as_str().unwrap();
    let path = format!("/shows/hamlet/bookings?behind={next}");
    let second = client.get(&path).await.expect(200);
    assert_eq!(second.body["bookings"].as_array().unwrap().len(), 50);
    assert_eq!(second.body["next"], json!(null));
    let wrong = client.get("/shows/hamlet/bookings?behind=17").await;
    wrong.expect(400).problem();
}

#[tokio::test]
async fn a_token_waits_for_effects_in_all_applications() {
    let service = Running::on_memory("caused").await;
    let client = service.client;
    client.announce("hamlet", 1_000).await.expect(201);
    for count in 0..20 {
        let booked = client.ask(&format!("key-{count}"), "hamlet", 2).await;
        let booked = booked.expect(201);
        let tickets = format!("{}/tickets", booked.header("location"));
        let tickets = client.get_after(&tickets, &booked.token()).await;
        let seats = json!([2 * count + 1, 2 * count + 2]);
        assert_eq!(tickets.expect(200).body["seat_numbers"], seats);
    }
}

#[tokio::test]
async fn a_wait_is_bounded() {
    let limits = ServiceLimits {
        wait_max: Duration::from_millis(50),
        ..ServiceLimits::default()
    };
    let infrastructure = Infrastructure::new(Arc::new(MemoryStore::new()));
    let service = Running::start(&infrastructure, limits).await;
    let client = service.client;
    client.announce("hamlet", 10).await.expect(201);
    for path in ["/shows/hamlet/bookings", "/shows/hamlet"] {
        let early = client.get_after(path, "bookings:1000").await.expect(503);
        assert_eq!(early.problem(), "not-yet");
        assert_eq!(early.header("retry-after"), "1");
    }
}
