//! `retold erase`: erases one event, or a stream up to a version.

use retold::recording::Version;

use super::{
    Amending, AmendingAction, AmendingReport, AmendingTarget, NamedEvent, Parts, described, event,
    named_event, with_progress,
};
use crate::failure::{CommandFailure, CommandVerdict};
use crate::output::{Output, counted};

/// Erase the payload of an event, or of the events of a stream.
///
/// Position, version, topic, time and origin remain. Snapshots of the stream are dropped, and every
/// process folds its aggregates again. An aggregate with an erased event can be loaded only if the
/// type of the event declares what to do without it. An event with the topic retold.erased records
/// who did it and why.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct EraseArguments {
    #[command(flatten)]
    target: AmendingTarget,
    /// The event: its position or its id
    #[arg(long, value_parser = named_event, required_unless_present = "stream")]
    event: Option<NamedEvent>,
    /// The stream
    #[arg(long, conflicts_with = "event")]
    stream: Option<String>,
    /// Erase the stream up to and including this version; without it, all of it
    #[arg(long, requires = "stream", value_name = "VERSION", value_parser = version)]
    until: Option<Version>,
    #[command(flatten)]
    parts: Parts,
    #[command(flatten)]
    amending: Amending,
}

const EXAMPLES: &str = "\
Examples:
  retold erase sqlite:shop.db orders --event 815 --reason \"request 4711\"
  retold erase sqlite:shop.db orders --stream Order/17 --until 20 --reason gdpr";

fn version(text: &str) -> Result<Version, String> {
    let number = text.parse().map_err(|_| "a version is a number")?;
    Ok(Version::new(number).ok_or("versions count from 1")?)
}

pub(crate) async fn run(
    arguments: EraseArguments,
    output: &mut Output,
) -> Result<CommandVerdict, CommandFailure> {
    match (&arguments.event, &arguments.stream) {
        (Some(event), _) => erase_event(&arguments, event, output).await,
        (None, Some(stream)) => erase_stream(&arguments, stream, output).await,
        (None, None) => Err(CommandFailure::Usage("give --event or --stream".into())),
    }
}

async fn erase_event(
    arguments: &EraseArguments,
    named: &NamedEvent,
    output: &mut Output,
) -> Result<CommandVerdict, CommandFailure> {
    let (target, amending) = (&arguments.target, &arguments.amending);
    let parts = arguments.parts.erased();
    let found = event(&*target.look().await?, &target.log, named).await?;
    let reading = amending
        .amender(&target.for_reading().await?)?
        .dry_run(true);
    let planned = reading.erase_event(found.id(), parts).await?;
    let report = |amended| {
        AmendingReport::new(AmendingAction::Erase, target, amended)
            .stream(found.stream())
            .event(found.id())
    };
    let what = format!("{} of {} will be erased.", described(&found), target.log);
    if !amending.is_confirmed(&what)? {
        output.report(&report(planned))?;
        return Ok(CommandVerdict::Fine);
    }
    let (store, application) = target.for_writing().await?;
    let amended = amending
        .amender(&application)?
        .erase_event(found.id(), parts)
        .await?;
    let report = amending.finish(&*store, report(amended)).await?;
    output.report(&report)?;
    Ok(CommandVerdict::Fine)
}

async fn erase_stream(
    arguments: &EraseArguments,
    stream: &str,
    output: &mut Output,
) -> Result<CommandVerdict, CommandFailure> {
    let (target, amending) = (&arguments.target, &arguments.amending);
    let (parts, until) = (arguments.parts.erased(), arguments.until);
    target.look().await?;
    let reading = amending
        .amender(&target.for_reading().await?)?
        .dry_run(true);
    let planned = reading.erase_stream(stream, until, parts).await?;
    let report =
        |amended| AmendingReport::new(AmendingAction::Erase, target, amended).stream(Some(stream));
    let what = format!(
        "{} of the stream {stream} of {} will be erased.",
        counted(planned.events, "event", "events"),
        target.log
    );
    if !amending.is_confirmed(&what)? {
        output.report(&report(planned))?;
        return Ok(CommandVerdict::Fine);
    }
    let (store, application) = target.for_writing().await?;
    let amender = with_progress(amending.amender(&application)?);
    let amended = amender.erase_stream(stream, until, parts).await?;
    let report = report(amended).dry_run(false);
    let report = amending.finish(&*store, report).await?;
    output.report(&report)?;
    Ok(CommandVerdict::Fine)
}
