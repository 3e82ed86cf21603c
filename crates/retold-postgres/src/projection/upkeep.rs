//! The upkeep of a view: the steps of a view store, each in a transaction of its own.
//!
//! A refused step leaves no trace, because its transaction is rolled back.

use std::error::Error as StdError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use retold_core::projection::{
    Applied, BoxError, Handling, Kept, Projection, ProjectionError, ProjectionOutline,
    SKIPPED_EVENTS_MAX, Seen, SkippedEvent, Supersede, Switched, ViewPage,
};
use retold_core::recording::{
    Checkpoint, Invalid, LogId, Position, RecordError, StoredEvent, ViewEntry,
};
use tokio_postgres::Error;

use super::failure::{Halt, is_of_an_earlier_one, is_outdated, of_server, poison};
use super::ledger::{Entry, Ledger};
use super::tables::{Postgres, PostgresTables, PostgresTransaction, VersionNames};
use crate::error::{describe, is_of_content};
use crate::options::{SWITCH_LOCK_WAIT_MAX, VIEWS_SCHEMA_FORMER};
use crate::server::connection::Connection;
use crate::server::work::{Purpose, Work};

/// A projection and its tables, in a schema for views.
#[derive(Debug)]
pub(crate) struct Declared {
    projection: Arc<Projection<Postgres>>,
    tables: PostgresTables,
    home: Home,
    /// Whether this process was asked to rebuild the view.
    is_rebuilt: AtomicBool,
}

/// The schema of views.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    /// As in the catalog.
    pub(crate) schema: Arc<str>,
    /// Where they were kept before, if no schema was given explicitly.
    pub(crate) former: Option<&'static str>,
}

impl Home {
    /// A schema that was given, whose name needs no quotes.
    pub(crate) fn given(schema: &str) -> Self {
        Self {
            schema: schema.to_ascii_lowercase().into(),
            former: None,
        }
    }

    /// The schema of a store, where views are unless another is given.
    pub(crate) fn of_store(schema: &str) -> Self {
        Self {
            schema: schema.into(),
            former: Some(VIEWS_SCHEMA_FORMER),
        }
    }
}

/// Returns all versions of all views in a schema.
pub(crate) async fn all(
    connection: &mut Connection,
    schema: &str,
) -> Result<Vec<ViewEntry>, Error> {
    let work = Work::begin(connection, Purpose::Read).await?;
    let (work, name) = (&work, "");
    Ledger { work, schema, name }.all().await
}

/// How many of the events could be processed.
enum Taken {
    All,
    Until(usize, Arc<dyn StdError + Send + Sync>),
    /// Not all, and the one at fault is known only if each is checked.
    Unclear,
}

/// When to check that the transaction is still sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    AtTheEnd,
    AfterEachEvent,
}

impl Declared {
    pub(crate) fn new(
        projection: Arc<Projection<Postgres>>,
        tables: PostgresTables,
        home: Home,
    ) -> Self {
        Self {
            projection,
            tables,
            home,
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

    fn version(&self) -> u32 {
        self.outline().version
    }

    fn names(&self) -> VersionNames {
        VersionNames::new(self.version())
    }

    fn ledger<'a>(&'a self, work: &'a Work<'_>) -> Ledger<'a> {
        Ledger {
            work,
            schema: &self.home.schema,
            name: &self.outline().name,
        }
    }

    /// Returns why a version is missing.
    async fn gone(&self, ledger: Ledger<'_>) -> Halt {
        let entries = match ledger.entries().await {
            Ok(entries) => entries,
            Err(error) => return error.into(),
        };
        let seen = entries.iter().find(|it| it.is_seen);
        Halt::Refused(self.outline().missing(seen.map(|it| it.version)))
    }

    /// Checks that a version's rows are of our log; skipped after a request to rebuild the view
    /// with the present log.
    fn check_same_log(&self, entry: &Entry, upstream: LogId) -> Result<(), Halt> {
        if self.is_rebuilt.load(Ordering::Acquire) {
            return Ok(());
        }
        let ids = (entry.upstream, upstream);
        let checked = self.outline().check_log(entry.checkpoint, ids);
        checked.map_err(Halt::Refused)
    }

