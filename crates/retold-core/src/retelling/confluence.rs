//! Checks whether applications are confluent by key, as they claim. An application is confluent if
//! its inputs result in the same events for each key in every order that keeps the order of each
//! key's inputs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use fastrand::Rng;

use super::recorded_event::as_new;
use crate::application::{Error, Result};
use crate::domain::{ManualClock, Timestamp};
use crate::mapping::{Arrays, canonical_json};
use crate::recording::{Append, LogRead, MemoryStore, Origin, PageEnd, StoredEvent};
use crate::system::{Infrastructure, OpenSystem, Runner, SingleThread};

/// How many places a command may move in another schedule.
const SHUFFLES_MAX: usize = 64;

/// The first place where an application that claims to be confluent is not.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfluenceDifference {
    /// Name of the application.
    pub application: String,
    /// The key whose events differ.
    pub key: String,
    /// The first event that differs, as recorded; none if the recorded run has fewer events of the
    /// key.
    pub recorded: Option<String>,
    /// The event in its place in the other run; none if the other run has fewer events of the key.
    pub other: Option<String>,
}

impl fmt::Display for ConfluenceDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} claims to be confluent, but in another schedule of the same inputs the key {:?} \
             has different events\n  recorded: {}\n  other:    {}",
            self.application,
            self.key,
            self.recorded.as_deref().unwrap_or("nothing"),
            self.other.as_deref().unwrap_or("nothing")
        )
    }
}

/// Whether a comparison of two runs includes the times of events.
///
/// An effect has the time of its cause, and a command gets its time from a clock, so the time is an
/// input like the content of the command. Compare times if the inputs of both runs have the same
/// times, as in a simulation or with one [`ManualClock`]. Ignore them if the runs used a wall
/// clock: such runs have different times, and may be equal in everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "there is no third")]
pub enum Times {
    /// Times are compared.
    Compared,
    /// Times are ignored.
    PassedOver,
}

/// The result of comparing two runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfluenceReport {
    /// The counts for each compared application that claims to be confluent, in the order of
    /// declaration.
    pub compared: Vec<ConfluenceCounts>,
    /// The first key whose events differ, if there is one; the comparison stops there.
    pub difference: Option<ConfluenceDifference>,
}

/// What was compared in one application.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfluenceCounts {
    /// Its name.
    pub application: String,
    /// The number of keys that occur in either run.
    pub keys: u64,
    /// The number of events that the keys have in the recorded run.
    pub events: u64,
}

/// The events of each key, each as a text of everything that is compared.
pub type EventsByKey = BTreeMap<String, Vec<String>>;

/// Returns the events of an application's log by the key of its claim: stream, present topic, tags,
/// time and value of each. None if the application does not claim to be confluent.
///
/// # Errors
///
/// [`Error::Unavailable`], [`Error::Corrupt`].
pub async fn events_by_key(open: &OpenSystem, application: &str) -> Result<Option<EventsByKey>> {
    let shown = |_: &str, event: PresentEvent<'_>| Some(shown(event, Times::Compared));
    by_key(open, application, shown).await
}

/// Returns the results of `look` for the events of each key, in order. None if the application does
/// not claim to be confluent.
async fn by_key<T>(
    open: &OpenSystem,
    application: &str,
    look: impl Fn(&str, PresentEvent<'_>) -> Option<T>,
) -> Result<Option<BTreeMap<String, Vec<T>>>> {
    let index = open.system().expect_index_of(application)?;
    let Some(key_of) = open.system().members()[index].confluence_key() else {
        return Ok(None);
    };
    let registry = open.applications()[index].registry();
    let mut by_key: BTreeMap<String, Vec<T>> = BTreeMap::new();
    let mut read = LogRead::new();
    loop {
        let page = open.applications()[index]
            .recorder()
            .read_log(read.clone())
            .await?;
        for event in &page.events {
            let topic = event.topic();
            let present = PresentEvent {
                stored: event,
                topic: registry.present_topic(topic).unwrap_or(topic),
            };
            if let Some(key) = key_of(event)
                && let Some(seen) = look(&key, present)
            {
                by_key.entry(key).or_default().push(seen);
            }
        }
        if page.end == PageEnd::Complete {
            return Ok(Some(by_key));
        }
        read = read.after_checkpoint(page.read_to);
    }
}

/// An event with the topic that its type has now: a former topic is no difference.
#[derive(Clone, Copy)]
struct PresentEvent<'e> {
    stored: &'e StoredEvent,
    topic: &'e str,
}

