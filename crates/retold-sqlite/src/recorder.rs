//! The recorder: one log of a SQLite store.

use std::sync::Arc;

use retold_core::recording::limits::{Limits, PAGE_NAMES_MAX, check_page_limit};
use retold_core::recording::{
    Append, Appended, BoxFuture, Checkpoint, EventId, FollowerKey, Head, LogId, LogRead, Page,
    PageEnd, RangeRead, RecordError, RecordedRange, Recorder, StoredEvent, StoredSnapshot,
    StreamEntry, StreamRead, Version,
};

use crate::birth::check_birth;
use crate::error::before_commit;
use crate::file::log::{Born, Log};
use crate::file::{head, topics};
use crate::projection::SqliteView;
use crate::projection::inline::CATCH_UP_PAGE_EVENTS;
use crate::reading::readers::Reader;
use crate::reading::{processed_ranges, snapshots, streams};
use crate::shared::Shared;
use crate::transaction::Transaction;
use crate::writing::writer::Writer;

/// One opening of a log.
pub(crate) struct SqliteRecorder {
    shared: Arc<Shared>,
    log: Arc<Log>,
    /// `None` if the log was opened for reading only.
    writer: Option<Arc<Writer>>,
}

impl SqliteRecorder {
    /// The parts of a recorder whose log exists.
    pub(crate) fn writable(shared: Arc<Shared>, log: Arc<Log>, writer: Arc<Writer>) -> Self {
        Self {
            shared,
            log,
            writer: Some(writer),
        }
    }

    pub(crate) fn read_only(shared: Arc<Shared>, log: Arc<Log>) -> Self {
        Self {
            shared,
            log,
            writer: None,
        }
    }

    fn writer(&self) -> Result<&Arc<Writer>, RecordError> {
        self.shared.process.check()?;
        self.writer.as_ref().ok_or_else(|| {
            RecordError::invalid(format!(
                "the log {:?} was opened for reading only",
                self.log.name
            ))
        })
    }

    fn reader(&self) -> Arc<dyn Recorder> {
        Arc::new(Self::read_only(self.shared.clone(), self.log.clone()))
    }

    /// Returns the inline projections that need keys to open events.
    fn views_with_keys(&self, writer: &Writer) -> Vec<Arc<SqliteView>> {
        let mut views = writer.inline().of(&self.log.name);
        views.retain(|view| view.needs_keys());
        views
    }

    /// Appends. If that is refused, perhaps because a projection lacks the keys of events that
    /// other programs recorded, fetches them and tries again.
    async fn append_with_keys(
        &self,
        writer: &Arc<Writer>,
        views: &[Arc<SqliteView>],
        append: Append,
    ) -> Result<Appended, RecordError> {
        let appended = writer.append(self.log.clone(), append.clone()).await;
        if !matches!(appended, Err(RecordError::Invalid(_))) {
            return appended;
        }
        let reader = self.reader();
        for view in views {
            fetch_keys(view, (writer, &reader), usize::MAX).await?;
        }
        writer.append(self.log.clone(), append).await
    }

    /// Reads one state of the log, if it exists; otherwise finds nothing.
    fn look<T: Default>(
        &self,
        look: impl FnOnce(&mut Reader, Born) -> Result<T, RecordError>,
    ) -> Result<T, RecordError> {
        let Some(born) = self.shared.find_birth(&self.log)? else {
            return Ok(T::default());
        };
        self.shared.readers.read(|reader| {
            reader.in_one_state(|reader| {
                let checked = check_birth(&reader.conn, &self.log.name, born);
                checked.map_err(|error| before_commit("looking for a log", error))??;
                look(reader, born)
            })
        })
    }

    /// Returns a page; for a log that does not exist it is empty and has no checkpoint.
    fn page(
        &self,
        checkpoint: Option<Checkpoint>,
        read: impl FnOnce(&mut Reader, Born) -> Result<Page, RecordError>,
    ) -> Result<Page, RecordError> {
        let page = self.look(|reader, log| read(reader, log).map(Some))?;
        match (page, checkpoint) {
            (Some(page), _) => return Ok(page),
            (None, Some(checkpoint)) => {
                RecordError::check_checkpoint(&self.log.name, checkpoint, None)?
            }
            (None, None) => {}
        }
        Ok(Page::new(Vec::new(), None, PageEnd::Complete))
    }

    fn head_now(&self) -> Result<Head, RecordError> {
        self.look(|reader, log| {
            let topic_count = reader.topics.count(&reader.conn, log.key);
            head::read(&reader.conn, log.key)
                .and_then(|head| {
                    topic_count.map(|topic_count| Head {
                        topic_count,
                        ..head
                    })
                })
                .map_err(|error| before_commit("reading the head", error))
        })
    }

    async fn wait_for_change(&self, append_count: u64) -> Result<u64, RecordError> {
        self.shared.process.check()?;
        // Subscribed before the first look, so that no announcement is missed in between.
        let mut news = self.log.subscribe();
        let _waiting = self.shared.alarm.wait_for_news();
        loop {
            let known = *news.borrow_and_update();
            if known > append_count {
                return Ok(known);
            }
            let there = self.head_now()?.append_count;
            self.log.correct(there);
            if there != append_count {
                return Ok(there);
            }
            news.changed()
                .await
                .expect("this recorder keeps the sender");
        }
    }
}

