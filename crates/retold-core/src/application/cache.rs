//! The states of the aggregates that are used most, kept in memory.
//!
//! A cached state is a fold of a prefix of its stream: never wrong, perhaps old. Whoever relies on
//! its being the newest reads on from its version, or lets the append judge. Only if the log was
//! restored from an older copy may a state be of events that are gone. Reading on after the mark of its
//! last event finds that, and the state is folded from the log again.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use quick_cache::sync::Cache as QuickCache;

use super::telemetry;
use crate::domain::Aggregate;
use crate::recording::{Condition, EventId, Mark, Version};

/// A state and the last version that it has seen.
#[derive(Debug)]
pub(crate) struct Folded<A> {
    pub(crate) state: Arc<A>,
    /// None before the first event.
    pub(crate) version: Option<Version>,
    /// The event of that version in the log; none also where it is not recorded yet.
    pub(crate) mark: Option<Mark>,
}

impl<A> Clone for Folded<A> {
    fn clone(&self) -> Self {
        Self {
            state: Arc::clone(&self.state),
            version: self.version,
            mark: self.mark,
        }
    }
}

impl<A: Default> Default for Folded<A> {
    fn default() -> Self {
        Self {
            state: Arc::new(A::default()),
            version: None,
            mark: None,
        }
    }
}

impl<A> Folded<A> {
    /// Id of the event that the state has seen last, if it is known.
    pub(crate) fn last(&self) -> Option<EventId> {
        self.mark.map(|mark| mark.event_id)
    }

    /// That the stream is still as the state has seen it.
    pub(super) fn condition(&self, stream: Arc<str>) -> Condition {
        Condition::stream_read(stream, self.version, self.last())
    }
}

impl<A: Aggregate> Folded<A> {
    /// Takes the next event of the stream in. Clones the state if somebody else holds it.
    pub(crate) fn apply(&mut self, event: &A::Event) {
        Arc::make_mut(&mut self.state).apply(event);
        self.version = Some(next(self.version));
        self.mark = None;
    }
}

/// The version after this one.
pub(super) fn next(version: Option<Version>) -> Version {
    version.map_or(Version::FIRST, Version::next)
}

/// States by the names of their streams. Bounded; takes no memory before it is used.
pub(super) struct Cache {
    size: usize,
    slots: OnceLock<QuickCache<Arc<str>, Arc<dyn AnySlot>>>,
}

/// Where a state is kept.
struct Slot<A> {
    /// Empty while it is changed, so that a fold that panics leaves nothing half-changed behind.
    folded: Mutex<Option<Folded<A>>>,
    /// Whether the stream is known to have later events than the state has seen.
    is_outdated: AtomicBool,
}

/// A [`Slot`] of any type.
trait AnySlot: Any + Send + Sync {
    /// The version of the state that is kept, if one is.
    fn version(&self) -> Option<Version>;

    fn outdate(&self);
}

impl<A: Aggregate> AnySlot for Slot<A> {
    fn version(&self) -> Option<Version> {
        lock(self).as_ref().and_then(|folded| folded.version)
    }

    fn outdate(&self) {
        let _kept = lock(self);
        self.is_outdated.store(true, Ordering::Relaxed);
    }
}

impl<A> Slot<A> {
    /// Keeps a state in place of what is kept, if it is newer. The caller has the lock.
    fn renew(&self, kept: &mut Option<Folded<A>>, folded: &Folded<A>) {
        if kept.as_ref().is_none_or(|it| it.version < folded.version) {
            *kept = Some(folded.clone());
            self.is_outdated.store(false, Ordering::Relaxed);
        }
    }
}

impl Cache {
    /// A cache of about this many states.
    pub(super) fn new(size: usize) -> Self {
        Self {
            size,
            slots: OnceLock::new(),
        }
    }

