//! `retold events`: shows the events of a log, and with `--follow` new events as they are recorded.

use std::sync::Arc;

use retold::prelude::{Query, QueryItem};
use retold::recording::{Direction, LogRead, PageEnd, Position, Recorder};

use crate::event_record::EventRecord;
use crate::failure::{CommandFailure, CommandVerdict};
use crate::opening;
use crate::output::{Output, note};

/// Number of events that are read and printed at once.
const PAGE: usize = 1_000;

/// Show the events of a log: all, or those of a stream, a topic or tags.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct EventsArguments {
    /// The store, for example sqlite:flights.db
    url: String,
    /// The name of the log
    log: String,
    /// Only events of this stream; repeat it for events of any of several streams
    #[arg(long)]
    stream: Vec<String>,
    /// Only events of this topic; repeat it for events of any of several topics
    #[arg(long)]
    topic: Vec<String>,
    /// Only events with this tag; repeat it for events with all of several tags
    #[arg(long)]
    tag: Vec<String>,
    /// Only events after this position, in the direction of reading
    #[arg(long, value_name = "POSITION")]
    after: Option<u64>,
    /// Only events up to and including this position
    #[arg(long, value_name = "POSITION", value_parser = clap::value_parser!(u64).range(1..))]
    until: Option<u64>,
    /// At most this many events
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Show the last event first
    #[arg(long)]
    backward: bool,
    /// Then show new events as they are recorded, until Ctrl-C
    #[arg(long, conflicts_with_all = ["until", "backward"])]
    follow: bool,
}

const AFTER_HELP: &str = "\
If --stream, --topic and --tag are combined, events must satisfy all of them.

At a terminal, times have no year, an event without a stream shows its tags, and long names are \
cut at their start. --wide adds the columns ID, VERSION and TAGS and cuts nothing. A pipe gets all \
columns; --header adds their names.

Examples:
  retold events sqlite:flights.db flights --backward --limit 5
  retold events sqlite:flights.db flights --tag carrier:UA --tag origin:EWR
  retold events sqlite:flights.db flights --after 27000 --follow
  retold events sqlite:flights.db flights --header | column -t -s $'\\t'";

impl EventsArguments {
    fn query(&self) -> Query {
        let mut item = QueryItem::new();
        for stream in &self.stream {
            item = item.stream(&**stream);
        }
        for topic in &self.topic {
            item = item.topic(&**topic);
        }
        for tag in &self.tag {
            item = item.tag(&**tag);
        }
        if item == QueryItem::new() {
            Query::All
        } else {
            Query::item(item)
        }
    }

    fn to_read(&self) -> LogRead {
        let mut read = LogRead::of(self.query())
            .after(self.after.and_then(Position::new))
            .until(self.until.and_then(Position::new));
        if self.backward {
            read = read.backward();
        }
        read
    }
}

pub(crate) async fn run(
    arguments: EventsArguments,
    output: &mut Output,
) -> Result<CommandVerdict, CommandFailure> {
    let store = opening::store(&arguments.url).await?;
    let recorder = opening::log(&*store, &arguments.url, &arguments.log).await?;
    let mut reader = EventPages {
        read: arguments.to_read(),
        remaining: arguments.limit.unwrap_or(u64::MAX),
        count: 0,
        recorder,
        output,
    };
    if arguments.follow {
        return follow(reader).await;
    }
    reader.read_to_end().await?;
    if reader.count == 0 {
        note("no event matches");
        refuse_unknown_streams(&*reader.recorder, &arguments).await?;
    }
    Ok(CommandVerdict::Fine)
}

/// Shows the recorded events and then new ones, until Ctrl-C or the limit.
async fn follow(mut reader: EventPages<'_>) -> Result<CommandVerdict, CommandFailure> {
    tokio::select! {
        // Ctrl-C is handled before the first event is shown.
        biased;
        interrupted = tokio::signal::ctrl_c() => interrupted
            .map_err(|error| CommandFailure::Failed(format!("cannot handle Ctrl-C: {error}"))),
        done = reader.follow() => done,
    }?;
    Ok(CommandVerdict::Fine)
}

struct EventPages<'a> {
    recorder: Arc<dyn Recorder>,
    read: LogRead,
    /// Number of events that may still be shown.
    remaining: u64,
    /// Number of events that were shown.
    count: u64,
    output: &'a mut Output,
}

impl EventPages<'_> {
    /// Shows the recorded events and then new ones, until the limit.
    async fn follow(&mut self) -> Result<(), CommandFailure> {
        // The count is from before the read, so no append between the two is missed.
        let mut append_count = self.recorder.head().await?.append_count;
        self.read_to_end().await?;
        while self.remaining > 0 {
            append_count = self.recorder.changed_since(append_count).await?;
            self.read_to_end().await?;
        }
        Ok(())
    }

    /// Shows the events after the last read, page by page.
    async fn read_to_end(&mut self) -> Result<(), CommandFailure> {
        while self.remaining > 0 {
            let limit = usize::try_from(self.remaining).unwrap_or(PAGE).min(PAGE);
            let page = self
                .recorder
                .read_log(self.read.clone().limit(limit))
                .await?;
            let records: Vec<EventRecord<'_>> = page.events.iter().map(EventRecord).collect();
            if !records.is_empty() {
                self.output.records(&records)?;
            }
            self.remaining -= page.events.len() as u64;
            self.count += page.events.len() as u64;
            let last = page.events.last().map(|event| event.checkpoint());
            let checkpoint = match self.read.direction {
                // `--after` may name a position that is not recorded yet.
                Direction::Forward => page
                    .read_to
                    .filter(|it| Some(it.position) >= self.read.after),
                Direction::Backward => last,
            };
            if checkpoint.is_some() {
                self.read = self.read.clone().after_checkpoint(checkpoint);
            }
            if page.end == PageEnd::Complete {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Explains an empty result if a stream of the query does not exist.
async fn refuse_unknown_streams(
    recorder: &dyn Recorder,
    arguments: &EventsArguments,
) -> Result<(), CommandFailure> {
    for stream in &arguments.stream {
        let found = recorder.streams(stream, None, 1).await?;
        if found.first().is_none_or(|entry| *entry.name != **stream) {
            let EventsArguments { url, log, .. } = arguments;
            let url = opening::shown(url);
            return Err(CommandFailure::Failed(format!(
                "there is no stream {stream:?} in the log {log:?}; `retold streams {url} {log}` \
                 lists its streams"
            )));
        }
    }
    Ok(())
}
