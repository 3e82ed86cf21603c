//! What the demonstration prints: prose and tables for people, one object for programs.

mod of_cluster;
mod punctuality;

use std::time::Duration;

use retold::system::confluence::ConfluenceReport;
use retold_flights::airlines::Airlines;
use retold_flights::fingerprint::Fingerprint;
use retold_flights::flaw::Flaws;
use retold_flights::input::Input;
use retold_flights::itinerary::itineraries;
use retold_flights::on_time::{LATE_MINUTES, OnTime};
use retold_flights::record::FlightRecord;
use retold_flights::replay::Outcome;
use retold_flights::system::{AIRCRAFT, FLIGHTS, NOTICES};
use serde_json::{Map, Value, json};

use super::Arguments;
use super::census::Census;
use super::runs::Run;
use super::story::{Retelling, WholeOf};
use crate::failure::Failure;
use crate::output::Output;
use crate::table;

/// Width of what is printed, in characters: of a terminal that was never widened.
const WIDTH: usize = 80;

/// How the program was called, so that what it advises can be copied.
pub(super) fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "retold".into())
}

/// Prints one thing after the other; collects them for programs.
pub(super) struct Report<'a> {
    output: &'a mut Output,
    url: String,
    is_kept: bool,
    /// What was compared between the runs: aircraft and events. None if nothing was.
    compared: Option<(u64, u64)>,
    object: Map<String, Value>,
}

impl<'a> Report<'a> {
    pub(super) fn new(output: &'a mut Output, url: &str, is_kept: bool) -> Self {
        Self {
            output,
            url: url.into(),
            is_kept,
            compared: None,
            object: Map::new(),
        }
    }

    pub(super) fn beginning(
        &mut self,
        arguments: &Arguments,
        input: &Input,
        before: &Census,
    ) -> Result<(), Failure> {
        let flights = input.flights.len() as u64;
        let aircraft = aircraft_of(&input.flights);
        let source = match &arguments.data {
            Some(path) => path.display().to_string(),
            None => "all that left New York City in January 2013".into(),
        };
        self.put("store", json!(self.url));
        self.put("flights", json!(flights));
        self.put("aircraft", json!(aircraft));
        self.put("callers", json!(arguments.concurrency));
        self.line(
            "Three applications: aircraft follow flights, notices follow both. They are told"
                .into(),
        )?;
        self.line(format!(
            "what happened by one caller on memory, then by {} on SQLite, durably.",
            arguments.concurrency
        ))?;
        self.line(String::new())?;
        self.line(format!(
            "flights  {} by {} aircraft: {source}",
            grouped(flights),
            grouped(aircraft)
        ))?;
        let fate = match self.is_kept {
            true => "",
            false => " (removed at the end)",
        };
        self.line(format!("store    {}{fate}", self.url))?;
        if before.total() > 0 {
            self.line(format!(
                "resumed  it has {} events already: what it knows is refused, the rest added",
                grouped(before.total())
            ))?;
        }
        self.line(String::new())?;
        self.line(row([
            "RUN", "COMMANDS", "FLIGHTS", "AIRCRAFT", "NOTICES", "EFFECTS", "SECONDS", "EVENTS/S",
        ]))?;
        self.output.show()
    }

    pub(super) fn on_memory(&mut self, run: Option<&Run>, max: usize) -> Result<(), Failure> {
        match run {
            Some(run) => self.run("memory", "one thread", run),
            None => {
                self.put("memory", Value::Null);
                self.line(format!(
                    "one thread: left out, as more than {} flights take too much memory",
                    grouped(max as u64)
                ))
            }
        }
    }

    pub(super) fn on_sqlite(&mut self, run: &Run) -> Result<(), Failure> {
        self.run("sqlite", "many threads", run)?;
        self.line(String::new())
    }

    fn run(&mut self, name: &str, title: &str, run: &Run) -> Result<(), Failure> {
        let events = run.census.total();
        let seconds = run.elapsed.as_secs_f64();
        let rate = events as f64 / seconds.max(0.001);
        let by_application = run.census.events.iter();
        let by_application: Map<_, _> = by_application
            .map(|(name, count)| (name.clone(), json!(count)))
            .collect();
        self.put(
            name,
            json!({
                "commands": run.outcome.commands,
                "refused": run.outcome.refused,
                "departures_while_in_air": run.outcome.aircraft_in_air,
                "events": by_application,
                "effects": run.census.effects,
                "commands_seconds": run.answered.as_secs_f64(),
                "seconds": seconds,
                "events_per_second": rate.round(),
            }),
        );
        let numbers = [
            run.outcome.commands,
            run.census.events_of(FLIGHTS),
            run.census.events_of(AIRCRAFT),
            run.census.events_of(NOTICES),
            run.census.effects,
        ];
        let [commands, flights, aircraft, notices, effects] = numbers.map(grouped);
        let (seconds, rate) = (format!("{seconds:.1}"), grouped(rate as u64));
        self.line(row([
            title, &commands, &flights, &aircraft, &notices, &effects, &seconds, &rate,
        ]))?;
        self.output.show()
    }

