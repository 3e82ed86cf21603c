//! `retold follower`: acts on one follower, recorded in its application's log.
//!
//! Each act looks first, with the store opened for reading only, and refuses what is not there; so that
//! no file and no log is made by a mistyped name. Then it opens the store for writing and acts by
//! [`FollowerOperator`]. What a reset begins with is worked out in [`reset`]; how a follower is split is asked for in
//! [`partition`].

mod partition;
mod reset;

use std::sync::Arc;

use clap::builder::NonEmptyStringValueParser;
use retold::prelude::Application;
use retold::recording::identity::{LogId, Position};
use retold::recording::store::Store;
use retold::system::{FollowerOperator, FollowerRecord, Parked};
use serde_json::json;

use crate::failure::{Failure, Verdict};
use crate::opening;
use crate::output::{Output, one_line};

/// Acts on a follower: pauses it, lets it go on, skips what it parked, splits it, lets it begin anew, retires it.
///
/// An act is an event in the log of the follower's application, so whoever can write to the store can
/// act, from anywhere. Processes that run the follower notice by themselves.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true, after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    act: Act,
}

const AFTER_HELP: &str = "\
`retold followers URL` lists them, `retold followers URL --parked` what they have parked.

Examples:
  retold follower pause sqlite:flights.db aircraft movements --reason maintenance
  retold follower resume sqlite:flights.db aircraft movements
  retold follower skip sqlite:flights.db aircraft movements flights 815 --reason \"no such tail\"
  retold follower partition sqlite:flights.db aircraft movements 4
  retold follower reset sqlite:flights.db notices risks --after flights=9000 --yes
  retold follower retire sqlite:flights.db notices risks --reason \"the mailing was ended\"";

#[derive(Debug, clap::Subcommand)]
enum Act {
    Pause(Pause),
    Resume(Resume),
    Retire(Retire),
    Skip(Skip),
    Partition(partition::Partition),
    Reset(reset::Reset),
}

/// Which follower.
#[derive(Debug, clap::Args)]
struct Which {
    /// The store, as in sqlite:flights.db
    url: String,
    /// The log of the follower's application, by its name
    log: String,
    /// The follower, by its name
    name: String,
}

/// Pauses a follower: it records nothing more until it is let go on.
#[derive(Debug, clap::Args)]
struct Pause {
    #[command(flatten)]
    which: Which,
    /// Why, for whoever finds it paused
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    reason: String,
}

/// Retires a follower that was removed from the programs: it records nothing more, and is listed as retired.
///
/// A program that still declares it is refused when it starts. `retold follower resume` takes it back.
#[derive(Debug, clap::Args)]
struct Retire {
    #[command(flatten)]
    which: Which,
    /// Why, for whoever looks for it
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    reason: String,
}

/// Lets a follower go on that is paused or retired, and answer once more what it has parked.
///
/// A parked event whose policy fails again stays parked, and what it holds back with it.
#[derive(Debug, clap::Args)]
struct Resume {
    #[command(flatten)]
    which: Which,
}

/// Decides that a parked event is not to be answered.
///
/// Later events of its stream that were held back by it stay parked until the follower is let go on,
/// by `retold follower resume`.
#[derive(Debug, clap::Args)]
struct Skip {
    #[command(flatten)]
    which: Which,
    /// The log that the event is in: its name or its id
    upstream: String,
    /// The position of the event in that log
    #[arg(value_parser = position)]
    position: Position,
    /// Why, for whoever misses its effects
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    reason: String,
}

fn position(text: &str) -> Result<Position, String> {
    let number = text.parse().map_err(|_| "a position is a number")?;
    Ok(Position::new(number).ok_or("positions count from 1")?)
}

pub(crate) async fn run(arguments: Arguments, output: &mut Output) -> Result<Verdict, Failure> {
    match &arguments.act {
        Act::Pause(pause) => pause.act(output).await,
        Act::Resume(resume) => resume.act(output).await,
        Act::Retire(retire) => retire.act(output).await,
        Act::Skip(skip) => skip.act(output).await,
        Act::Partition(partition) => partition.act(output).await,
        Act::Reset(reset) => reset.act(output).await,
    }?;
    Ok(Verdict::Fine)
}

/// What an act looks at before it is done.
struct Looked {
    /// Opened for reading only.
    store: Arc<dyn Store>,
    record: FollowerRecord,
}

impl Which {
    /// Finds the follower; refuses what is not there.
    async fn look(&self) -> Result<Looked, Failure> {
        let store = opening::store(&self.url).await?;
        opening::log(&*store, &self.url, &self.log).await?;
        let application = opening::application(&store, &self.log).await?;
        let follower = opening::follower(&application, &self.name).await?;
        let record = follower.record().await?;
        Ok(Looked { store, record })
    }

    /// The follower, which was found, for acts that are recorded.
    async fn for_writing(&self) -> Result<FollowerOperator, Failure> {
        let store = opening::writable(&self.url).await?;
        let application = Application::builder(&*self.log).store(store).open().await?;
        Ok(FollowerOperator::new(&application, &*self.name))
    }

    /// How people call it.
    fn text(&self) -> String {
        format!("{} of {}", self.name, self.log)
    }

    /// What it takes to let it go on.
    fn resume_command(&self) -> String {
        let Self { url, log, name } = self;
        let url = opening::shown(url);
        format!("retold follower resume {url} {log} {name}")
    }
}

/// Tells of an act that was recorded.
fn notice_by_themselves(output: &mut Output) -> Result<(), Failure> {
    output.line("Processes that run it notice by themselves; if none does, it counts from the next start on.")
}

