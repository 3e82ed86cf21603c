//! The core of Retold: what an event is, how it is recorded, and how applications use it.
//!
//! The crate contains no database driver and no runtime. The modules are in dependency order: each
//! uses only those above it, and a test enforces this.

// The paths that derived code names when this crate is used in place of the facade.
#[doc(hidden)]
pub use {serde, uuid};

/// The crate whose `JsonSchema` describes the types of events, in the version that Retold uses.
#[cfg(feature = "schema")]
pub use schemars;

pub mod domain;

pub mod recording;

#[cfg(feature = "protection")]
pub mod protection;

pub mod mapping;
pub mod schema;

pub mod application;

pub mod health;

pub mod projection;
pub mod simulation;

pub mod following;

pub mod system;

pub mod retelling;

pub mod testing;
