//! Mapping: between the domain's events and the recorder's bytes.
//!
//! On the way out the [`Mapper`](mapper::Mapper) takes topic, revision and tags from the event's type
//! and has its [`Codec`](codec::Codec) write the payload and read it back; on the way in the topic leads
//! back to the type. The modules stand in order; each uses only those above it.

pub(crate) mod json_difference;
pub mod topic_registry;

pub mod codec;

pub mod any_event;
pub mod error;

pub mod mapper;

pub(crate) mod event_reader;
