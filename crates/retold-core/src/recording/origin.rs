//! The reason why an event is in its log.

use serde::{Deserialize, Serialize};

use super::identity::{EventId, LogId, Position};
use super::processed_range::FollowerKey;

/// The reason why an event is in its log. A retelling uses the origins and the order of the log as
/// its input.
///
/// Stores keep it as text: empty for a command, the origin of most events, otherwise JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Origin {
    /// A command from outside the system.
    #[default]
    Command,
    /// A follower's policy recorded it as an effect of an event of an upstream log.
    Effect {
        /// The follower, with its generation and partition.
        follower: FollowerKey,
        /// The policy version of the follower's policies.
        #[serde(rename = "edition")]
        policy_version: u32,
        /// The log of the event that caused it.
        upstream: LogId,
        /// The position of the event that caused it.
        position: Position,
        /// The event that caused it.
        event_id: EventId,
    },
    /// A timer expired.
    Timer {
        /// The event that scheduled it.
        scheduled: EventId,
    },
    /// The library recorded it about itself.
    Library,
}

impl Origin {
    /// Returns the text that is stored; empty for a command.
    pub fn to_text(&self) -> String {
        match self {
            Self::Command => String::new(),
            _ => serde_json::to_string(self).expect("an origin has only strings and numbers"),
        }
    }

    /// Parses a stored text.
    ///
    /// # Errors
    ///
    /// The JSON error, if the text is not an origin.
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

    /// Recorded logs contain these texts, so they must not change.
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
                policy_version: 2,
                upstream: LogId::new(uuid),
                position: Position::FIRST,
                event_id: EventId::new(uuid),
            },
            "{\"effect\":{\"follower\":\"notices@1\",\"edition\":2,\
             \"upstream\":\"00000000-0000-0000-0000-000000000001\",\"position\":1,\
             \"event_id\":\"00000000-0000-0000-0000-000000000001\"}}",
        );
    }
}
