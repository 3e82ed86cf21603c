//! Outboxes that runners drain: one node at a time, each event once unless a process ends in
//! between.

use std::env;
use std::fs::OpenOptions;
use std::future::pending;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use retold::application::Logged;
use retold::domain::{PastEvent, SplitInto, Upcasted};
use retold::prelude::{Deserialize, Event, Serialize};
use retold::runner::{Cluster, ClusterOptions, ClusterOverview, MultiThread, MultiThreadOptions};
use retold::system::{
    Delivery, FindingKind, Infrastructure, OpenSystem, Opening, OutboxStatus, Phase, Runner,
    SingleThread, System,
};

use crate::child_process::ChildProcess;
use crate::faulty::{Faults, FaultyStore};
use crate::leasing::{Leasing, LeasingStore};
use crate::nodes::{self, TIME_TO_LIVE, options};
use crate::patience::until;
use crate::place::{Place, in_places, open};
use crate::shop::{Order, Placed, memory, place};

/// Leases of this length do not end during a test: every move is a handover.
const HOUR: Duration = Duration::from_secs(3_600);

fn orders() -> System {
    System::new("shop")
        .application("orders", |app| app.aggregate::<Order>())
        .build()
        .unwrap()
}

/// What the external system received: positions of events, in the order of arrival.
#[derive(Clone, Default)]
struct Outside(Arc<Mutex<Vec<u64>>>);

impl Outside {
    fn take(&self, placed: &Logged<Placed>) {
        self.0.lock().unwrap().push(placed.position().get());
    }

    fn received(&self) -> Vec<u64> {
        self.0.lock().unwrap().clone()
    }

    async fn until_received(&self, count: usize) {
        until("everything is delivered", async || {
            self.received().len() >= count
        })
        .await;
    }

    fn delivery(&self) -> Delivery {
        let outside = self.clone();
        Delivery::new("orders", "mail", move |placed: Arc<Logged<Placed>>| {
            let outside = outside.clone();
            async move {
                outside.take(&placed);
                Ok(())
            }
        })
    }
}

/// Returns which of these nodes drains the outbox.
fn drained_by(nodes: &[&Cluster]) -> Option<usize> {
    let is_at_it = |node: &&&Cluster| {
        let phase = node.outboxes()[0].phase;
        phase == Phase::Running || phase == Phase::CaughtUp
    };
    nodes.iter().position(|node| is_at_it(&node))
}

async fn each_event_is_delivered_once_as_nodes_join_and_leave(home: Place) {
    let outside = Outside::default();
    let (system, options) = (orders(), options().time_to_live(HOUR));
    let join = async |name: String| {
        let infrastructure = home.open().await.delivery(outside.delivery());
        let joined = Cluster::join(&system, &infrastructure, &name, options.clone());
        joined.await.unwrap()
    };
    let mut nodes = vec![join("node-0".into()).await];
    let mut placed = 0;
    for round in 1..=4 {
        for _ in 0..10 {
            let orders = nodes[placed % nodes.len()].application("orders").unwrap();
            place(&orders, &placed.to_string(), "tea").await;
            placed += 1;
        }
        nodes.push(join(format!("node-{round}")).await);
        // The node that holds the outbox leaves, so it moves each time while there is something to
        // deliver.
        let drainer = || drained_by(&nodes.iter().collect::<Vec<_>>());
        until("a node drains it", async || drainer().is_some()).await;
        if let Some(drainer) = drainer()
            && nodes.len() > 2
        {
            assert!(nodes.remove(drainer).stop().await.is_clean());
        }
    }
    outside.until_received(placed).await;
    for node in &nodes {
        assert!(node.stop().await.is_clean());
    }
    let all: Vec<u64> = (1..=placed as u64).collect();
    assert_eq!(outside.received(), all);
}

