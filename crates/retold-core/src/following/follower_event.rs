//! The history of a follower itself: the events of its own stream, `retold.follower/NAME`, in its
//! application's log.
//!
//! Where a follower starts, the events it parks and the acts of operators are recorded like
//! everything else. So a retelling knows them, and every append of the follower can be made on
//! condition that the follower has not changed in the meantime.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::{Event, EventType, content};
use crate::recording::{Checkpoint, LogId};

/// The type of the streams of followers.
pub const FOLLOWER_STREAM_TYPE: &str = "retold.follower";

/// Returns the name of the stream of the follower with this name.
pub fn follower_stream(name: &str) -> String {
    format!("{FOLLOWER_STREAM_TYPE}/{name}")
}

/// Where a follower begins to follow a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StartingCheckpoint {
    /// Name of the application that is followed.
    pub upstream: String,
    /// The log that this name resolved to.
    pub log: LogId,
    /// The first event that is processed is the one after this checkpoint, or the log's first if
    /// there is none.
    pub after: Option<Checkpoint>,
    /// Name of the system whose program recorded this. None in records of older versions of the
    /// library, and in those of operators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
}

impl StartingCheckpoint {
    /// Creates the starting checkpoint for the log with this id of the application named
    /// `upstream`.
    pub fn new(upstream: impl Into<String>, log: LogId, after: Option<Checkpoint>) -> Self {
        Self {
            upstream: upstream.into(),
            log,
            after,
            system: None,
        }
    }

    /// Sets the name of the system.
    #[must_use]
    pub(crate) fn of_system(mut self, system: Option<&str>) -> Self {
        self.system = system.map(str::to_owned);
        self
    }
}

/// An event of an upstream log that a follower has set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Parked {
    /// Name of the application that the event belongs to.
    pub upstream: String,
    /// The application's log.
    pub log: LogId,
    /// The event.
    pub event: Checkpoint,
    /// The stream of the event, if it has one. The later events of the stream are held back.
    pub stream: Option<String>,
    /// What went wrong. None for an event that is held back because an earlier one of its stream is
    /// parked.
    pub failure: Option<String>,
    /// The partition that set it aside.
    #[serde(default, skip_serializing_if = "is_first")]
    pub partition: u32,
}

/// The records of a follower with a single partition stay as they were before there were
/// partitions.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_first(partition: &u32) -> bool {
    *partition == 0
}

/// What happened to a follower.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum FollowerEvent {
    /// It began to follow a log.
    Started(StartingCheckpoint),
    /// It set an event aside, because the policy failed or an earlier event of the stream is
    /// parked.
    Parked(Parked),
    /// A parked event was processed after all. Its effects are in the same append.
    Resumed {
        /// The log of the event.
        log: LogId,
        /// The event.
        event: Checkpoint,
        /// The policy version of the follower that processed it. If the event has no effects, it is
        /// recorded only here.
        #[serde(rename = "edition")]
        policy_version: u32,
        /// The partition that processed it.
        #[serde(default, skip_serializing_if = "is_first")]
        partition: u32,
    },
    /// An operator gave up a parked event: it is never processed.
    Skipped {
        /// The log of the event.
        log: LogId,
        /// The event.
        event: Checkpoint,
        /// The reason, in the operator's words.
        reason: String,
    },
    /// It stopped, because an operator paused it or a policy failed.
    Paused {
        /// The reason, for people.
        reason: String,
        /// The event whose policy failed, if that was the reason: its log and checkpoint.
        failed: Option<(LogId, Checkpoint)>,
    },
    /// An operator resumed it, so it retries its parked events. This also revokes its retirement.
    Continued,
    /// An operator restarted it as a new generation, with its own key, its own processed ranges and
    /// its own ids of effects. Parked events are no longer parked; a paused follower stays paused.
    Reset {
        /// The number of the generation, from 2.
        generation: u64,
        /// Where it begins, for each log that it follows.
        starts: Vec<StartingCheckpoint>,
    },
    /// An operator asked for another number of partitions. The present partitions process all
    /// events up to the position of the one that is farthest ahead, and none beyond it; then the
    /// follower is split.
    Partitioning {
        /// The requested number of partitions.
        partitions: u32,
        /// Name of the rule that derives the key from an event. None keeps the present rule.
        by: Option<String>,
    },
    /// It was split: into its first partitions when it started, or into a new generation when all
    /// partitions of the previous one were at the same positions. Parked events stay parked, and
    /// the ids of effects are the same as without the split.
    Partitioned {
        /// The number of the generation.
        generation: u64,
        /// The number of partitions.
        partitions: u32,
        /// Name of the rule that derives the key from an event.
        by: String,
        /// Where all partitions begin, for each log that the follower follows.
        starts: Vec<StartingCheckpoint>,
    },
    /// An operator ended it permanently. It records nothing more, and a program that declares it is
    /// rejected.
    Retired {
        /// The reason, for people.
        reason: String,
    },
}

impl FollowerEvent {
    /// Topic of [`Parked`](Self::Parked).
    pub(crate) const PARKED: &'static str = Self::TYPES[1].topic;
    /// Topic of [`Resumed`](Self::Resumed).
    pub(crate) const RESUMED: &'static str = Self::TYPES[2].topic;
}

