//! Turns: commands that lost a race for the same thing append one after the other.
//!
//! A decision on the newest state may be overtaken, decided again, and overtaken again: with many
//! callers, each succeeds only occasionally, and some never within their retries. So a decision
//! that was overtaken once takes the turn to append, or waits while another holds it and decides
//! again. While it waits, later decisions and commands about the same thing take turns too, because
//! they could append at once whereas it has to read first. Only the append decides the outcome.
//!
//! A waiting command drives the append that it waits for, so that a command that was dropped or is
//! no longer polled blocks no other: a task that holds unfinished commands and awaits another one
//! must not wait for itself.

use std::any::Any;
use std::future::IntoFuture;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use futures_util::FutureExt;
use futures_util::future::Shared;

use crate::recording::{BoxFuture, Condition, Conflict};

/// Number of turns. Commands about different things that share a turn wait for each other
/// unnecessarily, which only costs time.
const TURNS: usize = 64;

/// The turns of one application; allocates nothing until the first command is overtaken.
#[derive(Default)]
pub(super) struct Turns {
    turns: OnceLock<Box<[Arc<Turn>]>>,
}

impl Turns {
    /// Returns whether a command was ever overtaken.
    pub(super) fn are_used(&self) -> bool {
        self.turns.get().is_some()
    }

    /// Returns the turn of the decisions that were overtaken on the same thing, if some of them are
    /// still pending.
    pub(super) fn of_overtaken(&self, contended: impl FnOnce() -> u64) -> Option<Arc<Turn>> {
        self.turns.get()?;
        let turn = self.of(contended());
        (turn.overtaken.load(Ordering::Relaxed) > 0).then_some(turn)
    }

    /// Returns the turn of the commands that were overtaken on the same thing.
    pub(super) fn of(&self, contended: u64) -> Arc<Turn> {
        let turns = self
            .turns
            .get_or_init(|| (0..TURNS).map(|_| Arc::default()).collect());
        let index = contended % TURNS as u64;
        Arc::clone(&turns[usize::try_from(index).unwrap_or_default()])
    }
}

/// One turn: the work that holds it, and the number of overtaken decisions that are still pending.
#[derive(Default)]
pub(super) struct Turn {
    work: Mutex<Option<TurnWork>>,
    overtaken: AtomicUsize,
}

/// A decision that was overtaken and is still pending.
pub(super) struct Overtaken(Arc<Turn>);

impl Overtaken {
    pub(super) fn new(turn: &Arc<Turn>) -> Self {
        turn.overtaken.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(turn))
    }
}

impl Drop for Overtaken {
    fn drop(&mut self) {
        self.0.overtaken.fetch_sub(1, Ordering::Relaxed);
    }
}

type TurnWork = Shared<BoxFuture<'static, ()>>;

/// Work that holds the turn, shared by all that wait for it.
struct Held {
    turn: Arc<Turn>,
    /// `None` once this is dropped.
    work: Option<TurnWork>,
}

impl Held {
    fn work(&self) -> TurnWork {
        self.work.clone().expect("only `drop` takes it")
    }
}

/// Work of another command that holds the turn.
pub(super) struct Other(Held);

/// Own work that holds the turn.
pub(super) struct TakenTurn<T> {
    held: Held,
    outcome: WorkOutcome<T>,
}

/// The result of the work, or its panic; `None` until it is done.
type WorkOutcome<T> = Arc<Mutex<Option<Result<T, Box<dyn Any + Send>>>>>;

impl Turn {
    /// Takes the turn with this work, which is created only if the turn is free; otherwise returns
    /// the work that holds it.
    pub(super) fn take<T: Send + 'static, W>(
        self: &Arc<Self>,
        work: impl FnOnce() -> W,
    ) -> Result<TakenTurn<T>, Other>
    where
        W: Future<Output = T> + Send + 'static,
    {
        let mut held = lock(&self.work);
        if let Some(other) = self.other(&held) {
            return Err(other);
        }
        let work = work();
        let outcome = WorkOutcome::default();
        let done = Arc::clone(&outcome);
        let work = async move {
            let result = AssertUnwindSafe(work).catch_unwind().await;
            *lock(&done) = Some(result);
        };
        let work: BoxFuture<'static, ()> = Box::pin(work);
        let work = work.shared();
        *held = Some(work.clone());
        Ok(TakenTurn {
            held: self.held(work),
            outcome,
        })
    }

    /// Waits until the turn is free. Returns whether it was taken.
    pub(super) async fn wait(self: &Arc<Self>) -> bool {
        let other = self.other(&lock(&self.work));
        match other {
            Some(other) => {
                other.await;
                true
            }
            None => false,
        }
    }

    /// Returns the work that holds the turn. The turn is locked, so that no reference to the work
    /// is created while another one finds that it is the last.
    fn other(self: &Arc<Self>, held: &Option<TurnWork>) -> Option<Other> {
        let work = held.as_ref().filter(|it| it.peek().is_none())?;
        Some(Other(self.held(work.clone())))
    }

    fn held(self: &Arc<Self>, work: TurnWork) -> Held {
        let turn = Arc::clone(self);
        let work = Some(work);
        Held { turn, work }
    }
}

