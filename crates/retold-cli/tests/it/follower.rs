//! `retold follower`: actions, and their refusals.

use std::fs;

use serde_json::json;

use crate::command::{Run, run};
use crate::shop::{event_count, follower, order_tea, parked, process, with_poison};
use crate::store::{Place, event};

fn act(place: &Place, act: &str, which: [&str; 2], rest: &[&str]) -> Run {
    let url = place.url();
    let [log, name] = which;
    run(&[&["follower", act, &url, log, name], rest].concat())
}

const STOCK: [&str; 2] = ["stock", "reservations"];
const LETTERS: [&str; 2] = ["letters", "thanks"];

#[test]
fn a_follower_is_paused_and_resumed() {
    let place = with_poison();
    let url = place.url();
    let out = act(&place, "pause", STOCK, &["--reason", "stock-taking"]).fine();
    assert_eq!(
        out,
        format!(
            "reservations of stock is paused. It records nothing more until \
             `retold follower resume {url} stock reservations`.\n\
             Processes that run it notice this. If none runs, it applies from the next start.\n"
        )
    );
    let count = event_count(&place, "stock");
    let orders = place.log(&*place.open(), "orders");
    place.append(&*orders, [event(1, "Unheard", "{}")]);
    process(&place);
    assert_eq!(event_count(&place, "stock"), count);

    let again = act(&place, "pause", STOCK, &["--reason", "another"]).fine();
    assert_eq!(
        again,
        "reservations of stock is already paused: stock-taking. Nothing was recorded.\n"
    );
    assert_eq!(event_count(&place, "stock"), count);

    let out = act(&place, "resume", STOCK, &[]).fine();
    assert!(
        out.starts_with(
            "reservations of stock is resumed. It was paused: stock-taking\n\
             It retries 3 parked events.\n"
        ),
        "{out}"
    );
    let reservations = follower(&place, "stock", "reservations");
    let record = place.block_on(reservations.record());
    assert_eq!(record.paused, None);
}

/// Goal: a process that runs the follower notices an action. Method: this process runs it, and the
/// command acts between two orders.
#[test]
fn a_running_process_notices() {
    let place = with_poison();
    let runner = process(&place);
    let counts = || ["orders", "stock"].map(|log| event_count(&place, log));
    order_tea(&place, &runner);
    let [orders, stock] = counts();
    act(&place, "pause", STOCK, &["--reason", "stock-taking"]).fine();
    order_tea(&place, &runner);
    // The action.
    assert_eq!(counts(), [orders + 1, stock + 1]);
    act(
        &place,
        "skip",
        STOCK,
        &["orders", "3", "--reason", "poison"],
    )
    .fine();
    act(&place, "resume", STOCK, &[]).fine();
    order_tea(&place, &runner);
    // The actions, two notes with an effect each, and the effects of two orders.
    assert_eq!(counts(), [orders + 2, stock + 3 + 4 + 2]);
    assert_eq!(parked(&place, "stock", "reservations"), [0; 0]);
}

#[test]
fn resuming_a_running_follower_records_nothing() {
    let place = Place::new();
    let url = place.url();
    drop(place.open());
    process(&place);
    let count = event_count(&place, "stock");
    let out = run(&["follower", "resume", &url, "stock", "reservations"]).fine();
    assert_eq!(
        out,
        "reservations of stock is not paused and has no parked events. Nothing was recorded.\n"
    );
    assert_eq!(event_count(&place, "stock"), count);
}

#[test]
fn a_parked_event_is_skipped_and_the_events_behind_it_are_processed() {
    let place = with_poison();
    let url = place.url();
    let out = act(
        &place,
        "skip",
        STOCK,
        &["orders", "3", "--reason", "poison"],
    )
    .fine();
    assert!(
        out.starts_with("reservations of stock skips the event at 3 of orders, "),
        "{out}"
    );
    assert!(
        out.contains(&format!(
            "2 events of its stream \"Order/bob\" stay parked until \
             `retold follower resume {url} stock reservations`.\n"
        )),
        "{out}"
    );
    assert_eq!(parked(&place, "stock", "reservations"), [4, 5]);
    act(&place, "resume", STOCK, &[]).fine();
    let count = event_count(&place, "stock");
    process(&place);
    assert_eq!(parked(&place, "stock", "reservations"), [0; 0]);
    // Two notes, two effects.
    assert_eq!(event_count(&place, "stock"), count + 4);
}