    /// Returns an error about how the projection is declared or used.
    fn invalid(&self, reason: String) -> ProjectionError {
        self.error(Invalid::new(reason).into())
    }

    /// Returns an error of the database or of a store as an error of this projection.
    pub(crate) fn error(&self, error: RecordError) -> ProjectionError {
        ProjectionError::of_record_error(self.outline().label(), error)
    }

    /// Returns an error about how the view is declared, if the server reports one; else the
    /// server's failure.
    fn refuse(&self, what: &str, error: Error) -> Halt {
        match error.as_db_error() {
            Some(_) => match poison(error.into()) {
                Ok(error) => Halt::Refused(self.invalid(format!("{what}: {error}"))),
                Err(halt) => halt,
            },
            None => error.into(),
        }
    }

    /// Returns the state of this version.
    pub(crate) async fn kept(&self, connection: &mut Connection) -> Result<Option<Kept>, Halt> {
        let work = Work::begin(connection, Purpose::Read).await?;
        let ledger = self.ledger(&work);
        if !ledger.exists().await? {
            return Ok(None);
        }
        match ledger.entry(self.version()).await? {
            Some(entry) => Ok(Some(kept_of(ledger, &entry).await?)),
            None => Ok(None),
        }
    }

    /// Returns skipped events.
    pub(crate) async fn skipped(
        &self,
        connection: &mut Connection,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<SkippedEvent>, Halt> {
        let work = Work::begin(connection, Purpose::Read).await?;
        let ledger = self.ledger(&work);
        match ledger.exists().await? {
            true => Ok(ledger.skipped(self.version(), after, limit).await?),
            false => Ok(Vec::new()),
        }
    }

    pub(crate) async fn begin(
        &self,
        connection: &mut Connection,
        upstream: LogId,
        start: Option<Checkpoint>,
    ) -> Result<Kept, Halt> {
        let work = Work::begin(connection, Purpose::Write).await?;
        let ledger = self.ledger(&work);
        ledger.lock().await?;
        ledger.create().await?;
        let entries = ledger.entries().await?;
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
            return Ok(kept_of(ledger, begun).await?);
        }
        let entry = Entry {
            version: self.version(),
            upstream,
            checkpoint: start,
            is_seen: begun.map_or(seen.is_none(), |it| it.is_seen),
            tables: match begun {
                // As they were created, regardless of later declarations.
                Some(begun) => begun.tables.clone(),
                None => self.tables.names().iter().map(|it| (**it).into()).collect(),
            },
        };
        if begun.is_none() {
            // A new version would replace the view that another store keeps under the same name.
            for other in &entries {
                self.check_same_log(other, upstream)?;
            }
            if entries.is_empty()
                && let Some(former) = self.home.former
                && *former != *self.home.schema
                && ledger.is_kept_in(former, upstream).await?
            {
                return Err(Halt::Refused(self.invalid(format!(
                    "its tables are in the schema {former:?}, but views are kept in that of their \
                     store, {:?}, unless another is given: keep it there with \
                     `views_in({former:?})`; or rebuild it in {:?}, after dropping its rows in \
                     {former}.retold_projection and its tables there",
                    self.home.schema, self.home.schema
                ))));
            }
            self.create_tables(ledger).await?;
            if entry.is_seen {
                self.show(ledger, &entry, &[]).await?;
            }
        }
        ledger.begin(&self.outline().upstream, &entry).await?;
        let kept = kept_of(ledger, &entry).await?;
        work.transaction.commit().await?;
        Ok(kept)
    }

    async fn create_tables(&self, ledger: Ledger<'_>) -> Result<(), Halt> {
        let sql = self.tables.create(&self.names());
        let created = ledger.work.transaction.batch_execute(&sql).await;
        created.map_err(|error| self.refuse("its tables cannot be created", error))?;
        for name in self.tables.names() {
            let table = self.names().table(name);
            if !ledger.has_table(&table).await? {
                let reason = format!("the SQL that creates its tables did not create {table}");
                return Err(Halt::Refused(self.invalid(reason)));
            }
        }
        Ok(())
    }

