//! Tests of the service example, as one binary: over HTTP, through sockets of the loopback.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

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
mod two_instances;
