//! Checksums of stored data: a read returns exactly the bytes that were written, or it fails.
//!
//! A store keeps two 64-bit numbers with each event. They are computed when the event is recorded
//! and checked whenever it is read, so damage in between (a disk error, a file that was patched, an
//! index that points to another event) is found before the event is used.
//!
//! - [`Checksum::payload`]: the hash of the payload. For an erased one it is `!0`, the inverted
//!   hash of no payload, so that a lost payload is not mistaken for an erased one. An erasure
//!   computes both checksums again ([`Content::of_stored`]): with the hash of the former payload,
//!   anyone who reads the rows could test guesses of it. An inverted hash of a former payload, with
//!   the former second checksum, is still accepted: SQL erased events in this way.
//! - [`Checksum::event`]: the hash of everything else (the log's id, all fields, and the hash of
//!   the payload), combined with the numbers that the log assigns: position, version, time of
//!   recording, and append number.
//!
//! A database may assign these numbers itself, in the statement that records the event. They are
//! therefore combined by arithmetic that every database has and that cannot overflow: see
//! [`Numbers`].
//!
//! The hash is rapidhash V3, whose results are the same on every platform and in every version. It
//! does not protect against an attacker who changes events and recomputes their checksums; that
//! would need a key.

use rapidhash::v3::rapidhash_v3;

use super::fault::Corrupt;
use super::identity::{LogId, Version};
use super::new_event::NewEvent;
use super::stored_event::{AppendPlace, StoredEvent, TEXTS_COUNT};

/// The checksums that a store keeps with an event to detect damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "a store keeps every field")]
pub struct Checksum {
    /// The hash of the payload; `!0` if the payload was erased.
    pub payload: u64,
    /// The hash of everything else.
    pub event: u64,
}

/// The numbers that a log assigns to an event, as databases store them.
///
/// Each number is split into its lower 31 and its upper 33 bits. Each half is multiplied by its own
/// constant, and the two products are added; the four results are combined by exclusive or. No
/// product or sum reaches 2^63, so plain arithmetic on signed 64-bit numbers is enough: in SQL
/// `(n & 2147483647) * A + ((n >> 31) & 8589934591) * B`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "a store sets every field")]
pub struct Numbers {
    /// The place in the log.
    pub position: i64,
    /// The place in its stream; 0 if it has no stream.
    pub version: i64,
    /// The time of recording, in microseconds since 1970.
    pub recorded_at: i64,
    /// The number of its append; 0 in a store that does not keep it.
    pub append_number: i64,
}

impl Numbers {
    /// The factors of position, version, time of recording and append number: odd, and below 2^31
    /// and 2^29. They are part of stored data and of the SQL functions of the
    /// PostgreSQL store.
    const FACTORS: [(i64, i64); 4] = [
        (2_146_121_005, 374_761_393),
        (1_540_483_477, 506_952_113),
        (1_903_816_577, 439_351_297),
        (1_216_613_327, 288_460_637),
    ];

    /// Combines all numbers into one, which is then combined with a hash by exclusive or.
    pub fn combined(self) -> u64 {
        let numbers = [
            self.position,
            self.version,
            self.recorded_at,
            self.append_number,
        ];
        let parts = numbers.iter().zip(Self::FACTORS).map(|(number, factors)| {
            (number & 0x7fff_ffff) * factors.0 + ((number >> 31) & 0x1_ffff_ffff) * factors.1
        });
        parts.fold(0, |all, part| all ^ part).cast_unsigned()
    }
}

/// The part of a checksum that does not depend on the numbers that the log assigns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "a store sends every field")]
pub struct Content {
    /// [`Checksum::payload`].
    pub payload: u64,
    /// Combined with the [`Numbers`], this gives [`Checksum::event`].
    pub event: u64,
}

impl Content {
    /// Computes the part for an event that is about to be recorded, with `tags` packed by
    /// [`pack_tags`](super::stored_event::pack_tags) and `origin` as text.
    pub fn of_new(
        log: LogId,
        event: &NewEvent,
        place: AppendPlace,
        tags: &[u8],
        origin: &str,
    ) -> Self {
        let pieces: [&[u8]; TEXTS_COUNT] = [
            event.stream.as_deref().unwrap_or("").as_bytes(),
            event.topic.as_bytes(),
            tags,
            event.encoding.as_str().as_bytes(),
            origin.as_bytes(),
            &event.metadata,
        ];
        let mut texts = Vec::with_capacity(pieces.iter().map(|piece| piece.len()).sum());
        let ends = pieces.map(|piece| {
            texts.extend_from_slice(piece);
            u32::try_from(texts.len()).expect("the append was checked against the limits")
        });
        // Inverted, so that an absent payload hashes to 0.
        let payload = event.payload.as_ref().map_or(!0, |it| rapidhash_v3(it));
        let fields = Fields {
            log,
            id: event.id.uuid().into_bytes(),
            place,
            revision: event.revision,
            has_stream: event.stream.is_some(),
            time: event.time.as_micros(),
            ends: &ends,
            texts: &texts,
        };
        let event = match event.payload {
            Some(_) => fields.hash(payload),
            None => fields.hash(!payload),
        };
        Self { payload, event }
    }

