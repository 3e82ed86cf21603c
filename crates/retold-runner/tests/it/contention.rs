//! Many followers that decide on one aggregate: what it costs, counted in decisions and appends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use retold::prelude::*;
use retold::recording::append::{Append, Appended};
use retold::recording::error::RecordError;
use retold::recording::identity::LogId;
use retold::recording::layer::{RecorderLayer, StoreLayer};
use retold::recording::memory::MemoryStore;
use retold::recording::recorder::{BoxFuture, Recorder};
use retold::recording::store::Store;
use retold::runner::MultiThread;
use retold::system::{Context, Follower, Infrastructure, System};

use crate::patience::PATIENCE;

/// How often a policy was asked.
static DECISIONS: AtomicU64 = AtomicU64::new(0);

#[derive(Event, Serialize, Deserialize)]
struct Rung {}

#[derive(Event, Serialize, Deserialize)]
struct Heard {}

#[derive(Aggregate, Clone, Default)]
#[aggregate(event = Heard, key = String)]
struct Ears {
    count: u64,
}

impl Apply<Heard> for Ears {
    fn apply(&mut self, _: &Heard) {
        self.count += 1;
    }
}

async fn hear(_: &Rung, context: &mut Context) -> retold::Result<()> {
    DECISIONS.fetch_add(1, Ordering::Relaxed);
    context
        .execute_or_create("all", |_: &Ears| Heard {})
        .await?;
    Ok(())
}

fn town(followers: usize) -> System {
    System::new("town")
        .application("bell", |app| app.event::<Rung>())
        .application("ears", |app| {
            let app = app.aggregate::<Ears>();
            (0..followers).fold(app, |app, number| {
                let follower = Follower::new(format!("f{number}"));
                app.follower(follower.follows("bell").on(hear))
            })
        })
        .build()
        .unwrap()
}

/// A store that takes a while for each append, so that others decide meanwhile. Counts appends.
struct SlowStore {
    inner: Arc<dyn Store>,
    appends: Arc<AtomicU64>,
}

impl StoreLayer for SlowStore {
    fn inner(&self) -> &Arc<dyn Store> {
        &self.inner
    }

    fn open<'a>(
        &'a self,
        log: &'a str,
        birth: LogId,
    ) -> BoxFuture<'a, Result<Arc<dyn Recorder>, RecordError>> {
        Box::pin(async move {
            let inner = self.inner.open(log, birth).await?;
            let appends = Arc::clone(&self.appends);
            Ok(Arc::new(SlowRecorder { inner, appends }) as Arc<dyn Recorder>)
        })
    }
}

struct SlowRecorder {
    inner: Arc<dyn Recorder>,
    appends: Arc<AtomicU64>,
}

impl RecorderLayer for SlowRecorder {
    fn inner(&self) -> &Arc<dyn Recorder> {
        &self.inner
    }

    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, RecordError>> {
        Box::pin(async move {
            self.appends.fetch_add(1, Ordering::Relaxed);
            // All other tasks that can go on do so.
            tokio::task::yield_now().await;
            self.inner.append(append).await
        })
    }
}

/// Without turns each append that records would cost all others a decision: 20,000 for 200 followers.
#[tokio::test]
async fn followers_of_one_aggregate_decide_a_few_times_each() {
    for followers in [50, 200] {
        let appends = Arc::new(AtomicU64::new(0));
        let store = SlowStore {
            inner: Arc::new(MemoryStore::new()),
            appends: Arc::clone(&appends),
        };
        let infrastructure = Infrastructure::new(Arc::new(store));
        let town = town(followers);
        let runner = MultiThread::start(&town, &infrastructure).await.unwrap();
        let bell = runner.application("bell").unwrap();
        let rung = bell.decide((), |(): &()| Rung {}).await.unwrap();
        let first = rung.position().unwrap();
        runner.wait_for("bell", first, PATIENCE).await.unwrap();
        // All have begun. The second event they answer at the same time.
        let decisions = DECISIONS.swap(0, Ordering::Relaxed);
        let before = appends.swap(0, Ordering::Relaxed);
        let rung = bell.decide((), |(): &()| Rung {}).await.unwrap();
        let position = rung.position().unwrap();
        runner.wait_for("bell", position, PATIENCE).await.unwrap();
        let decisions = [decisions, DECISIONS.swap(0, Ordering::Relaxed)];
        let appends = [before, appends.load(Ordering::Relaxed)];
        let text = format!("{followers} followers: {decisions:?} decisions, {appends:?} appends");
        println!("{text}");
        let ears = runner.application("ears").unwrap();
        let count = ears.get::<Ears>("all").await.unwrap().state.count;
        assert_eq!(count, 2 * followers as u64);
        let bound = 6 * followers as u64;
        assert!(decisions.into_iter().all(|it| it <= bound), "{text}");
        assert!(appends.into_iter().all(|it| it <= bound), "{text}");
        runner.stop().await;
    }
}
