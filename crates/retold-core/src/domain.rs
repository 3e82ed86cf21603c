//! The domain: events, aggregates and decisions, as pure, synchronous code.
//!
//! Nothing here depends on a store. The modules are in dependency order: each uses only those above
//! it.

mod clock;
pub mod content;
mod content_schema;
mod finite;
mod id_source;

mod subject;
mod upcast;

mod event;

mod subject_forgotten;

mod aggregate;
mod decision;
mod past_types;

mod id;

pub use self::aggregate::{Aggregate, Comparison, IsEqual, Key, NoComparison, SnapshotRule};
pub use self::clock::{Clock, ManualClock, ParseTimestampError, SystemClock, Timestamp};
#[doc(hidden)]
pub use self::content_schema::{ContentPart, GenerateSchemas, NoSchema, SchemaOf};
pub use self::content_schema::{ContentSchemas, ContentSource};
pub use self::decision::Decision;
pub use self::event::{
    Apply, Event, EventType, ForgottenJoin, NoJoin, Tags, add_tags, check_distinct_topics, fold,
    join_types, tag,
};
pub use self::finite::{Finite, to_json};
pub use self::id::Id;
pub use self::id_source::{IdSource, SequentialIds, UuidV7Source};
#[doc(hidden)]
pub use self::past_types::{erased_past_as, past_types, read_past_as};
pub use self::subject::{SubjectExtent, SubjectPart};
pub use self::subject_forgotten::{SUBJECT_FORGOTTEN_TOPIC, SubjectForgotten};
pub(crate) use self::upcast::StoredEnvelope;
pub use self::upcast::{
    Decoded, DecodedEvents, EventShape, PastEvent, SplitInto, Upcast, Upcasted,
};
