//! The same table as [`on_time`](crate::on_time), kept in SQLite by a projection. Readers do not
//! need to fold the log, and any SQL tool can read the table.
//!
//! Each event changes one row, in one transaction with the checkpoint. The fold computes what an
//! event adds, so the view and the fold cannot disagree.

use std::sync::Arc;

use retold::prelude::*;
use retold::projection::{Projection, ViewStore};
use retold::recording::Invalid;
use retold::sqlite::rusqlite::{Connection, Result, Row};
use retold::sqlite::{Sqlite, SqliteTables, SqliteViews};

use crate::flight::FlightEvent;
use crate::on_time::{OnTime, Punctuality};
use crate::system::FLIGHTS;

/// Name of the projection and of its table.
pub const ON_TIME: &str = "on_time";

/// Version of the view. Raise it when you change the table or what is counted.
const VERSION: u32 = 1;

/// Returns the projection of the log of flights.
pub fn on_time_projection() -> Projection<Sqlite> {
    Projection::<Sqlite>::new(ON_TIME, VERSION, FLIGHTS).on::<FlightEvent>(|view, logged| {
        let mut added = OnTime::default();
        added.apply(&logged.event);
        let add = format!(
            "INSERT INTO {} VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (carrier) DO UPDATE SET
                 scheduled = scheduled + excluded.scheduled,
                 departed = departed + excluded.departed,
                 cancelled = cancelled + excluded.cancelled,
                 diverted = diverted + excluded.diverted,
                 arrived = arrived + excluded.arrived,
                 on_time = on_time + excluded.on_time,
                 delay_minutes_sum = delay_minutes_sum + excluded.delay_minutes_sum",
            view.table(ON_TIME)
        );
        let mut add = view.prepare_cached(&add)?;
        for (carrier, it) in added.carriers() {
            add.execute((
                carrier,
                it.scheduled.cast_signed(),
                it.departed.cast_signed(),
                it.cancelled.cast_signed(),
                it.diverted.cast_signed(),
                it.arrived.cast_signed(),
                it.on_time.cast_signed(),
                it.delay_minutes_sum,
            ))?;
        }
        Ok(())
    })
}

/// Returns its table, with one row per airline.
pub fn on_time_tables() -> SqliteTables {
    SqliteTables::new([ON_TIME], |view| {
        view.execute_batch(&format!(
            "CREATE TABLE {} (
                 carrier TEXT PRIMARY KEY,
                 scheduled INTEGER NOT NULL,
                 departed INTEGER NOT NULL,
                 cancelled INTEGER NOT NULL,
                 diverted INTEGER NOT NULL,
                 arrived INTEGER NOT NULL,
                 on_time INTEGER NOT NULL,
                 delay_minutes_sum INTEGER NOT NULL
             ) STRICT, WITHOUT ROWID",
            view.table(ON_TIME)
        ))?;
        Ok(())
    })
}

/// Returns the view store of the view, for a
/// [`ProjectionPipeline`](retold::projection::ProjectionPipeline).
///
/// # Errors
///
/// As for [`SqliteViews::keep`]; none can occur here.
pub fn keep_on_time(views: &SqliteViews) -> std::result::Result<Arc<dyn ViewStore>, Invalid> {
    views.keep(on_time_projection(), on_time_tables())
}

/// Reads the view.
///
/// # Errors
///
/// If it cannot be read, or does not exist because the projection has not run yet.
pub fn read_on_time(conn: &Connection) -> Result<OnTime> {
    let select = format!("SELECT * FROM {ON_TIME}");
    let mut select = conn.prepare(&select)?;
    let rows = select.query_map([], punctuality)?;
    rows.collect()
}

fn punctuality(row: &Row<'_>) -> Result<(String, Punctuality)> {
    let count = |column: &str| row.get::<_, i64>(column).map(i64::cast_unsigned);
    let punctuality = Punctuality {
        scheduled: count("scheduled")?,
        departed: count("departed")?,
        cancelled: count("cancelled")?,
        diverted: count("diverted")?,
        arrived: count("arrived")?,
        on_time: count("on_time")?,
        delay_minutes_sum: row.get("delay_minutes_sum")?,
    };
    Ok((row.get("carrier")?, punctuality))
}
