//! `retold follower reset`: restarts a follower as a new generation.

use retold::recording::{Checkpoint, LogEntry, LogId, LogRead, Position};
use retold::system::StartingCheckpoint;
use serde::Serialize;

use super::report::{Action, ActionReport};
use super::{FollowerTarget, Looked};
use crate::failure::CommandFailure;
use crate::opening;

/// Restart a follower as a new generation, by default from the first event of each log that it
/// follows.
///
/// The effects of the old generation stay in the log. The new generation records its effects under
/// new ids, so an effect may be recorded twice. Reset a follower only if its effects may be
/// repeated, or after a log was replaced, cut or restored. Parked events are no longer parked; a
/// paused follower stays paused.
///
/// Without --yes the command only shows what it would do.
#[derive(Debug, clap::Args)]
pub(super) struct Reset {
    #[command(flatten)]
    target: FollowerTarget,
    /// Start with the events that are recorded after this reset
    #[arg(long, conflicts_with = "after")]
    from_now: bool,
    /// Start after this position of that log; 0 is its beginning
    #[arg(long, value_name = "UPSTREAM=POSITION", value_parser = start)]
    after: Vec<(String, u64)>,
    /// Confirm the reset
    #[arg(long)]
    yes: bool,
}

fn start(text: &str) -> Result<(String, u64), String> {
    let form = "write the name of the log, `=` and a position, for example flights=9000";
    let (upstream, position) = text.rsplit_once('=').ok_or(form)?;
    let position = position.parse().map_err(|_| form)?;
    Ok((upstream.to_owned(), position))
}

/// Where the new generation starts in one log.
#[derive(Debug, Serialize)]
pub(super) struct Beginning {
    upstream: String,
    log: LogId,
    #[serde(skip)]
    checkpoint: Option<Checkpoint>,
    after: u64,
    /// Number of later events in the log; none if the log is not in this store.
    events: Option<u64>,
    /// Whether the follower started with another log of this name.
    is_replaced: bool,
}

impl Beginning {
    /// Returns the line of the report.
    pub(super) fn text(&self) -> String {
        let Self {
            upstream, after, ..
        } = self;
        let from = match after {
            0 => "from its first event".to_owned(),
            after => format!("after {after}"),
        };
        let events = match self.events {
            Some(count) => format!("{count} events to process"),
            None => "the log is not in this store".to_owned(),
        };
        let replaced = match self.is_replaced {
            true => format!("; the log was replaced, its id is now {}", self.log),
            false => String::new(),
        };
        format!("  {upstream}: {from}, {events}{replaced}")
    }
}

impl Reset {
    pub(super) async fn act(&self) -> Result<ActionReport, CommandFailure> {
        let target = &self.target;
        let looked = target.look().await?;
        let beginnings = self.beginnings(&looked).await?;
        if !self.yes {
            let texts: Vec<String> = beginnings.iter().map(Beginning::text).collect();
            return Err(CommandFailure::Usage(format!(
                "a reset cannot be undone; add --yes to do it. {} would start as generation \
                 {}:\n{}\n\
                 The recorded effects stay. Effects of events that are processed again are \
                 recorded again, under new ids.",
                target.text(),
                looked.record.generation + 1,
                texts.join("\n")
            )));
        }
        let starts: Vec<StartingCheckpoint> = beginnings
            .iter()
            .map(|it| StartingCheckpoint::new(&*it.upstream, it.log, it.checkpoint))
            .collect();
        let follower = target.for_writing().await?;
        follower.reset(&starts).await?;
        let record = follower.record().await?;
        let action = Action::Reset {
            generation: record.generation,
            starts: beginnings,
            paused: record.paused,
        };
        Ok(target.report(true, action))
    }

    async fn beginnings(&self, looked: &Looked) -> Result<Vec<Beginning>, CommandFailure> {
        let followed = &looked.record.starts;
        for (index, (upstream, _)) in self.after.iter().enumerate() {
            if !followed.contains_key(upstream) {
                let names = opening::listed(followed.keys().map(String::as_str));
                return Err(CommandFailure::Failed(format!(
                    "{} does not follow {upstream:?}; it follows: {names}",
                    self.target.text()
                )));
            }
            let before = &self.after[..index];
            if before.iter().any(|(it, _)| it == upstream) {
                return Err(CommandFailure::Usage(format!(
                    "--after names {upstream} twice; give one position for each log"
                )));
            }
        }
        let logs = opening::logs(&*looked.store).await?;
        let mut beginnings = Vec::with_capacity(followed.len());
        for start in followed.values() {
            beginnings.push(self.beginning(looked, &logs, start).await?);
        }
        Ok(beginnings)
    }

    async fn beginning(
        &self,
        looked: &Looked,
        logs: &[LogEntry],
        start: &StartingCheckpoint,
    ) -> Result<Beginning, CommandFailure> {
        let upstream = start.upstream.clone();
        let requested = self.after.iter().find(|(it, _)| *it == upstream);
        let requested = requested.map(|(_, position)| *position);
        // The id identifies the followed log, even if another log has its name now.
        let same = logs.iter().find(|log| log.id == start.log);
        let Some(entry) = same.or_else(|| logs.iter().find(|log| *log.name == *upstream)) else {
            if self.from_now || requested.is_some_and(|position| position > 0) {
                return Err(CommandFailure::Failed(format!(
                    "the log {upstream:?} is not in {}, so its positions are unknown; leave out \
                     --from-now and --after to start from its first event",
                    opening::shown(&self.target.url)
                )));
            }
            return Ok(Beginning {
                upstream,
                log: start.log,
                checkpoint: None,
                after: 0,
                events: None,
                is_replaced: false,
            });
        };
        let recorder = looked.store.open_read_only(&entry.name).await?;
        let head = recorder.head().await?.checkpoint;
        let end = Position::number(head.map(|checkpoint| checkpoint.position));
        let checkpoint = match requested.and_then(Position::new) {
            None if self.from_now => head,
            None => None,
            Some(position) if position.get() > end => {
                return Err(CommandFailure::Failed(format!(
                    "the log {upstream:?} ends at {end}, before {position}; use --from-now to \
                     start at its end"
                )));
            }
            Some(position) => {
                let before = Position::new(position.get() - 1);
                let read = LogRead::new().after(before).limit(1);
                let page = recorder.read_log(read).await?;
                page.events.first().map(|event| event.checkpoint())
            }
        };
        let after = Position::number(checkpoint.map(|checkpoint| checkpoint.position));
        Ok(Beginning {
            upstream,
            log: entry.id,
            checkpoint,
            after,
            events: Some(end - after),
            is_replaced: entry.id != start.log,
        })
    }
}
