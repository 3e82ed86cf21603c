//! The tests of the core through its public face: one binary, a module for each subject.

#![allow(
    clippy::unwrap_used,
    reason = "in a test, also in a function that tests share, a panic is a failure"
)]

mod accounts;
mod amending;
mod awaited_handlers;
mod broken_recorders;
mod broken_views;
mod damaged_ids;
mod decide;
mod dogs;
mod dropped_steps;
mod duplicates;
mod event_bus;
mod execute;
mod faults;
mod lanes;
mod log_reading;
mod memory_conformance;
mod memory_views;
mod planted_bugs;
mod projection;
mod publish;
mod racing;
mod repository;
mod restored;
mod runtime;
mod simulation_kit;
mod subscription;
mod telemetry;
mod test_kit;
mod turns;
mod unsteady;
mod verify;
