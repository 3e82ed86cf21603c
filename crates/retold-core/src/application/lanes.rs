//! Lanes: commands that contend for one aggregate decide on the state that the command before them
//! is about to record.
//!
//! A store commits many appends at once, but of several commands that decide on the same version
//! only one is recorded. So once a command of a process has been overtaken, the commands on that
//! aggregate enter a lane. There each one decides on a *prediction*: the last known state with the
//! events of all pending appends. Its append names the event that the previous append writes, and
//! is sent to the recorder at once, in the order of the predictions. One group of the store then
//! records all of them.
//!
//! Correctness never depends on a prediction: if an append is not recorded, those after it
//! conflict, because the event that they name does not exist. The prediction is then discarded, the
//! state is read once for all of them, and they decide again. Nothing is acknowledged or refused on
//! the basis of a prediction alone.
//!
//! No command holds a lane while it waits: it reads the prediction, decides without a lock, and
//! hands over its append if the prediction is still the same. So a command that is dropped, or
//! never polled again, blocks no other. Reads and appends that others wait for are driven by the
//! waiting commands.

use std::any::Any;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::thread;

use futures_util::FutureExt;
use futures_util::future::Shared;

use super::cache::Folded;
use super::command_id::EventIds;
use super::error::{Error, Result};
use super::limits::LANE_APPENDS_MAX;
use crate::domain::Aggregate;
use crate::recording::{Appended, BoxFuture, Conflict, EventId};

/// The lanes of one application: those of the aggregates that commands contend for now.
#[derive(Default)]
pub(super) struct Lanes {
    /// The number of lanes, so that a command need not take the lock to find that there are none.
    count: AtomicUsize,
    lanes: Mutex<HashMap<Arc<str>, LaneEntry>>,
}

struct LaneEntry {
    lane: Arc<dyn Any + Send + Sync>,
    /// Number of commands that have entered and not left.
    inside: usize,
}

impl Lanes {
    /// Enters the lane of a stream, if there is one.
    pub(super) fn enter_existing<A: Aggregate>(&self, stream: &Arc<str>) -> Option<Entered<'_, A>> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut lanes = lock(&self.lanes);
        let entry = lanes.get_mut(stream)?;
        self.entered(stream, entry)
    }

    /// Enters the lane of a stream. Returns `None` if the stream has a lane of another type.
    pub(super) fn enter<A: Aggregate>(&self, stream: &Arc<str>) -> Option<Entered<'_, A>> {
        let mut lanes = lock(&self.lanes);
        let entry = lanes
            .entry(Arc::clone(stream))
            .or_insert_with(|| LaneEntry {
                lane: Arc::new(Lane::<A>::default()),
                inside: 0,
            });
        let entered = self.entered(stream, entry);
        self.count.store(lanes.len(), Ordering::Relaxed);
        entered
    }

    fn entered<A: Aggregate>(
        &self,
        stream: &Arc<str>,
        entry: &mut LaneEntry,
    ) -> Option<Entered<'_, A>> {
        let lane = Arc::clone(&entry.lane).downcast().ok()?;
        entry.inside += 1;
        Some(Entered {
            lanes: self,
            stream: Arc::clone(stream),
            lane,
        })
    }
}

/// A command's presence in a lane.
pub(super) struct Entered<'a, A: Aggregate> {
    lanes: &'a Lanes,
    stream: Arc<str>,
    lane: Arc<Lane<A>>,
}

impl<A: Aggregate> Drop for Entered<'_, A> {
    fn drop(&mut self) {
        let mut lanes = lock(&self.lanes.lanes);
        let Some(entry) = lanes.get_mut(&self.stream) else {
            return;
        };
        entry.inside -= 1;
        let left = match entry.inside {
            0 => lanes.remove(&self.stream),
            _ => None,
        };
        self.lanes.count.store(lanes.len(), Ordering::Relaxed);
        drop(lanes);
        // After unlocking, because it may hold unfinished reads and appends.
        drop(left);
    }
}

/// The lane of one aggregate.
struct Lane<A> {
    state: Mutex<LaneState<A>>,
}

impl<A> Default for Lane<A> {
    fn default() -> Self {
        Self {
            state: Mutex::new(LaneState {
                number: 0,
                chain: 0,
                prediction: None,
                reading: None,
            }),
        }
    }
}

struct LaneState<A> {
    /// Counts the predictions.
    number: u64,
    /// Counts the reads that start a chain of predictions.
    chain: u64,
    prediction: Option<Prediction<A>>,
    reading: Option<LaneRead<A>>,
}

