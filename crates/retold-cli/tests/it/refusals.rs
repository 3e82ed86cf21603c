//! What is refused, with which exit code and which words; and that looking changes nothing.

use std::fs;

use crate::command::run;
use crate::store::{Place, event};

#[test]
fn a_command_line_that_is_not_understood_ends_with_2() {
    let check = |arguments: &[&str], said: &str| run(arguments).check_refused(2, said);
    check(&[], "Usage: retold");
    check(&["log", "sqlite:dogs.db"], "similar subcommand");
    check(&["logs"], "<URL>");
    check(&["logs", "dogs.db"], "write sqlite:dogs.db");
    check(&["logs", "postgre:x"], "unknown scheme; known are");
    check(&["logs", "memory:x"], "no other can look into it");
    check(&["events", "sqlite:d.db", "d", "--limit", "0"], "--limit");
    check(&["events", "sqlite:d.db", "d", "--after", "x"], "--after");
    check(
        &["events", "sqlite:d.db", "d", "--follow", "--backward"],
        "cannot be used with",
    );
}

#[test]
fn help_and_version_are_fine() {
    assert!(run(&["--help"]).fine().contains("Exit codes:"));
    assert!(run(&["help", "events"]).fine().contains("Examples:"));
    assert_eq!(
        run(&["--version"]).fine(),
        format!("retold {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn a_file_that_is_not_there_is_named_and_not_made() {
    let place = Place::new();
    let url = place.url();
    for arguments in [
        &["logs", &*url][..],
        &["streams", &*url, "dogs"],
        &["events", &*url, "dogs"],
        &["verify", &*url],
        &["verify", &*url, "--retell"],
        &["followers", &*url],
        &["follower", "resume", &*url, "dogs", "walks"],
    ] {
        run(arguments).check_refused(1, &format!("there is no file {}", place.path().display()));
        assert_eq!(place.files(), [""; 0]);
    }
}

#[test]
fn a_file_that_is_no_store_is_refused_and_left_alone() {
    let place = Place::new();
    let url = place.url();
    for content in [&b"name,weight\nFido,12\n"[..], b"", &[0; 8192]] {
        fs::write(place.path(), content).unwrap();
        let run = run(&["logs", &url]);
        run.check_refused(1, &place.path().display().to_string());
        assert_eq!(fs::read(place.path()).unwrap(), content);
        assert_eq!(place.files(), ["dogs.db"]);
    }
}

#[test]
fn a_folder_is_refused() {
    let place = Place::new();
    let url = format!("sqlite:{}", place.folder.path().display());
    run(&["logs", &url]).check_refused(1, "is a folder");
}

#[test]
fn an_unknown_log_is_refused_with_those_there_are() {
    let place = Place::with_dogs();
    let url = place.url();
    for command in ["streams", "events", "verify", "followers"] {
        let run = run(&[command, &url, "dgos"]);
        run.check_refused(1, "there is no log \"dgos\"");
        run.check_refused(1, "it has: cats, dogs");
    }
    let empty = Place::new();
    drop(empty.open());
    run(&["events", &empty.url(), "dogs"]).check_refused(1, "it has no logs yet");
}

#[test]
fn an_unknown_stream_is_refused() {
    let place = Place::with_dogs();
    run(&["events", &place.url(), "dogs", "--stream", "dog"])
        .check_refused(1, "there is no stream \"dog\"");
}

/// SQLite keeps two files beside one that is read, by which readers and writers agree.
#[test]
fn looking_changes_nothing() {
    let place = Place::with_dogs();
    let url = place.url();
    let content = fs::read(place.path()).unwrap();
    for arguments in [
        &["logs", &*url][..],
        &["streams", &*url, "dogs"],
        &["events", &*url, "dogs"],
        &["verify", &*url],
        &["followers", &*url],
        &["followers", &*url, "--parked"],
    ] {
        run(arguments).fine();
        assert_eq!(fs::read(place.path()).unwrap(), content, "{arguments:?}");
        for file in place.files() {
            let path = place.folder.path().join(&file);
            match &*file {
                "dogs.db" | "dogs.db-shm" => {}
                "dogs.db-wal" => assert_eq!(fs::metadata(path).unwrap().len(), 0),
                _ => panic!("{arguments:?} made {file}"),
            }
        }
    }
}

#[test]
fn a_store_is_looked_into_while_somebody_writes_to_it() {
    let place = Place::with_dogs();
    let store = place.open();
    let dogs = place.log(&*store, "dogs");
    place.append(&*dogs, [event(6, "Dog.Fed", "{}")]);
    let lines = run(&["events", &place.url(), "dogs", "--after", "5"]).fine();
    assert!(lines.starts_with("6\t"), "{lines}");
    assert!(
        run(&["verify", &place.url()])
            .fine()
            .contains("Nothing wrong")
    );
    place.append(&*dogs, [event(7, "Dog.Fed", "{}")]);
}
