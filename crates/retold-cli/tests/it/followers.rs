//! `retold followers`.

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::command::run;
use crate::shop::{event_count, process, with_poison};
use crate::store::{Place, event};

#[test]
fn followers_are_listed_with_how_far_they_are() {
    let place = with_poison();
    let url = place.url();
    let mut objects = run(&["followers", &url, "--json"]).objects();
    assert_eq!(objects.len(), 2, "{objects:?}");
    for object in &mut objects {
        let object = object.as_object_mut().unwrap();
        assert!(
            object
                .remove("upstream_log")
                .is_some_and(|it| it.is_string())
        );
        let seconds = object.remove("lag_seconds").and_then(|it| it.as_f64());
        let is_behind = object["lag_events"] != 0;
        assert_eq!(seconds.is_some_and(|it| it > 0.0), is_behind, "{object:?}");
    }
    let reason =
        "the policy for the event at 3 of \"orders\" failed: refused: nobody sells\tpoison";
    let thanks = json!({
        "log": "letters", "follower": "thanks", "generation": 1, "upstream": "orders",
        "upstream_state": "here", "checkpoint": 2, "head": 5, "lag_events": 3, "parked": 0,
        "paused": reason, "system": "shop", "is_known": false,
    });
    let reservations = json!({
        "log": "stock", "follower": "reservations", "generation": 1, "upstream": "orders",
        "upstream_state": "here", "checkpoint": 5, "head": 5, "lag_events": 0, "parked": 3,
        "paused": null, "system": "shop", "is_known": false,
    });
    assert_eq!(objects, [thanks, reservations]);

    let line = run(&["followers", &url, "stock"]).fine();
    assert_eq!(
        line,
        "stock\treservations@1\torders\t5\t5\t0\t0.0\t3\tno running system knows it\n"
    );
    let line = run(&["followers", &url, "letters"]).fine();
    let (_, state) = line.rsplit_once('\t').unwrap();
    assert_eq!(
        state,
        "paused: the policy for the event at 3 of \"orders\" failed: refused: nobody sells poison; \
         no running system knows it\n"
    );
}

#[test]
fn what_is_parked_is_listed() {
    let place = with_poison();
    let url = place.url();
    let objects = run(&["followers", &url, "--parked", "--json"]).objects();
    let told: Vec<_> = objects
        .iter()
        .map(|it| (&it["position"], &it["stream"], &it["failure"]))
        .collect();
    let (bob, null) = (json!("Order/bob"), Value::Null);
    let failure = json!("refused: nobody sells\tpoison");
    assert_eq!(
        told,
        [
            (&json!(3), &bob, &failure),
            (&json!(4), &bob, &null),
            (&json!(5), &bob, &null),
        ]
    );
    assert_eq!(objects[0]["follower"], "reservations");

    let lines = run(&["followers", &url, "stock", "--parked"]).fine();
    let lines: Vec<&str> = lines.lines().collect();
    let id = objects[0]["event_id"].as_str().unwrap();
    assert_eq!(
        lines[0],
        format!("stock\treservations\torders\t3\t{id}\tOrder/bob\trefused: nobody sells poison")
    );
    assert!(lines[1].ends_with("\tOrder/bob\theld back"), "{lines:?}");
    let none = run(&["followers", &url, "letters", "--parked"]);
    assert_eq!((&*none.out, &*none.err), ("", "nothing is parked\n"));
}

#[test]
fn a_store_without_followers_says_so() {
    let place = Place::with_dogs();
    let run = run(&["followers", &place.url()]);
    assert_eq!(run.err, "no follower has started\n");
    assert_eq!(run.fine(), "");
}

#[test]
fn followers_are_listed_while_somebody_writes() {
    let place = with_poison();
    let store = place.open();
    let orders = place.log(&*store, "orders");
    place.append(&*orders, [event(1, "Unheard", "{}")]);
    let objects = run(&["followers", &place.url(), "stock", "--json"]).objects();
    assert_eq!(
        (&objects[0]["head"], &objects[0]["lag_events"]),
        (&json!(6), &json!(1))
    );
    place.append(&*orders, [event(2, "Unheard", "{}")]);
    process(&place);
    let objects = run(&["followers", &place.url(), "stock", "--json"]).objects();
    assert_eq!(
        (&objects[0]["head"], &objects[0]["lag_events"]),
        (&json!(7), &json!(0))
    );
    assert_eq!(event_count(&place, "orders"), 7);
}

/// Changes the store behind its back, then checks what is said of the log that is followed.
#[track_caller]
fn check_upstream(change: &str, state: &str, said: &str) {
    let place = with_poison();
    let db = Connection::open(place.path()).unwrap();
    db.execute_batch(change).unwrap();
    drop(db);
    let url = place.url();
    let objects = run(&["followers", &url, "stock", "--json"]).objects();
    assert_eq!(objects[0]["upstream_state"], state, "{objects:?}");
    assert_eq!(objects[0]["lag_events"], Value::Null);
    let line = run(&["followers", &url, "stock"]).fine();
    assert!(line.contains(said), "{line}");
}

#[test]
fn a_log_that_is_not_the_one_that_was_followed_is_told() {
    check_upstream(
        "DROP TRIGGER log_never_changes; UPDATE log SET id = zeroblob(16) WHERE name = 'orders'",
        "replaced",
        "another id",
    );
    check_upstream(
        "DROP TRIGGER log_never_changes;
         UPDATE log SET name = 'elsewhere', id = zeroblob(16) WHERE name = 'orders'",
        "elsewhere",
        "another store",
    );
    check_upstream(
        "DROP TRIGGER event_is_never_deleted;
         DELETE FROM event
         WHERE seq = (SELECT key FROM log WHERE name = 'orders') * (1 << 40) + 5",
        "diverged",
        "the event of the checkpoint",
    );
}
