//! Errors of the conversion between events and bytes.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use super::codec_error::CodecError;
use crate::recording::{EventId, Position, SealFault, StoredEvent, Version};

/// An event could not be encoded or decoded. Nothing was recorded.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MappingError {
    /// An event's own `Serialize` failed, or the codec cannot express its content.
    #[error("an event {topic:?} cannot be encoded: {source}")]
    Encode {
        /// Topic of the event.
        topic: &'static str,
        /// The error of its `Serialize` or the codec.
        source: CodecError,
    },
    /// An event could not be read back from its bytes, or differed when read back.
    #[error(
        "an event {topic:?} is not recorded, because it cannot be read back unchanged: {source}. \
         `Deserialize` of {type_name} must read exactly what its `Serialize` writes"
    )]
    NotReadBack {
        /// Topic of the event.
        topic: &'static str,
        /// The Rust type of the event.
        type_name: &'static str,
        /// What failed or differed when the event was read back, and where.
        source: CodecError,
    },
    /// A stored event's topic is none of those of the requested type.
    #[error(
        "{place} has the topic {topic:?}, which {type_name} does not know; it knows {}. If a \
         type was renamed, give it its former topic: `#[event(formerly({topic:?}))]`. If the \
         program has the type, register it with the application: `.event::<T>()` or \
         `.aggregate::<A>()`. If the topic is no longer used, declare it: `.retired({topic:?})`. \
         If another program records these events and this one does not need them: \
         `.of_others({topic:?})`. If a newer program recorded it, update this one",
        list(known)
    )]
    UnknownTopic {
        /// The event.
        place: StoredEventPlace,
        /// Its topic.
        topic: Arc<str>,
        /// The requested Rust type.
        type_name: &'static str,
        /// The topics of that type, present and former.
        known: Vec<&'static str>,
    },
    /// A stored event's payload was erased.
    #[error("{place}, {topic:?}, has no content: it was erased")]
    Erased {
        /// The event.
        place: StoredEventPlace,
        /// Its topic.
        topic: Arc<str>,
    },
    /// A stored event's payload is encoded in a way that this program cannot decode.
    #[error(
        "{place}, {topic:?}, is encoded as {encoding:?}, and this program does not \
         know the {what}; was it recorded by a newer version, or with other features?"
    )]
    UnknownEncoding {
        /// The event.
        place: StoredEventPlace,
        /// Its topic.
        topic: Arc<str>,
        /// The text of its encoding.
        encoding: Arc<str>,
        /// The unknown part of the encoding: its form, codec, compression or key.
        what: &'static str,
    },
    /// A stored event's content, which is compressed or encrypted, could not be opened.
    #[error("{place}, {topic:?}, cannot be read: {fault}")]
    Sealed {
        /// The event.
        place: StoredEventPlace,
        /// Its topic.
        topic: Arc<str>,
        /// Why it could not be opened.
        fault: SealFault,
    },
    /// A stored event has a newer revision than the program's type.
    #[error(
        "{place}, {topic:?}, has revision {revision}, and this program knows the type only up to \
         {known}; it was recorded by a newer program. Update this one. Before a program that \
         records a new revision is deployed, deploy programs that can read it: \
         `#[event(ahead({revision} = …))]`"
    )]
    NewerRevision {
        /// The event.
        place: StoredEventPlace,
        /// Its topic.
        topic: Arc<str>,
        /// The revision of the event.
        revision: u32,
        /// The highest revision that the program's type can read.
        known: u32,
    },
    /// A stored event has an older shape, or was erased, and could not be converted to the present
    /// type.
    #[error(
        "{place}, {topic:?}, revision {revision}, cannot be converted to {type_name}: {source}"
    )]
    Upcast {
        /// The event.
        place: StoredEventPlace,
        /// Its topic.
        topic: Arc<str>,
        /// The revision of the event.
        revision: u32,
        /// The requested Rust type.
        type_name: &'static str,
        /// The error of the conversion.
        source: UpcastError,
    },
    /// A stored event is read as no event or as several, and the caller asked for exactly one.
    #[error(
        "{place}, {topic:?}, is read as {count} events of {type_name}, and not as one; read it \
         with `Mapper::read`, or with the other events of its log"
    )]
    NotOne {
        /// The event.
        place: StoredEventPlace,
        /// Its topic.
        topic: Arc<str>,
        /// The requested Rust type.
        type_name: &'static str,
        /// The number of events that it is read as.
        count: usize,
    },
    /// A stored event's payload is not the content of its type.
    #[error("{place}, {topic:?}, revision {revision}, cannot be read as {type_name}: {source}")]
    Decode {
        /// The event.
        place: StoredEventPlace,
        /// Its topic.
        topic: Arc<str>,
        /// The revision of the event.
        revision: u32,
        /// The requested Rust type.
        type_name: &'static str,
        /// The error of its `Deserialize` or the codec.
        source: CodecError,
    },
}

impl MappingError {
    /// Returns whether the event was probably recorded by another program, most likely a newer
    /// version: this program does not know its topic or its revision.
    pub fn is_of_another_program(&self) -> bool {
        matches!(self, Self::UnknownTopic { .. } | Self::NewerRevision { .. })
    }
}

/// The reason why an event of an older shape cannot be converted.
#[derive(Clone)]
pub struct UpcastError(Arc<dyn Error + Send + Sync>);

impl UpcastError {
    pub(super) fn new(error: Box<dyn Error + Send + Sync>) -> Self {
        Self(error.into())
    }
}

impl fmt::Debug for UpcastError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for UpcastError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Error for UpcastError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// Maximum number of topics that an error lists.
const TOPICS_NAMED_MAX: usize = 20;

fn list(topics: &[&str]) -> String {
    if topics.is_empty() {
        return "none".into();
    }
    let quoted = topics.iter().take(TOPICS_NAMED_MAX);
    let quoted: Vec<_> = quoted.map(|topic| format!("{topic:?}")).collect();
    match topics.len().saturating_sub(TOPICS_NAMED_MAX) {
        0 => quoted.join(", "),
        more => format!("{} and {more} more", quoted.join(", ")),
    }
}

/// The place of a stored event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredEventPlace {
    /// The place in the log.
    pub position: Position,
    /// The event's id.
    pub id: EventId,
    /// The name of its stream and the place in it, or none.
    pub stream: Option<(Arc<str>, Version)>,
}

impl From<&StoredEvent> for StoredEventPlace {
    fn from(event: &StoredEvent) -> Self {
        Self {
            position: event.position(),
            id: event.id(),
            stream: event
                .stream()
                .zip(event.version())
                .map(|(stream, version)| (stream.into(), version)),
        }
    }
}

impl fmt::Display for StoredEventPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the event at position {}", self.position)?;
        if let Some((stream, version)) = &self.stream {
            write!(f, " (version {version} of {stream:?})")?;
        }
        Ok(())
    }
}
