//! The result of an action on a follower, and the one place that prints it.

use retold::recording::{EventId, Position};
use serde::Serialize;

use super::reset::Beginning;
use crate::output::{Report, counted, one_line};

/// An action that was requested.
#[derive(Debug, Serialize)]
pub(super) struct ActionReport {
    #[serde(flatten)]
    action: Action,
    log: String,
    follower: String,
    /// False if the follower already was as requested.
    recorded: bool,
    /// The URL without a password.
    #[serde(skip)]
    url: String,
}

#[derive(Debug, Serialize)]
#[serde(tag = "action", rename_all = "lowercase")]
pub(super) enum Action {
    Pause {
        /// The recorded reason.
        paused: Option<String>,
    },
    Resume {
        was_paused: Option<String>,
        was_retired: Option<String>,
        /// Number of events that the follower retries.
        parked: usize,
    },
    Retire {
        /// The recorded reason.
        retired: Option<String>,
    },
    Skip {
        upstream: String,
        position: Position,
        event_id: EventId,
        #[serde(skip)]
        stream: Option<String>,
        /// Number of later events of the stream that stay parked.
        held_back: usize,
    },
    Partition {
        /// The present number.
        partitions: u32,
        /// The requested number, while the follower does not have it.
        partitioning: Option<u32>,
    },
    Reset {
        generation: u64,
        starts: Vec<Beginning>,
        paused: Option<String>,
    },
}

impl ActionReport {
    pub(super) fn new(
        url: &str,
        log: &str,
        follower: &str,
        recorded: bool,
        action: Action,
    ) -> Self {
        Self {
            action,
            log: log.into(),
            follower: follower.into(),
            recorded,
            url: url.into(),
        }
    }

    fn resume_command(&self) -> String {
        let Self {
            url, log, follower, ..
        } = self;
        format!("retold follower resume {url} {log} {follower}")
    }

    /// Returns the sentence for a follower that already was as requested.
    fn nothing_to_do(&self) -> String {
        let reason = |it: &Option<String>| one_line(it.as_deref().unwrap_or_default());
        match &self.action {
            Action::Pause { paused } => format!("is already paused: {}", reason(paused)),
            Action::Retire { retired } => format!("is already retired: {}", reason(retired)),
            Action::Resume { .. } => "is not paused and has no parked events".into(),
            Action::Skip { .. } => "has already skipped this event".into(),
            Action::Partition {
                partitions,
                partitioning,
            } => {
                let present = counted_partitions(*partitions);
                match partitioning {
                    Some(wanted) => format!("has {present} and is already changing to {wanted}"),
                    None => format!("already has {present}"),
                }
            }
            Action::Reset { generation, .. } => format!("is already generation {generation}"),
        }
    }

    /// Returns the sentences for an action that was recorded.
    fn done(&self) -> Vec<String> {
        match &self.action {
            Action::Pause { .. } => vec![format!(
                "is paused. It records nothing more until `{}`.",
                self.resume_command()
            )],
            Action::Retire { .. } => vec![format!(
                "is retired. A program that declares it is refused. To undo this, run `{}`.",
                self.resume_command()
            )],
            Action::Resume {
                was_paused,
                was_retired,
                parked,
            } => {
                let mut lines = vec![match (was_retired, was_paused) {
                    (Some(reason), _) => {
                        format!("is resumed. It was retired: {}", one_line(reason))
                    }
                    (None, Some(reason)) => {
                        format!("is resumed. It was paused: {}", one_line(reason))
                    }
                    (None, None) => "is resumed.".into(),
                }];
                if *parked > 0 {
                    let events = counted(*parked as u64, "parked event", "parked events");
                    lines.push(format!("It retries {events}."));
                }
                lines
            }
            Action::Skip {
                upstream,
                position,
                event_id,
                stream,
                held_back,
            } => {
                let mut lines = vec![format!(
                    "skips the event at {position} of {upstream}, {event_id}, and will never \
                     process it."
                )];
                if *held_back > 0 {
                    let stream = stream.as_deref().unwrap_or_default();
                    let events = counted(*held_back as u64, "event", "events");
                    let command = self.resume_command();
                    lines.push(format!(
                        "{events} of its stream {stream:?} stay parked until `{command}`."
                    ));
                }
                lines
            }
            Action::Partition {
                partitions,
                partitioning,
            } => {
                let present = counted_partitions(*partitions);
                vec![match partitioning {
                    Some(wanted) => format!("has {present} and is changing to {wanted}."),
                    None => format!("keeps its {present}."),
                }]
            }
            Action::Reset {
                generation,
                starts,
                paused,
            } => {
                let mut lines = vec![format!("is reset and starts as generation {generation}:")];
                lines.extend(starts.iter().map(Beginning::text));
                if let Some(reason) = paused {
                    lines.push(format!(
                        "It stays paused until `{}`: {}",
                        self.resume_command(),
                        one_line(reason)
                    ));
                }
                lines
            }
        }
    }
}

impl Report for ActionReport {
    fn lines(&self) -> Vec<String> {
        let name = format!("{} of {}", self.follower, self.log);
        if !self.recorded {
            return vec![format!(
                "{name} {}. Nothing was recorded.",
                self.nothing_to_do()
            )];
        }
        let mut lines = self.done();
        if let Some(first) = lines.first_mut() {
            *first = format!("{name} {first}");
        }
        lines.push(
            "Processes that run it notice this. If none runs, it applies from the next \
             start."
                .into(),
        );
        lines
    }
}

fn counted_partitions(count: u32) -> String {
    counted(u64::from(count), "partition", "partitions")
}