    /// Makes the tables of an entry visible to readers under their plain names, which point to
    /// those of `older` so far. Where the columns allow it, the SQL view is replaced in place and
    /// keeps the rights that were granted on it; a view that must be recreated is granted the same
    /// rights.
    async fn show(&self, ledger: Ledger<'_>, entry: &Entry, older: &[Entry]) -> Result<(), Halt> {
        let is_shown = |name: &String| {
            older
                .iter()
                .any(|it| it.is_seen && it.tables.contains(name))
        };
        for name in &entry.tables {
            let table = VersionNames::new(entry.version).table(name);
            let refuse = |error| self.refuse(&format!("readers cannot see {name:?}"), error);
            let view = format!("VIEW @.{name} AS SELECT * FROM @.{table}");
            if !is_shown(name) {
                ledger
                    .batch(&format!("CREATE {view}"))
                    .await
                    .map_err(refuse)?;
                continue;
            }
            ledger.batch("SAVEPOINT retold_view").await?;
            let replaced = ledger.batch(&format!("CREATE OR REPLACE {view}")).await;
            if replaced.is_ok() {
                continue;
            }
            ledger.batch("ROLLBACK TO retold_view").await?;
            let rights = rights(ledger, name).await?;
            let recreate = format!("DROP VIEW @.{name}; CREATE {view}; {rights}");
            ledger.batch(&recreate).await.map_err(refuse)?;
        }
        for older in older.iter().filter(|it| it.is_seen) {
            for name in older.tables.iter().filter(|it| !entry.tables.contains(it)) {
                ledger
                    .batch(&format!("DROP VIEW IF EXISTS @.{name}"))
                    .await
                    .map_err(|error| {
                        self.refuse(&format!("the view {name:?} cannot be dropped"), error)
                    })?;
            }
        }
        Ok(())
    }

    pub(crate) async fn apply(
        &self,
        connection: &mut Connection,
        page: &ViewPage,
    ) -> Result<Applied, Halt> {
        let (mut count, mut poison) = (page.events.len(), None);
        let mut look = Look::AtTheEnd;
        // An event that fails undoes the earlier ones too; they are processed again without it,
        // which costs nothing if none fails.
        loop {
            let work = Work::begin(connection, Purpose::Write).await?;
            let ledger = self.ledger(&work);
            let Some(entry) = ledger.claim(self.version()).await? else {
                return Err(self.gone(ledger).await);
            };
            if entry.checkpoint != page.after {
                return Ok(Applied::Elsewhere(entry.checkpoint));
            }
            let events = &page.events[..count];
            let to = match (&poison, events.last()) {
                (None, _) => page.to,
                (Some(_), Some(last)) => last.checkpoint(),
                (Some(error), None) => {
                    let error = Arc::clone(error);
                    return Ok(Applied::Until { count, error });
                }
            };
            match self.take(work, events, to, look).await? {
                Taken::All => break,
                Taken::Unclear if look == Look::AtTheEnd => look = Look::AfterEachEvent,
                Taken::Unclear => {
                    let reason =
                        "its handlers leave the transaction in a state that cannot be committed";
                    return Err(Halt::Refused(self.invalid(reason.into())));
                }
                Taken::Until(index, error) => (count, poison) = (index, Some(error)),
            }
        }
        Ok(match poison {
            None => Applied::Whole,
            Some(error) => Applied::Until { count, error },
        })
    }

