//! Mapping: conversion between the domain's events and the recorder's bytes.
//!
//! Before an event is recorded, the [`Mapper`] gets its topic, revision and tags, and the [`Codec`]
//! encodes its content and decodes it again as a check. When an event is read, its topic identifies
//! its type. The modules are listed in dependency order: each uses only those above it.

mod json_difference;
mod topic_registry;

mod codec;

mod any_event;
mod error;

mod mapper;

mod event_reader;

pub use self::any_event::{Addressed, AnyEvent};
pub use self::codec::{Codec, CodecError};
pub use self::error::{MappingError, StoredEventPlace};
pub(crate) use self::event_reader::EventReader;
pub(crate) use self::json_difference::{Arrays, canonical_json, check_round_trip, json_difference};
pub use self::mapper::{Envelope, Mapper};
pub use self::topic_registry::{RegistryError, STREAM_TYPE_SIZE_MAX, TopicRegistry};
