//! The command as people and programs use it: the built binary, run on stores in temporary folders.

#![allow(
    clippy::unwrap_used,
    reason = "in a test, also in a function that tests share, a panic is a failure"
)]

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
mod followers;
mod forging;
mod logs_and_streams;
mod machines;
mod monitor;
mod postgres;
mod refusals;
mod retelling;
mod system;
mod verify;
