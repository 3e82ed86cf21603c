//! Flights: what Retold is for, shown on real data.
//!
//! The modules stand in the order in which one reads them best:
//!
//! 1. [`flight`]: an aggregate with its events, its rules and its refusals. All of it is pure.
//! 2. [`aircraft`]: a rule that no flight can hold by itself, decided over the events of many.
//! 3. [`on_time`]: a table that is folded from the log.
//! 4. [`record`] and [`input`]: from rows of a file to what became of each flight, with every
//!    [`flaw`] counted by name.
//! 5. [`itinerary`] and [`replay`]: the same again as commands, in order for each aircraft, by many
//!    callers at once.
//!
//! ```
//! use retold::prelude::*;
//! use retold_flights::aircraft;
//! use retold_flights::flight::{Flight, Phase, Scheduled, flight_id};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> retold::Result<()> {
//! let app = Application::open("flights", "memory:flights").await?;
//! let plan = |number, destination: &str| Scheduled {
//!     carrier: "UA".into(),
//!     number,
//!     origin: "EWR".into(),
//!     destination: destination.into(),
//!     aircraft: Some("N38403".into()),
//!     departs_at: "2013-01-01T14:15:00Z".parse().expect("a time"),
//!     arrives_at: "2013-01-01T17:31:00Z".parse().expect("a time"),
//! };
//! let day = jiff::civil::date(2013, 1, 1);
//! let (miami, san_juan) = (flight_id("UA", 1601, day, "EWR"), flight_id("UA", 1663, day, "EWR"));
//! app.execute_or_create(&miami, |flight| flight.schedule(plan(1601, "MIA"))).await?;
//! app.execute_or_create(&san_juan, |flight| flight.schedule(plan(1663, "SJU"))).await?;
//!
//! let noon = "2013-01-01T17:00:00Z".parse().expect("a time");
//! aircraft::depart(&app, &miami, "N38403", "2013-01-01T14:12:00Z".parse().expect("a time")).await?;
//! let refused = aircraft::depart(&app, &san_juan, "N38403", noon).await.unwrap_err();
//! assert_eq!(refused.to_string(), "refused: N38403 is in the air, as UA 1601");
//!
//! let flight = app.get::<Flight>(&miami).await?.state;
//! assert!(matches!(flight.phase(), Phase::InAir { .. }));
//! # Ok(())
//! # }
//! ```

pub mod minutes;

pub mod flight;

pub mod aircraft;
pub mod on_time;

pub mod airframe;
pub mod notice;

pub mod system;

pub mod key_history;

pub mod flaw;

pub mod airlines;
pub mod airports;
pub mod record;

pub mod input;
pub mod itinerary;

pub mod replay;

pub mod fingerprint;
