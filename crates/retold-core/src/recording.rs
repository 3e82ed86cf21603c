//! Recording: how events are stored and read back, independently of any database.
//!
//! A [`Store`] opens logs by name, and a [`Recorder`] is one log. The only write operation is the
//! [`Append`], which is recorded as a whole or not at all. [`Recorder`] documents the contract of a
//! store, and the crate `retold-conformance` tests it: every store runs these tests. The modules
//! are listed in dependency order: each uses only those above it.

mod fault;
mod identity;
mod seal_fault;

pub mod limits;

mod encoding;
mod metadata;
mod processed_range;

mod origin;

mod new_event;

mod stored_event;

mod amendment;

pub mod checksum;

mod query;

mod condition;

mod append;

mod error;

mod own_process;
mod snapshot;

mod recorder;

mod patience;
mod store;
mod verify;

mod layer;

mod memory;

pub use self::amendment::{
    AMENDED_TOPIC, Amendment, AmendmentConflict, DELETED_TOPIC, ERASED_TOPIC, ErasedParts,
    REOPENED_TOPIC, Replacement, is_amendment_record, opens_deleted_stream,
};
pub use self::append::{Append, Appended, Positions};
pub use self::condition::{Condition, ExpectedVersion};
pub use self::encoding::Encoding;
pub use self::error::{Conflict, RecordError};
pub(crate) use self::error::{found_log, found_there};
pub use self::fault::{Corrupt, Failure, Invalid};
pub use self::identity::{Checkpoint, EventId, LogId, Position, Version};
pub use self::layer::{RecorderLayer, StoreLayer};
pub use self::memory::{MemoryLog, MemoryStore};
pub use self::metadata::Metadata;
pub use self::new_event::NewEvent;
pub use self::origin::Origin;
pub use self::own_process::OwnProcess;
pub use self::patience::{OPEN_PAUSE_MAX, OPEN_PAUSE_MIN, OPEN_WAIT_MAX, Patience};
pub use self::processed_range::{FollowerKey, ProcessedRange, RecordedRange};
pub use self::query::{Query, QueryItem};
pub(crate) use self::recorder::prove_checkpoint;
pub use self::recorder::{
    BoxFuture, Direction, Head, LogRead, Page, PageEnd, RangeRead, Recorder, StreamEntry,
    StreamRead,
};
pub use self::seal_fault::SealFault;
pub use self::snapshot::StoredSnapshot;
pub use self::store::{Lease, LogEntry, Purged, Store, ViewEntry, check_lease};
#[cfg(feature = "protection")]
pub(crate) use self::stored_event::SEALED;
pub use self::stored_event::{AppendPlace, StoredEvent, StoredEventParts, pack_tags};
pub use self::verify::{VerifyProgress, VerifyReport, VerifyStage, verify_log};
