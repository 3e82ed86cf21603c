//! Tests of commands: idempotency, versions, refusals, and invalid input.

use hyper::Method;
use serde_json::json;

use crate::running::Running;

#[tokio::test]
async fn a_repeated_request_is_recorded_once_with_the_same_response() {
    let service = Running::on_memory("repeated").await;
    let client = service.client;
    client.announce("hamlet", 10).await.expect(201);

    let first = client.ask("key-1", "hamlet", 2).await.expect(201);
    let again = client.ask("key-1", "hamlet", 2).await.expect(200);
    assert_eq!(first.body["booking"], again.body["booking"]);
    assert_eq!(first.token(), again.token());
    assert_eq!(first.header("location"), again.header("location"));

    // The response stays the same, even if the request would be refused now.
    let caused = client.get_after("/shows/hamlet", &first.token()).await;
    assert_eq!(caused.expect(200).body["free"], 8);
    let other = client.ask("key-2", "hamlet", 2).await.expect(201);
    assert_ne!(first.body["booking"], other.body["booking"]);

    let otherwise = client.ask("key-1", "hamlet", 3).await.expect(422);
    assert_eq!(otherwise.problem(), "key-reused");
    assert!(service.stop().await.is_clean());
}

#[tokio::test]
async fn requests_without_a_key_are_independent() {
    let service = Running::on_memory("no-key").await;
    let client = service.client;
    let body = r#"{"show": "hamlet", "guest": "Ada", "seats": 1}"#;
    let send = || client.send(Method::POST, "/bookings", &[], body);
    let (first, second) = (send().await.expect(201), send().await.expect(201));
    assert_ne!(first.body["booking"], second.body["booking"]);
}

#[tokio::test]
async fn announcing_again_changes_nothing() {
    let service = Running::on_memory("announcing").await;
    let client = service.client;
    let first = client.announce("le%20roi", 5).await.expect(201);
    assert_eq!(first.body["show"], "le roi");
    assert_eq!(first.header("location"), "/shows/le%20roi");
    let again = client.announce("le%20roi", 5).await.expect(200);
    assert_eq!(again.header("etag"), first.header("etag"));
    assert_eq!(again.header("retold-position"), "", "nothing was recorded");

    let otherwise = client.announce("le%20roi", 6).await.expect(409);
    assert_eq!(otherwise.problem(), "announced-otherwise");
}

