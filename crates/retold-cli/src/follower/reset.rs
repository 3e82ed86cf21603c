//! `retold follower reset`: a follower begins anew, as a generation of its own.

use retold::recording::identity::{LogId, Mark, Position};
use retold::recording::recorder::LogRead;
use retold::recording::store::LogEntry;
use retold::system::StartingMark;
use serde::Serialize;
use serde_json::json;

use super::{Looked, Which, notice_by_themselves};
use crate::failure::Failure;
use crate::opening;
use crate::output::{Output, one_line};

/// Lets a follower begin anew: from the first event of each log that it follows, unless said otherwise.
///
/// It becomes a new generation, with stretches of its own. What the former generation recorded stays in
/// the log, and what the new one answers again is recorded again, with other ids: a reset is for
/// followers whose effects may be repeated, and for logs that were replaced, cut or restored. What was
/// parked is parked no more; what is paused stays paused. Aggregates of the application keep what the
/// former generation did to them.
///
/// Without --yes nothing is done but telling what would be.
#[derive(Debug, clap::Args)]
pub(super) struct Reset {
    #[command(flatten)]
    which: Which,
    /// Begins with what is recorded after this reset
    #[arg(long, conflicts_with = "after")]
    from_now: bool,
    /// Begins with what follows this position of that log; 0 is its beginning
    #[arg(long, value_name = "UPSTREAM=POSITION", value_parser = place)]
    after: Vec<(String, u64)>,
    /// Does it
    #[arg(long)]
    yes: bool,
}

fn place(text: &str) -> Result<(String, u64), String> {
    let form = "write the name of the log, `=` and a position, as in flights=9000";
    let (upstream, position) = text.rsplit_once('=').ok_or(form)?;
    let position = position.parse().map_err(|_| form)?;
    Ok((upstream.to_owned(), position))
}

/// Where the new generation begins in one log.
#[derive(Debug, Serialize)]
struct Beginning {
    upstream: String,
    log: LogId,
    #[serde(skip)]
    mark: Option<Mark>,
    after: u64,
    /// How many events of the log follow; none if it is not in this store.
    events: Option<u64>,
    /// Whether another log had the name when the follower began.
    is_replaced: bool,
}

impl Beginning {
    fn text(&self) -> String {
        let Self {
            upstream, after, ..
        } = self;
        let from = match after {
            0 => "from its first event".to_owned(),
            after => format!("after {after}"),
        };
        let events = match self.events {
            Some(count) => format!("{count} events there are now"),
            None => "it is not in this store".to_owned(),
        };
        let replaced = match self.is_replaced {
            true => format!("; the log was replaced, and is {} now", self.log),
            false => String::new(),
        };
        format!("  {upstream}: {from}, {events}{replaced}")
    }
}

impl Reset {
    pub(super) async fn act(&self, output: &mut Output) -> Result<(), Failure> {
        let which = &self.which;
        let looked = which.look().await?;
        let beginnings = self.beginnings(&looked).await?;
        let texts: Vec<String> = beginnings.iter().map(Beginning::text).collect();
        if !self.yes {
            return Err(Failure::Usage(format!(
                "a reset cannot be taken back; say --yes to do it. {} would begin anew, as generation {}:\n{}\n\
                 What was recorded stays, and what is answered again is recorded again, with other ids.",
                which.text(),
                looked.record.generation + 1,
                texts.join("\n")
            )));
        }
        let starts: Vec<StartingMark> = beginnings
            .iter()
            .map(|it| StartingMark::new(&*it.upstream, it.log, it.mark))
            .collect();
        let follower = which.for_writing().await?;
        follower.reset(&starts).await?;
        let record = follower.record().await?;
        if output.is_json() {
            return output.object(&json!({
                "act": "reset", "log": which.log, "follower": which.name, "recorded": true,
                "generation": record.generation, "starts": beginnings, "paused": record.paused,
            }));
        }
        output.line(&format!(
            "{} begins anew, as generation {}:",
            which.text(),
            record.generation
        ))?;
        texts.iter().try_for_each(|text| output.line(text))?;
        if let Some(reason) = &record.paused {
            output.line(&format!(
                "It stays paused until `{}`: {}",
                which.resume_command(),
                one_line(reason)
            ))?;
        }
        notice_by_themselves(output)
    }

    async fn beginnings(&self, looked: &Looked) -> Result<Vec<Beginning>, Failure> {
        let followed = &looked.record.starts;
        for (index, (upstream, _)) in self.after.iter().enumerate() {
            if !followed.contains_key(upstream) {
                let names = opening::listed(followed.keys().map(String::as_str));
                return Err(Failure::Failed(format!(
                    "{} does not follow {upstream:?}; it follows: {names}",
                    self.which.text()
                )));
            }
            let before = &self.after[..index];
            if before.iter().any(|(it, _)| it == upstream) {
                return Err(Failure::Usage(format!(
                    "--after names {upstream} twice; say once where to begin"
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
        start: &StartingMark,
    ) -> Result<Beginning, Failure> {
        let upstream = start.upstream.clone();
        let asked = self.after.iter().find(|(it, _)| *it == upstream);
        let asked = asked.map(|(_, position)| *position);
        // A log of this id is the one that was followed, whatever else has its name.
        let same = logs.iter().find(|log| log.id == start.log);
        let Some(entry) = same.or_else(|| logs.iter().find(|log| *log.name == *upstream)) else {
            if self.from_now || asked.is_some_and(|position| position > 0) {
                return Err(Failure::Failed(format!(
                    "the log {upstream:?} is not in {}, so what it has is not known here; without --from-now and --after it is followed from its first event",
                    opening::shown(&self.which.url)
                )));
            }
            return Ok(Beginning {
                upstream,
                log: start.log,
                mark: None,
                after: 0,
                events: None,
                is_replaced: false,
            });
        };
        let recorder = looked.store.open_read_only(&entry.name).await?;
        let head = recorder.head().await?.mark;
        let end = Position::number(head.map(|mark| mark.position));
        let mark = match asked.and_then(Position::new) {
            None if self.from_now => head,
            None => None,
            Some(position) if position.get() > end => {
                return Err(Failure::Failed(format!(
                    "the log {upstream:?} ends at {end}, so nothing follows {position}; --from-now begins at its end"
                )));
            }
            Some(position) => {
                let before = Position::new(position.get() - 1);
                let read = LogRead::new().after(before).limit(1);
                let page = recorder.read_log(read).await?;
                page.events.first().map(|event| event.mark())
            }
        };
        let after = Position::number(mark.map(|mark| mark.position));
        Ok(Beginning {
            upstream,
            log: entry.id,
            mark,
            after,
            events: Some(end - after),
            is_replaced: entry.id != start.log,
        })
    }
}
