//! The system that this command has built in, so that it can ask its policies: the demonstration's.

use retold::system::System;

/// The system whose logs can be retold and that can be drawn.
pub(crate) fn system() -> System {
    retold_flights::system::system()
}
