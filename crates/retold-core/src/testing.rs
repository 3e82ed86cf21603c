//! The test kit: given what happened, when something is decided, then this follows.
//!
//! Decisions are pure functions, so their tests need no store, no runtime and no clock. A test says
//! what was recorded, what is decided and what should come of it; one that fails shows all of that
//! and what came instead, side by side.
//!
//! ```
//! # use retold_core::domain::aggregate::Aggregate;
//! # use retold_core::domain::event::{Apply, Event, EventType};
//! # use serde::{Deserialize, Deserializer, Serialize, Serializer};
//! use retold_core::testing::given;
//!
//! # #[derive(Serialize, Deserialize)]
//! # struct TrickAdded { trick: String }
//! # impl Event for TrickAdded {
//! #     const TYPES: &'static [EventType] = &[EventType::of::<Self>("TrickAdded")];
//! #     fn type_index(&self) -> usize { 0 }
//! #     fn serialize_payload<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
//! #         self.serialize(serializer)
//! #     }
//! #     fn deserialize_payload<'de, D: Deserializer<'de>>(_: usize, deserializer: D) -> Result<Self, D::Error> {
//! #         Self::deserialize(deserializer)
//! #     }
//! # }
//! # #[derive(Clone, Default)]
//! # struct Dog { tricks: Vec<String> }
//! # impl Apply<TrickAdded> for Dog {
//! #     fn apply(&mut self, event: &TrickAdded) { self.tricks.push(event.trick.clone()) }
//! # }
//! # impl Aggregate for Dog {
//! #     type Event = TrickAdded;
//! #     type Key = String;
//! #     const TYPE: &'static str = "Dog";
//! # }
//! # #[derive(Debug, PartialEq)]
//! # struct KnowsAlready;
//! # impl Dog {
//! #     fn add_trick(&self, trick: &str) -> Result<TrickAdded, KnowsAlready> {
//! #         if self.tricks.iter().any(|it| it == trick) { return Err(KnowsAlready) }
//! #         Ok(TrickAdded { trick: trick.into() })
//! #     }
//! # }
//! given::<Dog>([])
//!     .when(|dog| dog.add_trick("roll over"))
//!     .then(TrickAdded { trick: "roll over".into() })
//!     .then_state(|dog| assert_eq!(dog.tricks, ["roll over"]));
//!
//! given::<Dog>([TrickAdded { trick: "roll over".into() }])
//!     .when(|dog| dog.add_trick("roll over"))
//!     .then_refused(KnowsAlready);
//! ```
//!
//! Every event that is given or decided also goes through the bytes it would be recorded as: a serde
//! attribute that loses something is found here, not in production.

mod shown_event;

mod report;

mod outcome;

mod aggregate_case;

pub use aggregate_case::{AggregateCase, given};
pub use outcome::Outcome;
