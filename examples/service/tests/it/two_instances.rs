//! Tests of two instances of the service on one SQLite file.

use std::collections::BTreeSet;

use crate::running::Running;

/// Number of guests who request two seats each, of [`SEATS`].
const GUESTS: usize = 30;

const SEATS: usize = 40;

/// Goal: every booking is processed once, regardless of which instance accepted it and which did
/// the work, even if a guest sends the same request to both. Method: all requests go to both at the
/// same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_instances_on_one_file_process_exactly_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("office.db");
    let (left, right) = (Running::on_file(&path).await, Running::on_file(&path).await);
    left.client
        .announce("hamlet", SEATS as u32)
        .await
        .expect(201);

    let mut booked = Vec::new();
    for guest in 0..GUESTS {
        let key = format!("key-{guest}");
        let (one, two) = tokio::join!(
            left.client.ask(&key, "hamlet", 2),
            right.client.ask(&key, "hamlet", 2)
        );
        let statuses = BTreeSet::from([one.status, two.status]);
        assert_eq!(statuses, BTreeSet::from([200, 201]), "{one:?} {two:?}");
        assert_eq!(one.body["booking"], two.body["booking"]);
        assert_eq!(one.token(), two.token());
        booked.push(one);
    }

    let mut seats = BTreeSet::new();
    let mut declined = 0;
    for (index, booked) in booked.iter().enumerate() {
        // Each is read from the instance that may not have done the work.
        let client = [left.client, right.client][index % 2];
        let location = booked.header("location");
        let booking = client.get_after(location, &booked.token()).await;
        let booking = booking.expect(200);
        if booking.body["status"] == "declined" {
            declined += 1;
            continue;
        }
        assert_eq!(booking.body["status"], "confirmed");
        let tickets = client.get(&format!("{location}/tickets")).await;
        let tickets = tickets.expect(200);
        assert_eq!(tickets.body["issued"], 1);
        assert_eq!(tickets.body["seat_numbers"], booking.body["seat_numbers"]);
        for seat in tickets.body["seat_numbers"].as_array().unwrap() {
            assert!(seats.insert(seat.as_u64().unwrap()), "seat {seat} twice");
        }
    }
    assert_eq!(seats.len(), SEATS);
    assert_eq!(declined, GUESTS - SEATS / 2);

    // Each instance has the whole list in its own view.
    let token = booked.last().unwrap().token();
    for client in [left.client, right.client] {
        let list = client.get_after("/shows/hamlet/bookings", &token).await;
        let list = list.expect(200);
        assert_eq!(list.body["bookings"].as_array().unwrap().len(), GUESTS);
    }

    for client in [left.client, right.client] {
        client.until_ready().await;
    }

    // One instance stops; the other continues alone.
    assert!(left.stop().await.is_clean());
    let cancel = format!("{}/cancel", booked[0].header("location"));
    let cancelled = right.client.post(&cancel, &[]).await.expect(200);
    let token = cancelled.token();
    let show = right.client.get_after("/shows/hamlet", &token).await;
    assert_eq!(show.expect(200).body["free"], 2);
    assert!(right.stop().await.is_clean());
}
