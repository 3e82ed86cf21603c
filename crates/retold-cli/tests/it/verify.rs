//! `retold verify`.

use std::fs;

use rusqlite::Connection;
use serde_json::json;

use crate::command::{objects, run};
use crate::store::Place;

#[test]
fn a_sound_store_is_sound() {
    let place = Place::with_dogs();
    let objects = run(&["verify", &place.url(), "--json"]).objects();
    let cats = json!({
        "log": "cats", "events": 0, "streams": 0, "topics": 0, "tags": 0,
        "processed_ranges": 0, "finding_count": 0, "erased": 0, "deleted_streams": 0,
    });
    let dogs = json!({
        "log": "dogs", "events": 5, "streams": 2, "topics": 4, "tags": 2,
        "processed_ranges": 0, "finding_count": 0, "erased": 1, "deleted_streams": 0,
    });
    assert_eq!(objects, [cats, dogs]);

    let text = run(&["verify", &place.url(), "dogs"]).fine();
    assert_eq!(text, "dogs\t5\t1\t2\t0\t4\t2\t0\t0\n\nNo problems found.\n");
}

/// Damages the store with SQL, then checks that the damage is found at this place of `dogs`.
#[track_caller]
fn check_found(damage: &str, place_found: &str) {
    let place = Place::with_dogs();
    let db = Connection::open(place.path()).unwrap();
    let triggers: Vec<String> = db
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger'")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    for trigger in triggers {
        db.execute_batch(&format!("DROP TRIGGER {trigger}"))
            .unwrap();
    }
    assert!(db.execute(damage, []).unwrap() > 0, "{damage}");
    drop(db);

    let run = run(&["verify", &place.url(), "--json"]);
    assert_eq!(run.code, Some(1), "{damage}: {run:?}");
    let found = objects(&run.out)
        .iter()
        .filter(|it| it["log"] == "dogs")
        .filter_map(|it| it["place"].as_str())
        .any(|it| it.contains(place_found));
    assert!(found, "{damage}: {place_found:?} is not in {run:?}");
}

#[test]
fn damage_is_found() {
    check_found(
        "UPDATE event SET version = 9 WHERE version = 2 AND place_index = 0 AND place_count = 2",
        "at 2",
    );
    check_found(
        "DELETE FROM event WHERE payload = CAST('{}' AS BLOB)",
        "position 4",
    );
    check_found(
        "DELETE FROM event_tag WHERE tag = (SELECT key FROM tag WHERE name = 'colour:red')",
        "colour:red",
    );
    check_found(
        "UPDATE event SET payload = CAST('{' AS BLOB) WHERE payload = CAST('{}' AS BLOB)",
        "at 4",
    );
    check_found(
        "UPDATE event SET place_count = 3 WHERE place_count = 2",
        "at 2",
    );
}

#[test]
fn a_finding_is_printed_for_people() {
    let place = Place::with_dogs();
    let db = Connection::open(place.path()).unwrap();
    db.execute_batch(
        "DROP TRIGGER event_never_changes; UPDATE event SET metadata = x'5B5D' WHERE version = 1;",
    )
    .unwrap();
    drop(db);

    let run = run(&["verify", &place.url()]);

    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(
        run.out
            .contains("dogs\tevent 00000000-0000-0000-0000-000000000001 at 1\t")
    );
    assert!(
        run.out.ends_with(
            "3 findings. Make a copy of the store before you do anything else with it.\n"
        )
    );
}

#[test]
fn a_torn_file_is_found() {
    let place = Place::with_dogs();
    drop(place.open());
    // Closing the last connection moved everything into this file.
    let mut content = fs::read(place.path()).unwrap();
    let half = content.len() / 2;
    content[half..].fill(0x5a);
    fs::write(place.path(), &content).unwrap();
    let run = run(&["verify", &place.url()]);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(!run.err.contains("panicked"), "{run:?}");
}