impl Pause {
    async fn act(&self, output: &mut Output) -> Result<(), Failure> {
        let which = &self.which;
        which.look().await?;
        let follower = which.for_writing().await?;
        let before = follower.record().await?;
        follower.pause(&self.reason).await?;
        let after = follower.record().await?;
        let is_recorded = after.version != before.version;
        if output.is_json() {
            return output.object(&json!({
                "act": "pause", "log": which.log, "follower": which.name,
                "recorded": is_recorded, "paused": after.paused,
            }));
        }
        if !is_recorded {
            let reason = one_line(after.paused.as_deref().unwrap_or_default());
            return output.line(&format!(
                "{} is paused already: {reason}. Nothing was recorded.",
                which.text()
            ));
        }
        output.line(&format!(
            "{} is paused. It records nothing more until `{}`.",
            which.text(),
            which.resume_command()
        ))?;
        notice_by_themselves(output)
    }
}

impl Retire {
    async fn act(&self, output: &mut Output) -> Result<(), Failure> {
        let which = &self.which;
        which.look().await?;
        let follower = which.for_writing().await?;
        let is_recorded = follower.retire(&self.reason).await?;
        let after = follower.record().await?;
        if output.is_json() {
            return output.object(&json!({
                "act": "retire", "log": which.log, "follower": which.name,
                "recorded": is_recorded, "retired": after.retired,
            }));
        }
        if !is_recorded {
            let reason = one_line(after.retired.as_deref().unwrap_or_default());
            return output.line(&format!(
                "{} is retired already: {reason}. Nothing was recorded.",
                which.text()
            ));
        }
        output.line(&format!(
            "{} is retired. A program that declares it is refused; `{}` takes that back.",
            which.text(),
            which.resume_command()
        ))?;
        notice_by_themselves(output)
    }
}

impl Resume {
    async fn act(&self, output: &mut Output) -> Result<(), Failure> {
        let which = &self.which;
        which.look().await?;
        let follower = which.for_writing().await?;
        let before = follower.record().await?;
        follower.resume().await?;
        let after = follower.record().await?;
        let is_recorded = after.version != before.version;
        if output.is_json() {
            return output.object(&json!({
                "act": "resume", "log": which.log, "follower": which.name,
                "recorded": is_recorded, "was_paused": before.paused,
                "was_retired": before.retired, "parked": before.parked.len(),
            }));
        }
        if !is_recorded {
            return output.line(&format!(
                "{} is not paused, and nothing of it is parked. Nothing was recorded.",
                which.text()
            ));
        }
        output.line(&match (&before.retired, &before.paused) {
            (Some(reason), _) => format!(
                "{} goes on. It was retired: {}",
                which.text(),
                one_line(reason)
            ),
            (None, Some(reason)) => format!(
                "{} goes on. It was paused: {}",
                which.text(),
                one_line(reason)
            ),
            (None, None) => format!("{} goes on.", which.text()),
        })?;
        match before.parked.len() {
            0 => {}
            1 => output.line("It answers the event that it has parked once more.")?,
            count => output.line(&format!(
                "It answers the {count} events that it has parked once more."
            ))?,
        }
        notice_by_themselves(output)
    }
}

impl Skip {
    async fn act(&self, output: &mut Output) -> Result<(), Failure> {
        let which = &self.which;
        let looked = which.look().await?;
        let log = self.upstream(&looked.record)?;
        let Some(parked) = looked.record.parked.get(&(log, self.position)) else {
            return Err(self.not_parked(&looked.record, log));
        };
        let follower = which.for_writing().await?;
        follower.skip(log, self.position, &self.reason).await?;
        let after = follower.record().await?;
        let is_held_back = |it: &&Parked| it.log == log && it.stream == parked.stream;
        let held_back = match parked.stream {
            Some(_) => after.parked.values().filter(is_held_back).count(),
            None => 0,
        };
        if output.is_json() {
            return output.object(&json!({
                "act": "skip", "log": which.log, "follower": which.name, "recorded": true,
                "upstream": parked.upstream, "position": self.position,
                "event_id": parked.event.event_id, "held_back": held_back,
            }));
        }
        output.line(&format!(
            "{} skips the event at {} of {}, {}: it is never answered.",
            which.text(),
            self.position,
            parked.upstream,
            parked.event.event_id
        ))?;
        if held_back > 0 {
            output.line(&format!(
                "{held_back} of its stream {:?} stay parked until `{}`.",
                parked.stream.as_deref().unwrap_or_default(),
                which.resume_command()
            ))?;
        }
        notice_by_themselves(output)
    }

    /// The log that is meant: one that is followed.
    fn upstream(&self, record: &FollowerRecord) -> Result<LogId, Failure> {
        let mut starts = record.starts.values();
        let is_meant = |name: &str, log: LogId| {
            name == self.upstream || self.upstream.parse().is_ok_and(|id: LogId| id == log)
        };
        let found = starts.find(|start| is_meant(&start.upstream, start.log));
        found.map(|start| start.log).ok_or_else(|| {
            let names = opening::listed(record.starts.keys().map(String::as_str));
            Failure::Failed(format!(
                "{} does not follow {:?}; it follows: {names}",
                self.which.text(),
                self.upstream
            ))
        })
    }

    fn not_parked(&self, record: &FollowerRecord, log: LogId) -> Failure {
        let parked = record.parked.keys().filter(|(it, _)| *it == log);
        let parked: Vec<String> = parked.map(|(_, position)| position.to_string()).collect();
        let there_are = match parked.is_empty() {
            true => "nothing of it is parked".to_owned(),
            false => format!(
                "parked are: {}",
                opening::listed(parked.iter().map(String::as_str))
            ),
        };
        Failure::Failed(format!(
            "{} has not parked the event at {} of {}; {there_are}",
            self.which.text(),
            self.position,
            self.upstream
        ))
    }
}
