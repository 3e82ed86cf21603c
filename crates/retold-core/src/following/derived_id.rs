//! Ids that are functions of a cause: the same cause gives the same ids, on any runner and store,
//! in any process, and in a later retelling.
//!
//! They are UUIDs of version 8 (RFC 9562, section 5.8): 48 bits of the event's time in
//! milliseconds, so that inserts land at the end of indexes of ids, then the hash of the cause.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::domain::Timestamp;
use crate::recording::{EventId, LogId, Position};

/// Hashed before everything else, so that no other use of the hash gives the same ids.
const EFFECT_DOMAIN: &[u8] = b"retold.effect/1";
const TIMER_DOMAIN: &[u8] = b"retold.timer/1";

/// The purpose of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The id of an event that a policy records.
    Event,
    /// An id that a policy asked for.
    Asked,
}

impl Purpose {
    const fn name(self) -> &'static [u8] {
        match self {
            Self::Event => b"event",
            Self::Asked => b"asked",
        }
    }
}

/// The input for the ids of one upstream event's effects.
#[derive(Clone, Debug)]
pub(crate) struct IdSeed {
    /// Hash state over everything except purpose and ordinal.
    begun: Sha256,
    millis: [u8; 6],
}

impl IdSeed {
    /// The seed for the effects of the event at this position, in the follower with this key, which
    /// names no partition. `resumed` is the id of the `retold.resumed` event, if the event had been
    /// parked.
    pub(crate) fn new(
        key: &str,
        upstream: LogId,
        position: Position,
        resumed: Option<EventId>,
        time: Timestamp,
    ) -> Self {
        let mut begun = Sha256::new();
        begun.update(EFFECT_DOMAIN);
        begun.update((key.len() as u64).to_be_bytes());
        begun.update(key.as_bytes());
        begun.update(upstream.uuid().as_bytes());
        begun.update(position.get().to_be_bytes());
        match resumed {
            None => begun.update([0]),
            Some(id) => {
                begun.update([1]);
                begun.update(id.uuid().as_bytes());
            }
        }
        Self {
            begun,
            millis: millis(time),
        }
    }

    /// Returns the id for this purpose with this ordinal, counted from 0 for each purpose.
    pub(crate) fn id(&self, purpose: Purpose, ordinal: u64) -> Uuid {
        let mut hash = self.begun.clone();
        hash.update((purpose.name().len() as u64).to_be_bytes());
        hash.update(purpose.name());
        hash.update(ordinal.to_be_bytes());
        uuid(self.millis, hash)
    }
}

/// Returns the id of an event that is recorded when the timer set by this event fires. It is the
/// same in every process that fires the timer.
pub(crate) fn timer_event_id(scheduled: EventId, due: Timestamp, ordinal: u64) -> EventId {
    let mut hash = Sha256::new();
    hash.update(TIMER_DOMAIN);
    hash.update(scheduled.uuid().as_bytes());
    hash.update(ordinal.to_be_bytes());
    EventId::new(uuid(millis(due), hash))
}

/// Returns the low 48 bits of the milliseconds since 1970; earlier instants count as 1970.
fn millis(time: Timestamp) -> [u8; 6] {
    let millis = u64::try_from(time.as_micros() / 1_000).unwrap_or(0);
    let mut bytes = [0; 6];
    bytes.copy_from_slice(&millis.to_be_bytes()[2..]);
    bytes
}

fn uuid(millis: [u8; 6], hash: Sha256) -> Uuid {
    let digest: [u8; 32] = hash.finalize().into();
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&millis);
    bytes[6..].copy_from_slice(&digest[..10]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Existing logs depend on these ids: with others, a retelling would find differences.
    #[test]
    fn derived_ids_are_stable() {
        let upstream = LogId::new(Uuid::from_u128(7));
        let time: Timestamp = "2013-01-01T05:17:00Z".parse().unwrap();
        let seed = |resumed| IdSeed::new("hours@1", upstream, Position::FIRST, resumed, time);
        let resumed = Some(EventId::new(Uuid::from_u128(9)));
        let check = |id: Uuid, text: &str| {
            assert_eq!(id.to_string(), text);
            assert_eq!(id.get_version_num(), 8);
        };
        check(
            seed(None).id(Purpose::Event, 0),
            "013bf48a-90e0-8aa8-b619-ef92c6697297",
        );
        check(
            seed(None).id(Purpose::Event, 1),
            "013bf48a-90e0-8a4f-a92f-76fa0b2cf98f",
        );
        check(
            seed(None).id(Purpose::Asked, 0),
            "013bf48a-90e0-8e6f-91ce-1e3f76701324",
        );
        check(
            seed(resumed).id(Purpose::Event, 0),
            "013bf48a-90e0-894a-98fc-4801d8208ace",
        );
        let fired = timer_event_id(EventId::new(Uuid::from_u128(9)), time, 0);
        check(fired.uuid(), "013bf48a-90e0-896f-9890-a029c354a5a2");
    }
}
