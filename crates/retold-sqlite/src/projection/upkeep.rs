//! The upkeep of a view: the operations of a view store, each inside of a transaction that the
//! caller has begun and will commit or roll back.
//!
//! A refused operation leaves no trace in the transaction. If the database fails, the transaction
//! must be rolled back.

use std::cell::Cell;
use std::error::Error as StdError;
use std::sync::Arc;

use retold_core::projection::{
    Applied, Begin, BoxError, Handling, PageAttempt, Projection, ProjectionError,
    ProjectionOutline, SkippedEvent, StoredView, Supersede, Switch, Switched, VersionNames,
    ViewPage, ViewRules, ViewVersion,
};
use retold_core::recording::{
    Checkpoint, Corrupt, Invalid, LogId, Position, RecordError, Recorder, StoredEvent,
};
use rusqlite::Connection;

use super::ledger;
use super::tables::{Sqlite, SqliteTables, SqliteTransaction};
use crate::error::{before_commit, is_of_the_place};

/// A projection, the tables of its view, and the rules by which the view is kept.
#[derive(Debug)]
pub(crate) struct SqliteView {
    projection: Projection<Sqlite>,
    tables: SqliteTables,
    rules: ViewRules,
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

impl SqliteView {
    pub(crate) fn new(projection: Projection<Sqlite>, tables: SqliteTables) -> Self {
        Self {
            rules: ViewRules::new(projection.outline()),
            projection,
            tables,
        }
    }

    pub(crate) fn check(&self) -> Result<(), Invalid> {
        self.outline().check()?;
        self.tables.check()
    }

    pub(crate) fn rules(&self) -> &ViewRules {
        &self.rules
    }

    pub(crate) fn outline(&self) -> &ProjectionOutline {
        self.rules.outline()
    }

    pub(crate) fn handling(&self) -> &Handling {
        self.projection.handling()
    }

    /// Whether the projection needs keys to open events.
    pub(crate) fn needs_keys(&self) -> bool {
        self.projection.needs_opening()
    }

