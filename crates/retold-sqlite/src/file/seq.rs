//! A single number for a place in a file: the key of a log and a number in it, as
//! `key << 40 | number`.
//!
//! The events (by position) of all logs are in one table under this number, and their processed
//! ranges (by ordinal) in another. Thus a log's rows are adjacent and in its order, a new one
//! follows them, and one comparison determines the log and whether a row is before or after.

use retold_core::recording::Position;

/// Bits of the number in the log.
const NUMBER_BITS: u32 = 40;
/// The highest position a log can have in this store, about 1.1 million million events.
pub(crate) const NUMBER_MAX: u64 = (1 << NUMBER_BITS) - 1;
/// The most logs in a file: the highest key.
pub(crate) const LOGS_MAX: i64 = (1 << (63 - NUMBER_BITS)) - 1;

/// The key of a row: of an event or a processed range.
pub(crate) type Seq = i64;

/// A log's number in its file, from 1 to [`LOGS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LogKey(pub(crate) i64);

impl LogKey {
    /// The place of a number in this log; numbers beyond [`NUMBER_MAX`] get the last place.
    pub(crate) fn seq(self, number: u64) -> Seq {
        let number = i64::try_from(number.min(NUMBER_MAX)).expect("40 bits fit");
        (self.0 << NUMBER_BITS) | number
    }

    /// Just before the log's first row.
    pub(crate) fn start(self) -> Seq {
        self.seq(0)
    }

    /// The last place the log can have.
    pub(crate) fn last(self) -> Seq {
        self.seq(NUMBER_MAX)
    }

    /// The log of this row.
    pub(crate) fn of(seq: Seq) -> Self {
        Self(seq >> NUMBER_BITS)
    }
}

/// The number of a row in its log.
pub(crate) fn number(seq: Seq) -> u64 {
    seq.unsigned_abs() & NUMBER_MAX
}

/// The position of an event; `None` for a row that no recorder wrote.
pub(crate) fn position(seq: Seq) -> Option<Position> {
    Position::new(number(seq))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Existing files depend on these numbers.
    #[test]
    fn places_are_stable() {
        let check = |log, number_there, seq: Seq| {
            assert_eq!(LogKey(log).seq(number_there), seq);
            assert_eq!((LogKey::of(seq).0, number(seq)), (log, number_there));
        };
        check(1, 1, 0x100_0000_0001);
        check(3, 77, 0x300_0000_004d);
        check(LOGS_MAX, NUMBER_MAX, i64::MAX);
        assert_eq!(position(LogKey(1).start()), None);
        assert!(LogKey(1).last() < LogKey(2).start());
    }
}
