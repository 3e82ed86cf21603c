//! `retold follower list`: shows the progress and state of each follower in a store, and the parked
//! events.

use std::collections::HashMap;
use std::sync::Arc;

use retold::prelude::Timestamp;
use retold::recording::{Checkpoint, EventId, LogEntry, LogId, LogRead, Position, Store};
use retold::runner::ClusterOverview;
use retold::system::{FollowerOperator, Parked, StartingCheckpoint, UpstreamStatus};
use serde::Serialize;

use crate::failure::{CommandFailure, CommandVerdict};
use crate::opening;
use crate::output::{Output, Record, note, one_line};
use crate::state::{self, State, States};
use crate::table::Column;

/// Number of followers that are read and printed at once.
const PAGE: usize = 100;

/// List the followers in a store: their progress in each log that they follow, and their states.
///
/// The list is made from the logs and leases in the store, so it is the same on every machine.
#[derive(Debug, clap::Args)]
#[command(after_help = after_help())]
pub(crate) struct FollowerListArguments {
    /// The store, for example sqlite:flights.db
    url: String,
    /// Only followers of the application with this log
    log: Option<String>,
    /// List the parked events instead: those that failed, and those that they hold back
    #[arg(long)]
    parked: bool,
}

fn after_help() -> String {
    let states = state::help(&State::OF_FOLLOWERS);
    format!("{COLUMNS}\n\nStates:\n{states}\n\n{NOTES}")
}

const COLUMNS: &str = "\
Columns: FOLLOWER is the name with its generation (@1) and, if the follower is partitioned, its \
partition (/0). CHECKPOINT is the position up to which it has processed the log UPSTREAM, and HEAD \
the end of that log. LAG is the number of events after the checkpoint, SECONDS the age of the \
first of them. Both are unknown (-) if the log is not in this store. PARKED and STATE are those of \
the whole follower.";

const NOTES: &str = "\
A program with one thread renews its leases only when it is used, so after three minutes without \
use its followers are listed as stopped. If a stopped follower was removed from the programs, run \
`retold follower retire`.

Examples:
  retold follower list sqlite:flights.db
  retold follower list sqlite:flights.db aircraft --json | jq .lag_events
  retold follower list sqlite:flights.db --parked";

/// A follower, or one of its partitions, in one of the logs that it follows.
#[derive(Debug, Serialize)]
pub(crate) struct FollowerRecord {
    pub(crate) log: Arc<str>,
    pub(crate) follower: Arc<str>,
    generation: u64,
    #[serde(flatten)]
    partitioning: Partitioning,
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
    /// Name of the system that it is part of, if that is recorded.
    system: Option<String>,
    /// Whether a process holds its lease.
    is_known: bool,
    /// The most important of its states.
    state: State,
    #[serde(skip)]
    states: States,
}

/// The partitions of a follower. All fields are absent for a follower with one partition.
#[derive(Debug, Serialize)]
struct Partitioning {
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partitions: Option<u32>,
    /// The requested number, while the follower does not have it.
    #[serde(rename = "partitioning", skip_serializing_if = "Option::is_none")]
    wanted: Option<u32>,
}

/// The followers, timers and views that running processes hold, by their leases.
pub(crate) struct Held(HashMap<UnitName, Option<UnitError>>);

/// The kind of a unit, and its names.
type UnitName = (Arc<str>, Vec<Arc<str>>);

/// The last error of a unit, with the time it was reported.
type UnitError = (Timestamp, String);

impl Held {
    pub(crate) fn of(systems: &[ClusterOverview]) -> Self {
        let mut held: HashMap<_, Option<UnitError>> = HashMap::new();
        let units = systems.iter().flat_map(|system| &system.units);
        for unit in units.filter(|unit| unit.node.is_some()) {
            // Each partition of a follower is a unit, with its number as the last name.
            let names = match &*unit.kind {
                "follower" => unit.names.iter().take(2).cloned().collect(),
                _ => unit.names.clone(),
            };
            let last = held.entry((Arc::clone(&unit.kind), names)).or_default();
            if unit.last_error > *last {
                last.clone_from(&unit.last_error);
            }
        }
        Self(held)
    }

    /// Returns whether a process holds the unit of this kind and these names.
    pub(crate) fn has(&self, kind: &str, names: &[&str]) -> bool {
        self.get(kind, names).is_some()
    }

    /// Returns the last error of a unit that a process holds.
    fn last_error(&self, kind: &str, names: &[&str]) -> Option<&UnitError> {
        self.get(kind, names)?.as_ref()
    }