    /// What was refused, and what was odd about the input.
    pub(super) fn oddities(&mut self, flaws: &Flaws, outcome: &Outcome) -> Result<(), Failure> {
        let counts = flaws.iter();
        let counts: Map<_, _> = counts
            .map(|(flaw, count)| (flaw.name().into(), json!(count)))
            .collect();
        let unreadable: Vec<_> = flaws.unreadable().iter().map(ToString::to_string).collect();
        self.put("flaws", Value::Object(counts));
        self.put("unreadable", json!(unreadable));
        let doubts = outcome.doubts.iter();
        let doubts: Vec<_> = doubts
            .map(|doubt| format!("{}: {}", doubt.flight, doubt.refusal))
            .collect();
        self.put("doubts", json!(doubts));
        let mut parts = Vec::new();
        if outcome.aircraft_in_air > 0 {
            parts.push(format!(
                "Departures refused, for the aircraft was in the air, and recorded without it: {}.",
                grouped(outcome.aircraft_in_air)
            ));
        }
        for (reason, count) in &outcome.refused {
            parts.push(format!("Commands refused, {reason}: {}.", grouped(*count)));
        }
        let odd = flaws.iter().map(|(_, count)| count).sum();
        if odd > 0 {
            parts.push(format!(
                "Odd in the input: {}, by kind with --json; nothing was dropped in silence.",
                grouped(odd)
            ));
        }
        if parts.is_empty() {
            return Ok(());
        }
        for part in parts {
            self.wrapped(&part)?;
        }
        for row in unreadable {
            self.wrapped(&row)?;
        }
        self.line(String::new())
    }

    pub(super) fn on_time(&mut self, on_time: &OnTime) -> Result<(), Failure> {
        let airlines = Airlines::built_in().map_err(|error| Failure::Failed(error.to_string()))?;
        let carriers = on_time.carriers().map(|(carrier, it)| {
            let mut object = punctuality::object_of(it);
            object.insert("carrier".into(), json!(carrier));
            object.insert("name".into(), json!(airlines.name(carrier)));
            Value::Object(object)
        });
        let carriers = carriers.collect();
        let total = on_time.total();
        self.put("carriers", Value::Array(carriers));
        self.put("total", Value::Object(punctuality::object_of(&total)));
        self.line(format!(
            "From the view that a projection keeps in SQLite (late: {LATE_MINUTES} minutes or more):"
        ))?;
        let rows = punctuality::rows(on_time.carriers(), &total, &airlines);
        let width = WIDTH as u16 - 2;
        let printed = table::print(&punctuality::COLUMNS, rows, width, &mut None);
        for line in printed.text.lines() {
            self.line(format!("  {line}"))?;
        }
        self.line(String::new())?;
        self.output.show()
    }

    pub(super) fn retold(&mut self, retelling: &Retelling) -> Result<(), Failure> {
        let differences = retelling.differences();
        let followers = retelling.followers.iter().map(|(run, report)| {
            json!({
                "run": run,
                "application": report.application,
                "follower": report.follower,
                "answered": report.answered,
                "effects": report.effects,
                "is_same": report.difference.is_none(),
            })
        });
        let followers: Vec<_> = followers.collect();
        let whole = retelling.whole.as_ref().map(|(_, report)| {
            json!({
                "inputs": report.inputs,
                "answered": report.answered,
                "effects": report.effects,
                "is_same": report.difference.is_none(),
            })
        });
        self.put(
            "retold",
            json!({
                "followers": followers,
                "whole": whole,
                "seconds": retelling.elapsed.as_secs_f64(),
                "differences": differences,
            }),
        );
        let whole = match retelling.whole {
            Some((WholeOf::Memory, _)) => ", the first run as a whole too",
            Some((WholeOf::Cluster, _)) => ", and all logs by one schedule in one thread on memory",
            None => "",
        };
        self.wrapped(&format!(
            "Retold in {:.1} s, each follower by itself{whole}: {} events answered again, {} effects equal, {}.",
            retelling.elapsed.as_secs_f64(),
            grouped(retelling.answered()),
            grouped(retelling.effects()),
            counted(differences.len(), "difference")
        ))?;
        for difference in differences {
            self.line(format!("\n{difference}\n"))?;
        }
        self.output.show()
    }

