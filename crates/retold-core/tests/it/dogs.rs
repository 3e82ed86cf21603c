//! Dogs: the domain of these tests, written by hand as the derives would write it.

use retold_core::domain::{Aggregate, Apply, Event, EventType, Tags, content};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// The events of dogs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum DogEvent {
    Registered { name: String },
    TrickAdded { trick: String },
    Walked,
}

impl Event for DogEvent {
    const TYPES: &'static [EventType] = &[
        EventType::of::<Self>("DogEvent.Registered").formerly(&["HoundEvent.Registered"]),
        EventType::of::<Self>("DogEvent.TrickAdded"),
        EventType::of::<Self>("DogEvent.Walked"),
    ];

    fn type_index(&self) -> usize {
        match self {
            Self::Registered { .. } => 0,
            Self::TrickAdded { .. } => 1,
            Self::Walked => 2,
        }
    }

    fn tags(&self) -> Tags {
        match self {
            Self::TrickAdded { trick } => Tags::from([format!("trick:{trick}").into()]),
            _ => Tags::new(),
        }
    }

    fn serialize_payload<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        content::serialize_variant(self, serializer)
    }

    fn deserialize_payload<'de, D: Deserializer<'de>>(
        type_index: usize,
        deserializer: D,
    ) -> Result<Self, D::Error> {
        content::deserialize_variant(type_index, deserializer)
    }
}

/// A dog and its tricks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Dog {
    pub(crate) name: String,
    pub(crate) tricks: Vec<String>,
}

impl Apply<DogEvent> for Dog {
    fn apply(&mut self, event: &DogEvent) {
        match event {
            DogEvent::Registered { name } => self.name.clone_from(name),
            DogEvent::TrickAdded { trick } => self.tricks.push(trick.clone()),
            DogEvent::Walked => {}
        }
    }
}

impl Aggregate for Dog {
    type Event = DogEvent;
    type Key = Uuid;
    const TYPE: &'static str = "Dog";
}

/// Why a dog is not taught.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("there is no such dog")]
    NotRegistered,
    #[error("a dog that knows {known} tricks learns no more")]
    TooManyTricks { known: usize },
}

impl Dog {
    /// Teaches a trick; a dog that knows it learns nothing, and none learns more than two.
    pub(crate) fn add_trick(&self, trick: &str) -> Result<Option<DogEvent>, Refusal> {
        if self.name.is_empty() {
            return Err(Refusal::NotRegistered);
        }
        if self.tricks.iter().any(|it| it == trick) {
            return Ok(None);
        }
        if self.tricks.len() >= 2 {
            return Err(Refusal::TooManyTricks {
                known: self.tricks.len(),
            });
        }
        Ok(Some(trick_added(trick)))
    }
}

pub(crate) fn registered(name: &str) -> DogEvent {
    DogEvent::Registered { name: name.into() }
}

pub(crate) fn trick_added(trick: &str) -> DogEvent {
    DogEvent::TrickAdded {
        trick: trick.into(),
    }
}