    /// Processes all events and commits, or returns which one failed and leaves no trace.
    async fn take(
        &self,
        work: Work<'_>,
        events: &[StoredEvent],
        to: Checkpoint,
        look: Look,
    ) -> Result<Taken, Halt> {
        for (index, event) in events.iter().enumerate() {
            if let Err(error) = self.handle(&work, event).await {
                let is_of_another = of_server(&error).is_some_and(is_of_an_earlier_one);
                if is_of_another && look == Look::AtTheEnd {
                    return Ok(Taken::Unclear);
                }
                return Ok(Taken::Until(index, poison(error)?));
            }
            if look == Look::AfterEachEvent
                && let Some(error) = self.fault_after(&work).await?
            {
                return Ok(Taken::Until(index, error));
            }
        }
        match self.ledger(&work).advance(self.version(), to).await {
            Ok(true) => {}
            Ok(false) => return Ok(Taken::Unclear),
            Err(error) if is_of_an_earlier_one(&error) => return Ok(Taken::Unclear),
            Err(error) => return Err(error.into()),
        }
        match work.transaction.commit().await {
            Ok(()) => Ok(Taken::All),
            // A deferred constraint of the user's.
            Err(error) if is_of_content(&error) => Ok(Taken::Unclear),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns what cannot be committed after the event that was processed last.
    async fn fault_after(
        &self,
        work: &Work<'_>,
    ) -> Result<Option<Arc<dyn StdError + Send + Sync>>, Halt> {
        let fault = |text: String| Ok(Some(Arc::from(BoxError::from(text))));
        let ledger = self.ledger(work);
        match ledger.release(self.version()).await {
            Ok(true) => {}
            Err(error) if !is_of_an_earlier_one(&error) => return Err(error.into()),
            Ok(false) | Err(_) => {
                return fault(
                    "its handler ended the transaction that it was given, or continued after a \
                     statement failed"
                        .into(),
                );
            }
        }
        match ledger.batch("SET CONSTRAINTS ALL IMMEDIATE").await {
            Ok(()) => {}
            Err(error) if is_of_content(&error) => return fault(describe(&error)),
            Err(error) => return Err(error.into()),
        }
        ledger.batch("SET CONSTRAINTS ALL DEFERRED").await?;
        ledger.claim(self.version()).await?;
        Ok(None)
    }

    async fn handle(&self, work: &Work<'_>, event: &StoredEvent) -> Result<(), BoxError> {
        let view = PostgresTransaction::new(work, self.names());
        let handled = self.projection.handle_async(&view, event).await;
        handled.inspect_err(|error| {
            if of_server(error).is_some_and(is_outdated) {
                work.statements.forget();
            }
        })
    }

    /// Claims this version for an append until the transaction ends; `None` if it does not exist.
    pub(crate) async fn claim(&self, work: &Work<'_>) -> Result<Option<Entry>, Error> {
        self.ledger(work).claim(self.version()).await
    }

    /// Processes events that are recorded in this same transaction, just after the claimed
    /// checkpoint; or returns which one failed, and why.
    pub(crate) async fn take_new(
        &self,
        work: &Work<'_>,
        events: &[StoredEvent],
    ) -> Result<Option<String>, Halt> {
        for event in events.iter().filter(|it| self.projection.takes(it)) {
            if let Err(error) = self.handle(work, event).await {
                let error = poison(error)?;
                return Ok(Some(format!(
                    "{}, an inline projection of {:?}, cannot process the event {:?} that would \
                     be at position {}, so nothing is recorded: {error}",
                    self.outline().label(),
                    self.outline().upstream,
                    event.topic(),
                    event.position(),
                )));
            }
        }
        let Some(last) = events.last() else {
            return Ok(None);
        };
        match self
            .ledger(work)
            .advance(self.version(), last.checkpoint())
            .await
        {
            Ok(true) => Ok(None),
            Err(error) if !is_of_an_earlier_one(&error) => Err(error.into()),
            Ok(false) | Err(_) => Ok(Some(format!(
                "a handler of {}, an inline projection of {:?}, ended the transaction that it was \
                 given, or continued after a statement failed, so nothing is recorded",
                self.outline().label(),
                self.outline().upstream,
            ))),
        }
    }

    pub(crate) async fn skip(
        &self,
        connection: &mut Connection,
        after: Option<Checkpoint>,
        skipped: &SkippedEvent,
    ) -> Result<Applied, Halt> {
        let work = Work::begin(connection, Purpose::Write).await?;
        let ledger = self.ledger(&work);
        let Some(entry) = ledger.claim(self.version()).await? else {
            return Err(self.gone(ledger).await);
        };
        if entry.checkpoint != after {
            return Ok(Applied::Elsewhere(entry.checkpoint));
        }
        if ledger.count_skipped(self.version()).await? >= SKIPPED_EVENTS_MAX {
            return Err(Halt::Refused(self.invalid(format!(
                "{SKIPPED_EVENTS_MAX} events were skipped already, and {} would be one more",
                skipped.checkpoint
            ))));
        }
        ledger.skip(self.version(), skipped).await?;
        ledger.advance(self.version(), skipped.checkpoint).await?;
        work.transaction.commit().await?;
        Ok(Applied::Whole)
    }

    pub(crate) async fn switch(
        &self,
        connection: &mut Connection,
        after: Option<Checkpoint>,
        to: Option<Checkpoint>,
        supersede: Supersede,
    ) -> Result<Switched, Halt> {
        let work = Work::begin(connection, Purpose::Write).await?;
        let ledger = self.ledger(&work);
        ledger.lock().await?;
        let entries = ledger.entries().await?;
        let Some(entry) = entries.iter().find(|it| it.version == self.version()) else {
            return Err(self.gone(ledger).await);
        };
        if entry.checkpoint != after {
            return Ok(Switched::Elsewhere(entry.checkpoint));
        }
        let position =
            |checkpoint: Option<Checkpoint>| checkpoint.map(|checkpoint| checkpoint.position);
        let older = entries.iter().find(|it| it.is_seen);
        if let Some(older) = older.and_then(|it| it.checkpoint)
            && !entry.is_seen
            && position(to) < Some(older.position)
            && supersede == Supersede::Reached
        {
            return Ok(Switched::Behind(older));
        }
        let wait = SWITCH_LOCK_WAIT_MAX.as_millis();
        ledger
            .batch(&format!("SET LOCAL lock_timeout = {wait}"))
            .await?;
        let older: Vec<_> = entries
            .iter()
            .filter(|it| it.version < self.version())
            .cloned()
            .collect();
        if !entry.is_seen {
            self.show(ledger, entry, &older).await?;
            ledger.show(self.version()).await?;
        }
        for older in &older {
            self.drop_tables(ledger, older).await?;
        }
        if let Some(to) = to {
            ledger.claim(self.version()).await?;
            ledger.advance(self.version(), to).await?;
        }
        work.transaction.commit().await?;
        Ok(Switched::Done)
    }

    pub(crate) async fn discard(&self, connection: &mut Connection) -> Result<(), Halt> {
        self.is_rebuilt.store(true, Ordering::Release);
        let work = Work::begin(connection, Purpose::Write).await?;
        let ledger = self.ledger(&work);
        ledger.lock().await?;
        if !ledger.exists().await? {
            return Ok(());
        }
        let entries = ledger.entries().await?;
        if let Some(entry) = entries.iter().find(|it| it.version == self.version()) {
            if entry.is_seen {
                for name in &entry.tables {
                    ledger
                        .batch(&format!("DROP VIEW IF EXISTS @.{name}"))
                        .await?;
                }
            }
            self.drop_tables(ledger, entry).await?;
        }
        work.transaction.commit().await?;
        Ok(())
    }

    async fn drop_tables(&self, ledger: Ledger<'_>, entry: &Entry) -> Result<(), Halt> {
        let names = VersionNames::new(entry.version);
        let tables = entry.tables.iter();
        let tables: Vec<_> = tables.map(|it| format!("@.{}", names.table(it))).collect();
        // Together, because they may refer to each other.
        let drop = format!("DROP TABLE IF EXISTS {}", tables.join(", "));
        let dropped = ledger.batch(&drop).await;
        let version = entry.version;
        dropped.map_err(|error| {
            self.refuse(
                &format!("the tables of version {version} cannot be dropped"),
                error,
            )
        })?;
        Ok(ledger.forget(entry.version).await?)
    }
}

async fn kept_of(ledger: Ledger<'_>, entry: &Entry) -> Result<Kept, Error> {
    Ok(Kept {
        upstream: entry.upstream,
        checkpoint: entry.checkpoint,
        seen: if entry.is_seen {
            Seen::This
        } else {
            Seen::Older
        },
        skipped: ledger.count_skipped(entry.version).await?,
    })
}

/// Returns the SQL that grants the rights of a view to the view that replaces it.
async fn rights(ledger: Ledger<'_>, view: &str) -> Result<String, Error> {
    const GRANTED: &str = "SELECT a.privilege_type,
            CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace,
            pg_catalog.aclexplode(c.relacl) a
        WHERE n.nspname = $1 AND c.relname = $2 AND a.grantee <> c.relowner";
    let name = view.to_ascii_lowercase();
    let rows = ledger.work.rows(GRANTED, &[&ledger.schema, &name]).await?;
    let mut sql = String::new();
    for row in &rows {
        let (right, role): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
        sql.push_str(&format!("GRANT {right} ON @.{view} TO {role};"));
    }
    Ok(sql)
}