impl Event for FollowerEvent {
    const TYPES: &'static [EventType] = &[
        EventType::of::<Self>("retold.started"),
        EventType::of::<Self>("retold.parked"),
        EventType::of::<Self>("retold.resumed"),
        EventType::of::<Self>("retold.skipped"),
        EventType::of::<Self>("retold.paused"),
        EventType::of::<Self>("retold.continued"),
        EventType::of::<Self>("retold.reset"),
        EventType::of::<Self>("retold.partitioning"),
        EventType::of::<Self>("retold.partitioned"),
        EventType::of::<Self>("retold.retired"),
    ];

    fn type_index(&self) -> usize {
        match self {
            Self::Started(_) => 0,
            Self::Parked(_) => 1,
            Self::Resumed { .. } => 2,
            Self::Skipped { .. } => 3,
            Self::Paused { .. } => 4,
            Self::Continued => 5,
            Self::Reset { .. } => 6,
            Self::Partitioning { .. } => 7,
            Self::Partitioned { .. } => 8,
            Self::Retired { .. } => 9,
        }
    }

    fn serialize_payload<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        content::serialize_variant(self, serializer)
    }

    fn deserialize_payload<'de, D: Deserializer<'de>>(
        type_index: usize,
        deserializer: D,
    ) -> Result<Self, D::Error> {
        content::deserialize_variant(type_index, deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::{EventId, Position};

    fn text(event: &FollowerEvent) -> String {
        let mut bytes = Vec::new();
        let mut serializer = serde_json::Serializer::new(&mut bytes);
        event.serialize_payload(&mut serializer).unwrap();
        let topic = FollowerEvent::TYPES[event.type_index()].topic;
        format!("{topic} {}", String::from_utf8(bytes).unwrap())
    }

    /// These texts are in logs. A follower with a single partition records the same as before there
    /// were partitions.
    #[test]
    fn recorded_texts_are_stable() {
        let id = uuid::Uuid::from_u128(1);
        let (log, event) = (
            LogId::new(id),
            Checkpoint {
                position: Position::FIRST,
                event_id: EventId::new(id),
            },
        );
        let uuid = "00000000-0000-0000-0000-000000000001";
        let checkpoint = format!(r#"{{"position":1,"event_id":"{uuid}"}}"#);
        let resumed = |partition| FollowerEvent::Resumed {
            log,
            event,
            policy_version: 1,
            partition,
        };
        let parked = |partition| {
            FollowerEvent::Parked(Parked {
                upstream: "orders".into(),
                log,
                event,
                stream: Some("Order/1".into()),
                failure: None,
                partition,
            })
        };
        let resumed_text =
            format!(r#"retold.resumed {{"log":"{uuid}","event":{checkpoint},"edition":1"#);
        let parked_text = format!(
            "retold.parked {{\"upstream\":\"orders\",\"log\":\"{uuid}\",\"event\":{checkpoint},\
             \"stream\":\"Order/1\",\"failure\":null"
        );
        for (event, expected) in [
            (resumed(0), format!("{resumed_text}}}")),
            (resumed(3), format!(r#"{resumed_text},"partition":3}}"#)),
            (parked(0), format!("{parked_text}}}")),
            (parked(3), format!(r#"{parked_text},"partition":3}}"#)),
            (
                FollowerEvent::Partitioning {
                    partitions: 4,
                    by: None,
                },
                r#"retold.partitioning {"partitions":4,"by":null}"#.into(),
            ),
            (
                FollowerEvent::Retired {
                    reason: "done".into(),
                },
                r#"retold.retired {"reason":"done"}"#.into(),
            ),
            (
                FollowerEvent::Started(
                    StartingCheckpoint::new("orders", log, None).of_system(Some("shop")),
                ),
                format!(
                    "retold.started {{\"upstream\":\"orders\",\"log\":\"{uuid}\",\"after\":null,\
                     \"system\":\"shop\"}}"
                ),
            ),
            (
                FollowerEvent::Started(StartingCheckpoint::new("orders", log, None)),
                format!(r#"retold.started {{"upstream":"orders","log":"{uuid}","after":null}}"#),
            ),
            (
                FollowerEvent::Partitioned {
                    generation: 2,
                    partitions: 4,
                    by: "stream".into(),
                    starts: vec![StartingCheckpoint::new("orders", log, Some(event))],
                },
                format!(
                    "retold.partitioned {{\"generation\":2,\"partitions\":4,\"by\":\"stream\",\
                     \"starts\":[{{\"upstream\":\"orders\",\"log\":\"{uuid}\",\
                     \"after\":{checkpoint}}}]}}"
                ),
            ),
        ] {
            let found = text(&event);
            assert_eq!(found, expected);
            let (_, payload) = found.split_once(' ').unwrap();
            let mut read = serde_json::Deserializer::from_str(payload);
            let read = FollowerEvent::deserialize_payload(event.type_index(), &mut read).unwrap();
            assert_eq!(read, event);
        }
    }
}
