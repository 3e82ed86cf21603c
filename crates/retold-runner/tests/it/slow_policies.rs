//! Policies that do not return: they fail at their limit, operators act meanwhile, and the status
//! names the event.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use retold::application::Logged;
use retold::prelude::*;
use retold::recording::{BoxFuture, Invalid, Position};
use retold::runner::{Cluster, MultiThread};
use retold::system::{Context, Follower, FollowerPath, OnFailure, Phase, Runner, System, Trouble};

use crate::faulty::{Behaviour, Call, Fate, FaultyStore, take};
use crate::nodes::options;
use crate::patience::{status_of, until, until_phase};
use crate::shop::{Placed, memory, one_way, place, reserve, reserved, settled};

/// Long enough for a busy machine to process an event that takes no time.
const SHORT: Duration = Duration::from_millis(500);
const HOUR: Duration = Duration::from_secs(3_600);

/// For "never" it never returns; "broken" it refuses.
async fn slow(placed: &Placed, context: &mut Context) -> retold::Result<()> {
    match &*placed.item {
        "never" => std::future::pending().await,
        "broken" => Err(retold::Error::Invalid(Invalid::new("it is broken".into()))),
        _ => reserve(placed, context).await,
    }
}

fn slow_for(time_max: Duration) -> Follower {
    let follower = Follower::new("reservations").follows("orders").on(slow);
    follower.policy_time_max(time_max)
}

async fn start(follower: Follower) -> (MultiThread, Application) {
    let runner = MultiThread::start(&one_way(follower), &memory()).await;
    let runner = runner.unwrap();
    let orders = runner.application("orders").unwrap();
    (runner, orders)
}

async fn until_running(runner: &MultiThread, event: Position) {
    until("the policy runs", async || {
        let running = status_of(runner, "reservations").await.running;
        running.is_some_and(|it| it.event.position == event)
    })
    .await;
}

#[tokio::test]
async fn a_policy_that_does_not_return_stops_its_follower_at_its_limit() {
    for batch in [1, 10] {
        let (runner, orders) = start(slow_for(SHORT).batch(batch)).await;
        for (order, item) in [("1", "tea"), ("2", "never"), ("3", "tea")] {
            place(&orders, order, item).await;
        }
        until_phase(&runner, "reservations", Phase::Paused).await;
        let operator = runner
            .operator(&FollowerPath::new("stock", "reservations"))
            .unwrap();
        let paused = operator.record().await.unwrap().paused.unwrap();
        assert!(
            paused.contains("did not return within its limit of 500ms"),
            "{paused}"
        );
        assert!(paused.contains("the event at 2 of \"orders\""), "{paused}");
        assert_eq!(reserved(&runner.application("stock").unwrap()).await, ["1"]);
        let status = status_of(&runner, "reservations").await;
        assert_eq!(status.running, None);
        assert!(!status.is_well());
        // After a resume it is called again, and is not considered failed immediately.
        operator.resume().await.unwrap();
        until_running(&runner, Position::new(2).unwrap()).await;
        assert!(runner.stop().await.is_clean());
    }
}

#[tokio::test]
async fn an_event_whose_policy_does_not_return_is_parked() {
    let (runner, orders) = start(slow_for(SHORT).on_failure(OnFailure::Park)).await;
    let never = place(&orders, "1", "never").await;
    place(&orders, "2", "tea").await;
    settled(&runner).await;
    assert_eq!(reserved(&runner.application("stock").unwrap()).await, ["2"]);
    let operator = runner
        .operator(&FollowerPath::new("stock", "reservations"))
        .unwrap();
    let parked = operator.parked().await.unwrap();
    let failure = parked[0].failure.as_ref().unwrap();
    assert!(failure.contains("did not return"), "{failure}");

    // The resumed event has the same limit: it stays parked, and the others are processed.
    assert!(operator.resume().await.unwrap());
    place(&orders, "3", "tea").await;
    settled(&runner).await;
    let parked = operator.parked().await.unwrap();
    assert_eq!(parked[0].event.position, never);
    operator
        .skip(parked[0].log, never, "never mind")
        .await
        .unwrap();
    assert!(operator.parked().await.unwrap().is_empty());
}