/// Brings the keys into memory that a projection needs for events of a log after its checkpoint, at
/// most this many.
pub(crate) async fn fetch_keys(
    view: &Arc<SqliteView>,
    (writer, log): (&Arc<Writer>, &Arc<dyn Recorder>),
    count: usize,
) -> Result<(), RecordError> {
    let Some(log) = view.opening(log) else {
        return Ok(());
    };
    let of_view = Arc::clone(view);
    let kept = writer.work(0, move |transaction| {
        Ok(Ok(of_view.kept(transaction.conn)?))
    });
    let mut after = kept.await?.and_then(|kept| kept.checkpoint);
    let mut left = count;
    while left > 0 {
        let read = LogRead::new().after_checkpoint(after);
        let page = match log
            .read_log(read.limit(left.min(CATCH_UP_PAGE_EVENTS)))
            .await
        {
            // Catching up reports it.
            Err(RecordError::Diverged { .. }) => return Ok(()),
            page => page?,
        };
        if page.end == PageEnd::Complete {
            break;
        }
        left -= page.events.len().min(left);
        after = page.read_to;
    }
    Ok(())
}

impl Recorder for SqliteRecorder {
    fn log_name(&self) -> &str {
        &self.log.name
    }

    fn limits(&self) -> Limits {
        Limits::DEFAULT
    }

    fn log_id(&self) -> BoxFuture<'_, Result<Option<LogId>, RecordError>> {
        Box::pin(async { self.look(|_, _| Ok(self.log.born().map(|born| born.id))) })
    }

    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, RecordError>> {
        Box::pin(async move {
            let writer = self.writer()?;
            append.check(&self.limits())?;
            match self.views_with_keys(writer) {
                views if views.is_empty() => writer.append(self.log.clone(), append).await,
                views => self.append_with_keys(writer, &views, append).await,
            }
        })
    }

    fn read_log(&self, read: LogRead) -> BoxFuture<'_, Result<Page, RecordError>> {
        Box::pin(async move {
            read.check()?;
            self.page(read.checkpoint(), |reader, log| {
                reader.log_page((&self.log.name, log), &read)
            })
        })
    }

    fn read_stream(&self, read: StreamRead) -> BoxFuture<'_, Result<Page, RecordError>> {
        Box::pin(async move {
            read.check()?;
            let checkpoint = read.checkpoint().map(|(_, checkpoint)| checkpoint);
            self.page(checkpoint, |reader, log| {
                reader.stream_page((&self.log.name, log), &read)
            })
        })
    }

    fn event(&self, id: EventId) -> BoxFuture<'_, Result<Option<StoredEvent>, RecordError>> {
        Box::pin(async move { self.look(|reader, log| reader.event(log, id)) })
    }

    fn head(&self) -> BoxFuture<'_, Result<Head, RecordError>> {
        Box::pin(async { self.head_now() })
    }

    fn streams<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<StreamEntry>, RecordError>> {
        Box::pin(async move {
            let limit = check_page_limit(limit, PAGE_NAMES_MAX)?;
            self.look(|reader, log| {
                streams::list(&reader.conn, log.key, prefix, after, limit)
                    .map_err(|error| before_commit("reading the names of streams", error))
            })
        })
    }

    fn topics<'a>(
        &'a self,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Arc<str>>, RecordError>> {
        Box::pin(async move {
            let limit = check_page_limit(limit, PAGE_NAMES_MAX)?;
            self.look(|reader, log| {
                topics::list(&reader.conn, log.key, after, limit)
                    .map_err(|error| before_commit("reading the topics", error))
            })
        })
    }

    fn checkpoint<'a>(
        &'a self,
        follower: &'a FollowerKey,
        upstream: LogId,
    ) -> BoxFuture<'a, Result<Option<Checkpoint>, RecordError>> {
        Box::pin(async move {
            self.look(|reader, log| {
                processed_ranges::checkpoint(&reader.conn, log, follower, upstream)
                    .map_err(|error| before_commit("reading a checkpoint", error))
            })
        })
    }

    fn processed_ranges(
        &self,
        read: RangeRead,
    ) -> BoxFuture<'_, Result<Vec<RecordedRange>, RecordError>> {
        Box::pin(async move {
            let limit = read.check()?;
            self.look(|reader, log| processed_ranges::read(&reader.conn, log, &read, limit))
        })
    }

    fn changed_since(&self, append_count: u64) -> BoxFuture<'_, Result<u64, RecordError>> {
        Box::pin(self.wait_for_change(append_count))
    }

    fn put_snapshot(&self, snapshot: StoredSnapshot) -> BoxFuture<'_, Result<(), RecordError>> {
        Box::pin(async move {
            let writer = self.writer()?;
            snapshot.check(&self.limits())?;
            let log = self.log.clone();
            let size = snapshot.payload.len();
            let put = move |transaction: &mut Transaction<'_>| match transaction.meet(&log)? {
                Ok(born) => snapshots::put(transaction.conn, born, &snapshot).map(Ok),
                Err(replaced) => Ok(Err(replaced)),
            };
            writer.work(size, put).await
        })
    }

    fn snapshot<'a>(
        &'a self,
        stream: &'a str,
        until: Option<Version>,
    ) -> BoxFuture<'a, Result<Option<StoredSnapshot>, RecordError>> {
        Box::pin(async move {
            self.look(|reader, log| snapshots::newest(&reader.conn, log, stream, until))
        })
    }

    fn drop_snapshots<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<(), RecordError>> {
        Box::pin(async move {
            let (writer, log) = (self.writer()?, self.log.clone());
            let stream = stream.to_owned();
            let drop_them = move |transaction: &mut Transaction<'_>| match transaction.meet(&log)? {
                Ok(born) => snapshots::drop_all(transaction.conn, born.key, &stream).map(Ok),
                Err(replaced) => Ok(Err(replaced)),
            };
            writer.work(0, drop_them).await
        })
    }
}
