//! `retold events`.

use std::io::{BufRead, BufReader, Read};

use serde_json::json;

use crate::command::{retold, run};
use crate::store::{Place, event};

#[test]
fn an_event_is_shown_with_everything_that_is_stored() {
    let place = Place::with_dogs();
    let url = place.url();
    let mut objects = run(&["events", &url, "dogs", "--json"]).objects();
    assert_eq!(objects.len(), 5);
    let recorded_at = objects[0].as_object_mut().unwrap().remove("recorded_at");
    assert!(recorded_at.is_some_and(|it| it.is_string()));
    assert_eq!(
        objects[0],
        json!({
            "position": 1, "id": "00000000-0000-0000-0000-000000000001",
            "stream": "dog/1", "version": 1, "topic": "Dog.Registered", "revision": 1,
            "tags": ["breed:setter", "colour:red"], "time": "2013-01-01T05:17:00Z",
            "append_index": 0, "append_count": 1, "origin": "command",
            "metadata": {"user": "ann"}, "encoding": "json",
            "payload": {"name": "Fido", "weight": 12.5},
        })
    );
    assert_eq!(objects[2]["append_index"], 1);
    assert_eq!(objects[3]["stream"], json!(null));
    assert_eq!(objects[4]["erased"], json!(true));
    assert_eq!(objects[4].get("payload"), None);
}

#[test]
fn a_pipe_gets_one_line_with_all_columns_per_event() {
    let place = Place::with_dogs();
    let lines = run(&["events", &place.url(), "dogs"]).fine();
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(
        lines[0],
        "1\t00000000-0000-0000-0000-000000000001\t2013-01-01T05:17:00Z\tdog/1\t1\tDog.Registered\t\
         breed:setter colour:red\t{\"name\":\"Fido\",\"weight\":12.50}"
    );
    assert_eq!(
        lines[3],
        "4\t00000000-0000-0000-0000-000000000004\t2013-01-01T05:17:00Z\t-\t-\tKennel.Opened\t\t{}"
    );
    assert!(lines[4].ends_with("\t(erased)"));
    assert_eq!(lines.len(), 5);
}

#[test]
fn events_are_selected() {
    let place = Place::with_dogs();
    let url = place.url();
    let check = |options: &[&str], expected: &[u64]| {
        let arguments = [&["events", &*url, "dogs", "--json"], options].concat();
        let objects = run(&arguments).objects();
        let positions: Vec<u64> = objects
            .iter()
            .map(|it| it["position"].as_u64().unwrap())
            .collect();
        assert_eq!(positions, expected, "{options:?}");
    };
    check(&["--stream", "dog/1"], &[1, 2]);
    check(&["--stream", "dog/1", "--stream", "dog/2"], &[1, 2, 3, 5]);
    check(&["--topic", "Dog.Registered"], &[1, 3]);
    check(&["--tag", "breed:setter"], &[1, 3]);
    check(&["--tag", "breed:setter", "--tag", "colour:red"], &[1]);
    check(&["--tag", "breed:setter", "--stream", "dog/2"], &[3]);
    check(&["--topic", "No.Such"], &[]);
    check(&["--after", "0"], &[1, 2, 3, 4, 5]);
    check(&["--after", "3"], &[4, 5]);
    check(&["--after", "1", "--until", "3"], &[2, 3]);
    check(&["--after", "99"], &[]);
    check(&["--limit", "2"], &[1, 2]);
    check(&["--backward", "--limit", "2"], &[5, 4]);
    check(&["--backward", "--after", "3"], &[2, 1]);
    check(&["--backward", "--tag", "breed:setter"], &[3, 1]);
}

#[test]
fn a_log_of_many_pages_is_shown_completely() {
    const COUNT: u128 = 2_500;
    let place = Place::new();
    let log = place.log(&*place.open(), "many");
    place.append(&*log, (1..=COUNT).map(|it| event(it, "Counted", "{}")));
    let url = place.url();
    for options in [&[][..], &["--backward"]] {
        let arguments = [&["events", &*url, "many"], options].concat();
        let lines = run(&arguments).fine();
        assert_eq!(lines.lines().count() as u128, COUNT, "{options:?}");
    }
    let limited = run(&["events", &place.url(), "many", "--limit", "2100"]).fine();
    assert_eq!(limited.lines().count(), 2_100);
}

/// Goal: `retold events … | head` ends quietly and with success. Method: more events than a pipe
/// holds, of which one is read.
#[test]
fn a_pipe_that_is_closed_early_ends_it_quietly() {
    let place = Place::new();
    let log = place.log(&*place.open(), "many");
    place.append(&*log, (1..=9_000).map(|it| event(it, "Counted", "{}")));
    let url = place.url();
    for form in [&["--json"][..], &[]] {
        let arguments = [&["events", &*url, "many"], form].concat();
        let mut child = retold(&arguments).spawn().unwrap();
        let mut line = String::new();
        BufReader::with_capacity(16, child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let mut err = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut err)
            .unwrap();
        assert!(!line.is_empty());
        assert_eq!(
            (child.wait().unwrap().code(), &*err),
            (Some(0), ""),
            "{form:?}"
        );
    }
}
