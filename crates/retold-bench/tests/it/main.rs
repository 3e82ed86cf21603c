//! Tests of the benchmark: every workload runs, with small sizes, on every store.

use std::process::{Command, Output};

fn bench(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_retold-bench"));
    command
        .args(arguments)
        .output()
        .expect("the benchmark can be started")
}

#[test]
fn every_workload_runs_with_small_sizes() {
    let output = bench(&["--quick", "--json"]);

    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = report["rows"].as_array().unwrap();
    for store in ["memory", "sqlite", "rusqlite"] {
        let of_store: Vec<_> = rows.iter().filter(|row| row["store"] == store).collect();
        assert!(of_store.len() >= 8, "{store}: {of_store:?}");
        for row in of_store {
            assert!(row["rate"].as_f64().unwrap() > 0.0, "{row}");
            assert!(row["p50_us"].as_f64() <= row["p999_us"].as_f64(), "{row}");
        }
    }
    let mut targets = rows
        .iter()
        .flat_map(|row| row["targets"].as_array().unwrap());
    assert!(targets.any(|target| target["is_met"].is_boolean()));
}

#[test]
fn a_table_contains_only_the_selected_workloads() {
    let output = bench(&["--quick", "--store", "memory:x", "--only", "read-stream-10"]);

    assert!(output.status.success());
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("read-stream-10"), "{table}");
    assert!(!table.contains("append-1"), "{table}");
}

#[test]
fn a_report_is_written_to_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.json");
    let arguments = ["--quick", "--store", "memory:x", "--only", "load", "--json"];

    let output = bench(&[&arguments[..], &[file.to_str().unwrap()]].concat());

    assert!(output.status.success());
    let report = std::fs::read(&file).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["rows"][0]["workload"], "load");
    assert_eq!(report["rows"][0]["store"], "memory");
}

#[test]
fn mistakes_are_reported() {
    for (arguments, hint) in [
        (&["--store", "postgre://here"][..], "postgre"),
        (&["--quick", "--only", "juggle"], "--help lists the groups"),
        (&["--runs", "0"], "--runs"),
    ] {
        let output = bench(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.contains(hint), "{message}");
    }
}

/// Goal: readers in other processes skip no event, see none twice, and lose none that was
/// acknowledged. Method: small here; `cargo xtask tail` runs it at any size.
#[test]
fn readers_of_other_processes_miss_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite:{}", folder.path().join("tail.db").display());
    for (url, appends, writers) in [
        (xtask::postgres_server::database(), "4000", "8"),
        (file, "400", "2"),
    ] {
        let arguments = [
            "tail",
            "--url",
            &url,
            "--appends",
            appends,
            "--writers",
            writers,
        ];
        let output = bench(&arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        let counted = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{url}: {counted}{errors}");
        let expected = "4 processes: 0 skipped, 0 doubled, 0 lost, one order";
        assert!(counted.contains(expected), "{counted}");
    }
}
