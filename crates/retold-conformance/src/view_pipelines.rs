//! View stores under pipelines: restarts, poison, races, new versions and replaced logs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use retold_core::projection::{OnPoison, ProjectionError, ProjectionPipeline};
use retold_core::recording::BoxFuture;

use super::scene::{events, soon};
use super::view_scene::{ViewScene, checkpoint_of, history_log, teach};
use super::view_subject::{TrickProjection, ViewSubject};

async fn catch_up(pipeline: &mut ProjectionPipeline) {
    let caught_up = pipeline.catch_up().await;
    caught_up.unwrap_or_else(|error| panic!("it does not catch up: {error}"));
}

/// Catches up although other pipelines keep the store busy.
async fn catch_up_at_last(pipeline: &mut ProjectionPipeline) {
    while let Err(error) = pipeline.catch_up().await {
        assert!(error.is_retriable(), "{error}");
    }
}

/// Each process continues where the last one stopped.
pub async fn a_view_resumes_after_a_restart<S: ViewSubject>() {
    let scene = ViewScene::<S>::new().await;
    for round in 1..=3 {
        let log = scene.subject.log().await;
        let mut pipeline = scene.pipeline(1).await.page_size(2);
        let handle = pipeline.handle();
        for _ in 0..5 {
            teach(&*log, ["sit"]).await;
        }
        let step = pipeline.step().await.expect("it steps");
        assert_eq!(step.events, 2, "it resumes at its checkpoint");
        catch_up(&mut pipeline).await;
        assert_eq!(scene.read().await.len(), 5 * round);
        let status = handle.status().await.expect("the status is read");
        assert_eq!(status.checkpoint, status.head);
        assert!(status.is_caught_up(), "{status:?}");
    }
    scene.subject.verify().await;
}

/// Events that are recorded while no pipeline runs are not before "now".
pub async fn a_view_from_now_on_begins_once<S: ViewSubject>() {
    let scene = ViewScene::<S>::new().await;
    let log = scene.subject.log().await;
    teach(&*log, ["roll"]).await;
    let from_now = TrickProjection::version(1).starting_now();
    catch_up(&mut scene.pipeline_of(from_now).await).await;
    teach(&*log, ["sit"]).await;
    let status = scene.pipeline_of(from_now).await.handle().status().await;
    assert_eq!(status.expect("the status is read").lag_events, 1);
    catch_up(&mut scene.pipeline_of(from_now).await).await;
    assert_eq!(scene.read().await, ["sit"]);
    let status = scene.pipeline_of(from_now).await.handle().status().await;
    let status = status.expect("the status is read");
    assert!(status.is_caught_up(), "before the first step: {status:?}");
}

/// Poison stops a projection, or is skipped and listed, and leaves no trace in the view.
pub async fn poison_is_handled_as_declared<S: ViewSubject>() {
    let scene = ViewScene::<S>::new().await;
    let log = scene.subject.log().await;
    teach(&*log, ["sit", "bite", "fetch", "panic", "roll over"]).await;
    let mut stops = scene.pipeline(1).await;
    let error = stops.catch_up().await.expect_err("it stops");
    let text = error.to_string();
    assert!(text.contains("this trick is not taught"), "{text}");
    assert_eq!(scene.read().await, ["sit"]);
    let checkpoint = checkpoint_of(&*scene.keep(1).await).await;
    assert_eq!(checkpoint.map(|it| it.position.get()), Some(1));

    let skips = TrickProjection::version(1).on_poison(OnPoison::Skip);
    let mut skips = scene.pipeline_of(skips).await;
    catch_up(&mut skips).await;
    assert_eq!(scene.read().await, ["sit", "fetch", "roll over"]);
    let skipped = skips.handle().skipped(None, 10).await;
    let skipped = skipped.expect("the list is read");
    let errors: Vec<_> = skipped.iter().map(|it| &*it.error).collect();
    let expected = [
        "this trick is not taught",
        "its handler panicked: too exciting",
    ];
    assert_eq!(errors, expected);
    let status = skips.handle().status().await;
    assert_eq!(status.expect("the status is read").skipped, 2);
    let after = Some(skipped[0].checkpoint.position);
    let page = skips.handle().skipped(after, 1).await;
    assert_eq!(page.expect("the list is read"), skipped[1..]);
}

/// Pipelines of one version, as in several processes, apply each event once.
pub async fn racing_pipelines_apply_each_event_once<S: ViewSubject>() {
    let scene = ViewScene::<S>::new().await;
    let log = scene.subject.log().await;
    for _ in 0..50 {
        teach(&*log, ["sit"]).await;
    }
    let mut tasks: Vec<BoxFuture<'static, ()>> = Vec::new();
    for _ in 0..4 {
        let mut pipeline = scene.pipeline(1).await.page_size(3);
        tasks.push(Box::pin(async move {
            soon(
                "a racing pipeline catches up",
                catch_up_at_last(&mut pipeline),
            )
            .await;
        }));
    }
    ViewScene::<S>::at_once(tasks).await;
    assert_eq!(scene.read().await.len(), 50);
}

/// What happens at the same time while new versions are built.
struct Meanwhile<S> {
    scene: ViewScene<S>,
    is_over: AtomicBool,
}

