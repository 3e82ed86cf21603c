//! What is said about an event beside its payload: correlation, causation and the user's own entries.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

const CORRELATION_ID: &str = "correlation_id";
const CAUSATION_ID: &str = "causation_id";
const COMMAND_SCOPE: &str = "retold.command_scope";

/// Entries beside an event's payload: who asked, in which conversation, on behalf of whom.
///
/// Stored as a JSON object; the empty one as no bytes at all. Data that is bound to a process, such
/// as ids of traces, does not belong in it: a retelling could not repeat it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Metadata {
    entries: Map<String, Value>,
}

impl Metadata {
    /// Metadata without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// With an entry of this name, in place of one that was there.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.entries.insert(name.into(), value.into());
        self
    }

    /// With the id of the conversation this belongs to: the same for all that one request causes.
    #[must_use]
    pub fn with_correlation_id(self, id: impl Into<String>) -> Self {
        self.with(CORRELATION_ID, id.into())
    }

    /// With the id of the command or event that directly caused this.
    #[must_use]
    pub fn with_causation_id(self, id: impl Into<String>) -> Self {
        self.with(CAUSATION_ID, id.into())
    }

    /// With what the command is about whose first event this is beside.
    #[must_use]
    pub(crate) fn with_command_scope(self, scope: impl Into<String>) -> Self {
        self.with(COMMAND_SCOPE, scope.into())
    }

    /// What the command is about whose first event this is beside.
    pub(crate) fn command_scope(&self) -> Option<&str> {
        self.get(COMMAND_SCOPE).and_then(Value::as_str)
    }

    /// Id of the conversation this belongs to.
    pub fn correlation_id(&self) -> Option<&str> {
        self.get(CORRELATION_ID).and_then(Value::as_str)
    }

    /// Id of the command or event that directly caused this.
    pub fn causation_id(&self) -> Option<&str> {
        self.get(CAUSATION_ID).and_then(Value::as_str)
    }

    /// The entry of this name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.entries.get(name)
    }

    /// All entries, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries
            .iter()
            .map(|(name, value)| (name.as_str(), value))
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bytes that are stored.
    pub fn to_bytes(&self) -> Bytes {
        if self.entries.is_empty() {
            return Bytes::new();
        }
        serde_json::to_vec(&self.entries)
            .expect("a map with string keys is JSON")
            .into()
    }

    /// The metadata of stored bytes.
    ///
    /// # Errors
    ///
    /// What JSON finds wrong with the bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        if bytes.is_empty() {
            return Ok(Self::new());
        }
        serde_json::from_slice(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_survives_its_bytes() {
        let metadata = Metadata::new()
            .with_correlation_id("c")
            .with("user", "ann")
            .with("n", 1);
        assert_eq!(
            Metadata::from_bytes(&metadata.to_bytes()).unwrap(),
            metadata
        );
        assert_eq!(metadata.correlation_id(), Some("c"));
        assert_eq!(metadata.causation_id(), None);
        assert!(Metadata::new().to_bytes().is_empty());
        assert!(Metadata::from_bytes(b"[1]").is_err());
    }
}