    /// Returns a reader of the log that fetches the keys of its events; none if they need none.
    pub(crate) fn opening(&self, log: &Arc<dyn Recorder>) -> Option<Arc<dyn Recorder>> {
        self.projection.opening(log)
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

    fn names(&self) -> VersionNames {
        VersionNames::new(self.version())
    }

    /// Returns the stored state of this version and its tables.
    fn stored(&self, conn: &Connection) -> Result<ViewVersion, Halt> {
        match ledger::version(conn, self.name(), self.version()) {
            Ok(Some(stored)) => return Ok(stored),
            Err(error) if ledger::exists(conn)? => return Err(error.into()),
            Ok(None) | Err(_) => {}
        }
        let stored = ledger::versions(conn, self.name())?;
        Err(Halt::Refused(self.rules.missing(&stored)))
    }

    /// Returns the stored state of this version. Needs no transaction.
    pub(crate) fn kept(&self, conn: &Connection) -> rusqlite::Result<Option<StoredView>> {
        if !ledger::exists(conn)? {
            return Ok(None);
        }
        match ledger::version(conn, self.name(), self.version())? {
            Some(stored) => self.with_skipped(conn, &stored).map(Some),
            None => Ok(None),
        }
    }

    fn with_skipped(
        &self,
        conn: &Connection,
        stored: &ViewVersion,
    ) -> rusqlite::Result<StoredView> {
        let skipped = ledger::count_skipped(conn, self.name(), stored.version)?;
        Ok(stored.kept(skipped))
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
    ) -> Result<StoredView, Halt> {
        ledger::create(conn)?;
        let stored = ledger::versions(conn, self.name())?;
        let begin = self
            .rules
            .begin(&stored, upstream, start, self.tables.names());
        let begin = begin.map_err(Halt::Refused)?;
        if let Begin::Created(version) = &begin {
            savepoint(conn, || {
                self.create_tables(conn)?;
                match version.is_seen {
                    true => self.show(conn, version),
                    false => Ok(()),
                }
            })?;
        }
        if let Begin::Created(version) | Begin::Replaced(version) = &begin {
            ledger::store(conn, self.name(), &self.outline().upstream, version)?;
        }
        Ok(self.with_skipped(conn, begin.version())?)
    }

    fn create_tables(&self, conn: &Connection) -> Result<(), Halt> {
        let view = SqliteTransaction::new(conn, self.names());
        let created = within_handler(|| self.tables.create(&view));
        if conn.is_autocommit() {
            return Err(Halt::Sqlite(ended_by_handler()));
        }
        created.map_err(|error| self.refuse("its tables cannot be created", error))?;
        for name in self.tables.names() {
            let table = view.table(name);
            if !ledger::has_table(conn, &table)? {
                let reason = format!("the function that creates its tables did not create {table}");
                return Err(Halt::Refused(self.rules.invalid(reason)));
            }
        }
        Ok(())
    }

    /// Publishes the tables of a version to readers, under their plain names.
    fn show(&self, conn: &Connection, version: &ViewVersion) -> Result<(), Halt> {
        for name in &version.tables {
            let table = VersionNames::new(version.version).table(name);
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
            Ok(error) => Halt::Refused(self.rules.invalid(format!("{what}: {error}"))),
            Err(error) => Halt::Sqlite(error),
        }
    }

    pub(crate) fn apply(&self, conn: &Connection, page: &ViewPage) -> Result<Applied, Halt> {
        if let Some(elsewhere) = self.stored(conn)?.elsewhere(page.after) {
            return Ok(elsewhere);
        }
        let mut attempt = PageAttempt::new(page);
        while let Applied::Until { count, error } = self.take(conn, attempt.events())? {
            attempt.without(count, error);
        }
        if let Some(to) = attempt.checkpoint() {
            ledger::advance(conn, self.name(), self.version(), to)?;
        }
        Ok(attempt.applied())
    }

    /// Processes all events; if one cannot be processed, none of them leaves a trace.
    fn take(&self, conn: &Connection, events: &[StoredEvent]) -> Result<Applied, Halt> {
        let mut view = SqliteTransaction::new(conn, self.names());
        execute(conn, "SAVEPOINT retold_view")?;
        for (count, event) in events.iter().enumerate() {
            let handled = within_handler(|| self.projection.handle(&mut view, event));
            if conn.is_autocommit() {
                return Err(Halt::Sqlite(ended_by_handler()));
            }
            if let Err(error) = handled {
                let error = poison(error)?;
                execute(conn, "ROLLBACK TO retold_view")?;
                execute(conn, "RELEASE retold_view")?;
                self.check_tables(conn)?;
                return Ok(Applied::Until { count, error });
            }
        }
        execute(conn, "RELEASE retold_view")?;
        Ok(Applied::Whole)
    }

    /// Checks that the tables of the view exist. Without one of them a handler fails at every
    /// event, which is not the fault of the events.
    fn check_tables(&self, conn: &Connection) -> Result<(), Halt> {
        for name in self.stored(conn)?.tables {
            let table = self.names().table(&name);
            if !ledger::has_table(conn, &table)? {
                let what = "it no longer exists; another program has dropped it; discard \
                            this version of the view and build it again";
                let missing = Corrupt::new(format!("the table {table}"), what);
                return Err(Halt::Refused(self.rules.error(missing.into())));
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
        let stored = ledger::version(conn, self.name(), self.version())?;
        Ok(stored.map(|it| (it.upstream, it.checkpoint)))
    }

    /// Processes events that are recorded in this very transaction, just after the checkpoint, or
    /// returns why the append is refused.
    pub(crate) fn take_new(
        &self,
        conn: &Connection,
        events: &[StoredEvent],
    ) -> Result<Option<RecordError>, Halt> {
        let taken: Vec<_> = events.iter().filter(|it| self.takes(it)).cloned().collect();
        if let Applied::Until { count, error } = self.take(conn, &taken)? {
            return Ok(Some(self.rules.refuse_append(&taken[count], &*error)));
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
        let stored = self.stored(conn)?;
        let count = ledger::count_skipped(conn, self.name(), self.version())?;
        let unchanged = self.rules.skip(&stored, after, skipped, count);
        if let Some(applied) = unchanged.map_err(Halt::Refused)? {
            return Ok(applied);
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
        let stored = ledger::versions(conn, self.name())?;
        let switch = self.rules.switch(&stored, after, to, supersede);
        let (version, older) = match switch.map_err(Halt::Refused)? {
            Switch::Unchanged(switched) => return Ok(switched),
            Switch::Done { version, older } => (version, older),
        };
        savepoint(conn, || {
            for older in older {
                self.drop_version(conn, older)?;
            }
            if !version.is_seen {
                self.show(conn, version)?;
                ledger::show(conn, self.name(), self.version())?;
            }
            if let Some(to) = to {
                ledger::advance(conn, self.name(), self.version(), to)?;
            }
            Ok(Switched::Done)
        })
    }

    pub(crate) fn discard(&self, conn: &Connection) -> Result<(), Halt> {
        self.rules.discard();
        if !ledger::exists(conn)? {
            return Ok(());
        }
        match ledger::version(conn, self.name(), self.version())? {
            Some(stored) => self.drop_version(conn, &stored),
            None => Ok(()),
        }
    }

    fn drop_version(&self, conn: &Connection, stored: &ViewVersion) -> Result<(), Halt> {
        for name in &stored.tables {
            if stored.is_seen {
                conn.execute_batch(&format!("DROP VIEW IF EXISTS {name}"))?;
            }
            let table = VersionNames::new(stored.version).table(name);
            conn.execute_batch(&format!("DROP TABLE IF EXISTS {table}"))?;
        }
        Ok(ledger::forget(conn, self.name(), stored.version)?)
    }
}

thread_local! {
    /// Whether a handler is running on this thread.
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
    pub(crate) fn into_error(self, view: &SqliteView) -> ProjectionError {
        match self {
            Self::Sqlite(error) => view.rules.error(before_commit("keeping a view", error)),
            Self::Refused(error) => error,
        }
    }
}