#[tokio::test]
async fn an_outdated_version_is_a_failed_precondition() {
    let service = Running::on_memory("version").await;
    let client = service.client;
    client.announce("hamlet", 10).await.expect(201);
    let seen = client.get("/shows/hamlet").await.expect(200);
    let etag = seen.header("etag").to_owned();
    assert_eq!(etag, "\"1\"");

    let rename = async |etag: &str, key: &str, title: &str| {
        let body = format!(r#"{{"title": "{title}"}}"#);
        let headers = [("if-match", etag), ("idempotency-key", key)];
        client
            .send(Method::PATCH, "/shows/hamlet", &headers, &body)
            .await
    };
    let renamed = rename(&etag, "one", "Hamlet, Prince").await.expect(200);
    assert_eq!(renamed.header("etag"), "\"2\"");
    let late = rename(&etag, "two", "Hamlet, King").await.expect(412);
    assert_eq!(late.problem(), "version-conflict");
    assert_eq!(late.header("etag"), "\"2\"", "the current version");
    // The repeated request is the same command, and its success is not a conflict.
    rename(&etag, "one", "Hamlet, Prince").await.expect(200);

    let reused = rename("\"2\"", "one", "Hamlet, King").await.expect(422);
    assert_eq!(reused.problem(), "key-reused");

    let body = r#"{"title": "Hamlet"}"#;
    let blind = client.send(Method::PATCH, "/shows/hamlet", &[], body).await;
    assert_eq!(blind.expect(428).problem(), "precondition-required");
    rename("2", "three", "Hamlet").await.expect(400);
    rename("\"0\"", "four", "Hamlet").await.expect(400);
}

#[tokio::test]
async fn refusals_come_from_the_domain() {
    let service = Running::on_memory("refusal").await;
    let client = service.client;
    client.announce("hamlet", 4).await.expect(201);
    let party = client.ask("party", "hamlet", 11).await.expect(422);
    assert_eq!(party.problem(), "party-size");
    let detail = "a booking has 1 to 10 seats; for more, contact the office";
    assert_eq!(party.body["detail"], detail);
    // No follower may receive a stream name that stores refuse.
    for name in ["", "ham\\nlet", &"h".repeat(300)] {
        let refused = client.ask("name", name, 1).await.expect(422);
        assert_eq!(refused.problem(), "no-such-name");
    }
    // A refusal records nothing, so the same request is decided again.
    client.ask("party", "hamlet", 4).await.expect(201);

    let late = client.ask("late", "hamlet", 1).await.expect(201);
    let path = late.header("location").to_owned();
    let declined = client.get_after(&path, &late.token()).await.expect(200);
    assert_eq!(declined.body["status"], "declined");
    assert_eq!(declined.body["why"], "0 seats are left");
    let cancel = client.post(&format!("{path}/cancel"), &[]).await;
    assert_eq!(cancel.expect(409).problem(), "was-declined");
    let nowhere = client.ask("nowhere", "macbeth", 1).await.expect(201);
    let path = nowhere.header("location").to_owned();
    let declined = client.get_after(&path, &nowhere.token()).await;
    assert_eq!(declined.body["why"], "there is no such show");
    client.get("/shows/macbeth").await.expect(404);
}

#[tokio::test]
async fn a_cancelled_booking_frees_its_seats() {
    let service = Running::on_memory("cancel").await;
    let client = service.client;
    client.announce("hamlet", 4).await.expect(201);
    let booked = client.ask("one", "hamlet", 4).await.expect(201);
    let path = booked.header("location").to_owned();
    let confirmed = client.get_after(&path, &booked.token()).await.expect(200);
    assert_eq!(confirmed.body["seat_numbers"], json!([1, 2, 3, 4]));

    let cancel = format!("{path}/cancel");
    let stale = [("if-match", "\"1\"")];
    let stale = client.post(&cancel, &stale).await.expect(412);
    assert_eq!(stale.problem(), "version-conflict");
    // The same key with another action on the same booking is a different command.
    let etag = confirmed.header("etag").to_owned();
    let headers = [("if-match", &*etag), ("idempotency-key", "one")];
    let cancelled = client.post(&cancel, &headers).await.expect(200);
    let again = client.post(&cancel, &headers).await.expect(200);
    assert_eq!(again.token(), cancelled.token());
    assert_eq!(cancelled.body["status"], "cancelled");
    client.post(&cancel, &[]).await.expect(200);

    let tickets = format!("{path}/tickets");
    let tickets = client.get_after(&tickets, &cancelled.token()).await;
    assert_eq!(tickets.expect(200).body["is_void"], true);
    let show = client.get("/shows/hamlet").await;
    assert_eq!(show.body["free"], 4);
}

#[tokio::test]
async fn errors_for_invalid_input_say_what_to_send() {
    let service = Running::on_memory("bad-input").await;
    let client = service.client;
    let book = async |headers: &[(&str, &str)], body: &str| {
        let answered = client.send(Method::POST, "/bookings", headers, body).await;
        let answered = answered.expect(400);
        assert_eq!(answered.problem(), "bad-request");
        answered.body["detail"].as_str().unwrap().to_owned()
    };
    assert!(book(&[], "{").await.contains("JSON"));
    assert!(book(&[], "{}").await.contains("missing field `show`"));
    let unknown = r#"{"show": "a", "guest": "b", "seats": 1, "row": 3}"#;
    assert!(book(&[], unknown).await.contains("unknown field `row`"));
    let negative = r#"{"show": "a", "guest": "b", "seats": -1}"#;
    assert!(book(&[], negative).await.contains("seats"));
    let good = r#"{"show": "a", "guest": "b", "seats": 1}"#;
    let empty = [("idempotency-key", "\"\"")];
    assert!(book(&empty, good).await.contains("send a new UUID"));
    let long = "k".repeat(2_000);
    let long = [("idempotency-key", &*long)];
    assert!(book(&long, good).await.contains("2000 bytes"));
    let twice = [("idempotency-key", "a"), ("idempotency-key", "b")];
    assert!(book(&twice, good).await.contains("given twice"));

    let large = format!(r#"{{"show": "{}"}}"#, "x".repeat(20_000));
    let large = client.send(Method::POST, "/bookings", &[], &large).await;
    large.expect(413).problem();
    client.get("/bookings/17").await.expect(404).problem();
    let absent = "/bookings/0192e4a0-0000-7000-8000-000000000000";
    client.get(absent).await.expect(404).problem();
    client
        .post(&format!("{absent}/cancel"), &[])
        .await
        .expect(404);
    client.get("/nowhere").await.expect(404).problem();
    client
        .post("/shows/hamlet", &[])
        .await
        .expect(405)
        .problem();
    let token = client.get("/shows/hamlet/bookings?after=seventeen").await;
    let detail = token.expect(400).body["detail"].to_string();
    assert!(detail.contains("such as bookings:17"), "{detail}");
    let other = client.get("/shows/hamlet/bookings?after=shows:1").await;
    other.expect(400).problem();
    let unknown = client.get("/shows/hamlet?after=cellar:1").await;
    let detail = unknown.expect(400).body["detail"].to_string();
    assert!(detail.contains("no application"), "{detail}");
}
