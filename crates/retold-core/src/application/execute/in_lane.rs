//! A command in a lane: it decides on a prediction, and hands its append over to the lane.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::task::Poll;

use super::{Change, OneAggregate};
use crate::application::cache::Folded;
use crate::application::command::{Attempt, Command, Pass, conclude};
use crate::application::error::{Error, Result};
use crate::application::handle::Application;
use crate::application::lanes::{Entered, Fate, LaneView, Offer};
use crate::application::limits::LANE_LOOKS_MAX;
use crate::domain::{Aggregate, Decision};
use crate::recording::{Appended, BoxFuture, Conflict};

impl<A, F, D> OneAggregate<'_, A, F, D>
where
    A: Aggregate,
    F: Fn(&A) -> D + Send,
    D: Decision<A::Event>,
{
    /// Makes an attempt in a lane.
    pub(super) async fn pass_in(&mut self, lane: &Entered<'_, A>) -> Result<Pass> {
        let Some((seen, offer)) = self.hand_over(lane).await else {
            return Ok(Pass::Alone);
        };
        let (fate, answer) = match offer.settled().await {
            Ok(settled) => settled,
            Err(panic) => {
                lane.throw_away(&seen);
                resume_unwind(panic);
            }
        };
        let is_recorded = match &answer {
            Ok(Appended::Recorded(_)) => true,
            Ok(Appended::Repeated(_)) => self.named.is_none(),
            Err(_) => false,
        };
        if !is_recorded {
            lane.throw_away(&seen);
        }
        let is_unfounded = match &answer {
            Err(Error::Conflict(Conflict::Stream { .. })) => fate == Fate::Failed,
            // The decision may be invalid only because it was made on a state that never existed.
            Err(Error::Invalid(_)) => seen.settled().await != Fate::Recorded,
            _ => false,
        };
        if is_unfounded {
            return Ok(Pass::Attempt(Attempt::Again));
        }
        let before = seen.folded.version;
        let Offer { next, last, .. } = offer;
        let attempt = conclude(self, Change::State { before, next }, Some(last), answer);
        Ok(Pass::Attempt(attempt.await?))
    }

    /// Decides on the lane's prediction and hands the append over. Returns `None` if the command
    /// must be decided on the newest state.
    async fn hand_over(&mut self, lane: &Entered<'_, A>) -> Option<(LaneView<A>, Offer<A>)> {
        let waker = poll_fn(|context| Poll::Ready(context.waker().clone())).await;
        let (application, stream) = (self.application, Arc::clone(&self.stream));
        let read = || newest(application, &stream);
        // A subject may have been forgotten in another process since the lane read the state. After
        // an error, the command is decided alone, and returns the error of its own read.
        application.see_forgotten().await.ok()?;
        let mut looks = 0;
        let (seen, offer) = loop {
            let seen = lane.look(&read).await?;
            if looks == LANE_LOOKS_MAX {
                match lane.hand_over_locked(&waker, |seen| self.offer(seen)) {
                    Some(handed_over) => break handed_over,
                    None => continue,
                }
            }
            looks += 1;
            let offer = self.offer(&seen);
            let is_current = |it: &Offer<A>| lane.hand_over(&waker, &seen, it);
            if offer.as_ref().is_none_or(is_current) {
                break (seen, offer);
            }
        };
        if seen.folded.forgets != application.core.cache.forgets() {
            lane.throw_away(&seen);
        }
        if offer.is_none() {
            // The newest state is the one after the pending appends.
            seen.settled().await;
        }
        Some((seen, offer?))
    }

    /// Applies the command to a state: returns an append and the state after it. Returns `None` if
    /// the command does nothing, is refused, or fails; it is then decided on the newest state.
    fn offer(&self, seen: &LaneView<A>) -> Option<Offer<A>> {
        if seen.folded.forgets != self.application.core.cache.forgets() {
            // A subject was forgotten since, whose data the state may have.
            return None;
        }
        let decided = || {
            let events = self.decide_on(&seen.folded).ok()?;
            let (version, last) = (seen.folded.version, seen.last);
            let (append, events) = self.append_after(version, last, &events).ok()?;
            let last = append.new_events().last()?.id;
            let mut next = seen.folded.clone();
            events.iter().for_each(|event| next.apply(event));
            Some((append, next, last))
        };
        // A panic on a state that never existed must not surface.
        let (append, next, last) = catch_unwind(AssertUnwindSafe(decided)).ok()??;
        let (application, ids) = (self.application.clone(), self.ids());
        let sending = async move { application.settle_new(append, ids).await };
        Some(Offer::new(seen, next, last, ids, sending))
    }
}

/// Reads the newest state for all commands in a lane.
fn newest<A: Aggregate>(
    application: &Application,
    stream: &Arc<str>,
) -> BoxFuture<'static, Option<Folded<A>>> {
    let (application, stream) = (application.clone(), Arc::clone(stream));
    Box::pin(async move { application.load_again(&stream).await.ok() })
}
