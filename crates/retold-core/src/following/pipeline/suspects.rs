//! Events that are not processed like others: those that are processed alone, and those that count
//! as failed without calling their policy, because it did not return in time or no recorder accepts
//! its effects.

use super::Pipeline;
use super::state::{EventAt, PipelineState};
use crate::recording::Version;

/// The events that need care. They outlive a stale state: the events before them are processed
/// again first.
#[derive(Default)]
pub(super) struct Suspects {
    /// The event that is processed alone, on the newest state and with everything before it
    /// recorded, because its policy failed or its batch could not be recorded.
    pub(super) alone: Option<EventAt>,
    /// The event that counts as failed.
    refused: Option<Refused>,
    /// The event that was processed last.
    pub(super) last: Option<EventAt>,
}

/// An event that counts as failed, and why, while the follower's stream has this version. After an
/// act of an operator the policy is called again.
struct Refused {
    event: EventAt,
    version: Option<Version>,
    reason: String,
}

impl Suspects {
    /// Notes that a recorder did not accept a batch that ended with the last event. If the batch
    /// was of this event only, its policy counts as failed.
    pub(super) fn on_invalid(&mut self, causes: usize, version: Option<Version>, reason: String) {
        self.alone = self.last;
        if causes == 1 {
            self.refused = self.last.map(|event| Refused {
                event,
                version,
                reason,
            });
        }
    }

    /// Notes that a policy did not return in time.
    fn on_late(&mut self, event: EventAt, version: Option<Version>, reason: String) {
        // The events that were processed before it are recorded first.
        self.alone = Some(event);
        self.refused = Some(Refused {
            event,
            version,
            reason,
        });
    }

    /// Returns why this event counts as failed, if it does. It does so only once.
    pub(super) fn take_refusal(
        &mut self,
        event: EventAt,
        version: Option<Version>,
    ) -> Option<String> {
        let refused = self.refused.take_if(|it| it.event == event)?;
        (refused.version == version).then_some(refused.reason)
    }
}

impl Pipeline {
    /// For runners that dropped a step because its policy ran too long: the next step treats the
    /// event as if its policy had failed for this reason, unless an operator has acted since. Does
    /// nothing if no policy was running.
    pub fn give_up_policy(&mut self, reason: String) {
        if let PipelineState::Asking(event) = self.state {
            self.state = PipelineState::Stale;
            self.suspects.on_late(event, self.record.version, reason);
        }
    }
}