/// A state to decide on.
struct Prediction<A> {
    folded: Folded<A>,
    /// Id of the last event that the state has seen.
    last: Option<EventId>,
    /// The append that writes that event; `None` if it was read.
    sent: Option<Sent>,
    /// Upper bound on the number of pending appends of the chain.
    length: usize,
    /// Whether the id of the last event identifies this state. A command with an id gives its
    /// events the same ids when it decides again, so before its append is recorded, the id says
    /// nothing about the state.
    is_firm: bool,
}

/// A read of the newest state, shared by the lane; `None` if it failed.
type LaneRead<A> = Shared<BoxFuture<'static, Option<Folded<A>>>>;

/// An append that was sent to the recorder, driven by all that wait for it.
pub(super) type Sent = Shared<BoxFuture<'static, Fate>>;

/// The result of an append, as far as it matters to the appends after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is recorded as predicted.
    Recorded,
    /// It is not recorded, because an append from outside the lane was faster than it or than one
    /// before it.
    Overtaken,
    /// It is not recorded for another reason, or the outcome is unknown.
    Failed,
}

/// A command's view of a lane.
pub(super) struct LaneView<A> {
    number: u64,
    chain: u64,
    pub(super) folded: Folded<A>,
    pub(super) last: Option<EventId>,
    /// The append that the state depends on; `None` if it was read.
    pub(super) before: Option<Sent>,
    length: usize,
    is_firm: bool,
}

impl<A> LaneView<A> {
    /// Returns whether a command can decide on it now.
    fn is_ready(&self) -> bool {
        self.before.is_none() || (self.is_firm && self.length < LANE_APPENDS_MAX)
    }

    /// Waits for the append that the state depends on, and returns its result.
    pub(super) async fn settled(&self) -> Fate {
        match &self.before {
            Some(before) => before.clone().await,
            None => Fate::Recorded,
        }
    }
}

impl<A: Aggregate> LaneState<A> {
    /// Predicts the state after an append that was decided on `seen`, the current prediction.
    fn predict(&mut self, waker: &Waker, seen: &LaneView<A>, offer: &Offer<A>) {
        self.number += 1;
        // While the lane is locked, so that appends reach the recorder in the order of the
        // predictions.
        let mut context = Context::from_waker(waker);
        let _ = offer.sent.clone().poll_unpin(&mut context);
        self.prediction = Some(Prediction {
            folded: offer.next.clone(),
            last: Some(offer.last),
            sent: Some(offer.sent.clone()),
            length: seen.length + 1,
            is_firm: offer.ids == EventIds::Fresh,
        });
    }

    /// Returns the prediction, unless it is known to be wrong.
    fn seen(&mut self) -> Option<LaneView<A>> {
        let fate = |it: &Prediction<A>| it.sent.as_ref().and_then(Shared::peek).copied();
        if let Some(prediction) = &mut self.prediction {
            match fate(prediction) {
                Some(Fate::Overtaken | Fate::Failed) => self.prediction = None,
                Some(Fate::Recorded) => {
                    prediction.length = 0;
                    prediction.is_firm = true;
                }
                None => {}
            }
        }
        let prediction = self.prediction.as_ref()?;
        Some(LaneView {
            number: self.number,
            chain: self.chain,
            folded: prediction.folded.clone(),
            last: prediction.last,
            before: prediction.sent.clone(),
            length: prediction.length,
            is_firm: prediction.is_firm,
        })
    }
}

/// An append, the state after it, and its result.
pub(super) struct Offer<A> {
    pub(super) sent: Sent,
    pub(super) next: Folded<A>,
    /// Id of the append's last event.
    pub(super) last: EventId,
    ids: EventIds,
    /// The recorder's result, or its panic; `None` before that.
    pub(super) answer: LaneAnswer,
}

/// See [`Offer::answer`].
pub(super) type LaneAnswer = Arc<Mutex<Option<thread::Result<Result<Appended>>>>>;

impl<A: Aggregate> Offer<A> {
    /// Creates an append that is sent when it is handed over.
    pub(super) fn new(
        seen: &LaneView<A>,
        next: Folded<A>,
        last: EventId,
        ids: EventIds,
        sending: impl Future<Output = Result<Appended>> + Send + 'static,
    ) -> Self {
        let answer = LaneAnswer::default();
        let (answered, before) = (Arc::clone(&answer), seen.before.clone());
        let sent = async move {
            let result = AssertUnwindSafe(sending).catch_unwind().await;
            let fate = match &result {
                Ok(Ok(Appended::Recorded(_))) => Fate::Recorded,
                // An earlier attempt of the same call was recorded; with a command id it may also
                // be an earlier request.
                Ok(Ok(Appended::Repeated(_))) if ids == EventIds::Fresh => Fate::Recorded,
                Ok(Err(Error::Conflict(Conflict::Stream { .. }))) => match before {
                    None => Fate::Overtaken,
                    Some(before) => match before.await {
                        Fate::Recorded | Fate::Overtaken => Fate::Overtaken,
                        Fate::Failed => Fate::Failed,
                    },
                },
                _ => Fate::Failed,
            };
            *lock(&answered) = Some(result);
            fate
        };
        let sent = sent.boxed().shared();
        Self {
            sent,
            next,
            last,
            ids,
            answer,
        }
    }

