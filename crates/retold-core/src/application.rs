//! Applications: named logs with their aggregates.
//!
//! An [`Application`] loads, decides and appends, and reads back what was recorded. The modules stand
//! in order; each uses only those above it.

pub mod error;
pub mod limits;

pub mod publish;
pub mod selection;

pub mod log_reading;
pub mod subscription;

pub mod handle;

pub mod log_reader;

pub mod builder;

pub use builder::ApplicationBuilder;
pub use error::{Error, ExecuteError, Result};
pub use handle::Application;
pub use log_reader::LogReader;
