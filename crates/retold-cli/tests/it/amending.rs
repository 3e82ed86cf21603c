//! `retold delete`, `reopen`, `erase` and `amend`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::command::{Run, retold, run};
use crate::store::Place;

/// Runs a command on the log of dogs.
fn on_dogs(place: &Place, command: &str, options: &[&str]) -> Run {
    let url = place.url();
    let reason = ["--reason", "request 17", "--by", "eve"];
    run(&[&[command, &*url, "dogs"], options, &reason].concat())
}

fn events(place: &Place) -> Vec<Value> {
    run(&["events", &place.url(), "dogs", "--json"]).objects()
}

/// Returns whether a file of the store has these bytes.
fn is_in_files(place: &Place, text: &str) -> bool {
    let folder = place.path().parent().unwrap().to_owned();
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    let mut contents = files
        .filter(|path| path.is_file())
        .map(|path| fs::read(path).unwrap());
    contents.any(|bytes| bytes.windows(text.len()).any(|it| it == text.as_bytes()))
}

#[test]
fn a_stream_is_deleted_and_reopened() {
    let place = Place::with_dogs();
    let before = events(&place);
    let dry = on_dogs(&place, "delete", &["dog/1", "--dry-run"]).fine();
    assert!(dry.contains("would be deleted"), "{dry}");
    let unasked = on_dogs(&place, "delete", &["dog/1"]);
    unasked.check_refused(2, "add --yes");
    assert_eq!(events(&place), before, "nothing is done");

    let done = on_dogs(&place, "delete", &["dog/1", "--yes"]).fine();
    assert!(
        done.contains("was deleted") && done.contains("position 6"),
        "{done}"
    );
    assert!(done.contains("no longer in the files"), "{done}");
    let streams = run(&["streams", &place.url(), "dogs"]).fine();
    assert_eq!(streams, "3\tdog/1\tdeleted\n2\tdog/2\t-\n");
    let after = events(&place);
    for event in after.iter().filter(|it| it["stream"] == "dog/1") {
        match event["topic"].as_str() {
            Some("retold.deleted") => {
                assert_eq!(event["payload"]["by"], "eve");
                assert_eq!(event["payload"]["reason"], "request 17");
            }
            _ => assert_eq!(event["erased"], true, "{event}"),
        }
    }
    let others = |events: &[Value]| -> Vec<Value> {
        let others = events.iter().filter(|it| it["stream"] != "dog/1");
        others.cloned().collect()
    };
    assert_eq!(others(&after), others(&before));
    run(&["verify", &place.url()]).fine();

    on_dogs(&place, "reopen", &["dog/2", "--yes"]).check_refused(1, "is not deleted");
    on_dogs(&place, "reopen", &["dog/1", "--yes"]).fine();
    let streams = run(&["streams", &place.url(), "dogs"]).fine();
    assert_eq!(streams, "4\tdog/1\t-\n2\tdog/2\t-\n");
    on_dogs(&place, "delete", &["cat/1", "--yes"]).check_refused(1, "no stream \"cat/1\"");
}

