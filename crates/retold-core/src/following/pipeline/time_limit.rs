//! Events that count as failed without asking their policy: the policy did not return within its time, or
//! no recorder takes its effects.

use super::Pipeline;
use crate::recording::{LogId, Mark, Version};

/// An event that counts as failed, and why, while the follower's stream has this version: an operator's act
/// lets the policy be asked again.
pub(super) struct Refused {
    pub(super) place: (LogId, Mark),
    pub(super) version: Option<Version>,
    pub(super) reason: String,
}

impl Pipeline {
    /// For runners, after a step was dropped in which a policy ran: the event counts as failed by its
    /// policy, for this reason, unless an operator has acted since. Does nothing if none ran.
    pub fn give_up_policy(&mut self, reason: String) {
        let Some(place) = self.running.take() else {
            return;
        };
        self.refused = Some(Refused {
            place,
            version: self.record.version,
            reason,
        });
        // What was answered before it is recorded first.
        self.alone = Some(place);
        self.look_again();
    }
}