/// A node dies in the middle of a delivery: the next one repeats it and continues in order.
async fn another_node_takes_over_after_one_died(home: Place) {
    let outside = Outside::default();
    let is_stuck = Arc::new(AtomicBool::new(false));
    let stuck = |delays: bool| {
        let (outside, is_stuck) = (outside.clone(), Arc::clone(&is_stuck));
        Delivery::new("orders", "mail", move |placed: Arc<Logged<Placed>>| {
            let (outside, is_stuck) = (outside.clone(), Arc::clone(&is_stuck));
            async move {
                outside.take(&placed);
                if delays && placed.event.item == "heavy" {
                    is_stuck.store(true, Ordering::SeqCst);
                    pending::<()>().await;
                }
                Ok(())
            }
        })
    };
    let system = orders();
    let dying = home.open().await.delivery(stuck(true));
    let dying = Cluster::join(&system, &dying, "dying", options())
        .await
        .unwrap();
    let app = dying.application("orders").unwrap();
    place(&app, "1", "tea").await;
    place(&app, "2", "heavy").await;
    place(&app, "3", "tea").await;
    until("it is in the middle", async || {
        is_stuck.load(Ordering::SeqCst)
    })
    .await;
    let status = dying.outboxes().remove(0);
    let running = status.running.unwrap();
    assert_eq!(
        (running.what, running.event.position.get()),
        ("delivery", 2)
    );
    let next = home.open().await.delivery(stuck(false));
    let next = Cluster::join(&system, &next, "next", options())
        .await
        .unwrap();
    drop(dying);
    outside.until_received(4).await;
    assert_eq!(outside.received(), [1, 2, 2, 3]);
    until("it is well", async || next.outboxes()[0].is_well()).await;
    let units = next.cluster_status().await.units;
    let mut outboxes = units
        .iter()
        .filter(|it| it.unit.to_string() == "orders, outbox mail");
    assert_eq!(outboxes.next().unwrap().node.as_deref(), Some("next"));
    assert!(next.stop().await.is_clean());
}

/// Returns which of these runners drains the outbox.
fn drained_by_runner(runners: &[MultiThread]) -> Option<usize> {
    runners.iter().position(|runner| {
        let phase = outbox(runner).phase;
        phase == Phase::Running || phase == Phase::CaughtUp
    })
}

async fn each_event_is_delivered_once_as_runners_start_and_stop(home: Place) {
    let outside = Outside::default();
    let system = orders();
    let options = MultiThreadOptions::new().outbox_time_to_live(TIME_TO_LIVE);
    let start = async || {
        let infrastructure = home.open().await.delivery(outside.delivery());
        let started = MultiThread::start_with(&system, &infrastructure, options.clone());
        started.await.unwrap()
    };
    let mut runners = vec![start().await, start().await];
    let mut placed = 0;
    for _ in 1..=4 {
        for _ in 0..10 {
            let runner = &runners[placed % runners.len()];
            let orders = runner.application("orders").unwrap();
            place(&orders, &placed.to_string(), "tea").await;
            placed += 1;
        }
        runners.push(start().await);
        until("one of them drains it", async || {
            drained_by_runner(&runners).is_some()
        })
        .await;
        let drainer = drained_by_runner(&runners).unwrap_or(0);
        let gone = runners.remove(drainer);
        assert!(gone.stop().await.is_clean());
        assert_eq!(outbox(&gone).phase, Phase::Stopped);
    }
    outside.until_received(placed).await;
    until("one drains it", async || {
        let at_work = runners
            .iter()
            .filter(|it| outbox(it).phase != Phase::Standby);
        at_work.count() == 1
    })
    .await;
    // The other runners report no problem.
    for runner in &runners {
        let health = runner.health().await;
        assert!(health.is_well(), "{health}");
    }
    // A node of a cluster uses the same lease.
    let infrastructure = home.open().await.delivery(outside.delivery());
    let node = Cluster::join(&system, &infrastructure, "one", nodes::options()).await;
    let node = node.unwrap();
    let app = node.application("orders").unwrap();
    for runner in runners {
        place(&app, &placed.to_string(), "tea").await;
        placed += 1;
        assert!(runner.stop().await.is_clean());
    }
    outside.until_received(placed).await;
    until("the node drains it", async || {
        node.outboxes()[0].phase == Phase::CaughtUp
    })
    .await;
    assert!(node.stop().await.is_clean());
    let all: Vec<u64> = (1..=placed as u64).collect();
    assert_eq!(outside.received(), all);
}

in_places!(
    [memory, sqlite, postgres],
    (
        each_event_is_delivered_once_as_nodes_join_and_leave,
        another_node_takes_over_after_one_died,
        each_event_is_delivered_once_as_runners_start_and_stop,
    )
);

/// Passes the store to a child; absent in the parent.
const URL: &str = "RETOLD_RUNNER_DELIVERS_OF";
/// Passes the file to which a child delivers, with a line for each event; absent in the parent.
const RECEIVED: &str = "RETOLD_RUNNER_DELIVERS_TO";

