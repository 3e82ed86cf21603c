//! The recorder: one log of a PostgreSQL store.

use std::sync::Arc;

use retold_core::recording::limits::{Limits, PAGE_NAMES_MAX, check_page_limit};
use retold_core::recording::{
    Append, Appended, BoxFuture, Checkpoint, EventId, FollowerKey, Head, LogId, LogRead, Page,
    PageEnd, Position, RangeRead, RecordError, RecordedRange, Recorder, StoredEvent,
    StoredSnapshot, StreamEntry, StreamRead, Version,
};
use tokio_postgres::Row;

use crate::access::Access;
use crate::birth::replaced;
use crate::error::{Refusal, of_statement};
use crate::limits::INLINE_ATTEMPTS_MAX;
use crate::log::{Born, Log, Met};
use crate::names::{bound, possible};
use crate::projection::inline::{Inline, is_of_views_behind};
use crate::reading::{page, processed_ranges, snapshots};
use crate::server::pool::Pooled;
use crate::server::runtime::within;
use crate::server::standby::{LagWait, behind, is_standby};
use crate::shared::Shared;
use crate::writing::{group, writer};

const HEAD: &str = "SELECT position, head_id, append_count, topic_count FROM \"retold\".log
    WHERE key = $1 AND id = $2";
/// These return one empty row if there are none.
const TOPICS: &str = "SELECT t.* FROM \"retold\".log l
    LEFT JOIN LATERAL \"retold\".topics(l.key, $2, $3) t ON true WHERE l.key = $1 AND l.id = $4";
const STREAMS: &str = "SELECT s.stream_name, s.last_version,
    coalesce(r.version = s.last_version AND r.topic = 'retold.deleted', false)
    FROM \"retold\".log l
    LEFT JOIN LATERAL \"retold\".streams(l.key, $2, $3, $4) s ON true
    LEFT JOIN LATERAL (SELECT x.version, x.topic FROM \"retold\".stream_record x
        WHERE x.log = $1 AND x.stream = s.stream_name ORDER BY x.stream LIMIT 1) r ON true
    WHERE l.key = $1 AND l.id = $5";

/// A log as one handle opened it.
pub(crate) struct PostgresRecorder {
    pub(crate) shared: Arc<Shared>,
    pub(crate) log: Arc<Log>,
    pub(crate) access: Access,
}

impl PostgresRecorder {
    fn check_writable(&self) -> Result<(), RecordError> {
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::ReadOnly => Err(RecordError::invalid(format!(
                "the log {:?} was opened for reading only",
                self.log.name
            ))),
        }
    }

    fn met(&self, born: Born) -> Met<'_> {
        Met {
            name: &self.log.name,
            born,
        }
    }

    /// Returns a connection and the log on it; `None` if the log does not exist yet.
    async fn look(&self) -> Result<Option<(Pooled, Met<'_>)>, RecordError> {
        match self.shared.find_birth(&self.log).await? {
            Some(born) => Ok(Some((self.shared.pool.take().await?, self.met(born)))),
            None => Ok(None),
        }
    }

    async fn write(&self) -> Result<(Pooled, Met<'_>), RecordError> {
        self.check_writable()?;
        let born = self
            .log
            .born()
            .ok_or_else(|| RecordError::unavailable("writing to a log", Refusal::NotBorn))?;
        Ok((self.shared.pool.take().await?, self.met(born)))
    }

    /// Appends; first waits for the inline projections to catch up where necessary.
    async fn append_with_views(
        &self,
        inline: &Inline,
        append: Append,
    ) -> Result<Appended, RecordError> {
        let mut attempts = 1;
        // Of events that other programs recorded.
        let mut may_lack_keys = inline.needs_keys(&self.log.name);
        loop {
            let appended = writer::append(&self.shared, &self.log, append.clone()).await;
            match appended {
                Err(error) if attempts < INLINE_ATTEMPTS_MAX && is_of_views_behind(&error) => {}
                // Catching up fetches them.
                Err(RecordError::Invalid(_)) if may_lack_keys => may_lack_keys = false,
                answer => return answer,
            }
            attempts += 1;
            self.catch_up_views(inline).await?;
        }
    }

    /// Makes the inline projections process all events of the log.
    ///
    /// # Errors
    ///
    /// The error of the first one that cannot.
    pub(crate) async fn catch_up_views(&self, inline: &Inline) -> Result<(), RecordError> {
        inline.catch_up(&self.reader()).await
    }

    fn reader(&self) -> Arc<dyn Recorder> {
        Arc::new(Self {
            shared: self.shared.clone(),
            log: self.log.clone(),
            access: Access::ReadOnly,
        })
    }

    /// Returns the page of a log that does not exist yet: it is empty and has no checkpoint.
    async fn unborn_page(&self, checkpoint: Option<Checkpoint>) -> Result<Page, RecordError> {
        if let Some(checkpoint) = checkpoint {
            if is_standby(&mut *self.shared.pool.take().await?).await? {
                return Err(behind(checkpoint, None));
            }
            RecordError::check_checkpoint(&self.log.name, checkpoint, None)?;
        }
        Ok(Page::new(Vec::new(), None, PageEnd::Complete))
    }

    async fn head_now(&self) -> Result<Head, RecordError> {
        const WHAT: &str = "reading the head";
        let Some((mut connection, log)) = self.look().await? else {
            return Ok(Head::default());
        };
        match connection.row(WHAT, HEAD, &[&log.key(), &log.id()]).await? {
            Some(row) => head(&row).map_err(|error| of_statement(WHAT, error)),
            None => Err(replaced(&mut connection, log).await),
        }
    }

    async fn wait_for_change(&self, append_count: u64) -> Result<u64, RecordError> {
        // Subscribes before the first look, so that no change between the two is missed.
        let mut news = self.log.subscribe();
        self.shared.listener.start();
        loop {
            let known = *news.borrow_and_update();
            if known > append_count {
                return Ok(known);
            }
            let there = self.head_now().await?.append_count;
            self.log.correct(there);
            if there != append_count {
                return Ok(there);
            }
            let interval = self.shared.listener.poll_interval();
            // A hint, or the end of the polling interval: both lead to the next look.
            let _ = tokio::time::timeout(interval, news.changed()).await;
        }
    }
}

