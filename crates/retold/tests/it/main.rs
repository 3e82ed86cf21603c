//! Tests of the facade as programs use it: derives, compile errors, whole applications.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod application;
mod blocking;
mod contention;
mod derive;
mod first_program;
mod open;
mod runtimes;
mod subscribing;
mod system;
mod ui;
