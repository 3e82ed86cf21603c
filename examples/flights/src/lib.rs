//! The flights example: Retold on real data.
//!
//! Read the modules in this order:
//!
//! 1. [`flight`]: an aggregate with its events, rules and refusals. It is pure.
//! 2. [`aircraft`]: a rule that spans several flights, decided over their events.
//! 3. [`on_time`]: a table folded from the log.
//! 4. [`record`] and [`input`]: the rows of a file as records of flights, with every [`flaw`]
//!    counted by name.
//! 5. [`itinerary`] and [`replay`]: the same flights as commands, in order per aircraft, from
//!    concurrent callers.
//! 6. [`airframe`] and [`notice`]: two more aggregates, in applications that follow the flights;
//!    and [`system`], which defines the applications, followers and policies.
//! 7. [`on_time_view`] and [`on_time_in_memory`]: the same table, kept by projections.
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
//! let morning = "2013-01-01T14:12:00Z".parse().expect("a time");
//! aircraft::depart(&app, &miami, "N38403", morning).await?;
//! let refused = aircraft::depart(&app, &san_juan, "N38403", noon).await.unwrap_err();
//! assert_eq!(refused.to_string(), "refused: N38403 is in the air, as UA 1601");
//!
//! let flight = app.get::<Flight>(&miami).await?.state;
//! assert!(matches!(flight.phase(), Phase::InAir { .. }));
//! # Ok(())
//! # }
//! ```
//!
//! The same flights run as a system, in one thread and in memory. When a command returns, all its
//! effects are recorded.
//!
//! ```
//! use std::sync::Arc;
//!
//! use retold::system::{Infrastructure, Runner, SingleThread};
//! use retold_flights::airframe::Airframe;
//! use retold_flights::input::Input;
//! use retold_flights::replay::replay;
//! use retold_flights::system::{AIRCRAFT, FLIGHTS, system};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let memory = Infrastructure::memory();
//! let runner = SingleThread::start(&system(), &memory).await?;
//! let flights: Vec<_> = Input::january()?.flights.into_iter().take(100).collect();
//! replay(&runner.application(FLIGHTS)?, flights.into(), 4, Arc::default()).await?;
//!
//! let airframe = runner.application(AIRCRAFT)?.get::<Airframe>("N14228").await?.state;
//! assert_eq!((airframe.legs_flown(), airframe.minutes_flown()), (1, 253));
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

pub mod on_time_view;

pub mod on_time_in_memory;

pub mod flaw;

pub mod airlines;
pub mod airports;
pub mod record;

pub mod input;
pub mod itinerary;

pub mod replay;

pub mod processed;

pub mod kills;

pub mod fingerprint;
