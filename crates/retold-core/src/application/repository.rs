//! The repository: aggregates as folds of their streams, starting from the cache or a snapshot.

use std::sync::Arc;

use tracing::Instrument;

use super::cache::{Folded, next};
use super::error::{Error, Result};
use super::handle::Application;
use super::limits::FOLD_PAGE_EVENTS;
use super::telemetry;
use crate::domain::{Aggregate, Id, SnapshotRule, Timestamp};
use crate::mapping::MappingError;
use crate::recording::{
    AMENDED_TOPIC, Checkpoint, Corrupt, DELETED_TOPIC, ERASED_TOPIC, Encoding, LogRead, PageEnd,
    Query, QueryItem, REOPENED_TOPIC, StoredEvent, StoredSnapshot, StreamRead, Version,
};

/// An aggregate as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loaded<A: Aggregate> {
    /// Its id.
    pub id: Id<A>,
    /// The fold of its events.
    pub state: A,
    /// The version of the last event in the state.
    pub version: Version,
}

impl Application {
    /// Returns the current state of the aggregate.
    ///
    /// ```
    #[doc = include_str!("../../doc/school.rs.txt")]
    /// let dog = school.get(fido).await?;
    /// assert_eq!((dog.state.name.as_str(), dog.version.get()), ("Fido", 1));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if it has no events; [`Error::Deleted`]; [`Error::Mapping`] if one of
    /// its events cannot be read; [`Error::Registry`], [`Error::Unavailable`], [`Error::Corrupt`].
    pub async fn get<A: Aggregate>(&self, id: impl Into<Id<A>>) -> Result<Loaded<A>> {
        let id = id.into();
        let stream: Arc<str> = id.stream().into();
        let folded = self.load(&stream).await?;
        loaded(id, folded).ok_or_else(|| absent(stream, None))
    }

    /// Returns the current state of the aggregate, or `None` if it has no events or is deleted.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get), without [`Error::NotFound`] and [`Error::Deleted`].
    pub async fn find<A: Aggregate>(&self, id: impl Into<Id<A>>) -> Result<Option<Loaded<A>>> {
        let id = id.into();
        let (folded, _) = self.load_with_head(&id.stream().into()).await?;
        match folded.is_deleted {
            true => Ok(None),
            false => Ok(loaded(id, folded)),
        }
    }

    /// Returns the aggregate as of a version.
    ///
    /// ```
    #[doc = include_str!("../../doc/school.rs.txt")]
    /// use retold::recording::Version;
    ///
    /// school.execute(fido, |_| DogEvent::TrickAdded { trick: "roll over".into() }).await?;
    /// let as_it_was_born = school.get_at(fido, Version::FIRST).await?;
    /// assert!(as_it_was_born.state.tricks.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get); [`Error::NotFound`] also if it does not have this version yet.
    pub async fn get_at<A: Aggregate>(
        &self,
        id: impl Into<Id<A>>,
        version: Version,
    ) -> Result<Loaded<A>> {
        let id = id.into();
        let stream: Arc<str> = id.stream().into();
        let folded = self.load_at(&stream, version).await?;
        loaded(id, folded)
            .filter(|it| it.version == version)
            .ok_or_else(|| absent(stream, Some(version)))
    }

    /// Returns the aggregate as of a time: the fold of its events before the first one that was
    /// decided later than `time`.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get); [`Error::NotFound`] also if it had no events at that time.
    pub async fn get_as_of<A: Aggregate>(
        &self,
        id: impl Into<Id<A>>,
        time: Timestamp,
    ) -> Result<Loaded<A>> {
        let id = id.into();
        let stream: Arc<str> = id.stream().into();
        self.register::<A>()?;
        // Snapshots and cached states know their version but not their time, so neither can be
        // used.
        let mut folded = Folded::<A>::default();
        let until = |stored: &StoredEvent| stored.time() <= time;
        self.fold_while(&stream, &mut folded, None, until).await?;
        let folded = folded.not_deleted(&stream)?;
        loaded(id, folded).ok_or(Error::NotFound {
            stream,
            version: None,
            time: Some(time),
        })
    }

    /// Ensures that no other type has the names of this aggregate or of its events.
    pub(super) fn register<A: Aggregate>(&self) -> Result<()> {
        Ok(self.core.registry.register_aggregate::<A>()?)
    }

