//! The schemas of a program's events: which topics it has, which shape each revision has, and who
//! follows whom.
//!
//! A program describes its events by [`System::schema`](crate::system::System::schema) or
//! [`Application::schema`](crate::application::Application::schema). The description is kept in a
//! file, `events.lock`, and compared with the program in a test
//! ([`check_events_lock`](crate::testing::check_events_lock)), so that no recorded type changes its
//! shape unnoticed. The command `retold schema events` prints the file. The modules are in
//! dependency order.

mod shape;

mod expansion;
mod mismatch;
mod restrictions;

mod kinds;

mod readable;

mod event_schemas;
mod outline;

mod asyncapi;
mod comparison;
mod lock_file;

pub use self::comparison::{SchemaChange, SchemaComparison};
pub use self::event_schemas::{EventSchemas, FollowerOutline, TopicSchemas, TopicsOfLog};
pub use self::lock_file::{LOCK_FILE_FORMAT, LOCK_FILE_SIZE_MAX, LockFileError};
pub use self::readable::unreadable;
