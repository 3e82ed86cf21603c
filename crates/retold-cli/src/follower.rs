//! `retold follower`: lists followers and acts on them. An action is an event in the log of the
//! follower's application.
//!
//! Each action first looks, with the store opened for reading only, and refuses names that do not
//! exist, so that a mistyped name creates no file and no log. It then opens the store for writing
//! and acts through [`FollowerOperator`]. [`list`] shows followers, [`reset`] and [`partition`]
//! have their own options, and [`report`] prints the result of every action.

pub(crate) mod list;
mod report;

mod partition;
mod reset;

use std::sync::Arc;

use clap::builder::NonEmptyStringValueParser;
use retold::prelude::Application;
use retold::recording::{LogId, Position, Store};
use retold::system::{FollowerOperator, FollowerRecord, Parked};

use crate::failure::{CommandFailure, CommandVerdict};
use crate::opening;
use crate::output::Output;
use report::{Action, ActionReport};

/// List followers, or act on one: pause, resume, skip, partition, reset, retire.
///
/// An action is an event in the log of the follower's application. Any program that can write to
/// the store can act, from any machine. Processes that run the follower notice the action.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true, after_help = AFTER_HELP)]
pub(crate) struct FollowerArguments {
    #[command(subcommand)]
    command: FollowerCommand,
}

const AFTER_HELP: &str = "\
Examples:
  retold follower list URL
  retold follower list URL --parked
  retold follower pause URL aircraft movements --reason maintenance
  retold follower resume URL aircraft movements
  retold follower skip URL aircraft movements flights 815 --reason typo
  retold follower partition URL aircraft movements 4
  retold follower reset URL notices risks --after flights=9000 --yes
  retold follower retire URL notices risks --reason \"no more mail\"";

#[derive(Debug, clap::Subcommand)]
enum FollowerCommand {
    List(list::FollowerListArguments),
    Pause(Pause),
    Resume(Resume),
    Skip(Skip),
    Partition(partition::Partition),
    Reset(reset::Reset),
    Retire(Retire),
}

/// The follower to act on.
#[derive(Debug, clap::Args)]
struct FollowerTarget {
    /// The store, for example sqlite:flights.db
    url: String,
    /// The name of the log of the follower's application
    log: String,
    /// The name of the follower
    name: String,
}

/// Pause a follower: it records nothing more until it is resumed.
#[derive(Debug, clap::Args)]
struct Pause {
    #[command(flatten)]
    target: FollowerTarget,
    /// Why; the status of the follower shows it
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    reason: String,
}

/// Retire a follower that was removed from the programs: it records nothing more and is listed as
/// retired.
///
/// A program that still declares the follower is refused when it starts. `retold follower resume`
/// undoes this.
#[derive(Debug, clap::Args)]
struct Retire {
    #[command(flatten)]
    target: FollowerTarget,
    /// Why; the status of the follower shows it
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    reason: String,
}

/// Resume a follower that is paused or retired, and retry its parked events.
///
/// A parked event whose policy fails again stays parked, and so do the events that it holds back.
#[derive(Debug, clap::Args)]
struct Resume {
    #[command(flatten)]
    target: FollowerTarget,
}

/// Skip a parked event: the follower will never process it.
///
/// Later events of its stream that it held back stay parked until `retold follower resume`.
#[derive(Debug, clap::Args)]
struct Skip {
    #[command(flatten)]
    target: FollowerTarget,
    /// The log of the event: its name or its id
    upstream: String,
    /// The position of the event in that log
    #[arg(value_parser = position)]
    position: Position,
    /// Why; it is recorded with the action
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    reason: String,
}

fn position(text: &str) -> Result<Position, String> {
    let number = text.parse().map_err(|_| "a position is a number")?;
    Ok(Position::new(number).ok_or("positions count from 1")?)
}

pub(crate) async fn run(
    arguments: FollowerArguments,
    output: &mut Output,
) -> Result<CommandVerdict, CommandFailure> {
    let report = match &arguments.command {
        FollowerCommand::List(list) => return list.run(output).await,
        FollowerCommand::Pause(pause) => pause.act().await,
        FollowerCommand::Resume(resume) => resume.act().await,
        FollowerCommand::Skip(skip) => skip.act().await,
        FollowerCommand::Partition(partition) => partition.act().await,
        FollowerCommand::Reset(reset) => reset.act().await,
        FollowerCommand::Retire(retire) => retire.act().await,
    }?;
    output.report(&report)?;
    Ok(CommandVerdict::Fine)
}