/// The child: drains the outbox into a file until it is killed. Without a parent it does nothing.
#[test]
fn child() {
    let (Ok(url), Ok(path)) = (env::var(URL), env::var(RECEIVED)) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let delivery = Delivery::new("orders", "mail", move |placed: Arc<Logged<Placed>>| {
            let path = path.clone();
            async move {
                let mut file = OpenOptions::new().append(true).create(true).open(path)?;
                Ok(file.write_all(format!("{}\n", placed.position()).as_bytes())?)
            }
        });
        let infrastructure = open(&url).await.delivery(delivery);
        let options = MultiThreadOptions::new().outbox_time_to_live(TIME_TO_LIVE);
        let system = orders();
        let started = MultiThread::start_with(&system, &infrastructure, options);
        let _runner = started.await.unwrap();
        pending::<()>().await;
    });
}

fn start(url: &str, received: &Path) -> ChildProcess {
    ChildProcess::start("deliveries::child", &[(URL, &url), (RECEIVED, &received)])
}

/// Goal: one of the processes delivers, and another takes over in time when that one is killed.
/// Method: compare the deliveries received; one event may arrive again for each kill.
async fn another_process_delivers_after_one_that_was_killed(home: Place) {
    const KILLS: usize = 3;
    /// The time that a busy machine may add to a promised limit.
    const SLACK: Duration = Duration::from_secs(10);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("received");
    let received = || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let lines = text.lines().map(|line| line.parse::<u64>().unwrap());
        lines.collect::<Vec<_>>()
    };
    let infrastructure = home.open().await;
    let outside = MultiThread::start(&orders(), &infrastructure)
        .await
        .unwrap();
    assert!(outside.stop().await.is_clean());
    let app = outside.application("orders").unwrap();
    let store = infrastructure.store_of("orders");
    let drained_by = async || {
        let systems = ClusterOverview::read_all(&**store).await.unwrap();
        let units = systems.into_iter().flat_map(|system| system.units);
        let mut outboxes = units.filter(|unit| &*unit.kind == "outbox");
        outboxes.next()?.node
    };
    let mut processes: Vec<_> = (0..2).map(|_| start(&home.url(), &path)).collect();
    let mut placed = 0;
    for _ in 0..KILLS {
        for _ in 0..10 {
            place(&app, &placed.to_string(), "tea").await;
            placed += 1;
        }
        until("some events are delivered", async || {
            received().last() > Some(&(placed - 10))
        })
        .await;
        let name_of = |it: &ChildProcess| format!("process {}", it.id());
        let holder = drained_by().await.expect("a process drains it");
        let doomed = processes.iter().position(|it| name_of(it) == *holder);
        drop(processes.remove(doomed.expect("it is one of them")));
        let killed_at = Instant::now();
        place(&app, &placed.to_string(), "tea").await;
        placed += 1;
        until("another process continues", async || {
            received().last() == Some(&placed)
        })
        .await;
        let taken_over = killed_at.elapsed();
        assert!(taken_over < TIME_TO_LIVE + SLACK, "{taken_over:?}");
        processes.push(start(&home.url(), &path));
    }
    let mut all = received();
    assert!(all.is_sorted(), "in the order of the log: {all:?}");
    assert!(all.len() <= placed as usize + KILLS, "{all:?}");
    all.dedup();
    assert_eq!(all, (1..=placed).collect::<Vec<_>>());
}

mod processes {
    use super::another_process_delivers_after_one_that_was_killed;
    use crate::place::in_places;

    in_places!(
        [sqlite, postgres],
        (another_process_delivers_after_one_that_was_killed)
    );
}

#[tokio::test]
async fn an_outbox_whose_lease_cannot_be_taken_is_a_finding() {
    let outside = Outside::default();
    let store = Arc::new(LeasingStore::default());
    store.set(Leasing::Unavailable);
    let infrastructure = Infrastructure::new(Arc::<LeasingStore>::clone(&store));
    let infrastructure = infrastructure.delivery(outside.delivery());
    let runner = MultiThread::start(&orders(), &infrastructure)
        .await
        .unwrap();
    place(&runner.application("orders").unwrap(), "1", "tea").await;
    until("it is found", async || {
        let findings = runner.health().await.findings;
        let mut of_outbox = findings.iter().filter(|it| it.kind == FindingKind::Outbox);
        of_outbox.any(|it| it.reason.contains("its lease cannot be taken"))
    })
    .await;
    assert!(outside.received().is_empty());
    store.set(Leasing::Sound);
    outside.until_received(1).await;
    until("it is well", async || runner.health().await.is_well()).await;
    let short = MultiThreadOptions::new().outbox_time_to_live(Duration::ZERO);
    let refused = MultiThread::start_with(&orders(), &infrastructure, short).await;
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("the minimum is 300ms"), "{error}");
}

