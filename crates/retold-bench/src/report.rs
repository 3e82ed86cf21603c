//! The report: a table for people, and JSON for programs.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::contender::Measured;
use crate::machine::Machine;
use crate::sample::Measurement;
use crate::subject::bare_label;
use crate::target::{TARGETS, TargetOutcome, find, times};

/// All measurements of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The machine.
    machine: Machine,
    /// Number of events in the log of orders.
    event_count: u64,
    /// One row per workload and store.
    rows: Vec<Row>,
}

/// A workload on a store.
#[derive(Debug, Serialize)]
struct Row {
    workload: &'static str,
    store: &'static str,
    unit: &'static str,
    #[serde(flatten)]
    measurement: Measurement,
    peak_memory_bytes: Option<u64>,
    /// The ratio of its rate to that of the bare driver, paired run by run.
    times_bare: Option<f64>,
    targets: Vec<TargetOutcome>,
}

impl Report {
    /// Creates the report of these measurements.
    pub(crate) fn new(machine: Machine, event_count: u64, all: &[Measured]) -> Self {
        let rows = all.iter().map(|measured| {
            let is_ours = |target: &&crate::target::Target| {
                target.workload == measured.workload && target.store == measured.store
            };
            let bare = bare_label(measured.store);
            let bare = bare.and_then(|bare| find(all, measured.workload, bare));
            Row {
                workload: measured.workload,
                store: measured.store,
                unit: measured.unit,
                measurement: measured.measurement.clone(),
                peak_memory_bytes: measured.peak_memory,
                times_bare: bare.map(|bare| times(measured, bare)),
                targets: TARGETS
                    .iter()
                    .filter(is_ours)
                    .filter_map(|target| target.outcome(all))
                    .collect(),
            }
        });
        Self {
            rows: rows.collect(),
            machine,
            event_count,
        }
    }

    /// Returns whether every target that could be evaluated was met.
    pub(crate) fn is_met(&self) -> bool {
        let mut targets = self.rows.iter().flat_map(|row| &row.targets);
        targets.all(|outcome| outcome.is_met)
    }

    /// Returns the report for programs: one JSON object over several lines.
    ///
    /// # Errors
    ///
    /// If a figure is not a number.
    pub(crate) fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|json| json + "\n")
    }

    /// Returns the report for people.
    pub(crate) fn to_text(&self) -> String {
        let machine = &self.machine;
        let mut text = format!(
            "{} cores, {}, {}; {:.0} syncs/s of 4 KiB; log of {} events\n",
            machine.cores,
            machine.platform,
            if machine.optimised {
                "optimised"
            } else {
                "NOT OPTIMIZED: the figures are meaningless"
            },
            machine.syncs_per_second,
            self.event_count,
        );
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header([
            "workload",
            "store",
            "per second",
            "unit",
            "p50 us",
            "p99 us",
            "p99.9 us",
            "max us",
            "peak MiB",
            "x bare",
            "targets",
        ]);
        for column in [2, 4, 5, 6, 7, 8, 9] {
            let column = table.column_mut(column).expect("the header has it");
            column.set_cell_alignment(CellAlignment::Right);
        }
        for row in &self.rows {
            table.add_row(row.cells());
        }
        let _ = writeln!(text, "{table}");
        text
    }
}

impl Row {
    fn cells(&self) -> [String; 11] {
        let measurement = &self.measurement;
        let targets = self.targets.iter().map(|outcome| {
            let verdict = if outcome.is_met { "met" } else { "MISSED" };
            format!(
                "{} {verdict} ({})",
                outcome.target,
                three_digits(outcome.measured)
            )
        });
        [
            self.workload.into(),
            self.store.into(),
            three_digits(measurement.rate),
            self.unit.into(),
            three_digits(measurement.p50_us),
            three_digits(measurement.p99_us),
            three_digits(measurement.p999_us),
            three_digits(measurement.max_us),
            self.peak_memory_bytes
                .map_or_else(String::new, |size| (size >> 20).to_string()),
            self.times_bare.map_or_else(String::new, three_digits),
            targets.collect::<Vec<_>>().join("; "),
        ]
    }
}

/// Formats a number with its significant digits.
fn three_digits(number: f64) -> String {
    match number.abs() {
        size if size >= 100.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}
