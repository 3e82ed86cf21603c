//! Checksums of stretches: a follower's recorded progress is read back unchanged, or the read
//! fails.
//!
//! A stretch is extended by statements of the server, which cannot hash. So it has two checksums:
//! one of its end, and one of everything else. The numbers that the server assigns, ordinal and
//! head, are combined with both as described in `schema.sql`.

use retold_core::recording::checksum::{Numbers, of_pieces};
use retold_core::recording::{Corrupt, LogId, Position, RecordedStretch, Stretch};

/// The checksums of a stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StretchChecksum {
    /// Of everything but the end.
    pub(crate) whole: i64,
    /// Of the end.
    pub(crate) to: i64,
}

impl StretchChecksum {
    /// Computes the checksums of a stretch that is about to be recorded in a log, without the
    /// numbers that the server assigns.
    pub(crate) fn of_new(log: LogId, stretch: &Stretch, with_events: bool) -> Self {
        let (log, upstream) = (log.uuid(), stretch.upstream.uuid());
        let whose = [
            &log.as_bytes()[..],
            stretch.follower.as_str().as_bytes(),
            upstream.as_bytes(),
        ];
        let after = Position::number(stretch.after).to_le_bytes();
        let edition = stretch.edition.to_le_bytes();
        let whole = [&after[..], &edition, &[u8::from(with_events)]];
        let to_position = stretch.to.position.get().to_le_bytes();
        let to_id = stretch.to.event_id.uuid();
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

    /// Checks that a stretch is the one that was recorded with these checksums in this log.
    ///
    /// # Errors
    ///
    /// [`Corrupt`] if it is not.
    pub(crate) fn check(
        self,
        log: LogId,
        recorded: &RecordedStretch,
        with_events: bool,
    ) -> Result<(), Corrupt> {
        let content = Self::of_new(log, &recorded.stretch, with_events);
        match content.seal(recorded.ordinal, recorded.head) == self {
            true => Ok(()),
            false => Err(Corrupt::new(
                format!("stretch {}", recorded.ordinal),
                "it is not what was recorded: its checksum differs",
            )),
        }
    }
}
