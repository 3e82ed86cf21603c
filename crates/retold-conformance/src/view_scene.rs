//! The start of every test of a view store: an empty place for views, events, and the results that
//! a test expects.

use std::ops::Range;
use std::sync::Arc;

use retold_core::domain::Timestamp;
use retold_core::projection::{
    Applied, ProjectionError, ProjectionPipeline, SkippedEvent, StoredView, ViewPage, ViewStore,
    VisibleView,
};
use retold_core::recording::{
    Append, BoxFuture, Checkpoint, LogRead, MemoryStore, NewEvent, Recorder, Store, StoredEvent,
};

use super::scene::{event_id, log_id, run_at_once};
use super::view_subject::{TrickAdded, TrickProjection, ViewSubject};

/// A place without views.
pub(super) struct ViewScene<S> {
    pub(super) subject: Arc<S>,
}

impl<S: ViewSubject> ViewScene<S> {
    pub(super) async fn new() -> Self {
        Self {
            subject: Arc::new(S::create().await),
        }
    }

    /// Returns a view store of this version, as in another process.
    pub(super) async fn keep(&self, version: u32) -> Arc<dyn ViewStore> {
        self.subject.keep(TrickProjection::version(version)).await
    }

    /// Returns a view store of this version, which has begun over the log with the number 1.
    pub(super) async fn begun(&self, version: u32) -> Arc<dyn ViewStore> {
        let view_store = self.keep(version).await;
        begin(&*view_store, 1).await;
        view_store
    }

    /// Returns a pipeline, as in another process.
    pub(super) async fn pipeline(&self, version: u32) -> ProjectionPipeline {
        self.pipeline_of(TrickProjection::version(version)).await
    }

    pub(super) async fn pipeline_of(&self, projection: TrickProjection) -> ProjectionPipeline {
        let log = self.subject.log().await;
        ProjectionPipeline::new(log, self.subject.keep(projection).await)
    }

    pub(super) async fn read(&self) -> Vec<String> {
        self.subject.read().await
    }

    /// Runs each task on its own thread, all at once, and returns their results in order.
    pub(super) async fn at_once<T: Send + 'static>(
        tasks: impl IntoIterator<Item = BoxFuture<'static, T>>,
    ) -> Vec<T> {
        run_at_once(tasks, |task| S::block_on(task)).await
    }
}

/// Returns the events of the log with this number, in which these tricks were added.
pub(super) async fn history(log: u128, tricks: &[&str]) -> Vec<StoredEvent> {
    let recorder = history_log(log, tricks).await;
    let page = recorder.read_log(LogRead::new()).await;
    page.expect("memory is read").events
}

/// Returns the log with this number in memory, in which these tricks were added.
pub(super) async fn history_log(log: u128, tricks: &[&str]) -> Arc<dyn Recorder> {
    let recorder = MemoryStore::new().open("dogs", log_id(log)).await;
    let recorder = recorder.expect("memory is opened");
    let events = (1..).zip(tricks).map(|(number, trick)| {
        NewEvent::new(
            event_id(1_000 * log + number),
            "TrickAdded",
            format!("{trick:?}"),
        )
    });
    let recorded = recorder.append(Append::of(events)).await;
    recorded.expect("memory records");
    recorder
}

/// Adds these tricks in one append.
pub(super) async fn teach<'a>(log: &dyn Recorder, tricks: impl IntoIterator<Item = &'a str>) {
    let recorded = log.append(TrickAdded::append(tricks)).await;
    recorded.expect("tricks are recorded");
}

/// Returns the checkpoint after this number of events.
pub(super) fn after(events: &[StoredEvent], count: usize) -> Option<Checkpoint> {
    Some(events[count.checked_sub(1)?].checkpoint())
}

/// Returns a page of events, by index.
pub(super) fn page(events: &[StoredEvent], range: Range<usize>) -> ViewPage {
    ViewPage {
        after: after(events, range.start),
        to: events[range.end - 1].checkpoint(),
        events: events[range].to_vec(),
    }
}

/// Begins over the log with this number.
pub(super) async fn begin(view_store: &dyn ViewStore, log: u128) -> StoredView {
    let begun = view_store.begin(log_id(log), None).await;
    begun.unwrap_or_else(|error| panic!("it does not begin: {error}"))
}

/// Returns the stored state.
pub(super) async fn kept(view_store: &dyn ViewStore) -> Option<StoredView> {
    view_store.kept().await.expect("the state is read")
}

/// Returns the stored checkpoint of a version that has begun.
pub(super) async fn checkpoint_of(view_store: &dyn ViewStore) -> Option<Checkpoint> {
    let kept = kept(view_store).await;
    kept.expect("it has begun").checkpoint
}

/// Applies a page whole.
pub(super) async fn apply(view_store: &dyn ViewStore, page: ViewPage) {
    match view_store.apply(page).await {
        Ok(Applied::Whole) => {}
        other => panic!("the page is not applied: {other:?}"),
    }
}

/// Returns the checkpoint that another view store has moved.
pub(super) fn elsewhere(applied: Result<Applied, ProjectionError>) -> Option<Checkpoint> {
    match applied {
        Ok(Applied::Elsewhere(checkpoint)) => checkpoint,
        other => panic!("the checkpoint is elsewhere, but: {other:?}"),
    }
}

/// Returns a record that this event is skipped.
pub(super) fn skipped(event: &StoredEvent) -> SkippedEvent {
    let at = Timestamp::from_micros(7);
    SkippedEvent::from_parts(event.checkpoint(), event.topic(), "it was \"poison\"", at)
}

/// The state of a version that has begun over the log with this number.
pub(super) fn state(log: u128, checkpoint: Option<Checkpoint>, seen: VisibleView) -> StoredView {
    StoredView {
        upstream: log_id(log),
        checkpoint,
        seen,
        skipped: 0,
    }
}
