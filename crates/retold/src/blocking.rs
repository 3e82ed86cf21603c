//! The blocking API: for programs, or parts of them, that are not asynchronous.
//!
//! [`BlockingApplication`] has the method names of the asynchronous
//! [`BlockingApplication`](crate::application::Application). Commands are built the same way and
//! run by [`wait`](Wait::wait) in place of `.await`; the other methods return their result
//! directly:
//!
//! ```
//! use retold::blocking::{BlockingApplication, Wait, WaitEach};
//! use retold::prelude::{Aggregate, Apply, Deserialize, Event, Serialize};
//!
//! # #[derive(Debug, PartialEq, Event, Serialize, Deserialize)]
//! # enum DogEvent { Registered { name: String }, TrickAdded { trick: String } }
//! # #[derive(Aggregate, Clone, Default)]
//! # #[aggregate(event = DogEvent)]
//! # struct Dog { name: String, tricks: Vec<String> }
//! # impl Apply<DogEvent> for Dog {
//! #     fn apply(&mut self, event: &DogEvent) {
//! #         match event {
//! #             DogEvent::Registered { name } => self.name = name.clone(),
//! #             DogEvent::TrickAdded { trick } => self.tricks.push(trick.clone()),
//! #         }
//! #     }
//! # }
//! fn main() -> retold::Result<()> {
//!     let school = BlockingApplication::open("school", "memory:blocking-dogs")?;
//!     let fido = school.create::<Dog>(DogEvent::Registered { name: "Fido".into() }).wait()?;
//!     school.execute(fido, |_| DogEvent::TrickAdded { trick: "roll over".into() }).wait()?;
//!     assert_eq!(school.get(fido)?.state.tricks, ["roll over"]);
//!
//!     for event in school.events::<DogEvent>().read().events().wait_each() {
//!         println!("{:?}", event?.event);
//!     }
//!     Ok(())
//! }
//! ```
//!
//! [`Wait`] and [`WaitEach`] work for every future and stream of Retold, so everything that can be
//! done asynchronously can also be done in blocking code: `store.logs(None, 10).wait()`,
//! `subscription.next().wait()`.
//!
//! # Where it can be used
//!
//! Anywhere. The calling thread sleeps until the result is available. The stores of this crate work
//! in their own threads or in the calling thread, so no runtime is needed, and none is started. It
//! also works inside an asynchronous runtime, but like every blocking call it occupies one of the
//! runtime's threads; prefer `.await` there. If you have your own store and its futures need a
//! runtime, call `wait` within that runtime.

mod wait;

mod application;

pub use application::{BlockingApplication, BlockingExt};
pub use wait::{Wait, WaitEach, Waited};
