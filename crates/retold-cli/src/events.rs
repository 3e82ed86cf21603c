//! `retold events`: the events of a log, those there are and those to come.

use std::sync::Arc;

use retold::prelude::{Query, QueryItem};
use retold::recording::identity::Position;
use retold::recording::recorder::{Direction, LogRead, PageEnd, Recorder};

use crate::event_record::EventRecord;
use crate::failure::{Failure, Verdict};
use crate::opening;
use crate::output::{Output, note};

/// Events that are read and printed at once.
const PAGE: usize = 1_000;

/// Shows the events of a log: all, or those of a stream, a topic, tags; then those to come.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// The store, as in sqlite:flights.db
    url: String,
    /// The log, by its name
    log: String,
    /// Only events of this stream; of several, events of any
    #[arg(long)]
    stream: Vec<String>,
    /// Only events of this topic; of several, events of any
    #[arg(long)]
    topic: Vec<String>,
    /// Only events with this tag; of several, events with all
    #[arg(long)]
    tag: Vec<String>,
    /// Only events after this position, in the direction of reading
    #[arg(long, value_name = "POSITION")]
    after: Option<u64>,
    /// Only events up to and with this position
    #[arg(long, value_name = "POSITION", value_parser = clap::value_parser!(u64).range(1..))]
    until: Option<u64>,
    /// At most this many events
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Last event first
    #[arg(long)]
    backward: bool,
    /// Goes on with events as they are recorded, until Ctrl-C
    #[arg(long, conflicts_with_all = ["until", "backward"])]
    follow: bool,
}

const AFTER_HELP: &str = "\
With --stream, --topic and --tag together, events must satisfy all three.

Examples:
  retold events sqlite:flights.db flights --backward --limit 5       the last five
  retold events sqlite:flights.db flights --tag carrier:UA --tag origin:EWR
  retold events sqlite:flights.db flights --after 27000 --follow";

impl Arguments {
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

    fn read(&self) -> LogRead {
        let mut read = LogRead::of(self.query())
            .after(self.after.and_then(Position::new))
            .until(self.until.and_then(Position::new));
        if self.backward {
            read = read.backward();
        }
        read
    }
}

pub(crate) async fn run(arguments: Arguments, output: &mut Output) -> Result<Verdict, Failure> {
    let store = opening::store(&arguments.url).await?;
    let recorder = opening::log(&*store, &arguments.url, &arguments.log).await?;
    let mut reader = Reader {
        read: arguments.read(),
        left: arguments.limit.unwrap_or(u64::MAX),
        count: 0,
        recorder,
        output,
    };
    if arguments.follow {
        return follow(reader).await;
    }
    reader.read_on().await?;
    if reader.count == 0 {
        note("no event matches");
        refuse_unknown_streams(&*reader.recorder, &arguments).await?;
    }
    Ok(Verdict::Fine)
}

/// Shows what there is and what comes, until Ctrl-C or the limit.
async fn follow(mut reader: Reader<'_>) -> Result<Verdict, Failure> {
    tokio::select! {
        // First Ctrl-C is listened for, then anything is shown: who sees something can end it.
        biased;
        interrupted = tokio::signal::ctrl_c() => interrupted
            .map_err(|error| Failure::Failed(format!("Ctrl-C cannot be waited for: {error}"))),
        done = reader.follow() => done,
    }?;
    Ok(Verdict::Fine)
}

struct Reader<'a> {
    recorder: Arc<dyn Recorder>,
    read: LogRead,
    /// How many events may still be shown.
    left: u64,
    /// How many were shown.
    count: u64,
    output: &'a mut Output,
}

impl Reader<'_> {
    /// Shows what there is and what comes, until the limit.
    async fn follow(&mut self) -> Result<(), Failure> {
        // Taken before reading: whatever is recorded after it is waited for.
        let mut append_count = self.recorder.head().await?.append_count;
        self.read_on().await?;
        while self.left > 0 {
            append_count = self.recorder.changed_since(append_count).await?;
            self.read_on().await?;
        }
        Ok(())
    }

    /// Shows what there is after the last read, page by page.
    async fn read_on(&mut self) -> Result<(), Failure> {
        while self.left > 0 {
            let limit = usize::try_from(self.left).unwrap_or(PAGE).min(PAGE);
            let page = self
                .recorder
                .read_log(self.read.clone().limit(limit))
                .await?;
            let records: Vec<EventRecord<'_>> = page.events.iter().map(EventRecord).collect();
            if !records.is_empty() {
                self.output.records(&records)?;
            }
            self.left -= page.events.len() as u64;
            self.count += page.events.len() as u64;
            let last = page.events.last().map(|event| event.mark());
            let mark = match self.read.direction {
                // A position beyond the head is waited for.
                Direction::Forward => page
                    .read_to
                    .filter(|it| Some(it.position) >= self.read.after),
                Direction::Backward => last,
            };
            if mark.is_some() {
                self.read = self.read.clone().after_mark(mark);
            }
            if page.end == PageEnd::Complete {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Nothing was found: perhaps because a stream is mistyped.
async fn refuse_unknown_streams(
    recorder: &dyn Recorder,
    arguments: &Arguments,
) -> Result<(), Failure> {
    for stream in &arguments.stream {
        let found = recorder.streams(stream, None, 1).await?;
        if found.first().is_none_or(|entry| *entry.name != **stream) {
            let Arguments { url, log, .. } = arguments;
            let url = opening::shown(url);
            return Err(Failure::Failed(format!(
                "there is no stream {stream:?} in the log {log:?}; `retold streams {url} {log}` lists those there are"
            )));
        }
    }
    Ok(())
}
