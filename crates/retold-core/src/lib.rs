//! The core of Retold: what an event is, how it is recorded, and what an application does with it.
//!
//! No database driver and no runtime is in here. The modules stand in the order of the data's way;
//! each uses only those above it, and a test of this crate holds that.

// What derived code names, where this crate stands for the facade.
#[doc(hidden)]
pub use {serde, uuid};

pub mod domain;

pub mod recording;

pub mod mapping;

pub mod application;

pub mod health;

pub mod projection;
pub mod simulation;

pub mod following;

pub mod system;

pub mod retelling;

pub mod testing;
