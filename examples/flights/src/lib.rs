//! Flights: what Retold is for, shown on real data.
//!
//! [`input`] reads what became of every flight that left New York City, and counts its flaws.

pub mod minutes;

pub mod flight;

pub mod aircraft;
pub mod on_time;

pub mod flaw;

pub mod airlines;
pub mod airports;
pub mod record;

pub mod input;
pub mod itinerary;

pub mod replay;

pub mod fingerprint;