fn shown(present: PresentEvent<'_>, times: Times) -> String {
    let event = present.stored;
    let payload = event.payload().unwrap_or_default();
    let payload = canonical_json(payload, Arrays::Ordered)
        .unwrap_or_else(|| String::from_utf8_lossy(payload).into_owned());
    let tags: Vec<_> = event.tags().collect();
    let time = match times {
        Times::Compared => format!("{} ", event.time()),
        Times::PassedOver => String::new(),
    };
    format!(
        "{} {} [{}] {time}{payload}",
        event.stream().unwrap_or("-"),
        present.topic,
        tags.join(", "),
    )
}

/// Returns the same in a few bytes, so that logs of any length can be compared.
fn hashed(event: PresentEvent<'_>, times: Times) -> u64 {
    let mut hasher = DefaultHasher::new();
    shown(event, times).hash(&mut hasher);
    hasher.finish()
}

/// Returns the first key whose events differ between two runs of one system, if there is one. Times
/// are compared.
///
/// # Errors
///
/// [`Error::Unavailable`], [`Error::Corrupt`].
pub async fn compare(
    recorded: &OpenSystem,
    other: &OpenSystem,
) -> Result<Option<ConfluenceDifference>> {
    let report = compare_runs(recorded, other, Times::Compared).await?;
    Ok(report.difference)
}

/// Compares two runs of one system that processed the inputs of each key in the same order. It
/// compares the events of each key in applications that claim to be confluent, with or without
/// their times. It reads the logs of both runs and holds a few bytes of each event in memory.
///
/// ```
/// # use retold::system::OpenSystem;
/// use retold::retelling::{Times, compare_runs};
/// # async fn example(in_one_thread: &OpenSystem, on_many: &OpenSystem) -> retold::Result<()> {
/// let report = compare_runs(in_one_thread, on_many, Times::PassedOver).await?;
/// assert!(report.difference.is_none(), "{report:?}");
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`Error::Unavailable`], [`Error::Corrupt`].
pub async fn compare_runs(
    recorded: &OpenSystem,
    other: &OpenSystem,
    times: Times,
) -> Result<ConfluenceReport> {
    let mut report = ConfluenceReport::default();
    for member in recorded.system().members() {
        let name = member.name();
        let look = |_: &str, event: PresentEvent<'_>| Some(hashed(event, times));
        let one = by_key(recorded, name, look).await?;
        let two = by_key(other, name, look).await?;
        let (Some(one), Some(two)) = (one, two) else {
            continue;
        };
        let keys: BTreeSet<_> = one.keys().chain(two.keys()).collect();
        report.compared.push(ConfluenceCounts {
            application: name.to_owned(),
            keys: keys.len() as u64,
            events: one.values().map(|events| events.len() as u64).sum(),
        });
        if let Some(key) = keys.into_iter().find(|key| one.get(*key) != two.get(*key)) {
            let difference = difference_of(recorded, other, name, key, times).await?;
            report.difference = Some(difference);
            return Ok(report);
        }
    }
    Ok(report)
}

