//! The stamp of a command: what is recorded with each of its events besides their content.

use std::sync::Arc;

use bytes::Bytes;

use super::command_id::CommandId;
use super::error::Result;
use super::handle::Application;
use super::scope::Scope;
use crate::domain::{Event, Timestamp};
use crate::mapping::{AnyEvent, Envelope};
use crate::recording::{EventId, Metadata, NewEvent, Origin};

/// The time, ids and metadata of the events of one command.
///
/// If the request's metadata has no correlation id, it is the id of the command's first event. If
/// it has no causation id, it is the command id, if there is one.
pub(super) struct Stamp<'a> {
    application: &'a Application,
    command: Option<&'a CommandId>,
    first: EventId,
    time: Timestamp,
    metadata: Bytes,
    /// The metadata of the first event, which also has the command's scope if its stream does not
    /// show it.
    first_metadata: Bytes,
}

impl<'a> Stamp<'a> {
    /// The stamp of a command that is decided now.
    pub(super) fn new(
        application: &'a Application,
        command: Option<&'a CommandId>,
        scope: Option<&Scope>,
    ) -> Self {
        let first = command.map_or_else(|| application.next_event_id(), |it| it.event_id(0));
        let request = application.metadata.as_deref();
        let reported = metadata(request, command, first, None);
        let first_metadata = match command.and(scope) {
            Some(scope) => metadata(request, command, first, Some(scope)),
            None => reported.clone(),
        };
        Self {
            application,
            command,
            first,
            time: application.now(),
            metadata: reported,
            first_metadata,
        }
    }

    /// Returns these events of an aggregate's stream, as a recorder takes them and as they will be
    /// read.
    pub(super) fn of_stream<E: Event>(
        &self,
        stream: &Arc<str>,
        events: &[E],
    ) -> Result<(Vec<NewEvent>, Vec<E>)> {
        let mapper = self.application.mapper();
        let encode = |(ordinal, event)| {
            let envelope = self.envelope(ordinal, Some(Arc::clone(stream)));
            Ok(mapper.encode(event, envelope)?)
        };
        events.iter().enumerate().map(encode).collect()
    }

    /// Returns these events, each for the stream that it is addressed to, as a recorder takes them
    /// and as they will be read.
    pub(super) fn of_any(&self, events: &[AnyEvent]) -> Result<(Vec<NewEvent>, Vec<AnyEvent>)> {
        let mapper = self.application.mapper();
        let encode = |(ordinal, event): (usize, &AnyEvent)| {
            event.register(self.application.registry())?;
            Ok(mapper.encode_any(event, self.envelope(ordinal, None))?)
        };
        events.iter().enumerate().map(encode).collect()
    }

    fn envelope(&self, ordinal: usize, stream: Option<Arc<str>>) -> Envelope {
        let id = match (ordinal, self.command) {
            (0, _) => self.first,
            (_, Some(command)) => command.event_id(ordinal as u64),
            (_, None) => self.application.next_event_id(),
        };
        Envelope {
            id,
            stream,
            time: self.time,
            origin: Origin::Command,
            metadata: match ordinal {
                0 => self.first_metadata.clone(),
                _ => self.metadata.clone(),
            },
        }
    }
}

fn metadata(
    request: Option<&Metadata>,
    command: Option<&CommandId>,
    first: EventId,
    scope: Option<&Scope>,
) -> Bytes {
    let (None, None) = (request, command) else {
        let mut metadata = request.cloned().unwrap_or_default();
        if metadata.correlation_id().is_none() {
            metadata = metadata.with_correlation_id(first.to_string());
        }
        if let (None, Some(command)) = (metadata.causation_id(), command) {
            metadata = metadata.with_causation_id(command.as_str());
        }
        if let Some(scope) = scope {
            metadata = metadata.with_command_scope(scope.text());
        }
        return metadata.to_bytes();
    };
    correlation_alone(first)
}

/// The metadata of most commands: the bytes of a correlation id alone, written without a map.
fn correlation_alone(first: EventId) -> Bytes {
    const BEFORE: &[u8] = br#"{"correlation_id":""#;
    const AFTER: &[u8] = br#""}"#;
    const ID: usize = uuid::fmt::Hyphenated::LENGTH;
    let mut bytes = [0; BEFORE.len() + ID + AFTER.len()];
    bytes[..BEFORE.len()].copy_from_slice(BEFORE);
    first
        .uuid()
        .hyphenated()
        .encode_lower(&mut bytes[BEFORE.len()..][..ID]);
    bytes[BEFORE.len() + ID..].copy_from_slice(AFTER);
    Bytes::copy_from_slice(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn correlation_and_causation_are_filled_in() {
        let first = EventId::new(Uuid::from_u128(1));
        let command = CommandId::from("order-17");
        let asked = Metadata::new().with("user", "ann");
        let check = |request: Option<&Metadata>, command, expected: Metadata| {
            let bytes = metadata(request, command, first, None);
            assert_eq!(bytes, expected.to_bytes());
        };
        let correlated = Metadata::new().with_correlation_id(first.to_string());
        check(None, None, correlated.clone());
        check(
            None,
            Some(&command),
            correlated.clone().with_causation_id("order-17"),
        );
        check(Some(&asked), None, correlated.with("user", "ann"));
        let given = Metadata::new()
            .with_correlation_id("c")
            .with_causation_id("d");
        check(Some(&given), Some(&command), given.clone());
    }
}