    pub(super) fn compared(
        &mut self,
        report: &ConfluenceReport,
        elapsed: Duration,
    ) -> Result<(), Failure> {
        let aircraft = report.compared.iter().map(|it| it.keys).max();
        let aircraft = aircraft.unwrap_or_default();
        let events = report.compared.iter().map(|it| it.events).sum();
        self.compared = Some((aircraft, events));
        let difference = report.difference.as_ref().map(ToString::to_string);
        self.put(
            "compared",
            json!({
                "aircraft": aircraft,
                "events": events,
                "seconds": elapsed.as_secs_f64(),
                "difference": difference,
            }),
        );
        self.wrapped(&format!(
            "Compared in {:.1} s, flights and aircraft by tail number, but for times, which the clock put in: {} aircraft, {} events, {}.",
            elapsed.as_secs_f64(),
            grouped(aircraft),
            grouped(events),
            counted(usize::from(difference.is_some()), "difference")
        ))?;
        if let Some(difference) = difference {
            self.line(format!("\n{difference}\n"))?;
        }
        self.output.show()
    }

    pub(super) fn not_compared(&mut self) -> Result<(), Failure> {
        self.put("compared", Value::Null);
        self.wrapped(
            "Not compared: the store had events before, of commands that the run on memory was not told in the same order.",
        )
    }

    pub(super) fn notices(&mut self, memory: &Census, sqlite: &Census) -> Result<(), Failure> {
        self.wrapped(&format!(
            "Notices follow two logs, and the schedule says which is heard first: {} events and {}. They are not claimed to be equal.",
            grouped(memory.events_of(NOTICES)),
            grouped(sqlite.events_of(NOTICES))
        ))
    }

    pub(super) fn read_again(
        &mut self,
        logs: &[(String, Fingerprint)],
        is_same: bool,
        is_view_same: bool,
    ) -> Result<(), Failure> {
        let objects = logs.iter().map(|(name, read)| {
            let object = json!({"events": read.count, "sha256": read.hash});
            (name.clone(), object)
        });
        let objects = objects.collect();
        self.put("logs", Value::Object(objects));
        self.put("reads_the_same", json!(is_same));
        self.put("view_is_the_fold", json!(is_view_same));
        let verdict = match is_same {
            true => "reads the same",
            false => "READS OTHERWISE, which must never be",
        };
        let view = match is_view_same {
            true => "the view is their fold",
            false => "THE VIEW IS NOT THEIR FOLD, which must never be",
        };
        let count = logs.iter().map(|(_, read)| read.count).sum();
        self.wrapped(&format!(
            "Opened again, the store {verdict}: {} events; {view}.",
            grouped(count)
        ))?;
        self.line(String::new())
    }

    /// What was shown, in a sentence.
    pub(super) fn conclusion(&mut self, is_fine: bool) -> Result<(), Failure> {
        self.put("is_one_story", json!(is_fine));
        match (is_fine, self.compared) {
            (false, _) => {
                self.line("This is not as it must be: what differs is shown above.".into())?;
            }
            (true, Some((aircraft, events))) => {
                let same =
                    "The same story on one thread in memory and on many threads with SQLite:";
                self.line(same.into())?;
                self.line(format!(
                    "{} aircraft, {} events, 0 differences.",
                    grouped(aircraft),
                    grouped(events)
                ))?;
            }
            (true, None) => self.line(
                "What is recorded is the story that the system tells: 0 differences.".into(),
            )?,
        }
        self.line(String::new())
    }

    pub(super) fn what_next(&mut self) -> Result<(), Failure> {
        let program = program();
        let url = match self.is_kept {
            true => self.url.clone(),
            false => "sqlite:flights.db".into(),
        };
        self.line("What next? The rules are in examples/flights/src.".into())?;
        if !self.is_kept {
            self.line(format!("  {program} demo --store {url}"))?;
        }
        self.line(format!("  {program} followers {url}"))?;
        self.line(format!("  {program} verify {url} --retell"))?;
        self.line(format!(
            "  {program} events {url} {AIRCRAFT} --tag aircraft:N14228 --limit 12"
        ))?;
        if self.output.is_json() {
            let object = std::mem::take(&mut self.object);
            self.output.object(&object)?;
        }
        Ok(())
    }

    fn put(&mut self, name: &str, value: Value) {
        self.object.insert(name.into(), value);
    }

    fn line(&mut self, line: String) -> Result<(), Failure> {
        self.output.line(&line)
    }

    /// A sentence, in lines that fit.
    fn wrapped(&mut self, text: &str) -> Result<(), Failure> {
        let mut line = String::new();
        for word in text.split(' ') {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH {
                self.line(std::mem::take(&mut line))?;
                line = "  ".into();
            } else if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.line(line)
    }
}

/// How many aircraft these flights had.
fn aircraft_of(flights: &[FlightRecord]) -> u64 {
    let itineraries = itineraries(flights);
    let first = itineraries
        .iter()
        .filter_map(|itinerary| flights.get(*itinerary.first()? as usize));
    first.filter(|flight| flight.aircraft.is_some()).count() as u64
}

/// A row of the table of runs, which is printed one by one as they end.
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
        "{title:<14}{commands:>10}{flights:>10}{aircraft:>10}{notices:>8}{effects:>10}{seconds:>8}{rate:>9}"
    )
}

/// So many of these.
fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

/// A number with its thousands apart.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
