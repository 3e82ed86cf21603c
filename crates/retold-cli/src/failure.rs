//! How a command ends: well, with a finding, or not as was asked, and what the exit code is then.

use std::io;

use retold::recording::error::RecordError;

/// How a command that ran to its end came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As was asked.
    Fine,
    /// Something is wrong with what was looked at; it has been printed.
    Found,
}

/// Why a command did not run to its end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nobody reads the output any more, as after `| head`. That is no error.
    Closed,
    /// What the command line asks for cannot be.
    Usage(String),
    /// Something else went wrong.
    Failed(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Failed(format!("the output cannot be written: {error}")),
        }
    }
}

impl From<RecordError> for Failure {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Corrupt(found) => Self::Failed(format!(
                "{found}; `retold verify` tells what else is wrong with the store"
            )),
            RecordError::Invalid(invalid) => Self::Failed(invalid.reason().to_owned()),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<retold::Error> for Failure {
    fn from(error: retold::Error) -> Self {
        Self::Failed(error.to_string())
    }
}
