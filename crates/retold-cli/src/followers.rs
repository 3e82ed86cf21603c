//! `retold followers`: how far the followers of a store are, and what they have put aside.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use retold::recording::identity::{EventId, LogId, Mark, Position};
use retold::recording::recorder::LogRead;
use retold::recording::store::{LogEntry, Store};
use retold::runner::ClusterOverview;
use retold::system::{FollowerOperator, Parked, StartingMark, UpstreamStatus};
use serde::Serialize;

use crate::failure::{Failure, Verdict};
use crate::opening;
use crate::output::{Output, Record, note, one_line};
use crate::table::Column;

/// Followers that are read and printed at once.
const PAGE: usize = 100;

/// Lists the followers in a store: how far each is in each log that it follows, whether it is paused,
/// and how much it has parked.
///
/// Whatever is listed is recorded: it is the same from every machine. Of programs that run on one thread
/// nothing is seen; others are known by the leases of what they have.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// The store, as in sqlite:flights.db
    url: String,
    /// Only followers in this log, which is that of their application
    log: Option<String>,
    /// Lists the parked events instead: what failed, and what is held back by it
    #[arg(long)]
    parked: bool,
}

const AFTER_HELP: &str = "\
FOLLOWER has the number of the generation after the name, and then that of the partition, if the
follower is split; PARKED and STATE are of the follower as a whole. LAG is how many events of the followed
log come after the checkpoint, those that do not concern the follower among them; SECONDS is how
long ago the first of them was recorded. Both are unknown (-) if the log is not in this store. A follower that
`no running system knows` was removed from the programs perhaps: `retold follower retire` ends it for good.

Examples:
  retold followers sqlite:flights.db
  retold followers sqlite:flights.db aircraft --json | jq .lag_events
  retold followers sqlite:flights.db --parked

`retold help follower` tells how to pause one, and what to do about parked events.";

/// A follower, or one of its partitions, in one of the logs that it follows.
#[derive(Debug, Serialize)]
pub(crate) struct FollowerRecord {
    pub(crate) log: Arc<str>,
    pub(crate) follower: Arc<str>,
    generation: u64,
    #[serde(flatten)]
    split: Split,
    upstream: String,
    upstream_log: LogId,
    upstream_state: UpstreamState,
    /// 0 before the first event.
    checkpoint: u64,
    head: Option<u64>,
    lag_events: Option<u64>,
    lag_seconds: Option<f64>,
    parked: usize,
    paused: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retired: Option<String>,
    /// Name of the system that it is part of, if that was noted.
    system: Option<String>,
    /// Whether a running system is known to have it.
    is_known: bool,
}

/// Nothing of it is told of a follower that is not split, nor to be.
#[derive(Debug, Serialize)]
struct Split {
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partitions: Option<u32>,
    /// How many there are to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    partitioning: Option<u32>,
}

/// What the running systems on a store are known to have, by their leases.
pub(crate) struct Known(HashSet<(Arc<str>, Vec<Arc<str>>)>);

impl Known {
    pub(crate) fn of(systems: &[ClusterOverview]) -> Self {
        let units = systems.iter().flat_map(|system| &system.units);
        let held = units.filter(|unit| unit.node.is_some());
        // Of a follower that is split each part is a unit, with its number at the end.
        let held = held.map(|unit| {
            let names = match &*unit.kind {
                "follower" => unit.names.iter().take(2).cloned().collect(),
                _ => unit.names.clone(),
            };
            (Arc::clone(&unit.kind), names)
        });
        Self(held.collect())
    }

    /// Whether one has the unit of this kind and these names.
    pub(crate) fn has(&self, kind: &str, names: &[&str]) -> bool {
        let names = names.iter().map(|name| Arc::from(*name)).collect();
        self.0.contains(&(kind.into(), names))
    }
}

/// Whether the log that is followed is at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum UpstreamState {
    /// It is in this store.
    Here,
    /// No log of its id or name is in this store.
    Elsewhere,
    /// The log of its name in this store has another id.
    Replaced,
    /// It does not have the event of the checkpoint.
    Diverged,
}

impl fmt::Display for UpstreamState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Here => "here",
            Self::Elsewhere => "followed in another store",
            Self::Replaced => "replaced: the log of this name has another id",
            Self::Diverged => "diverged: the log has not the event of the checkpoint",
        })
    }
}

