//! Counts the events in the logs of a run, by application, and the effects among them.

use retold::recording::Origin;
use retold::system::OpenSystem;

use crate::failure::CommandFailure;

/// The events in the logs of the system, without those of the library itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Census {
    /// The name of each application, in order of declaration, and the number of events in its log.
    pub(super) events: Vec<(String, u64)>,
    /// The number of events that a follower decided.
    pub(super) effects: u64,
}

impl Census {
    /// Reads and counts all logs.
    pub(super) async fn of(open: &OpenSystem) -> Result<Self, CommandFailure> {
        let mut census = Self {
            events: Vec::new(),
            effects: 0,
        };
        for application in open.applications() {
            let mut count = 0;
            let log = application.log();
            let mut events = log.stored().read().events();
            while let Some(event) = events.next().await? {
                let origin = event.origin().map_err(retold::Error::from)?;
                count += u64::from(origin != Origin::Library);
                census.effects += u64::from(matches!(origin, Origin::Effect { .. }));
            }
            census.events.push((application.name().to_owned(), count));
        }
        Ok(census)
    }

    /// Returns the number of events in the log of this application.
    pub(super) fn events_of(&self, application: &str) -> u64 {
        let mut events = self.events.iter();
        let of = events.find(|(name, _)| name == application);
        of.map_or(0, |(_, count)| *count)
    }

    /// Returns the number of events in all logs.
    pub(super) fn total(&self) -> u64 {
        self.events.iter().map(|(_, count)| count).sum()
    }

    /// Returns the events recorded since an earlier census of the same logs.
    pub(super) fn since(&self, before: &Self) -> Self {
        let events = self
            .events
            .iter()
            .map(|(name, count)| (name.clone(), count.saturating_sub(before.events_of(name))));
        Self {
            events: events.collect(),
            effects: self.effects.saturating_sub(before.effects),
        }
    }
}
