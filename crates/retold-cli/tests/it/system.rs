//! `retold system`.

use std::io::{BufRead, BufReader};

use retold::system::Runner;
use serde_json::Value;

use crate::command::{objects, retold, run};
use crate::shop::{node, with_poison};
use crate::store::Place;

#[test]
fn the_demonstration_system_is_drawn() {
    assert_eq!(
        run(&["system", "picture"]).fine(),
        "flowchart LR\n  \
           flights\n  \
           aircraft\n  \
           notices\n  \
           flights -->|movements| aircraft\n  \
           aircraft -->|risks| notices\n  \
           flights -->|risks| notices\n"
    );
    let dot = run(&["system", "picture", "--graphviz"]).fine();
    assert!(dot.starts_with("digraph \"flights\" {\n"), "{dot}");
    let objects = run(&["system", "picture", "--json"]).objects();
    assert_eq!(objects[0]["language"], "mermaid");
    run(&["system"]).check_refused(2, "picture");
}

/// Returns the rows of this kind.
fn of_kind<'v>(rows: &'v [Value], kind: &str) -> Vec<&'v Value> {
    rows.iter().filter(|row| row["kind"] == kind).collect()
}

#[test]
fn the_status_shows_nodes_leases_and_followers() {
    let place = with_poison();
    let url = place.url();
    let without_nodes = run(&["system", "status", &url, "--json"]).objects();
    assert_eq!(of_kind(&without_nodes, "node").len(), 0);
    let progress = of_kind(&without_nodes, "progress");
    assert_eq!(progress.len(), 2);
    assert_eq!(progress[0]["nodes"], serde_json::json!([]));

    let node = node(&place, "only");
    let rows = loop {
        let rows = run(&["system", "status", &url, "--json"]).objects();
        let units = rows.iter().filter(|row| row["term"].is_number());
        if units.filter(|row| row["node"] == "only").count() == 5 {
            break rows;
        }
    };
    let nodes = of_kind(&rows, "node");
    assert_eq!(nodes.len(), 1);
    assert_eq!(nodes[0]["system"], "shop");
    assert_eq!(nodes[0]["units"], 5);
    let lease = nodes[0]["lease_seconds"].as_f64().unwrap();
    assert!(lease > 0.0 && lease <= 5.0, "{lease}");
    assert_eq!(of_kind(&rows, "follower").len(), 2);
    assert_eq!(of_kind(&rows, "timers").len(), 3);
    let progress = of_kind(&rows, "progress");
    let thanks = progress.iter().find(|row| row["follower"] == "thanks");
    let thanks = thanks.unwrap();
    assert_eq!(thanks["nodes"], serde_json::json!(["only"]));
    assert_eq!(thanks["lag_events"], 3);
    assert!(thanks["lag_seconds"].as_f64().unwrap() > 0.0);
    let lines = run(&["system", "status", &url]).fine();
    assert!(
        lines.contains("progress\tletters\tthanks@1\torders\t2\t5\t3\t"),
        "{lines}"
    );
    place.block_on(async { Ok::<_, retold::Error>(node.stop().await) });
}

/// Goal: a unit that no program has any more is retired, and the status says why. Method: try it
/// while a node holds the unit, after the node has stopped, again, and with names that are wrong.
#[test]
fn a_unit_is_retired() {
    let place = with_poison();
    let url = place.url();
    let retire = |system: &str, kind: &str, unit: &str| {
        let reason = "no more letters";
        run(&[
            "system", "retire", &url, system, kind, unit, "--reason", reason,
        ])
    };
    let timers = || {
        let rows = run(&["system", "status", &url, "--json"]).objects();
        let mut timers = rows.into_iter().filter(|row| row["kind"] == "timers");
        timers.find(|row| row["unit"] == "letters")
    };
    let node = node(&place, "only");
    while timers().is_none_or(|row| row["node"] != "only") {}
    retire("shop", "timers", "letters").check_refused(1, "stop the programs that have it");
    place.block_on(async { Ok::<_, retold::Error>(node.stop().await) });

    assert_eq!(timers().unwrap()["retired"], Value::Null);
    let done = retire("shop", "timers", "letters").fine();
    assert_eq!(done, "timers letters: retired.\n");
    assert_eq!(timers().unwrap()["retired"], "no more letters");
    let status = run(&["system", "status", &url]).fine();
    assert!(status.contains("\tretired: no more letters\t"), "{status}");
    let again = retire("shop", "timers", "letters").fine();
    assert!(
        again.ends_with("no more letters. Nothing was recorded.\n"),
        "{again}"
    );

    retire("shop", "timers", "parcels").check_refused(1, "units of this kind are: ");
    retire("shop", "outbox", "letters").check_refused(1, "and no other outbox");
    retire("market", "timers", "letters").check_refused(1, "its systems are: shop");
    retire("shop", "follower", "letters/thanks").check_refused(2, "outbox");
}

#[test]
fn the_status_is_watched() {
    let place = with_poison();
    let mut watch = retold(&["system", "status", &place.url(), "--watch", "1", "--json"]);
    let mut watch = watch.spawn().unwrap();
    let output = BufReader::new(watch.stdout.take().unwrap());
    // Two pages.
    let lines: Vec<_> = output.lines().take(4).map(Result::unwrap).collect();
    watch.kill().unwrap();
    watch.wait().unwrap();
    let rows = objects(&lines.join("\n"));
    assert_eq!(of_kind(&rows, "progress").len(), 4);
}

#[test]
fn a_store_without_systems_says_so() {
    let place = Place::with_dogs();
    let none = run(&["system", "status", &place.url()]);
    assert!(
        none.err.contains("no system has run on this store"),
        "{none:?}"
    );
    assert_eq!(none.fine(), "");
    run(&["system", "status", "memory:x"]).check_refused(2, "in the memory");
    run(&["system", "status", &place.url(), "--watch", "0"]).check_refused(2, "--watch");
}

/// Goal: views of any program are shown, and a view that no program runs is stopped. Method: a
/// program of many threads, then none, then the view of another store.
#[test]
fn views_of_any_program_are_shown() {
    let place = Place::with_dogs();
    let url = place.url();
    let rows = || {
        of_kind(
            &run(&["system", "status", &url, "--json"]).objects(),
            "rows",
        )
        .into_iter()
        .cloned()
        .collect::<Vec<_>>()
    };
    let runner = crate::kennel::run(&place);
    let row = loop {
        let rows = rows();
        if let Some(row) = rows.first()
            && row["checkpoint"] == 5
            && row["is_known"] == true
        {
            break row.clone();
        }
    };
    assert_eq!(
        (&row["view"], &row["version"]),
        (&"topics".into(), &1.into())
    );
    assert_eq!((&row["head"], &row["lag_events"]), (&5.into(), &0.into()));
    assert_eq!(row["state"], "running");
    place.block_on(async { Ok::<_, retold::Error>(runner.stop().await) });
    assert_eq!(rows()[0]["state"], "stopped");
    let lines = run(&["system", "status", &url]).fine();
    assert!(
        lines.contains("rows\ttopics\t1\tdogs\t5\t5\t0\t0\t"),
        "{lines}"
    );

    let file = rusqlite::Connection::open(place.path()).unwrap();
    let sql = "UPDATE retold_projection SET upstream_id = randomblob(16)";
    file.execute(sql, []).unwrap();
    assert_eq!(rows()[0]["state"], "diverged");
    let lines = run(&["system", "status", &url]).fine();
    assert!(
        lines.contains("\tdiverged: its rows are of the log"),
        "{lines}"
    );
}
