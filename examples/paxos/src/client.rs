//! The operations of clients: propose values for keys, submit requests to the store, and read the
//! results.

use retold::application::ExecuteError;
use retold::prelude::*;
use retold::recording::Invalid;

use crate::command::{Answer, Request, Value};
use crate::electorate::Electorate;
use crate::instance::{Instance, Refusal};
use crate::replica::{Busy, Executed, REPLICA, Replica};
use crate::slot::SLOT_PREFIX;

/// Maximum size of a key and of a request id, in bytes. With their prefixes, they become names of
/// streams, timers and tags.
pub const KEY_SIZE_MAX: usize = 200;

/// Proposes a text for a key through a participant. The chosen value may be that of another
/// participant; see [`decided`]. If the same value is proposed again, a participant that has
/// yielded to another tries again.
///
/// # Errors
///
/// [`Refusal`] if the key is decided, or this participant has proposed another value for it;
/// [`Error::Invalid`](retold::Error::Invalid) for an invalid key or an application that is not a
/// participant; the errors of [`Application::execute`].
pub async fn propose(
    participant: &Application,
    electorate: Electorate,
    key: &str,
    text: &str,
) -> Result<(), ExecuteError<Refusal>> {
    check_size("a key", key)?;
    if key.starts_with(SLOT_PREFIX) {
        let what = format!(
            "the key {key:?} is reserved; choose one that does not begin with {SLOT_PREFIX:?}"
        );
        return Err(retold::Error::from(Invalid::new(what)).into());
    }
    let candidate = electorate
        .candidate(participant.name())
        .map_err(retold::Error::from)?;
    let value = Value::from(text);
    participant
        .execute_or_create(key, |it: &Instance| it.propose(candidate, &value))
        .await?;
    Ok(())
}

/// Returns the chosen value of a key, as far as this participant knows.
///
/// # Errors
///
/// The errors of [`Application::find`].
pub async fn decided(participant: &Application, key: &str) -> retold::Result<Option<Value>> {
    let instance = participant.find::<Instance>(key).await?;
    Ok(instance.and_then(|it| it.state.decided().cloned()))
}

/// Submits a request to a participant, which obtains a slot for it so that all participants execute
/// it. A request submitted again, to the same or another participant, is still executed once.
///
/// # Errors
///
/// [`Busy`] if the participant has too many pending requests;
/// [`Error::Invalid`](retold::Error::Invalid) for an invalid id or an application that is not a
/// participant; the errors of [`Application::execute`].
pub async fn submit(
    participant: &Application,
    electorate: Electorate,
    request: &Request,
) -> Result<(), ExecuteError<Busy>> {
    check_size("the request id", &request.id)?;
    let candidate = electorate
        .candidate(participant.name())
        .map_err(retold::Error::from)?;
    participant
        .execute_or_create(REPLICA, |it: &Replica| it.submit(candidate, request))
        .await?;
    Ok(())
}

/// Returns the result of a request, or `None` if this participant has not executed it yet. The
/// result is the same on every participant.
///
/// # Errors
///
/// Errors of reading a log.
pub async fn answer(participant: &Application, request: &str) -> retold::Result<Option<Answer>> {
    let executed = participant
        .events::<Executed>()
        .tag(format!("request:{request}"));
    let first = executed.read().first().await?;
    Ok(first.map(|it| it.event.answer))
}

/// Returns a participant's copy of the store.
///
/// # Errors
///
/// The errors of [`Application::find`].
pub async fn replica(participant: &Application) -> retold::Result<Replica> {
    let replica = participant.find::<Replica>(REPLICA).await?;
    Ok(replica.map(|it| it.state).unwrap_or_default())
}

fn check_size(what: &str, text: &str) -> retold::Result<()> {
    match text.len() {
        1..=KEY_SIZE_MAX => Ok(()),
        size => Err(Invalid::new(format!(
            "{what} is {size} bytes long; 1 to {KEY_SIZE_MAX} are allowed"
        ))
        .into()),
    }
}