#[test]
fn an_event_is_erased_by_its_position_or_id() {
    let place = Place::with_dogs();
    let all = events(&place);
    let with_payload: Vec<&Value> = all.iter().filter(|it| it["payload"].is_object()).collect();
    let (first, second) = (with_payload[0], with_payload[1]);
    let text = first["payload"]
        .as_object()
        .unwrap()
        .values()
        .next()
        .unwrap();
    let text = text.as_str().unwrap().to_owned();
    assert!(is_in_files(&place, &text), "{text}");
    let position = first["position"].to_string();
    let options = ["--event", &*position, "--tags", "--metadata"];
    on_dogs(&place, "erase", &[&options[..], &["--dry-run"]].concat()).fine();
    assert!(is_in_files(&place, &text));
    let report = on_dogs(
        &place,
        "erase",
        &[&options[..], &["--yes", "--json"]].concat(),
    );
    let report = report.objects().remove(0);
    let purged = run(&["purge", &place.url(), "--json"]).objects().remove(0);
    assert_eq!(purged["purged"], json!(true));
    assert_eq!(
        (&report["action"], &report["events"]),
        (&json!("erase"), &json!(1))
    );
    assert_eq!(report["purged"], json!(true), "{report}");
    assert!(!is_in_files(&place, &text), "the bytes are gone");
    let id = second["id"].as_str().unwrap();
    on_dogs(&place, "erase", &["--event", id, "--yes"]).fine();
    let after = events(&place);
    for event in [first, second] {
        let is_erased = after
            .iter()
            .any(|it| it["id"] == event["id"] && it["erased"] == true);
        assert!(is_erased, "{event}");
    }
    on_dogs(&place, "erase", &["--event", &*position, "--yes"]).check_refused(1, "already");
    on_dogs(&place, "erase", &["--event", "99", "--yes"]).check_refused(1, "no event at position");
    on_dogs(&place, "erase", &["--event", "x", "--yes"]).check_refused(2, "its id");
    on_dogs(&place, "erase", &["--yes"]).check_refused(2, "--event");
    on_dogs(
        &place,
        "erase",
        &["--stream", "dog/2", "--until", "9", "--yes"],
    )
    .check_refused(1, "no version 9");
    run(&["verify", &place.url()]).fine();
}

#[test]
fn an_event_is_replaced_from_a_file_or_an_editor() {
    let place = Place::with_dogs();
    let all = events(&place);
    let event = all.iter().find(|it| it["payload"].is_object()).unwrap();
    let position = event["position"].to_string();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("content.json");
    let content = json!({
        "topic": event["topic"], "revision": event["revision"], "tags": ["changed"],
        "payload": { "name": "Rex" },
    });
    fs::write(&file, content.to_string()).unwrap();
    let from_file = ["--file", file.to_str().unwrap()];
    let options = [&[&*position], &from_file[..], &["--yes"]].concat();
    on_dogs(&place, "amend", &options).fine();
    let found = events(&place)
        .into_iter()
        .find(|it| it["id"] == event["id"])
        .unwrap();
    assert_eq!(
        (&found["payload"]["name"], &found["tags"]),
        (&json!("Rex"), &json!(["changed"]))
    );
    assert_eq!(found["time"], event["time"]);
    // Numbers that no float can hold stay as they are.
    let large = r#"{"topic":"Dog.Registered","revision":1,"tags":[],
        "payload":{"name":"Rex","n":340282366920938463463374607431768211455}}"#;
    fs::write(&file, large).unwrap();
    on_dogs(&place, "amend", &options).fine();
    let raw = run(&["events", &place.url(), "dogs"]).fine();
    assert!(
        raw.contains("340282366920938463463374607431768211455"),
        "{raw}"
    );
    fs::write(&file, content.to_string()).unwrap();
    on_dogs(&place, "amend", &options).fine();
    let same = on_dogs(&place, "amend", &options);
    assert!(same.err.contains("nothing was done"), "{same:?}");

    let editor = folder.path().join("editor");
    fs::write(&editor, "#!/bin/sh\nsed -i s/Rex/Max/ \"$1\"\n").unwrap();
    fs::set_permissions(&editor, fs::Permissions::from_mode(0o700)).unwrap();
    let edit = |editor: &str| {
        let url = place.url();
        let mut command = retold(&[
            "amend", &url, "dogs", &position, "--reason", "typo", "--yes",
        ]);
        command
            .env_remove("VISUAL")
            .env("EDITOR", editor)
            .env("USER", "eve");
        let output = command.output().unwrap();
        Run {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    };
    edit(editor.to_str().unwrap()).fine();
    let found = events(&place)
        .into_iter()
        .find(|it| it["id"] == event["id"])
        .unwrap();
    assert_eq!(found["payload"]["name"], "Max");
    edit("/nowhere/editor").check_refused(1, "does not start");
    edit("false").check_refused(1, "nothing was done");
    edit(" ").check_refused(2, "set EDITOR");
    fs::write(&file, r#"{"topic": "Dog"}"#).unwrap();
    let bad = [&[&*position], &from_file[..], &["--yes"]].concat();
    on_dogs(&place, "amend", &bad).check_refused(1, "missing field");
    run(&["verify", &place.url()]).fine();
}
