//! Decisions: the return types of pure functions that decide.

use std::convert::Infallible;

use super::event::Event;

/// The result of a decision: events, perhaps none, or a refusal in the user's own type.
///
/// Implemented for an event, `()`, `Option`, `Vec`, arrays and tuples of decisions, and for
/// `Result` of any of these, whose error is the refusal.
#[diagnostic::on_unimplemented(
    message = "a decision cannot return `{Self}` where events are `{E}`",
    label = "not a decision over `{E}`",
    note = "return `{E}` or an event that it joins, `Option<{E}>`, `Vec<{E}>`, an array or a tuple \
            of events, `()` for nothing, or a `Result` of one of these, whose error is your refusal"
)]
pub trait Decision<E> {
    /// The type of its refusal; [`Infallible`] if it cannot be refused.
    type Refusal;

    /// Adds the events that were decided to `events`, in order.
    ///
    /// # Errors
    ///
    /// The refusal; the events that were added to `events` before it must not be recorded.
    fn decided(self, events: &mut Vec<E>) -> Result<(), Self::Refusal>;

    /// Returns whether a decision of this type can result in an event of this topic, as far as the
    /// type shows. It is used to detect a command id that was used before for another command.
    fn may_have(topic: &str) -> bool {
        let _ = topic;
        true
    }
}

impl<E: Event> Decision<E> for E {
    type Refusal = Infallible;

    fn decided(self, events: &mut Vec<E>) -> Result<(), Infallible> {
        events.push(self);
        Ok(())
    }

    fn may_have(topic: &str) -> bool {
        E::index_of_topic(topic).is_some()
    }
}

impl<E> Decision<E> for () {
    type Refusal = Infallible;

    fn decided(self, _: &mut Vec<E>) -> Result<(), Infallible> {
        Ok(())
    }

    fn may_have(_: &str) -> bool {
        false
    }
}

impl<E, D: Decision<E, Refusal = Infallible>> Decision<E> for Option<D> {
    type Refusal = Infallible;

    fn decided(self, events: &mut Vec<E>) -> Result<(), Infallible> {
        self.map_or(Ok(()), |decision| decision.decided(events))
    }

    fn may_have(topic: &str) -> bool {
        D::may_have(topic)
    }
}

impl<E, D: Decision<E, Refusal = Infallible>> Decision<E> for Vec<D> {
    type Refusal = Infallible;

    fn decided(self, events: &mut Vec<E>) -> Result<(), Infallible> {
        self.into_iter()
            .try_for_each(|decision| decision.decided(events))
    }

    fn may_have(topic: &str) -> bool {
        D::may_have(topic)
    }
}

impl<E, D: Decision<E, Refusal = Infallible>, const N: usize> Decision<E> for [D; N] {
    type Refusal = Infallible;

    fn decided(self, events: &mut Vec<E>) -> Result<(), Infallible> {
        self.into_iter()
            .try_for_each(|decision| decision.decided(events))
    }

    fn may_have(topic: &str) -> bool {
        D::may_have(topic)
    }
}

impl<E, D: Decision<E, Refusal = Infallible>, R> Decision<E> for Result<D, R> {
    type Refusal = R;

    fn decided(self, events: &mut Vec<E>) -> Result<(), R> {
        let Ok(()) = self?.decided(events);
        Ok(())
    }

    fn may_have(topic: &str) -> bool {
        D::may_have(topic)
    }
}

macro_rules! tuple_decisions {
    ($(($($name:ident),+))*) => {$(
        impl<E, $($name: Decision<E, Refusal = Infallible>),+> Decision<E> for ($($name,)+) {
            type Refusal = Infallible;

            #[allow(non_snake_case, reason = "the names of the types serve as names of the parts")]
            fn decided(self, events: &mut Vec<E>) -> Result<(), Infallible> {
                let ($($name,)+) = self;
                $($name.decided(events)?;)+
                Ok(())
            }

            fn may_have(topic: &str) -> bool {
                $($name::may_have(topic))||+
            }
        }
    )*};
}

tuple_decisions! {
    (A) (A, B) (A, B, C) (A, B, C, D) (A, B, C, D, F) (A, B, C, D, F, G)
}
