//! What the SQLite store promises: the recorder's contract, and what is its own, from how a file is
//! opened to what `kill -9` leaves.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps in vain fails, which is what it is for"
)]

mod place;
mod tricks;

mod concurrency;
mod conformance;
mod damage;
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
mod rights;
mod space;
mod wal;
