//! Tables at a terminal of 80 columns, which `script` provides, and `--header` and `--wide`.

use crate::command::run;
use crate::store::{Place, event};

const DOG: &str = "Dog/0190a6d5-5f1c-7c3e-8b7a-000000000017";

/// A store with an event of a stream whose name ends with a UUID, and an event without a stream.
fn with_ids() -> Place {
    let place = Place::new();
    let dogs = place.log(&*place.open(), "dogs");
    let registered = r#"{"name":"Fido","weight":12.5,"breed":"setter"}"#;
    place.append(
        &*dogs,
        [
            event(1, "Dog.Registered", registered)
                .stream(DOG)
                .tag("breed:setter"),
            event(2, "Kennel.Opened", "{}").tag("kennel:north"),
        ],
    );
    place
}

/// Runs the command at a terminal of 80 columns, and returns what it shows.
#[cfg(target_os = "linux")]
fn at_terminal(arguments: &str) -> String {
    let retold = env!("CARGO_BIN_EXE_retold");
    let command = format!("stty cols 80 && {retold} {arguments}");
    let mut script = std::process::Command::new("script");
    script.args(["--quiet", "--return", "--command", &command, "/dev/null"]);
    let output = script.stdin(std::process::Stdio::null()).output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{shown}");
    shown.replace('\r', "")
}

#[cfg(target_os = "linux")]
#[test]
fn events_fit_80_columns_with_their_ids_and_payloads() {
    let place = with_ids();
    let shown = at_terminal(&format!("events {} dogs", place.url()));
    let lines = shown.lines().skip_while(|it| !it.contains("POSITION"));
    let lines: Vec<&str> = lines.collect();
    assert!(
        lines[0].contains("POSITION  TIME            STREAM OR TAGS"),
        "{shown}"
    );
    assert!(lines[1].contains("01-01 05:17:00"), "{shown}");
    assert!(
        lines[1].contains("…7a-000000000017  Dog.Registered"),
        "{shown}"
    );
    assert!(lines[1].contains(r#"{"name":"Fido""#), "{shown}");
    assert!(lines[2].contains("kennel:north"), "{shown}");
    for line in &lines[..3] {
        assert!(line.chars().count() <= 80, "{line}");
    }
    assert!(lines[3].contains("add --wide or --json"), "{shown}");
}

#[cfg(target_os = "linux")]
#[test]
fn all_tables_fit_80_columns() {
    let place = crate::shop::with_poison();
    let url = place.url();
    for command in [
        format!("logs {url}"),
        format!("streams {url} orders"),
        format!("follower list {url}"),
        format!("follower list {url} --parked"),
        format!("system status {url}"),
    ] {
        let shown = at_terminal(&command);
        let wide = shown.lines().find(|line| line.chars().count() > 80);
        assert_eq!(wide, None, "{command}");
        assert!(shown.lines().count() > 1, "{command}: {shown}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn wide_shows_all_columns_and_cuts_nothing() {
    let place = with_ids();
    let shown = at_terminal(&format!("events {} dogs --wide", place.url()));
    let first = shown.lines().find(|it| it.contains(DOG));
    let first = first.unwrap_or_else(|| panic!("{shown}"));
    for cell in [
        "00000000-0000-0000-0000-000000000001",
        "2013-01-01T05:17:00Z",
        DOG,
        "breed:setter",
        r#""breed":"setter"}"#,
    ] {
        assert!(first.contains(cell), "{cell:?} is not in\n{shown}");
    }
    assert!(!shown.contains('…'), "{shown}");
}

#[test]
fn a_header_names_the_columns_of_a_pipe() {
    let place = with_ids();
    let url = place.url();
    let lines = run(&["events", &url, "dogs", "--header"]).fine();
    let header = "POSITION\tID\tTIME\tSTREAM\tVERSION\tTOPIC\tTAGS\tPAYLOAD";
    assert_eq!(lines.lines().next(), Some(header));
    assert_eq!(lines.lines().count(), 3);
    let logs = run(&["logs", &url, "--header"]).fine();
    assert!(
        logs.starts_with("LOG\tEVENTS\tAPPENDS\tLAST TIME\tID\ndogs\t2\t"),
        "{logs}"
    );
    run(&["logs", &url, "--header", "--json"]).check_refused(2, "cannot be used with");
    run(&["logs", &url, "--wide", "--json"]).check_refused(2, "cannot be used with");
}

/// A log of several pages has one header.
#[test]
fn a_header_is_printed_once() {
    let place = Place::new();
    let log = place.log(&*place.open(), "many");
    place.append(&*log, (1..=2_500).map(|it| event(it, "Counted", "{}")));
    let lines = run(&["events", &place.url(), "many", "--header"]).fine();
    assert_eq!(lines.lines().count(), 2_501);
}
