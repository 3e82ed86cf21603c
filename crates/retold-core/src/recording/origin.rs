//! Why an event is in its log.

use serde::{Deserialize, Serialize};

use super::identity::{EventId, LogId, Position};
use super::stretch::FollowerKey;

/// Why an event is in its log. Together with the order of the log this is what a retelling needs.
///
/// Stores keep it as text: nothing for a command, which most events come from, else JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Origin {
    /// Somebody outside asked for it.
    #[default]
    Command,
    /// A follower's policy answered an event of an upstream log with it.
    Effect {
        /// The follower, with its generation and partition.
        follower: FollowerKey,
        /// The edition of the follower's policies.
        edition: u32,
        /// The log of the event that caused it.
        upstream: LogId,
        /// The place of the event that caused it.
        position: Position,
        /// The event that caused it.
        event_id: EventId,
    },
    /// A timer came due.
    Timer {
        /// The event that scheduled it.
        scheduled: EventId,
    },
    /// The library itself recorded it, about itself.
    Library,
}

impl Origin {
    /// The text that is stored; empty for a command.
    pub fn to_text(&self) -> String {
        match self {
            Self::Command => String::new(),
            _ => serde_json::to_string(self).expect("an origin has only strings and numbers"),
        }
    }

    /// The origin of a stored text.
    ///
    /// # Errors
    ///
    /// What JSON finds wrong with the text.
    pub fn from_text(text: &str) -> Result<Self, serde_json::Error> {
        if text.is_empty() {
            Ok(Self::Command)
        } else {
            serde_json::from_str(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// These texts are a promise to logs already written.
    #[test]
    fn origin_texts_are_stable() {
        let uuid = uuid::Uuid::from_u128(1);
        let check = |origin: Origin, text: &str| {
            assert_eq!(origin.to_text(), text);
            assert_eq!(Origin::from_text(text).unwrap(), origin);
        };
        check(Origin::Command, "");
        check(Origin::Library, r#""library""#);
        check(
            Origin::Timer {
                scheduled: EventId::new(uuid),
            },
            r#"{"timer":{"scheduled":"00000000-0000-0000-0000-000000000001"}}"#,
        );
        check(
            Origin::Effect {
                follower: FollowerKey::new("notices@1"),
                edition: 2,
                upstream: LogId::new(uuid),
                position: Position::FIRST,
                event_id: EventId::new(uuid),
            },
            r#"{"effect":{"follower":"notices@1","edition":2,"upstream":"00000000-0000-0000-0000-000000000001","position":1,"event_id":"00000000-0000-0000-0000-000000000001"}}"#,
        );
    }
}
