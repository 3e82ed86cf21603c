//! Refusals, with their exit codes and messages. Commands that only read change nothing.

use std::fs;

use crate::command::run;
use crate::store::{Place, event};

#[test]
fn an_invalid_command_line_ends_with_2() {
    let check = |arguments: &[&str], message: &str| run(arguments).check_refused(2, message);
    check(&[], "Usage: retold");
    check(&["log", "sqlite:dogs.db"], "similar subcommand");
    check(&["logs"], "<URL>");
    check(&["logs", "dogs.db"], "write sqlite:dogs.db");
    check(&["logs", "postgre:x"], "unknown scheme; known are");
    check(&["logs", "memory:x"], "no other program can read it");
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
fn a_missing_file_is_named_and_not_created() {
    let place = Place::new();
    let url = place.url();
    for arguments in [
        &["logs", &*url][..],
        &["streams", &*url, "dogs"],
        &["events", &*url, "dogs"],
        &["verify", &*url],
        &["verify", &*url, "--retell"],
        &["follower", "list", &*url],
        &["follower", "resume", &*url, "dogs", "walks"],
    ] {
        run(arguments).check_refused(1, &format!("there is no file {}", place.path().display()));
        assert_eq!(place.files(), [""; 0]);
    }
}

#[test]
fn a_file_that_is_no_store_is_refused_and_not_changed() {
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
fn an_unknown_log_is_refused_with_the_known_ones() {
    let place = Place::with_dogs();
    let url = place.url();
    let commands = [
        &["streams"][..],
        &["events"],
        &["verify"],
        &["follower", "list"],
    ];
    for command in commands {
        let run = run(&[command, &[&*url, "dgos"]].concat());
        run.check_refused(1, "there is no log \"dgos\"");
        run.check_refused(1, "its logs are: cats, dogs");
    }
    let empty = Place::new();
    drop(empty.open());
    run(&["events", &empty.url(), "dogs"]).check_refused(1, "the store has no logs yet");
}

#[test]
fn an_unknown_stream_is_refused() {
    let place = Place::with_dogs();
    run(&["events", &place.url(), "dogs", "--stream", "dog"])
        .check_refused(1, "there is no stream \"dog\"");
}

/// SQLite creates two more files when it reads one, which coordinate readers and writers.
#[test]
fn reading_changes_nothing() {
    let place = Place::with_dogs();
    let url = place.url();
    let content = fs::read(place.path()).unwrap();
    // The store that wrote the file has left a watermark if it took a while.
    let files = place.files();
    for arguments in [
        &["logs", &*url][..],
        &["streams", &*url, "dogs"],
        &["events", &*url, "dogs"],
        &["verify", &*url],
        &["follower", "list", &*url],
        &["follower", "list", &*url, "--parked"],
    ] {
        run(arguments).fine();
        assert_eq!(fs::read(place.path()).unwrap(), content, "{arguments:?}");
        for file in place.files() {
            let path = place.folder.path().join(&file);
            match &*file {
                "dogs.db" | "dogs.db-shm" => {}
                "dogs.db-wal" => assert_eq!(fs::metadata(path).unwrap().len(), 0),
                _ => assert!(files.contains(&file), "{arguments:?} made {file}"),
            }
        }
    }
}

#[test]
fn a_store_is_read_while_a_program_writes_to_it() {
    let place = Place::with_dogs();
    let store = place.open();
    let dogs = place.log(&*store, "dogs");
    place.append(&*dogs, [event(6, "Dog.Fed", "{}")]);
    let lines = run(&["events", &place.url(), "dogs", "--after", "5"]).fine();
    assert!(lines.starts_with("6\t"), "{lines}");
    assert!(
        run(&["verify", &place.url()])
            .fine()
            .contains("No problems")
    );
    place.append(&*dogs, [event(7, "Dog.Fed", "{}")]);
}
