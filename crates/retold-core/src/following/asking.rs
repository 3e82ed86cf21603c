//! Asking the policies of a follower what an event causes: one function, for followers that process
//! events and for a retelling that repeats their decisions.
//!
//! A panic in a policy is a failure of the policy, with the text of the panic. An error of the
//! store is not: the caller returns it and asks again later.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

use super::batch::Batch;
use super::context::{Context, is_of_the_store};
use super::follower::Follower;
use crate::application::{Error, Result, panic_text};
use crate::mapping::MappingError;
use crate::recording::StoredEvent;

/// The outcome of asking the policies about an event.
pub(crate) enum Asked {
    /// They accepted the event; its effects are in the batch.
    Processed,
    /// Its type is one that this program does not know and another program does.
    Unknown(MappingError),
    /// The payload of an event which a policy read is erased.
    Erased(MappingError),
    /// A policy returned an error or panicked, for this reason.
    Failed(String),
}

/// Asks the policies of a follower about an event, and returns the batch of the context with what
/// they decided. After an outcome other than [`Asked::Processed`] the batch may contain some of the
/// effects.
///
/// # Errors
///
/// Errors of the store that the policies met.
pub(crate) async fn ask(
    follower: &Follower,
    event: &StoredEvent,
    mut context: Context,
) -> (Batch, Result<Asked>) {
    let reacted = AssertUnwindSafe(follower.policies().react(event, &mut context));
    let reacted = reacted.catch_unwind().await;
    let (batch, of_the_store) = context.into_batch();
    if let Some(error) = of_the_store {
        return (batch, Err(error));
    }
    let asked = match reacted {
        Ok(Ok(())) => Asked::Processed,
        Ok(Err(error)) if is_of_the_store(&error) => return (batch, Err(error)),
        Ok(Err(Error::Mapping(error))) if error.is_of_another_program() => Asked::Unknown(error),
        Ok(Err(Error::Mapping(error @ MappingError::Erased { .. }))) => Asked::Erased(error),
        Ok(Err(error)) => Asked::Failed(error.to_string()),
        Err(panic) => {
            let text = panic_text(&*panic).unwrap_or("without a message");
            Asked::Failed(format!("the policy panicked: {text}"))
        }
    };
    (batch, Ok(asked))
}
