//! The report of a stop.

/// The result of a stop. Nothing is lost in any case: work that is not recorded is processed again
/// at the next start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StopReport {
    /// Followers (`application/follower`) and timers that did not end in time and were aborted.
    pub unfinished: Vec<String>,
    /// Followers that could not record their checkpoint, with the reason.
    pub unrecorded: Vec<(String, String)>,
}

impl StopReport {
    /// Returns whether everything ended in time and everything processed is recorded.
    pub fn is_clean(&self) -> bool {
        self.unfinished.is_empty() && self.unrecorded.is_empty()
    }
}
