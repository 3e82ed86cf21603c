//! The command loop: read, decide, append; after a conflict, read again and decide again.
//!
//! [`run`] executes every command: it calls the conductor, looks up the command id, takes turns,
//! and counts retries and refusals. What a command reads, and what must hold for its append,
//! depends on the kind of command: that is a [`Command`].

use std::sync::Arc;

use tracing::{Instrument, Span};

use super::command_id::{CommandId, EventIds};
use super::error::{Error, ExecuteError, Result};
use super::handle::Application;
use super::recorded::{Outcome, Recorded};
use super::scope::{Scope, reused};
use super::telemetry;
use super::turns::Turn;
use crate::recording::{
    Append, Appended, BoxFuture, Checkpoint, Conflict, Corrupt, EventId, Positions, StoredEvent,
    Version,
};

/// What a command reads, how it decides, and under which conditions its events are recorded.
///
/// The command keeps what it has read. Its asynchronous methods may be dropped at any point; the
/// command ends then.
pub(super) trait Command: Send {
    /// An event that it decides on.
    type Event: Send;

    /// The domain's refusal.
    type Refusal;

    /// What the command needs to apply its events once they are recorded.
    type Kept: Send;

    /// The application that executes it.
    fn application(&self) -> &Application;

    /// Its id and scope, if it has an id.
    fn named(&self) -> Option<&Named>;

    /// Where the ids of its events come from.
    fn ids(&self) -> EventIds {
        match self.named() {
            Some(_) => EventIds::OfCommand,
            None => EventIds::Fresh,
        }
    }

    /// How often it is decided again after a conflict.
    fn retries_max(&self) -> u32 {
        self.application().core.retries
    }

    /// Returns whether this command recorded `first`, the first event under its id, as far as that
    /// can be known. The scope is the same.
    fn recognize(&mut self, _first: &StoredEvent) -> bool {
        true
    }

    /// Reads what the decision depends on, from where the last read ended. Returns whether it is
    /// the newest state of the log.
    fn read(&mut self, need: Need) -> impl Future<Output = Result<bool>> + Send;

    /// Decides on what was read: the events to record, or why there is nothing to decide on.
    fn decide(&mut self) -> Result<Vec<Self::Event>, ExecuteError<Self::Refusal>>;

    /// The stream that the command is about, and its version as of the last read or append.
    fn about(&self) -> (Option<Arc<str>>, Option<Version>) {
        (None, None)
    }

    /// Returns the turn that it must take to append, if other commands were overtaken on the same
    /// thing.
    fn turn(&mut self) -> impl Future<Output = Option<Arc<Turn>>> + Send {
        async { None }
    }

    /// Returns the append of these events, on the condition that what was read is still the newest.
    fn encode(&mut self, events: Vec<Self::Event>) -> Result<(Append, Self::Kept)>;

    /// Applies and caches events that were just recorded at these positions; `last` is the
    /// checkpoint of the last of them.
    fn remember(
        &mut self,
        kept: Self::Kept,
        positions: Positions,
        last: Option<Checkpoint>,
    ) -> impl Future<Output = ()> + Send;

    /// Prepares for the next attempt after a conflict. Returns the turn to wait for before it reads
    /// again, if there is one.
    fn overtaken(&mut self, _conflict: &Conflict) -> Option<Arc<Turn>> {
        None
    }

    /// Makes an attempt in a lane, if the command is in one: decides on a prediction.
    fn pass(&mut self) -> impl Future<Output = Result<Pass>> + Send {
        async { Ok(Pass::NoLane) }
    }
}

/// A command id and what the command is about.
pub(super) struct Named {
    pub(super) id: CommandId,
    pub(super) scope: Scope,
}

/// How new the state must be on which a command decides next, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    /// A cached state is enough, because the append checks whether it was the newest.
    Cached,
    /// Others have appended since the last read; a cached state is enough if it is newer.
    Newer,
    /// Each part must be the newest.
    Newest,
    /// All parts must be as of the same newest state of the log.
    One,
}