fn outbox(runner: &MultiThread) -> OutboxStatus {
    runner.outboxes().remove(0)
}

/// The delivery refuses, panics and hangs before it succeeds.
#[tokio::test]
async fn a_failed_delivery_is_retried_and_the_others_wait() {
    let outside = Outside::default();
    let attempts = Arc::new(AtomicU32::new(0));
    let is_noticed = Arc::new(AtomicBool::new(false));
    let (reported, counted, noticed) = (
        outside.clone(),
        Arc::clone(&attempts),
        Arc::clone(&is_noticed),
    );
    let delivery = Delivery::new("orders", "mail", move |placed: Arc<Logged<Placed>>| {
        let (reported, counted) = (reported.clone(), Arc::clone(&counted));
        let noticed = Arc::clone(&noticed);
        async move {
            match counted.fetch_add(1, Ordering::SeqCst) {
                0 => return Err("the server is busy".into()),
                1 => panic!("the client has a fault"),
                2 => pending().await,
                _ if !noticed.load(Ordering::SeqCst) => return Err("the server is busy".into()),
                _ => {}
            }
            reported.take(&placed);
            Ok(())
        }
    });
    let delivery = delivery.time_max(Duration::from_millis(300));
    let infrastructure = memory().delivery(delivery);
    let runner = MultiThread::start(&orders(), &infrastructure)
        .await
        .unwrap();
    let app = runner.application("orders").unwrap();
    place(&app, "1", "tea").await;
    place(&app, "2", "tea").await;
    until("it is a finding", async || {
        let findings = runner.health().await.findings;
        let of_outbox = findings.iter().any(|it| it.kind == FindingKind::Outbox);
        of_outbox && attempts.load(Ordering::SeqCst) > 3
    })
    .await;
    is_noticed.store(true, Ordering::SeqCst);
    outside.until_received(2).await;
    until("it has caught up", async || {
        outbox(&runner).phase == Phase::CaughtUp
    })
    .await;
    assert_eq!(outside.received(), [1, 2]);
    assert!(attempts.load(Ordering::SeqCst) >= 6);
    let status = outbox(&runner);
    assert_eq!((status.delivered, status.failures), (2, 0));
    assert!(status.is_well());
    let (_, error) = status.last_error.unwrap();
    assert!(
        error.contains("the event at 1 could not be delivered"),
        "{error}"
    );
    assert_eq!(status.checkpoint.unwrap().position.get(), 2);
    assert!(runner.stop().await.is_clean());
}

/// An event is not delivered again because the store could not record its delivery.
#[tokio::test]
async fn a_failing_store_causes_no_second_delivery() {
    let outside = Outside::default();
    let store = FaultyStore::<Faults>::default();
    let faults = Arc::clone(&store.behaviour);
    let infrastructure = Infrastructure::new(Arc::new(store)).delivery(outside.delivery());
    let runner = MultiThread::start(&orders(), &infrastructure)
        .await
        .unwrap();
    let app = runner.application("orders").unwrap();
    for (order, fault) in [&faults.unavailable, &faults.unknown, &faults.unknown_lost]
        .into_iter()
        .enumerate()
    {
        fault.store(3, Ordering::SeqCst);
        place(&app, &order.to_string(), "tea").await;
        until("the fault has passed", async || {
            faults.left() == 0 && outbox(&runner).phase == Phase::CaughtUp
        })
        .await;
    }
    assert_eq!(outside.received(), [1, 2, 3]);
}

