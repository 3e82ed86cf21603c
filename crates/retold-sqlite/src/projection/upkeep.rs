//! The upkeep of a view: the operations of a view store, each inside of a transaction that the
//! caller has begun and will commit or roll back.
//!
//! A refused operation leaves no trace in the transaction. If the database fails, the transaction
//! must be rolled back.

use std::cell::Cell;
use std::error::Error as StdError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use retold_core::projection::{
    Applied, BoxError, Handling, Kept, Projection, ProjectionError, ProjectionOutline,
    SKIPPED_EVENTS_MAX, Seen, SkippedEvent, Supersede, Switched, ViewPage,
};
use retold_core::recording::{
    Checkpoint, Corrupt, Invalid, LogId, Position, RecordError, StoredEvent,
};
use rusqlite::Connection;

use super::ledger::{self, Entry};
use super::tables::{Sqlite, SqliteTables, SqliteTransaction, versioned};
use crate::error::{before_commit, is_of_the_place};

/// A projection and its tables.
#[derive(Debug)]
pub(crate) struct Declared {
    projection: Projection<Sqlite>,
    tables: SqliteTables,
    /// Whether this process was asked to rebuild the view.
    is_rebuilt: AtomicBool,
}

/// Why an operation of the upkeep failed.
#[derive(Debug)]
pub(crate) enum Halt {
    /// The database failed: the transaction must be rolled back.
    Sqlite(rusqlite::Error),
    /// Nothing was changed.
    Refused(ProjectionError),
}

impl From<rusqlite::Error> for Halt {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// How far events were processed.
enum Taken {
    All,
    Until(usize, Arc<dyn StdError + Send + Sync>),
}

impl Declared {
    pub(crate) fn new(projection: Projection<Sqlite>, tables: SqliteTables) -> Self {
        Self {
            projection,
            tables,
            is_rebuilt: AtomicBool::new(false),
        }
    }

    pub(crate) fn check(&self) -> Result<(), Invalid> {
        self.outline().check()?;
        self.tables.check()
    }

    pub(crate) fn outline(&self) -> &ProjectionOutline {
        self.projection.outline()
    }

    pub(crate) fn handling(&self) -> &Handling {
        self.projection.handling()
    }

    /// Whether the projection processes the event.
    pub(crate) fn takes(&self, stored: &StoredEvent) -> bool {
        self.projection.takes(stored)
    }

    fn name(&self) -> &str {
        &self.outline().name
    }

    fn version(&self) -> u32 {
        self.outline().version
    }

    fn entry(&self, conn: &Connection) -> Result<Entry, Halt> {
        if let Some(entry) = ledger::entry_of(conn, self.name(), self.version())? {
            return Ok(entry);
        }
        let entries = ledger::entries(conn, self.name())?;
        let seen = entries.iter().find(|it| it.is_seen);
        let missing = self.outline().missing(seen.map(|it| it.version));
        Err(Halt::Refused(missing))
    }

    /// Checks that a version's rows are of our log, unless a rebuild of the view from the present
    /// log was requested.
    fn check_same_log(&self, entry: &Entry, upstream: LogId) -> Result<(), Halt> {
        if self.is_rebuilt.load(Ordering::Acquire) {
            return Ok(());
        }
        let ids = (entry.upstream, upstream);
        let checked = self.outline().check_log(entry.checkpoint, ids);
        checked.map_err(Halt::Refused)
    }

    /// Converts a mistake in how the projection is declared or used.
    pub(crate) fn invalid(&self, reason: String) -> ProjectionError {
        self.error(Invalid::new(reason).into())
    }

    /// Converts an error of the database or a store to an error of this projection.
    pub(crate) fn error(&self, error: RecordError) -> ProjectionError {
        ProjectionError::of_record_error(self.outline().label(), error)
    }

    /// Returns the stored state of this version. Needs no transaction.
    pub(crate) fn kept(&self, conn: &Connection) -> rusqlite::Result<Option<Kept>> {
        if !ledger::exists(conn)? {
            return Ok(None);
        }
        match ledger::entry_of(conn, self.name(), self.version())? {
            Some(entry) => self.kept_of(conn, &entry).map(Some),
            None => Ok(None),
        }
    }

