//! The place where calls wait for the scheduler, between the actor that made a call and the store
//! that carries it out. The scheduler decides when a call is carried out and what its caller
//! receives.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::call::{Call, CallOutcome};
use crate::recording::{BoxFuture, RecordError, Recorder};

/// Means "no actor is running".
const OUTSIDE: u32 = u32::MAX;

/// An actor, counted from 0 in the order in which the actors first started.
pub(crate) type ActorIndex = u32;

/// A log, counted from 0 in the order in which the logs were first opened.
pub(crate) type LogIndex = u32;

/// The waiting calls of one simulation; shared by its stores and its scheduler.
pub(crate) struct Parking {
    current: AtomicU32,
    state: Mutex<ParkingState>,
}

#[derive(Default)]
pub(crate) struct ParkingState {
    /// Calls that wait for their turn.
    pub(crate) parked: Vec<Parked>,
    /// Appends in progress whose caller was dropped: nothing receives their outcome.
    pub(crate) orphans: Vec<Parked>,
    pub(crate) logs: Vec<SimulatedLog>,
    next_id: u64,
    /// The number of stores.
    store_count: u32,
}

/// A log that was opened through a simulated store.
pub(crate) struct SimulatedLog {
    store: u32,
    pub(crate) name: Arc<str>,
    pub(crate) recorder: Arc<dyn Recorder>,
    /// The number of appends when it was last checked.
    pub(crate) append_count: u64,
    /// Whether it was appended to since.
    pub(crate) is_changed: bool,
}

/// A call that waits for its turn.
pub(crate) struct Parked {
    id: u64,
    pub(crate) actor: ActorIndex,
    pub(crate) log: Option<LogIndex>,
    pub(crate) call: Call,
    pub(crate) deed: Box<dyn Deed>,
    pub(crate) waker: Waker,
    pub(crate) hint: Hint,
}

/// What a call that waits for a change knows about changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    /// It has not checked yet.
    Unseen,
    /// There was nothing new when it checked, and it has not been notified since.
    Awaited,
    /// It was notified.
    Reported,
    /// It will be notified later.
    Late,
    /// It will not be notified, and finds the change when it polls.
    Lost,
}

impl Parking {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            current: AtomicU32::new(OUTSIDE),
            state: Mutex::default(),
        })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, ParkingState> {
        // No code that holds the lock leaves the state half changed, even if it panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that this actor is running from now on.
    pub(crate) fn enter(&self, actor: ActorIndex) {
        self.current.store(actor, Ordering::Relaxed);
    }

    /// Records that no actor is running from now on.
    pub(crate) fn leave(&self) {
        self.current.store(OUTSIDE, Ordering::Relaxed);
    }

    /// Returns the actor that is running; none if calls are passed straight through.
    pub(crate) fn current(&self) -> Option<ActorIndex> {
        Some(self.current.load(Ordering::Relaxed)).filter(|it| *it != OUTSIDE)
    }

    /// Returns the number for a new store.
    pub(crate) fn next_store(&self) -> u32 {
        let mut state = self.state();
        state.store_count += 1;
        state.store_count - 1
    }

    /// Returns the number of a log; `recorder` is used to check it for appends.
    pub(crate) fn log(&self, store: u32, recorder: &Arc<dyn Recorder>) -> LogIndex {
        let mut state = self.state();
        let name = recorder.log_name();
        let known = state
            .logs
            .iter()
            .position(|log| log.store == store && &*log.name == name);
        let index = known.unwrap_or_else(|| {
            state.logs.push(SimulatedLog {
                store,
                name: name.into(),
                recorder: Arc::clone(recorder),
                append_count: 0,
                is_changed: true,
            });
            state.logs.len() - 1
        });
        u32::try_from(index).expect("a simulation has less than 2^32 logs")
    }

    /// Records that a log may have more appends than when it was last checked.
    pub(crate) fn mark_changed(&self, log: Option<LogIndex>) {
        if let Some(log) = log {
            self.state().logs[log as usize].is_changed = true;
        }
    }

    /// Creates a call that waits for its turn if an actor makes it; `deed` carries it out.
    pub(crate) fn call<T: Send + 'static>(
        self: &Arc<Self>,
        log: Option<LogIndex>,
        call: Call,
        deed: BoxFuture<'static, Result<T, RecordError>>,
        outcome: fn(&T) -> CallOutcome,
    ) -> BoxFuture<'static, Result<T, RecordError>> {
        Box::pin(CallFuture {
            parking: Arc::clone(self),
            log,
            stage: ParkingStage::Made {
                call,
                deed,
                outcome,
            },
        })
    }

    fn withdraw(&self, id: u64) {
        let mut state = self.state();
        let Some(index) = state.parked.iter().position(|it| it.id == id) else {
            return;
        };
        let parked = state.parked.swap_remove(index);
        if parked.call.is_append() {
            state.orphans.push(parked);
            return;
        }
        // The future is dropped without the lock, because its drop may run any code.
        drop(state);
        drop(parked);
    }
}