    /// Returns the newest state of a stream that is not deleted; the default if it has no events.
    pub(super) async fn load<A: Aggregate>(&self, stream: &Arc<str>) -> Result<Folded<A>> {
        let (folded, _) = self.load_with_head(stream).await?;
        folded.not_deleted(stream)
    }

    /// Returns the newest state of a stream, and the head of the log at that read.
    pub(super) async fn load_with_head<A: Aggregate>(
        &self,
        stream: &Arc<str>,
    ) -> Result<(Folded<A>, Option<Checkpoint>)> {
        let cached = self.core.cache.get(stream);
        self.load_from(stream, cached).await
    }

    /// Returns the newest state of a stream, for a command that has already used the cache.
    pub(super) async fn load_again<A: Aggregate>(&self, stream: &Arc<str>) -> Result<Folded<A>> {
        let cached = self.core.cache.peek(stream);
        Ok(self.load_from(stream, cached).await?.0)
    }

    /// Returns the newest state of a stream, and the head of the log at that read, from a state
    /// that is known.
    pub(super) async fn load_from<A: Aggregate>(
        &self,
        stream: &Arc<str>,
        known: Option<Folded<A>>,
    ) -> Result<(Folded<A>, Option<Checkpoint>)> {
        self.see_forgotten().await?;
        let forgets = self.core.cache.forgets();
        match known.filter(|it| it.forgets == forgets) {
            Some(mut folded) => match self.fast_forward(stream, &mut folded).await {
                Ok(head) => Ok((folded, head)),
                Err(error @ Error::Diverged { .. }) => {
                    self.distrust(stream, &error);
                    self.load_uncached(stream).await
                }
                Err(error) => Err(error),
            },
            None => self.load_uncached(stream).await,
        }
    }

    /// Forgets a state that does not match the log, because the log was restored from an older
    /// copy.
    pub(super) fn distrust(&self, stream: &str, error: &Error) {
        tracing::warn!(%stream, %error, "a state is folded from the log again");
        self.core.cache.forget(stream);
    }

    /// Returns the newest state of a stream that is not in the cache, and caches it.
    pub(super) async fn load_uncached<A: Aggregate>(
        &self,
        stream: &Arc<str>,
    ) -> Result<(Folded<A>, Option<Checkpoint>)> {
        self.register::<A>()?;
        let span = tracing::debug_span!("retold.load", log = self.name(), %stream);
        async {
            let mut folded = self.begin(stream, None).await?;
            let head = self.fast_forward(stream, &mut folded).await?;
            Ok((folded, head))
        }
        .instrument(span)
        .await
    }

    /// Returns the state of a stream at a version, or at its last version if that is lower.
    pub(super) async fn load_at<A: Aggregate>(
        &self,
        stream: &Arc<str>,
        version: Version,
    ) -> Result<Folded<A>> {
        self.register::<A>()?;
        self.see_forgotten().await?;
        let cached = self.core.cache.get::<A>(stream);
        let until = Some(version);
        if let Some(mut folded) = cached.filter(|it| it.version <= until)
            && !self.is_amended_since(stream, folded.checkpoint).await?
        {
            match self.fold_while(stream, &mut folded, until, |_| true).await {
                Ok(_) => return folded.not_deleted(stream),
                Err(error @ Error::Diverged { .. }) => self.distrust(stream, &error),
                Err(error) => return Err(error),
            }
        }
        let mut folded = self.begin(stream, until).await?;
        self.fold_while(stream, &mut folded, until, |_| true)
            .await?;
        folded.not_deleted(stream)
    }

    /// Returns whether a stream has a record of an amendment after this event. A read up to a
    /// version does not meet it.
    async fn is_amended_since(
        &self,
        stream: &Arc<str>,
        checkpoint: Option<Checkpoint>,
    ) -> Result<bool> {
        let topics = [ERASED_TOPIC, AMENDED_TOPIC, DELETED_TOPIC, REOPENED_TOPIC];
        let item = QueryItem::new().stream(Arc::clone(stream));
        let records = topics.into_iter().fold(item, QueryItem::topic);
        let read = LogRead::of(Query::item(records))
            .after(checkpoint.map(|checkpoint| checkpoint.position))
            .limit(1);
        Ok(!self.core.recorder.read_log(read).await?.events.is_empty())
    }

