//! Protection: compression and encryption of what stores keep, and keys of subjects, whose
//! destruction makes a subject's data unreadable.
//!
//! A layer around the recorder compresses and encrypts payloads, metadata and snapshots on their
//! way into the store, and opens them on their way out. Everything above the recorder (commands,
//! followers, projections, timers, outboxes, retellings, the command line) works with payloads as a
//! codec wrote them, and everything below keeps bytes that it does not interpret. The modules are
//! listed in dependency order.

mod compression;
mod key;

mod envelope;
mod key_ring;

mod key_file;
mod parts;
mod plain_events;
mod subject_stream;

mod subject_keys;

mod sealing;

mod protected_recorder;

pub use self::compression::{Compression, DICTIONARY_SIZE_MAX, train_dictionary};
pub use self::key::{KEY_ID_SIZE_MAX, KeyError, SecretKey};
pub use self::key_file::{KEYS_VARIABLE, key_file_warning};
pub use self::key_ring::{KeyRing, KeySource};
pub use self::protected_recorder::{ProtectedStore, Protection};
pub use self::subject_keys::{Forgotten, SubjectKeys};
pub use self::subject_stream::{SUBJECT_SIZE_MAX, SubjectState};