/// The work of a call, regardless of its result type.
pub(crate) trait Deed: Send {
    /// Carries out the call. The caller receives nothing yet.
    fn carry_out(&mut self) -> CallOutcome;

    /// Passes the outcome to the caller.
    fn answer(&mut self);

    /// Passes this error to the caller instead.
    fn refuse(&mut self, error: RecordError);
}

type ParkingSlot<T> = Arc<Mutex<Option<Result<T, RecordError>>>>;

struct Carried<T> {
    deed: BoxFuture<'static, Result<T, RecordError>>,
    outcome: fn(&T) -> CallOutcome,
    result: Option<Result<T, RecordError>>,
    slot: ParkingSlot<T>,
}

impl<T: Send> Deed for Carried<T> {
    fn carry_out(&mut self) -> CallOutcome {
        let mut context = Context::from_waker(Waker::noop());
        match self.deed.as_mut().poll(&mut context) {
            Poll::Pending => CallOutcome::Pending,
            Poll::Ready(result) => {
                let outcome = match &result {
                    Ok(value) => (self.outcome)(value),
                    Err(error) => CallOutcome::refused(error),
                };
                self.result = Some(result);
                outcome
            }
        }
    }

    fn answer(&mut self) {
        *lock(&self.slot) = self.result.take();
    }

    fn refuse(&mut self, error: RecordError) {
        *lock(&self.slot) = Some(Err(error));
    }
}

/// The future that an actor awaits.
struct CallFuture<T> {
    parking: Arc<Parking>,
    log: Option<LogIndex>,
    stage: ParkingStage<T>,
}

enum ParkingStage<T> {
    Made {
        call: Call,
        deed: BoxFuture<'static, Result<T, RecordError>>,
        outcome: fn(&T) -> CallOutcome,
    },
    /// No actor makes the call, so it is not scheduled.
    Straight {
        call: Call,
        deed: BoxFuture<'static, Result<T, RecordError>>,
    },
    Parked {
        id: u64,
        slot: ParkingSlot<T>,
    },
    Over,
}

impl<T: Send + 'static> CallFuture<T> {
    /// The first poll determines which actor makes the call.
    fn begin(&mut self, waker: &Waker) {
        let ParkingStage::Made {
            call,
            deed,
            outcome,
        } = mem::replace(&mut self.stage, ParkingStage::Over)
        else {
            unreachable!("only the first poll finds the call as it was made");
        };
        let Some(actor) = self.parking.current() else {
            self.stage = ParkingStage::Straight { call, deed };
            return;
        };
        let slot = ParkingSlot::default();
        let deed = Box::new(Carried {
            deed,
            outcome,
            result: None,
            slot: Arc::clone(&slot),
        });
        let mut state = self.parking.state();
        let id = state.next_id;
        state.next_id += 1;
        state.parked.push(Parked {
            id,
            actor,
            log: self.log,
            call,
            deed,
            waker: waker.clone(),
            hint: Hint::Unseen,
        });
        self.stage = ParkingStage::Parked { id, slot };
    }

    /// The last task that polled is woken.
    fn keep_waker(&self, id: u64, waker: &Waker) {
        let mut state = self.parking.state();
        let Some(parked) = state.parked.iter_mut().find(|it| it.id == id) else {
            return;
        };
        if !parked.waker.will_wake(waker) {
            let former = mem::replace(&mut parked.waker, waker.clone());
            drop(state);
            drop(former);
        }
    }
}

impl<T: Send + 'static> Future for CallFuture<T> {
    type Output = Result<T, RecordError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if matches!(self.stage, ParkingStage::Made { .. }) {
            self.begin(context.waker());
            if matches!(self.stage, ParkingStage::Parked { .. }) {
                return Poll::Pending;
            }
        }
        let this = &mut *self;
        let result = match &mut this.stage {
            ParkingStage::Straight { call, deed } => {
                let Poll::Ready(result) = deed.as_mut().poll(context) else {
                    return Poll::Pending;
                };
                if call.is_append() {
                    this.parking.mark_changed(this.log);
                }
                result
            }
            ParkingStage::Parked { id, slot } => {
                let answered = lock(slot).take();
                let Some(result) = answered else {
                    let id = *id;
                    this.keep_waker(id, context.waker());
                    return Poll::Pending;
                };
                result
            }
            ParkingStage::Made { .. } | ParkingStage::Over => {
                panic!("a call was polled after its answer")
            }
        };
        this.stage = ParkingStage::Over;
        Poll::Ready(result)
    }
}

impl<T> Drop for CallFuture<T> {
    fn drop(&mut self) {
        if let ParkingStage::Parked { id, .. } = self.stage {
            self.parking.withdraw(id);
        }
    }
}

/// Nothing is left half changed under these locks, so a panic elsewhere is harmless.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