    fn get(&self, kind: &str, names: &[&str]) -> Option<&Option<UnitError>> {
        let names = names.iter().map(|name| Arc::from(*name)).collect();
        self.0.get(&(kind.into(), names))
    }
}

/// Which log in the store the followed log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum UpstreamState {
    /// It is in this store.
    Local,
    /// No log of its id or name is in this store.
    Remote,
    /// The log of its name in this store has another id.
    Replaced,
    /// It does not have the event of the checkpoint.
    Diverged,
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
            match self.partitioning.partition {
                None => format!("{}@{}", self.follower, self.generation),
                Some(partition) => format!("{}@{}/{partition}", self.follower, self.generation),
            },
            self.upstream.clone(),
            self.checkpoint.to_string(),
            or_dash(self.head),
            or_dash(self.lag_events),
            seconds.unwrap_or_else(|| "-".into()),
            self.parked.to_string(),
            self.states.to_string(),
        ]
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
    /// None for an event that an earlier one of its stream holds back.
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
        Column::id("STREAM"),
        Column::text("FAILURE"),
    ];

    /// Without the event's id, so that the table fits 80 columns.
    const COLUMNS_BRIEF: &'static [Column] = &[
        Column::name("LOG"),
        Column::name("FOLLOWER"),
        Column::name("UPSTREAM"),
        Column::number("POSITION"),
        Column::id("STREAM"),
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

impl FollowerListArguments {
    pub(super) async fn run(&self, output: &mut Output) -> Result<CommandVerdict, CommandFailure> {
        let store = opening::store(&self.url).await?;
        if let Some(log) = &self.log {
            opening::log(&*store, &self.url, log).await?;
        }
        let logs = opening::logs(&*store).await?;
        let is_selected = |log: &&LogEntry| self.log.as_deref().is_none_or(|it| it == &*log.name);
        let mut followers = Vec::new();
        for log in logs.iter().filter(is_selected) {
            followers.extend(of_log(&store, &log.name).await?);
        }
        if followers.is_empty() {
            note("no follower has started");
            return Ok(CommandVerdict::Fine);
        }
        match self.parked {
            true => show_parked(&followers, output).await?,
            false => show(&*store, &logs, &followers, output).await?,
        }
        Ok(CommandVerdict::Fine)
    }
}

/// Returns the followers in a log, each with the name of the log.
async fn of_log(
    store: &Arc<dyn Store>,
    log: &Arc<str>,
) -> Result<Vec<(Arc<str>, FollowerOperator)>, CommandFailure> {
    let application = opening::application(store, log).await?;
    let all = FollowerOperator::all(&application).await?;
    Ok(all.into_iter().map(|it| (Arc::clone(log), it)).collect())
}

/// Returns a record for each follower in a store and each log that it follows.
pub(crate) async fn all(
    store: &Arc<dyn Store>,
    held: &Held,
) -> Result<Vec<FollowerRecord>, CommandFailure> {
    let logs = opening::logs(&**store).await?;
    let mut records = Vec::new();
    for log in &logs {
        for (log, follower) in of_log(store, &log.name).await? {
            records.extend(look(&**store, &logs, held, (&log, &follower)).await?);
        }
    }
    Ok(records)
}

async fn show(
    store: &dyn Store,
    logs: &[LogEntry],
    followers: &[(Arc<str>, FollowerOperator)],
    output: &mut Output,
) -> Result<(), CommandFailure> {
    let held = Held::of(&ClusterOverview::read_all(store).await?);
    for followers in followers.chunks(PAGE) {
        let mut records = Vec::with_capacity(followers.len());
        for (log, follower) in followers {
            records.extend(look(store, logs, &held, (log, follower)).await?);
        }
        output.records(&records)?;
    }
    Ok(())
}

async fn show_parked(
    followers: &[(Arc<str>, FollowerOperator)],
    output: &mut Output,
) -> Result<(), CommandFailure> {
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
        note("no event is parked");
    }
    Ok(())
}

