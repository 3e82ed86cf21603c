//! The cost of processing and retelling when other writers change the aggregates that a follower
//! decides on: counted in events that are folded and read, for increasing numbers of events.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use retold::application::fold_of;
use retold::prelude::*;
use retold::recording::{
    BoxFuture, LogRead, MemoryStore, Page, RecordError, Recorder, RecorderLayer, Store, StoreLayer,
    StreamRead,
};
use retold::retelling::{FollowerRetelling, retell_whole};
use retold::system::{
    Context, Follower, Infrastructure, OpenSystem, Opening, Runner, SingleThread, System,
};

/// The number of events that were folded into the aggregate, over all its states.
static FOLDED: AtomicU64 = AtomicU64::new(0);

#[derive(Event, Serialize, Deserialize)]
struct Ordered {}

#[derive(Aggregate, Clone, Default)]
#[aggregate(event = Ordered, key = String)]
struct Purchase {}

impl Apply<Ordered> for Purchase {
    fn apply(&mut self, _: &Ordered) {}
}

#[derive(Event, Serialize, Deserialize)]
struct Counted {
    total: u64,
}

#[derive(Aggregate, Clone, Default)]
#[aggregate(event = Counted, key = String)]
struct Tally {
    total: u64,
}

impl Apply<Counted> for Tally {
    fn apply(&mut self, counted: &Counted) {
        FOLDED.fetch_add(1, Ordering::Relaxed);
        self.total = counted.total;
    }
}

impl Tally {
    fn count(&self) -> Counted {
        Counted {
            total: self.total + 1,
        }
    }
}

/// Decides on the state of the aggregate.
async fn executing(_: &Ordered, context: &mut Context) -> retold::Result<()> {
    context.execute_or_create("all", Tally::count).await?;
    Ok(())
}

/// Decides on the aggregate as a model.
async fn deciding(_: &Ordered, context: &mut Context) -> retold::Result<()> {
    let all = Id::<Tally>::from("all");
    context.decide(&all, |tally| tally.count().to(&all)).await?;
    Ok(())
}

/// Writes to the aggregate before reading it.
async fn writing_first(_: &Ordered, context: &mut Context) -> retold::Result<()> {
    let all = Id::<Tally>::from("all");
    context.record(Counted { total: 7 }.to(&all))?;
    let tally: Tally = context.get(&all).await?;
    context.record(tally.count().to(&all))?;
    Ok(())
}

/// Reads something else first, so that the log is read at one position.
async fn viewing(_: &Ordered, context: &mut Context) -> retold::Result<()> {
    let all = Id::<Tally>::from("all");
    let (tally, _) = context
        .view((&all, fold_of::<Purchases, Ordered>()))
        .await?;
    let counted = |now: &Tally| Counted {
        total: tally.total.max(now.total) + 1,
    };
    context.execute_or_create(&all, counted).await?;
    Ok(())
}

/// For an application in which nothing is ordered.
#[derive(Clone, Default)]
struct Purchases;

impl Apply<Ordered> for Purchases {
    fn apply(&mut self, _: &Ordered) {}
}

#[derive(Clone, Copy, Debug)]
enum Policy {
    Executing,
    Deciding,
    WritingFirst,
    Viewing,
}

fn system(policy: Policy, followers: usize) -> System {
    let follower = |name: usize| {
        let follower = Follower::new(format!("f{name}")).follows("orders");
        match policy {
            Policy::Executing => follower.on(executing),
            Policy::Deciding => follower.on(deciding),
            Policy::WritingFirst => follower.on(writing_first),
            Policy::Viewing => follower.on(viewing),
        }
    };
    System::new("tally")
        .application("orders", |app| app.aggregate::<Purchase>())
        .application("tally", |app| {
            let app = app.aggregate::<Tally>().event::<Ordered>();
            (0..followers).fold(app, |app, name| app.follower(follower(name)))
        })
        .build()
        .unwrap()
}

/// A store that counts what is read from it.
struct CountingStore {
    inner: Arc<dyn Store>,
    read: Arc<AtomicU64>,
}

impl StoreLayer for CountingStore {
    fn inner(&self) -> &Arc<dyn Store> {
        &self.inner
    }

