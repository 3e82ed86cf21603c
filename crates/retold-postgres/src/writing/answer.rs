//! Turns the verdicts of the function in the schema into the results of appends.

use retold_core::recording::{
    AmendmentConflict, Append, Appended, Checkpoint, Condition, Conflict, Corrupt, EventId,
    Position, Positions, RecordError, Version,
};
use tokio_postgres::Row;
use uuid::Uuid;

use super::result_code::ResultCode;

/// The result of an append, and the log's append count after it.
pub(crate) struct Answer {
    pub(crate) answer: Result<Appended, RecordError>,
    pub(crate) append_count: u64,
}

/// Returns a result for each append of a group from the rows of `append_group`.
pub(crate) fn answers<'a>(
    rows: &[Row],
    appends: impl ExactSizeIterator<Item = &'a Append>,
) -> Vec<Answer> {
    if let Some(first) = rows.first().and_then(all_recorded) {
        return all(first, appends);
    }
    if rows.len() != appends.len() {
        let error = not_understood("it does not have one row for each append");
        let answer = |_| Answer {
            answer: Err(error.clone()),
            append_count: 0,
        };
        return appends.map(answer).collect();
    }
    let pairs = rows.iter().zip(appends);
    pairs.map(|(row, append)| answer(row, append)).collect()
}

/// Whether the events that an append amends were amended after they were read for it: nothing is
/// recorded.
pub(crate) fn is_amended_meanwhile(rows: &[Row]) -> bool {
    let code = rows.first().and_then(|row| row.try_get(0).ok());
    code.and_then(ResultCode::from_code) == Some(ResultCode::AmendedMeanwhile)
}

/// Returns the position of a group's first event and the append count after it, if the whole group
/// is recorded.
fn all_recorded(row: &Row) -> Option<(Position, u64)> {
    let code = ResultCode::from_code(row.try_get(0).ok()?)?;
    let first: Option<i64> = row.try_get(1).ok()?;
    let append_count: i64 = row.try_get(4).ok()?;
    let first = Position::new(first?.cast_unsigned())?;
    (code == ResultCode::AllRecorded).then_some((first, append_count.cast_unsigned()))
}

fn all<'a>(
    (first, append_count): (Position, u64),
    appends: impl Iterator<Item = &'a Append>,
) -> Vec<Answer> {
    let mut next = first.get();
    let answer = |append: &Append| {
        let length = append.new_events().len() as u64;
        let positions =
            Position::new(next).map_or(Positions::NONE, |it| Positions::new(it, length));
        next += length;
        Answer {
            answer: Ok(Appended::Recorded(positions)),
            append_count,
        }
    };
    appends.map(answer).collect()
}

/// A row that the function returned for an append.
struct Said {
    /// `None` for a name that this program does not know.
    code: Option<ResultCode>,
    number: Option<i64>,
    event: Option<Uuid>,
    index: usize,
}

/// Turns a row of `append_group` into the result of its append.
fn answer(row: &Row, append: &Append) -> Answer {
    let read = || -> Result<(Said, i64), tokio_postgres::Error> {
        let index: Option<i32> = row.try_get(3)?;
        let said = Said {
            code: ResultCode::from_code(row.try_get(0)?),
            number: row.try_get(1)?,
            event: row.try_get(2)?,
            index: index.and_then(|it| usize::try_from(it).ok()).unwrap_or(0),
        };
        Ok((said, row.try_get(4)?))
    };
    match read() {
        Ok((said, append_count)) => Answer {
            answer: said
                .reported(append)
                .unwrap_or_else(|| Err(not_understood("it contains an impossible result"))),
            append_count: append_count.cast_unsigned(),
        },
        Err(error) => Answer {
            answer: Err(not_understood(&error.to_string())),
            append_count: 0,
        },
    }
}

fn not_understood(what: &str) -> RecordError {
    Corrupt::new("the answer of the function append_group", what).into()
}

impl Said {
    fn position(&self) -> Option<Position> {
        Position::new(self.number?.cast_unsigned())
    }

    fn checkpoint(&self) -> Option<Checkpoint> {
        Some(Checkpoint {
            position: self.position()?,
            event_id: EventId::new(self.event?),
        })
    }

    fn reported(&self, append: &Append) -> Option<Result<Appended, RecordError>> {
        let events = append.new_events();
        let positions = match self.position() {
            Some(first) => Positions::new(first, events.len() as u64),
            None => Positions::NONE,
        };
        let conflict = match self.code? {
            ResultCode::Recorded => return Some(Ok(Appended::Recorded(positions))),
            ResultCode::Repeated => return Some(Ok(Appended::Repeated(positions))),
            ResultCode::OtherCheckpoint => {
                let range = append.processed_ranges().get(self.index)?;
                Conflict::Checkpoint {
                    follower: range.follower.clone(),
                    upstream: range.upstream,
                    checkpoint: self.checkpoint(),
                }
            }
            ResultCode::IdExists => Conflict::EventId {
                id: events.get(self.index)?.id,
                position: self.position()?,
            },
            ResultCode::OtherVersion => match append.all_conditions().get(self.index)? {
                Condition::StreamAt {
                    stream, expected, ..
                } => Conflict::Stream {
                    stream: stream.clone(),
                    expected: *expected,
                    actual: Version::new(self.number?.cast_unsigned()),
                    other: self.event.map(EventId::new),
                },
                _ => return None,
            },
            ResultCode::QueryMatches => Conflict::Query {
                condition: self.index,
                found: self.checkpoint()?,
            },
            ResultCode::BeyondHead => return Some(Err(self.beyond_head(append)?)),
            ResultCode::OtherTopicCount => match append.all_conditions().get(self.index)? {
                Condition::TopicCount { count } => Conflict::Topics {
                    expected: *count,
                    actual: self.number?.cast_unsigned(),
                },
                _ => return None,
            },
            ResultCode::StreamDeleted => Conflict::Deleted {
                stream: events.get(self.index)?.stream.clone()?,
                record: self.checkpoint()?,
            },
            ResultCode::AmendedMissing => self.amendment(AmendmentConflict::Missing),
            ResultCode::AmendedOtherStream => self.amendment(AmendmentConflict::OtherStream),
            ResultCode::AmendedErased => self.amendment(AmendmentConflict::Erased),
            ResultCode::AmendedRecord => self.amendment(AmendmentConflict::Record),
            ResultCode::AmendedBeyondStream => self.amendment(AmendmentConflict::BeyondStream),
            ResultCode::AllRecorded | ResultCode::AmendedMeanwhile => return None,
        };
        Some(Err(conflict.into()))
    }

    fn amendment(&self, reason: AmendmentConflict) -> Conflict {
        Conflict::Amendment {
            amendment: self.index,
            reason,
        }
    }

    fn beyond_head(&self, append: &Append) -> Option<RecordError> {
        let Condition::NoneMatch { after, .. } = append.all_conditions().get(self.index)? else {
            return None;
        };
        Some(RecordError::invalid(format!(
            "condition {} begins after position {}, beyond the head of the log at {}",
            self.index,
            Position::number(*after),
            self.number?,
        )))
    }
}
