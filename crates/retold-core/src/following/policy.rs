//! Policies: functions that define the effects of an event.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use super::context::Context;
use crate::application::Result;
use crate::domain::{Event, EventType};
use crate::mapping::{EventReader, MappingError, RegistryError, TopicRegistry};
use crate::recording::{BoxFuture, StoredEvent};

/// A policy for events of type `E`: an `async fn(&E, &mut Context) -> retold::Result<()>`, or an
/// `async |event: &E, context: &mut Context| { … Ok(()) }` that captures nothing.
///
/// The compiler rejects an asynchronous closure that captures a variable. This is intended: a
/// policy sees only the event, its own application and the context, so that it makes the same
/// decision wherever and whenever it runs. A policy that gets around this, with a static or by
/// cloning into a future, is detected by simulation and retelling, not by the compiler.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a policy for `{E}`",
    label = "not a policy for events of type `{E}`",
    note = "write `async fn name(event: &{E}, context: &mut Context) -> \
            retold::Result<()>`, or `async |event: &{E}, \
            context: &mut Context| {{ … Ok(()) }}` that captures nothing"
)]
pub trait Handle<'a, E>: Send + Sync {
    /// The future of the policy.
    type Fut: Future<Output = Result<()>> + Send + 'a;

    /// Begins to process an event.
    fn call(&self, event: &'a E, context: &'a mut Context) -> Self::Fut;
}

// Without this, the compiler reports that a function's result is not a future, and not the message
// above.
#[diagnostic::do_not_recommend]
impl<'a, E, F, Fut> Handle<'a, E> for F
where
    E: 'a,
    F: Fn(&'a E, &'a mut Context) -> Fut + Send + Sync,
    Fut: Future<Output = Result<()>> + Send + 'a,
{
    type Fut = Fut;

    fn call(&self, event: &'a E, context: &'a mut Context) -> Fut {
        self(event, context)
    }
}

/// A policy for events of any type.
trait AnyPolicy: Send + Sync {
    fn react<'a>(
        &'a self,
        stored: &'a StoredEvent,
        context: &'a mut Context,
    ) -> BoxFuture<'a, Result<()>>;
}

struct Policy<E, F> {
    handle: F,
    event: PhantomData<fn(&E)>,
}

impl<E, F> AnyPolicy for Policy<E, F>
where
    E: Event,
    F: for<'a> Handle<'a, E> + 'static,
{
    fn react<'a>(
        &'a self,
        stored: &'a StoredEvent,
        context: &'a mut Context,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let events = match context.mapper().read::<E>(stored) {
                Ok(events) => events,
                // Its content is gone for good, so there is nothing to decide on.
                Err(MappingError::Erased { .. }) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            for event in events.as_slice() {
                self.handle.call(event, context).await?;
            }
            Ok(())
        })
    }
}

/// Registers an event type.
type Register = fn(&TopicRegistry) -> Result<(), RegistryError>;

/// The policies of a follower, by the topics of the events that they process.
#[derive(Clone, Default)]
pub(crate) struct Policies {
    policies: Vec<Arc<dyn AnyPolicy>>,
    /// For each topic, the indexes of its policies, in the order of declaration.
    by_topic: HashMap<&'static str, Vec<usize>>,
    topics: Vec<&'static str>,
    register: Vec<Register>,
    readers: Vec<EventReader>,
}

impl Policies {
    pub(crate) fn add<E, F>(&mut self, handle: F)
    where
        E: Event,
        F: for<'a> Handle<'a, E> + 'static,
    {
        let index = self.policies.len();
        let event = PhantomData::<fn(&E)>;
        self.policies.push(Arc::new(Policy { handle, event }));
        self.register.push(TopicRegistry::register_event::<E>);
        self.readers.push(EventReader::of::<E>());
        for topic in E::TYPES.iter().flat_map(EventType::topics) {
            let of_topic = self.by_topic.entry(topic).or_default();
            if of_topic.is_empty() {
                self.topics.push(topic);
            }
            of_topic.push(index);
        }
    }

    /// Returns the topics that are processed, in the order of declaration.
    pub(crate) fn topics(&self) -> &[&'static str] {
        &self.topics
    }

    /// Returns whether events of this topic are processed.
    pub(crate) fn processes(&self, topic: &str) -> bool {
        self.by_topic.contains_key(topic)
    }

    /// Returns the readers of the event types that are processed.
    pub(crate) fn readers(&self) -> impl Iterator<Item = EventReader> + '_ {
        self.readers.iter().copied()
    }

    /// Registers the event types that are processed.
    pub(crate) fn register(&self, registry: &TopicRegistry) -> Result<(), RegistryError> {
        self.register.iter().try_for_each(|it| it(registry))
    }

    /// Calls all policies for the event's topic, in order; each once for every event that the
    /// stored event is read as, and not at all if its content was erased and its type does not
    /// declare what it is then read as.
    pub(crate) async fn react(&self, stored: &StoredEvent, context: &mut Context) -> Result<()> {
        let Some(policies) = self.by_topic.get(stored.topic()) else {
            return Ok(());
        };
        for index in policies {
            self.policies[*index].react(stored, context).await?;
        }
        Ok(())
    }
}

impl fmt::Debug for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.topics).finish()
    }
}