impl Record for FollowerRecord {
    const COLUMNS: &'static [Column] = &[
        Column::name("LOG"),
        Column::name("FOLLOWER"),
        Column::name("UPSTREAM"),
        Column::number("CHECKPOINT"),
        Column::number("HEAD"),
        Column::number("LAG"),
        Column::number("SECONDS"),
        Column::number("PARKED"),
        Column::text("STATE"),
    ];

    fn cells(&self) -> Vec<String> {
        let or_dash = |it: Option<u64>| it.map_or_else(|| "-".into(), |it| it.to_string());
        let seconds = self.lag_seconds.map(|it| format!("{it:.1}"));
        vec![
            self.log.to_string(),
            match self.split.partition {
                None => format!("{}@{}", self.follower, self.generation),
                Some(partition) => format!("{}@{}/{partition}", self.follower, self.generation),
            },
            self.upstream.clone(),
            self.checkpoint.to_string(),
            or_dash(self.head),
            or_dash(self.lag_events),
            seconds.unwrap_or_else(|| "-".into()),
            self.parked.to_string(),
            self.state(),
        ]
    }
}

impl FollowerRecord {
    /// Whether it goes on, and what is in its way.
    fn state(&self) -> String {
        let upstream = match self.upstream_state {
            UpstreamState::Here => None,
            other => Some(other.to_string()),
        };
        let paused = self.paused.as_deref();
        let paused = paused.map(|reason| one_line(&format!("paused: {reason}")));
        if let Some(reason) = &self.retired {
            return one_line(&format!("retired: {reason}"));
        }
        let unknown = (!self.is_known).then(|| "no running system knows it".to_owned());
        let wanted = self.split.partitioning;
        let wanted = wanted.map(|it| format!("to be split into {it} partitions"));
        let words = upstream.into_iter().chain(paused).chain(wanted);
        let words: Vec<String> = words.chain(unknown).collect();
        match words.is_empty() {
            true => "goes on".into(),
            false => words.join("; "),
        }
    }
}

#[derive(Debug, Serialize)]
struct ParkedRecord {
    log: Arc<str>,
    follower: Arc<str>,
    upstream: String,
    position: Position,
    event_id: EventId,
    stream: Option<String>,
    /// None for an event that is held back by an earlier one of its stream.
    failure: Option<String>,
}

impl ParkedRecord {
    fn new(log: &Arc<str>, follower: &str, parked: Parked) -> Self {
        Self {
            log: Arc::clone(log),
            follower: follower.into(),
            upstream: parked.upstream,
            position: parked.event.position,
            event_id: parked.event.event_id,
            stream: parked.stream,
            failure: parked.failure,
        }
    }
}

impl Record for ParkedRecord {
    const COLUMNS: &'static [Column] = &[
        Column::name("LOG"),
        Column::name("FOLLOWER"),
        Column::name("UPSTREAM"),
        Column::number("POSITION"),
        Column::time("EVENT"),
        Column::name("STREAM"),
        Column::text("FAILURE"),
    ];

    fn cells(&self) -> Vec<String> {
        let failure = self.failure.as_deref().unwrap_or("held back");
        vec![
            self.log.to_string(),
            self.follower.to_string(),
            self.upstream.clone(),
            self.position.to_string(),
            self.event_id.to_string(),
            self.stream.as_deref().unwrap_or("-").to_owned(),
            one_line(failure),
        ]
    }
}

pub(crate) async fn run(arguments: Arguments, output: &mut Output) -> Result<Verdict, Failure> {
    let store = opening::store(&arguments.url).await?;
    if let Some(log) = &arguments.log {
        opening::log(&*store, &arguments.url, log).await?;
    }
    let logs = opening::logs(&*store).await?;
    let is_meant = |log: &&LogEntry| arguments.log.as_deref().is_none_or(|it| it == &*log.name);
    let mut followers = Vec::new();
    for log in logs.iter().filter(is_meant) {
        followers.extend(of_log(&store, &log.name).await?);
    }
    if followers.is_empty() {
        note("no follower has started");
        return Ok(Verdict::Fine);
    }
    match arguments.parked {
        true => show_parked(&followers, output).await?,
        false => show(&*store, &logs, &followers, output).await?,
    }
    Ok(Verdict::Fine)
}

/// The followers in a log, with its name.
async fn of_log(
    store: &Arc<dyn Store>,
    log: &Arc<str>,
) -> Result<Vec<(Arc<str>, FollowerOperator)>, Failure> {
    let application = opening::application(store, log).await?;
    let all = FollowerOperator::all(&application).await?;
    Ok(all.into_iter().map(|it| (Arc::clone(log), it)).collect())
}

/// All followers in a store, each in each log that it follows.
pub(crate) async fn all(
    store: &Arc<dyn Store>,
    known: &Known,
) -> Result<Vec<FollowerRecord>, Failure> {
    let logs = opening::logs(&**store).await?;
    let mut records = Vec::new();
    for log in &logs {
        for (log, follower) in of_log(store, &log.name).await? {
            records.extend(look(&**store, &logs, known, (&log, &follower)).await?);
        }
    }
    Ok(records)
}

