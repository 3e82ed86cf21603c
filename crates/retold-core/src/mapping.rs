//! Mapping: conversion between the domain's events and the recorder's bytes.
//!
//! Before an event is recorded, the [`Mapper`] gets its topic, revision and tags, and the [`Codec`]
//! encodes its content and decodes it again as a check. When an event is read, its topic identifies
//! its type. The modules are listed in dependency order: each uses only those above it.

mod codec_error;
mod custom_codec;
mod json_difference;
mod topic_registry;

#[cfg(feature = "msgpack")]
mod message_pack;

mod codec;

mod any_event;
mod error;

mod upcasting;

mod mapper;

mod event_reader;

pub use self::any_event::{Addressed, AnyEvent};
pub use self::codec::{CODEC_NAME_SIZE_MAX, Codec, ProgramCodec};
pub use self::codec_error::CodecError;
pub use self::custom_codec::{ContentReader, CustomCodec, ReadContent};
pub use self::error::{MappingError, StoredEventPlace, UpcastError};
pub(crate) use self::event_reader::EventReader;
pub(crate) use self::json_difference::{Arrays, canonical_json, check_round_trip, json_difference};
pub use self::mapper::{Envelope, Mapper};
#[cfg(feature = "msgpack")]
pub use self::message_pack::message_pack_as_json;
pub use self::topic_registry::{RegistryError, STREAM_TYPE_SIZE_MAX, TopicRegistry};

/// Serde without the types of its formats and values, for codecs of the program.
pub use erased_serde;
