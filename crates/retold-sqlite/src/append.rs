//! The way of one append through the writer's transaction: judged, then recorded.

use retold_core::recording::append::{Append, Appended};
use retold_core::recording::error::RecordError;
use retold_core::recording::identity::Position;

use super::head;
use super::inline::{self, InlineProjections};
use super::judge::Verdict;
use super::log::Log;
use super::matches::Span;
use super::page::log_events;
use super::projection::Halt;
use super::transaction::Transaction;

impl Transaction<'_> {
    /// Judges an append and records it, if it holds. Also gives the append count of the log then.
    pub(crate) fn append(
        &mut self,
        log: &Log,
        inline: &InlineProjections,
        append: &Append,
    ) -> rusqlite::Result<(Result<Appended, RecordError>, u64)> {
        let key = log.key();
        self.known.trim();
        if self.known.log(key).is_none() {
            let head = head::read(self.conn, key)?;
            if let Some(mark) = head.mark {
                // What is recorded goes behind it, whatever it is: so it has to be what was recorded.
                let seq = key.seq(mark.position.get());
                let span = Span {
                    first: seq,
                    last: seq,
                };
                if let Err(error) = log_events(self.conn, log.birth(), span, 1) {
                    return Ok((Err(error), head.append_count));
                }
            }
            self.known.learn_log(key, head.mark, head.append_count);
        }
        let answer = match self.judge(log.birth(), append)? {
            Verdict::Answer(answer) => answer,
            Verdict::Record if inline.are_none_of(&log.name) || append.new_events().is_empty() => {
                Ok(Appended::Recorded(self.record(log.birth(), append)?))
            }
            Verdict::Record => self.record_with_views(log, inline, append)?,
        };
        Ok((answer, self.known.log_mut(key).append_count))
    }

    /// Records an append and lets the inline projections of its log take it; or records nothing, if
    /// one of them cannot.
    fn record_with_views(
        &mut self,
        log: &Log,
        inline: &InlineProjections,
        append: &Append,
    ) -> rusqlite::Result<Result<Appended, RecordError>> {
        let key = log.key();
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
            Ok(Some(Ok(reason))) => RecordError::invalid(reason),
            Ok(Some(Err(Halt::Sqlite(error)))) => return Err(error),
            Ok(Some(Err(Halt::Refused(error)))) => RecordError::invalid(error.to_string()),
            Err(error) => error,
        };
        self.run("ROLLBACK TO retold_append")?;
        self.run("RELEASE retold_append")?;
        self.forget_log_after_rollback(key)?;
        Ok(Err(refusal))
    }

    fn run(&self, sql: &str) -> rusqlite::Result<()> {
        self.conn.prepare_cached(sql)?.execute([]).map(drop)
    }
}
