//! Lanes: each writing task has a lane and counts its events in it. The id of an event contains its
//! lane and number, so a reader can detect missing and duplicate events immediately.

use retold::recording::EventId;
use retold::uuid::Uuid;

/// Number of writing tasks per process, each with one append in progress.
pub(super) const LANES_PER_WRITER: u32 = 16;

/// Distinguishes these ids from all others.
const MARKER: u128 = 0x7461_696c << 96;

/// Returns the id of an event from its lane and its number, from 0.
pub(super) fn event_id(lane: u32, number: u64) -> EventId {
    EventId::new(Uuid::from_u128(
        MARKER | u128::from(lane) << 64 | u128::from(number),
    ))
}

/// Returns the lane and the number in an id.
pub(super) fn lane_and_number(id: EventId) -> (usize, usize) {
    let bits = id.uuid().as_u128();
    let number = usize::try_from(bits & u128::from(u64::MAX)).unwrap_or(usize::MAX);
    let lane = (bits ^ MARKER) >> 64;
    (usize::try_from(lane).unwrap_or(usize::MAX), number)
}

/// The numbers of a lane that were seen.
#[derive(Debug, Default)]
pub(super) struct SeenNumbers {
    words: Vec<u64>,
}

impl SeenNumbers {
    /// Marks a number as seen. Returns false if it was seen before.
    pub(super) fn insert(&mut self, number: usize) -> bool {
        let (word, bit) = (number / 64, 1 << (number % 64));
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        let is_new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        is_new
    }

    /// Returns how many of the first `count` numbers were not seen.
    pub(super) fn missing_of(&self, count: u64) -> u64 {
        let is_seen = |number: &u64| {
            let word = usize::try_from(number / 64).unwrap_or(usize::MAX);
            let words = self.words.get(word).copied().unwrap_or(0);
            words & (1 << (number % 64)) != 0
        };
        let seen = (0..count).filter(is_seen).count() as u64;
        count - seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_contains_lane_and_number() {
        for (lane, number) in [(0, 0), (127, 1), (3, 1 << 40)] {
            let said = lane_and_number(event_id(lane, number));
            assert_eq!(said, (lane as usize, number as usize));
        }
    }

    #[test]
    fn missing_and_duplicate_numbers_are_detected() {
        let mut seen = SeenNumbers::default();
        for number in [0, 1, 64, 3] {
            assert!(seen.insert(number));
        }
        assert!(!seen.insert(64));
        assert_eq!(seen.missing_of(5), 2);
        assert_eq!(seen.missing_of(65), 61);
    }
}
