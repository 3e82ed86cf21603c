//! What happens to a follower itself: the events of its own stream, `retold.follower/NAME`, in its
//! application's log.
//!
//! Where a follower starts, what it parks and what operators do with it is recorded like everything
//! else, so a retelling knows it, and so every append of the follower can be made on condition that
//! nothing of it has changed meanwhile.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::{Event, EventType, content};
use crate::recording::{LogId, Mark};

/// The type of the streams of followers.
pub const FOLLOWER_STREAM_TYPE: &str = "retold.follower";

/// Name of the stream of the follower with this name.
pub fn follower_stream(name: &str) -> String {
    format!("{FOLLOWER_STREAM_TYPE}/{name}")
}

/// Where a follower begins to follow a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StartingMark {
    /// Name of the application that is followed.
    pub upstream: String,
    /// The log that this name led to.
    pub log: LogId,
    /// The first event that is processed is the one after this mark; with none, the log's first.
    pub after: Option<Mark>,
    /// Name of the system whose program recorded that; none in what was recorded before this was noted, and
    /// in what an operator asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
}

impl StartingMark {
    /// Of the log of this name and id, after this mark.
    pub fn new(upstream: impl Into<String>, log: LogId, after: Option<Mark>) -> Self {
        Self {
            upstream: upstream.into(),
            log,
            after,
            system: None,
        }
    }

    /// Recorded for the system of this name.
    #[must_use]
    pub(crate) fn of_system(mut self, system: Option<&str>) -> Self {
        self.system = system.map(str::to_owned);
        self
    }
}

/// An event of an upstream log that a follower has put aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Parked {
    /// Name of the application whose event it is.
    pub upstream: String,
    /// Its log.
    pub log: LogId,
    /// Which event.
    pub event: Mark,
    /// The stream of the event, whose later events are held back; none if it has none.
    pub stream: Option<String>,
    /// What went wrong; none for an event that is held back because an earlier one of its stream is
    /// parked.
    pub failure: Option<String>,
    /// The partition that put it aside.
    #[serde(default, skip_serializing_if = "is_first")]
    pub partition: u32,
}

/// What a follower that is not split has recorded stays as it was.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_first(partition: &u32) -> bool {
    *partition == 0
}

/// What happened to a follower.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum FollowerEvent {
    /// It began to follow a log.
    Started(StartingMark),
    /// It put an event aside, because the policy failed or an earlier event of the stream is parked.
    Parked(Parked),
    /// A parked event was processed after all; its effects are in the same append.
    Resumed {
        /// The log of the event.
        log: LogId,
        /// Which event.
        event: Mark,
        /// By which edition of the follower: of an event without effects nothing else says so.
        edition: u32,
        /// By which partition.
        #[serde(default, skip_serializing_if = "is_first")]
        partition: u32,
    },
    /// An operator decided that a parked event is not to be processed.
    Skipped {
        /// The log of the event.
        log: LogId,
        /// Which event.
        event: Mark,
        /// Why, in the operator's words.
        reason: String,
    },
    /// It stopped: an operator asked for it, or a policy failed.
    Paused {
        /// Why, for people.
        reason: String,
        /// The event whose policy failed, if it was that: its log and place.
        failed: Option<(LogId, Mark)>,
    },
    /// An operator let it go on, and answer what is parked once more; also one that was retired.
    Continued,
    /// An operator let it begin anew: a generation with its own key, its own stretches, and ids of
    /// effects of its own. What was parked is parked no more; what was paused stays paused.
    Reset {
        /// The number of the generation, from 2.
        generation: u64,
        /// Where it begins, for each log that it follows.
        starts: Vec<StartingMark>,
    },
    /// An operator asked for another number of partitions. Those that there are answer everything up to
    /// where the first of them is, and nothing beyond; then it is split anew.
    Partitioning {
        /// How many there are to be.
        partitions: u32,
        /// Name of the rule that says which events belong together; none for the one that there is.
        by: Option<String>,
    },
    /// It was split: its first generation when it started, or a new one when all partitions of the one
    /// before were at the same places. What was parked stays parked, and ids of effects are what they
    /// would have been.
    Partitioned {
        /// The number of the generation.
        generation: u64,
        /// How many partitions it has.
        partitions: u32,
        /// Name of the rule that says which events belong together.
        by: String,
        /// Where all of them begin, for each log that it follows.
        starts: Vec<StartingMark>,
    },
    /// An operator ended it for good: it records nothing more, and a program that declares it is refused.
    Retired {
        /// Why, for people.
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

    /// These texts are in logs. What a follower that is not split records is what it recorded before
    /// there were partitions.
    #[test]
    fn recorded_texts_are_stable() {
        let id = uuid::Uuid::from_u128(1);
        let (log, event) = (
            LogId::new(id),
            Mark {
                position: Position::FIRST,
                event_id: EventId::new(id),
            },
        );
        let uuid = "00000000-0000-0000-0000-000000000001";
        let mark = format!(r#"{{"position":1,"event_id":"{uuid}"}}"#);
        let resumed = |partition| FollowerEvent::Resumed {
            log,
            event,
            edition: 1,
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
        let resumed_text = format!(r#"retold.resumed {{"log":"{uuid}","event":{mark},"edition":1"#);
        let parked_text = format!(
            r#"retold.parked {{"upstream":"orders","log":"{uuid}","event":{mark},"stream":"Order/1","failure":null"#
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
                    StartingMark::new("orders", log, None).of_system(Some("shop")),
                ),
                format!(
                    r#"retold.started {{"upstream":"orders","log":"{uuid}","after":null,"system":"shop"}}"#
                ),
            ),
            (
                FollowerEvent::Started(StartingMark::new("orders", log, None)),
                format!(r#"retold.started {{"upstream":"orders","log":"{uuid}","after":null}}"#),
            ),
            (
                FollowerEvent::Partitioned {
                    generation: 2,
                    partitions: 4,
                    by: "stream".into(),
                    starts: vec![StartingMark::new("orders", log, Some(event))],
                },
                format!(
                    r#"retold.partitioned {{"generation":2,"partitions":4,"by":"stream","starts":[{{"upstream":"orders","log":"{uuid}","after":{mark}}}]}}"#
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
