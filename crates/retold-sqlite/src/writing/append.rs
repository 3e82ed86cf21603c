//! The path of one append through the writer's transaction: judged, its amendments made, then
//! recorded and projected.

use std::sync::Arc;

use retold_core::recording::{Append, Appended, Position, Positions, RecordError};

use super::judge::Verdict;
use crate::error::answered;
use crate::file::log::{Born, Log};
use crate::projection::inline::{SqliteInlineProjections, refused};
use crate::projection::{SqliteView, inline};
use crate::reading::matches::Span;
use crate::reading::page::log_events;
use crate::transaction::Transaction;

impl Transaction<'_> {
    /// Judges an append and records it if it holds. Also returns the resulting append count of the
    /// log.
    pub(crate) fn append(
        &mut self,
        log: &Log,
        inline: &SqliteInlineProjections,
        append: &Append,
    ) -> rusqlite::Result<(Result<Appended, RecordError>, u64)> {
        let born = match self.meet(log)? {
            Ok(born) => born,
            Err(refused) => return Ok((Err(refused), 0)),
        };
        let key = born.key;
        let answer = match self.judge(born, append)? {
            Verdict::Answer(answer) => answer,
            Verdict::Record if inline.are_none_of(&log.name) || append.new_events().is_empty() => {
                Ok(Appended::Recorded(self.amend_and_record(born, append)?))
            }
            Verdict::Record => self.record_with_views(log, inline, append)?,
        };
        Ok((answer, self.known.log_mut(key).append_count))
    }

    /// Makes the amendments of an append, records it and runs the inline projections of its log, or
    /// does nothing if one of these fails.
    fn record_with_views(
        &mut self,
        log: &Log,
        inline: &SqliteInlineProjections,
        append: &Append,
    ) -> rusqlite::Result<Result<Appended, RecordError>> {
        let born = log.birth();
        let projections = inline.of(&log.name);
        let head = self.log_head(born.key);
        for projection in &projections {
            self.run("SAVEPOINT retold_append")?;
            let prepared = inline::prepare(self, projection, log, head);
            if let Err(refused) = prepared {
                let refused = refused?;
                self.run("ROLLBACK TO retold_append")?;
                self.run("RELEASE retold_append")?;
                return Ok(Err(refused));
            }
            self.run("RELEASE retold_append")?;
        }
        self.run("SAVEPOINT retold_append")?;
        let positions = self.amend_and_record(born, append)?;
        let Some(refusal) = self.project(born, &projections, positions)? else {
            self.run("RELEASE retold_append")?;
            return Ok(Ok(Appended::Recorded(positions)));
        };
        self.run("ROLLBACK TO retold_append")?;
        self.run("RELEASE retold_append")?;
        self.forget_log_after_rollback(&log.name, born)?;
        Ok(Err(refusal))
    }

    /// Lets projections process events that were just recorded; returns why they are refused.
    fn project(
        &self,
        born: Born,
        projections: &[Arc<SqliteView>],
        positions: Positions,
    ) -> rusqlite::Result<Option<RecordError>> {
        let span = Span {
            first: born.key.seq(Position::number(positions.first())),
            last: born.key.seq(Position::number(positions.last())),
        };
        let limit = usize::try_from(positions.count()).unwrap_or(usize::MAX);
        let events = match log_events(self.conn, born, span, limit) {
            Ok(events) => events,
            Err(error) => return answered(error).map(Some),
        };
        for projection in projections {
            match projection.take_new(self.conn, &events) {
                Ok(None) => {}
                Ok(refusal) => return Ok(refusal),
                Err(halt) => return refused(halt).map(Some),
            }
        }
        Ok(None)
    }

    fn run(&self, sql: &str) -> rusqlite::Result<()> {
        self.conn.prepare_cached(sql)?.execute([]).map(drop)
    }
}
