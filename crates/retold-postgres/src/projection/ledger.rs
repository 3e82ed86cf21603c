//! The state of views, stored next to their rows: checkpoints, versions, and skipped events.

use std::sync::Arc;

use retold_core::domain::Timestamp;
use retold_core::projection::{SkippedEvent, ViewVersion};
use retold_core::recording::{Checkpoint, EventId, LogId, Position, ViewEntry};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};

use crate::server::work::Work;
use crate::sql_text::quote;

/// Compatibility with existing databases: these tables only ever gain columns. `state` is `seen`
/// for the version that readers see and `building` for one that is being built; `tables` are its
/// plain names. Positions are those of the upstream; those from 2^63 on are stored as the signed
/// numbers of the same bits. Times are microseconds since 1970.
///
/// `unfinished` is set while handlers are running. It refers to a table that has no rows, which is
/// checked at commit: so the transaction cannot be committed before it is cleared.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS @.retold_projection_unfinished (it smallint PRIMARY KEY);
    CREATE TABLE IF NOT EXISTS @.retold_projection (
        name text COLLATE \"C\" NOT NULL,
        version bigint NOT NULL,
        upstream text COLLATE \"C\" NOT NULL,
        upstream_id uuid NOT NULL,
        position bigint,
        event_id uuid,
        state text NOT NULL,
        tables text[] NOT NULL,
        unfinished smallint CONSTRAINT a_handler_is_at_work
            REFERENCES @.retold_projection_unfinished DEFERRABLE INITIALLY DEFERRED,
        PRIMARY KEY (name, version)
    ) WITH (fillfactor = 30);
    CREATE TABLE IF NOT EXISTS @.retold_projection_skipped (
        name text COLLATE \"C\" NOT NULL,
        version bigint NOT NULL,
        position bigint NOT NULL,
        event_id uuid NOT NULL,
        topic text COLLATE \"C\" NOT NULL,
        error text NOT NULL,
        skipped_at bigint NOT NULL,
        PRIMARY KEY (name, version, position)
    );
";

/// The advisory lock under which versions begin, are switched and are dropped, which is rare: an
/// arbitrary number, the same for all.
const UPKEEP_LOCK: i64 = 0x7265_746f_6c65;

macro_rules! columns {
    () => {
        "version, upstream_id, position, event_id, state, tables"
    };
}

/// The ledger of a schema, in a transaction.
#[derive(Clone, Copy)]
pub(super) struct Ledger<'a> {
    pub(super) work: &'a Work<'a>,
    /// As in the catalog.
    pub(super) schema: &'a str,
    pub(super) name: &'a str,
}

