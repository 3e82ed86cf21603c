//! The way of one append through the writer's transaction: judged, then recorded.

use retold_core::recording::append::{Append, Appended};
use retold_core::recording::error::RecordError;

use super::head;
use super::judge::Verdict;
use super::seq::LogKey;
use super::transaction::Transaction;

impl Transaction<'_> {
    /// Judges an append and records it, if it holds. Also gives the append count of the log then.
    pub(crate) fn append(
        &mut self,
        log: LogKey,
        append: &Append,
    ) -> rusqlite::Result<(Result<Appended, RecordError>, u64)> {
        self.known.trim();
        if self.known.log(log).is_none() {
            let head = head::read(self.conn, log)?;
            self.known.learn_log(log, head.mark, head.append_count);
        }
        let answer = match self.judge(log, append)? {
            Verdict::Answer(answer) => answer,
            Verdict::Record => Ok(Appended::Recorded(self.record(log, append)?)),
        };
        Ok((answer, self.known.log_mut(log).append_count))
    }
}