    /// Computes the part for an event of this log that an amendment changed.
    pub fn of_stored(log: LogId, event: &StoredEvent) -> Self {
        let hash = event.payload().map(rapidhash_v3);
        Self {
            // Inverted, so that an absent payload hashes to 0.
            payload: hash.unwrap_or(!0),
            event: Fields::of(log, event).hash(hash.unwrap_or(0)),
        }
    }

    /// Combines it with the numbers that the log assigned.
    pub fn seal(self, numbers: Numbers) -> Checksum {
        Checksum {
            payload: self.payload,
            event: self.event ^ numbers.combined(),
        }
    }
}

/// Checks that an event is the one that was recorded in this log with this checksum.
///
/// # Errors
///
/// [`Corrupt`] if it is not.
pub fn check(
    log: LogId,
    event: &StoredEvent,
    append_number: i64,
    stored: Checksum,
) -> Result<(), Corrupt> {
    let damaged = |what: &str| {
        let place = format!("event {} at {}", event.id(), event.position());
        Err(Corrupt::new(place, what))
    };
    let payload = match event.payload() {
        Some(payload) => {
            let hash = rapidhash_v3(payload);
            if hash != stored.payload {
                return damaged("its payload is not what was recorded: the checksum differs");
            }
            hash
        }
        None => !stored.payload,
    };
    let numbers = Numbers {
        position: event.position().get().cast_signed(),
        version: event.version().map_or(0, Version::get).cast_signed(),
        recorded_at: event.recorded_at().as_micros(),
        append_number,
    };
    if Fields::of(log, event).hash(payload) ^ numbers.combined() != stored.event {
        return damaged(
            "it is not the event that was recorded there: the checksum over its fields, its place \
             and the id of the log differs",
        );
    }
    Ok(())
}

/// All fields of an event except its payload and the numbers that the log assigns.
struct Fields<'a> {
    log: LogId,
    id: [u8; 16],
    place: AppendPlace,
    revision: u32,
    has_stream: bool,
    time: i64,
    /// Ends of the parts in `texts`: stream, topic, tags, encoding, origin, metadata.
    ends: &'a [u32; TEXTS_COUNT],
    texts: &'a [u8],
}

impl<'a> Fields<'a> {
    fn of(log: LogId, event: &'a StoredEvent) -> Self {
        let (texts, ends) = event.texts();
        Self {
            log,
            id: event.id().uuid().into_bytes(),
            place: event.place(),
            revision: event.revision(),
            has_stream: event.version().is_some(),
            time: event.time().as_micros(),
            ends,
            texts,
        }
    }

    fn hash(&self, payload: u64) -> u64 {
        let mut bytes = [0; 96];
        bytes[..16].copy_from_slice(self.log.uuid().as_bytes());
        bytes[16..32].copy_from_slice(&self.id);
        bytes[32..36].copy_from_slice(&self.place.index.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.place.count.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.revision.to_le_bytes());
        bytes[44..48].copy_from_slice(&u32::from(self.has_stream).to_le_bytes());
        bytes[48..56].copy_from_slice(&self.time.to_le_bytes());
        for (index, end) in self.ends.iter().enumerate() {
            let start = 56 + 4 * index;
            bytes[start..start + 4].copy_from_slice(&end.to_le_bytes());
        }
        bytes[80..88].copy_from_slice(&rapidhash_v3(self.texts).to_le_bytes());
        bytes[88..].copy_from_slice(&payload.to_le_bytes());
        rapidhash_v3(&bytes)
    }
}

