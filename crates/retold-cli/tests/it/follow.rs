//! `retold events --follow`: shows new events until Ctrl-C.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::Value;

use crate::command::retold;
use crate::store::{Place, event};

/// Maximum wait for a line.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A command that follows a log.
struct Following {
    child: Child,
    lines: Receiver<String>,
}

impl Following {
    fn start(arguments: &[&str]) -> Self {
        let mut child = retold(arguments).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in out.lines() {
                // The receiver is gone if the test has failed.
                let _ = sender.send(line.unwrap());
            }
        });
        Self { child, lines }
    }

    /// Waits until it ends, and returns its exit code.
    #[track_caller]
    fn end(mut self) -> Option<i32> {
        let line = self.lines.recv_timeout(WAIT_MAX);
        assert_eq!(line, Err(RecvTimeoutError::Disconnected));
        self.child.wait().unwrap().code()
    }

    #[track_caller]
    fn next_position(&self) -> u64 {
        let line = self.lines.recv_timeout(WAIT_MAX).unwrap();
        let object: Value = serde_json::from_str(&line).unwrap();
        object["position"].as_u64().unwrap()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        // This fails if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn events_of_another_process_are_shown() {
    let place = Place::with_dogs();
    let url = place.url();
    let tag = ["--tag", "breed:setter"];
    let arguments = [&["events", &*url, "dogs", "--follow", "--json"], &tag[..]].concat();
    let following = Following::start(&arguments);
    assert_eq!(following.next_position(), 1);
    assert_eq!(following.next_position(), 3);

    let dogs = place.log(&*place.open(), "dogs");
    place.append(&*dogs, [event(6, "Dog.Fed", "{}")]);
    place.append(&*dogs, [event(7, "Dog.Fed", "{}").tag("breed:setter")]);
    assert_eq!(following.next_position(), 7);
    place.append(&*dogs, [event(8, "Dog.Fed", "{}").tag("breed:setter")]);
    assert_eq!(following.next_position(), 8);

    if cfg!(unix) {
        let id = following.child.id().to_string();
        let sent = Command::new("kill").args(["-INT", &id]).status().unwrap();
        assert!(sent.success());
        assert_eq!(following.end(), Some(0));
    }
}

#[test]
fn following_ends_at_its_limit() {
    let place = Place::with_dogs();
    let url = place.url();
    let arguments = [
        "events", &*url, "dogs", "--follow", "--json", "--limit", "6",
    ];
    let following = Following::start(&arguments);
    for position in 1..=5 {
        assert_eq!(following.next_position(), position);
    }
    let dogs = place.log(&*place.open(), "dogs");
    place.append(
        &*dogs,
        [event(6, "Dog.Fed", "{}"), event(7, "Dog.Fed", "{}")],
    );
    assert_eq!(following.next_position(), 6);
    assert_eq!(following.end(), Some(0));
}
