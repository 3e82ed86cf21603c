//! The promises of the runner: everything is processed once, even if calls fail meanwhile.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails when it unwraps an error, as it should"
)]

mod child_process;
mod faulty;
mod leasing;
mod nodes;
mod overview;
mod patience;
mod shop;

mod place;
mod runners;

mod beginning;
mod cluster;
mod cluster_processes;

mod contention;
mod conversation;
mod deadlines;
mod deliveries;
mod each_runner;
mod failing;
mod findings;
mod following;
mod health;
mod mixed_versions;
mod partitions;
mod processes;
mod restored;
mod retelling;
mod sharing;
mod slow_policies;
mod slow_views;
mod stopping;
mod waiting;
mod waiting_rounds;