/// The result of an attempt to execute a command.
pub(super) enum Attempt {
    /// The command ends with this result.
    Done(Recorded),
    /// Nothing was recorded, but not because of a conflict.
    Again,
    /// Other appends were recorded first.
    Conflict(Conflict),
}

/// The result of an attempt in a lane.
pub(super) enum Pass {
    Attempt(Attempt),
    /// The command must be decided on the newest state, not on a prediction.
    Alone,
    /// The command is not in a lane, or does not use it now.
    NoLane,
}

/// What a command decided.
enum DecidedEvents<E> {
    /// To record events, at least one.
    Events(Vec<E>),
    /// To record nothing; this is the result of the command.
    Nothing(Recorded),
}

/// Boxes the future of a command. A span that is disabled costs nothing.
pub(super) fn boxed<'a, T>(
    run: impl Future<Output = T> + Send + 'a,
    span: Span,
) -> BoxFuture<'a, T> {
    match span.is_disabled() {
        true => Box::pin(run),
        false => Box::pin(run.instrument(span)),
    }
}

/// Runs a command, with the conductor's work before and after it.
pub(super) async fn run<C: Command>(command: &mut C) -> Result<Recorded, ExecuteError<C::Refusal>> {
    if let Some(named) = command.named() {
        named.id.check()?;
    }
    command.application().before_command().await;
    let done = match record(command).await {
        Ok(recorded) => Ok(recorded),
        Err(ExecuteError::Retold(Error::Conflict(conflict))) => Err(conflict),
        Err(error) => return Err(error),
    };
    let recorded = match done {
        Ok(recorded) => recorded,
        // The conflict may be with an earlier request of the same command.
        Err(conflict) => match repeated(command).await? {
            Some(repeated) => repeated,
            None => return Err(conflict.into()),
        },
    };
    if recorded.outcome == Outcome::Recorded {
        command.application().after_commit().await;
    }
    Ok(recorded)
}

/// Makes attempts until one ends the command, or the retries are used up.
async fn record<C: Command>(command: &mut C) -> Result<Recorded, ExecuteError<C::Refusal>> {
    let mut retries = 0;
    let mut need = Need::Cached;
    loop {
        if let Some(repeated) = repeated(command).await? {
            return Ok(repeated);
        }
        let attempt = match command.pass().await? {
            Pass::Attempt(attempt) => attempt,
            Pass::Alone => attempt(command, Need::Newest).await?,
            Pass::NoLane => attempt(command, need).await?,
        };
        let conflict = match attempt {
            Attempt::Done(recorded) => return Ok(recorded),
            Attempt::Again => {
                need = Need::Newer;
                continue;
            }
            Attempt::Conflict(conflict) => conflict,
        };
        if retries == command.retries_max() {
            return Err(conflict.into());
        }
        retries += 1;
        telemetry::count(telemetry::RETRIES);
        if let Some(turn) = command.overtaken(&conflict) {
            turn.wait().await;
        }
        need = Need::Newest;
    }
}

/// Reads, decides, and appends once.
async fn attempt<C: Command>(
    command: &mut C,
    need: Need,
) -> Result<Attempt, ExecuteError<C::Refusal>> {
    let events = match decided(command, need).await? {
        DecidedEvents::Events(events) => events,
        DecidedEvents::Nothing(recorded) => return Ok(Attempt::Done(recorded)),
    };
    let turn = command.turn().await;
    if let Some(turn) = &turn
        && turn.wait().await
    {
        return Ok(Attempt::Again);
    }
    let (append, kept) = command.encode(events)?;
    let last = append.new_events().last().map(|event| event.id);
    let ids = command.ids();
    let appended = match turn {
        None => command.application().settle_new(append, ids).await,
        Some(turn) => {
            let application = command.application().clone();
            match turn.take(|| async move { application.settle_new(append, ids).await }) {
                Ok(taken) => taken.await,
                Err(other) => {
                    other.await;
                    return Ok(Attempt::Again);
                }
            }
        }
    };
    Ok(conclude(command, kept, last, appended).await?)
}