    /// About how many states it keeps.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// The state of this stream, as new as it was when it was last used.
    pub(super) fn get<A: Aggregate>(&self, stream: &str) -> Option<Folded<A>> {
        let found = self.peek(stream);
        telemetry::count(match found {
            Some(_) => telemetry::CACHE_HITS,
            None => telemetry::CACHE_MISSES,
        });
        found
    }

    /// As [`get`](Self::get), but none if the state is known to be [outdated](Self::outdate).
    pub(super) fn get_if_current<A: Aggregate>(&self, stream: &str) -> Option<Folded<A>> {
        let slot = self.slot::<A>(stream)?;
        let is_outdated = slot.is_outdated.load(Ordering::Relaxed);
        match is_outdated {
            true => None,
            false => self.get(stream),
        }
    }

    /// As [`get`](Self::get), not counted as a use.
    pub(super) fn peek<A: Aggregate>(&self, stream: &str) -> Option<Folded<A>> {
        self.slot::<A>(stream).and_then(|slot| lock(&slot).clone())
    }

    /// Keeps a state, unless a newer one is kept.
    pub(super) fn put<A: Aggregate>(&self, stream: &Arc<str>, folded: &Folded<A>) {
        if self.size == 0 || folded.version.is_none() {
            return;
        }
        match self.slot::<A>(stream) {
            Some(slot) => {
                slot.renew(&mut lock(&slot), folded);
            }
            None => self.insert(stream, folded.clone()),
        }
    }

    /// Takes in the events that were just recorded after `base`, of which `last` is the last, and returns
    /// the state after them.
    /// Nothing is cloned if nobody else holds the state.
    pub(super) fn advance<'e, A: Aggregate>(
        &self,
        stream: &Arc<str>,
        mut base: Folded<A>,
        events: impl IntoIterator<Item = &'e A::Event>,
        last: Option<Mark>,
    ) -> Folded<A> {
        let slot = self.slot::<A>(stream);
        let taken = slot.as_ref().and_then(|slot| {
            let mut kept = lock(slot);
            // A newer state stays; this one is then good for its caller only.
            match &*kept {
                Some(it) if it.version <= base.version => kept.take(),
                _ => None,
            }
        });
        drop(taken);
        for event in events {
            base.apply(event);
            base.mark = last;
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

    /// Keeps the state of this stream no longer.
    pub(super) fn forget(&self, stream: &str) {
        if let Some(slots) = self.slots.get() {
            slots.remove(stream);
        }
    }

    /// Keeps the state of this stream no longer if it has seen more than this version.
    pub(super) fn forget_beyond(&self, stream: &str, version: Option<Version>) {
        if let Some(slot) = self.slots.get().and_then(|slots| slots.get(stream))
            && slot.version() > version
        {
            self.forget(stream);
        }
    }

    /// Notes that the stream has events that the kept state has not seen. The state stays, to be read
    /// on from.
    pub(super) fn outdate(&self, stream: &str) {
        if let Some(slot) = self.slots.get().and_then(|slots| slots.get(stream)) {
            slot.outdate();
        }
    }

    fn slot<A: Aggregate>(&self, stream: &str) -> Option<Arc<Slot<A>>> {
        let slot: Arc<dyn Any + Send + Sync> = self.slots.get()?.get(stream)?;
        slot.downcast().ok()
    }

    fn insert<A: Aggregate>(&self, stream: &Arc<str>, folded: Folded<A>) {
        let slot = Slot {
            folded: Mutex::new(Some(folded)),
            is_outdated: AtomicBool::new(false),
        };
        self.slots
            .get_or_init(|| QuickCache::new(self.size))
            .insert(Arc::clone(stream), Arc::new(slot));
    }
}

/// A slot is never left half-changed, so a panic elsewhere does not spoil it.
fn lock<A>(slot: &Slot<A>) -> MutexGuard<'_, Option<Folded<A>>> {
    slot.folded.lock().unwrap_or_else(PoisonError::into_inner)
}
