//! Decides which failures of an opening are waited out: a server that is starting, is full or
//! cannot be reached now, but none that an operator has to fix, such as a wrong password.

use std::error::Error as StdError;
use std::io;

use retold_core::recording::RecordError;

use crate::error::{Described, Refusal};

/// Classes of a server's errors that pass by themselves: no connection, no resources, an operator
/// who stops or starts the server, a lock that another transaction holds.
const PASSING_CLASSES: [&str; 5] = ["08", "53", "55", "57", "40"];

/// Whether waiting may remove the reason why the store could not be opened.
pub(crate) fn may_pass(error: &RecordError) -> bool {
    if !matches!(
        error,
        RecordError::Unavailable(_) | RecordError::OutcomeUnknown(_)
    ) {
        return false;
    }
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        if is_passing(error) {
            return true;
        }
        cause = error.source();
    }
    false
}

fn is_passing(cause: &(dyn StdError + 'static)) -> bool {
    if let Some(refusal) = cause.downcast_ref() {
        return match refusal {
            Refusal::NoConnection | Refusal::Silent | Refusal::NotBorn => true,
            Refusal::NoServer { may_pass, .. } => *may_pass,
            Refusal::Unreachable(error) => is_passing_of_system(error),
            _ => false,
        };
    }
    if let Some(Described { source, .. }) = cause.downcast_ref() {
        let code = source.as_db_error().map(|found| found.code().code());
        let class = code.and_then(|code| code.get(..2));
        return source.is_closed() || class.is_some_and(|class| PASSING_CLASSES.contains(&class));
    }
    cause.downcast_ref().is_some_and(is_passing_of_system)
}

/// Whether the network or the system fails. A refusal by the encryption or by the bound on a
/// greeting is an I/O error too, but does not pass.
fn is_passing_of_system(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::Other
    )
}
