//! The commands of the replicated key-value store, their results, and the values that are agreed
//! on.

use retold::prelude::*;

/// A command to the store.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Command {
    /// Reads the value of a key. It is part of the sequence of commands, so its result is as of one
    /// position in it.
    Get {
        /// The key.
        key: String,
    },
    /// Sets the value of a key, replacing any existing value.
    Set {
        /// The key.
        key: String,
        /// The new value.
        value: String,
    },
    /// Moves a value to another key, replacing any value there.
    Rename {
        /// The current key.
        from: String,
        /// The new key.
        to: String,
    },
    /// Removes a key.
    Delete {
        /// The key.
        key: String,
    },
}

impl Command {
    /// Returns a command that reads the value of a key.
    pub fn get(key: impl Into<String>) -> Self {
        Self::Get { key: key.into() }
    }

    /// Returns a command that sets the value of a key.
    pub fn set(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self::Set {
            key: key.into(),
            value: value.into(),
        }
    }

    /// Returns a command that moves a value to another key.
    pub fn rename(from: impl Into<String>, to: impl Into<String>) -> Self {
        Self::Rename {
            from: from.into(),
            to: to.into(),
        }
    }

    /// Returns a command that removes a key.
    pub fn delete(key: impl Into<String>) -> Self {
        Self::Delete { key: key.into() }
    }
}

/// A command with an id. The id identifies its result and ensures that it is executed once,
/// regardless of how often, and to which participants, it is submitted.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
#[allow(
    clippy::exhaustive_structs,
    reason = "its fields are the recorded format"
)]
pub struct Request {
    /// The id, unique among all requests of the system: 1 to 200 bytes.
    pub id: String,
    /// The command.
    pub command: Command,
}

impl Request {
    /// Creates a request for this command under this id.
    pub fn new(id: impl Into<String>, command: Command) -> Self {
        let id = id.into();
        Self { id, command }
    }
}

/// The result of a command.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// The value of the key: the result of a get.
    Value(String),
    /// The command was executed.
    Done,
    /// The key does not exist, and nothing was changed.
    Missing,
}

/// A value that participants agree on.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Value {
    /// A text, for a single key.
    Text(String),
    /// A request, for a slot in the sequence of commands.
    Request(Request),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<Request> for Value {
    fn from(request: Request) -> Self {
        Self::Request(request)
    }
}
