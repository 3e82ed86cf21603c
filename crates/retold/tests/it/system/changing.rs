//! Systems that change between two programs: followers renamed and removed, upstreams added, policy
//! versions raised while the old program still runs. Records of older programs can still be retold.

use retold::system::{
    Context, Follower, FollowerOperator, FollowerPath, Infrastructure, OnFailure, OpenSystem,
    Opening, Runner, SingleThread, Start, Step, System,
};

use super::shop::{Order, Placed, Stock, StockEvent, assert_retold, memory, place, reserve};

fn system(followers: impl IntoIterator<Item = Follower>) -> System {
    System::new("shop")
        .application("orders", |app| app.aggregate::<Order>())
        .application("returns", |app| app.aggregate::<Order>())
        .application("stock", |app| {
            let app = app.aggregate::<Stock>();
            followers.into_iter().fold(app, |app, it| app.follower(it))
        })
        .build()
        .unwrap()
}

fn follower(name: &'static str) -> Follower {
    Follower::new(name).follows("orders").on(reserve)
}

/// Starts a program with this system and places an order of each log.
async fn run(system: &System, memory: &Infrastructure, order: &str) -> SingleThread {
    let runner = SingleThread::start(system, memory).await.unwrap();
    for log in ["orders", "returns"] {
        let app = runner.application(log).unwrap();
        place(&app, order, "tea").await.unwrap();
    }
    runner
}

async fn answers(runner: &SingleThread) -> usize {
    let stock = runner.application("stock").unwrap();
    let events = stock.events::<StockEvent>().read().collect().await;
    events.unwrap().len()
}

#[tokio::test]
async fn followers_are_added_removed_and_renamed() {
    let (memory, _) = memory();
    let runner = run(&system([follower("a")]), &memory, "1").await;
    assert_eq!(answers(&runner).await, 1);
    // Under another name it is a different follower, which begins with the first event.
    let runner = run(&system([follower("b")]), &memory, "2").await;
    assert_eq!(answers(&runner).await, 3);
    assert_retold(runner.open_system()).await;
    // The first continues where it was.
    let runner = run(&system([follower("a"), follower("b")]), &memory, "3").await;
    assert_eq!(answers(&runner).await, 6);
    assert_retold(runner.open_system()).await;
    let runner = run(&system([]), &memory, "4").await;
    assert_eq!(answers(&runner).await, 6);
    assert_retold(runner.open_system()).await;
}

#[tokio::test]
async fn an_upstream_is_added_and_taken_away() {
    let (memory, _) = memory();
    run(&system([follower("a")]), &memory, "1").await;
    let more = || follower("a").follows("returns");
    let runner = run(&system([more()]), &memory, "2").await;
    assert_eq!(answers(&runner).await, 4);
    assert_retold(runner.open_system()).await;
    let runner = run(&system([follower("a")]), &memory, "3").await;
    assert_eq!(answers(&runner).await, 5);
    assert_retold(runner.open_system()).await;
    let runner = run(&system([more()]), &memory, "4").await;
    assert_eq!(answers(&runner).await, 8);
    assert_retold(runner.open_system()).await;
}

#[tokio::test]
async fn a_follower_that_starts_now_processes_later_events() {
    let (memory, _) = memory();
    run(&system([]), &memory, "1").await;
    let now = || follower("a").follows("returns").start(Start::Now);
    let runner = run(&system([now()]), &memory, "2").await;
    assert_eq!(answers(&runner).await, 2);
    let runner = run(&system([now()]), &memory, "3").await;
    assert_eq!(answers(&runner).await, 4);
    assert_retold(runner.open_system()).await;
    // After a reset it begins with the events that it never read.
    let operator = runner.operator(&FollowerPath::new("stock", "a")).unwrap();
    operator.reset(&[]).await.unwrap();
    runner.catch_up().await.unwrap();
    assert_eq!(answers(&runner).await, 4 + 6);
    assert_retold(runner.open_system()).await;
}

