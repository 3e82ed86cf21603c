//! The test kit: *given* recorded events, *when* a decision is made, *then* its result is this.
//!
//! Decisions are pure functions, so their tests need no store, no runtime and no clock. A test
//! states the recorded events, the decision and its expected result; a failure shows all of these
//! next to the actual result.
//!
//! ```
//! # use retold_core::domain::{Aggregate, Apply, Event, EventType};
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
//! #     fn deserialize_payload<'de, D: Deserializer<'de>>(
//! #         _: usize,
//! #         deserializer: D,
//! #     ) -> Result<Self, D::Error> {
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
//! For decisions over a model other than one aggregate (a dynamic consistency boundary), a test
//! states a whole log: events of any types, in any streams. A failure also lists the events that
//! the decision's model did not read:
//!
//! ```
//! # use retold_core::domain::{Apply, Event, EventType, Tags, content};
//! # use serde::{Deserialize, Deserializer, Serialize, Serializer};
//! use retold_core::application::fold_of;
//! use retold_core::testing::given_log;
//!
//! # #[derive(Serialize, Deserialize)]
//! # struct SeatTaken { hall: String }
//! # impl Event for SeatTaken {
//! #     const TYPES: &'static [EventType] = &[EventType::of::<Self>("SeatTaken")];
//! #     fn type_index(&self) -> usize { 0 }
//! #     fn tags(&self) -> Tags { Tags::from([format!("hall:{}", self.hall).into()]) }
//! #     fn serialize_payload<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
//! #         self.serialize(serializer)
//! #     }
//! #     fn deserialize_payload<'de, D: Deserializer<'de>>(
//! #         _: usize,
//! #         deserializer: D,
//! #     ) -> Result<Self, D::Error> {
//! #         Self::deserialize(deserializer)
//! #     }
//! # }
//! # #[derive(Clone, Default)]
//! # struct Taken(usize);
//! # impl Apply<SeatTaken> for Taken {
//! #     fn apply(&mut self, _: &SeatTaken) { self.0 += 1 }
//! # }
//! # #[derive(Debug, PartialEq)]
//! # struct Full;
//! let take = |taken: &Taken| {
//!     if taken.0 >= 2 { return Err(Full) }
//!     Ok(SeatTaken { hall: "red".into() })
//! };
//! let red = fold_of::<Taken, SeatTaken>().tag("hall:red");
//!
//! given_log([SeatTaken { hall: "red".into() }, SeatTaken { hall: "blue".into() }])
//!     .when(&red, take)
//!     .then(SeatTaken { hall: "red".into() })
//!     .and()
//!     .when(&red, take)
//!     .then_refused(Full);
//! ```
//!
//! Every event that is given or decided is also encoded and decoded as it would be when recorded,
//! so that a serde attribute that loses data is found in a test and not in production.

mod shown_event;

mod report;

mod outcome;

mod aggregate_case;
mod events_lock;
mod log_case;
mod recorded_shape;

pub use self::aggregate_case::{AggregateCase, AggregateDecided, given};
pub use self::events_lock::check_events_lock;
pub use self::log_case::{LogCase, LogDecided, given_log};
pub use self::recorded_shape::read_recorded;

/// The name of a decision that was given none.
const UNNAMED: &str = "it is decided";

/// The seed of the ids of given events. Any fixed value would do.
const SEED: u64 = 1;