#[test]
fn the_log_of_a_skipped_event_may_be_named_by_its_id() {
    let place = with_poison();
    let objects = run(&["follower", "list", &place.url(), "stock", "--json"]).objects();
    let id = objects[0]["upstream_log"].as_str().unwrap();
    let rest = [id, "3", "--reason", "poison", "--json"];
    let objects = act(&place, "skip", STOCK, &rest).objects();
    assert_eq!(objects[0]["upstream"], "orders");
    assert_eq!(objects[0]["held_back"], 2);
    act(&place, "skip", STOCK, &[id, "3", "--reason", "poison"])
        .check_refused(1, "has not parked the event at 3");
}

#[test]
fn a_follower_is_reset() {
    let place = with_poison();
    let content = fs::read(place.path()).unwrap();
    let refused = act(&place, "reset", LETTERS, &[]);
    refused.check_refused(2, "add --yes");
    refused.check_refused(
        2,
        "generation 2:\n  orders: from its first event, 5 events to process",
    );
    assert_eq!(fs::read(place.path()).unwrap(), content);

    let out = act(&place, "reset", LETTERS, &["--after", "orders=3", "--yes"]).fine();
    assert!(
        out.starts_with(
            "thanks of letters is reset and starts as generation 2:\n  \
             orders: after 3, 2 events to process\n\
             It stays paused until `retold follower resume "
        ),
        "{out}"
    );
    act(&place, "resume", LETTERS, &[]).fine();
    let count = event_count(&place, "letters");
    process(&place);
    assert_eq!(event_count(&place, "letters"), count + 2);

    let objects = act(&place, "reset", LETTERS, &["--from-now", "--yes", "--json"]).objects();
    assert_eq!(objects[0]["generation"], 3);
    assert_eq!(objects[0]["starts"][0]["after"], 5);
    assert_eq!(objects[0]["starts"][0]["events"], 0);
    let count = event_count(&place, "letters");
    process(&place);
    assert_eq!(event_count(&place, "letters"), count);

    act(&place, "reset", LETTERS, &["--after", "orders=0", "--yes"]).fine();
    let objects = run(&["follower", "list", &place.url(), "letters", "--json"]).objects();
    assert_eq!(objects[0]["generation"], 4);
    assert_eq!(objects[0]["lag_events"], json!(5));
}

#[test]
fn an_unknown_name_is_refused_with_the_known_ones() {
    let place = with_poison();
    let reason = ["--reason", "x"];
    for name in ["pause", "resume", "reset"] {
        let rest: &[&str] = match name {
            "pause" => &reason,
            "reset" => &["--yes"],
            _ => &[],
        };
        let log = act(&place, name, ["stocks", "reservations"], rest);
        log.check_refused(1, "its logs are: letters, orders, stock");
        let follower = act(&place, name, ["stock", "thanks"], rest);
        follower.check_refused(1, "no follower \"thanks\" has started in the log \"stock\"");
        follower.check_refused(1, "its followers are: reservations");
        act(&place, name, ["orders", "thanks"], rest).check_refused(1, "no other has either");
    }
    let skip = |rest: &[&str]| act(&place, "skip", STOCK, &[rest, &reason].concat());
    skip(&["letters", "3"]).check_refused(1, "it follows: orders");
    skip(&["orders", "2"]).check_refused(1, "its parked events are: 3, 4, 5");
    skip(&["orders", "0"]).check_refused(2, "positions count from 1");
    let reset = |rest: &[&str]| act(&place, "reset", STOCK, &[rest, &["--yes"]].concat());
    reset(&["--after", "order=1"]).check_refused(1, "it follows: orders");
    reset(&["--after", "orders=6"]).check_refused(1, "ends at 5");
    reset(&["--after", "orders"]).check_refused(2, "flights=9000");
    reset(&["--after", "orders=1", "--after", "orders=2"]).check_refused(2, "twice");
    reset(&["--from-now", "--after", "orders=1"]).check_refused(2, "cannot be used with");
    act(&place, "pause", STOCK, &[]).check_refused(2, "--reason");
    act(&place, "pause", STOCK, &["--reason", ""]).check_refused(2, "--reason");
    assert_eq!(run(&["logs", &place.url()]).fine().lines().count(), 3);
}