impl IntoFuture for Other {
    type Output = ();
    type IntoFuture = BoxFuture<'static, ()>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.0.work().await })
    }
}

impl<T: Send + 'static> IntoFuture for TakenTurn<T> {
    type Output = T;
    type IntoFuture = BoxFuture<'static, T>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            self.held.work().await;
            let outcome = lock(&self.outcome).take();
            match outcome.expect("the work is done, and only this call takes its outcome") {
                Ok(outcome) => outcome,
                Err(panic) => resume_unwind(panic),
            }
        })
    }
}

impl Drop for Held {
    /// Releases the turn if the work is done, or if there is no one left to do it.
    fn drop(&mut self) {
        let Some(work) = self.work.take() else {
            return;
        };
        let mut held = lock(&self.turn.work);
        let is_held = held.as_ref().is_some_and(|it| it.ptr_eq(&work));
        // This reference and the one in the turn.
        let is_last = work.strong_count().is_none_or(|count| count <= 2);
        let is_over = is_last || work.peek().is_some();
        let (given_back, own) = match (is_held, is_over) {
            (true, true) => (held.take(), Some(work)),
            // Dropped under the lock: of two that are dropped at the same time, one is the last.
            // The work itself stays in the turn.
            (true, false) => {
                drop(work);
                (None, None)
            }
            (false, _) => (None, Some(work)),
        };
        drop(held);
        // The work is dropped after unlocking, because it may hold anything.
        drop((given_back, own));
    }
}

/// Hashes what a conflict was about: equal for all commands that contend for the same thing.
/// `conditions` are those of the append that conflicted.
pub(crate) fn contended(conflict: &Conflict, conditions: &[Condition]) -> u64 {
    match conflict {
        Conflict::Stream { stream, .. } => contended_stream(stream),
        Conflict::Query { condition, .. } => match conditions.get(*condition) {
            Some(condition) => contended_by(condition),
            None => hash(()),
        },
        Conflict::Deleted { stream, .. } => contended_stream(stream),
        Conflict::EventId { .. }
        | Conflict::Checkpoint { .. }
        | Conflict::Topics { .. }
        | Conflict::Amendment { .. } => hash(()),
    }
}

/// Hashes what appends on this condition contend for.
pub(super) fn contended_by(condition: &Condition) -> u64 {
    match condition {
        Condition::StreamAt { stream, .. } => contended_stream(stream),
        Condition::NoneMatch { query, .. } => hash(query),
        Condition::TopicCount { .. } => hash(()),
    }
}

/// Hashes what commands on this stream contend for.
pub(super) fn contended_stream(stream: &str) -> u64 {
    hash(stream)
}

fn hash(contended: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    contended.hash(&mut hasher);
    hasher.finish()
}

/// No value is left half-changed under these locks, so a panic elsewhere does no harm.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    /// Work that stayed in a turn would keep its application, and so the turn itself, alive
    /// forever. Method: the only two references to the work are dropped at the same moment, again
    /// and again.
    #[test]
    fn the_last_reference_to_be_dropped_releases_the_turn() {
        for _ in 0..2_000 {
            let turn = Arc::new(Turn::default());
            let Ok(taken) = turn.take(pending::<()>) else {
                panic!("the turn is free");
            };
            let Err(other) = turn.take(pending::<()>) else {
                panic!("the turn is taken");
            };
            let together = Barrier::new(2);
            thread::scope(|scope| {
                scope.spawn({
                    let together = &together;
                    move || {
                        together.wait();
                        drop(taken);
                    }
                });
                together.wait();
                drop(other);
            });
            assert!(lock(&turn.work).is_none());
        }
    }
}