/// Processes events that the first policy version passes over.
async fn reserve_twice(placed: &Placed, context: &mut Context) -> retold::Result<()> {
    reserve(placed, context).await?;
    reserve(placed, context).await
}

/// Two programs of different policy versions work at the same time, and on each page one of the two
/// is faster.
#[tokio::test]
async fn two_policy_versions_at_once_are_distinguished() {
    let (memory, _) = memory();
    let systems = [
        system([follower("a").batch(3)]),
        system([Follower::new("a")
            .follows("orders")
            .on(reserve_twice)
            .policy_version(2)]),
    ];
    let mut opens = Vec::new();
    let mut pipelines = Vec::new();
    for system in &systems {
        let open = OpenSystem::open(system, &memory, Opening::Write)
            .await
            .unwrap();
        pipelines.push(open.pipelines().pop().unwrap().1);
        opens.push(open);
    }
    let orders = opens[0].application("orders").unwrap();
    for round in 0..10 {
        for order in 0..round {
            place(orders, &format!("{round}-{order}"), "tea")
                .await
                .unwrap();
        }
        let (first, second) = (round % 2, (round + 1) % 2);
        for index in [first, second, first, second] {
            let step = pipelines[index].step().await.unwrap();
            if step == Step::Idle {
                pipelines[index].flush_idle().await.unwrap();
            }
        }
    }
    for pipeline in &mut pipelines {
        while pipeline.step().await.unwrap() == Step::Moved {}
        pipeline.flush_idle().await.unwrap();
    }
    let counts: Vec<_> = pipelines.iter().map(|it| it.counts()).collect();
    assert!(counts.iter().all(|it| it.effects > 5), "{counts:?}");
    for open in &opens {
        assert_retold(open).await;
    }
}

async fn refuse(_: &Placed, _: &mut Context) -> retold::Result<()> {
    Err(retold::Error::Refused("not yet".into()))
}

async fn pass_over(_: &Placed, _: &mut Context) -> retold::Result<()> {
    Ok(())
}

/// Goal: an event that an older policy version processed after a resume, without effect, is not a
/// difference for a newer policy version.
#[tokio::test]
async fn events_resumed_by_an_older_policy_version_are_no_difference() {
    let (memory, _) = memory();
    let fails = Follower::new("a").follows("orders").on(refuse);
    run(&system([fails.on_failure(OnFailure::Park)]), &memory, "1").await;
    let passes = Follower::new("a").follows("orders").on(pass_over);
    let runner = run(&system([passes]), &memory, "2").await;
    assert_retold(runner.open_system()).await;
    let operator = runner.operator(&FollowerPath::new("stock", "a")).unwrap();
    assert!(operator.parked().await.unwrap().is_empty());
    let newer = run(&system([follower("a").policy_version(2)]), &memory, "3").await;
    assert_eq!(answers(&newer).await, 1);
    assert_retold(newer.open_system()).await;
}

/// Goal: a follower that was reset after its upstream was replaced is retold from the reset on.
#[tokio::test]
async fn a_reset_over_a_replaced_log_is_retold() {
    let (memory, _) = memory();
    let shop = system([follower("a")]);
    run(&shop, &memory, "1").await;
    let store = std::sync::Arc::new(retold::recording::MemoryStore::new());
    let replaced = memory.clone().application_in("orders", store);
    let runner = run(&shop, &replaced, "2").await;
    assert_eq!(answers(&runner).await, 1);
    let orders = runner.application("orders").unwrap();
    let log = orders.log_id().await.unwrap().unwrap();
    let start = retold::system::StartingCheckpoint::new("orders", log, None);
    let operator = runner.operator(&FollowerPath::new("stock", "a")).unwrap();
    operator.reset(&[start]).await.unwrap();
    runner.catch_up().await.unwrap();
    assert_eq!(answers(&runner).await, 2);
    let stock = runner.application("stock").unwrap();
    let record = FollowerOperator::new(&stock, "a").record().await.unwrap();
    assert_eq!(record.generation, 2);
    assert_retold(runner.open_system()).await;
}
