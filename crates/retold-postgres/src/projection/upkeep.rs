//! The upkeep of a view: the steps of a view store, each in a transaction of its own.
//!
//! A refused step leaves no trace, because its transaction is rolled back.

use std::error::Error as StdError;
use std::sync::Arc;

use retold_core::projection::{
    Applied, Begin, BoxError, Handling, PageAttempt, Projection, ProjectionOutline, SkippedEvent,
    StoredView, Supersede, Switch, Switched, VersionNames, ViewPage, ViewRules, ViewVersion,
};
use retold_core::recording::{
    Checkpoint, Invalid, LogId, Position, RecordError, Recorder, StoredEvent, ViewEntry,
};
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use super::failure::{Halt, is_of_an_earlier_one, is_outdated, of_server, poison};
use super::ledger::Ledger;
use super::tables::{Postgres, PostgresTables, PostgresTransaction};
use crate::error::{describe, is_of_content};
use crate::limits::{SWITCH_LOCK_WAIT_MAX, VIEWS_SCHEMA_FORMER};
use crate::server::connection::Connection;
use crate::server::work::{Purpose, Work};

/// A projection, the tables of its view in a schema, and the rules by which the view is kept.
#[derive(Debug)]
pub(crate) struct PostgresView {
    projection: Arc<Projection<Postgres>>,
    tables: PostgresTables,
    home: Home,
    rules: ViewRules,
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

/// The outcome of processing events.
enum Processed {
    /// All of them, or those until one that failed.
    Clear(Applied),
    /// Not all, and the one at fault is known only if each is checked.
    Unclear,
}

/// When to check that the transaction is still sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    AtTheEnd,
    AfterEachEvent,
}