/// Returns a record for each log that a follower follows.
async fn look(
    store: &dyn Store,
    logs: &[LogEntry],
    held: &Held,
    (log, follower): (&Arc<str>, &FollowerOperator),
) -> Result<Vec<FollowerRecord>, CommandFailure> {
    let recorded = follower.record().await?;
    let partitions = recorded.partitions;
    let names = [&**log, follower.name()];
    let is_known = held.has("follower", &names);
    let mut records = Vec::with_capacity(recorded.starts.len() * partitions as usize);
    let starts = recorded.starts.values();
    let starts = starts.flat_map(|start| (0..partitions).map(move |it| (start, it)));
    for (start, partition) in starts {
        let checkpoint = follower.checkpoint_of(&recorded, partition, start.log);
        let checkpoint = checkpoint.await?;
        let (upstream_state, status) = look_upstream(store, logs, start, checkpoint).await?;
        let lag = status
            .as_ref()
            .filter(|_| upstream_state == UpstreamState::Local);
        let error = held.last_error("follower", &names);
        let error = error.filter(|(at, _)| lag.is_some_and(|it| is_stuck_since(it, *at)));
        let states = states(&recorded, upstream_state, is_known, error);
        let now = store.now().await?;
        records.push(FollowerRecord {
            log: Arc::clone(log),
            follower: follower.name().into(),
            generation: recorded.generation,
            partitioning: Partitioning {
                partition: (partitions > 1).then_some(partition),
                partitions: (partitions > 1).then_some(partitions),
                wanted: recorded.partitioning.as_ref().map(|it| it.partitions),
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
            state: states.first(),
            states,
        });
    }
    Ok(records)
}

/// Returns the states of a follower, from what is recorded of it.
fn states(
    recorded: &retold::system::FollowerRecord,
    upstream: UpstreamState,
    is_known: bool,
    error: Option<&UnitError>,
) -> States {
    let mut states = States::default();
    if let Some(reason) = &recorded.retired {
        // No other state matters for a follower that is ended.
        states.add_with(State::Retired, reason);
        return states;
    }
    match upstream {
        UpstreamState::Diverged => states.add_with(
            State::Diverged,
            "the log does not have the event of the checkpoint",
        ),
        UpstreamState::Replaced => {
            states.add_with(State::Replaced, "the log of this name has another id");
        }
        UpstreamState::Local | UpstreamState::Remote => {}
    }
    if let Some(reason) = &recorded.paused {
        states.add_with(State::Paused, reason);
    }
    if !recorded.parked.is_empty() {
        states.add(State::Parked);
    }
    if let Some(wanted) = &recorded.partitioning {
        let reason = format!("changing to {} partitions", wanted.partitions);
        states.add_with(State::Repartitioning, reason);
    }
    if let (None, Some((_, error))) = (&recorded.paused, error) {
        states.add_with(State::Retrying, error);
    }
    let lease = match is_known {
        true => State::Running,
        false => State::Stopped,
    };
    match upstream {
        UpstreamState::Remote => states.add_with(lease, "it follows a log of another store"),
        _ if !is_known || states.is_empty() => states.add(lease),
        _ => {}
    }
    states
}

fn number(checkpoint: Option<Checkpoint>) -> u64 {
    Position::number(checkpoint.map(|checkpoint| checkpoint.position))
}

/// Returns the progress in the followed log, if it is in this store.
async fn look_upstream(
    store: &dyn Store,
    logs: &[LogEntry],
    start: &StartingCheckpoint,
    checkpoint: Option<Checkpoint>,
) -> Result<(UpstreamState, Option<UpstreamStatus>), CommandFailure> {
    let Some(entry) = logs.iter().find(|log| log.id == start.log) else {
        let is_replaced = logs.iter().any(|log| *log.name == *start.upstream);
        let state = match is_replaced {
            true => UpstreamState::Replaced,
            false => UpstreamState::Remote,
        };
        return Ok((state, None));
    };
    let recorder = store.open_read_only(&entry.name).await?;
    let mut status = UpstreamStatus::default();
    status.checkpoint = checkpoint;
    status.reached = checkpoint;
    // Reading the head after the checkpoint ensures that it is not before it.
    status.head = recorder.head().await?.checkpoint;
    let before = Position::new(number(checkpoint).saturating_sub(1));
    let page = match number(status.head) < number(checkpoint) {
        true => Vec::new(),
        false => {
            let read = LogRead::new().after(before).limit(2);
            recorder.read_log(read).await?.events
        }
    };
    let mut events = page.iter();
    if checkpoint.is_some() && events.next().map(|event| event.checkpoint()) != checkpoint {
        return Ok((UpstreamState::Diverged, Some(status)));
    }
    status.waiting_since = events.next().map(|event| event.recorded_at());
    Ok((UpstreamState::Local, Some(status)))
}

/// Returns whether the next event was already waiting at this time. An error that was reported
/// since then concerns this event or one after it.
fn is_stuck_since(status: &UpstreamStatus, at: Timestamp) -> bool {
    status.waiting_since.is_some_and(|since| since <= at)
}
