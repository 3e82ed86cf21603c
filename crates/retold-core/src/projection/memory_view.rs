//! A view in memory: a value and its checkpoint behind one lock.
//!
//! Nothing is persisted: whenever the program starts, the view is rebuilt from the first event of
//! the log, or from the end of the log with [`Projection::from_now`].
//!
//! A handler changes the value in place, and one that fails or panics halfway leaves it half
//! changed. The view store therefore has an older copy of the value and the events that were
//! applied since, and uses them to restore the value as it was before the event. The cost of a copy
//! determines how often it is renewed, so that neither large views nor long pages cost much.

use std::fmt;
use std::future::ready;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use super::declaration::Projection;
use super::error::ProjectionError;
use super::handler::{AtOnce, ViewKind};
use super::handling::Handling;
use super::outline::ProjectionOutline;
use super::view_store::{
    Applied, Kept, SKIPPED_EVENTS_MAX, SKIPPED_PAGE_MAX, Seen, SkippedEvent, Supersede, Switched,
    ViewPage, ViewStore,
};
use crate::recording::limits::check_page_limit;
use crate::recording::{BoxFuture, Checkpoint, Invalid, LogId, Position, RecordError, StoredEvent};

/// A view in memory, as its readers use it. Clones share the view.
///
/// Handlers of its projections change the value directly. If one fails or panics, all changes for
/// the event are undone: the value is restored from an older copy and the events since, so a view
/// takes memory for two values. Data that the value shares, for example through an `Arc<Mutex<…>>`,
/// cannot be restored.
///
/// To change how the view is built, pass the projection with a higher version to
/// [`keep`](Self::keep) and drive it in parallel with the old one: readers see the old value until
/// the new version has caught up.
pub struct MemoryView<V> {
    shared: Arc<Shared<V>>,
}

impl<V> Clone for MemoryView<V> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

struct Shared<V> {
    /// The view before the first event.
    beginning: Box<dyn Fn() -> V + Send + Sync>,
    seen: RwLock<Generation<V>>,
}

/// The view that one version has made from the log.
struct Generation<V> {
    /// 0 before the first version begins.
    version: u32,
    view: V,
    /// None before the version begins.
    upstream: Option<LogId>,
    checkpoint: Option<Checkpoint>,
    skipped: Vec<SkippedEvent>,
    /// None before the first page.
    backup: Option<Backup<V>>,
}

/// The data from which a generation is restored after a handler fails.
struct Backup<V> {
    view: V,
    checkpoint: Option<Checkpoint>,
    /// The events that the generation applied since, in order.
    since: Vec<StoredEvent>,
    /// How long it took to make the copy.
    cost: Duration,
    /// How long the generation has worked since.
    worked: Duration,
}

/// A copy is renewed after work of this many times its cost, so it adds at most a fifth to the
/// work.
const WORK_PER_COPY: u32 = 5;

/// A copy is renewed after this many events, regardless of its cost: the events are kept in memory,
/// and applied again when a handler fails.
const EVENTS_PER_COPY_MAX: usize = 10_000;

impl<V: Send + Sync + 'static> ViewKind for MemoryView<V> {
    type Target<'a> = V;
    type Handler = AtOnce<Self>;
}

impl<V: Default + Send + Sync + 'static> MemoryView<V> {
    /// Creates a view whose value is `V::default()` before the first event.
    pub fn new() -> Self {
        Self::beginning_with(V::default)
    }
}

impl<V: Default + Send + Sync + 'static> Default for MemoryView<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V: Send + Sync + 'static> MemoryView<V> {
    /// Creates a view whose value is the result of `beginning` before the first event, in each
    /// version.
    pub fn beginning_with(beginning: impl Fn() -> V + Send + Sync + 'static) -> Self {
        let seen = RwLock::new(Generation::new(0, beginning()));
        Self {
            shared: Arc::new(Shared {
                beginning: Box::new(beginning),
                seen,
            }),
        }
    }

    /// Calls a function with the view. Keep it short: no events are applied meanwhile.
    pub fn read<T>(&self, look: impl FnOnce(&V) -> T) -> T {
        look(&self.guard())
    }

