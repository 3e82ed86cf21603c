//! An event's data other than its payload: correlation, causation and the user's own entries.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

const CORRELATION_ID: &str = "correlation_id";
const CAUSATION_ID: &str = "causation_id";
const COMMAND_SCOPE: &str = "retold.command_scope";

/// Entries that accompany an event's payload, such as who sent the command, in which conversation,
/// and on whose behalf.
///
/// Stored as a JSON object; empty metadata takes no bytes. Data that differs in each run, such as
/// trace ids, does not belong here: a retelling could not reproduce it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Metadata {
    entries: Map<String, Value>,
}

impl Metadata {
    /// Creates metadata without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the entry of this name, replacing an existing one.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.entries.insert(name.into(), value.into());
        self
    }

    /// Sets the id of the conversation to which this belongs: the same for everything that one
    /// request causes.
    #[must_use]
    pub fn with_correlation_id(self, id: impl Into<String>) -> Self {
        self.with(CORRELATION_ID, id.into())
    }

    /// Sets the id of the command or event that directly caused this.
    #[must_use]
    pub fn with_causation_id(self, id: impl Into<String>) -> Self {
        self.with(CAUSATION_ID, id.into())
    }

    /// Sets the scope of the command whose first event carries this metadata.
    #[must_use]
    pub(crate) fn with_command_scope(self, scope: impl Into<String>) -> Self {
        self.with(COMMAND_SCOPE, scope.into())
    }

    /// Returns the scope of the command whose first event carries this metadata.
    pub(crate) fn command_scope(&self) -> Option<&str> {
        self.get(COMMAND_SCOPE).and_then(Value::as_str)
    }

    /// Returns the id of the conversation to which this belongs.
    pub fn correlation_id(&self) -> Option<&str> {
        self.get(CORRELATION_ID).and_then(Value::as_str)
    }

    /// Returns the id of the command or event that directly caused this.
    pub fn causation_id(&self) -> Option<&str> {
        self.get(CAUSATION_ID).and_then(Value::as_str)
    }

    /// Returns the entry of this name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.entries.get(name)
    }

    /// Returns all entries, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries
            .iter()
            .map(|(name, value)| (name.as_str(), value))
    }

    /// Returns whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the bytes that are stored.
    pub fn to_bytes(&self) -> Bytes {
        if self.entries.is_empty() {
            return Bytes::new();
        }
        serde_json::to_vec(&self.entries)
            .expect("a map with string keys is JSON")
            .into()
    }

    /// Parses stored metadata.
    ///
    /// # Errors
    ///
    /// The JSON error, if the bytes are not valid metadata.
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
