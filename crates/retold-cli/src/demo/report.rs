//! What the demonstration prints: prose and tables for people, one object for programs.

use std::time::Duration;

use retold::recording::identity::Position;
use retold::recording::recorder::Head;
use retold_flights::airlines::Airlines;
use retold_flights::fingerprint::Fingerprint;
use retold_flights::flaw::Flaws;
use retold_flights::input::Input;
use retold_flights::itinerary::itineraries;
use retold_flights::on_time::{LATE_MINUTES, OnTime, Punctuality};
use retold_flights::replay::Outcome;
use serde_json::{Map, Value, json};

use super::{Arguments, LOG};
use crate::failure::Failure;
use crate::output::Output;
use crate::table::{self, Column};

/// Width of the tables, in characters: they are wider than some terminals, and cut by none.
const TABLE_WIDTH: u16 = 110;
/// Departures in doubt that are shown.
const DOUBTS_SHOWN: usize = 3;

/// How the program was called, so that what it advises can be copied.
pub(super) fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "retold".into())
}

/// Prints one thing after the other; collects them for programs.
pub(super) struct Report<'a> {
    output: &'a mut Output,
    url: String,
    is_kept: bool,
    object: Map<String, Value>,
}

impl<'a> Report<'a> {
    pub(super) fn new(output: &'a mut Output, url: &str, is_kept: bool) -> Self {
        Self {
            output,
            url: url.into(),
            is_kept,
            object: Map::new(),
        }
    }

    pub(super) fn beginning(
        &mut self,
        arguments: &Arguments,
        input: &Input,
        head: &Head,
    ) -> Result<(), Failure> {
        let flights = input.flights.len() as u64;
        let aircraft = itineraries(&input.flights)
            .iter()
            .filter_map(|itinerary| input.flights.get(*itinerary.first()? as usize))
            .filter(|flight| flight.aircraft.is_some())
            .count() as u64;
        let source = match &arguments.data {
            Some(path) => path.display().to_string(),
            None => "all that left New York City in January 2013".into(),
        };
        self.put("store", json!(self.url));
        self.put("flights", json!(flights));
        self.put("aircraft", json!(aircraft));
        self.put("callers", json!(arguments.concurrency));
        self.lines(&[
            "Retold keeps what happened: events, in the order in which they were recorded, which never",
            "change. What is, is worked out from them. This tells it what happened to real flights, as",
            "commands: each is decided by the rules of one flight, and what was decided is on the disk",
            "before the command is answered.",
            "",
        ])?;
        self.line(format!(
            "flights   {} by {} aircraft: {source}",
            grouped(flights),
            grouped(aircraft)
        ))?;
        let fate = match self.is_kept {
            true => "",
            false => " (removed at the end; keep it with --store sqlite:PATH)",
        };
        self.line(format!("store     {}{fate}", self.url))?;
        self.line(format!(
            "callers   {} at once, each with one aircraft after the other",
            arguments.concurrency
        ))?;
        if head.mark.is_some() {
            self.line(format!(
                "resumed   the log has {} events already: what it knows is refused, the rest is added",
                grouped(Position::number(head.position()))
            ))?;
        }
        self.line(String::new())?;
        self.output.show()
    }

    pub(super) fn replayed(
        &mut self,
        flaws: &Flaws,
        outcome: &Outcome,
        elapsed: Duration,
    ) -> Result<(), Failure> {
        let rate = outcome.events as f64 / elapsed.as_secs_f64().max(0.001);
        let flaw_counts = flaws
            .iter()
            .map(|(flaw, count)| (flaw.name().into(), json!(count)));
        self.put("flaws", Value::Object(flaw_counts.collect()));
        self.put(
            "unreadable",
            json!(
                flaws
                    .unreadable()
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
            ),
        );
        self.put("commands", json!(outcome.commands));
        self.put("events_recorded", json!(outcome.events));
        self.put("seconds", json!(elapsed.as_secs_f64()));
        self.put("events_per_second", json!(rate.round()));
        self.put("refused", json!(outcome.refused));
        self.put("departures_while_in_air", json!(outcome.aircraft_in_air));
        self.line(format!(
            "Recorded {} events of {} commands in {:.1} s: {} events/s, every one durable.",
            grouped(outcome.events),
            grouped(outcome.commands),
            elapsed.as_secs_f64(),
            grouped(rate as u64)
        ))?;
        self.line(String::new())?;
        self.refusals(outcome)?;
        self.flaws(flaws)?;
        self.output.show()
    }

    fn refusals(&mut self, outcome: &Outcome) -> Result<(), Failure> {
        if outcome.aircraft_in_air > 0 {
            self.line(format!(
                "Departures refused: {}, because no aircraft is in the air twice at once. No flight could",
                grouped(outcome.aircraft_in_air)
            ))?;
            self.lines(&[
                "know that alone: it was decided on all events tagged with the aircraft. They did fly, so",
                "the tail number is wrong, and they were recorded without one:",
            ])?;
            for doubt in outcome.doubts.iter().take(DOUBTS_SHOWN) {
                self.line(format!("  {}: {}", doubt.flight, doubt.refusal))?;
            }
            let more = outcome.aircraft_in_air.saturating_sub(DOUBTS_SHOWN as u64);
            if more > 0 {
                self.line(format!("  … and {} more", grouped(more)))?;
            }
            self.line(String::new())?;
        }
        for (reason, count) in &outcome.refused {
            self.line(format!("Commands refused, {reason}: {}", grouped(*count)))?;
        }
        if !outcome.refused.is_empty() {
            self.line(String::new())?;
        }
        Ok(())
    }