/// Returns the first differing event of a key whose events differ between the two runs.
async fn difference_of(
    recorded: &OpenSystem,
    other: &OpenSystem,
    application: &str,
    key: &str,
    times: Times,
) -> Result<ConfluenceDifference> {
    let look = |of: &str, event: PresentEvent<'_>| (of == key).then(|| shown(event, times));
    let mut sides = [Vec::new(), Vec::new()];
    for (side, open) in sides.iter_mut().zip([recorded, other]) {
        let mut by_key = by_key(open, application, look).await?.unwrap_or_default();
        *side = by_key.remove(key).unwrap_or_default();
    }
    let [one, two] = sides;
    let equal = one.iter().zip(&two).take_while(|(one, two)| one == two);
    let at = equal.count();
    Ok(ConfluenceDifference {
        application: application.to_owned(),
        key: key.to_owned(),
        recorded: one.get(at).cloned(),
        other: two.get(at).cloned(),
    })
}

/// Replays the recorded commands and timers in a single thread, in another order that `seed`
/// determines, and compares the events of applications that claim to be confluent. Only inputs of
/// different keys and streams change places. The replay holds all logs in memory. Returns the first
/// difference; none if there is none or no application claims to be confluent.
///
/// # Errors
///
/// [`Error::Unavailable`], [`Error::Corrupt`].
pub async fn first_difference(
    recorded: &OpenSystem,
    seed: u64,
) -> Result<Option<ConfluenceDifference>> {
    let members = recorded.system().members();
    if members
        .iter()
        .all(|member| member.confluence_key().is_none())
    {
        return Ok(None);
    }
    let mut inputs = inputs(recorded).await?;
    shuffle(&mut inputs, &mut Rng::with_seed(seed));
    // Timers that fired are inputs; no timer may fire here.
    let clock = ManualClock::new(Timestamp::from_micros(i64::MIN));
    let memory = Infrastructure::new(Arc::new(MemoryStore::new())).clock(Arc::new(clock));
    let runner = SingleThread::start(recorded.system(), &memory).await?;
    for input in inputs {
        let application = &runner.open_system().applications()[input.application];
        let append = Append::of(input.events.iter().map(as_new));
        let appended = application.recorder().append(append).await;
        appended.map_err(Error::from)?;
        runner.catch_up().await?;
    }
    compare(recorded, runner.open_system()).await
}

/// The events of one command or timer.
struct Input {
    application: usize,
    events: Vec<StoredEvent>,
    /// Keys and streams whose inputs must stay in order.
    ties: BTreeSet<String>,
}

/// The commands and timers of all logs, in the order of each log.
async fn inputs(open: &OpenSystem) -> Result<Vec<Input>> {
    let mut inputs: Vec<Input> = Vec::new();
    for (index, application) in open.applications().iter().enumerate() {
        let key_of = open.system().members()[index].confluence_key();
        let mut read = LogRead::new();
        loop {
            let page = application.recorder().read_log(read.clone()).await?;
            for event in page.events {
                if !matches!(event.origin()?, Origin::Command | Origin::Timer { .. }) {
                    continue;
                }
                let stream = event
                    .stream()
                    .map(|stream| format!("{index} stream {stream}"));
                let key = key_of.and_then(|key_of| key_of(&event));
                let ties = stream
                    .into_iter()
                    .chain(key.map(|key| format!("key {key}")));
                if event.place().index == 0 {
                    inputs.push(Input {
                        application: index,
                        events: Vec::new(),
                        ties: BTreeSet::new(),
                    });
                }
                if let Some(last) = inputs.last_mut() {
                    last.ties.extend(ties);
                    last.events.push(event);
                }
            }
            if page.end == PageEnd::Complete {
                break;
            }
            read = read.after_checkpoint(page.read_to);
        }
    }
    Ok(inputs)
}

/// Repeatedly swaps neighbors that have nothing in common.
fn shuffle(inputs: &mut [Input], random: &mut Rng) {
    for _ in 0..inputs.len().min(SHUFFLES_MAX) {
        for index in 1..inputs.len() {
            let is_free = inputs[index - 1].ties.is_disjoint(&inputs[index].ties);
            if is_free && random.bool() {
                inputs.swap(index - 1, index);
            }
        }
    }
}
