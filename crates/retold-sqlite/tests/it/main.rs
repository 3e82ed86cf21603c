//! Tests of the SQLite store: the recorder's contract, and the store's own guarantees, from opening
//! a file to the state after `kill -9`.

#![allow(
    clippy::unwrap_used,
    reason = "in a test, a failed unwrap is a failure"
)]

mod place;
mod tricks;
mod view_conformance;

mod amending;
mod concurrency;
mod conformance;
mod damage;
mod deleting;
mod foreign_schema;
mod history;
#[cfg(unix)]
mod inherited;
mod inline;
mod leases;
mod many_logs;
mod opening;
mod presence;
mod processes;
mod projection;
mod purging;
mod rights;
mod space;
mod wal;
