//! Holding: a pipeline stops before an event that its program does not know, until another program
//! has processed the event or this one knows it.

use super::Pipeline;
use crate::following::status::HeldEvent;
use crate::recording::StoredEvent;

/// Why a pipeline holds.
pub(super) struct Hold {
    pub(super) held: HeldEvent,
    /// How many names the log's types and the follower's own had then. If there are others, the
    /// event may be known.
    pub(super) names: (usize, usize),
}

impl Pipeline {
    /// Returns whether it holds before an event that this program does not know.
    pub fn is_holding(&self) -> bool {
        self.upstreams
            .iter()
            .any(|upstream| upstream.hold.is_some())
    }

    /// Ends holds before events that another program has processed, or that this one may now know.
    pub(super) fn review_holds(&mut self) {
        let own = self.application.registry().name_count();
        for upstream in &mut self.upstreams {
            let reached = upstream.reached_position();
            let names = (upstream.registry.name_count(), own);
            upstream
                .hold
                .take_if(|hold| reached >= Some(hold.held.event.position) || hold.names != names);
        }
    }

    /// Holds before an event that this program does not know.
    pub(super) fn hold(&mut self, index: usize, event: &StoredEvent, reason: String) {
        let own = self.application.registry().name_count();
        let upstream = &mut self.upstreams[index];
        tracing::warn!(
            follower = %self.key,
            log = &*upstream.name,
            event = %event.checkpoint(),
            topic = event.topic(),
            %reason,
            "a follower holds before an event that this program does not know"
        );
        self.status.holds(&reason);
        upstream.hold = Some(Hold {
            held: HeldEvent {
                event: event.checkpoint(),
                topic: event.topic().into(),
                reason: reason.into(),
            },
            names: (upstream.registry.name_count(), own),
        });
        self.report_progress();
    }

    /// Returns whether the program would skip this event of the log at this index without knowing
    /// its topic.
    pub(super) fn is_unknown(&self, index: usize, event: &StoredEvent) -> bool {
        self.follower
            .is_unknown(&self.upstreams[index].registry, event)
    }
}