    fn open_read_only<'a>(
        &'a self,
        log: &'a str,
    ) -> BoxFuture<'a, Result<Arc<dyn Recorder>, RecordError>> {
        Box::pin(async move {
            let inner = self.inner.open_read_only(log).await?;
            let read = Arc::clone(&self.read);
            Ok(Arc::new(CountingRecorder { inner, read }) as Arc<dyn Recorder>)
        })
    }
}

struct CountingRecorder {
    inner: Arc<dyn Recorder>,
    read: Arc<AtomicU64>,
}

impl CountingRecorder {
    /// Counts a page; an empty page has a cost too.
    fn counted(&self, page: Page) -> Page {
        let cost = 1 + page.events.len() as u64;
        self.read.fetch_add(cost, Ordering::Relaxed);
        page
    }
}

impl RecorderLayer for CountingRecorder {
    fn inner(&self) -> &Arc<dyn Recorder> {
        &self.inner
    }

    fn read_log(&self, read: LogRead) -> BoxFuture<'_, Result<Page, RecordError>> {
        Box::pin(async { Ok(self.counted(self.inner.read_log(read).await?)) })
    }

    fn read_stream(&self, read: StreamRead) -> BoxFuture<'_, Result<Page, RecordError>> {
        Box::pin(async { Ok(self.counted(self.inner.read_stream(read).await?)) })
    }
}

/// The cost of a number of events.
#[derive(Debug)]
struct Cost {
    /// Folded while they were processed.
    running: u64,
    /// Folded while they were retold follower by follower.
    retelling: u64,
    /// Folded while they were retold as a whole.
    whole: u64,
    /// Pages and events that were read while they were retold follower by follower.
    read: u64,
}

async fn cost(policy: Policy, followers: usize, events: u64) -> Cost {
    let folded = || FOLDED.swap(0, Ordering::Relaxed);
    let system = system(policy, followers);
    let store = Arc::new(MemoryStore::new());
    let memory = Infrastructure::new(store.clone());
    let runner = SingleThread::start(&system, &memory).await.unwrap();
    let orders = runner.application("orders").unwrap();
    let tally = runner.application("tally").unwrap();
    folded();
    for order in 0..events {
        let ordered = |_: &Purchase| Ordered {};
        orders
            .execute_or_create(order.to_string(), ordered)
            .await
            .unwrap();
        if order % 4 == 0 {
            // And a writer that is not a follower.
            tally
                .execute_or_create("all", |tally: &Tally| tally.count())
                .await
                .unwrap();
        }
    }
    let running = folded();
    assert!(runner.stop().await.is_clean());

    let read = Arc::new(AtomicU64::new(0));
    let counting = Infrastructure::new(Arc::new(CountingStore {
        inner: store,
        read: Arc::clone(&read),
    }));
    let open = OpenSystem::open(&system, &counting, Opening::ReadOnly)
        .await
        .unwrap();
    read.store(0, Ordering::Relaxed);
    for retelling in FollowerRetelling::all(&open).await.unwrap() {
        let report = retelling.run().await.unwrap();
        assert!(report.difference.is_none(), "{policy:?}: {report}");
        assert_eq!(report.processed, events);
    }
    let (retelling, read) = (folded(), read.load(Ordering::Relaxed));
    let whole = retell_whole(&open).await.unwrap();
    assert!(whole.difference.is_none(), "{policy:?}: {whole}");
    Cost {
        running,
        retelling,
        whole: folded(),
        read,
    }
}

#[tokio::test]
async fn events_of_others_are_folded_once_for_any_number_of_decisions() {
    let policies = [
        Policy::Executing,
        Policy::Deciding,
        Policy::WritingFirst,
        Policy::Viewing,
    ];
    for policy in policies {
        for followers in [1, 2] {
            let few = cost(policy, followers, 50).await;
            let many = cost(policy, followers, 200).await;
            let is_linear = |few: u64, many: u64| many <= 5 * few + 50;
            let text = format!("{policy:?} by {followers}: 50 events {few:?}, 200 {many:?}");
            println!("{text}");
            assert!(is_linear(few.running, many.running), "{text}");
            assert!(is_linear(few.retelling, many.retelling), "{text}");
            assert!(is_linear(few.whole, many.whole), "{text}");
            assert!(is_linear(few.read, many.read), "{text}");
        }
    }
}