    fn kept_of(&self, conn: &Connection, entry: &Entry) -> rusqlite::Result<Kept> {
        Ok(Kept {
            upstream: entry.upstream,
            checkpoint: entry.checkpoint,
            seen: if entry.is_seen {
                Seen::This
            } else {
                Seen::Older
            },
            skipped: ledger::count_skipped(conn, self.name(), entry.version)?,
        })
    }

    /// Returns the skipped events. Needs no transaction.
    pub(crate) fn skipped(
        &self,
        conn: &Connection,
        after: Option<Position>,
        limit: usize,
    ) -> rusqlite::Result<Vec<SkippedEvent>> {
        if !ledger::exists(conn)? {
            return Ok(Vec::new());
        }
        ledger::skipped(conn, self.name(), self.version(), after, limit)
    }

    pub(crate) fn begin(
        &self,
        conn: &Connection,
        upstream: LogId,
        start: Option<Checkpoint>,
    ) -> Result<Kept, Halt> {
        ledger::create(conn)?;
        let entries = ledger::entries(conn, self.name())?;
        let seen = entries.iter().find(|it| it.is_seen);
        if let Some(seen) = seen
            && seen.version > self.version()
        {
            self.check_same_log(seen, upstream)?;
            return Err(Halt::Refused(self.outline().superseded(seen.version)));
        }
        let begun = entries.iter().find(|it| it.version == self.version());
        if let Some(begun) = begun
            && (begun.checkpoint.is_some() || begun.upstream == upstream)
        {
            return Ok(self.kept_of(conn, begun)?);
        }
        let entry = Entry {
            version: self.version(),
            upstream,
            checkpoint: start,
            is_seen: begun.map_or(seen.is_none(), |it| it.is_seen),
            tables: match begun {
                // With the names at their creation, even if the declaration has changed since.
                Some(begun) => begun.tables.clone(),
                None => self.tables.names().iter().map(|it| (**it).into()).collect(),
            },
        };
        if begun.is_none() {
            // A new version would replace the one that another store keeps under the same name.
            for other in &entries {
                self.check_same_log(other, upstream)?;
            }
            savepoint(conn, || {
                self.create_tables(conn)?;
                if entry.is_seen {
                    self.show(conn, &entry)?;
                }
                Ok(())
            })?;
        }
        ledger::begin(conn, self.name(), &self.outline().upstream, &entry)?;
        Ok(self.kept_of(conn, &entry)?)
    }

    fn create_tables(&self, conn: &Connection) -> Result<(), Halt> {
        let view = SqliteTransaction::new(conn, self.version());
        let created = within_handler(|| self.tables.create(&view));
        if conn.is_autocommit() {
            return Err(Halt::Sqlite(ended_by_handler()));
        }
        created.map_err(|error| self.refuse("its tables cannot be created", error))?;
        for name in self.tables.names() {
            let table = view.table(name);
            if !ledger::has_table(conn, &table)? {
                let reason = format!("the function that creates its tables did not create {table}");
                return Err(Halt::Refused(self.invalid(reason)));
            }
        }
        Ok(())
    }

    /// Publishes the tables of an entry to readers, under their plain names.
    fn show(&self, conn: &Connection, entry: &Entry) -> Result<(), Halt> {
        for name in &entry.tables {
            let table = versioned(name, entry.version);
            let sql = format!("CREATE VIEW {name} AS SELECT * FROM {table}");
            conn.execute_batch(&sql).map_err(|error| {
                self.refuse(&format!("cannot publish {name:?} to readers"), error.into())
            })?;
        }
        Ok(())
    }

    /// Reports a mistake in how the view is declared, unless the database itself failed.
    fn refuse(&self, what: &str, error: BoxError) -> Halt {
        match poison(error) {
            Ok(error) => Halt::Refused(self.invalid(format!("{what}: {error}"))),
            Err(error) => Halt::Sqlite(error),
        }
    }

    pub(crate) fn apply(&self, conn: &Connection, page: &ViewPage) -> Result<Applied, Halt> {
        let entry = self.entry(conn)?;
        if entry.checkpoint != page.after {
            return Ok(Applied::Elsewhere(entry.checkpoint));
        }
        let (mut count, mut poison) = (page.events.len(), None);
        // An event that fails also undoes the earlier ones; these are processed again without it,
        // which costs nothing if none fails.
        while let Taken::Until(index, error) = self.take(conn, &page.events[..count])? {
            count = index;
            poison = Some(error);
        }
        let Some(error) = poison else {
            ledger::advance(conn, self.name(), self.version(), page.to)?;
            return Ok(Applied::Whole);
        };
        if let Some(last) = page.events[..count].last() {
            ledger::advance(conn, self.name(), self.version(), last.checkpoint())?;
        }
        Ok(Applied::Until { count, error })
    }