    /// Returns the view and its checkpoint. No events are applied while the guard exists, so do not
    /// hold it while waiting for anything.
    pub fn guard(&self) -> MemoryViewGuard<'_, V> {
        MemoryViewGuard {
            seen: self.shared.seen(),
        }
    }

    /// Returns the view store of this projection's version of the view, for a pipeline.
    ///
    /// # Errors
    ///
    /// [`Invalid`]: see [`ProjectionOutline::check`].
    pub fn keep(&self, projection: Projection<Self>) -> Result<Arc<dyn ViewStore>, Invalid>
    where
        V: Clone,
    {
        projection.outline().check()?;
        Ok(Arc::new(MemoryViewStore {
            projection,
            shared: self.shared.clone(),
            building: Mutex::new(None),
        }))
    }
}

/// A view in memory, locked for reading.
pub struct MemoryViewGuard<'a, V> {
    seen: RwLockReadGuard<'a, Generation<V>>,
}

impl<V> MemoryViewGuard<'_, V> {
    /// Returns the last event that the view has recorded as applied or skipped; none before the
    /// first.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.seen.checkpoint
    }

    /// Returns the version of the projection that built it; 0 before the first version has begun.
    pub fn version(&self) -> u32 {
        self.seen.version
    }
}

impl<V> Deref for MemoryViewGuard<'_, V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.seen.view
    }
}

impl<V: fmt::Debug> fmt::Debug for MemoryViewGuard<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.seen.view.fmt(f)
    }
}

impl<V> fmt::Debug for MemoryView<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = self.shared.seen();
        f.debug_struct("MemoryView")
            .field("version", &seen.version)
            .field("checkpoint", &seen.checkpoint)
            .finish_non_exhaustive()
    }
}

impl<V> Shared<V> {
    // A panic under the lock cannot leave a half-made generation: panics of handlers are caught,
    // and readers change nothing.
    fn seen(&self) -> RwLockReadGuard<'_, Generation<V>> {
        self.seen.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen_mut(&self) -> RwLockWriteGuard<'_, Generation<V>> {
        self.seen.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Generation<V> {
    fn new(version: u32, view: V) -> Self {
        Self {
            version,
            view,
            upstream: None,
            checkpoint: None,
            skipped: Vec::new(),
            backup: None,
        }
    }

    fn kept(&self, seen: Seen) -> Option<Kept> {
        Some(Kept {
            upstream: self.upstream?,
            checkpoint: self.checkpoint,
            seen,
            skipped: self.skipped.len() as u64,
        })
    }

    /// Begins, unless it has begun over this log or has a checkpoint.
    fn begin(&mut self, upstream: LogId, start: Option<Checkpoint>) {
        if self.upstream != Some(upstream) && self.checkpoint.is_none() {
            self.upstream = Some(upstream);
            self.checkpoint = start;
        }
    }
}

impl<V: Clone + Send + Sync + 'static> Generation<V> {
    /// Applies the events of a page, up to the first that fails.
    fn take_in(&mut self, projection: &Projection<MemoryView<V>>, page: &ViewPage) -> Applied {
        let mut backup = match self.backup.take() {
            Some(backup) if !backup.is_due() => backup,
            _ => self.back_up(),
        };
        let begun = Instant::now();
        for (count, event) in page.events.iter().enumerate() {
            if let Err(error) = projection.handle(&mut self.view, event) {
                let error = error.into();
                return match self.restore(projection, backup) {
                    Ok(()) => Applied::Until { count, error },
                    Err(checkpoint) => Applied::Elsewhere(checkpoint),
                };
            }
            self.checkpoint = Some(event.checkpoint());
            backup.since.push(event.clone());
        }
        backup.worked += begun.elapsed();
        self.backup = Some(backup);
        self.checkpoint = Some(page.to);
        Applied::Whole
    }

    fn back_up(&self) -> Backup<V> {
        let begun = Instant::now();
        let view = self.view.clone();
        Backup {
            view,
            checkpoint: self.checkpoint,
            since: Vec::new(),
            cost: begun.elapsed(),
            worked: Duration::ZERO,
        }
    }