impl Ledger<'_> {
    /// Fills in the schema for each `@`.
    pub(super) fn sql(&self, text: &str) -> String {
        text.replace("@.", &format!("{}.", quote(self.schema)))
    }

    async fn rows(
        &self,
        text: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        self.work.rows(&self.sql(text), parameters).await
    }

    async fn execute(&self, text: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<u64, Error> {
        self.work.execute(&self.sql(text), parameters).await
    }

    /// Executes statements without parameters.
    pub(super) async fn batch(&self, text: &str) -> Result<(), Error> {
        let sql = self.sql(text);
        self.work.transaction.batch_execute(&sql).await
    }

    /// Waits until no other transaction begins, switches or drops a version.
    pub(super) async fn lock(&self) -> Result<(), Error> {
        let lock = "SELECT pg_advisory_xact_lock($1)";
        self.work.rows(lock, &[&UPKEEP_LOCK]).await.map(drop)
    }

    /// Creates the schema and the tables, unless they exist.
    pub(super) async fn create(&self) -> Result<(), Error> {
        if self.exists().await? {
            return Ok(());
        }
        let has_schema = "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1";
        if self.work.row(has_schema, &[&self.schema]).await?.is_none() {
            let create = format!("CREATE SCHEMA {}", quote(self.schema));
            self.work.transaction.batch_execute(&create).await?;
        }
        self.batch(SCHEMA).await
    }

    /// Whether the tables exist: if not, no version of any projection has begun.
    pub(super) async fn exists(&self) -> Result<bool, Error> {
        self.has_table("retold_projection").await
    }

    /// Whether another schema has a version of this projection over the log with this id.
    pub(super) async fn is_kept_in(&self, schema: &str, log: LogId) -> Result<bool, Error> {
        let other = Ledger { schema, ..*self };
        if !other.exists().await? {
            return Ok(false);
        }
        let select = "SELECT 1 FROM @.retold_projection WHERE name = $1 AND upstream_id = $2";
        let rows = other.rows(select, &[&self.name, &log.uuid()]).await?;
        Ok(!rows.is_empty())
    }

    /// Returns all versions of all projections, by name and version.
    pub(super) async fn all(&self) -> Result<Vec<ViewEntry>, Error> {
        const SELECT: &str = concat!(
            "SELECT ",
            columns!(),
            ", name, upstream, (SELECT count(*) FROM @.retold_projection_skipped s
                WHERE s.name = p.name AND s.version = p.version)
            FROM @.retold_projection p ORDER BY name, version"
        );
        if !self.exists().await? {
            return Ok(Vec::new());
        }
        let rows = self.rows(SELECT, &[]).await?;
        let entries = rows.iter().map(|row| {
            let stored = version_of(row)?;
            let skipped: i64 = row.try_get(8)?;
            Ok(ViewEntry {
                name: text(row, 6)?,
                version: stored.version,
                upstream: text(row, 7)?,
                log: stored.upstream,
                checkpoint: stored.checkpoint,
                is_seen: stored.is_seen,
                skipped: skipped.cast_unsigned(),
            })
        });
        entries.collect()
    }

    /// Whether the schema has this table.
    pub(super) async fn has_table(&self, name: &str) -> Result<bool, Error> {
        let sql = "SELECT 1 FROM pg_catalog.pg_tables WHERE schemaname = $1 AND tablename = $2";
        let name = name.to_ascii_lowercase();
        Ok(self.work.row(sql, &[&self.schema, &name]).await?.is_some())
    }

    /// Returns all versions, the oldest first, locked against changes until the transaction ends.
    pub(super) async fn versions(&self) -> Result<Vec<ViewVersion>, Error> {
        const SELECT: &str = concat!(
            "SELECT ",
            columns!(),
            " FROM @.retold_projection WHERE name = $1 ORDER BY version FOR UPDATE"
        );
        if !self.exists().await? {
            return Ok(Vec::new());
        }
        let rows = self.rows(SELECT, &[&self.name]).await?;
        rows.iter().map(version_of).collect()
    }

    /// Returns one version; `None` if it has not begun or was dropped.
    pub(super) async fn version(&self, version: u32) -> Result<Option<ViewVersion>, Error> {
        const SELECT: &str = concat!(
            "SELECT ",
            columns!(),
            " FROM @.retold_projection WHERE name = $1 AND version = $2"
        );
        let rows = self
            .rows(SELECT, &[&self.name, &i64::from(version)])
            .await?;
        rows.first().map(version_of).transpose()
    }

    /// Returns one version, which this transaction holds until it ends, and which cannot be
    /// committed before [`advance`](Self::advance) or [`release`](Self::release).
    pub(super) async fn claim(&self, version: u32) -> Result<Option<ViewVersion>, Error> {
        const CLAIM: &str = concat!(
            "UPDATE @.retold_projection SET unfinished = 1 WHERE name = $1 AND version = $2 \
             RETURNING ",
            columns!()
        );
        let rows = self.rows(CLAIM, &[&self.name, &i64::from(version)]).await?;
        rows.first().map(version_of).transpose()
    }

    /// Ends a claim for now; returns false if there is none, because a handler ended the
    /// transaction.
    pub(super) async fn release(&self, version: u32) -> Result<bool, Error> {
        let release = "UPDATE @.retold_projection SET unfinished = NULL
            WHERE name = $1 AND version = $2 AND unfinished = 1";
        let version = i64::from(version);
        Ok(self.execute(release, &[&self.name, &version]).await? == 1)
    }

    /// Moves the checkpoint of a claimed version, and ends the claim; returns false if there is
    /// none.
    pub(super) async fn advance(&self, version: u32, to: Checkpoint) -> Result<bool, Error> {
        let advance =
            "UPDATE @.retold_projection SET position = $3, event_id = $4, unfinished = NULL
            WHERE name = $1 AND version = $2 AND unfinished = 1";
        let (version, position) = (i64::from(version), to.position.get().cast_signed());
        let id = to.event_id.uuid();
        let parameters: &[&(dyn ToSql + Sync)] = &[&self.name, &version, &position, &id];
        Ok(self.execute(advance, parameters).await? == 1)
    }

    /// Stores a version that begins, in place of its former state if it has one.
    pub(super) async fn store(&self, upstream: &str, stored: &ViewVersion) -> Result<(), Error> {
        let store = "INSERT INTO @.retold_projection
            (name, version, upstream, upstream_id, position, event_id, state, tables)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
            ON CONFLICT (name, version) DO UPDATE SET upstream = EXCLUDED.upstream,
                upstream_id = EXCLUDED.upstream_id, position = EXCLUDED.position,
                event_id = EXCLUDED.event_id";
        let position = stored.checkpoint.map(|it| it.position.get().cast_signed());
        let event_id = stored.checkpoint.map(|it| it.event_id.uuid());
        let state = if stored.is_seen { "seen" } else { "building" };
        let parameters: &[&(dyn ToSql + Sync)] = &[
            &self.name,
            &i64::from(stored.version),
            &upstream,
            &stored.upstream.uuid(),
            &position,
            &event_id,
            &state,
            &stored.tables,
        ];
        self.execute(store, parameters).await.map(drop)
    }

    /// Records that readers see the version.
    pub(super) async fn show(&self, version: u32) -> Result<(), Error> {
        let show = "UPDATE @.retold_projection SET state = 'seen' WHERE name = $1 AND version = $2";
        let version = i64::from(version);
        self.execute(show, &[&self.name, &version]).await.map(drop)
    }

    /// Deletes a version and its skipped events.
    pub(super) async fn forget(&self, version: u32) -> Result<(), Error> {
        for sql in [
            "DELETE FROM @.retold_projection WHERE name = $1 AND version = $2",
            "DELETE FROM @.retold_projection_skipped WHERE name = $1 AND version = $2",
        ] {
            self.execute(sql, &[&self.name, &i64::from(version)])
                .await?;
        }
        Ok(())
    }

    /// Counts the events that a version has skipped.
    pub(super) async fn count_skipped(&self, version: u32) -> Result<u64, Error> {
        let count = "SELECT count(*) FROM @.retold_projection_skipped
            WHERE name = $1 AND version = $2";
        let rows = self.rows(count, &[&self.name, &i64::from(version)]).await?;
        let count: i64 = rows.first().map_or(Ok(0), |row| row.try_get(0))?;
        Ok(count.cast_unsigned())
    }

    /// Records a skipped event.
    pub(super) async fn skip(&self, version: u32, skipped: &SkippedEvent) -> Result<(), Error> {
        let insert = "INSERT INTO @.retold_projection_skipped VALUES ($1, $2, $3, $4, $5, $6, $7)";
        // The database stores no text with a zero character.
        let error = skipped.error.replace('\0', "\u{fffd}");
        let parameters: &[&(dyn ToSql + Sync)] = &[
            &self.name,
            &i64::from(version),
            &skipped.checkpoint.position.get().cast_signed(),
            &skipped.checkpoint.event_id.uuid(),
            &&*skipped.topic,
            &error,
            &skipped.at.as_micros(),
        ];
        self.execute(insert, parameters).await.map(drop)
    }

    /// Returns skipped events after a position.
    pub(super) async fn skipped(
        &self,
        version: u32,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<SkippedEvent>, Error> {
        let select = "SELECT position, event_id, topic, error, skipped_at
            FROM @.retold_projection_skipped
            WHERE name = $1 AND version = $2 AND position > $3 ORDER BY position LIMIT $4";
        let after = Position::number(after).cast_signed();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let parameters: &[&(dyn ToSql + Sync)] = &[&self.name, &i64::from(version), &after, &limit];
        let rows = self.rows(select, parameters).await?;
        let mut page = Vec::new();
        for row in &rows {
            if let Some(checkpoint) = checkpoint(row, 0)? {
                let (topic, error): (Arc<str>, Arc<str>) = (text(row, 2)?, text(row, 3)?);
                let at = Timestamp::from_micros(row.try_get(4)?);
                page.push(SkippedEvent::from_parts(checkpoint, topic, error, at));
            }
        }
        Ok(page)
    }
}

fn text(row: &Row, column: usize) -> Result<Arc<str>, Error> {
    row.try_get::<_, &str>(column).map(Arc::from)
}

/// Reads a checkpoint from this column and the next, if there is one.
fn checkpoint(row: &Row, column: usize) -> Result<Option<Checkpoint>, Error> {
    let position: Option<i64> = row.try_get(column)?;
    let event_id: Option<uuid::Uuid> = row.try_get(column + 1)?;
    let position = position.and_then(|it| Position::new(it.cast_unsigned()));
    Ok(position.zip(event_id).map(|(position, id)| Checkpoint {
        position,
        event_id: EventId::new(id),
    }))
}

fn version_of(row: &Row) -> Result<ViewVersion, Error> {
    let version: i64 = row.try_get(0)?;
    Ok(ViewVersion {
        version: u32::try_from(version).unwrap_or(u32::MAX),
        upstream: LogId::new(row.try_get(1)?),
        checkpoint: checkpoint(row, 2)?,
        is_seen: row.try_get::<_, &str>(4)? == "seen",
        tables: row.try_get(5)?,
    })
}