async fn show(
    store: &dyn Store,
    logs: &[LogEntry],
    followers: &[(Arc<str>, FollowerOperator)],
    output: &mut Output,
) -> Result<(), Failure> {
    let known = Known::of(&ClusterOverview::read_all(store).await?);
    for followers in followers.chunks(PAGE) {
        let mut records = Vec::with_capacity(followers.len());
        for (log, follower) in followers {
            records.extend(look(store, logs, &known, (log, follower)).await?);
        }
        output.records(&records)?;
    }
    Ok(())
}

async fn show_parked(
    followers: &[(Arc<str>, FollowerOperator)],
    output: &mut Output,
) -> Result<(), Failure> {
    let mut is_any = false;
    for followers in followers.chunks(PAGE) {
        let mut records = Vec::new();
        for (log, follower) in followers {
            let parked = follower.parked().await?.into_iter();
            records.extend(parked.map(|it| ParkedRecord::new(log, follower.name(), it)));
        }
        if !records.is_empty() {
            is_any = true;
            output.records(&records)?;
        }
    }
    if !is_any {
        note("nothing is parked");
    }
    Ok(())
}

/// How far a follower is in each of the logs that it follows.
async fn look(
    store: &dyn Store,
    logs: &[LogEntry],
    known: &Known,
    (log, follower): (&Arc<str>, &FollowerOperator),
) -> Result<Vec<FollowerRecord>, Failure> {
    let recorded = follower.record().await?;
    let partitions = recorded.partitions;
    let is_known = known.has("follower", &[log, follower.name()]);
    let mut records = Vec::with_capacity(recorded.starts.len() * partitions as usize);
    let places = recorded.starts.values();
    let places = places.flat_map(|start| (0..partitions).map(move |it| (start, it)));
    for (start, partition) in places {
        let checkpoint = follower.checkpoint_of(&recorded, partition, start.log);
        let checkpoint = checkpoint.await?;
        let (upstream_state, status) = look_upstream(store, logs, start, checkpoint).await?;
        let is_here = upstream_state == UpstreamState::Here;
        let lag = status.as_ref().filter(|_| is_here);
        let now = store.now().await?;
        records.push(FollowerRecord {
            log: Arc::clone(log),
            follower: follower.name().into(),
            generation: recorded.generation,
            split: Split {
                partition: (partitions > 1).then_some(partition),
                partitions: (partitions > 1).then_some(partitions),
                partitioning: recorded.partitioning.as_ref().map(|it| it.partitions),
            },
            upstream: start.upstream.clone(),
            upstream_log: start.log,
            upstream_state,
            checkpoint: number(checkpoint),
            head: status.as_ref().map(|status| number(status.head)),
            lag_events: lag.map(UpstreamStatus::lag_events),
            lag_seconds: lag.map(|status| status.lag(now).as_secs_f64()),
            parked: (recorded.parked.values())
                .filter(|parked| parked.log == start.log)
                .count(),
            paused: recorded.paused.clone(),
            retired: recorded.retired.clone(),
            system: recorded.system.clone(),
            is_known,
        });
    }
    Ok(records)
}

fn number(mark: Option<Mark>) -> u64 {
    Position::number(mark.map(|mark| mark.position))
}

/// What the followed log says, if it is at hand.
async fn look_upstream(
    store: &dyn Store,
    logs: &[LogEntry],
    start: &StartingMark,
    checkpoint: Option<Mark>,
) -> Result<(UpstreamState, Option<UpstreamStatus>), Failure> {
    let Some(entry) = logs.iter().find(|log| log.id == start.log) else {
        let is_replaced = logs.iter().any(|log| *log.name == *start.upstream);
        let state = match is_replaced {
            true => UpstreamState::Replaced,
            false => UpstreamState::Elsewhere,
        };
        return Ok((state, None));
    };
    let recorder = store.open_read_only(&entry.name).await?;
    let mut status = UpstreamStatus::default();
    status.checkpoint = checkpoint;
    status.reached = checkpoint;
    // The head is read after the checkpoint, which is never beyond it then.
    status.head = recorder.head().await?.mark;
    let before = Position::new(number(checkpoint).saturating_sub(1));
    let page = match number(status.head) < number(checkpoint) {
        true => Vec::new(),
        false => {
            let read = LogRead::new().after(before).limit(2);
            recorder.read_log(read).await?.events
        }
    };
    let mut events = page.iter();
    if checkpoint.is_some() && events.next().map(|event| event.mark()) != checkpoint {
        return Ok((UpstreamState::Diverged, Some(status)));
    }
    status.waiting_since = events.next().map(|event| event.recorded_at());
    Ok((UpstreamState::Here, Some(status)))
}
