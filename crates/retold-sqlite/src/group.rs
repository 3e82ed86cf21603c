//! Commits a group: many members in one transaction and one sync, each judged by itself against the
//! log with those before it, each answered by itself once the transaction is durable.
//!
//! A member that is refused has written nothing and is no trouble. If the database fails while a
//! member writes, the transaction is rolled back and every member goes by itself, so that the trouble
//! of one is not that of the others: no savepoint has to be paid for where nothing fails.

use std::time::{Duration, Instant};

use retold_core::recording::error::RecordError;
use rusqlite::Connection;

use super::connection::BUSY_PAUSE;
use super::error::{before_commit, is_busy, of_commit};
use super::known::Known;
use super::member::{End, Member};
use super::transaction::Transaction;
use super::watcher::data_version;

/// What is written together.
pub(crate) type Group = Vec<Box<dyn Member>>;

/// The connection that writes, with what is known of the file.
#[derive(Debug)]
pub(crate) struct Writing {
    conn: Connection,
    known: Known,
}

/// Somebody else writes to the file. Here is the group, untouched.
pub(crate) struct Busy(pub(crate) Group);

impl Writing {
    pub(crate) fn new(conn: Connection) -> Self {
        Self {
            conn,
            known: Known::default(),
        }
    }

    /// Commits a group and answers its members.
    ///
    /// # Errors
    ///
    /// [`Busy`] if another connection writes for longer than `patience`.
    pub(crate) fn commit(&mut self, group: Group, patience: Duration) -> Result<(), Busy> {
        if group.is_empty() {
            return Ok(());
        }
        metrics::histogram!("retold_sqlite_group_size").record(group.len() as f64);
        match self.begin(patience) {
            Ok(()) => {}
            Err(error) if is_busy(&error) => return Err(Busy(group)),
            Err(error) => {
                settle(
                    group,
                    &End::Failed(before_commit("beginning to write", error)),
                );
                return Ok(());
            }
        }
        self.perform_and_settle(group, patience);
        Ok(())
    }

    /// SQLite's number for what others have written.
    pub(crate) fn data_version(&self) -> rusqlite::Result<i64> {
        data_version(&self.conn)
    }

    fn perform_and_settle(&mut self, mut group: Group, patience: Duration) {
        let end = match self.perform(&mut group) {
            Ok(()) => match self.execute("COMMIT") {
                Ok(()) => End::Committed,
                Err(error) => {
                    self.roll_back();
                    End::Failed(of_commit(error))
                }
            },
            Err(error) => {
                self.roll_back();
                if group.len() > 1 {
                    return self.one_by_one(group, patience);
                }
                End::Failed(before_commit("writing", error))
            }
        };
        if let End::Failed(error) = &end {
            tracing::warn!(%error, members = group.len(), "a group was not committed");
        }
        settle(group, &end);
    }

    /// After a rollback: every member in a transaction of its own.
    fn one_by_one(&mut self, group: Group, patience: Duration) {
        for member in group {
            let alone = vec![member];
            match self.begin(patience) {
                Ok(()) => self.perform_and_settle(alone, patience),
                Err(error) => {
                    let error = before_commit("beginning to write", error);
                    settle(alone, &End::Failed(error));
                }
            }
        }
    }

    fn perform(&mut self, group: &mut Group) -> rusqlite::Result<()> {
        let mut transaction = Transaction::enter(&self.conn, &mut self.known)?;
        group
            .iter_mut()
            .try_for_each(|member| member.perform(&mut transaction))
    }

    /// Takes SQLite's write lock, which one connection of all processes has.
    fn begin(&mut self, patience: Duration) -> rusqlite::Result<()> {
        if !self.conn.is_autocommit() {
            // Left by a panic; what it had written is not answered for.
            self.roll_back();
        }
        let deadline = Instant::now() + patience;
        loop {
            match self.execute("BEGIN IMMEDIATE") {
                Err(error) if is_busy(&error) && Instant::now() < deadline => {
                    std::thread::sleep(BUSY_PAUSE);
                }
                other => return other,
            }
        }
    }

    /// Ends a transaction without a trace, and forgets what was learned in it.
    fn roll_back(&mut self) {
        self.known.forget();
        if !self.conn.is_autocommit()
            && let Err(error) = self.execute("ROLLBACK")
        {
            tracing::error!(%error, "a transaction could not be rolled back");
        }
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.conn.prepare_cached(sql)?.execute([]).map(drop)
    }
}

fn settle(group: Group, end: &End) {
    for mut member in group {
        member.settle(end);
    }
}

/// Answers a group that waited too long for another process.
pub(crate) fn give_up(group: Group, patience: Duration) {
    let error = RecordError::unavailable(
        format!("another process has been writing to the file for {patience:?}"),
        rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY), None),
    );
    settle(group, &End::Failed(error));
}
