//! Tests of the built binary, on stores in temporary folders.

#![allow(
    clippy::unwrap_used,
    reason = "a panic fails the test, also in functions that tests share"
)]

mod amending;
mod command;
mod hosts;
mod store;

mod kennel;
mod shop;

mod demo;
mod demo_cluster;
mod events;
mod follow;
mod follower;
mod follower_list;
mod forgetting;
mod forging;
mod help;
mod logs_and_streams;
mod machines;
mod monitor;
mod postgres;
mod refusals;
mod retelling;
mod schema_events;
mod system;
mod terminal;
mod verify;
