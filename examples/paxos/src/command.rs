//! Commands to the replicated key-value store, their answers, and the values that are agreed on.

use retold::prelude::*;

/// A command to the store.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Command {
    /// Asks for the value of a key. In the sequence of all commands, so that its answer is as of one
    /// place in it.
    Get {
        /// The key.
        key: String,
    },
    /// Gives a key a value, whatever it had.
    Set {
        /// The key.
        key: String,
        /// Its new value.
        value: String,
    },
    /// Gives a value another key; what that had is lost.
    Rename {
        /// The present key.
        from: String,
        /// The key from then on.
        to: String,
    },
    /// Removes a key.
    Delete {
        /// The key.
        key: String,
    },
}

impl Command {
    /// Asks for the value of a key.
    pub fn get(key: impl Into<String>) -> Self {
        Self::Get { key: key.into() }
    }

    /// Gives a key a value.
    pub fn set(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self::Set {
            key: key.into(),
            value: value.into(),
        }
    }

    /// Gives a value another key.
    pub fn rename(from: impl Into<String>, to: impl Into<String>) -> Self {
        Self::Rename {
            from: from.into(),
            to: to.into(),
        }
    }

    /// Removes a key.
    pub fn delete(key: impl Into<String>) -> Self {
        Self::Delete { key: key.into() }
    }
}

/// A command under an id, by which its answer is found and by which it is executed once, however often
/// and to whomever it is sent.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_structs, reason = "it is recorded as it is")]
pub struct Request {
    /// The id, unique among all requests of the system: 1 to 200 bytes.
    pub id: String,
    /// The command.
    pub command: Command,
}

impl Request {
    /// This command under this id.
    pub fn new(id: impl Into<String>, command: Command) -> Self {
        let id = id.into();
        Self { id, command }
    }
}

/// What a command came to.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// The key has this value: the answer to a get.
    Value(String),
    /// It is done.
    Done,
    /// There is no such key, and nothing was done.
    Missing,
}

/// What participants agree on.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Value {
    /// A text: for a key by itself.
    Text(String),
    /// A request: for a slot in the sequence of commands.
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
