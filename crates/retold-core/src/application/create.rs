//! Creating an aggregate under a fresh key.

use std::future::IntoFuture;
use std::sync::Arc;

use std::convert::Infallible;
use tracing::Instrument;
use uuid::Uuid;

use super::cache::Folded;
use super::command_id::CommandId;
use super::commit::Commit;
use super::error::{Error, Result};
use super::handle::Application;
use super::scope::{Scope, reused};
use super::telemetry;
use crate::domain::{Aggregate, Decision, Id};
use crate::recording::BoxFuture;

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
        let span = tracing::debug_span!(
            "retold.create",
            log = self.application.name(),
            aggregate = A::TYPE,
            command = self.command.as_ref().map(CommandId::as_str),
        );
        Box::pin(self.run().instrument(span))
    }
}

impl<A: Aggregate<Key: From<Uuid>>> Create<'_, A> {
    async fn run(self) -> Result<Id<A>> {
        if self.events.is_empty() {
            return Err(Error::invalid(
                "an aggregate is created by its first event; decide on at least one",
            ));
        }
        let application = self.application;
        application.before_command().await;
        application.register::<A>()?;
        if let Some(command) = &self.command {
            command.check()?;
            if let Some(id) = self.created_before(command).await? {
                return Ok(id);
            }
        }
        let id = Id::<A>::new(application.core.ids.next_id().into());
        let stream: Arc<str> = id.stream().into();
        let mut folded = Folded::<A>::default();
        let command = self.command.as_ref();
        let scope = Self::scope();
        let commit = application
            .commit(&stream, &mut folded, &self.events, command, Some(&scope))
            .await?;
        match (commit, command) {
            (Commit::Recorded(_), _) => Ok(id),
            (Commit::Conflict(conflict), _) => Err(conflict.into()),
            (Commit::Before, Some(command)) => match self.created_before(command).await? {
                Some(id) => Ok(id),
                None => Err(Error::invalid(format!(
                    "the log has events of the command {:?}, but not its first event",
                    command.as_str()
                ))),
            },
            (Commit::Before, None) => Err(Error::invalid(
                "the id source returned event ids that are already in the log",
            )),
        }
    }

    fn scope() -> Scope {
        Scope::Creation(A::TYPE.into())
    }

    /// Returns the id of the aggregate that an earlier request with this command id created.
    async fn created_before(&self, command: &CommandId) -> Result<Option<Id<A>>> {
        let Some(first) = self.application.first_of(command).await? else {
            return Ok(None);
        };
        let scope = Self::scope();
        scope.check(command, &first)?;
        match first.stream().and_then(Id::of_stream) {
            Some(id) => {
                telemetry::count(telemetry::REPEATS);
                Ok(Some(id))
            }
            None => Err(reused(command, &first, Some(&scope))),
        }
    }
}
