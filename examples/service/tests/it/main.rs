//! Tests of the service example, as one binary: over HTTP, through loopback sockets.

#![allow(clippy::unwrap_used, reason = "a failing test reports the line")]

mod client;
mod patience;
mod running;

mod commands;
mod health;
mod pressure;
mod process;
mod reading;
mod readme;
mod rules;
mod runners;
mod two_instances;
