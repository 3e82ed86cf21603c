//! The blocking face: for programs, or parts of them, that are not asynchronous.
//!
//! [`Application`] has the names of the asynchronous [`Application`](crate::application::Application).
//! What only reads returns its answer; commands are built as there, and [`wait`](Wait::wait) takes the
//! place of `.await`:
//!
//! ```
//! use retold::blocking::{Application, Wait, WaitEach};
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
//!     let school = Application::open("school", "memory:blocking-dogs")?;
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
//! [`Wait`] and [`WaitEach`] are for every future and stream of Retold, so there is nothing that can
//! only be done asynchronously: `store.logs(None, 10).wait()`, `subscription.next().wait()`.
//!
//! # Where it may be used
//!
//! Anywhere. The calling thread sleeps until the answer is there; the stores of this crate do their
//! work in threads of their own or in the calling one, so no runtime is needed and none is started.
//! Inside an asynchronous runtime it works too, and like every blocking call keeps one of its threads
//! from all other work: there, `.await` is the better word. A store of your own whose futures need a
//! runtime must be waited for in one.

mod wait;

mod application;

pub use application::{Application, BlockingFace};
pub use wait::{Wait, WaitEach, Waited};
