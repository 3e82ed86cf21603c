//! Separate event structs, joined for an aggregate with a key of its own.

use retold::prelude::*;

/// It got a name.
#[derive(Clone, Debug, PartialEq, Event, Serialize, Deserialize)]
#[event(tag = "dog:{name}")]
pub struct Registered {
    /// The name.
    pub name: String,
}

/// It was walked.
#[derive(Clone, Debug, PartialEq, Event)]
pub struct Walked;

/// What happens to dogs.
#[derive(Clone, Debug, PartialEq, Event)]
#[event(join)]
pub enum DogEvent {
    /// It got a name.
    Registered(Registered),
    /// It was walked.
    Walked(Walked),
}

/// Number of a dog's chip.
#[derive(Key, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChipNumber(u64);

/// A dog.
#[derive(Aggregate, Clone, Debug, Default, Serialize, Deserialize)]
#[aggregate(event = DogEvent, key = ChipNumber, snapshots(every = 100))]
pub struct Dog {
    walks: u32,
}

impl Apply<DogEvent> for Dog {
    fn apply(&mut self, event: &DogEvent) {
        if matches!(event, DogEvent::Walked(_)) {
            self.walks += 1;
        }
    }
}

/// Addresses and folds.
pub fn main() {
    let id = Id::<Dog>::from(ChipNumber(7));
    let event: AnyEvent = Walked.to(&id);
    assert_eq!(event.stream().map(|it| &**it), Some("Dog/7"));
    let dog = fold(Dog::default(), [&Walked.into(), &Walked.into()]);
    assert_eq!(dog.walks, 2);
}