/// Computes a checksum over any pieces, each hashed with its size. Stores use it for data other
/// than events.
pub fn of_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut bytes = Vec::new();
    for piece in pieces {
        bytes.extend_from_slice(&(piece.len() as u64).to_le_bytes());
        bytes.extend_from_slice(piece);
    }
    rapidhash_v3(&bytes)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::Timestamp;
    use crate::recording::identity::{EventId, Position};
    use crate::recording::origin::Origin;
    use crate::recording::stored_event::pack_tags;

    fn log() -> LogId {
        LogId::new(Uuid::from_u128(7))
    }

    fn new() -> NewEvent {
        NewEvent::new(EventId::new(Uuid::from_u128(5)), "Dog.Registered", "{}")
            .stream("dog/1")
            .tag("a")
            .tag("b")
            .time(Timestamp::from_micros(11))
            .metadata(&b"meta"[..])
    }

    const PLACE: AppendPlace = AppendPlace { index: 1, count: 3 };
    const NUMBERS: Numbers = Numbers {
        position: 2,
        version: 1,
        recorded_at: 9,
        append_number: 4,
    };

    fn stored(new: &NewEvent) -> StoredEvent {
        let version = new.stream.as_ref().map(|_| Version::FIRST);
        let now = Timestamp::from_micros(9);
        StoredEvent::from_new(new, Position::FIRST.next(), version, PLACE, now)
    }

    fn sealed(new: &NewEvent) -> Checksum {
        let tags = pack_tags(new.tags.iter().map(|tag| &**tag));
        let numbers = Numbers {
            version: i64::from(new.stream.is_some()),
            ..NUMBERS
        };
        Content::of_new(log(), new, PLACE, &tags, &new.origin.to_text()).seal(numbers)
    }

    #[track_caller]
    fn check_fits(new: &NewEvent) {
        check(log(), &stored(new), 4, sealed(new)).unwrap();
    }

    /// These numbers are part of stored data and must not change.
    #[test]
    fn checksums_are_stable() {
        let golden = |new: &NewEvent, payload, event| {
            let found = sealed(new);
            let expected = Checksum { payload, event };
            assert_eq!(found, expected, "{:#x} {:#x}", found.payload, found.event);
        };
        golden(&new(), 0xa4b7_dc41_c065_ad1e, 0x2ea0_893d_d4b5_de81);
        golden(&new().erased(), u64::MAX, 0x0527_cf79_4237_a01f);
    }

    #[test]
    fn a_checksum_made_before_recording_matches_the_recorded_event() {
        check_fits(&new());
        check_fits(&new().erased());
        let mut bare = NewEvent::new(EventId::new(Uuid::nil()), "T", "");
        check_fits(&bare);
        bare.stream = Some("".into());
        bare.metadata = vec![0; 500].into();
        check_fits(&bare);
    }

    /// Each field alone, and also the boundary between one field and the next.
    #[test]
    fn every_field_counts() {
        let fits = |new: &NewEvent, sum| check(log(), &stored(new), 4, sum).is_ok();
        let sum = sealed(&new());
        assert!(fits(&new(), sum));
        let mut others = vec![
            new().stream("dog/2"),
            new().revision(2),
            new().tag("c"),
            new().time(Timestamp::from_micros(12)),
            new().metadata(&b"meto"[..]),
            new().erased(),
        ];
        let change = |change: fn(&mut NewEvent)| {
            let mut event = new();
            change(&mut event);
            event
        };
        others.push(change(|it| it.id = EventId::new(Uuid::from_u128(6))));
        others.push(change(|it| it.topic = "Dog.Removed".into()));
        others.push(change(|it| it.payload = Some("[]".into())));
        others.push(change(|it| it.stream = None));
        others.push(change(|it| it.origin = Origin::Library));
        others.push(change(|it| {
            it.stream = Some("dog/1D".into());
            it.topic = "og.Registered".into();
        }));
        for other in &others {
            assert!(!fits(other, sum), "{other:?}");
        }
        assert!(check(LogId::new(Uuid::nil()), &stored(&new()), 4, sum).is_err());
        assert!(check(log(), &stored(&new()), 5, sum).is_err());
        let moved = |position, version, micros, place| {
            let time = Timestamp::from_micros(micros);
            let event = StoredEvent::from_new(&new(), position, Some(version), place, time);
            check(log(), &event, 4, sum)
        };
        let (second, version) = (Position::FIRST.next(), Version::FIRST);
        assert!(moved(second, version, 9, PLACE).is_ok());
        assert!(moved(Position::FIRST, version, 9, PLACE).is_err());
        assert!(moved(second, version.next(), 9, PLACE).is_err());
        assert!(moved(second, version, 8, PLACE).is_err());
        assert!(moved(second, version, 9, AppendPlace { index: 0, ..PLACE }).is_err());
        assert!(moved(second, version, 9, AppendPlace { count: 2, ..PLACE }).is_err());
    }

    /// A missing payload counts as erased only if its checksum says so.
    #[test]
    fn a_lost_payload_is_not_an_erased_one() {
        let sum = sealed(&new());
        let gone = stored(&new().erased());
        assert!(check(log(), &gone, 4, sum).is_err());
        let erased = Checksum {
            payload: !sum.payload,
            ..sum
        };
        assert!(check(log(), &gone, 4, erased).is_ok());
        assert!(check(log(), &stored(&new()), 4, erased).is_err());
    }

    /// Flipping one, two or three bits of the numbers always changes the result. All pairs are
    /// tried, and many triples.
    #[test]
    fn flipped_bits_of_numbers_never_cancel_out() {
        let base = [1_234_567, 89, 1_764_000_000_000_000, 345_678];
        let combined = |flips: &[usize]| {
            let mut numbers = base;
            for flip in flips {
                numbers[flip / 64] ^= 1_i64 << (flip % 64);
            }
            let [position, version, recorded_at, append_number] = numbers;
            let numbers = Numbers {
                position,
                version,
                recorded_at,
                append_number,
            };
            numbers.combined()
        };
        let whole = combined(&[]);
        for first in 0..256 {
            assert_ne!(combined(&[first]), whole, "{first}");
            for second in 0..first {
                assert_ne!(combined(&[first, second]), whole, "{first} {second}");
                let third = (first * 31 + second * 7) % 256;
                if third != first && third != second {
                    let flips = [first, second, third];
                    assert_ne!(combined(&flips), whole, "{flips:?}");
                }
            }
        }
    }

    #[test]
    fn pieces_count_with_their_ends() {
        let of = |pieces: &[&str]| of_pieces(pieces.iter().map(|piece| piece.as_bytes()));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["ab"]), of(&["ab", ""]));
    }
}
