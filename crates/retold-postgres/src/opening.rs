//! Which failures of an opening are waited out: a server that starts, is full or cannot be reached now,
//! and none that somebody has to mend, as a wrong password.

use std::error::Error as StdError;
use std::io;

use retold_core::recording::RecordError;

use crate::error::{Described, Refusal};

/// Classes of errors of a server that pass by themselves: no connection, no resources, an operator who
/// stops or starts it, a lock that another has.
const PASSING_CLASSES: [&str; 5] = ["08", "53", "55", "57", "40"];

/// Whether waiting may mend what kept the store from being opened.
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

/// Whether it is the network or the system that fails. What the encryption, or the bound on a greeting,
/// refuses is an error of input and output too, and stays.
fn is_passing_of_system(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::Other
    )
}
