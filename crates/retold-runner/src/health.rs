//! Health: what an orchestrator asks of a process, whether to start it again and whether to send it
//! requests.

/// Whether a process is well, in the two questions that an orchestrator asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// Why the process had better be started again; none if it works. That a store does not answer is
    /// no such reason: starting again mends nothing then.
    pub not_live: Option<String>,
    /// Why no requests should be sent to it; none if it takes them.
    pub not_ready: Option<String>,
}

impl Health {
    /// Whether it works.
    pub fn is_live(&self) -> bool {
        self.not_live.is_none()
    }

    /// Whether it takes requests.
    pub fn is_ready(&self) -> bool {
        self.not_live.is_none() && self.not_ready.is_none()
    }
}
