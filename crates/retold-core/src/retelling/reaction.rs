//! Calls a follower's policies again and compares their decisions with the records.

use std::collections::VecDeque;
use std::sync::Arc;

use super::comparing;
use super::recorded_event::as_new;
use super::replaced::Replaced;
use super::report::{Difference, ShownEvent};
use crate::application::{Application, Result};
use crate::following::{Asked, Batch, Cause, Context, Follower, Freshness, PastRecorder, ask};
use crate::recording::{
    EventId, FollowerKey, LogId, Origin, Position, Positions, ProcessedRange, StoredEvent,
};

/// One append of a follower as it is retold: the decisions of its policies, compared with the
/// records as they are made.
pub(crate) struct RetoldAppend {
    application: Application,
    follower: Arc<Follower>,
    keys: Keys,
    batch: Batch,
    /// How many events of the batch have been compared.
    compared: usize,
    /// Recorded events of this append that are not compared yet.
    recorded: VecDeque<StoredEvent>,
    /// The positions of all recorded events of the append.
    positions: Positions,
    decided_at: Option<Position>,
    /// The recorder that shows the log as it was, if it is not the log itself.
    past: Option<Arc<PastRecorder>>,
    /// The log of the application.
    own: LogId,
    replaced: Arc<Replaced>,
}

/// The follower that recorded the append, and the key from which the ids of its effects are
/// derived.
#[derive(Clone)]
pub(crate) struct Keys {
    pub(crate) follower: FollowerKey,
    pub(crate) of_ids: FollowerKey,
}

/// The outcome of processing an event again.
pub(crate) enum Processed {
    /// This many effects are equal.
    Equal(u64),
    /// The event could not be processed because something is erased; the records count.
    Erased,
    /// The decision differs and may have been made on an event that was replaced since; the records
    /// count.
    Replaced,
    Different(Box<Difference>),
}

impl RetoldAppend {
    /// Creates an append of this follower that was decided on the log up to `decided_at`, with
    /// these recorded effects. `application` shows the log `own` up to there.
    pub(crate) fn new(
        (own, application): (LogId, Application),
        replaced: &Arc<Replaced>,
        follower: Arc<Follower>,
        keys: Keys,
        decided_at: Option<Position>,
        recorded: Vec<StoredEvent>,
    ) -> Self {
        Self {
            application,
            follower,
            keys,
            batch: Batch::default(),
            compared: 0,
            positions: recorded.first().map_or(Positions::NONE, |first| {
                Positions::new(first.position(), recorded.len() as u64)
            }),
            recorded: recorded.into(),
            decided_at,
            past: None,
            own,
            replaced: Arc::clone(replaced),
        }
    }

    /// Adds the recorder that shows the log as it was.
    pub(crate) fn with_past(mut self, past: &Arc<PastRecorder>) -> Self {
        self.past = Some(Arc::clone(past));
        self
    }

    /// Processes an upstream event again, after those before it in the append.
    pub(crate) async fn process(
        &mut self,
        upstream: &Arc<str>,
        log: LogId,
        event: &StoredEvent,
        resumed: Option<EventId>,
    ) -> Result<Processed> {
        if event.is_erased() {
            self.take_as_it_is(log, event);
            return Ok(Processed::Erased);
        }
        let cause = Cause {
            event: event.clone(),
            upstream: Arc::clone(upstream),
            log,
            follower: self.keys.follower.clone(),
            key_of_ids: self.keys.of_ids.clone(),
            policy_version: self.follower.policy_version_number(),
            resumed,
        };
        let batch = std::mem::take(&mut self.batch);
        let application = self.application.clone();
        let context = Context::new(application, batch, cause, Freshness::Judged);
        let follower = Arc::clone(&self.follower);
        let (batch, asked) = ask(&follower, event, context).await;
        self.batch = batch;
        // Collected before they are compared, which removes those that are equal.
        let is_replaced = self.is_replaced(log, event);
        let reason = match asked? {
            Asked::Processed => None,
            Asked::Erased(_) => {
                self.batch.drop_events(self.compared);
                self.take_as_it_is(log, event);
                return Ok(Processed::Erased);
            }
            Asked::Unknown(error) => Some(error.to_string()),
            Asked::Failed(reason) => Some(reason),
        };
        let found = self.found(reason, upstream, log, event);
        if is_replaced && matches!(found, Processed::Different(_)) {
            self.batch.drop_events(self.compared);
            self.take_as_it_is(log, event);
            return Ok(Processed::Replaced);
        }
        Ok(found)
    }