/// What an action looks at before it is recorded.
struct Looked {
    /// Opened for reading only.
    store: Arc<dyn Store>,
    record: FollowerRecord,
}

impl FollowerTarget {
    /// Finds the follower. Refuses names that do not exist.
    async fn look(&self) -> Result<Looked, CommandFailure> {
        let store = opening::store(&self.url).await?;
        opening::log(&*store, &self.url, &self.log).await?;
        let application = opening::application(&store, &self.log).await?;
        let follower = opening::follower(&application, &self.name).await?;
        let record = follower.record().await?;
        Ok(Looked { store, record })
    }

    /// Opens the follower for actions. It must exist.
    async fn for_writing(&self) -> Result<FollowerOperator, CommandFailure> {
        let store = opening::writable(&self.url).await?;
        let application = Application::builder(&*self.log).store(store).open().await?;
        Ok(FollowerOperator::new(&application, &*self.name))
    }

    /// Returns the name that messages use.
    fn text(&self) -> String {
        format!("{} of {}", self.name, self.log)
    }

    fn report(&self, is_recorded: bool, action: Action) -> ActionReport {
        let url = opening::shown(&self.url);
        ActionReport::new(&url, &self.log, &self.name, is_recorded, action)
    }
}

impl Pause {
    async fn act(&self) -> Result<ActionReport, CommandFailure> {
        self.target.look().await?;
        let follower = self.target.for_writing().await?;
        let is_recorded = follower.pause(&self.reason).await?;
        let paused = follower.record().await?.paused;
        Ok(self.target.report(is_recorded, Action::Pause { paused }))
    }
}

impl Retire {
    async fn act(&self) -> Result<ActionReport, CommandFailure> {
        self.target.look().await?;
        let follower = self.target.for_writing().await?;
        let is_recorded = follower.retire(&self.reason).await?;
        let retired = follower.record().await?.retired;
        Ok(self.target.report(is_recorded, Action::Retire { retired }))
    }
}

impl Resume {
    async fn act(&self) -> Result<ActionReport, CommandFailure> {
        self.target.look().await?;
        let follower = self.target.for_writing().await?;
        let before = follower.record().await?;
        let is_recorded = follower.resume().await?;
        let action = Action::Resume {
            was_paused: before.paused,
            was_retired: before.retired,
            parked: before.parked.len(),
        };
        Ok(self.target.report(is_recorded, action))
    }
}

impl Skip {
    async fn act(&self) -> Result<ActionReport, CommandFailure> {
        let looked = self.target.look().await?;
        let log = self.upstream(&looked.record)?;
        let Some(parked) = looked.record.parked.get(&(log, self.position)) else {
            return Err(self.not_parked(&looked.record, log));
        };
        let follower = self.target.for_writing().await?;
        follower.skip(log, self.position, &self.reason).await?;
        let after = follower.record().await?;
        let is_held_back = |it: &&Parked| it.log == log && it.stream == parked.stream;
        let held_back = match parked.stream {
            Some(_) => after.parked.values().filter(is_held_back).count(),
            None => 0,
        };
        let action = Action::Skip {
            upstream: parked.upstream.clone(),
            position: self.position,
            event_id: parked.event.event_id,
            stream: parked.stream.clone(),
            held_back,
        };
        Ok(self.target.report(true, action))
    }

    /// Returns the followed log that the argument names.
    fn upstream(&self, record: &FollowerRecord) -> Result<LogId, CommandFailure> {
        let mut starts = record.starts.values();
        let is_named = |name: &str, log: LogId| {
            name == self.upstream || self.upstream.parse().is_ok_and(|id: LogId| id == log)
        };
        let found = starts.find(|start| is_named(&start.upstream, start.log));
        found.map(|start| start.log).ok_or_else(|| {
            let names = opening::listed(record.starts.keys().map(String::as_str));
            CommandFailure::Failed(format!(
                "{} does not follow {:?}; it follows: {names}",
                self.target.text(),
                self.upstream
            ))
        })
    }

    fn not_parked(&self, record: &FollowerRecord, log: LogId) -> CommandFailure {
        let parked = record.parked.keys().filter(|(it, _)| *it == log);
        let parked: Vec<String> = parked.map(|(_, position)| position.to_string()).collect();
        let there_are = match parked.is_empty() {
            true => "it has parked no events of this log".to_owned(),
            false => format!(
                "its parked events are: {}",
                opening::listed(parked.iter().map(String::as_str))
            ),
        };
        CommandFailure::Failed(format!(
            "{} has not parked the event at {} of {}; {there_are}",
            self.target.text(),
            self.position,
            self.upstream
        ))
    }
}
