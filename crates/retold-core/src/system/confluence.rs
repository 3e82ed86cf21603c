//! Whether applications are confluent by key as they claim: the same inputs in another order, in which
//! only the order of each key's inputs is kept, give each key the same events.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use fastrand::Rng;
use serde_json::Value;

use super::open_system::{Infrastructure, OpenSystem};
use super::recorded_event::as_new;
use super::single_thread::SingleThread;
use crate::application::{Error, Result};
use crate::domain::clock::{ManualClock, Timestamp};
use crate::recording::append::Append;
use crate::recording::memory::MemoryStore;
use crate::recording::origin::Origin;
use crate::recording::recorder::{LogRead, PageEnd};
use crate::recording::stored_event::StoredEvent;

/// How far a command may change its place in another schedule.
const SHUFFLES_MAX: usize = 64;

/// Where an application that claims to be confluent is not.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfluenceDifference {
    /// Name of the application.
    pub application: String,
    /// The key whose events differ.
    pub key: String,
    /// The first event that differs, as it is recorded; none if there are fewer.
    pub recorded: Option<String>,
    /// What there is in the other schedule.
    pub other: Option<String>,
}

impl fmt::Display for ConfluenceDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} claims to be confluent, but in another schedule of the same inputs the key {:?} has other events\n  recorded: {}\n  other:    {}",
            self.application,
            self.key,
            self.recorded.as_deref().unwrap_or("nothing"),
            self.other.as_deref().unwrap_or("nothing")
        )
    }
}

/// The events of each key, each as a text of all that is compared.
pub type EventsByKey = BTreeMap<String, Vec<String>>;

/// The events of an application's log by the key of its claim: stream, topic, tags, time and value of
/// each. None if the application does not claim to be confluent.
///
/// # Errors
///
/// [`Error::Unavailable`], [`Error::Corrupt`].
pub async fn events_by_key(open: &OpenSystem, application: &str) -> Result<Option<EventsByKey>> {
    let index = open.system().expect_index_of(application)?;
    let Some(key_of) = open.system().members()[index].confluence_key() else {
        return Ok(None);
    };
    let mut by_key = EventsByKey::new();
    let mut read = LogRead::new();
    loop {
        let page = open.applications()[index]
            .recorder()
            .read_log(read.clone())
            .await?;
        for event in &page.events {
            if let Some(key) = key_of(event) {
                by_key.entry(key).or_default().push(shown(event));
            }
        }
        if page.end == PageEnd::Complete {
            return Ok(Some(by_key));
        }
        read = read.after(page.read_to_position());
    }
}

fn shown(event: &StoredEvent) -> String {
    let payload = event.payload().unwrap_or_default();
    let payload = match serde_json::from_slice::<Value>(payload) {
        Ok(value) => value.to_string(),
        Err(_) => String::from_utf8_lossy(payload).into_owned(),
    };
    let tags: Vec<_> = event.tags().collect();
    format!(
        "{} {} [{}] {} {payload}",
        event.stream().unwrap_or("-"),
        event.topic(),
        tags.join(", "),
        event.time(),
    )
}

/// The first key whose events differ between two runs of one system, if there is one.
///
/// # Errors
///
/// [`Error::Unavailable`], [`Error::Corrupt`].
pub async fn compare(
    recorded: &OpenSystem,
    other: &OpenSystem,
) -> Result<Option<ConfluenceDifference>> {
    for member in recorded.system().members() {
        let one = events_by_key(recorded, member.name()).await?;
        let two = events_by_key(other, member.name()).await?;
        let (Some(one), Some(two)) = (one, two) else {
            continue;
        };
        let keys: BTreeSet<_> = one.keys().chain(two.keys()).collect();
        for key in keys {
            let none = Vec::new();
            let (one, two) = (one.get(key).unwrap_or(&none), two.get(key).unwrap_or(&none));
            if one == two {
                continue;
            }
            let equal = one.iter().zip(two).take_while(|(one, two)| one == two);
            let at = equal.count();
            return Ok(Some(ConfluenceDifference {
                application: member.name().to_owned(),
                key: key.clone(),
                recorded: one.get(at).cloned(),
                other: two.get(at).cloned(),
            }));
        }
    }
    Ok(None)
}

/// Lets a single thread take the recorded commands and timers in another order, chosen by `seed`, in which only
/// commands of different keys and streams change places; and compares what confluent applications have.
/// On memory, which holds all logs then. None also if no application claims to be confluent.
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
    // Timers that fired are inputs; none fires by itself.
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
    /// Keys and streams: what must stay in order.
    ties: BTreeSet<String>,
}

/// The commands and timers of all logs, each log's in its order.
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
            read = read.after(page.read_to.map(|mark| mark.position));
        }
    }
    Ok(inputs)
}

/// Lets neighbours that have nothing in common change places, again and again.
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
