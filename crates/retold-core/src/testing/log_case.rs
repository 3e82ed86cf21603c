//! Cases about a log: events of any types and streams, a decision on a model over them.
//!
//! They run the application itself over a log in memory: the model's own queries, matched as every
//! store matches them, and the same mapping. Nothing waits, so no runtime is needed.

use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::Arc;

use futures_util::FutureExt;

use super::outcome::Outcome;
use super::shown_event::ShownEvent;
use super::{SEED, UNNAMED};
use crate::application::{Application, EventBus, Model, Reach};
use crate::domain::{Decision, ManualClock, SequentialIds};
use crate::mapping::AnyEvent;
use crate::recording::{Condition, MemoryStore, StoredEvent};

/// A log in which these events are recorded, in this order: one event, or several of any types as an
/// array, a `Vec` or a tuple, each for the stream that it is addressed to; `()` for an empty log.
///
/// # Panics
///
/// If an event cannot be recorded.
#[must_use = "a case checks nothing before something is decided"]
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

/// What a future of the memory store comes to: it never waits.
#[track_caller]
fn at_once<T, E: Debug + std::fmt::Display>(
    what: &str,
    future: impl Future<Output = Result<T, E>>,
) -> T {
    match future.now_or_never() {
        Some(Ok(value)) => value,
        Some(Err(error)) => panic!("{what} failed: {error}"),
        None => panic!("{what} waited for something; a model must read the log and nothing else"),
    }
}

/// A log with what is recorded in it.
#[derive(Clone, Debug)]
pub struct LogCase {
    given: Vec<ShownEvent>,
    application: Application,
}

impl LogCase {
    /// Decides on what a model shows of the log.
    #[must_use = "a decision is not checked before `then`"]
    #[track_caller]
    pub fn when<M: Model, D: Decision<AnyEvent>>(
        self,
        model: M,
        decide: impl FnOnce(&M::State) -> D,
    ) -> LogDecided<D::Refusal> {
        self.when_named(UNNAMED, model, decide)
    }

    /// Decides on what a model shows of the log; a failure calls it by this name.
    #[must_use = "a decision is not checked before `then`"]
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
            outcome: Outcome {
                given,
                notes,
                when: name.into(),
                decided,
            },
        }
    }

    /// Checks what a model shows of the log.
    ///
    /// # Panics
    ///
    /// If the log cannot be read so, and if `check` does.
    #[track_caller]
    pub fn then_view<M: Model>(self, model: M, check: impl FnOnce(&M::State)) -> Self {
        let view = at_once("reading the model", self.application.view(model));
        check(&view.state);
        self
    }

    /// With these events recorded too, in one append.
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

    /// A line that says which of the given events the model did not read, if it did not read all.
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

/// What was decided on a log, to be checked.
#[derive(Debug)]
pub struct LogDecided<R> {
    after: LogCase,
    outcome: Outcome<R>,
}

impl<R> LogDecided<R> {
    /// Exactly these events were decided, in this order, for these streams: an event, an array, a
    /// `Vec`, a tuple.
    ///
    /// Events are equal if what is recorded of them is: stream, topic, tags and content.
    ///
    /// # Panics
    ///
    /// If other events were decided, or it was refused.
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

    /// Nothing was decided, and it was not refused.
    ///
    /// # Panics
    ///
    /// If an event was decided, or it was refused.
    #[track_caller]
    pub fn then_nothing(self) -> Self
    where
        R: Debug,
    {
        self.outcome.check_events(&[]);
        self
    }

    /// It was refused, for this reason.
    ///
    /// # Panics
    ///
    /// If it was not refused, or for another reason.
    #[track_caller]
    pub fn then_refused(self, expected: R) -> Self
    where
        R: PartialEq + Debug,
    {
        self.outcome.check_refused(&expected);
        self
    }

    /// Checks what a model shows of the log after what was decided.
    ///
    /// # Panics
    ///
    /// If the log cannot be read so, and if `check` does.
    #[track_caller]
    pub fn then_view<M: Model>(mut self, model: M, check: impl FnOnce(&M::State)) -> Self {
        self.after = self.after.then_view(model, check);
        self
    }

    /// What was decided is recorded: the case goes on with it.
    #[must_use = "nothing is checked of what follows before it is decided"]
    pub fn and(self) -> LogCase {
        self.after
    }
}
