//! Tests of the project's shape: rules that the compiler does not check and a reader relies on.

#![allow(clippy::unwrap_used, reason = "a failed test reports its line")]

mod bounds;
mod crate_directions;
mod first_program;
mod layers;
mod module_order;
mod packages;
mod plain_english;
mod telemetry;
mod text_files;
mod type_names;
mod workspace;
