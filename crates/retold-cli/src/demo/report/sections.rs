//! The sections of the demonstration in one process.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use retold::retelling::ConfluenceReport;
use retold_flights::airlines::Airlines;
use retold_flights::fingerprint::Fingerprint;
use retold_flights::flaw::Flaws;
use retold_flights::input::Input;
use retold_flights::itinerary::itineraries;
use retold_flights::on_time::{LATE_MINUTES, OnTime};
use retold_flights::record::FlightRecord;
use retold_flights::replay::Outcome;
use retold_flights::system::{AIRCRAFT, FLIGHTS, NOTICES};
use serde::Serialize;
use serde_json::{Value, json};

use super::{WIDTH, program, punctuality, wrapped};
use crate::demo::DemoArguments;
use crate::demo::census::Census;
use crate::demo::check::{Retelling, WholeOf};
use crate::demo::runs::Run;
use crate::failure::CommandFailure;
use crate::output::{Report, counted, grouped};
use crate::table;

/// What is run, and where.
#[derive(Debug, Serialize)]
pub(in crate::demo) struct Beginning {
    store: String,
    flights: u64,
    aircraft: u64,
    callers: NonZeroUsize,
    #[serde(skip)]
    source: String,
    #[serde(skip)]
    is_kept: bool,
    /// Events that the store has already.
    #[serde(skip)]
    events_before: u64,
}

impl Beginning {
    pub(in crate::demo) fn new(
        arguments: &DemoArguments,
        input: &Input,
        (url, is_kept): (&str, bool),
        before: &Census,
    ) -> Self {
        Self {
            store: url.to_owned(),
            flights: input.flights.len() as u64,
            aircraft: aircraft_of(&input.flights),
            callers: arguments.concurrency,
            source: match &arguments.data {
                Some(path) => path.display().to_string(),
                None => "all that left New York City in January 2013".into(),
            },
            is_kept,
            events_before: before.total(),
        }
    }
}

impl Report for Beginning {
    fn lines(&self) -> Vec<String> {
        let Self { store, source, .. } = self;
        let mut lines = wrapped(&format!(
            "Three applications: aircraft follows flights, notices follows both. One caller sends \
             all commands to a system in memory, then {} send them to a system on SQLite.",
            counted(self.callers.get() as u64, "caller", "callers")
        ));
        let fate = match self.is_kept {
            true => "",
            false => " (removed at the end)",
        };
        lines.extend([
            String::new(),
            format!(
                "flights  {} by {} aircraft: {source}",
                grouped(self.flights),
                grouped(self.aircraft)
            ),
            format!("store    {store}{fate}"),
        ]);
        if self.events_before > 0 {
            lines.push(format!(
                "resumed  the store has {}; commands that it has already are refused",
                counted(self.events_before, "event", "events")
            ));
        }
        lines.extend([
            String::new(),
            row([
                "RUN", "COMMANDS", "FLIGHTS", "AIRCRAFT", "NOTICES", "EFFECTS", "SECONDS",
                "EVENTS/S",
            ]),
        ]);
        lines
    }
}

/// The run in memory.
#[derive(Debug, Serialize)]
pub(in crate::demo) struct MemoryRun {
    /// None if there are too many flights.
    memory: Option<RunNumbers>,
    #[serde(skip)]
    flights_max: u64,
}

impl MemoryRun {
    pub(in crate::demo) fn new(run: Option<&Run>, flights_max: usize) -> Self {
        Self {
            memory: run.map(RunNumbers::new),
            flights_max: flights_max as u64,
        }
    }
}

impl Report for MemoryRun {
    fn lines(&self) -> Vec<String> {
        vec![match &self.memory {
            Some(numbers) => numbers.row("one thread"),
            None => format!(
                "one thread: skipped, because more than {} flights need too much memory",
                grouped(self.flights_max)
            ),
        }]
    }
}

/// The run on SQLite.
#[derive(Debug, Serialize)]
pub(in crate::demo) struct SqliteRun {
    sqlite: RunNumbers,
}

impl SqliteRun {
    pub(in crate::demo) fn new(run: &Run) -> Self {
        Self {
            sqlite: RunNumbers::new(run),
        }
    }
}

impl Report for SqliteRun {
    fn lines(&self) -> Vec<String> {
        vec![self.sqlite.row("many threads"), String::new()]
    }
}

#[derive(Debug, Serialize)]
struct RunNumbers {
    commands: u64,
    refused: BTreeMap<String, u64>,
    departures_while_in_air: u64,
    events: BTreeMap<String, u64>,
    effects: u64,
    /// Until the last command was done.
    commands_seconds: f64,
    /// Until everything was processed.
    seconds: f64,
    events_per_second: f64,
}

