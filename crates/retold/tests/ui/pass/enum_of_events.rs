//! An enum of events, its aggregate and a decision that may be refused.

use retold::prelude::*;

/// What happens to dogs.
#[derive(Debug, PartialEq, Event, Serialize, Deserialize)]
pub enum DogEvent {
    /// It got a name.
    #[event(tag = "dog:{name}")]
    Registered {
        /// The name.
        name: String,
    },
    /// It learned something.
    TrickAdded {
        /// What.
        trick: String,
    },
}

/// A dog.
#[derive(Aggregate, Clone, Debug, Default)]
#[aggregate(event = DogEvent)]
pub struct Dog {
    tricks: Vec<String>,
}

impl Apply<DogEvent> for Dog {
    fn apply(&mut self, event: &DogEvent) {
        if let DogEvent::TrickAdded { trick } = event {
            self.tricks.push(trick.clone());
        }
    }
}

/// It knows enough.
#[derive(Debug)]
pub struct TooManyTricks;

impl Dog {
    /// Teaches it a trick.
    ///
    /// # Errors
    ///
    /// It knows enough.
    pub fn add_trick(&self, trick: &str) -> Result<DogEvent, TooManyTricks> {
        if self.tricks.len() == 10 {
            return Err(TooManyTricks);
        }
        Ok(DogEvent::TrickAdded {
            trick: trick.into(),
        })
    }
}

/// Decides and folds.
pub fn main() {
    let event = Dog::default().add_trick("sit").expect("it knows none");
    let dog = fold(Dog::default(), [&event]);
    assert_eq!(dog.tricks, ["sit"]);
}
