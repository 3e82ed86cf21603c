//! `retold delete` and `retold reopen`: close a stream and erase its events, and open it again.

use retold::recording::{DELETED_TOPIC, ErasedParts, StoredEvent, StreamRead};

use super::{Amending, AmendingAction, AmendingReport, AmendingTarget, with_progress};
use crate::failure::{CommandFailure, CommandVerdict};
use crate::output::{Output, counted};

/// Delete a stream: erase its events and close it.
///
/// Payloads, tags and metadata of all events of the stream are erased, its snapshots are dropped,
/// and no event is recorded in it until `retold reopen`. Positions, versions, topics and times
/// remain. An event with the topic retold.deleted records who did it and why; followers and
/// projections see it. A command that was interrupted is repeated to delete the rest.
///
/// Views outside the log, backups, replicas and other systems are not reached.
#[derive(Debug, clap::Args)]
#[command(after_help = DELETE_EXAMPLES)]
pub(crate) struct DeleteArguments {
    #[command(flatten)]
    target: AmendingTarget,
    /// The stream
    stream: String,
    /// Keep the tags: queries by tag still find the events
    #[arg(long)]
    keep_tags: bool,
    /// Keep the metadata
    #[arg(long)]
    keep_metadata: bool,
    #[command(flatten)]
    amending: Amending,
}

const DELETE_EXAMPLES: &str = "\
Examples:
  retold delete sqlite:shop.db orders Order/17 --reason \"request 4711\" --dry-run
  retold delete sqlite:shop.db orders Order/17 --reason \"request 4711\" --yes";

/// Reopen a deleted stream: it takes events again, and its versions continue.
#[derive(Debug, clap::Args)]
pub(crate) struct ReopenArguments {
    #[command(flatten)]
    target: AmendingTarget,
    /// The stream
    stream: String,
    #[command(flatten)]
    amending: Amending,
}

/// Returns the last event of a stream.
async fn last(target: &AmendingTarget, stream: &str) -> Result<StoredEvent, CommandFailure> {
    let recorder = target.look().await?;
    let read = StreamRead::new(stream).backward().limit(1);
    let mut page = recorder.read_stream(read).await?;
    page.events.pop().ok_or_else(|| {
        CommandFailure::Failed(format!(
            "the log {:?} has no stream {stream:?}; `retold streams` lists them",
            target.log
        ))
    })
}

pub(crate) async fn delete(
    arguments: DeleteArguments,
    output: &mut Output,
) -> Result<CommandVerdict, CommandFailure> {
    let (target, amending) = (&arguments.target, &arguments.amending);
    let stream = &*arguments.stream;
    last(target, stream).await?;
    let parts = ErasedParts::PAYLOAD
        .tags(!arguments.keep_tags)
        .metadata(!arguments.keep_metadata);
    let reading = amending
        .amender(&target.for_reading().await?)?
        .dry_run(true);
    let planned = reading.delete_stream(stream, parts).await?;
    let what = format!(
        "{} of the stream {stream} of {} will be erased, and the stream will be closed.",
        counted(planned.events, "event", "events"),
        target.log
    );
    let report =
        |amended| AmendingReport::new(AmendingAction::Delete, target, amended).stream(Some(stream));
    if !amending.is_confirmed(&what)? {
        output.report(&report(planned).dry_run(true))?;
        return Ok(CommandVerdict::Fine);
    }
    let (store, application) = target.for_writing().await?;
    let amender = with_progress(amending.amender(&application)?);
    let amended = amender.delete_stream(stream, parts).await?;
    let report = amending
        .finish(&*store, report(amended).dry_run(false))
        .await?;
    output.report(&report)?;
    Ok(CommandVerdict::Fine)
}

pub(crate) async fn reopen(
    arguments: ReopenArguments,
    output: &mut Output,
) -> Result<CommandVerdict, CommandFailure> {
    let (target, amending) = (&arguments.target, &arguments.amending);
    let stream = &*arguments.stream;
    if last(target, stream).await?.topic() != DELETED_TOPIC {
        return Err(CommandFailure::Failed(format!(
            "the stream {stream:?} of {:?} is not deleted",
            target.log
        )));
    }
    let report =
        |amended| AmendingReport::new(AmendingAction::Reopen, target, amended).stream(Some(stream));
    let what = format!(
        "The stream {stream} of {} will take events again.",
        target.log
    );
    if !amending.is_confirmed(&what)? {
        output.report(&report(retold::application::Amended::default()))?;
        return Ok(CommandVerdict::Fine);
    }
    let (_, application) = target.for_writing().await?;
    let amended = amending
        .amender(&application)?
        .reopen_stream(stream)
        .await?;
    output.report(&report(amended))?;
    Ok(CommandVerdict::Fine)
}
