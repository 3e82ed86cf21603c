//! Cases about a log: events of any types and streams, and a decision on a model over them.
//!
//! They run the application itself over a log in memory: with the model's own queries, matched as
//! every store matches them, and the same mapping. Nothing waits, so no runtime is needed.

use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::Arc;

use futures_util::FutureExt;

use super::outcome::DecisionOutcome;
use super::shown_event::ShownEvent;
use super::{SEED, UNNAMED};
use crate::application::{Application, EventBus, Model, Reach};
use crate::domain::{Decision, ManualClock, SequentialIds};
use crate::mapping::AnyEvent;
use crate::recording::{Condition, MemoryStore, StoredEvent};

/// Returns a log with these events recorded, in this order: one event, or several of any types as
/// an array, a `Vec` or a tuple, each addressed to its stream; `()` for an empty log.
///
/// # Panics
///
/// If an event cannot be recorded.
#[must_use = "a case checks nothing until a decision is made"]
#[track_caller]
pub fn given_log(events: impl Decision<AnyEvent, Refusal = Infallible>) -> LogCase {
    let builder = Application::builder("given")
        .store(Arc::new(MemoryStore::new()))
        .clock(Arc::new(ManualClock::default()))
        .ids(Arc::new(SequentialIds::new(SEED)));
    let application = at_once("opening the log", builder.open());
    let case = LogCase {
        given: Vec::new(),
        application,
    };
    let mut given = Vec::new();
    let Ok(()) = events.decided(&mut given);
    case.with(given)
}

/// Returns the result of a future of the memory store, which never waits.
#[track_caller]
fn at_once<T, E: Debug + std::fmt::Display>(
    what: &str,
    future: impl Future<Output = Result<T, E>>,
) -> T {
    match future.now_or_never() {
        Some(Ok(value)) => value,
        Some(Err(error)) => panic!("{what} failed: {error}"),
        None => panic!("{what} waited for something; a model must only read the log"),
    }
}

/// A log with its recorded events.
#[derive(Clone, Debug)]
pub struct LogCase {
    given: Vec<ShownEvent>,
    application: Application,
}

impl LogCase {
    /// Decides on a model of the log.
    #[must_use = "a decision is not checked until `then`"]
    #[track_caller]
    pub fn when<M: Model, D: Decision<AnyEvent>>(
        self,
        model: M,
        decide: impl FnOnce(&M::State) -> D,
    ) -> LogDecided<D::Refusal> {
        self.when_named(UNNAMED, model, decide)
    }

    /// Decides on a model of the log. A failed check shows this name for the decision.
    #[must_use = "a decision is not checked until `then`"]
    #[track_caller]
    pub fn when_named<M: Model, D: Decision<AnyEvent>>(
        self,
        name: impl Into<String>,
        model: M,
        decide: impl FnOnce(&M::State) -> D,
    ) -> LogDecided<D::Refusal> {
        let (mut state, mut place) = model.begin();
        let read = model.read_on(&self.application, &mut state, &mut place, Reach::Newest);
        at_once("reading the model", read);
        let mut conditions = Vec::new();
        model.conditions(&place, &mut conditions);
        let notes = self.note_of_unread(&conditions);

        let mut events = Vec::new();
        let result = decide(&state).decided(&mut events);
        let given = self.given.clone();
        let after = match result {
            Ok(()) => self.with(events),
            Err(_) => self,
        };
        let decided = result.map(|()| after.given[given.len()..].to_vec());
        LogDecided {
            after,
            outcome: DecisionOutcome {
                given,
                notes,
                when: name.into(),
                decided,
            },
        }
    }

    /// Checks a model of the log.
    ///
    /// # Panics
    ///
    /// If the log cannot be read through the model, and if `check` panics.
    #[track_caller]
    pub fn then_view<M: Model>(self, model: M, check: impl FnOnce(&M::State)) -> Self {
        let view = at_once("reading the model", self.application.view(model));
        check(&view.state);
        self
    }

    /// Records these events too, in one append.
    #[track_caller]
    fn with(mut self, events: Vec<AnyEvent>) -> Self {
        self.given.extend(events.iter().map(ShownEvent::of_any));
        let bus = EventBus::new();
        at_once("recording", async {
            bus.record_into(&self.application)?;
            bus.publish(events).await
        });
        self
    }

    /// Returns a line that lists the given events that the model did not read, if there are any.
    fn note_of_unread(&self, conditions: &[Condition]) -> Vec<String> {
        let is_read = |event: &StoredEvent| {
            conditions.iter().any(|condition| match condition {
                Condition::StreamAt { stream, .. } => event.stream() == Some(&**stream),
                Condition::NoneMatch { query, .. } => query.matches(event),
                Condition::TopicCount { .. } => false,
            })
        };
        let all = self.application.log().stored().read().collect();
        let unread: Vec<_> = at_once("reading the log", all)
            .iter()
            .filter(|event| !is_read(event))
            .map(|event| format!("{}.", event.position()))
            .collect();
        match unread.len() {
            0 => Vec::new(),
            count if count == self.given.len() => {
                vec!["    the model reads none of them".into()]
            }
            _ => vec![format!("    the model does not read {}", unread.join(", "))],
        }
    }
}

/// A decision on a log, to be checked.
#[derive(Debug)]
pub struct LogDecided<R> {
    after: LogCase,
    outcome: DecisionOutcome<R>,
}

impl<R> LogDecided<R> {
    /// Checks that exactly these events were decided, in this order and for these streams. Pass an
    /// event, an array, a `Vec` or a tuple.
    ///
    /// Events are equal if their streams, topics, tags and contents are.
    ///
    /// # Panics
    ///
    /// If other events were decided, or the decision was refused.
    #[track_caller]
    pub fn then(self, expected: impl Decision<AnyEvent, Refusal = Infallible>) -> Self
    where
        R: Debug,
    {
        let mut events = Vec::new();
        let Ok(()) = expected.decided(&mut events);
        let expected: Vec<_> = events.iter().map(ShownEvent::of_any).collect();
        self.outcome.check_events(&expected);
        self
    }

    /// Checks that the decision was accepted without any event.
    ///
    /// # Panics
    ///
    /// If an event was decided, or the decision was refused.
    #[track_caller]
    pub fn then_nothing(self) -> Self
    where
        R: Debug,
    {
        self.outcome.check_events(&[]);
        self
    }

    /// Checks that the decision was refused for this reason.
    ///
    /// # Panics
    ///
    /// If it was accepted, or refused for another reason.
    #[track_caller]
    pub fn then_refused(self, expected: R) -> Self
    where
        R: PartialEq + Debug,
    {
        self.outcome.check_refused(&expected);
        self
    }

    /// Checks a model of the log after the decided events.
    ///
    /// # Panics
    ///
    /// If the log cannot be read through the model, and if `check` panics.
    #[track_caller]
    pub fn then_view<M: Model>(mut self, model: M, check: impl FnOnce(&M::State)) -> Self {
        self.after = self.after.then_view(model, check);
        self
    }

    /// Records the decided events and continues the case with them.
    #[must_use = "the rest of the case checks nothing until a decision is made"]
    pub fn and(self) -> LogCase {
        self.after
    }
}
