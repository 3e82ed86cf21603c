//! The names that most programs need: `use retold::prelude::*;`. A program that runs no system does
//! not notice the four names for systems.
//!
//! The derives of serde expand to paths that begin with `serde`, so a program that derives
//! [`Serialize`] must depend on `serde` itself.

pub use crate::application::{Application, ExecuteError, Recorded, fold_of};
pub use crate::blocking::BlockingExt;
pub use crate::domain::Decision;
pub use crate::domain::Id;
pub use crate::domain::Timestamp;
pub use crate::domain::{Aggregate, Key, SnapshotRule};
pub use crate::domain::{Apply, Event, fold};
pub use crate::mapping::{Addressed, AnyEvent};
pub use crate::open::OpenApplication;
pub use crate::recording::Metadata;
pub use crate::recording::{Query, QueryItem};
pub use crate::system::{Context, Follower, Infrastructure, Runner, System};
pub use retold_derive::{Aggregate, Event, Key};
pub use serde::{Deserialize, Serialize};
pub use uuid::Uuid;
