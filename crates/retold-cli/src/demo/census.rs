//! What is in the logs of a run: events by application, and how many are effects.

use retold::recording::origin::Origin;
use retold::system::OpenSystem;

use crate::failure::Failure;

/// Events in the logs of the system, those of the library itself not among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Census {
    /// By application, in the order of declaration: its name, and how many events its log has.
    pub(super) events: Vec<(String, u64)>,
    /// How many of all are what a follower decided.
    pub(super) effects: u64,
}

impl Census {
    /// Reads all logs.
    pub(super) async fn of(open: &OpenSystem) -> Result<Self, Failure> {
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

    /// In the log of this application.
    pub(super) fn events_of(&self, application: &str) -> u64 {
        let mut events = self.events.iter();
        let of = events.find(|(name, _)| name == application);
        of.map_or(0, |(_, count)| *count)
    }

    /// In all logs.
    pub(super) fn total(&self) -> u64 {
        self.events.iter().map(|(_, count)| count).sum()
    }

    /// What came to be since another census of the same logs.
    pub(super) fn since(&self, before: &Self) -> Self {
        let events = self.events.iter().map(|(name, count)| {
            let gone = before.events_of(name);
            (name.clone(), count.saturating_sub(gone))
        });
        Self {
            events: events.collect(),
            effects: self.effects.saturating_sub(before.effects),
        }
    }
}
