//! The participant: policies that pass each message to the rule that processes it, and the system
//! of all participants.
//!
//! A participant is an application with one follower. The follower follows the logs of all
//! participants, including its own, so an acceptor receives messages from the proposer in the same
//! participant as from any other. The sender of a message is the name of the log it is in. A policy
//! cannot know the name of its own application and does not need to: a ballot names its proposer,
//! so every other participant ignores replies to it.

use std::time::Duration;

use retold::application::{Error, ExecuteError};
use retold::prelude::*;
use retold::recording::Invalid;
use retold::system::{Context, Deadline, Follower, Member, System};

use crate::command::Value;
use crate::electorate::{Candidate, Electorate};
use crate::instance::Instance;
use crate::message::{
    Accepted, Decided, InstanceEvent, Prepared, Promised, Proposed, Refused, RetryDue, Yielded,
};
use crate::replica::{REPLICA, Replica, Submitted};
use crate::slot::{slot_key, slot_of};

/// Number of messages whose effects a follower records together. Messages of one instance often
/// arrive in succession; a larger batch would make conflicts with clients more expensive.
const MESSAGES_PER_APPEND: usize = 20;

/// Builds the system of these participants.
///
/// # Errors
///
/// The errors of [`SystemBuilder::build`](retold::system::SystemBuilder::build).
///
/// ```
/// use retold_paxos::electorate::Electorate;
/// use retold_paxos::participant::system;
///
/// let three = system(Electorate::tolerating(1)?)?;
/// assert_eq!(three.members().len(), 3);
/// # Ok::<(), retold::Error>(())
/// ```
pub fn system(electorate: Electorate) -> Result<System, Invalid> {
    let name = format!("Paxos of {}", electorate.participants());
    let participants = electorate.names().fold(System::new(name), |system, name| {
        system.application(name, |app| participant(app, electorate))
    });
    participants.build()
}

fn participant(app: Member, electorate: Electorate) -> Member {
    app.aggregate::<Instance>()
        .aggregate::<Replica>()
        .event::<RetryDue>()
        .follower(follower(electorate))
}

/// Returns the follower of each participant in this electorate. It follows all participants and
/// processes messages by the rules.
pub fn follower(electorate: Electorate) -> Follower {
    let follower = Follower::new("paxos").batch(MESSAGES_PER_APPEND);
    electorate
        .names()
        .fold(follower, |it, name| it.follows(name))
        .on(hear_prepared)
        .on(hear_promised)
        .on(hear_proposed)
        .on(hear_accepted)
        .on(hear_refused)
        .on(hear_decided)
        .on(hear_retry_due)
        .on(hear_submitted)
}

async fn hear_prepared(prepared: &Prepared, context: &mut Context) -> retold::Result<()> {
    let id = instance(context)?;
    let promised = context.execute_or_create(id, |it: &Instance| it.promise(prepared));
    promised.await?;
    Ok(())
}

async fn hear_promised(promised: &Promised, context: &mut Context) -> retold::Result<()> {
    let (id, acceptor) = (instance(context)?, context.upstream().to_owned());
    let counted =
        context.execute_or_create(id, |it: &Instance| it.count_promise(&acceptor, promised));
    counted.await?;
    Ok(())
}

async fn hear_proposed(proposed: &Proposed, context: &mut Context) -> retold::Result<()> {
    let id = instance(context)?;
    let accepted = context.execute_or_create(id, |it: &Instance| it.accept(proposed));
    accepted.await?;
    Ok(())
}

async fn hear_accepted(accepted: &Accepted, context: &mut Context) -> retold::Result<()> {
    let (id, acceptor) = (instance(context)?, context.upstream().to_owned());
    let counted = context.execute_or_create(&id, |it: &Instance| {
        it.count_acceptance(&acceptor, accepted)
    });
    match counted.await? {
        0 => Ok(()),
        _ => advance(&id, context).await,
    }
}

