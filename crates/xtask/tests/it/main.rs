//! Tests of the project's shape: what a compiler does not hold and a reader relies on.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod bounds;
mod crate_directions;
mod first_program;
mod module_order;
mod packages;
mod telemetry;
mod text_files;
mod workspace;