/// Reads and decides. A refusal, and a decision without events, is returned only for the newest
/// state, and only if the command's id was looked up after that was read: the command may have
/// nothing to do because a duplicate of it was already recorded.
async fn decided<C: Command>(
    command: &mut C,
    need: Need,
) -> Result<DecidedEvents<C::Event>, ExecuteError<C::Refusal>> {
    let mut is_newest = command.read(need).await?;
    let mut is_looked_up = command.named().is_none();
    loop {
        let is_final = is_newest && is_looked_up;
        match command.decide() {
            Ok(events) if !events.is_empty() => return Ok(DecidedEvents::Events(events)),
            Ok(_) if is_final => {
                let (stream, version) = command.about();
                return Ok(DecidedEvents::Nothing(Recorded::nothing(stream, version)));
            }
            Err(ExecuteError::Refused(refusal)) if is_final => {
                telemetry::count(telemetry::REFUSALS);
                return Err(ExecuteError::Refused(refusal));
            }
            Err(ExecuteError::Retold(error)) => return Err(error.into()),
            Ok(_) | Err(ExecuteError::Refused(_)) => {}
        }
        if is_newest {
            if let Some(repeated) = repeated(command).await? {
                return Ok(DecidedEvents::Nothing(repeated));
            }
            is_looked_up = true;
        } else {
            is_newest = command.read(Need::One).await?;
        }
    }
}

/// Returns what followed from the recorder's answer to an append whose last event has the id
/// `last`. If the events were recorded now, the command remembers them.
pub(super) async fn conclude<C: Command>(
    command: &mut C,
    kept: C::Kept,
    last: Option<EventId>,
    appended: Result<Appended>,
) -> Result<Attempt> {
    let is_known = matches!(
        &appended,
        Ok(Appended::Repeated(_)) | Err(Error::Conflict(Conflict::EventId { .. }))
    );
    if is_known && let Some(id) = command.named().map(|named| named.id.clone()) {
        let before = repeated(command).await?;
        let before = before.ok_or_else(|| unfound(&id, "first"))?;
        return Ok(Attempt::Done(before));
    }
    let positions = match appended {
        Err(Error::Conflict(conflict)) => return Ok(Attempt::Conflict(conflict)),
        appended => appended?.positions(),
    };
    let checkpoint = |(position, event_id)| Checkpoint { position, event_id };
    let checkpoint = positions.last().zip(last).map(checkpoint);
    command.remember(kept, positions, checkpoint).await;
    let (stream, version) = command.about();
    Ok(Attempt::Done(Recorded {
        stream,
        version,
        positions,
        checkpoint,
        outcome: Outcome::Recorded,
    }))
}

/// Returns what was recorded under the command's id, if anything: it must be this command.
async fn repeated<C: Command>(command: &mut C) -> Result<Option<Recorded>> {
    let Some(Named { id, scope }) = command.named() else {
        return Ok(None);
    };
    let recorder = &command.application().core.recorder;
    let Some(first) = recorder.event(id.event_id(0)).await? else {
        return Ok(None);
    };
    scope.check(id, &first)?;
    let count = u64::from(first.place().count);
    let last = match count {
        1 => Some(first.clone()),
        _ => recorder.event(id.event_id(count - 1)).await?,
    };
    let last = last.ok_or_else(|| unfound(id, "last"))?;
    let id = id.clone();
    if !command.recognize(&first) {
        return Err(reused(&id, &first, None));
    }
    telemetry::count(telemetry::REPEATS);
    let (stream, _) = command.about();
    let version = match stream.as_deref() == last.stream() {
        true => last.version(),
        false => None,
    };
    Ok(Some(Recorded {
        stream,
        version,
        positions: Positions::new(first.position(), count),
        checkpoint: Some(last.checkpoint()),
        outcome: Outcome::Repeated,
    }))
}

/// The error for a command of which only some events are found by their ids: one append recorded
/// all of them.
fn unfound(id: &CommandId, which: &str) -> Error {
    let what = format!("events of it are recorded, but its {which} event is not found by its id");
    Corrupt::new(format!("command {:?}", id.as_str()), what).into()
}
