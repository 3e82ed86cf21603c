//! Tests of the PostgreSQL store: the recorder's contract, and the store's own guarantees. The
//! tests start their own server, one per run, and each creates a database of its own; nothing is
//! left running.

#![allow(
    clippy::unwrap_used,
    reason = "a failed unwrap fails the test, as intended"
)]

mod certificates;
mod database;
mod proxy;
mod tricks;
mod view_conformance;
mod writers;

mod amending_by_sql;
mod amendments;
mod backup;
mod bounds;
mod conformance;
mod conversion;
mod encryption;
mod faults;
mod faults_amending;
mod faults_network;
mod faults_servers;
mod greeting;
mod groups;
mod history;
#[cfg(unix)]
mod inherited;
mod inline;
mod intersections;
mod leases;
mod names;
mod opening;
mod plans;
mod processes;
mod projection;
mod purging;
mod roles;