impl RunNumbers {
    fn new(run: &Run) -> Self {
        let seconds = run.elapsed.as_secs_f64();
        let refused = run.outcome.refused.iter();
        Self {
            commands: run.outcome.commands,
            refused: refused
                .map(|(reason, count)| (reason.to_string(), *count))
                .collect(),
            departures_while_in_air: run.outcome.aircraft_in_air,
            events: run.census.events.iter().cloned().collect(),
            effects: run.census.effects,
            commands_seconds: run.commands_elapsed.as_secs_f64(),
            seconds,
            events_per_second: (run.census.total() as f64 / seconds.max(0.001)).round(),
        }
    }

    fn row(&self, title: &str) -> String {
        let events_of = |name| self.events.get(name).copied().unwrap_or_default();
        let numbers = [
            self.commands,
            events_of(FLIGHTS),
            events_of(AIRCRAFT),
            events_of(NOTICES),
            self.effects,
        ];
        let [commands, flights, aircraft, notices, effects] = numbers.map(grouped);
        let seconds = format!("{:.1}", self.seconds);
        let rate = grouped(self.events_per_second as u64);
        row([
            title, &commands, &flights, &aircraft, &notices, &effects, &seconds, &rate,
        ])
    }
}

/// Refused commands, and flaws of the input.
#[derive(Debug, Serialize)]
pub(in crate::demo) struct Oddities {
    flaws: BTreeMap<&'static str, u64>,
    unreadable: Vec<String>,
    doubts: Vec<String>,
    #[serde(skip)]
    in_air: u64,
    #[serde(skip)]
    refused: Vec<(String, u64)>,
}

impl Oddities {
    pub(in crate::demo) fn new(flaws: &Flaws, outcome: &Outcome) -> Self {
        let doubts = outcome.doubts.iter();
        let refused = outcome.refused.iter();
        Self {
            flaws: flaws
                .iter()
                .map(|(flaw, count)| (flaw.name(), count))
                .collect(),
            unreadable: flaws.unreadable().iter().map(ToString::to_string).collect(),
            doubts: doubts
                .map(|doubt| format!("{}: {}", doubt.flight, doubt.refusal))
                .collect(),
            in_air: outcome.aircraft_in_air,
            refused: refused
                .map(|(reason, count)| (reason.to_string(), *count))
                .collect(),
        }
    }
}

impl Report for Oddities {
    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.in_air > 0 {
            lines.extend(wrapped(&format!(
                "Departures refused because the aircraft was in the air, recorded without it: {}.",
                grouped(self.in_air)
            )));
        }
        for (reason, count) in &self.refused {
            let text = format!("Commands refused, {reason}: {}.", grouped(*count));
            lines.extend(wrapped(&text));
        }
        let flaws: u64 = self.flaws.values().sum();
        if flaws > 0 {
            lines.extend(wrapped(&format!(
                "Flaws in the input: {}; --json lists them by kind.",
                grouped(flaws)
            )));
        }
        if !lines.is_empty() {
            lines.extend(self.unreadable.iter().flat_map(|text| wrapped(text)));
            lines.push(String::new());
        }
        lines
    }
}

/// The view: the punctuality of the airlines.
#[derive(Debug, Serialize)]
pub(in crate::demo) struct AirlineTable {
    carriers: Vec<Value>,
    total: Value,
    #[serde(skip)]
    rows: Vec<Vec<String>>,
}

impl AirlineTable {
    pub(in crate::demo) fn new(on_time: &OnTime) -> Result<Self, CommandFailure> {
        let airlines =
            Airlines::built_in().map_err(|error| CommandFailure::Failed(error.to_string()))?;
        let carriers = on_time.carriers().map(|(carrier, it)| {
            let mut object = punctuality::object_of(it);
            object.insert("carrier".into(), json!(carrier));
            object.insert("name".into(), json!(airlines.name(carrier)));
            Value::Object(object)
        });
        let total = on_time.total();
        Ok(Self {
            carriers: carriers.collect(),
            total: Value::Object(punctuality::object_of(&total)),
            rows: punctuality::rows(on_time.carriers(), &total, &airlines),
        })
    }
}

impl Report for AirlineTable {
    fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "The view that a projection keeps in SQLite (late: {LATE_MINUTES} minutes or more):"
        )];
        let width = WIDTH as u16 - 2;
        let printed = table::print(&punctuality::COLUMNS, self.rows.clone(), width, &mut None);
        lines.extend(printed.text.lines().map(|line| format!("  {line}")));
        lines.push(String::new());
        lines
    }
}