/// A stop waits for the delivery in progress, and that is recorded.
#[tokio::test]
async fn a_stop_finishes_the_delivery_in_progress() {
    let outside = Outside::default();
    let (release, released) = tokio::sync::watch::channel(false);
    let (reported, begun) = (outside.clone(), Arc::new(AtomicBool::new(false)));
    let begins = Arc::clone(&begun);
    let slow = Delivery::new("orders", "mail", move |placed: Arc<Logged<Placed>>| {
        let (reported, mut released) = (reported.clone(), released.clone());
        begins.store(true, Ordering::SeqCst);
        async move {
            released.wait_for(|released| *released).await?;
            reported.take(&placed);
            Ok(())
        }
    });
    let infrastructure = memory().delivery(slow);
    let runner = MultiThread::start(&orders(), &infrastructure)
        .await
        .unwrap();
    let app = runner.application("orders").unwrap();
    place(&app, "1", "tea").await;
    place(&app, "2", "tea").await;
    until("the delivery has begun", async || {
        begun.load(Ordering::SeqCst)
    })
    .await;
    let (report, ()) = tokio::join!(runner.stop(), async {
        release.send_replace(true);
    });
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(outbox(&runner).phase, Phase::Stopped);
    let again = MultiThread::start(&orders(), &infrastructure)
        .await
        .unwrap();
    outside.until_received(2).await;
    assert_eq!(outside.received(), [1, 2]);
    drop(again);
}

#[tokio::test]
async fn deliveries_that_cannot_be_made_are_refused() {
    let outside = Outside::default();
    let elsewhere =
        |name: &str| Delivery::new(name, "mail", |_: Arc<Logged<Placed>>| async { Ok(()) });
    for (infrastructure, expected) in [
        (memory().delivery(elsewhere("nowhere")), "nowhere"),
        (
            memory()
                .delivery(outside.delivery())
                .delivery(elsewhere("orders")),
            "is given twice",
        ),
        (
            memory().delivery(Delivery::new(
                "orders",
                "",
                |_: Arc<Logged<Placed>>| async { Ok(()) },
            )),
            "name of an outbox",
        ),
    ] {
        let refused = MultiThread::start(&orders(), &infrastructure).await;
        let error = refused.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        let options = ClusterOptions::new();
        let refused = Cluster::join(&orders(), &infrastructure, "one", options).await;
        assert!(refused.unwrap_err().to_string().contains(expected));
    }
    let infrastructure = memory().delivery(outside.delivery());
    let refused = SingleThread::start(&orders(), &infrastructure).await;
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("drain it with `Outbox`"), "{error}");
}

/// The shape of an older program: one event for several calls.
#[derive(Event, Serialize, Deserialize, Clone)]
#[event(topic = "called")]
struct CalledV1 {
    names: Vec<String>,
}

#[derive(Event, Serialize, Deserialize)]
#[event(topic = "called", revision = 2, from(1 = CalledV1))]
struct Called {
    name: String,
}

impl SplitInto<Called> for CalledV1 {
    fn split(self, _: &PastEvent<'_>) -> Upcasted<Called> {
        let called = self.names.into_iter().map(|name| Called { name });
        Ok(called.collect::<Vec<_>>().into())
    }
}

/// Each of the events that an old one is read as is delivered, also after events that are read as
/// nothing.
#[tokio::test]
async fn every_part_of_an_old_event_is_delivered() {
    let infrastructure = Infrastructure::memory();
    let old = System::new("shop").application("calls", |app| app.event::<CalledV1>());
    let old = old.build().unwrap();
    let opened = OpenSystem::open(&old, &infrastructure, Opening::Write);
    let opened = opened.await.unwrap();
    let calls = opened.application("calls").unwrap();
    let record = async |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let called = move |(): &()| CalledV1 {
            names: names.clone(),
        };
        calls.decide((), called).await.unwrap();
    };
    // More than a page of events that are read as nothing.
    for _ in 0..150 {
        record(&[]).await;
    }
    record(&["ann", "bob", "cid"]).await;
    let received: Arc<Mutex<Vec<String>>> = Arc::default();
    let outside = received.clone();
    let delivery = Delivery::new("calls", "mail", move |called: Arc<Logged<Called>>| {
        outside.lock().unwrap().push(called.event.name.clone());
        async { Ok(()) }
    });
    let new = System::new("shop").application("calls", |app| app.event::<Called>());
    let new = new.build().unwrap();
    let infrastructure = infrastructure.delivery(delivery);
    let runner = MultiThread::start(&new, &infrastructure).await.unwrap();
    until("all parts are delivered", async || {
        received.lock().unwrap().len() >= 3
    })
    .await;
    assert!(runner.stop().await.is_clean());
    assert_eq!(*received.lock().unwrap(), ["ann", "bob", "cid"]);
}
