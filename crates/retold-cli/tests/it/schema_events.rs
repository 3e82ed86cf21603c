//! `retold schema events`: the file of a program, printed, compared and converted.

use std::fs;

use serde_json::{Value, json};

use crate::command::run;

fn lock(registered: &Value) -> String {
    let shape = |schema: &Value| json!({"schema": schema});
    let empty = json!({"type": "object"});
    json!({
        "retold_events": 1,
        "applications": {
            "kennel": {
                "DogEvent.Registered": {
                    "revision": 2,
                    "formerly": ["DogEvent.Born"],
                    "shapes": {"1": shape(&empty), "2": shape(registered)}
                },
                "DogEvent.Moved": {"revision": 1, "past": true, "shapes": {"1": {}}},
                "DogEvent.Sold": {"revision": 0, "retired": true}
            },
            "post": {}
        },
        "followers": [{
            "application": "post",
            "name": "cards",
            "follows": ["kennel"],
            "topics": ["DogEvent.Registered"]
        }]
    })
    .to_string()
}

fn registered(name: &str) -> Value {
    json!({
        "type": "object",
        "properties": {"name": {"$ref": "#/$defs/Name"}},
        "required": ["name"],
        "$defs": {"Name": {"type": name}}
    })
}

/// A file with this content in a folder of its own.
fn file(content: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.lock");
    fs::write(&path, content).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

#[test]
fn the_events_of_a_program_are_listed() {
    let (_folder, path) = file(&lock(&registered("string")));
    let out = run(&["schema", "events", &path]).fine();
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(
        lines,
        [
            "kennel\tDogEvent.Moved\t1\tpast\t\t",
            "kennel\tDogEvent.Registered\t2\tpresent\tDogEvent.Born\tpost.cards",
            "kennel\tDogEvent.Sold\t0\tretired\t\t",
        ]
    );
    let one = [
        "schema",
        "events",
        &path,
        "--topic",
        "DogEvent.Registered",
        "--json",
    ];
    let objects = run(&one).objects();
    assert_eq!(objects.len(), 1);
    assert_eq!(objects[0]["shapes"]["2"]["written"], registered("string"));
    run(&["schema", "events", &path, "--topic", "Cat"]).check_refused(2, "DogEvent.Moved");
}

#[test]
fn a_document_says_who_follows_whom() {
    let (_folder, path) = file(&lock(&registered("string")));
    let arguments = ["schema", "events", &path, "--asyncapi", "--title", "Kennel"];
    let document: Value = serde_json::from_str(&run(&arguments).fine()).unwrap();
    assert_eq!(document["asyncapi"], "3.0.0");
    assert_eq!(document["info"]["title"], "Kennel");
    let operations = document["operations"].as_object().unwrap();
    assert_eq!(operations["post.cards.kennel"]["action"], "receive");
    assert_eq!(operations["kennel.records"]["action"], "send");
    check_references(&document, &document);
}

/// Checks that every reference leads somewhere in the document.
fn check_references(value: &Value, document: &Value) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                if let (Value::String(target), "$ref") = (value, key.as_str()) {
                    let pointer = target.strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{target}");
                }
                check_references(value, document);
            }
        }
        Value::Array(items) => items.iter().for_each(|it| check_references(it, document)),
        _ => {}
    }
}

#[test]
fn two_files_are_compared() {
    let (_old, old) = file(&lock(&registered("string")));
    let (_new, new) = file(&lock(&registered("integer")));
    let same = run(&["schema", "events", &old, "--since", &old]).fine();
    assert_eq!(same, "nothing has changed\n");
    let changed = run(&["schema", "events", &new, "--since", &old]);
    assert_eq!(changed.code, Some(1), "{changed:?}");
    assert!(
        changed.out.contains("`name`: string may be recorded"),
        "{changed:?}"
    );
    assert!(
        !changed.out.contains("Name"),
        "one change is one line: {changed:?}"
    );
}

#[test]
fn a_bad_file_is_refused() {
    let rows = [
        ("", "it is empty"),
        ("{", "EOF"),
        ("{}", "retold_events"),
        (r#"{"retold_events": 9}"#, "format 9"),
        ("<<<<<<< ours", "line 1: a conflict"),
    ];
    for (content, message) in rows {
        let (_folder, path) = file(content);
        run(&["schema", "events", &path]).check_refused(1, message);
    }
    run(&["schema", "events", "no/such/file"]).check_refused(1, "no/such/file: it cannot be read");
    run(&["schema", "events", "-"]).check_refused(1, "it is empty");
}