#[test]
fn an_action_creates_no_file() {
    let place = Place::new();
    let missing = act(&place, "pause", STOCK, &["--reason", "x"]);
    missing.check_refused(1, "there is no file");
    assert_eq!(place.files(), [""; 0]);
}

/// Goal: a program that runs the follower makes the requested change, all partitions are listed,
/// and requesting the present number cancels the change.
#[test]
fn a_follower_is_repartitioned_by_the_programs_that_run_it() {
    let place = with_poison();
    let url = place.url();
    let out = act(&place, "partition", STOCK, &["3"]).fine();
    assert!(
        out.starts_with("reservations of stock has 1 partition and is changing to 3.\n"),
        "{out}"
    );
    let again = act(&place, "partition", STOCK, &["3"]).fine();
    assert_eq!(
        again,
        "reservations of stock has 1 partition and is already changing to 3. \
         Nothing was recorded.\n"
    );
    let line = run(&["follower", "list", &url, "stock"]).fine();
    assert!(
        line.starts_with("stock\treservations@1\torders\t5\t5\t"),
        "{line}"
    );
    assert!(
        line.ends_with("\tstopped; parked; repartitioning: changing to 3 partitions\n"),
        "{line}"
    );

    process(&place);
    let objects = run(&["follower", "list", &url, "stock", "--json"]).objects();
    let partitions: Vec<_> = objects
        .iter()
        .map(|it| {
            json!([
                it["generation"],
                it["partition"],
                it["partitions"],
                it["checkpoint"]
            ])
        })
        .collect();
    let expected = [0, 1, 2].map(|partition| json!([2, partition, 3, 5]));
    assert_eq!(partitions, expected);
    let lines = run(&["follower", "list", &url, "stock"]).fine();
    assert!(
        lines.contains("\nstock\treservations@2/1\torders\t"),
        "{lines}"
    );
    // Parked events stay parked.
    assert_eq!(parked(&place, "stock", "reservations"), [3, 4, 5]);

    let objects = act(&place, "partition", STOCK, &["2", "--json"]).objects();
    let expected = json!({
        "action": "partition", "log": "stock", "follower": "reservations", "recorded": true,
        "partitions": 3, "partitioning": 2,
    });
    assert_eq!(objects, [expected]);
    let out = act(&place, "partition", STOCK, &["3"]).fine();
    assert!(
        out.starts_with("reservations of stock keeps its 3 partitions.\n"),
        "{out}"
    );
    let out = act(&place, "partition", STOCK, &["3"]).fine();
    assert_eq!(
        out,
        "reservations of stock already has 3 partitions. Nothing was recorded.\n"
    );
}

#[test]
fn a_follower_is_retired_and_resumed() {
    let place = with_poison();
    let url = place.url();
    let out = act(&place, "retire", LETTERS, &["--reason", "no more letters"]).fine();
    assert_eq!(
        out,
        format!(
            "thanks of letters is retired. A program that declares it is refused. To undo this, \
             run `retold follower resume {url} letters thanks`.\n\
             Processes that run it notice this. If none runs, it applies from the next start.\n"
        )
    );
    let again = act(&place, "retire", LETTERS, &["--reason", "again"]).fine();
    assert_eq!(
        again,
        "thanks of letters is already retired: no more letters. Nothing was recorded.\n"
    );
    let line = run(&["follower", "list", &url, "letters"]).fine();
    assert!(line.ends_with("\tretired: no more letters\n"), "{line}");
    let status = run(&["system", "status", &url]).fine();
    assert!(
        status.contains("\tretired: no more letters\t-\n"),
        "{status}"
    );
    let paused = act(&place, "pause", LETTERS, &["--reason", "for a while"]);
    paused.check_refused(1, "is retired (no more letters)");

    let out = act(&place, "resume", LETTERS, &[]).fine();
    assert!(
        out.starts_with("thanks of letters is resumed. It was retired: no more letters\n"),
        "{out}"
    );
    process(&place);
}
