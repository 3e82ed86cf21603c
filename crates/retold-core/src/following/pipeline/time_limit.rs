//! Events that count as failed without calling their policy: the policy did not return in time, or
//! no recorder accepts its effects.

use super::Pipeline;
use crate::recording::{Checkpoint, LogId, Version};

/// An event that counts as failed, and why, while the follower's stream has this version. After an
/// act of an operator the policy is called again.
pub(super) struct Refused {
    pub(super) place: (LogId, Checkpoint),
    pub(super) version: Option<Version>,
    pub(super) reason: String,
}

impl Pipeline {
    /// For runners that dropped a step because its policy ran too long: the next step treats the
    /// event as if its policy had failed for this reason, unless an operator has acted since. Does
    /// nothing if no policy was running.
    pub fn give_up_policy(&mut self, reason: String) {
        let Some(place) = self.running.take() else {
            return;
        };
        self.refused = Some(Refused {
            place,
            version: self.record.version,
            reason,
        });
        // The events that were processed before it are recorded first.
        self.alone = Some(place);
        self.look_again();
    }
}