    /// Returns the start of a fold: a snapshot that matches the program and the stream, or nothing.
    /// A snapshot is only an optimization, so a bad one never fails a load.
    async fn begin<A: Aggregate>(
        &self,
        stream: &Arc<str>,
        until: Option<Version>,
    ) -> Result<Folded<A>> {
        self.see_forgotten().await?;
        // Before anything is read, so that data of a subject that is forgotten meanwhile does not
        // stay in the cache.
        let forgets = self.core.cache.forgets();
        let mut folded = self.begin_with(stream, until).await?;
        folded.forgets = forgets;
        Ok(folded)
    }

    async fn begin_with<A: Aggregate>(
        &self,
        stream: &Arc<str>,
        until: Option<Version>,
    ) -> Result<Folded<A>> {
        if let Some(own) = &self.core.own
            && let Some(folded) = own.cached::<A>(stream).await?
            && until.is_none_or(|until| folded.version <= Some(until))
        {
            return Ok(folded);
        }
        let Some(rule) = &A::SNAPSHOTS else {
            return Ok(Folded::default());
        };
        let snapshot = match self.core.recorder.snapshot(stream, until).await {
            Ok(Some(snapshot)) => snapshot,
            Ok(None) => return Ok(Folded::default()),
            Err(error) => {
                tracing::warn!(%stream, %error, "a snapshot could not be read");
                return Ok(Folded::default());
            }
        };
        let folded = match folded_of(rule, &snapshot) {
            Ok(mut folded) => {
                folded.checkpoint = self.event_of_version(stream, folded.version).await?;
                if folded.checkpoint.is_some() {
                    telemetry::count(telemetry::SNAPSHOTS_USED);
                    return Ok(folded);
                }
                "it is beyond the end of its stream".into()
            }
            Err(reason) => reason,
        };
        telemetry::count(telemetry::SNAPSHOTS_IGNORED);
        let version = snapshot.version.get();
        tracing::warn!(%stream, version, reason = folded, "a snapshot is ignored");
        Ok(Folded::default())
    }

    /// Returns the event with this version of a stream; a restored log may have lost it.
    async fn event_of_version(
        &self,
        stream: &Arc<str>,
        version: Option<Version>,
    ) -> Result<Option<Checkpoint>> {
        let before = Version::new(Version::number(version).saturating_sub(1));
        let read = StreamRead::new(Arc::clone(stream))
            .after(before)
            .until(version)
            .limit(1);
        let page = self.core.recorder.read_stream(read).await?;
        Ok(page.events.first().map(StoredEvent::checkpoint))
    }

    /// Applies all events that the state has not seen, and caches it. Returns the head of the log
    /// at that read.
    pub(super) async fn fast_forward<A: Aggregate>(
        &self,
        stream: &Arc<str>,
        folded: &mut Folded<A>,
    ) -> Result<Option<Checkpoint>> {
        let Some(own) = &self.core.own else {
            let head = self.fold_while(stream, folded, None, |_| true).await?;
            self.core.cache.put(stream, folded);
            return Ok(head);
        };
        match own.pending_after(stream) {
            None => {
                let head = self.fold_while(stream, folded, None, |_| true).await?;
                own.keep(stream, folded);
                Ok(head)
            }
            Some(last) => {
                if last.is_some() {
                    self.fold_while(stream, folded, last, |_| true).await?;
                    own.keep(stream, folded);
                }
                self.fold_while(stream, folded, None, |_| true).await
            }
        }
    }

