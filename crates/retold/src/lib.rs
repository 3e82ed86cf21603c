//! Event sourcing for Rust: aggregates decide, events are recorded, and what was recorded is read
//! back in every way a program needs.
//!
//! This crate is what programs depend on. It gathers the layers of the core, the derives and the
//! stores that its features choose, and adds the one thing that the core must not know: which URL
//! means which store. See [`store_url`] for the URLs and [`prelude`] for the names that a first
//! program needs.
//!
//! ```
//! use retold::prelude::*;
//!
//! #[derive(Event, Serialize, Deserialize)]
//! enum DogEvent {
//!     Registered { name: String },
//!     TrickAdded { trick: String },
//! }
//!
//! #[derive(Aggregate, Clone, Default)]
//! #[aggregate(event = DogEvent)]
//! struct Dog {
//!     tricks: Vec<String>,
//! }
//!
//! /// What happened, taken in.
//! impl Apply<DogEvent> for Dog {
//!     fn apply(&mut self, event: &DogEvent) {
//!         if let DogEvent::TrickAdded { trick } = event {
//!             self.tricks.push(trick.clone());
//!         }
//!     }
//! }
//!
//! /// What may happen, decided: pure code, tested without a store.
//! impl Dog {
//!     fn add_trick(&self, trick: &str) -> Result<DogEvent, TooManyTricks> {
//!         match self.tricks.len() {
//!             0..3 => Ok(DogEvent::TrickAdded { trick: trick.into() }),
//!             _ => Err(TooManyTricks),
//!         }
//!     }
//! }
//!
//! #[derive(Debug, PartialEq)]
//! struct TooManyTricks;
//!
//! #[tokio::main]
//! async fn main() -> retold::Result<()> {
//!     // A store in memory; `sqlite:dogs.db` for a durable one.
//!     let school = Application::open("school", "memory:school").await?;
//!     let fido = school.create::<Dog>(DogEvent::Registered { name: "Fido".into() }).await?;
//!
//!     for trick in ["sit", "roll over", "fetch"] {
//!         school.execute(fido, |dog: &Dog| dog.add_trick(trick)).await.expect("three are learnt");
//!     }
//!     let refused = school.execute(fido, |dog: &Dog| dog.add_trick("speak")).await;
//!     assert!(matches!(refused, Err(ExecuteError::Refused(TooManyTricks))));
//!
//!     assert_eq!(school.get(fido).await?.state.tricks, ["sit", "roll over", "fetch"]);
//!     Ok(())
//! }
//! ```
//!
//! | layer | what is in it |
//! |---|---|
//! | [`domain`] | events, aggregates, decisions, typed ids, clock and id source: pure code |
//! | [`recording`] | the recorder's contract, queries, conditions, errors |
//! | [`mapping`] | from events to what is recorded and back |
//! | [`application`] | a named log with its aggregates: commands, reads, subscriptions |
//! | [`system`] | applications that follow each other's logs, in one thread |
//! | `runner` | the same with a task for each follower: `MultiThread`; on many processes: `Cluster` |
//! | [`blocking`] | all of it for code that is not asynchronous |
//! | [`testing`] | given, when, then: tests of decisions, without a store |
//!
//! Features: `sqlite` (by default) for the SQLite store, `postgres` for the PostgreSQL store, `runner` (by default) for systems on tokio, `conformance` for the suite that every
//! store must pass, for those who write one.

pub use retold_core::application::{Error, Result};
#[cfg(feature = "conformance")]
pub use retold_core::conformance_suite;
pub use retold_core::{application, domain, mapping, recording, system, testing};
#[cfg(feature = "postgres")]
pub use retold_postgres as postgres;
#[cfg(feature = "runner")]
pub use retold_runner as runner;
#[cfg(feature = "sqlite")]
pub use retold_sqlite as sqlite;
pub use serde;
pub use uuid;

pub mod store_url;

mod open;

pub use open::{OpenApplication, open_store, open_store_read_only};

pub mod blocking;

pub mod prelude;

/// The code of the README and of the guide, compiled and run as tests of documentation.
#[cfg(doctest)]
mod guide {
    macro_rules! chapters {
        ($($(#[$if:meta])* $name:ident: $path:literal),* $(,)?) => {$(
            $(#[$if])*
            #[doc = include_str!(concat!("../../../", $path))]
            struct $name;
        )*};
    }

    chapters! {
        Readme: "README.md",
        FirstAggregate: "docs/guide/src/first_aggregate.md",
        ConflictsAndRetries: "docs/guide/src/conflicts_and_retries.md",
        DecisionsOverAQuery: "docs/guide/src/decisions_over_a_query.md",
        Snapshots: "docs/guide/src/snapshots.md",
        ReadingAndSubscribing: "docs/guide/src/reading_and_subscribing.md",
        ChangingEvents: "docs/guide/src/changing_events.md",
        Testing: "docs/guide/src/testing.md",
        #[cfg(feature = "sqlite")]
        ASystem: "docs/guide/src/a_system.md",
        Policies: "docs/guide/src/policies.md",
        TheSame: "docs/guide/src/the_same.md",
        #[cfg(all(feature = "postgres", feature = "sqlite"))]
        Projections: "docs/guide/src/projections.md",
        Timers: "docs/guide/src/timers.md",
        #[cfg(all(feature = "runner", feature = "sqlite"))]
        RunningSystems: "docs/guide/src/running_systems.md",
        #[cfg(all(feature = "runner", feature = "sqlite"))]
        RunningOnACluster: "docs/guide/src/running_on_a_cluster.md",
        Partitions: "docs/guide/src/partitions.md",
        #[cfg(feature = "runner")]
        Operating: "docs/guide/src/operating.md",
        #[cfg(feature = "sqlite")]
        Retelling: "docs/guide/src/retelling.md",
        Simulation: "docs/guide/src/simulation.md",
        #[cfg(feature = "postgres")]
        PostgresqlInProduction: "docs/guide/src/postgresql_in_production.md",
        #[cfg(feature = "conformance")]
        WritingYourOwnStore: "docs/guide/src/writing_your_own_store.md",
    }
}