impl PostgresView {
    pub(crate) fn new(
        projection: Arc<Projection<Postgres>>,
        tables: PostgresTables,
        home: Home,
    ) -> Self {
        Self {
            rules: ViewRules::new(projection.outline()),
            projection,
            tables,
            home,
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

    /// Whether the projection needs keys to open events.
    pub(crate) fn needs_keys(&self) -> bool {
        self.projection.needs_opening()
    }

    /// Returns a reader of the log that fetches the keys of its events; none if they need none.
    pub(crate) fn opening(&self, log: &Arc<dyn Recorder>) -> Option<Arc<dyn Recorder>> {
        self.projection.opening(log)
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

    /// Claims this version for a transaction that changes it.
    async fn claimed(&self, ledger: Ledger<'_>) -> Result<ViewVersion, Halt> {
        let stored = match ledger.claim(self.version()).await {
            Ok(Some(stored)) => return Ok(stored),
            Ok(None) => ledger.versions().await?,
            // The tables of the ledger are created with the first version.
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        Err(Halt::Refused(self.rules.missing(&stored)))
    }

    /// Returns an error about how the view is declared, if the server reports one; else the
    /// server's failure.
    fn refuse(&self, what: &str, error: Error) -> Halt {
        match error.as_db_error() {
            Some(_) => match poison(error.into()) {
                Ok(error) => Halt::Refused(self.rules.invalid(format!("{what}: {error}"))),
                Err(halt) => halt,
            },
            None => error.into(),
        }
    }

    /// Returns the state of this version.
    pub(crate) async fn kept(
        &self,
        connection: &mut Connection,
    ) -> Result<Option<StoredView>, Halt> {
        let work = Work::begin(connection, Purpose::Read).await?;
        let ledger = self.ledger(&work);
        if !ledger.exists().await? {
            return Ok(None);
        }
        match ledger.version(self.version()).await? {
            Some(stored) => Ok(Some(with_skipped(ledger, &stored).await?)),
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
    ) -> Result<StoredView, Halt> {
        let work = Work::begin(connection, Purpose::Write).await?;
        let ledger = self.ledger(&work);
        ledger.lock().await?;
        ledger.create().await?;
        let stored = ledger.versions().await?;
        let begin = self
            .rules
            .begin(&stored, upstream, start, self.tables.names());
        let begin = begin.map_err(Halt::Refused)?;
        if let Begin::Created(version) = &begin {
            if stored.is_empty() {
                self.check_former_home(ledger, upstream).await?;
            }
            self.create_tables(ledger).await?;
            if version.is_seen {
                self.show(ledger, version, &[]).await?;
            }
        }
        if let Begin::Created(version) | Begin::Replaced(version) = &begin {
            ledger.store(&self.outline().upstream, version).await?;
        }
        let kept = with_skipped(ledger, begin.version()).await?;
        work.transaction.commit().await?;
        Ok(kept)
    }

    /// Checks that the view is not in the schema where views were kept before.
    async fn check_former_home(&self, ledger: Ledger<'_>, upstream: LogId) -> Result<(), Halt> {
        if let Some(former) = self.home.former
            && *former != *self.home.schema
            && ledger.is_kept_in(former, upstream).await?
        {
            return Err(Halt::Refused(self.rules.invalid(format!(
                "its tables are in the schema {former:?}, but views are kept in that of their \
                 store, {:?}, unless another is given: keep it there with \
                 `views_in({former:?})`; or rebuild it in {:?}, after dropping its rows in \
                 {former}.retold_projection and its tables there",
                self.home.schema, self.home.schema
            ))));
        }
        Ok(())
    }

    async fn create_tables(&self, ledger: Ledger<'_>) -> Result<(), Halt> {
        let sql = self.tables.create(&self.names());
        let created = ledger.work.transaction.batch_execute(&sql).await;
        created.map_err(|error| self.refuse("its tables cannot be created", error))?;
        for name in self.tables.names() {
            let table = self.names().table(name);
            if !ledger.has_table(&table).await? {
                let reason = format!("the SQL that creates its tables did not create {table}");
                return Err(Halt::Refused(self.rules.invalid(reason)));
            }
        }
        Ok(())
    }

    /// Makes the tables of a version visible to readers under their plain names, which point to
    /// those of `older` so far. Where the columns allow it, the SQL view is replaced in place and
    /// keeps the rights that were granted on it; a view that must be recreated is granted the same
    /// rights.
    async fn show(
        &self,
        ledger: Ledger<'_>,
        version: &ViewVersion,
        older: &[&ViewVersion],
    ) -> Result<(), Halt> {
        let is_shown = |name: &String| {
            older
                .iter()
                .any(|it| it.is_seen && it.tables.contains(name))
        };
        for name in &version.tables {
            let table = VersionNames::new(version.version).table(name);
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
            for name in older
                .tables
                .iter()
                .filter(|it| !version.tables.contains(it))
            {
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
        let mut attempt = PageAttempt::new(page);
        let mut look = Look::AtTheEnd;
        loop {
            let work = Work::begin(connection, Purpose::Write).await?;
            let stored = self.claimed(self.ledger(&work)).await?;
            if let Some(elsewhere) = stored.elsewhere(page.after) {
                return Ok(elsewhere);
            }
            let Some(to) = attempt.checkpoint() else {
                return Ok(attempt.applied());
            };
            match self.take(work, attempt.events(), to, look).await? {
                Processed::Clear(Applied::Until { count, error }) => attempt.without(count, error),
                Processed::Clear(_) => return Ok(attempt.applied()),
                Processed::Unclear if look == Look::AtTheEnd => look = Look::AfterEachEvent,
                Processed::Unclear => {
                    let reason =
                        "its handlers leave the transaction in a state that cannot be committed";
                    return Err(Halt::Refused(self.rules.invalid(reason)));
                }
            }
        }
    }

    /// Processes all events and commits; if one fails, none of them leaves a trace.
    async fn take(
        &self,
        work: Work<'_>,
        events: &[StoredEvent],
        to: Checkpoint,
        look: Look,
    ) -> Result<Processed, Halt> {
        for (count, event) in events.iter().enumerate() {
            if let Err(error) = self.handle(&work, event).await {
                let is_of_another = of_server(&error).is_some_and(is_of_an_earlier_one);
                if is_of_another && look == Look::AtTheEnd {
                    return Ok(Processed::Unclear);
                }
                let error = poison(error)?;
                return Ok(Processed::Clear(Applied::Until { count, error }));
            }
            if look == Look::AfterEachEvent
                && let Some(error) = self.fault_after(&work).await?
            {
                return Ok(Processed::Clear(Applied::Until { count, error }));
            }
        }
        match self.ledger(&work).advance(self.version(), to).await {
            Ok(true) => {}
            Ok(false) => return Ok(Processed::Unclear),
            Err(error) if is_of_an_earlier_one(&error) => return Ok(Processed::Unclear),
            Err(error) => return Err(error.into()),
        }
        match work.transaction.commit().await {
            Ok(()) => Ok(Processed::Clear(Applied::Whole)),
            // A deferred constraint of the user's.
            Err(error) if is_of_content(&error) => Ok(Processed::Unclear),
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
    pub(crate) async fn claim(&self, work: &Work<'_>) -> Result<Option<ViewVersion>, Error> {
        self.ledger(work).claim(self.version()).await
    }

    /// Processes events that are recorded in this same transaction, just after the claimed
    /// checkpoint; or returns why the append is refused.
    pub(crate) async fn take_new(
        &self,
        work: &Work<'_>,
        events: &[StoredEvent],
    ) -> Result<Option<RecordError>, Halt> {
        for event in events.iter().filter(|it| self.projection.takes(it)) {
            if let Err(error) = self.handle(work, event).await {
                return Ok(Some(self.rules.refuse_append(event, &*poison(error)?)));
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
            Ok(false) | Err(_) => Ok(Some(RecordError::invalid(format!(
                "a handler of {}, an inline projection of {:?}, ended the transaction that it was \
                 given, or continued after a statement failed, so nothing is recorded",
                self.outline().label(),
                self.outline().upstream,
            )))),
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
        let stored = self.claimed(ledger).await?;
        let count = ledger.count_skipped(self.version()).await?;
        let unchanged = self.rules.skip(&stored, after, skipped, count);
        if let Some(applied) = unchanged.map_err(Halt::Refused)? {
            return Ok(applied);
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
        let stored = ledger.versions().await?;
        let switch = self.rules.switch(&stored, after, to, supersede);
        let (version, older) = match switch.map_err(Halt::Refused)? {
            Switch::Unchanged(switched) => return Ok(switched),
            Switch::Done { version, older } => (version, older),
        };
        let wait = SWITCH_LOCK_WAIT_MAX.as_millis();
        ledger
            .batch(&format!("SET LOCAL lock_timeout = {wait}"))
            .await?;
        if !version.is_seen {
            self.show(ledger, version, &older).await?;
            ledger.show(self.version()).await?;
        }
        for older in older {
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
        self.rules.discard();
        let work = Work::begin(connection, Purpose::Write).await?;
        let ledger = self.ledger(&work);
        ledger.lock().await?;
        let stored = ledger.versions().await?;
        let Some(version) = self.rules.own(&stored) else {
            return Ok(());
        };
        if version.is_seen {
            for name in &version.tables {
                ledger
                    .batch(&format!("DROP VIEW IF EXISTS @.{name}"))
                    .await?;
            }
        }
        self.drop_tables(ledger, version).await?;
        work.transaction.commit().await?;
        Ok(())
    }

    async fn drop_tables(&self, ledger: Ledger<'_>, stored: &ViewVersion) -> Result<(), Halt> {
        let version = stored.version;
        let names = VersionNames::new(version);
        let tables = stored.tables.iter();
        let tables: Vec<_> = tables.map(|it| format!("@.{}", names.table(it))).collect();
        // Together, because they may refer to each other.
        let drop = format!("DROP TABLE IF EXISTS {}", tables.join(", "));
        let dropped = ledger.batch(&drop).await;
        dropped.map_err(|error| {
            self.refuse(
                &format!("the tables of version {version} cannot be dropped"),
                error,
            )
        })?;
        Ok(ledger.forget(version).await?)
    }
}

async fn with_skipped(ledger: Ledger<'_>, stored: &ViewVersion) -> Result<StoredView, Error> {
    let skipped = ledger.count_skipped(stored.version).await?;
    Ok(stored.kept(skipped))
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