    /// Applies the events after the state's version, up to and including `until`, before the first
    /// one for which `continues` is false. Returns how far the read reached, if it read to the
    /// stream's end. `Diverged` if the log no longer has the last event that the state has seen.
    ///
    /// If events that the state has seen were amended since, they are folded from the first one
    /// again. Erased events of a stream that was deleted later do not count.
    pub(super) async fn fold_while<A: Aggregate>(
        &self,
        stream: &Arc<str>,
        folded: &mut Folded<A>,
        until: Option<Version>,
        continues: impl Fn(&StoredEvent) -> bool + Send,
    ) -> Result<Option<Checkpoint>> {
        // The first read checks an existing state against the log.
        let mut is_proven = folded.checkpoint.is_none();
        // What was read since is as this record of an amendment left it.
        let mut amended = None;
        let mut erased = None;
        'pages: loop {
            if until.is_some() && folded.version >= until && is_proven {
                return Ok(None);
            }
            let read = StreamRead::new(Arc::clone(stream))
                .after_checkpoint(folded.version, folded.checkpoint)
                .until(until)
                .limit(FOLD_PAGE_EVENTS);
            let page = self.core.recorder.read_stream(read).await?;
            is_proven = true;
            let is_from_the_first = folded.version.is_none();
            let mut ends = page.end == PageEnd::Complete;
            for stored in &page.events {
                if !continues(stored) {
                    ends = true;
                    break;
                }
                if is_amended(stored) && !is_from_the_first && stored.version() > amended {
                    // Earlier events may have been read before they were amended. What is read
                    // from now on is as all records of this page left it.
                    let mut records = page.events.iter().filter(|it| is_amended(it));
                    amended = records.next_back().and_then(StoredEvent::version);
                    let forgets = folded.forgets;
                    *folded = Folded::default();
                    folded.forgets = forgets;
                    erased = None;
                    continue 'pages;
                }
                self.take_in(stream, folded, stored, &mut erased)?;
            }
            if ends {
                return match erased {
                    None => Ok(page.read_to),
                    Some(error) => Err(Error::Mapping(error)),
                };
            }
        }
    }

    /// Applies an event. After an erased one, events are passed over until the stream is deleted;
    /// `erased` is the error if it is not.
    fn take_in<A: Aggregate>(
        &self,
        stream: &str,
        folded: &mut Folded<A>,
        stored: &StoredEvent,
        erased: &mut Option<MappingError>,
    ) -> Result<()> {
        let expected = next(folded.version);
        if stored.version() != Some(expected) {
            // Continuing would omit an event or apply one twice.
            let what = format!(
                "{stream:?} continues with version {}, not {expected}",
                Version::number(stored.version())
            );
            let place = format!("event at {}", stored.position());
            return Err(Corrupt::new(place, what).into());
        }
        match stored.topic() {
            topic @ (DELETED_TOPIC | REOPENED_TOPIC) => {
                folded.begin_again(topic == DELETED_TOPIC);
                *erased = None;
            }
            ERASED_TOPIC | AMENDED_TOPIC => folded.pass(),
            _ => self.apply_stored(folded, stored, erased)?,
        }
        folded.checkpoint = Some(stored.checkpoint());
        Ok(())
    }

    fn apply_stored<A: Aggregate>(
        &self,
        folded: &mut Folded<A>,
        stored: &StoredEvent,
        erased: &mut Option<MappingError>,
    ) -> Result<()> {
        if erased.is_some() {
            folded.pass();
            return Ok(());
        }
        match self.core.mapper.read::<A::Event>(stored) {
            Ok(events) => folded.apply_read(events.as_slice()),
            Err(MappingError::UnknownTopic { topic, .. })
                if self.core.registry.is_retired(&topic) =>
            {
                folded.pass();
            }
            Err(error @ MappingError::Erased { .. }) => {
                *erased = Some(error);
                folded.pass();
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// Returns the state in a snapshot, or the reason why this program cannot use it.
pub(super) fn folded_of<A: Aggregate>(
    rule: &SnapshotRule<A>,
    snapshot: &StoredSnapshot,
) -> Result<Folded<A>, String> {
    if *snapshot.state_type != *A::TYPE {
        return Err(format!("it is of a {:?}", snapshot.state_type));
    }
    if snapshot.revision != rule.revision {
        return Err(format!(
            "it has revision {}, but the program has {}",
            snapshot.revision, rule.revision
        ));
    }
    if snapshot.encoding != Encoding::JSON {
        return Err(format!("it is encoded as {}", snapshot.encoding));
    }
    let state = (rule.decode)(&snapshot.payload).map_err(|error| error.to_string())?;
    Ok(Folded {
        state: Arc::new(state),
        version: Some(snapshot.version),
        checkpoint: None,
        is_deleted: false,
        forgets: 0,
    })
}

/// Returns whether this event records that earlier ones were changed.
fn is_amended(stored: &StoredEvent) -> bool {
    matches!(stored.topic(), ERASED_TOPIC | AMENDED_TOPIC)
}

fn loaded<A: Aggregate>(id: Id<A>, folded: Folded<A>) -> Option<Loaded<A>> {
    let version = folded.version?;
    let state = Arc::unwrap_or_clone(folded.state);
    Some(Loaded { id, state, version })
}

/// The error for a stream that has no events, or not this version.
pub(super) fn absent(stream: Arc<str>, version: Option<Version>) -> Error {
    Error::NotFound {
        stream,
        version,
        time: None,
    }
}