/// The versions that are built one after another; each replaces the one before.
const VERSIONS: std::ops::RangeInclusive<u32> = 2..=5;

impl<S: ViewSubject> Meanwhile<S> {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// Adds tricks, and checks that readers never see fewer rows than before.
    async fn write_and_read(self: Arc<Self>) {
        let _over = Over(&self.is_over);
        let log = self.scene.subject.log().await;
        let mut seen = 0;
        while !self.is_over() {
            teach(&*log, ["sit"]).await;
            let count = self.scene.read().await.len();
            assert!(count >= seen, "{count} rows after {seen}");
            seen = count;
        }
        assert!(seen > 0);
    }

    /// Drives a version until it is superseded by the next.
    async fn drive(self: Arc<Self>, version: u32) {
        let log = self.scene.subject.log().await;
        let mut pipeline = self.scene.pipeline(version).await;
        let error = loop {
            let was_over = self.is_over();
            if was_over {
                // Only a version that applies an event learns that it is superseded, and the
                // writer may have recorded none after the switch.
                teach(&*log, ["sit"]).await;
            }
            match pipeline.catch_up().await {
                Err(error) if !error.is_retriable() => break error,
                Ok(_) if was_over => panic!("the version {version} is not superseded"),
                _ => {}
            }
        };
        let is_meant = matches!(
            error,
            ProjectionError::Superseded { current, .. } if current > version
        );
        assert!(is_meant, "{error}");
    }

    async fn build(self: Arc<Self>) {
        let _over = Over(&self.is_over);
        for version in VERSIONS {
            let mut pipeline = self.scene.pipeline(version).await.page_size(10);
            soon("a new version catches up", catch_up_at_last(&mut pipeline)).await;
        }
    }
}

/// Ends the other tasks when it is dropped, also if a task fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Readers see the old version or the new one, and never fewer rows than before. Method: one task
/// writes and reads, one drives the old version, while new ones are built.
pub async fn a_new_version_is_built_while_readers_see_the_old_one<S: ViewSubject>() {
    let scene = ViewScene::<S>::new().await;
    let log = scene.subject.log().await;
    teach(&*log, ["sit"]).await;
    catch_up(&mut scene.pipeline(1).await).await;
    let meanwhile = Arc::new(Meanwhile {
        scene,
        is_over: AtomicBool::new(false),
    });
    let tasks: [BoxFuture<'static, ()>; 3] = [
        Box::pin(meanwhile.clone().write_and_read()),
        Box::pin(meanwhile.clone().drive(1)),
        Box::pin(meanwhile.clone().build()),
    ];
    ViewScene::<S>::at_once(tasks).await;
    let scene = &meanwhile.scene;
    let newest = *VERSIONS.end();
    catch_up(&mut scene.pipeline(newest).await).await;
    assert_eq!(scene.read().await.len(), events(&*log).await.len());
    for version in 1..newest {
        let kept = scene.keep(version).await.kept().await;
        assert_eq!(
            kept.expect("the state is read"),
            None,
            "{version} is dropped"
        );
    }
    scene.subject.verify().await;
}

/// A view of a log that was replaced is diverged, and unchanged until it is rebuilt.
pub async fn a_view_of_a_replaced_log_is_diverged_until_rebuilt<S: ViewSubject>() {
    let scene = ViewScene::<S>::new().await;
    let log = scene.subject.log().await;
    teach(&*log, ["sit", "fetch"]).await;
    catch_up(&mut scene.pipeline(1).await).await;
    let replaced = history_log(7, &["speak"; 5]).await;
    let mut pipeline = ProjectionPipeline::new(replaced, scene.keep(1).await);
    refused(&mut pipeline).await;
    assert_eq!(scene.read().await, ["sit", "fetch"]);
    pipeline.rebuild().await.expect("it is discarded");
    catch_up(&mut pipeline).await;
    assert_eq!(scene.read().await, ["speak"; 5]);
}

/// Checks that the rows are those of another log.
async fn refused(pipeline: &mut ProjectionPipeline) {
    let error = pipeline.catch_up().await.expect_err("the log is another");
    assert!(matches!(error, ProjectionError::Diverged { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("rows belong to another store"), "{text}");
}

/// Of two stores that keep views in one place, one with another version does not replace the
/// other's view; if the log was replaced, the view is rebuilt on request.
pub async fn a_newer_version_does_not_replace_the_view_of_another_store<S: ViewSubject>() {
    let scene = ViewScene::<S>::new().await;
    let log = scene.subject.log().await;
    teach(&*log, ["sit"]).await;
    let mut of_first = scene.pipeline(2).await;
    catch_up(&mut of_first).await;
    let second = history_log(7, &["fetch"]).await;
    for version in [1, 3] {
        let view_store = scene.keep(version).await;
        refused(&mut ProjectionPipeline::new(second.clone(), view_store)).await;
    }
    teach(&*log, ["roll"]).await;
    catch_up(&mut of_first).await;
    assert_eq!(scene.read().await, ["sit", "roll"]);

    let mut newer = ProjectionPipeline::new(second, scene.keep(3).await);
    refused(&mut newer).await;
    newer.rebuild().await.expect("it is discarded");
    catch_up(&mut newer).await;
    assert_eq!(scene.read().await, ["fetch"]);
}
