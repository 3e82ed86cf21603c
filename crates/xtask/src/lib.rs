//! What the project's own commands share with the tests of its crates: services that tests need.

pub mod postgres_server;

pub mod pgbouncer;
