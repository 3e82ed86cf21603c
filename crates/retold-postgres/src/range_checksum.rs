//! Checksums of processed ranges: a follower's recorded progress is read back unchanged, or the
//! read fails.
//!
//! A processed range is extended by statements of the server, which cannot hash. So it has two
//! checksums: one of its end, and one of everything else. The numbers that the server assigns,
//! ordinal and head, are combined with both in the functions of the schema.

use retold_core::recording::checksum::{Numbers, of_pieces};
use retold_core::recording::{Corrupt, LogId, Position, ProcessedRange, RecordedRange};

/// The checksums of a processed range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RangeChecksum {
    /// Of everything but the end.
    pub(crate) whole: i64,
    /// Of the end.
    pub(crate) to: i64,
}

impl RangeChecksum {
    /// Computes the checksums of a processed range that is about to be recorded in a log, without
    /// the numbers that the server assigns.
    pub(crate) fn of_new(log: LogId, range: &ProcessedRange, with_events: bool) -> Self {
        let (log, upstream) = (log.uuid(), range.upstream.uuid());
        let whose = [
            &log.as_bytes()[..],
            range.follower.as_str().as_bytes(),
            upstream.as_bytes(),
        ];
        let after = Position::number(range.after).to_le_bytes();
        let policy_version = range.policy_version.to_le_bytes();
        let whole = [&after[..], &policy_version, &[u8::from(with_events)]];
        let to_position = range.to.position.get().to_le_bytes();
        let to_id = range.to.event_id.uuid();
        let to = [&to_position[..], to_id.as_bytes()];
        Self {
            whole: of_pieces(whose.into_iter().chain(whole)).cast_signed(),
            to: of_pieces(whose.into_iter().chain(to)).cast_signed(),
        }
    }

    /// Adds the numbers that the server assigns.
    fn seal(self, ordinal: u64, head: Option<Position>) -> Self {
        let numbers = |head: u64| Numbers {
            position: ordinal.cast_signed(),
            version: head.cast_signed(),
            recorded_at: 0,
            append_number: 0,
        };
        let combined = |head| numbers(head).combined().cast_signed();
        Self {
            whole: self.whole ^ combined(Position::number(head)),
            to: self.to ^ combined(0),
        }
    }

    /// Checks that a processed range is the one that was recorded with these checksums in this log.
    ///
    /// # Errors
    ///
    /// [`Corrupt`] if it is not.
    pub(crate) fn check(
        self,
        log: LogId,
        recorded: &RecordedRange,
        with_events: bool,
    ) -> Result<(), Corrupt> {
        let content = Self::of_new(log, &recorded.range, with_events);
        match content.seal(recorded.ordinal, recorded.head) == self {
            true => Ok(()),
            false => Err(Corrupt::new(
                format!("processed range {}", recorded.ordinal),
                "it is not what was recorded: its checksum differs",
            )),
        }
    }
}
