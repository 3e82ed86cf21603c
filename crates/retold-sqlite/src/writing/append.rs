//! The path of one append through the writer's transaction: judged, then recorded.

use retold_core::recording::{Append, Appended, Position, RecordError};

use super::judge::Verdict;
use crate::file::log::Log;
use crate::projection::inline;
use crate::projection::inline::{SqliteInlineProjections, refused};
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
                Ok(Appended::Recorded(self.record(log.birth(), append)?))
            }
            Verdict::Record => self.record_with_views(log, inline, append)?,
        };
        Ok((answer, self.known.log_mut(key).append_count))
    }

    /// Records an append and runs the inline projections of its log, or records nothing if one of
    /// them fails.
    fn record_with_views(
        &mut self,
        log: &Log,
        inline: &SqliteInlineProjections,
        append: &Append,
    ) -> rusqlite::Result<Result<Appended, RecordError>> {
        let born = log.birth();
        let key = born.key;
        let projections = inline.of(&log.name);
        let head = self.log_head(key);
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
        let positions = self.record(log.birth(), append)?;
        let span = Span {
            first: key.seq(Position::number(positions.first())),
            last: key.seq(Position::number(positions.last())),
        };
        let taken =
            log_events(self.conn, log.birth(), span, append.new_events().len()).map(|events| {
                projections
                    .iter()
                    .find_map(|projection| projection.take_new(self.conn, &events).transpose())
            });
        let refusal = match taken {
            Ok(None) => {
                self.run("RELEASE retold_append")?;
                return Ok(Ok(Appended::Recorded(positions)));
            }
            Ok(Some(Ok(refusal))) => refusal,
            Ok(Some(Err(halt))) => refused(halt)?,
            Err(error) => error,
        };
        self.run("ROLLBACK TO retold_append")?;
        self.run("RELEASE retold_append")?;
        self.forget_log_after_rollback(&log.name, born)?;
        Ok(Err(refusal))
    }

    fn run(&self, sql: &str) -> rusqlite::Result<()> {
        self.conn.prepare_cached(sql)?.execute([]).map(drop)
    }
}