fn head(row: &Row) -> Result<Head, tokio_postgres::Error> {
    let position: i64 = row.try_get(0)?;
    let id: Option<uuid::Uuid> = row.try_get(1)?;
    let append_count: i64 = row.try_get(2)?;
    let topic_count: i64 = row.try_get(3)?;
    let position = Position::new(position.cast_unsigned());
    Ok(Head {
        checkpoint: position.zip(id).map(|(position, id)| Checkpoint {
            position,
            event_id: EventId::new(id),
        }),
        append_count: append_count.cast_unsigned(),
        topic_count: topic_count.cast_unsigned(),
    })
}

async fn streams(
    mut connection: Pooled,
    log: Met<'_>,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<StreamEntry>, RecordError> {
    const WHAT: &str = "reading the names of streams";
    let Some(prefix) = possible(prefix) else {
        return Ok(Vec::new());
    };
    let limit = i32::try_from(limit).unwrap_or(i32::MAX);
    let after = after.map(bound);
    let rows = connection
        .rows(
            WHAT,
            STREAMS,
            &[&log.key(), &prefix, &after, &limit, &log.id()],
        )
        .await?;
    if rows.is_empty() {
        return Err(replaced(&mut connection, log).await);
    }
    let mut page = Vec::new();
    for row in rows {
        let name: Option<&str> = row.try_get(0).map_err(|error| of_statement(WHAT, error))?;
        let version: Option<i64> = row.try_get(1).map_err(|error| of_statement(WHAT, error))?;
        let version = version.and_then(|it| Version::new(it.cast_unsigned()));
        let is_deleted = row.try_get(2).map_err(|error| of_statement(WHAT, error))?;
        if let Some((name, version)) = name.zip(version) {
            page.push(StreamEntry {
                name: name.into(),
                version,
                is_deleted,
            });
        }
    }
    Ok(page)
}

async fn topics(
    mut connection: Pooled,
    log: Met<'_>,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Arc<str>>, RecordError> {
    const WHAT: &str = "reading the topics";
    let limit = i32::try_from(limit).unwrap_or(i32::MAX);
    let after = after.map(bound);
    let rows = connection
        .rows(WHAT, TOPICS, &[&log.key(), &after, &limit, &log.id()])
        .await?;
    if rows.is_empty() {
        return Err(replaced(&mut connection, log).await);
    }
    let name = |row: &Row| row.try_get(0).map(|name: Option<&str>| name.map(Arc::from));
    let names = rows.iter().filter_map(|row| name(row).transpose());
    let names: Result<_, _> = names.collect();
    names.map_err(|error| of_statement(WHAT, error))
}

impl Recorder for PostgresRecorder {
    fn log_name(&self) -> &str {
        &self.log.name
    }

    fn limits(&self) -> Limits {
        Limits::DEFAULT
    }