    /// Waits for the result. Its command calls this once.
    ///
    /// # Errors
    ///
    /// The panic of the recorder.
    pub(super) async fn settled(&self) -> thread::Result<(Fate, Result<Appended>)> {
        let fate = self.sent.clone().await;
        let answer = lock(&self.answer).take();
        let answer = answer.expect("it is settled, and its command takes the answer only once");
        answer.map(|answer| (fate, answer))
    }
}

impl<A: Aggregate> Entered<'_, A> {
    /// Returns the state to decide on. If none is known, it is read once for all callers; `None` if
    /// that failed.
    pub(super) async fn look(
        &self,
        read: impl Fn() -> BoxFuture<'static, Option<Folded<A>>>,
    ) -> Option<LaneView<A>> {
        loop {
            let (seen, reading) = {
                let mut state = lock(&self.lane.state);
                match (state.seen(), &state.reading) {
                    (Some(seen), _) => (Some(seen), None),
                    (None, Some(reading)) => (None, Some(reading.clone())),
                    (None, None) => {
                        // A panic of a fold is reported to its command, which reads the state
                        // itself.
                        let read = AssertUnwindSafe(read()).catch_unwind();
                        let reading = read.map(Result::unwrap_or_default).boxed().shared();
                        state.reading = Some(reading.clone());
                        (None, Some(reading))
                    }
                }
            };
            match (seen, reading) {
                (Some(seen), _) if !seen.is_ready() => {
                    seen.settled().await;
                }
                (Some(seen), _) => return Some(seen),
                (None, Some(reading)) => self.take_in(reading).await?,
                (None, None) => return None,
            }
        }
    }

    /// Waits for a read and starts a chain with it, unless another command has done so. Returns
    /// `None` if the read failed.
    async fn take_in(&self, reading: LaneRead<A>) -> Option<()> {
        let folded = reading.clone().await;
        let mut state = lock(&self.lane.state);
        if state.reading.as_ref().is_some_and(|it| it.ptr_eq(&reading)) {
            state.reading = None;
            if let Some(folded) = &folded {
                state.number += 1;
                state.chain += 1;
                state.prediction = Some(Prediction {
                    last: folded.last(),
                    folded: folded.clone(),
                    sent: None,
                    length: 0,
                    is_firm: true,
                });
            }
        }
        drop(state);
        folded.map(drop)
    }

    /// Sends an append to the recorder and predicts the state after it, if the lane's state is
    /// still the one that it was decided on. Otherwise another command was faster: does nothing and
    /// returns false.
    pub(super) fn hand_over(&self, waker: &Waker, seen: &LaneView<A>, offer: &Offer<A>) -> bool {
        let mut state = lock(&self.lane.state);
        let is_same = state.number == seen.number && state.prediction.is_some();
        if is_same {
            state.predict(waker, seen, offer);
        }
        is_same
    }

    /// Decides while the lane is locked, so that no other command can be faster, and hands over the
    /// result. Returns `None` if there is nothing to decide on now.
    pub(super) fn hand_over_locked(
        &self,
        waker: &Waker,
        decide: impl FnOnce(&LaneView<A>) -> Option<Offer<A>>,
    ) -> Option<(LaneView<A>, Option<Offer<A>>)> {
        let mut state = lock(&self.lane.state);
        let seen = state.seen().filter(LaneView::is_ready)?;
        let offer = decide(&seen);
        if let Some(offer) = &offer {
            state.predict(waker, &seen, offer);
        }
        Some((seen, offer))
    }

    /// Discards the predictions that depend on the append of a command that saw `seen`.
    pub(super) fn throw_away(&self, seen: &LaneView<A>) {
        let mut state = lock(&self.lane.state);
        let thrown = match state.chain == seen.chain {
            true => state.prediction.take(),
            false => None,
        };
        drop(state);
        drop(thrown);
    }
}

/// No value is left half-changed under these locks, so a panic elsewhere does no harm.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
