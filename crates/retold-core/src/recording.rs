//! Recording: how events are kept and read back, independently of any database.
//!
//! A [`Store`](store::Store) opens logs by name; a [`Recorder`](recorder::Recorder) is one log. What
//! must be atomic is one primitive, the [`Append`](append::Append). The recorder's contract stands in
//! [`recorder`]; its tests, which every store runs, in `conformance`. The modules stand in order; each
//! uses only those above it.

pub mod fault;
pub mod identity;

pub mod limits;

pub mod encoding;
pub mod metadata;
pub mod stretch;

pub mod origin;

pub mod new_event;

pub mod stored_event;

pub mod checksum;

pub mod query;

pub mod condition;

pub mod append;

pub mod error;

pub mod own_process;
pub mod snapshot;

pub mod recorder;

pub mod patience;
pub mod store;
pub mod verify;

pub mod layer;

pub mod memory;

#[cfg(feature = "conformance")]
pub mod conformance;
