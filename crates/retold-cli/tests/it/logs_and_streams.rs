//! `retold logs` and `retold streams`.

use serde_json::json;

use crate::command::run;
use crate::store::Place;

#[test]
fn logs_are_listed() {
    let place = Place::with_dogs();
    let objects = run(&["logs", &place.url(), "--json"]).objects();
    let cats = json!({
        "log": "cats", "id": "00000000-0000-0000-0000-0000000001ab",
        "events": 0, "appends": 0, "last_time": null,
    });
    let dogs = json!({
        "log": "dogs", "id": "00000000-0000-0000-0000-0000000001ad",
        "events": 5, "appends": 4, "last_time": "2013-01-01T05:17:00Z",
    });
    assert_eq!(objects, [cats, dogs]);

    let lines = run(&["logs", &place.url()]).fine();
    assert_eq!(
        lines,
        "cats\t0\t0\t-\t00000000-0000-0000-0000-0000000001ab\n\
         dogs\t5\t4\t2013-01-01T05:17:00Z\t00000000-0000-0000-0000-0000000001ad\n"
    );
}

#[test]
fn a_store_without_logs_says_so() {
    let place = Place::new();
    drop(place.open());
    let run = run(&["logs", &place.url()]);
    assert_eq!(run.err, "the store has no logs yet\n");
    assert_eq!(run.fine(), "");
}

#[test]
fn streams_are_listed() {
    let place = Place::with_dogs();
    let url = place.url();
    let check = |options: &[&str], expected: &str| {
        let arguments = [&["streams", &*url, "dogs"], options].concat();
        assert_eq!(run(&arguments).fine(), expected, "{options:?}");
    };
    check(&[], "2\tdog/1\t-\n2\tdog/2\t-\n");
    check(&["--prefix", "dog/2"], "2\tdog/2\t-\n");
    check(&["--prefix", "cat/"], "");
    check(&["--after", "dog/1"], "2\tdog/2\t-\n");
    check(&["--limit", "1"], "2\tdog/1\t-\n");
    check(
        &["--limit", "1", "--json"],
        "{\"stream\":\"dog/1\",\"version\":2,\"deleted\":false}\n",
    );
}
