//! An in-memory cache of the aggregates that are used most.
//!
//! A cached state is a fold of a prefix of its stream: never wrong, but possibly old. A caller that
//! needs the newest state reads the later events or has the append check the version. Only if the
//! log was restored from an older copy can a state contain events that no longer exist. Reading
//! after the checkpoint of its last event detects that, and the state is folded from the log again.

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use quick_cache::sync::Cache as QuickCache;

use super::error::{Error, Result};
use super::telemetry;
use crate::domain::Aggregate;
use crate::recording::{Checkpoint, EventId, Version};

/// A state and the last version that it has seen.
#[derive(Debug)]
pub(crate) struct Folded<A> {
    pub(crate) state: Arc<A>,
    /// `None` before the first event.
    pub(crate) version: Option<Version>,
    /// The event of that version in the log; `None` also if it is not recorded yet.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// Whether the stream is deleted; the last event is then the one that deleted it.
    pub(crate) is_deleted: bool,
    /// How many subjects had been forgotten, as far as the process knew, when the fold began.
    pub(crate) forgets: u64,
}

impl<A> Clone for Folded<A> {
    fn clone(&self) -> Self {
        Self {
            state: Arc::clone(&self.state),
            version: self.version,
            checkpoint: self.checkpoint,
            is_deleted: self.is_deleted,
            forgets: self.forgets,
        }
    }
}

impl<A: Default> Default for Folded<A> {
    fn default() -> Self {
        Self {
            state: Arc::new(A::default()),
            version: None,
            checkpoint: None,
            is_deleted: false,
            forgets: 0,
        }
    }
}

impl<A> Folded<A> {
    /// Id of the last event that the state has seen, if it is known.
    pub(crate) fn last(&self) -> Option<EventId> {
        self.checkpoint.map(|checkpoint| checkpoint.event_id)
    }
}

impl<A> Folded<A> {
    /// Refuses the state of a deleted stream.
    ///
    /// # Errors
    ///
    /// [`Error::Deleted`] if the stream is deleted.
    pub(crate) fn check_not_deleted(&self, stream: &Arc<str>) -> Result<()> {
        match (self.is_deleted, self.checkpoint) {
            (true, Some(record)) => Err(Error::Deleted {
                stream: Arc::clone(stream),
                record,
            }),
            _ => Ok(()),
        }
    }

    /// Returns the state of a stream that is not deleted.
    ///
    /// # Errors
    ///
    /// As for [`check_not_deleted`](Self::check_not_deleted).
    pub(super) fn not_deleted(self, stream: &Arc<str>) -> Result<Self> {
        self.check_not_deleted(stream)?;
        Ok(self)
    }
}

impl<A: Aggregate> Folded<A> {
    /// Applies the next event of the stream. Clones the state if it is shared.
    pub(crate) fn apply(&mut self, event: &A::Event) {
        self.apply_read(std::slice::from_ref(event));
    }

    /// Applies what the next event of the stream is read as: usually one event. Clones the state if
    /// it is shared and changes.
    pub(crate) fn apply_read(&mut self, events: &[A::Event]) {
        if !events.is_empty() {
            let state = Arc::make_mut(&mut self.state);
            events.iter().for_each(|event| state.apply(event));
        }
        self.pass();
    }

    /// Passes over the next event of the stream, which does not change the state.
    pub(super) fn pass(&mut self) {
        self.version = Some(next(self.version));
        self.checkpoint = None;
    }

    /// Takes in the event that deletes or reopens the stream: the state begins again.
    pub(super) fn begin_again(&mut self, is_deleted: bool) {
        self.state = Arc::new(A::default());
        self.is_deleted = is_deleted;
        self.pass();
    }
}

/// The version after this one.
pub(super) fn next(version: Option<Version>) -> Version {
    version.map_or(Version::FIRST, Version::next)
}

/// States by stream name. Bounded; allocates nothing until it is used.
pub(super) struct Cache {
    size: usize,
    /// Counts the subjects that were forgotten: a state that was folded before may have their data.
    forgets: Arc<AtomicU64>,
    slots: OnceLock<QuickCache<Arc<str>, Arc<dyn AnySlot>>>,
}

/// Holds one state.
struct CacheSlot<A> {
    /// Empty while it is changed, so that a panic in a fold leaves nothing half-changed behind.
    folded: Mutex<Option<Folded<A>>>,
    /// Whether the stream is known to have later events than the state has seen.
    is_outdated: AtomicBool,
}

/// A [`CacheSlot`] of any type.
trait AnySlot: Any + Send + Sync {
    /// The version of the cached state, if there is one.
    fn version(&self) -> Option<Version>;

    fn outdate(&self);
}

impl<A: Aggregate> AnySlot for CacheSlot<A> {
    fn version(&self) -> Option<Version> {
        lock(self).as_ref().and_then(|folded| folded.version)
    }

    fn outdate(&self) {
        let _kept = lock(self);
        self.is_outdated.store(true, Ordering::Relaxed);
    }
}

impl<A> CacheSlot<A> {
    /// Replaces the cached state if this one is newer. The caller holds the lock.
    fn renew(&self, kept: &mut Option<Folded<A>>, folded: &Folded<A>) {
        let is_newer = |it: &Folded<A>| it.version < folded.version || it.forgets < folded.forgets;
        if kept.as_ref().is_none_or(is_newer) {
            *kept = Some(folded.clone());
            self.is_outdated.store(false, Ordering::Relaxed);
        }
    }
}

