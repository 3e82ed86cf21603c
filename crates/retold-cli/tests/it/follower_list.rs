//! `retold follower list`.

use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::{Value, json};

use retold::system::Runner;

use crate::command::run;
use crate::shop::{event_count, node, order_late, process, with_poison};
use crate::store::{Place, event};

#[test]
fn followers_are_listed_with_their_progress() {
    let place = with_poison();
    let url = place.url();
    let mut objects = run(&["follower", "list", &url, "--json"]).objects();
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
    let reason = "the policy for the event at 3 of \"orders\" failed: refused: it is\tpoison";
    let thanks = json!({
        "log": "letters", "follower": "thanks", "generation": 1, "upstream": "orders",
        "upstream_state": "local", "checkpoint": 2, "head": 5, "lag_events": 3, "parked": 0,
        "paused": reason, "system": "shop", "is_known": false, "state": "paused",
    });
    let reservations = json!({
        "log": "stock", "follower": "reservations", "generation": 1, "upstream": "orders",
        "upstream_state": "local", "checkpoint": 5, "head": 5, "lag_events": 0, "parked": 3,
        "paused": null, "system": "shop", "is_known": false, "state": "stopped",
    });
    assert_eq!(objects, [thanks, reservations]);

    let line = run(&["follower", "list", &url, "stock"]).fine();
    assert_eq!(
        line,
        "stock\treservations@1\torders\t5\t5\t0\t0.0\t3\tstopped; parked\n"
    );
    let line = run(&["follower", "list", &url, "letters"]).fine();
    let (_, state) = line.rsplit_once('\t').unwrap();
    assert_eq!(
        state,
        "paused: the policy for the event at 3 of \"orders\" failed: refused: it is poison; \
         stopped\n"
    );
}

#[test]
fn parked_events_are_listed() {
    let place = with_poison();
    let url = place.url();
    let objects = run(&["follower", "list", &url, "--parked", "--json"]).objects();
    let parked: Vec<_> = objects
        .iter()
        .map(|it| (&it["position"], &it["stream"], &it["failure"]))
        .collect();
    let (bob, null) = (json!("Order/bob"), Value::Null);
    let failure = json!("refused: it is\tpoison");
    assert_eq!(
        parked,
        [
            (&json!(3), &bob, &failure),
            (&json!(4), &bob, &null),
            (&json!(5), &bob, &null),
        ]
    );
    assert_eq!(objects[0]["follower"], "reservations");

    let lines = run(&["follower", "list", &url, "stock", "--parked"]).fine();
    let lines: Vec<&str> = lines.lines().collect();
    let id = objects[0]["event_id"].as_str().unwrap();
    assert_eq!(
        lines[0],
        format!("stock\treservations\torders\t3\t{id}\tOrder/bob\trefused: it is poison")
    );
    assert!(lines[1].ends_with("\tOrder/bob\theld back"), "{lines:?}");
    let none = run(&["follower", "list", &url, "letters", "--parked"]);
    assert_eq!((&*none.out, &*none.err), ("", "no event is parked\n"));
}

#[test]
fn a_store_without_followers_says_so() {
    let place = Place::with_dogs();
    let run = run(&["follower", "list", &place.url()]);
    assert_eq!(run.err, "no follower has started\n");
    assert_eq!(run.fine(), "");
}

#[test]
fn followers_are_listed_while_a_program_writes() {
    let place = with_poison();
    let store = place.open();
    let orders = place.log(&*store, "orders");
    place.append(&*orders, [event(1, "Unheard", "{}")]);
    let objects = run(&["follower", "list", &place.url(), "stock", "--json"]).objects();
    assert_eq!(
        (&objects[0]["head"], &objects[0]["lag_events"]),
        (&json!(6), &json!(1))
    );
    place.append(&*orders, [event(2, "Unheard", "{}")]);
    process(&place);
    let objects = run(&["follower", "list", &place.url(), "stock", "--json"]).objects();
    assert_eq!(
        (&objects[0]["head"], &objects[0]["lag_events"]),
        (&json!(7), &json!(0))
    );
    assert_eq!(event_count(&place, "orders"), 7);
}

/// Maximum wait for a state.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Waits until the command lists the follower `reservations` in this state, and returns its line.
#[track_caller]
fn until_state(place: &Place, state: &str) -> String {
    let url = place.url();
    let began = Instant::now();
    loop {
        let objects = run(&["follower", "list", &url, "stock", "--json"]).objects();
        if objects.first().is_some_and(|it| it["state"] == state) {
            return run(&["follower", "list", &url, "stock"]).fine();
        }
        assert!(began.elapsed() < WAIT_MAX, "{objects:?}");
    }
}

/// Goal: a follower that a node runs is listed as running, and as retrying while its policy fails.
#[test]
fn a_running_follower_retries() {
    let place = Place::new();
    drop(place.open());
    let node = node(&place, "only");
    let running = until_state(&place, "running");
    assert!(running.ends_with("\trunning\n"), "{running}");
    order_late(&place, &node);
    let retrying = until_state(&place, "retrying");
    assert!(retrying.contains("\tretrying: only: "), "{retrying}");
    assert!(retrying.contains("asking the supplier"), "{retrying}");
    place.block_on(async { Ok::<_, retold::Error>(node.stop().await) });
    let stopped = until_state(&place, "stopped");
    assert!(stopped.ends_with("\tstopped\n"), "{stopped}");
}

/// Changes the store with SQL, then checks the state of the followed log.
#[track_caller]
fn check_upstream(change: &str, state: &str, message: &str) {
    let place = with_poison();
    let db = Connection::open(place.path()).unwrap();
    db.execute_batch(change).unwrap();
    drop(db);
    let url = place.url();
    let objects = run(&["follower", "list", &url, "stock", "--json"]).objects();
    assert_eq!(objects[0]["upstream_state"], state, "{objects:?}");
    assert_eq!(objects[0]["lag_events"], Value::Null);
    let line = run(&["follower", "list", &url, "stock"]).fine();
    assert!(line.contains(message), "{line}");
}

#[test]
fn a_log_that_is_not_the_followed_one_is_reported() {
    check_upstream(
        "DROP TRIGGER log_never_changes; UPDATE log SET id = zeroblob(16) WHERE name = 'orders'",
        "replaced",
        "another id",
    );
    check_upstream(
        "DROP TRIGGER log_never_changes;
         UPDATE log SET name = 'elsewhere', id = zeroblob(16) WHERE name = 'orders'",
        "remote",
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
