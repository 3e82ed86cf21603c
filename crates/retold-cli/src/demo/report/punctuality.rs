//! The punctuality of the airlines, as rows of a table and as objects for programs.

use retold_flights::airlines::Airlines;
use retold_flights::on_time::Punctuality;
use serde_json::{Map, Value, json};

use crate::output::grouped;
use crate::table::Column;

/// Number of airlines in the table, those with the most flights. The others are added up.
const AIRLINES_SHOWN: usize = 3;

pub(super) const COLUMNS: [Column; 6] = [
    Column::name("AIRLINE"),
    Column::number("FLIGHTS"),
    Column::number("CANCELLED"),
    Column::number("DIVERTED"),
    Column::number("ON TIME"),
    Column::number("MEAN DELAY"),
];

/// Returns the rows of the table: the airlines with the most flights, the others together, and the
/// total.
pub(super) fn rows<'a>(
    carriers: impl Iterator<Item = (&'a str, &'a Punctuality)>,
    total: &Punctuality,
    airlines: &Airlines,
) -> Vec<Vec<String>> {
    let mut carriers: Vec<_> = carriers.collect();
    carriers.sort_by_key(|(_, it)| std::cmp::Reverse(it.scheduled));
    // A row for the others would save nothing if it stood for one airline.
    let shown = match carriers.len() <= AIRLINES_SHOWN + 1 {
        true => carriers.len(),
        false => AIRLINES_SHOWN,
    };
    let others = carriers.split_off(shown);
    let shown = carriers.iter();
    let mut rows: Vec<_> = shown
        .map(|(carrier, it)| cells(&format!("{carrier} {}", airlines.name(carrier)), it))
        .collect();
    if !others.is_empty() {
        let together = others
            .iter()
            .fold(Punctuality::default(), |sum, (_, it)| Punctuality {
                scheduled: sum.scheduled + it.scheduled,
                departed: sum.departed + it.departed,
                cancelled: sum.cancelled + it.cancelled,
                diverted: sum.diverted + it.diverted,
                arrived: sum.arrived + it.arrived,
                on_time: sum.on_time + it.on_time,
                delay_minutes_sum: sum.delay_minutes_sum + it.delay_minutes_sum,
            });
        rows.push(cells(&format!("{} others", others.len()), &together));
    }
    rows.push(cells("all", total));
    rows
}

pub(super) fn object_of(it: &Punctuality) -> Map<String, Value> {
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

fn cells(name: &str, it: &Punctuality) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let share = it.on_time_share();
    let mean = it.mean_delay_minutes();
    vec![
        name.into(),
        grouped(it.scheduled),
        grouped(it.cancelled),
        grouped(it.diverted),
        or_dash(share.map(|share| format!("{:.1} %", share * 100.0))),
        or_dash(mean.map(|mean| format!("{mean:.1} min"))),
    ]
}
