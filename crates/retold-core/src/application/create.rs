//! Creating an aggregate under a fresh key.

use std::convert::Infallible;
use std::future::IntoFuture;
use std::mem;
use std::sync::Arc;

use uuid::Uuid;

use super::cache::Folded;
use super::command::{Command, Named, Need, boxed, run};
use super::command_id::CommandId;
use super::error::{Error, ExecuteError, Result};
use super::handle::Application;
use super::scope::Scope;
use super::stamp::Stamp;
use crate::domain::{Aggregate, Decision, Id};
use crate::recording::{Append, BoxFuture, Checkpoint, Condition, Positions, StoredEvent};

/// A future that creates an aggregate. See [`Application::create`].
#[must_use = "nothing is created unless awaited"]
pub struct Create<'a, A: Aggregate> {
    application: &'a Application,
    events: Vec<A::Event>,
    command: Option<CommandId>,
}

impl Application {
    /// Creates an aggregate under a fresh key from the application's id source, and returns its id.
    /// The decision returns its first events. If it can be refused, handle the refusal first:
    /// `create::<Dog>(Dog::register(name)?)`.
    ///
    /// For an aggregate with a known key that may already exist, use
    /// [`execute_or_create`](Self::execute_or_create).
    ///
    /// ```
    #[doc = include_str!("../../doc/school.rs.txt")]
    /// let rex = school.create::<Dog>(DogEvent::Registered { name: "Rex".into() }).await?;
    /// assert_eq!(school.get(rex).await?.state.name, "Rex");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the decision has no events; [`Error::Registry`], and the errors of
    /// [`settle`](Self::settle).
    pub fn create<A: Aggregate<Key: From<Uuid>>>(
        &self,
        decision: impl Decision<A::Event, Refusal = Infallible>,
    ) -> Create<'_, A> {
        let mut events = Vec::new();
        let Ok(()) = decision.decided(&mut events);
        Create {
            application: self,
            events,
            command: None,
        }
    }
}

impl<A: Aggregate> Create<'_, A> {
    /// Sets the command id: if the command is sent again, it creates nothing and returns the id of
    /// the aggregate that it created the first time.
    pub fn command_id(mut self, id: impl Into<CommandId>) -> Self {
        self.command = Some(id.into());
        self
    }
}

impl<'a, A: Aggregate<Key: From<Uuid>>> IntoFuture for Create<'a, A> {
    type Output = Result<Id<A>>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self {
            application,
            events,
            command,
        } = self;
        let span = tracing::debug_span!(
            "retold.create",
            log = application.name(),
            aggregate = A::TYPE,
            command = command.as_ref().map(CommandId::as_str),
        );
        let scope = || Scope::Creation(A::TYPE.into());
        let creation = Creation {
            application,
            named: command.map(|id| Named { id, scope: scope() }),
            events,
            created: None,
        };
        boxed(creation.run(), span)
    }
}

/// The creation of an aggregate while it is executed.
struct Creation<'a, A: Aggregate> {
    application: &'a Application,
    named: Option<Named>,
    /// The decided events, until the attempt.
    events: Vec<A::Event>,
    /// The aggregate and its stream, once its key is known.
    created: Option<(Id<A>, Arc<str>)>,
}

impl<A: Aggregate<Key: From<Uuid>>> Creation<'_, A> {
    async fn run(mut self) -> Result<Id<A>> {
        if self.events.is_empty() {
            return Err(Error::invalid(
                "an aggregate is created by its first event; decide on at least one",
            ));
        }
        run(&mut self).await?;
        let (id, _) = self.created.expect("it was created now or before");
        Ok(id)
    }

    fn stream(&self) -> &Arc<str> {
        let created = self.created.as_ref();
        &created
            .expect("events are encoded after the key is drawn")
            .1
    }
}

impl<A: Aggregate<Key: From<Uuid>>> Command for Creation<'_, A> {
    type Event = A::Event;
    type Refusal = Infallible;
    type Kept = Vec<A::Event>;

    fn application(&self) -> &Application {
        self.application
    }

    fn named(&self) -> Option<&Named> {
        self.named.as_ref()
    }

    /// The key is fresh, so a conflict is no race between commands.
    fn retries_max(&self) -> u32 {
        0
    }

    fn recognize(&mut self, first: &StoredEvent) -> bool {
        let stream = first.stream();
        self.created = stream.and_then(|it| Some((Id::of_stream(it)?, it.into())));
        self.created.is_some()
    }

    /// Draws the key.
    async fn read(&mut self, _: Need) -> Result<bool> {
        self.application.register::<A>()?;
        let id = Id::<A>::new(self.application.core.ids.next_id().into());
        let stream = id.stream().into();
        self.created = Some((id, stream));
        Ok(true)
    }

    fn decide(&mut self) -> Result<Vec<A::Event>, ExecuteError<Infallible>> {
        Ok(mem::take(&mut self.events))
    }

    fn encode(&mut self, events: Vec<A::Event>) -> Result<(Append, Vec<A::Event>)> {
        let (id, scope) = self.named.as_ref().map(|it| (&it.id, &it.scope)).unzip();
        let stream = self.stream();
        let (new, events) = Stamp::new(self.application, id, scope).of_stream(stream, &events)?;
        let condition = Condition::stream_read(Arc::clone(stream), None, None);
        Ok((Append::of(new).condition(condition), events))
    }

    async fn remember(&mut self, events: Vec<A::Event>, _: Positions, last: Option<Checkpoint>) {
        let (application, base) = (self.application, Folded::<A>::default());
        application
            .remember(self.stream(), base, &events, last)
            .await;
    }
}
