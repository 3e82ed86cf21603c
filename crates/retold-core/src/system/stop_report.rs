//! The report of a stop.

/// The result of a stop. Nothing is lost in any case: work that is not recorded is processed again
/// at the next start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StopReport {
    /// The jobs that did not end in time and were aborted. A follower is named by its
    /// [path](super::FollowerPath), with the number of its pipeline if it has several.
    pub unfinished: Vec<String>,
    /// The jobs that could not record their progress, with the reason.
    pub unrecorded: Vec<(String, String)>,
}

impl StopReport {
    /// Returns whether everything ended in time and everything processed is recorded.
    pub fn is_clean(&self) -> bool {
        self.unfinished.is_empty() && self.unrecorded.is_empty()
    }
}