/// The result of retelling.
#[derive(Debug, Serialize)]
pub(in crate::demo) struct Retold {
    retold: RetoldNumbers,
    #[serde(skip)]
    processed: u64,
    #[serde(skip)]
    effects: u64,
    #[serde(skip)]
    whole_of: Option<WholeOf>,
}

#[derive(Debug, Serialize)]
struct RetoldNumbers {
    followers: Vec<Value>,
    whole: Option<Value>,
    seconds: f64,
    differences: Vec<String>,
}

impl Retold {
    pub(in crate::demo) fn new(retelling: &Retelling) -> Self {
        let followers = retelling.followers.iter().map(|(run, report)| {
            json!({
                "run": run,
                "application": report.application,
                "follower": report.follower,
                "processed": report.processed,
                "effects": report.effects,
                "is_same": report.difference.is_none(),
            })
        });
        let whole = retelling.whole.as_ref().map(|(_, report)| {
            json!({
                "inputs": report.inputs,
                "processed": report.processed,
                "effects": report.effects,
                "is_same": report.difference.is_none(),
            })
        });
        Self {
            retold: RetoldNumbers {
                followers: followers.collect(),
                whole,
                seconds: retelling.elapsed.as_secs_f64(),
                differences: retelling.differences(),
            },
            processed: retelling.processed(),
            effects: retelling.effects(),
            whole_of: retelling.whole.as_ref().map(|(of, _)| *of),
        }
    }
}

impl Report for Retold {
    fn lines(&self) -> Vec<String> {
        let RetoldNumbers {
            seconds,
            differences,
            ..
        } = &self.retold;
        let whole = match self.whole_of {
            Some(WholeOf::Memory) => ", and the first run as a whole",
            Some(WholeOf::Cluster) => ", and all logs in one schedule, in one thread in memory",
            None => "",
        };
        let mut lines = wrapped(&format!(
            "Retold in {seconds:.1} s, each follower on its own{whole}: {} processed again, {} \
             equal, {}.",
            counted(self.processed, "event", "events"),
            counted(self.effects, "effect", "effects"),
            counted(differences.len() as u64, "difference", "differences")
        ));
        lines.extend(differences.iter().map(|it| format!("\n{it}\n")));
        lines
    }
}

/// The comparison of the two runs. None if they are not comparable.
#[derive(Debug, Serialize)]
pub(in crate::demo) struct Compared {
    compared: Option<ComparedNumbers>,
}

#[derive(Debug, Serialize)]
struct ComparedNumbers {
    aircraft: u64,
    events: u64,
    seconds: f64,
    difference: Option<String>,
}

impl Compared {
    pub(in crate::demo) fn new(report: &ConfluenceReport, elapsed: Duration) -> Self {
        let aircraft = report.compared.iter().map(|it| it.keys).max();
        Self {
            compared: Some(ComparedNumbers {
                aircraft: aircraft.unwrap_or_default(),
                events: report.compared.iter().map(|it| it.events).sum(),
                seconds: elapsed.as_secs_f64(),
                difference: report.difference.as_ref().map(ToString::to_string),
            }),
        }
    }

    pub(in crate::demo) fn none() -> Self {
        Self { compared: None }
    }

    /// Returns the number of aircraft and events that were compared.
    pub(in crate::demo) fn counts(&self) -> Option<(u64, u64)> {
        let numbers = self.compared.as_ref()?;
        Some((numbers.aircraft, numbers.events))
    }
}

impl Report for Compared {
    fn lines(&self) -> Vec<String> {
        let Some(numbers) = &self.compared else {
            return wrapped(
                "Not compared: the store had events already, from commands that the run in memory \
                 did not get in the same order.",
            );
        };
        let differences = u64::from(numbers.difference.is_some());
        let mut lines = wrapped(&format!(
            "Compared in {:.1} s, flights and aircraft by tail number, without the times that the \
             clock gives: {} aircraft, {}, {}.",
            numbers.seconds,
            grouped(numbers.aircraft),
            counted(numbers.events, "event", "events"),
            counted(differences, "difference", "differences")
        ));
        let difference = numbers.difference.iter();
        lines.extend(difference.map(|it| format!("\n{it}\n")));
        lines
    }
}

/// The notices of both runs, which may differ.
#[derive(Debug, Serialize)]
pub(in crate::demo) struct Notices {
    #[serde(skip)]
    counts: [u64; 2],
}

impl Notices {
    pub(in crate::demo) fn new(first: &Census, second: &Census) -> Self {
        Self {
            counts: [first, second].map(|it| it.events_of(NOTICES)),
        }
    }
}

