//! Asking a follower's policies once more, and holding what they decide against what is recorded.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;

use super::comparing;
use super::recorded_event::as_new;
use super::report::{Difference, Shown};
use crate::application::{Application, Error, Result};
use crate::following::{Batch, Cause, Context, Follower, Freshness, PastRecorder, is_of_the_store};
use crate::mapping::MappingError;
use crate::recording::{
    EventId, FollowerKey, LogId, Origin, Position, Positions, StoredEvent, Stretch,
};

/// One append of a follower as it is retold: what its policies decide, compared with what is recorded
/// as far as that goes.
pub(crate) struct Retold {
    application: Application,
    follower: Arc<Follower>,
    keys: Keys,
    batch: Batch,
    /// How many events of the batch were compared.
    compared: usize,
    /// What is recorded of this append and not compared yet.
    recorded: VecDeque<StoredEvent>,
    /// Where all that is recorded of it is.
    positions: Positions,
    decided_at: Option<Position>,
    /// What shows the log as it was, if it is not the log itself.
    past: Option<Arc<PastRecorder>>,
}

/// Who answered, and by what ids of effects are told.
#[derive(Clone)]
pub(crate) struct Keys {
    pub(crate) follower: FollowerKey,
    pub(crate) of_ids: FollowerKey,
}

/// What answering an event once more came to.
pub(crate) enum Answered {
    /// So many effects are equal.
    Equal(u64),
    /// It could not be answered, for something is erased; what is recorded counts.
    Erased,
    Different(Box<Difference>),
}

impl Retold {
    /// An append of this follower that was decided on the log up to `decided_at`, of which these
    /// effects are recorded. `application` shows the log up to there.
    pub(crate) fn new(
        application: Application,
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
        }
    }

    /// With what shows the log as it was.
    pub(crate) fn with_past(mut self, past: &Arc<PastRecorder>) -> Self {
        self.past = Some(Arc::clone(past));
        self
    }

    /// Answers an upstream event once more, after those before it in the append.
    pub(crate) async fn answer(
        &mut self,
        upstream: &Arc<str>,
        log: LogId,
        event: &StoredEvent,
        resumed: Option<EventId>,
    ) -> Result<Answered> {
        if event.is_erased() {
            self.take_as_it_is(log, event);
            return Ok(Answered::Erased);
        }
        let cause = Cause {
            event: event.clone(),
            upstream: Arc::clone(upstream),
            log,
            follower: self.keys.follower.clone(),
            key_of_ids: self.keys.of_ids.clone(),
            edition: self.follower.edition_number(),
            resumed,
        };
        let batch = std::mem::take(&mut self.batch);
        let application = self.application.clone();
        let mut context = Context::new(application, batch, cause, Freshness::Judged);
        let follower = Arc::clone(&self.follower);
        let reacted = AssertUnwindSafe(follower.policies().react(event, &mut context));
        let reacted = reacted.catch_unwind().await;
        let (batch, of_the_store) = context.into_batch();
        self.batch = batch;
        if let Some(error) = of_the_store {
            return Err(error);
        }
        let reason = match reacted {
            Ok(Ok(())) => None,
            Ok(Err(error)) if is_of_the_store(&error) => return Err(error),
            Ok(Err(Error::Mapping(MappingError::Erased { .. }))) => {
                self.batch.drop_events(self.compared);
                self.take_as_it_is(log, event);
                return Ok(Answered::Erased);
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("the policy panicked".into()),
        };
        if let Some(reason) = reason {
            let what = format!("the policy failed: {reason}");
            let recorded = self.recorded.front().map(Shown::of_recorded);
            return Ok(self.different(what, upstream, event, recorded, None));
        }
        Ok(self.compare(upstream, log, event))
    }

    /// Compares what was decided for an event with what is recorded as its effects.
    fn compare(&mut self, upstream: &Arc<str>, log: LogId, event: &StoredEvent) -> Answered {
        let mut equal = 0;
        while let Some(retold) = self.batch.events().get(self.compared).cloned() {
            let Some(recorded) = self.recorded.front() else {
                let what = "more was decided now than is recorded";
                let shown = Some(Shown::of_new(&retold));
                return self.different(what, upstream, event, None, shown);
            };
            let registry = self.application.registry();
            if let Some(what) = comparing::difference(registry, &retold, recorded) {
                let sides = (Shown::of_recorded(recorded), Shown::of_new(&retold));
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
            let shown = Some(Shown::of_recorded(recorded));
            return self.different(what, upstream, event, shown, None);
        }
        Answered::Equal(equal)
    }

    fn different(
        &self,
        what: impl Into<String>,
        upstream: &Arc<str>,
        event: &StoredEvent,
        recorded: Option<Shown>,
        retold: Option<Shown>,
    ) -> Answered {
        Answered::Different(Box::new(Difference {
            what: what.into(),
            cause: Some((Arc::clone(upstream), event.mark(), event.topic().to_owned())),
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

    /// Takes what is recorded as effects of an event as if it had been decided.
    fn take_as_it_is(&mut self, log: LogId, event: &StoredEvent) {
        self.take_while(|recorded| is_effect_of(recorded, log, event));
    }

    /// Takes what is recorded as effects of a stretch as if it had been decided: of a log that is
    /// followed no more.
    pub(crate) fn take_stretch(&mut self, stretch: &Stretch) {
        self.take_while(|recorded| {
            matches!(
                recorded.origin(),
                Ok(Origin::Effect { upstream, position, .. })
                    if upstream == stretch.upstream && position <= stretch.to.position
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

    /// What is recorded and was not decided by anything that was answered; and gives the states of
    /// changed aggregates to the application's cache.
    pub(crate) async fn end(self) -> Option<Difference> {
        if let Some(recorded) = self.recorded.front() {
            let what = "an effect is recorded that no answered event has";
            let mut difference = Difference::of_log(what, self.decided_at);
            difference.recorded = Some(Shown::of_recorded(recorded));
            return Some(difference);
        }
        let batch = &self.batch;
        batch.keep_drafts(&self.application, self.positions).await;
        None
    }
}

/// Whether a recorded event is an effect of this upstream event.
fn is_effect_of(recorded: &StoredEvent, log: LogId, event: &StoredEvent) -> bool {
    matches!(
        recorded.origin(),
        Ok(Origin::Effect { upstream, position, .. })
            if upstream == log && position == event.position()
    )
}
