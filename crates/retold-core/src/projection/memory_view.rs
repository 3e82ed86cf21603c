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
use super::view_rules::{Begin, Switch, ViewRules, ViewVersion};
use super::view_store::{
    Applied, SKIPPED_PAGE_MAX, SkippedEvent, StoredView, Supersede, Switched, ViewPage, ViewStore,
};
use crate::recording::limits::check_page_limit;
use crate::recording::{BoxFuture, Checkpoint, Invalid, LogId, Position, StoredEvent};

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
    shared: Arc<SharedView<V>>,
}

impl<V> Clone for MemoryView<V> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

struct SharedView<V> {
    /// The view before the first event.
    beginning: Box<dyn Fn() -> V + Send + Sync>,
    seen: RwLock<Generation<V>>,
}

/// The view that one version has made from the log.
struct Generation<V> {
    view: V,
    /// None before the version begins.
    stored: Option<ViewVersion>,
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
        let seen = RwLock::new(Generation::new(beginning()));
        Self {
            shared: Arc::new(SharedView {
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
            rules: ViewRules::new(projection.outline()),
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
        self.seen.checkpoint()
    }

    /// Returns the version of the projection that built it; 0 before the first version has begun,
    /// and after the version was discarded.
    pub fn version(&self) -> u32 {
        self.seen.version()
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
            .field("version", &seen.version())
            .field("checkpoint", &seen.checkpoint())
            .finish_non_exhaustive()
    }
}

impl<V> SharedView<V> {
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
    fn new(view: V) -> Self {
        Self {
            view,
            stored: None,
            skipped: Vec::new(),
            backup: None,
        }
    }

    /// 0 before the version begins.
    fn version(&self) -> u32 {
        self.stored.as_ref().map_or(0, |it| it.version)
    }

    fn checkpoint(&self) -> Option<Checkpoint> {
        self.stored.as_ref()?.checkpoint
    }

    fn advance(&mut self, to: Option<Checkpoint>) {
        if let Some(stored) = &mut self.stored {
            stored.checkpoint = to;
        }
    }

    fn kept(&self) -> Option<StoredView> {
        let stored = self.stored.as_ref()?;
        Some(stored.kept(self.skipped.len() as u64))
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
            self.advance(Some(event.checkpoint()));
            backup.since.push(event.clone());
        }
        backup.worked += begun.elapsed();
        self.backup = Some(backup);
        self.advance(Some(page.to));
        Applied::Whole
    }

    fn back_up(&self) -> Backup<V> {
        let begun = Instant::now();
        let view = self.view.clone();
        Backup {
            view,
            checkpoint: self.checkpoint(),
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
        self.advance(checkpoint);
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
    rules: ViewRules,
    shared: Arc<SharedView<V>>,
    /// This version while readers see an older one.
    building: Mutex<Option<Generation<V>>>,
}

impl<V: Clone + Send + Sync + 'static> MemoryViewStore<V> {
    fn building(&self) -> MutexGuard<'_, Option<Generation<V>>> {
        self.building.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns this version while it is built; none if another view store of this version, or of a
    /// newer one, was faster.
    fn still_building(&self) -> MutexGuard<'_, Option<Generation<V>>> {
        let mut building = self.building();
        self.drop_if_outdone(&mut building, &self.shared.seen());
        building
    }

    /// Returns this version while it is built, and the one that readers see, both locked.
    fn both(
        &self,
    ) -> (
        MutexGuard<'_, Option<Generation<V>>>,
        RwLockWriteGuard<'_, Generation<V>>,
    ) {
        let mut building = self.building();
        let seen = self.shared.seen_mut();
        self.drop_if_outdone(&mut building, &seen);
        (building, seen)
    }

    fn drop_if_outdone(&self, building: &mut Option<Generation<V>>, seen: &Generation<V>) {
        if seen.version() >= self.rules.outline().version {
            *building = None;
        }
    }

    /// Calls a function with this version, where it is.
    fn with_generation<T>(
        &self,
        work: impl FnOnce(&mut Generation<V>) -> Result<T, ProjectionError>,
    ) -> Result<T, ProjectionError> {
        let mut building = self.still_building();
        if let Some(generation) = &mut *building {
            return work(generation);
        }
        let mut seen = self.shared.seen_mut();
        let stored = seen.stored.as_slice();
        if self.rules.own(stored).is_none() {
            return Err(self.rules.missing(stored));
        }
        work(&mut seen)
    }

    /// Returns what a function finds in this version; none if it has not begun.
    fn look<T>(&self, look: impl FnOnce(&Generation<V>) -> T) -> Option<T> {
        if let Some(generation) = &*self.still_building() {
            return Some(look(generation));
        }
        let seen = self.shared.seen();
        self.rules.own(seen.stored.as_slice())?;
        Some(look(&seen))
    }

    fn begin_now(
        &self,
        upstream: LogId,
        start: Option<Checkpoint>,
    ) -> Result<StoredView, ProjectionError> {
        let (mut building, mut seen) = self.both();
        let stored = stored(&seen, &building);
        let begin = self.rules.begin(&stored, upstream, start, &[])?;
        let version = begin.version().clone();
        let generation = match (begin, &mut *building) {
            (Begin::Created(version), building) if !version.is_seen => {
                building.insert(Generation::new((self.shared.beginning)()))
            }
            (_, Some(generation)) => generation,
            (_, None) => &mut seen,
        };
        let kept = version.kept(generation.skipped.len() as u64);
        generation.stored = Some(version);
        Ok(kept)
    }

    fn apply_now(&self, page: &ViewPage) -> Result<Applied, ProjectionError> {
        self.with_generation(|generation| {
            let stored = generation.stored.as_ref();
            let elsewhere = stored.and_then(|it| it.elsewhere(page.after));
            Ok(elsewhere.unwrap_or_else(|| generation.take_in(&self.projection, page)))
        })
    }

    fn skip_now(
        &self,
        after: Option<Checkpoint>,
        skipped: SkippedEvent,
    ) -> Result<Applied, ProjectionError> {
        self.with_generation(|generation| {
            let count = generation.skipped.len() as u64;
            if let Some(stored) = &generation.stored
                && let Some(applied) = self.rules.skip(stored, after, &skipped, count)?
            {
                return Ok(applied);
            }
            generation.advance(Some(skipped.checkpoint));
            generation.skipped.push(skipped);
            Ok(Applied::Whole)
        })
    }

    fn switch_now(
        &self,
        after: Option<Checkpoint>,
        to: Option<Checkpoint>,
        supersede: Supersede,
    ) -> Result<Switched, ProjectionError> {
        let (mut building, mut seen) = self.both();
        let stored = stored(&seen, &building);
        let mut version = match self.rules.switch(&stored, after, to, supersede)? {
            Switch::Unchanged(switched) => return Ok(switched),
            Switch::Done { version, .. } => version.clone(),
        };
        if let Some(generation) = building.take() {
            *seen = generation;
        }
        version.is_seen = true;
        version.checkpoint = to.or(version.checkpoint);
        seen.stored = Some(version);
        Ok(Switched::Done)
    }

    fn skipped_now(
        &self,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<SkippedEvent>, ProjectionError> {
        let limit = check_page_limit(limit, SKIPPED_PAGE_MAX);
        let limit = limit.map_err(|invalid| self.rules.error(invalid.into()))?;
        let page = self.look(|generation| {
            let events = generation.skipped.iter();
            let later = events.filter(|it| Some(it.checkpoint.position) > after);
            later.take(limit).cloned().collect()
        });
        Ok(page.unwrap_or_default())
    }

    fn discard_now(&self) {
        self.rules.discard();
        let (mut building, mut seen) = self.both();
        *building = None;
        if self.rules.own(seen.stored.as_slice()).is_some() {
            *seen = Generation::new((self.shared.beginning)());
        }
    }
}

/// All versions that a view store knows: the one that readers see, and its own while it is built.
fn stored<V>(seen: &Generation<V>, building: &Option<Generation<V>>) -> Vec<ViewVersion> {
    let building = building.as_ref().and_then(|it| it.stored.clone());
    seen.stored.iter().cloned().chain(building).collect()
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

    fn kept(&self) -> BoxFuture<'_, Result<Option<StoredView>, ProjectionError>> {
        Box::pin(ready(Ok(self.look(Generation::kept).flatten())))
    }

    fn begin(
        &self,
        upstream: LogId,
        start: Option<Checkpoint>,
    ) -> BoxFuture<'_, Result<StoredView, ProjectionError>> {
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
