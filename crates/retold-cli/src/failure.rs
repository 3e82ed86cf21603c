//! How a command ends, and the exit code of each ending.

use std::io;

use retold::recording::RecordError;

/// The result of a command that ran to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommandVerdict {
    /// Everything is as requested.
    Fine,
    /// The command found a problem and has printed it.
    Found,
}

impl CommandVerdict {
    /// Returns [`Fine`](Self::Fine) if the condition holds.
    pub(crate) fn fine_if(is_fine: bool) -> Self {
        match is_fine {
            true => Self::Fine,
            false => Self::Found,
        }
    }
}

/// Why a command did not run to its end.
#[derive(Debug)]
pub(crate) enum CommandFailure {
    /// The reader of the output closed it, as `| head` does. This is not an error.
    Closed,
    /// The command line asks for something impossible.
    Usage(String),
    /// Something else failed.
    Failed(String),
}

impl From<io::Error> for CommandFailure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Failed(format!("cannot write the output: {error}")),
        }
    }
}

impl From<RecordError> for CommandFailure {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Corrupt(found) => Self::Failed(format!(
                "{found}; run `retold verify` to check the rest of the store"
            )),
            RecordError::Invalid(invalid) => Self::Failed(invalid.reason().to_owned()),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<retold::Error> for CommandFailure {
    fn from(error: retold::Error) -> Self {
        // The `Debug` form has the causes that the message leaves out.
        Self::Failed(format!("{error:?}"))
    }
}
