//! Event sourcing for Rust: aggregates make decisions, decisions are recorded as events, and state
//! is a fold over those events. An application can follow the logs of others and react to them;
//! such applications form a system.
//!
//! Programs depend on this crate, which re-exports all others:
//!
//! | To … | see |
//! |---|---|
//! | start: the names that most programs need | [`prelude`] |
//! | define events, aggregates and decisions: pure code | [`domain`] |
//! | test decisions without a store: given, when, then | [`testing`] |
//! | execute commands, read states, subscribe: an application | [`application`] |
//! | do the same in code that is not asynchronous | [`blocking`] |
//! | define a system of followers, timers and outboxes, and use it on any runner | [`system`] |
//! | fold a log into a view, in memory or in a database | [`projection`] |
#![cfg_attr(
    feature = "runner",
    doc = "| run a system on tokio: in many threads, or on a cluster of processes | [`runner`] |"
)]
//! | choose a store by URL | [`store_url`], [`open_store`] |
#![cfg_attr(
    feature = "sqlite",
    doc = "| keep logs and views in a SQLite file | [`sqlite`] |"
)]
#![cfg_attr(
    feature = "postgres",
    doc = "| keep logs and views in PostgreSQL | [`postgres`] |"
)]
#![cfg_attr(
    feature = "protection",
    doc = "| compress and encrypt logs, and forget a person's data | [`protection`] |"
)]
//! | handle errors, write queries and conditions, or implement a store | [`recording`] |
//! | control how events become stored bytes: codecs and topics | [`mapping`] |
//! | repeat the recorded decisions of a system, and compare the results | [`retelling`] |
//! | test a system under faults, with the order of calls chosen by a seed | [`simulation`] |
//!
//! Features: `sqlite` and `runner` (both by default), `postgres`, `protection` (compression and
//! encryption), `msgpack` (the codec MessagePack), and `conformance`, the test suite for authors of
//! stores. A program that derives `Serialize` also depends on `serde`, and an
//! asynchronous program on a runtime such as `tokio`.
//!
//! # A first program
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
//! /// Folds an event into the state.
//! impl Apply<DogEvent> for Dog {
//!     fn apply(&mut self, event: &DogEvent) {
//!         if let DogEvent::TrickAdded { trick } = event {
//!             self.tricks.push(trick.clone());
//!         }
//!     }
//! }
//!
//! /// Decides: pure code, tested without a store.
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
//!         let added = school.execute(fido, |dog: &Dog| dog.add_trick(trick)).await;
//!         assert!(added.is_ok());
//!     }
//!     let refused = school.execute(fido, |dog: &Dog| dog.add_trick("speak")).await;
//!     assert!(matches!(refused, Err(ExecuteError::Refused(TooManyTricks))));
//!
//!     assert_eq!(school.get(fido).await?.state.tricks, ["sit", "roll over", "fetch"]);
//!     Ok(())
//! }
//! ```

#[cfg(feature = "conformance")]
pub use retold_conformance as conformance;
pub use retold_core::application::{Error, Result};
#[cfg(feature = "protection")]
pub use retold_core::protection;
#[cfg(feature = "schema")]
pub use retold_core::schemars;
pub use retold_core::{
    application, domain, mapping, projection, recording, retelling, schema, simulation, testing,
};
#[cfg(feature = "postgres")]
pub use retold_postgres as postgres;
#[cfg(feature = "runner")]
pub use retold_runner as runner;
#[cfg(feature = "sqlite")]
pub use retold_sqlite as sqlite;
pub use serde;
pub use uuid;

/// Systems: applications that follow each other's logs, defined once and independently of databases
/// and threads.
pub mod system {
    pub use retold_core::following::*;
    pub use retold_core::health::*;
    pub use retold_core::system::*;

    /// The limits and defaults of systems.
    pub mod limits {
        pub use retold_core::following::limits::*;
        pub use retold_core::health::limits::*;
    }
}

pub mod store_url;

mod open;

pub use open::{OpenApplication, open_store, open_store_read_only};

pub mod blocking;

pub mod prelude;

/// The code of the README and of the guide, compiled and run as documentation tests.
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
        #[cfg(feature = "sqlite")]
        EvolvingEvents: "docs/guide/src/evolving_events.md",
        DeletingAndAmending: "docs/guide/src/deleting_and_amending.md",
        #[cfg(feature = "protection")]
        ProtectingData: "docs/guide/src/protecting_data.md",
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
