//! Cases about one aggregate: its recorded events, a decision on its state, and its result.

use std::fmt::Debug;

use super::UNNAMED;
use super::outcome::DecisionOutcome;
use super::shown_event::{ShownEvent, recorded};
use crate::domain::{Aggregate, Decision, fold};

/// Returns an aggregate with these events recorded, in this order; pass none for a new one.
///
/// # Panics
///
/// If an event cannot be recorded because decoding does not restore it.
#[must_use = "a case checks nothing until a decision is made"]
#[track_caller]
pub fn given<A: Aggregate>(events: impl IntoIterator<Item = A::Event>) -> AggregateCase<A> {
    let mut case = AggregateCase {
        given: Vec::new(),
        state: A::default(),
    };
    for event in events {
        case = case.with(&event);
    }
    case
}

/// An aggregate with its recorded events.
#[derive(Clone, Debug)]
pub struct AggregateCase<A> {
    given: Vec<ShownEvent>,
    state: A,
}

impl<A: Aggregate> AggregateCase<A> {
    /// Decides on the aggregate's state.
    #[must_use = "a decision is not checked until `then`"]
    #[track_caller]
    pub fn when<D: Decision<A::Event>>(
        self,
        decide: impl FnOnce(&A) -> D,
    ) -> AggregateDecided<A, D::Refusal> {
        self.when_named(UNNAMED, decide)
    }

    /// Decides on the aggregate's state. A failed check shows this name for the decision.
    #[must_use = "a decision is not checked until `then`"]
    #[track_caller]
    pub fn when_named<D: Decision<A::Event>>(
        self,
        name: impl Into<String>,
        decide: impl FnOnce(&A) -> D,
    ) -> AggregateDecided<A, D::Refusal> {
        let mut events = Vec::new();
        let result = decide(&self.state).decided(&mut events);
        let after = match result {
            Ok(()) => events.iter().fold(self.clone(), Self::with),
            Err(_) => self.clone(),
        };
        let decided = result.map(|()| after.given[self.given.len()..].to_vec());
        AggregateDecided {
            after,
            outcome: DecisionOutcome {
                given: self.given,
                notes: Vec::new(),
                when: name.into(),
                decided,
            },
        }
    }

    /// Checks the state after the given events.
    pub fn then_state(self, check: impl FnOnce(&A)) -> Self {
        check(&self.state);
        self
    }

    /// Adds an event, as decoded from its bytes.
    #[track_caller]
    fn with(mut self, event: &A::Event) -> Self {
        self.given.push(ShownEvent::of(event));
        let (_, event) = recorded(event);
        self.state = fold(self.state, [&event]);
        self
    }
}

/// A decision about an aggregate, to be checked.
#[derive(Debug)]
pub struct AggregateDecided<A, R> {
    after: AggregateCase<A>,
    outcome: DecisionOutcome<R>,
}

impl<A: Aggregate, R> AggregateDecided<A, R> {
    /// Checks that exactly these events were decided, in this order. Pass an event, an array, a
    /// `Vec` or a tuple.
    ///
    /// Events are equal if their topics, tags and contents are.
    ///
    /// # Panics
    ///
    /// If other events were decided, or the decision was refused.
    #[track_caller]
    pub fn then(self, expected: impl Decision<A::Event, Refusal = std::convert::Infallible>) -> Self
    where
        R: Debug,
    {
        let mut events = Vec::new();
        let Ok(()) = expected.decided(&mut events);
        let expected: Vec<_> = events.iter().map(ShownEvent::of).collect();
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

    /// Checks the state after the decided events, or the given state after a refusal.
    pub fn then_state(self, check: impl FnOnce(&A)) -> Self {
        check(&self.after.state);
        self
    }

    /// Records the decided events and continues the case with them.
    #[must_use = "the rest of the case checks nothing until a decision is made"]
    pub fn and(self) -> AggregateCase<A> {
        self.after
    }
}
