//! What a stop came to.

/// What a stop came to. Nothing is lost in any case: what is not recorded is answered again at the
/// next start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StopReport {
    /// Followers (`application/follower`) and timers that did not end in time and were aborted.
    pub unfinished: Vec<String>,
    /// Followers that could not record how far they were, with the reason.
    pub unrecorded: Vec<(String, String)>,
}

impl StopReport {
    /// Whether everything ended in time, and everything that was answered is recorded.
    pub fn is_clean(&self) -> bool {
        self.unfinished.is_empty() && self.unrecorded.is_empty()
    }
}