#[tokio::test]
async fn operators_act_while_a_policy_runs() {
    let (runner, orders) = start(slow_for(HOUR).on_failure(OnFailure::Park)).await;
    let broken = place(&orders, "1", "broken").await;
    let never = place(&orders, "2", "never").await;
    until_running(&runner, never).await;
    let status = status_of(&runner, "reservations").await;
    let running = status.running.as_ref().unwrap();
    assert_eq!((&*running.upstream, &*running.topic), ("orders", "Placed"));
    assert!(running.to_string().contains("has been running since"));
    assert!(!running.is_late(), "{running}");
    assert_eq!(status.parked, 1);

    let operator = runner
        .operator(&FollowerPath::new("stock", "reservations"))
        .unwrap();
    let log = orders.log_id().await.unwrap().unwrap();
    operator.skip(log, broken, "it is broken").await.unwrap();
    until("the skip is noticed", async || {
        status_of(&runner, "reservations").await.parked == 0
    })
    .await;
    until_running(&runner, never).await;

    assert!(operator.pause("it takes long").await.unwrap());
    until_phase(&runner, "reservations", Phase::Paused).await;
    assert_eq!(status_of(&runner, "reservations").await.running, None);
    assert!(runner.stop().await.is_clean());
}

/// Whether the policy may release its thread.
static MAY_RETURN: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

/// Blocks its thread until the test releases it.
async fn block(placed: &Placed, context: &mut Context) -> retold::Result<()> {
    let (may_return, changed) = &MAY_RETURN;
    drop(changed.wait_while(may_return.lock().unwrap(), |may_return| !*may_return));
    reserve(placed, context).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_policy_that_blocks_its_thread_is_reported() {
    let follower = Follower::new("reservations").follows("orders").on(block);
    let system: System = one_way(follower.policy_time_max(HOUR));
    let node = Cluster::join(&system, &memory(), "one", options())
        .await
        .unwrap();
    place(&node.application("orders").unwrap(), "1", "tea").await;
    until("it is noticed", async || {
        let status = node.status().await.remove(0);
        let late = status.late_policy();
        late.is_some_and(|it| it.blocks_for.is_some()) && !status.is_well()
    })
    .await;
    until("it is reported", async || {
        let status = node.status().await.remove(0);
        let error = status.last_error;
        error.is_some_and(|(_, error)| error.contains("blocks its thread"))
    })
    .await;
    until("other nodes would see it", async || {
        let units = node.cluster_status().await.units;
        let mut errors = units.into_iter().filter_map(|it| it.last_error);
        errors.any(|(_, error)| error.contains("blocks its thread"))
    })
    .await;
    assert!(!node.cluster_status().await.is_well());
    let findings = node.health().await.findings;
    assert!(
        findings.iter().any(|it| it.trouble == Trouble::Late),
        "{findings:?}"
    );
    *MAY_RETURN.0.lock().unwrap() = true;
    MAY_RETURN.1.notify_all();
    crate::shop::settled(&node).await;
    assert!(node.stop().await.is_clean());
}

/// This number of reads of an aggregate gets no response.
struct Silences(AtomicU32);

impl Behaviour for Silences {
    fn meet<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Fate> {
        Box::pin(async move {
            match call {
                Call::ReadStream(read) if read.stream.starts_with("Stock") && take(&self.0) => {
                    std::future::pending().await
                }
                _ => Fate::Sound,
            }
        })
    }
}

/// A store that does not respond is not a failure of the policy: it is called again.
#[tokio::test]
async fn a_silent_store_is_no_failure_of_the_policy() {
    let (infrastructure, silences) = FaultyStore::in_memory(Silences(AtomicU32::new(1)));
    let system = one_way(slow_for(SHORT));
    let runner = MultiThread::start(&system, &infrastructure).await.unwrap();
    let orders = runner.application("orders").unwrap();
    place(&orders, "1", "tea").await;
    settled(&runner).await;
    assert_eq!(silences.0.load(Ordering::SeqCst), 0);
    let status = status_of(&runner, "reservations").await;
    let (_, error) = status.last_error.unwrap();
    assert!(error.contains("its store has not responded"), "{error}");
    let stock = runner.application("stock").unwrap();
    let answered: Vec<Logged<crate::shop::Reserved>> =
        stock.events().read().collect().await.unwrap();
    assert_eq!(answered.len(), 1);
}