    /// Processes all events, or returns the one that cannot be processed and leaves no trace.
    fn take(&self, conn: &Connection, events: &[StoredEvent]) -> Result<Taken, Halt> {
        let mut view = SqliteTransaction::new(conn, self.version());
        execute(conn, "SAVEPOINT retold_view")?;
        for (index, event) in events.iter().enumerate() {
            let handled = within_handler(|| self.projection.handle(&mut view, event));
            if conn.is_autocommit() {
                return Err(Halt::Sqlite(ended_by_handler()));
            }
            if let Err(error) = handled {
                let error = poison(error)?;
                execute(conn, "ROLLBACK TO retold_view")?;
                execute(conn, "RELEASE retold_view")?;
                self.check_tables(conn)?;
                return Ok(Taken::Until(index, error));
            }
        }
        execute(conn, "RELEASE retold_view")?;
        Ok(Taken::All)
    }

    /// Checks that the tables of the view exist. Without one of them a handler fails at every
    /// event, which is not the fault of the events.
    fn check_tables(&self, conn: &Connection) -> Result<(), Halt> {
        for name in self.entry(conn)?.tables {
            let table = versioned(&name, self.version());
            if !ledger::has_table(conn, &table)? {
                let what = "it no longer exists; another program has dropped it; discard \
                            this version of the view and build it again";
                let missing = Corrupt::new(format!("the table {table}"), what);
                return Err(Halt::Refused(self.error(missing.into())));
            }
        }
        Ok(())
    }

    /// Returns the checkpoint of the version and its log, or `None` if it was dropped, or has not
    /// begun while another projection has.
    pub(crate) fn checkpoint(
        &self,
        conn: &Connection,
    ) -> rusqlite::Result<Option<(LogId, Option<Checkpoint>)>> {
        let entry = ledger::entry_of(conn, self.name(), self.version())?;
        Ok(entry.map(|it| (it.upstream, it.checkpoint)))
    }

    /// Processes events that are recorded in this very transaction, just after the checkpoint, or
    /// reports which one cannot be processed, and why.
    pub(crate) fn take_new(
        &self,
        conn: &Connection,
        events: &[StoredEvent],
    ) -> Result<Option<String>, Halt> {
        let taken: Vec<_> = events.iter().filter(|it| self.takes(it)).cloned().collect();
        if let Taken::Until(index, error) = self.take(conn, &taken)? {
            let event = &taken[index];
            return Ok(Some(format!(
                "{}, which takes part in every append to {:?}, cannot process the event {:?} that \
                 would be at position {}, so nothing is recorded: {error}",
                self.outline().label(),
                self.outline().upstream,
                event.topic(),
                event.position(),
            )));
        }
        if let Some(last) = events.last() {
            ledger::advance(conn, self.name(), self.version(), last.checkpoint())?;
        }
        Ok(None)
    }

    pub(crate) fn skip(
        &self,
        conn: &Connection,
        after: Option<Checkpoint>,
        skipped: &SkippedEvent,
    ) -> Result<Applied, Halt> {
        let entry = self.entry(conn)?;
        if entry.checkpoint != after {
            return Ok(Applied::Elsewhere(entry.checkpoint));
        }
        if ledger::count_skipped(conn, self.name(), self.version())? >= SKIPPED_EVENTS_MAX {
            return Err(Halt::Refused(self.invalid(format!(
                "{SKIPPED_EVENTS_MAX} events were skipped already, and {} would be one more",
                skipped.checkpoint
            ))));
        }
        ledger::skip(conn, self.name(), self.version(), skipped)?;
        ledger::advance(conn, self.name(), self.version(), skipped.checkpoint)?;
        Ok(Applied::Whole)
    }

