//! From what the function in the schema says of an append to what its caller is told.

use retold_core::recording::append::{Append, Appended, Positions};
use retold_core::recording::condition::Condition;
use retold_core::recording::error::{Conflict, Corrupt, RecordError};
use retold_core::recording::identity::{EventId, Mark, Position, Version};
use tokio_postgres::Row;
use uuid::Uuid;

/// What became of an append, and the log's append count after it.
pub(crate) struct Answer {
    pub(crate) answer: Result<Appended, RecordError>,
    pub(crate) append_count: u64,
}

/// A row that the function gave for an append.
struct Said {
    code: i32,
    number: Option<i64>,
    event: Option<Uuid>,
    index: usize,
}

/// What a row of `append_group` says of its append.
pub(crate) fn answer(row: &Row, append: &Append) -> Answer {
    let read = || -> Result<(Said, i64), tokio_postgres::Error> {
        let index: Option<i32> = row.try_get(3)?;
        let said = Said {
            code: row.try_get(0)?,
            number: row.try_get(1)?,
            event: row.try_get(2)?,
            index: index.and_then(|it| usize::try_from(it).ok()).unwrap_or(0),
        };
        Ok((said, row.try_get(4)?))
    };
    match read() {
        Ok((said, append_count)) => Answer {
            answer: said
                .told(append)
                .unwrap_or_else(|| Err(not_understood("it says what no append comes to"))),
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

    fn mark(&self) -> Option<Mark> {
        Some(Mark {
            position: self.position()?,
            event_id: EventId::new(self.event?),
        })
    }

    fn told(&self, append: &Append) -> Option<Result<Appended, RecordError>> {
        let events = append.new_events();
        let positions = match self.position() {
            Some(first) => Positions::new(first, events.len() as u64),
            None => Positions::NONE,
        };
        let conflict = match self.code {
            0 => return Some(Ok(Appended::Recorded(positions))),
            1 => return Some(Ok(Appended::Repeated(positions))),
            2 => {
                let stretch = append.stretches().get(self.index)?;
                Conflict::Checkpoint {
                    follower: stretch.follower.clone(),
                    upstream: stretch.upstream,
                    checkpoint: self.mark(),
                }
            }
            3 => Conflict::EventId {
                id: events.get(self.index)?.id,
                position: self.position()?,
            },
            4 => match append.all_conditions().get(self.index)? {
                Condition::StreamAt { stream, expected } => Conflict::Stream {
                    stream: stream.clone(),
                    expected: *expected,
                    actual: Version::new(self.number?.cast_unsigned()),
                },
                _ => return None,
            },
            5 => Conflict::Query {
                condition: self.index,
                found: self.mark()?,
            },
            6 => return Some(Err(self.beyond_head(append)?)),
            _ => return None,
        };
        Some(Err(conflict.into()))
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