    /// Restores the view as it was before the last handled event. If that fails, because a handler
    /// now fails on an event that it applied before, the view is that of the backup, and has
    /// applied the events up to the returned checkpoint.
    fn restore(
        &mut self,
        projection: &Projection<MemoryView<V>>,
        backup: Backup<V>,
    ) -> Result<(), Option<Checkpoint>> {
        self.view = backup.view.clone();
        let mut since = backup.since.iter();
        if since.all(|event| projection.handle(&mut self.view, event).is_ok()) {
            // The next event may fail too, and must not cause another replay.
            self.backup = Some(match backup.since.is_empty() {
                true => backup,
                false => self.back_up(),
            });
            return Ok(());
        }
        let Backup {
            view, checkpoint, ..
        } = backup;
        self.view = view;
        self.checkpoint = checkpoint;
        self.skipped.retain(|it| {
            Some(it.checkpoint.position) <= checkpoint.map(|checkpoint| checkpoint.position)
        });
        Err(checkpoint)
    }
}

impl<V> Backup<V> {
    fn is_due(&self) -> bool {
        let is_worth = self.worked >= self.cost * WORK_PER_COPY;
        !self.since.is_empty() && (is_worth || self.since.len() >= EVENTS_PER_COPY_MAX)
    }
}

/// Keeps one version of a view: first built in parallel with the version that readers see, then in
/// its place.
struct MemoryViewStore<V: Send + Sync + 'static> {
    projection: Projection<MemoryView<V>>,
    shared: Arc<Shared<V>>,
    /// This version while readers see an older one.
    building: Mutex<Option<Generation<V>>>,
}

impl<V: Clone + Send + Sync + 'static> MemoryViewStore<V> {
    fn version(&self) -> u32 {
        self.projection.outline().version
    }

    fn building(&self) -> MutexGuard<'_, Option<Generation<V>>> {
        self.building.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn invalid(&self, invalid: Invalid) -> ProjectionError {
        let label = self.projection.outline().label();
        ProjectionError::of_record_error(label, RecordError::Invalid(invalid))
    }

    /// Calls a function with this version, wherever it is.
    fn with_generation<T>(
        &self,
        work: impl FnOnce(&mut Generation<V>, Seen) -> T,
    ) -> Result<T, ProjectionError> {
        let mut building = self.building();
        if let Some(generation) = &mut *building {
            let current = self.shared.seen().version;
            if current < self.version() {
                return Ok(work(generation, Seen::Older));
            }
            // Another view store of this version, or of a newer one, was faster.
            *building = None;
        }
        let mut seen = self.shared.seen_mut();
        if seen.version != self.version() {
            return Err(self.projection.outline().superseded(seen.version));
        }
        Ok(work(&mut seen, Seen::This))
    }

    fn begin_now(
        &self,
        upstream: LogId,
        start: Option<Checkpoint>,
    ) -> Result<Kept, ProjectionError> {
        {
            let mut building = self.building();
            let mut seen = self.shared.seen_mut();
            if seen.version == 0 {
                seen.version = self.version();
            }
            if seen.version < self.version() && building.is_none() {
                let view = (self.shared.beginning)();
                *building = Some(Generation::new(self.version(), view));
            }
        }
        self.with_generation(|generation, seen| {
            generation.begin(upstream, start);
            generation.kept(seen).expect("it has begun just now")
        })
    }

    fn kept_now(&self) -> Option<Kept> {
        if let Some(generation) = &*self.building() {
            return generation.kept(Seen::Older);
        }
        let seen = self.shared.seen();
        (seen.version == self.version())
            .then(|| seen.kept(Seen::This))
            .flatten()
    }

    fn apply_now(&self, page: &ViewPage) -> Result<Applied, ProjectionError> {
        self.with_generation(|generation, _| {
            if generation.checkpoint != page.after {
                return Applied::Elsewhere(generation.checkpoint);
            }
            generation.take_in(&self.projection, page)
        })
    }

    fn skip_now(
        &self,
        after: Option<Checkpoint>,
        skipped: SkippedEvent,
    ) -> Result<Applied, ProjectionError> {
        self.with_generation(|generation, _| {
            if generation.checkpoint != after {
                return Ok(Applied::Elsewhere(generation.checkpoint));
            }
            if generation.skipped.len() as u64 >= SKIPPED_EVENTS_MAX {
                return Err(Invalid::new(format!(
                    "{SKIPPED_EVENTS_MAX} events were skipped already, and {} would be one more",
                    skipped.checkpoint
                )));
            }
            generation.checkpoint = Some(skipped.checkpoint);
            generation.skipped.push(skipped);
            Ok(Applied::Whole)
        })?
        .map_err(|invalid| self.invalid(invalid))
    }

    fn switch_now(
        &self,
        after: Option<Checkpoint>,
        to: Option<Checkpoint>,
        supersede: Supersede,
    ) -> Result<Switched, ProjectionError> {
        {
            let mut building = self.building();
            let mut seen = self.shared.seen_mut();
            if seen.version < self.version()
                && let Some(generation) = &*building
            {
                if generation.checkpoint != after {
                    return Ok(Switched::Elsewhere(generation.checkpoint));
                }
                let position = |checkpoint: Option<Checkpoint>| {
                    checkpoint.map(|checkpoint| checkpoint.position)
                };
                if let Some(older) = seen.checkpoint
                    && position(to) < Some(older.position)
                    && supersede == Supersede::Reached
                {
                    return Ok(Switched::Behind(older));
                }
                if let Some(mut generation) = building.take() {
                    generation.checkpoint = to;
                    *seen = generation;
                }
                return Ok(Switched::Done);
            }
        }
        self.with_generation(|generation, _| match generation.checkpoint {
            checkpoint if checkpoint == to => Switched::Done,
            checkpoint => Switched::Elsewhere(checkpoint),
        })
    }

    fn skipped_now(
        &self,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<SkippedEvent>, ProjectionError> {
        let limit = check_page_limit(limit, SKIPPED_PAGE_MAX).map_err(|it| self.invalid(it))?;
        self.with_generation(|generation, _| {
            let events = generation.skipped.iter();
            let later = events.filter(|it| Some(it.checkpoint.position) > after);
            later.take(limit).cloned().collect()
        })
    }

    fn discard_now(&self) {
        let mut building = self.building();
        let mut seen = self.shared.seen_mut();
        *building = None;
        if seen.version == self.version() {
            *seen = Generation::new(self.version(), (self.shared.beginning)());
        }
    }
}

