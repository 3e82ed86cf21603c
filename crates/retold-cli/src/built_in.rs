//! The system that is compiled into this command: the demonstration's. Policies are code, so only
//! the logs of this system can be retold.

use retold::system::System;

/// Returns the demonstration's system.
pub(crate) fn system() -> System {
    retold_flights::system::system()
}
