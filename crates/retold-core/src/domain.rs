//! The domain: events, aggregates and decisions, as pure, synchronous code.
//!
//! Nothing in here knows of a store. The modules stand in order; each uses only those above it.

pub mod clock;
pub mod content;
pub mod finite;
pub mod id_source;

pub mod event;

pub mod aggregate;
pub mod decision;

pub mod id;
