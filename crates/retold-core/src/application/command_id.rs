//! Command ids, under which a repeated request records nothing.

use std::fmt;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::limits::COMMAND_ID_SIZE_MAX;
use crate::recording::{EventId, Invalid};

/// Hashed before a command id, so that no other use of the same text gives the same event ids.
const DOMAIN: &[u8] = b"retold.command/1";

/// Identifies a request, so that it is executed only once, no matter how many times it is sent. The
/// sender chooses it and uses the same one when it sends the request again; 1 to
/// [`COMMAND_ID_SIZE_MAX`] bytes.
///
/// The ids of the events that a command records are derived from its id, so the log itself knows
/// which commands it has seen. The scope is the log: two commands of one log never share an id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CommandId(String);

/// Where the ids of an append's events come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventIds {
    /// From the id source: if the events are decided again, they get other ids.
    Fresh,
    /// From the command id: if the command is repeated, its events get the same ids.
    OfCommand,
}

impl CommandId {
    /// Returns the text of the id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the id of the event at index `ordinal`, counted from 0, among the command's events.
    ///
    /// It is a UUID of version 8 (RFC 9562, section 5.8) made from SHA-256 over the command id and
    /// the ordinal. It contains no time, because a repeated request arrives at another time.
    pub fn event_id(&self, ordinal: u64) -> EventId {
        let mut hash = Sha256::new();
        hash.update(DOMAIN);
        hash.update((self.0.len() as u64).to_be_bytes());
        hash.update(self.0.as_bytes());
        hash.update(ordinal.to_be_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        EventId::new(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    pub(super) fn check(&self) -> Result<(), Invalid> {
        if self.0.is_empty() || self.0.len() > COMMAND_ID_SIZE_MAX {
            return Err(Invalid::new(format!(
                "the command id has {} bytes; it must have 1 to {COMMAND_ID_SIZE_MAX}",
                self.0.len()
            )));
        }
        Ok(())
    }
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Uuid> for CommandId {
    fn from(id: Uuid) -> Self {
        Self(id.to_string())
    }
}

impl From<String> for CommandId {
    fn from(id: String) -> Self {
        Self(id)
    }
}

impl From<&str> for CommandId {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Existing logs depend on these ids: if they changed, a repeated request would be recorded
    /// twice.
    #[test]
    fn event_ids_of_commands_are_stable() {
        let check = |command: &str, ordinal, id: &str| {
            assert_eq!(CommandId::from(command).event_id(ordinal).to_string(), id);
        };
        check("order-17", 0, "0b5269f1-f468-832a-9165-d8fc2b0d7f81");
        check("order-17", 1, "bcb34c9d-a279-8637-abe5-282aca306e52");
        check("hund 🐕", 0, "06e655fd-96e1-8bd5-806a-fa30447e8223");
    }

    #[test]
    fn a_uuid_and_its_text_are_one_command() {
        let id = Uuid::from_u128(7);
        assert_eq!(CommandId::from(id), CommandId::from(id.to_string()));
    }
}