async fn hear_refused(refused: &Refused, context: &mut Context) -> retold::Result<()> {
    let id = instance(context)?;
    let Some(instance) = context.find(&id).await? else {
        return Ok(());
    };
    let answer = instance.hear_refusal(refused);
    if let Some(InstanceEvent::Yielded(Yielded {
        retry_after_ms: Some(after),
        ..
    })) = answer
    {
        let due = context.time().saturating_add(Duration::from_millis(after));
        let retry_due = RetryDue {
            key: id.key().clone(),
            ballot: refused.ballot,
        };
        context.schedule(Deadline::new(id.key(), due, retry_due))?;
    }
    context.execute(&id, |_| answer).await?;
    Ok(())
}

async fn hear_decided(decided: &Decided, context: &mut Context) -> retold::Result<()> {
    let id = instance(context)?;
    let learnt = context.execute_or_create(&id, |it: &Instance| it.learn(decided));
    match learnt.await? {
        0 => Ok(()),
        _ => advance(&id, context).await,
    }
}

async fn hear_retry_due(due: &RetryDue, context: &mut Context) -> retold::Result<()> {
    let key = due.key.as_str();
    let retried = context.execute_or_create(key, |it: &Instance| it.retry(due));
    retried.await?;
    Ok(())
}

async fn hear_submitted(submitted: &Submitted, context: &mut Context) -> retold::Result<()> {
    let Some(replica) = context.find::<Replica>(REPLICA).await? else {
        return Ok(());
    };
    let Submitted { request, candidate } = submitted;
    if !replica.awaits(request, *candidate) {
        return Ok(());
    }
    let value = Value::from(request.clone());
    propose_from(replica.next_slot(), *candidate, &value, context).await
}

/// Returns the instance that the message belongs to.
fn instance(context: &Context) -> retold::Result<Id<Instance>> {
    context.aggregate().ok_or_else(|| {
        let what =
            "a Paxos message is not in the stream of an instance; no participant recorded it";
        Invalid::new(what.into()).into()
    })
}

/// Continues after an instance may have been decided here: proposes a request that lost its slot
/// for another one, and executes what the replica can execute.
async fn advance(id: &Id<Instance>, context: &mut Context) -> retold::Result<()> {
    let Some(slot) = slot_of(id.key()) else {
        return Ok(());
    };
    let instance = context.get(id).await?;
    let Some(decided) = instance.decided() else {
        return Ok(());
    };
    execute(context).await?;
    if let (Some(wanted), Some(candidate)) = (instance.wanted(), instance.candidate())
        && wanted != decided
    {
        propose_from(slot + 1, candidate, wanted, context).await?;
    }
    Ok(())
}

/// Proposes a request for the first slot, starting from this one, that is not decided and for which
/// this participant has proposed nothing. Each time a request loses a slot, another one has won it,
/// so the number of losses is bounded by the number of other requests.
async fn propose_from(
    first: u64,
    candidate: Candidate,
    value: &Value,
    context: &mut Context,
) -> retold::Result<()> {
    for slot in first.. {
        let id = slot_key(slot);
        let proposed = context.execute_or_create(id, |it: &Instance| it.propose(candidate, value));
        match proposed.await {
            Ok(_) => break,
            Err(ExecuteError::Refused(_)) => {}
            Err(ExecuteError::Retold(error)) => return Err(error),
        }
    }
    Ok(())
}

/// Executes the commands of all decided slots, up to the first undecided one.
async fn execute(context: &mut Context) -> Result<(), Error> {
    loop {
        let replica = context.find::<Replica>(REPLICA).await?.unwrap_or_default();
        let slot = replica.next_slot();
        let instance = context.find::<Instance>(slot_key(slot)).await?;
        let Some(Value::Request(request)) = instance.as_ref().and_then(Instance::decided) else {
            return Ok(());
        };
        let executed = context.execute_or_create(REPLICA, |it: &Replica| it.execute(slot, request));
        executed.await?;
    }
}
