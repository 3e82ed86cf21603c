//! The interface between a view store and its conformance suite: the projection that is kept, and
//! what readers see of its view.

use std::future::Future;
use std::sync::Arc;

use retold_core::domain::{Event, EventType};
use retold_core::projection::{BoxError, OnPoison, Projection, ViewKind, ViewStore};
use retold_core::recording::{Append, EventId, NewEvent, Recorder};
use retold_core::serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// A place for views under test, in which several view stores work at the same time, as in several
/// processes.
///
/// Its views exist as long as this value; dropping the value may remove them.
pub trait ViewSubject: Send + Sync + Sized + 'static {
    /// Runs a future to completion, on the runtime that the view store needs.
    ///
    /// It is called from several threads at once, with view stores that were opened in other calls.
    fn block_on<T>(future: impl Future<Output = T>) -> T;

    /// Creates a place without views that no other test uses.
    fn create() -> impl Future<Output = Self> + Send;

    /// Opens the log with the name `dogs` that the views fold, for writing. A place in a store uses
    /// a log of that store. Each call opens it as another process would, where that is possible.
    fn log(&self) -> impl Future<Output = Arc<dyn Recorder>> + Send;

    /// Returns the view store of a version of the projection. Each call opens it as another process
    /// would, where that is possible.
    ///
    /// The handler of [`TrickAdded`] adds the trick to a list, increases a count in another place
    /// of the view, and then returns the result of [`TrickAdded::end`].
    fn keep(&self, projection: TrickProjection) -> impl Future<Output = Arc<dyn ViewStore>> + Send;

    /// Returns the list of tricks as readers see it, in the order of the log; an empty list if
    /// readers see no version. Checks in the same state of the view that the count is its length.
    fn read(&self) -> impl Future<Output = Vec<String>> + Send;

    /// Checks the place itself, if it has a check; called at the end of some tests.
    fn verify(&self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// A version of the projection `tricks` over the log `dogs`, without its handler.
#[derive(Clone, Copy, Debug)]
pub struct TrickProjection {
    version: u32,
    on_poison: OnPoison,
    is_from_now: bool,
}

impl TrickProjection {
    /// Returns this version, which begins with the first event and stops at poison.
    pub fn version(version: u32) -> Self {
        Self {
            version,
            on_poison: OnPoison::Stop,
            is_from_now: false,
        }
    }

    pub(crate) fn on_poison(mut self, choice: OnPoison) -> Self {
        self.on_poison = choice;
        self
    }

    pub(crate) fn starting_now(mut self) -> Self {
        self.is_from_now = true;
        self
    }

    /// Returns the projection, to which the handler of [`TrickAdded`] must be added.
    pub fn projection<K: ViewKind>(self) -> Projection<K> {
        let projection = Projection::new("tricks", self.version, "dogs").on_poison(self.on_poison);
        match self.is_from_now {
            true => projection.from_now(),
            false => projection,
        }
    }
}

/// The event of the suite: a dog has learned a trick.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_structs,
    reason = "it is only the name of the trick"
)]
pub struct TrickAdded(pub String);

impl TrickAdded {
    /// Ends the handler of the event, once it has changed the view.
    ///
    /// # Errors
    ///
    /// For the trick `bite`; for `panic`, it panics.
    pub fn end(&self) -> Result<(), BoxError> {
        match self.0.as_str() {
            "bite" => Err("this trick is not taught".into()),
            "panic" => panic!("too exciting"),
            _ => Ok(()),
        }
    }

    /// Returns an append in which these tricks are added, with new ids.
    pub fn append<'a>(tricks: impl IntoIterator<Item = &'a str>) -> Append {
        Append::of(tricks.into_iter().map(|trick| {
            let id = EventId::new(Uuid::now_v7());
            NewEvent::new(id, "TrickAdded", format!("{trick:?}"))
        }))
    }
}

impl Event for TrickAdded {
    const TYPES: &'static [EventType] = &[EventType::of::<Self>("TrickAdded")];

    fn type_index(&self) -> usize {
        0
    }

    fn serialize_payload<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }

    fn deserialize_payload<'de, D: Deserializer<'de>>(
        _: usize,
        deserializer: D,
    ) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}