impl Cache {
    /// Creates a cache of about this many states, which returns no state that was folded before the
    /// number of forgotten subjects changed.
    pub(super) fn counting(size: usize, forgets: Arc<AtomicU64>) -> Self {
        Self {
            size,
            forgets,
            slots: OnceLock::new(),
        }
    }

    /// How many subjects have been forgotten, as far as the process knows.
    pub(super) fn forgets(&self) -> u64 {
        self.forgets.load(Ordering::Acquire)
    }

    /// The count of forgotten subjects, for another cache.
    pub(super) fn shared_forgets(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.forgets)
    }

    /// The approximate number of states that it keeps.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// The state of this stream as of its last use.
    pub(super) fn get<A: Aggregate>(&self, stream: &str) -> Option<Folded<A>> {
        let found = self.peek(stream);
        telemetry::count(match found {
            Some(_) => telemetry::CACHE_HITS,
            None => telemetry::CACHE_MISSES,
        });
        found
    }

    /// As [`get`](Self::get), but `None` if the state is known to be [outdated](Self::outdate).
    pub(super) fn get_if_current<A: Aggregate>(&self, stream: &str) -> Option<Folded<A>> {
        let slot = self.slot::<A>(stream)?;
        let is_outdated = slot.is_outdated.load(Ordering::Relaxed);
        match is_outdated {
            true => None,
            false => self.get(stream),
        }
    }

    /// As [`get`](Self::get), but not counted as a use.
    pub(super) fn peek<A: Aggregate>(&self, stream: &str) -> Option<Folded<A>> {
        let slot = self.slot::<A>(stream)?;
        let mut kept = lock(&slot);
        let forgets = self.forgets();
        if kept.as_ref().is_some_and(|it| it.forgets != forgets) {
            *kept = None;
        }
        kept.clone()
    }

    /// Caches a state, unless a newer one is cached.
    pub(super) fn put<A: Aggregate>(&self, stream: &Arc<str>, folded: &Folded<A>) {
        if self.size == 0 || folded.version.is_none() || folded.forgets != self.forgets() {
            return;
        }
        match self.slot::<A>(stream) {
            Some(slot) => {
                slot.renew(&mut lock(&slot), folded);
            }
            None => self.insert(stream, folded.clone()),
        }
    }

    /// Applies the events that were just recorded after `base`, ending with `last`, and returns the
    /// resulting state. Clones nothing if the state is not shared.
    pub(super) fn advance<'e, A: Aggregate>(
        &self,
        stream: &Arc<str>,
        mut base: Folded<A>,
        events: impl IntoIterator<Item = &'e A::Event>,
        last: Option<Checkpoint>,
    ) -> Folded<A> {
        if base.version.is_none() {
            base.forgets = self.forgets();
        }
        let slot = self.slot::<A>(stream);
        let taken = slot.as_ref().and_then(|slot| {
            let mut kept = lock(slot);
            // A newer state stays; then this one serves only its caller.
            match &*kept {
                Some(it) if it.version <= base.version => kept.take(),
                _ => None,
            }
        });
        drop(taken);
        for event in events {
            base.apply(event);
            base.checkpoint = last;
        }
        match slot {
            Some(slot) => {
                slot.renew(&mut lock(&slot), &base);
            }
            None if self.size > 0 => self.insert(stream, base.clone()),
            None => {}
        }
        base
    }

    /// Removes the state of this stream.
    pub(super) fn forget(&self, stream: &str) {
        if let Some(slots) = self.slots.get() {
            slots.remove(stream);
        }
    }

    /// Removes the state of this stream if it has seen more than this version.
    pub(super) fn forget_beyond(&self, stream: &str, version: Option<Version>) {
        if let Some(slot) = self.slots.get().and_then(|slots| slots.get(stream))
            && slot.version() > version
        {
            self.forget(stream);
        }
    }

    /// Notes that the stream has events that the cached state has not seen. The state stays, and
    /// the later events are read from there.
    pub(super) fn outdate(&self, stream: &str) {
        if let Some(slot) = self.slots.get().and_then(|slots| slots.get(stream)) {
            slot.outdate();
        }
    }

    fn slot<A: Aggregate>(&self, stream: &str) -> Option<Arc<CacheSlot<A>>> {
        let slot: Arc<dyn Any + Send + Sync> = self.slots.get()?.get(stream)?;
        slot.downcast().ok()
    }

    fn insert<A: Aggregate>(&self, stream: &Arc<str>, folded: Folded<A>) {
        let slot = CacheSlot {
            folded: Mutex::new(Some(folded)),
            is_outdated: AtomicBool::new(false),
        };
        self.slots
            .get_or_init(|| QuickCache::new(self.size))
            .insert(Arc::clone(stream), Arc::new(slot));
    }
}

/// A slot is never left half-changed, so a panic elsewhere does not corrupt it.
fn lock<A>(slot: &CacheSlot<A>) -> MutexGuard<'_, Option<Folded<A>>> {
    slot.folded.lock().unwrap_or_else(PoisonError::into_inner)
}