    fn log_id(&self) -> BoxFuture<'_, Result<Option<LogId>, RecordError>> {
        within(&self.shared.runtime, async {
            self.head_now().await?;
            Ok(self.log.born().map(|born| born.id))
        })
    }

    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, RecordError>> {
        within(&self.shared.runtime, async move {
            self.shared.runtime.check()?;
            self.check_writable()?;
            group::check(&append, &self.limits())?;
            match self.shared.inline_of(&self.log.name) {
                None => writer::append(&self.shared, &self.log, append).await,
                Some(inline) => self.append_with_views(inline, append).await,
            }
        })
    }

    fn read_log(&self, read: LogRead) -> BoxFuture<'_, Result<Page, RecordError>> {
        within(&self.shared.runtime, async move {
            read.check()?;
            let lag = LagWait::begin();
            loop {
                let page = match self.look().await? {
                    Some((connection, log)) => page::log_page(connection, log, &read).await,
                    None => self.unborn_page(read.checkpoint()).await,
                };
                match page {
                    Err(error) => lag.outwait(error).await?,
                    page => return page,
                }
            }
        })
    }

    fn read_stream(&self, read: StreamRead) -> BoxFuture<'_, Result<Page, RecordError>> {
        within(&self.shared.runtime, async move {
            read.check()?;
            let lag = LagWait::begin();
            loop {
                let page = match self.look().await? {
                    Some((connection, log)) => page::stream_page(connection, log, &read).await,
                    None => {
                        self.unborn_page(read.checkpoint().map(|(_, checkpoint)| checkpoint))
                            .await
                    }
                };
                match page {
                    Err(error) => lag.outwait(error).await?,
                    page => return page,
                }
            }
        })
    }

    fn event(&self, id: EventId) -> BoxFuture<'_, Result<Option<StoredEvent>, RecordError>> {
        within(&self.shared.runtime, async move {
            match self.look().await? {
                Some((connection, log)) => page::event(connection, log, id).await,
                None => Ok(None),
            }
        })
    }

    fn head(&self) -> BoxFuture<'_, Result<Head, RecordError>> {
        within(&self.shared.runtime, self.head_now())
    }

    fn streams<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<StreamEntry>, RecordError>> {
        within(&self.shared.runtime, async move {
            let limit = check_page_limit(limit, PAGE_NAMES_MAX)?;
            match self.look().await? {
                Some((connection, log)) => streams(connection, log, prefix, after, limit).await,
                None => Ok(Vec::new()),
            }
        })
    }

    fn topics<'a>(
        &'a self,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Arc<str>>, RecordError>> {
        within(&self.shared.runtime, async move {
            let limit = check_page_limit(limit, PAGE_NAMES_MAX)?;
            match self.look().await? {
                Some((connection, log)) => topics(connection, log, after, limit).await,
                None => Ok(Vec::new()),
            }
        })
    }

    fn checkpoint<'a>(
        &'a self,
        follower: &'a FollowerKey,
        upstream: LogId,
    ) -> BoxFuture<'a, Result<Option<Checkpoint>, RecordError>> {
        within(&self.shared.runtime, async move {
            match self.look().await? {
                Some((connection, log)) => {
                    processed_ranges::checkpoint(connection, log, follower, upstream).await
                }
                None => Ok(None),
            }
        })
    }

    fn processed_ranges(
        &self,
        read: RangeRead,
    ) -> BoxFuture<'_, Result<Vec<RecordedRange>, RecordError>> {
        within(&self.shared.runtime, async move {
            let limit = read.check()?;
            match self.look().await? {
                Some((connection, log)) => {
                    processed_ranges::read(connection, log, &read, limit).await
                }
                None => Ok(Vec::new()),
            }
        })
    }

    fn changed_since(&self, append_count: u64) -> BoxFuture<'_, Result<u64, RecordError>> {
        within(&self.shared.runtime, self.wait_for_change(append_count))
    }

    fn put_snapshot(&self, snapshot: StoredSnapshot) -> BoxFuture<'_, Result<(), RecordError>> {
        within(&self.shared.runtime, async move {
            self.check_writable()?;
            snapshot.check(&self.limits())?;
            let (connection, log) = self.write().await?;
            snapshots::put(connection, log, &snapshot).await
        })
    }

    fn snapshot<'a>(
        &'a self,
        stream: &'a str,
        until: Option<Version>,
    ) -> BoxFuture<'a, Result<Option<StoredSnapshot>, RecordError>> {
        within(&self.shared.runtime, async move {
            match self.look().await? {
                Some((connection, log)) => snapshots::newest(connection, log, stream, until).await,
                None => Ok(None),
            }
        })
    }

    fn drop_snapshots<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<(), RecordError>> {
        within(&self.shared.runtime, async move {
            let (connection, log) = self.write().await?;
            snapshots::drop_all(connection, log, stream).await
        })
    }
}
