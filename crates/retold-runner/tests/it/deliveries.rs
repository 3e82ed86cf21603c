//! Outboxes that runners drain: one node at a time, each event once unless something ends in between.

use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use retold::application::Logged;
use retold::runner::{Cluster, ClusterOptions, MultiThread};
use retold::system::{
    Delivery, FindingKind, Infrastructure, OutboxStatus, Phase, SingleThread, System,
};

use crate::faulty::FaultyStore;
use crate::nodes::options;
use crate::patience::until;
use crate::place::{Place, in_places};
use crate::shop::{Order, Placed, memory, place};

/// Leases that live so long do not end in a test: what moves was handed over.
const HOUR: Duration = Duration::from_secs(3_600);

fn orders() -> System {
    System::new("shop")
        .application("orders", |app| app.aggregate::<Order>())
        .build()
        .unwrap()
}

/// What reached the outside: positions of events, in the order in which they came.
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

/// Which of these nodes has the outbox.
fn drained_by(nodes: &[&Cluster]) -> Option<usize> {
    let is_at_it = |node: &&&Cluster| {
        let phase = node.outboxes()[0].phase;
        phase == Phase::Running || phase == Phase::CaughtUp
    };
    nodes.iter().position(|node| is_at_it(&node))
}

async fn each_event_is_delivered_once_as_nodes_come_and_go(home: Place) {
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
        // Whoever has the outbox goes, so it moves each time, while there is something to deliver.
        let drainer = || drained_by(&nodes.iter().collect::<Vec<_>>());
        until("somebody drains it", async || drainer().is_some()).await;
        if let Some(drainer) = drainer()
            && nodes.len() > 2
        {
            assert!(nodes.remove(drainer).leave().await.is_clean());
        }
    }
    outside.until_received(placed).await;
    for node in &nodes {
        assert!(node.leave().await.is_clean());
    }
    let all: Vec<u64> = (1..=placed as u64).collect();
    assert_eq!(outside.received(), all);
}

/// A node that dies in the middle of a delivery: the next one makes it again, and goes on in order.
async fn another_node_goes_on_after_one_that_died(home: Place) {
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
    let units = next.status().await.units;
    let mut outboxes = units
        .iter()
        .filter(|it| it.unit.to_string() == "orders, outbox mail");
    assert_eq!(outboxes.next().unwrap().node.as_deref(), Some("next"));
    assert!(next.leave().await.is_clean());
}

in_places!(
    [memory, sqlite, postgres],
    (
        each_event_is_delivered_once_as_nodes_come_and_go,
        another_node_goes_on_after_one_that_died,
    )
);

fn outbox(runner: &MultiThread) -> OutboxStatus {
    runner.outboxes().remove(0)
}

/// Refuses, panics and never returns, before it does what it is to do.
#[tokio::test]
async fn a_delivery_that_fails_is_made_again_and_the_others_wait() {
    let outside = Outside::default();
    let attempts = Arc::new(AtomicU32::new(0));
    let is_noticed = Arc::new(AtomicBool::new(false));
    let (told, counted, noticed) = (
        outside.clone(),
        Arc::clone(&attempts),
        Arc::clone(&is_noticed),
    );
    let delivery = Delivery::new("orders", "mail", move |placed: Arc<Logged<Placed>>| {
        let (told, counted) = (told.clone(), Arc::clone(&counted));
        let noticed = Arc::clone(&noticed);
        async move {
            match counted.fetch_add(1, Ordering::SeqCst) {
                0 => return Err("the server is busy".into()),
                1 => panic!("the client has a fault"),
                2 => pending().await,
                _ if !noticed.load(Ordering::SeqCst) => return Err("the server is busy".into()),
                _ => {}
            }
            told.take(&placed);
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

/// What was delivered is not delivered again because the store could not record it.
#[tokio::test]
async fn a_store_that_fails_makes_nothing_be_sent_twice() {
    let outside = Outside::default();
    let store = FaultyStore::default();
    let faults = Arc::clone(&store.faults);
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

/// A stop waits for the delivery that is on its way, and that is recorded.
#[tokio::test]
async fn a_stop_finishes_the_delivery_that_it_meets() {
    let outside = Outside::default();
    let (release, released) = tokio::sync::watch::channel(false);
    let (told, begun) = (outside.clone(), Arc::new(AtomicBool::new(false)));
    let begins = Arc::clone(&begun);
    let slow = Delivery::new("orders", "mail", move |placed: Arc<Logged<Placed>>| {
        let (told, mut released) = (told.clone(), released.clone());
        begins.store(true, Ordering::SeqCst);
        async move {
            released.wait_for(|released| *released).await?;
            told.take(&placed);
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
