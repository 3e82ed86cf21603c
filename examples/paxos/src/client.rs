//! What clients do: propose values for keys, submit requests to the store, and ask for what came of them.

use retold::application::ExecuteError;
use retold::prelude::*;
use retold::recording::error::Invalid;

use crate::command::{Answer, Request, Value};
use crate::electorate::Electorate;
use crate::instance::{Instance, Refusal};
use crate::replica::{Busy, Executed, REPLICA, Replica};
use crate::slot::SLOT_PREFIX;

/// Longest key that is agreed on, and longest id of a request, in bytes: with what stands before them
/// they are names of streams, timers and tags.
pub const KEY_SIZE_MAX: usize = 200;

/// Lets a participant propose a text for a key. What is chosen in the end may be another's; see
/// [`decided`]. Proposed again, a participant that has yielded to another tries again.
///
/// # Errors
///
/// [`Refusal`] if the key is decided, or this participant has proposed something else for it;
/// [`Error::Invalid`](retold::Error::Invalid) for a bad key or no participant; what
/// [`Application::execute`] reports.
pub async fn propose(
    participant: &Application,
    electorate: Electorate,
    key: &str,
    text: &str,
) -> Result<(), ExecuteError<Refusal>> {
    check_size("a key", key)?;
    if key.starts_with(SLOT_PREFIX) {
        let what = format!("the key {key:?} is that of a slot; choose one without {SLOT_PREFIX:?}");
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

/// What is chosen for a key, as far as this participant knows.
///
/// # Errors
///
/// What [`Application::find`] reports.
pub async fn decided(participant: &Application, key: &str) -> retold::Result<Option<Value>> {
    let instance = participant.find::<Instance>(key).await?;
    Ok(instance.and_then(|it| it.state.decided().cloned()))
}

/// Gives a request to a participant, which sees to it that it gets a slot and is executed by all. Given
/// again, to the same or to another participant, it is executed once all the same.
///
/// # Errors
///
/// [`Busy`] if too many wait already; [`Error::Invalid`](retold::Error::Invalid) for a bad id or no
/// participant; what [`Application::execute`] reports.
pub async fn submit(
    participant: &Application,
    electorate: Electorate,
    request: &Request,
) -> Result<(), ExecuteError<Busy>> {
    check_size("the id of a request", &request.id)?;
    let candidate = electorate
        .candidate(participant.name())
        .map_err(retold::Error::from)?;
    participant
        .execute_or_create(REPLICA, |it: &Replica| it.submit(candidate, request))
        .await?;
    Ok(())
}

/// What a request came to; none if this participant has not executed it yet. Every participant gives the
/// same answer.
///
/// # Errors
///
/// What reading a log reports.
pub async fn answer(participant: &Application, request: &str) -> retold::Result<Option<Answer>> {
    let executed = participant
        .events::<Executed>()
        .tag(format!("request:{request}"));
    let first = executed.read().first().await?;
    Ok(first.map(|it| it.event.answer))
}

/// A participant's copy of the store.
///
/// # Errors
///
/// What [`Application::find`] reports.
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