    /// Returns whether a replaced event may be involved in a decision: the upstream event itself, a
    /// recorded effect, or an event that was read.
    fn is_replaced(&self, log: LogId, event: &StoredEvent) -> bool {
        let mut effects = self.recorded.iter();
        self.replaced.has(log, event.id())
            || effects.any(|effect| {
                is_effect_of(effect, log, event) && self.replaced.has(self.own, effect.id())
            })
            || self
                .replaced
                .may_be_read(self.own, self.decided_at, &self.batch)
    }

    fn found(
        &mut self,
        failure: Option<String>,
        upstream: &Arc<str>,
        log: LogId,
        event: &StoredEvent,
    ) -> Processed {
        if let Some(reason) = failure {
            let what = format!("the policy failed: {reason}");
            let recorded = self.recorded.front().map(ShownEvent::of_recorded);
            return self.different(what, upstream, event, recorded, None);
        }
        self.compare(upstream, log, event)
    }

    /// Compares the decisions for an event with its recorded effects.
    fn compare(&mut self, upstream: &Arc<str>, log: LogId, event: &StoredEvent) -> Processed {
        let mut equal = 0;
        while let Some(retold) = self.batch.events().get(self.compared).cloned() {
            let Some(recorded) = self.recorded.front() else {
                let what = "more was decided now than is recorded";
                let shown = Some(ShownEvent::of_new(&retold));
                return self.different(what, upstream, event, None, shown);
            };
            let compared = comparing::difference(&self.application, &retold, recorded);
            if let Some(what) = compared {
                let sides = (
                    ShownEvent::of_recorded(recorded),
                    ShownEvent::of_new(&retold),
                );
                return self.different(what, upstream, event, Some(sides.0), Some(sides.1));
            }
            self.recorded.pop_front();
            self.compared += 1;
            equal += 1;
        }
        if let Some(recorded) = self.recorded.front()
            && is_effect_of(recorded, log, event)
        {
            let what = "less was decided now than is recorded";
            let shown = Some(ShownEvent::of_recorded(recorded));
            return self.different(what, upstream, event, shown, None);
        }
        Processed::Equal(equal)
    }

    fn different(
        &self,
        what: impl Into<String>,
        upstream: &Arc<str>,
        event: &StoredEvent,
        recorded: Option<ShownEvent>,
        retold: Option<ShownEvent>,
    ) -> Processed {
        Processed::Different(Box::new(Difference {
            what: what.into(),
            cause: Some((
                Arc::clone(upstream),
                event.checkpoint(),
                event.topic().to_owned(),
            )),
            decided_at: self.decided_at,
            read: self
                .batch
                .streams()
                .map(|(stream, version)| {
                    let past = self.past.as_ref();
                    let snapshot = past.and_then(|past| past.snapshot_given(stream));
                    (Arc::clone(stream), version, snapshot)
                })
                .collect(),
            recorded,
            retold,
        }))
    }

    /// Accepts the recorded effects of an event as if they had been decided.
    fn take_as_it_is(&mut self, log: LogId, event: &StoredEvent) {
        self.take_while(|recorded| is_effect_of(recorded, log, event));
    }

    /// Accepts the recorded effects of a processed range as if they had been decided: for a log
    /// that is no longer followed.
    pub(crate) fn take_range(&mut self, range: &ProcessedRange) {
        self.take_while(|recorded| {
            matches!(
                recorded.origin(),
                Ok(Origin::Effect { upstream, position, .. })
                    if upstream == range.upstream && position <= range.to.position
            )
        });
    }

    fn take_while(&mut self, is_meant: impl Fn(&StoredEvent) -> bool) {
        while let Some(recorded) = self.recorded.front()
            && is_meant(recorded)
        {
            let new = as_new(recorded);
            if let Some(stream) = &new.stream {
                self.batch.drop_draft(stream);
            }
            self.batch.push(new);
            self.compared += 1;
            self.recorded.pop_front();
        }
    }

    /// Returns the recorded effect that no processed event decided, if there is one; and passes the
    /// states of changed aggregates to the application's cache.
    pub(crate) async fn end(self) -> Option<Difference> {
        if let Some(recorded) = self.recorded.front() {
            let what = "an effect is recorded that no processed event caused";
            let mut difference = Difference::of_log(what, self.decided_at);
            difference.recorded = Some(ShownEvent::of_recorded(recorded));
            return Some(difference);
        }
        let batch = &self.batch;
        batch.keep_drafts(&self.application, self.positions).await;
        None
    }
}

/// Returns whether a recorded event is an effect of this upstream event.
fn is_effect_of(recorded: &StoredEvent, log: LogId, event: &StoredEvent) -> bool {
    matches!(
        recorded.origin(),
        Ok(Origin::Effect { upstream, position, .. })
            if upstream == log && position == event.position()
    )
}