impl<V: Clone + Send + Sync + 'static> ViewStore for MemoryViewStore<V> {
    fn outline(&self) -> &ProjectionOutline {
        self.projection.outline()
    }

    fn is_of_this_process(&self) -> bool {
        true
    }

    fn handling(&self) -> Option<&Handling> {
        Some(self.projection.handling())
    }

    fn kept(&self) -> BoxFuture<'_, Result<Option<Kept>, ProjectionError>> {
        Box::pin(ready(Ok(self.kept_now())))
    }

    fn begin(
        &self,
        upstream: LogId,
        start: Option<Checkpoint>,
    ) -> BoxFuture<'_, Result<Kept, ProjectionError>> {
        Box::pin(async move { self.begin_now(upstream, start) })
    }

    fn apply(&self, page: ViewPage) -> BoxFuture<'_, Result<Applied, ProjectionError>> {
        Box::pin(async move { self.apply_now(&page) })
    }

    fn skip(
        &self,
        after: Option<Checkpoint>,
        skipped: SkippedEvent,
    ) -> BoxFuture<'_, Result<Applied, ProjectionError>> {
        Box::pin(async move { self.skip_now(after, skipped) })
    }

    fn switch(
        &self,
        after: Option<Checkpoint>,
        to: Option<Checkpoint>,
        supersede: Supersede,
    ) -> BoxFuture<'_, Result<Switched, ProjectionError>> {
        Box::pin(async move { self.switch_now(after, to, supersede) })
    }

    fn skipped(
        &self,
        after: Option<Position>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<SkippedEvent>, ProjectionError>> {
        Box::pin(async move { self.skipped_now(after, limit) })
    }

    fn discard(&self) -> BoxFuture<'_, Result<(), ProjectionError>> {
        Box::pin(async move {
            self.discard_now();
            Ok(())
        })
    }
}