    fn flaws(&mut self, flaws: &Flaws) -> Result<(), Failure> {
        let rows: Vec<_> = flaws
            .iter()
            .map(|(flaw, count)| vec![flaw.to_string(), grouped(count), flaw.remedy().into()])
            .collect();
        if rows.is_empty() {
            return Ok(());
        }
        self.lines(&[
            "What was odd about the input; nothing was dropped in silence:",
            "",
        ])?;
        let columns = [
            Column::text("FLAW"),
            Column::number("FLIGHTS"),
            Column::text("WHAT WAS DONE"),
        ];
        self.table(&columns, rows)?;
        for row in flaws.unreadable() {
            self.line(format!("  {row}"))?;
        }
        self.line(String::new())
    }

    pub(super) fn on_time(&mut self, on_time: &OnTime, elapsed: Duration) -> Result<(), Failure> {
        let airlines = Airlines::built_in().map_err(|error| Failure::Failed(error.to_string()))?;
        let carriers = on_time.carriers().map(|(carrier, it)| {
            let mut object = object_of(it);
            object.insert("carrier".into(), json!(carrier));
            object.insert("name".into(), json!(airlines.name(carrier)));
            Value::Object(object)
        });
        self.put("carriers", Value::Array(carriers.collect()));
        self.put("total", Value::Object(object_of(&on_time.total())));
        self.line(format!(
            "How punctual the airlines were, folded from the log in {:.2} s (late is {LATE_MINUTES} minutes or more):",
            elapsed.as_secs_f64()
        ))?;
        self.line(String::new())?;
        let columns = [
            Column::text(""),
            Column::text("AIRLINE"),
            Column::number("FLIGHTS"),
            Column::number("CANCELLED"),
            Column::number("DIVERTED"),
            Column::number("ARRIVED"),
            Column::number("ON TIME"),
            Column::number("MEAN DELAY"),
        ];
        let mut rows: Vec<_> = on_time
            .carriers()
            .map(|(carrier, it)| cells(carrier, airlines.name(carrier), it))
            .collect();
        rows.push(cells("", "all", &on_time.total()));
        self.table(&columns, rows)?;
        self.line(String::new())?;
        self.output.show()
    }

    pub(super) fn reopened(&mut self, read: &Fingerprint, is_same: bool) -> Result<(), Failure> {
        self.put("events_in_log", json!(read.count));
        self.put("sha256", json!(read.hash));
        self.put("reads_the_same", json!(is_same));
        let verdict = match is_same {
            true => "reads the same",
            false => "READS OTHERWISE, which must never be",
        };
        self.line(format!(
            "Opened again, the store {verdict}: {} events, SHA-256 {}…",
            grouped(read.count),
            read.hash.get(..16).unwrap_or(&read.hash)
        ))?;
        self.line(String::new())
    }

    pub(super) fn what_next(&mut self) -> Result<(), Failure> {
        let program = program();
        let url = match self.is_kept {
            true => self.url.clone(),
            false => "sqlite:flights.db".into(),
        };
        self.line("What to try next:".into())?;
        if !self.is_kept {
            self.line(format!("  {program} demo --store {url}"))?;
        }
        self.line(format!("  {program} logs {url}"))?;
        self.line(format!(
            "  {program} events {url} {LOG} --tag aircraft:N14228 --limit 12"
        ))?;
        self.line(format!(
            "  {program} events {url} {LOG} --topic Flight.Diverted --json"
        ))?;
        self.line(format!(
            "  {program} events {url} {LOG} --stream Flight/UA-1545-2013-01-01-EWR"
        ))?;
        self.line(format!("  {program} verify {url}"))?;
        self.line("The rules are in examples/flights/src/flight.rs and aircraft.rs.".into())?;
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

    fn lines(&mut self, lines: &[&str]) -> Result<(), Failure> {
        lines.iter().try_for_each(|line| self.output.line(line))
    }

    fn table(&mut self, columns: &[Column], rows: Vec<Vec<String>>) -> Result<(), Failure> {
        let printed = table::print(columns, rows, TABLE_WIDTH, &mut None);
        printed
            .text
            .lines()
            .try_for_each(|line| self.output.line(&format!("  {line}")))
    }
}

fn object_of(it: &Punctuality) -> Map<String, Value> {
    let object = json!({
        "scheduled": it.scheduled,
        "departed": it.departed,
        "cancelled": it.cancelled,
        "diverted": it.diverted,
        "arrived": it.arrived,
        "on_time": it.on_time,
        "delay_minutes_sum": it.delay_minutes_sum,
    });
    match object {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

fn cells(carrier: &str, name: &str, it: &Punctuality) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    vec![
        carrier.into(),
        name.into(),
        grouped(it.scheduled),
        grouped(it.cancelled),
        grouped(it.diverted),
        grouped(it.arrived),
        or_dash(
            it.on_time_share()
                .map(|share| format!("{:.1} %", share * 100.0)),
        ),
        or_dash(it.mean_delay_minutes().map(|mean| format!("{mean:.1} min"))),
    ]
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
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
