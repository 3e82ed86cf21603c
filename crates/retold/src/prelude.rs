//! The names that most programs need: `use retold::prelude::*;`.
//!
//! The derives of serde write paths that begin with `serde`, so a program that derives
//! [`Serialize`] has `serde` among its own dependencies.

pub use crate::application::{Application, ExecuteError, Recorded, fold_of};
pub use crate::blocking::BlockingFace;
pub use crate::domain::aggregate::{Aggregate, Key, SnapshotRule};
pub use crate::domain::clock::Timestamp;
pub use crate::domain::decision::Decision;
pub use crate::domain::event::{Apply, Event, fold};
pub use crate::domain::id::Id;
pub use crate::mapping::any_event::{Addressed, AnyEvent};
pub use crate::open::OpenApplication;
pub use crate::recording::metadata::Metadata;
pub use crate::recording::query::{Query, QueryItem};
pub use retold_derive::{Aggregate, Event, Key};
pub use serde::{Deserialize, Serialize};
pub use uuid::Uuid;