    pub(crate) fn switch(
        &self,
        conn: &Connection,
        after: Option<Checkpoint>,
        to: Option<Checkpoint>,
        supersede: Supersede,
    ) -> Result<Switched, Halt> {
        let entry = self.entry(conn)?;
        if entry.checkpoint != after {
            return Ok(Switched::Elsewhere(entry.checkpoint));
        }
        let position =
            |checkpoint: Option<Checkpoint>| checkpoint.map(|checkpoint| checkpoint.position);
        let entries = ledger::entries(conn, self.name())?;
        let older = entries.iter().find(|it| it.is_seen);
        if let Some(older) = older.and_then(|it| it.checkpoint)
            && !entry.is_seen
            && position(to) < Some(older.position)
            && supersede == Supersede::Reached
        {
            return Ok(Switched::Behind(older));
        }
        savepoint(conn, || {
            for older in entries.iter().filter(|it| it.version < self.version()) {
                self.drop_version(conn, older)?;
            }
            if !entry.is_seen {
                self.show(conn, &entry)?;
                ledger::show(conn, self.name(), self.version())?;
            }
            if let Some(to) = to {
                ledger::advance(conn, self.name(), self.version(), to)?;
            }
            Ok(Switched::Done)
        })
    }

    pub(crate) fn discard(&self, conn: &Connection) -> Result<(), Halt> {
        self.is_rebuilt.store(true, Ordering::Release);
        if !ledger::exists(conn)? {
            return Ok(());
        }
        match ledger::entry_of(conn, self.name(), self.version())? {
            Some(entry) => self.drop_version(conn, &entry),
            None => Ok(()),
        }
    }

    fn drop_version(&self, conn: &Connection, entry: &Entry) -> Result<(), Halt> {
        for name in &entry.tables {
            if entry.is_seen {
                conn.execute_batch(&format!("DROP VIEW IF EXISTS {name}"))?;
            }
            let table = versioned(name, entry.version);
            conn.execute_batch(&format!("DROP TABLE IF EXISTS {table}"))?;
        }
        Ok(ledger::forget(conn, self.name(), entry.version)?)
    }
}

thread_local! {
    /// Checkpoints that a handler is running on this thread.
    static IN_HANDLER: Cell<bool> = const { Cell::new(false) };
}

fn within_handler<T>(handle: impl FnOnce() -> T) -> T {
    /// Also if the handler panics.
    struct Left;

    impl Drop for Left {
        fn drop(&mut self) {
            IN_HANDLER.set(false);
        }
    }

    IN_HANDLER.set(true);
    let _left = Left;
    handle()
}

/// Makes SQLite roll back if a handler commits: otherwise its changes to the view, and appends of
/// the same group, would be committed without the checkpoint.
pub(crate) fn guard_commits(conn: &mut Connection) -> rusqlite::Result<()> {
    conn.commit_hook(Some(|| IN_HANDLER.get()))
}

fn ended_by_handler() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_MISUSE),
        Some("a handler ended its transaction".into()),
    )
}

fn execute(conn: &Connection, sql: &str) -> rusqlite::Result<()> {
    conn.prepare_cached(sql)?.execute([]).map(drop)
}

/// Runs an operation that leaves no trace if it is refused.
fn savepoint<T>(conn: &Connection, work: impl FnOnce() -> Result<T, Halt>) -> Result<T, Halt> {
    execute(conn, "SAVEPOINT retold_upkeep")?;
    let done = work();
    if let Err(Halt::Refused(_)) = done {
        execute(conn, "ROLLBACK TO retold_upkeep")?;
    }
    if !matches!(done, Err(Halt::Sqlite(_))) {
        execute(conn, "RELEASE retold_upkeep")?;
    }
    done
}

/// The error that makes an event poison. An environmental error such as a full disk does not: it
/// would make every event poison.
fn poison(error: BoxError) -> Result<Arc<dyn StdError + Send + Sync>, rusqlite::Error> {
    let first: &(dyn StdError + 'static) = &*error;
    let causes = std::iter::successors(Some(first), |&error| error.source());
    let of_the_place = causes
        .filter_map(|cause| cause.downcast_ref::<rusqlite::Error>())
        .find(|cause| is_of_the_place(cause));
    match of_the_place.and_then(rusqlite::Error::sqlite_error) {
        Some(code) => Err(rusqlite::Error::SqliteFailure(
            *code,
            Some(error.to_string()),
        )),
        None => Ok(error.into()),
    }
}

impl Halt {
    /// Converts to an error of the projection; the transaction is then rolled back.
    pub(crate) fn into_error(self, declared: &Declared) -> ProjectionError {
        match self {
            Self::Sqlite(error) => declared.error(before_commit("keeping a view", error)),
            Self::Refused(error) => error,
        }
    }
}