impl Report for Notices {
    fn lines(&self) -> Vec<String> {
        let [first, second] = self.counts;
        wrapped(&format!(
            "Notices are not compared: notices follows two logs and may process them in any order. \
             The runs have {} and {}.",
            counted(first, "event", "events"),
            grouped(second)
        ))
    }
}

/// The store, opened and read again.
#[derive(Debug, Serialize)]
pub(in crate::demo) struct ReadAgain {
    logs: BTreeMap<String, LogNumbers>,
    reads_back_equal: bool,
    view_equals_logs: bool,
}

#[derive(Debug, Serialize)]
struct LogNumbers {
    events: u64,
    sha256: String,
}

impl ReadAgain {
    pub(in crate::demo) fn new(
        logs: &[(String, Fingerprint)],
        reads_back_equal: bool,
        view_equals_logs: bool,
    ) -> Self {
        let logs = logs.iter().map(|(name, read)| {
            let numbers = LogNumbers {
                events: read.count,
                sha256: read.hash.clone(),
            };
            (name.clone(), numbers)
        });
        Self {
            logs: logs.collect(),
            reads_back_equal,
            view_equals_logs,
        }
    }
}

impl Report for ReadAgain {
    fn lines(&self) -> Vec<String> {
        let store = match self.reads_back_equal {
            true => "reads back equal",
            false => "READS BACK DIFFERENTLY (this is a bug)",
        };
        let view = match self.view_equals_logs {
            true => "the view equals what the logs give",
            false => "THE VIEW DIFFERS FROM WHAT THE LOGS GIVE (this is a bug)",
        };
        let events = self.logs.values().map(|log| log.events).sum();
        let mut lines = wrapped(&format!(
            "Opened again, the store {store}: {}; {view}.",
            counted(events, "event", "events")
        ));
        lines.push(String::new());
        lines
    }
}

/// The result of the demonstration.
#[derive(Debug, Serialize)]
pub(in crate::demo) struct Conclusion {
    is_equal: bool,
    /// Aircraft and events that were compared between the runs.
    #[serde(skip)]
    compared: Option<(u64, u64)>,
}

impl Conclusion {
    pub(in crate::demo) fn new(is_equal: bool, compared: Option<(u64, u64)>) -> Self {
        Self { is_equal, compared }
    }
}

impl Report for Conclusion {
    fn lines(&self) -> Vec<String> {
        let text = match (self.is_equal, self.compared) {
            (false, _) => "FAILED: the differences are shown above.".to_owned(),
            (true, Some((aircraft, events))) => format!(
                "One thread in memory and many threads on SQLite recorded the same: {} aircraft, \
                 {}, 0 differences.",
                grouped(aircraft),
                counted(events, "event", "events")
            ),
            (true, None) => {
                "The logs are exactly what the policies decide: 0 differences.".to_owned()
            }
        };
        let mut lines = wrapped(&text);
        lines.push(String::new());
        lines
    }
}

/// Commands to try next.
#[derive(Debug, Serialize)]
pub(in crate::demo) struct WhatNext {
    #[serde(skip)]
    url: String,
    #[serde(skip)]
    is_kept: bool,
}

impl WhatNext {
    pub(in crate::demo) fn new(url: &str, is_kept: bool) -> Self {
        let url = match is_kept {
            true => url,
            false => "sqlite:flights.db",
        };
        Self {
            url: url.to_owned(),
            is_kept,
        }
    }
}

impl Report for WhatNext {
    fn lines(&self) -> Vec<String> {
        let (program, url) = (program(), &self.url);
        let mut lines = vec!["Next (the code is in examples/flights/src):".to_owned()];
        if !self.is_kept {
            lines.push(format!("  {program} demo --store {url}"));
        }
        lines.extend([
            format!("  {program} follower list {url}"),
            format!("  {program} verify {url} --retell"),
            format!("  {program} events {url} {AIRCRAFT} --tag aircraft:N14228 --limit 12"),
        ]);
        lines
    }
}

/// Returns the number of aircraft of these flights.
pub(super) fn aircraft_of(flights: &[FlightRecord]) -> u64 {
    let itineraries = itineraries(flights);
    let first = itineraries
        .iter()
        .filter_map(|itinerary| flights.get(*itinerary.first()? as usize));
    first.filter(|flight| flight.aircraft.is_some()).count() as u64
}

/// Returns a row of the table of runs. The rows are printed as the runs end.
fn row(cells: [&str; 8]) -> String {
    let [
        title,
        commands,
        flights,
        aircraft,
        notices,
        effects,
        seconds,
        rate,
    ] = cells;
    format!(
        "{title:<14}{commands:>10}{flights:>10}{aircraft:>10}{notices:>8}{effects:>10}\
         {seconds:>8}{rate:>9}"
    )
}
