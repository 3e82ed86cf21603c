//! Health: everything that has stopped is a finding with its reason, and is logged once as an
//! error.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use retold::prelude::*;
use retold::projection::{MemoryView, Projection, ViewStore};
use retold::recording::{Append, LogId, MemoryStore, NewEvent, Origin};
use retold::runner::{Cluster, MultiThread, MultiThreadOptions};
use retold::system::{
    Context, Finding, FindingKind, Follower, Goal, Health, Infrastructure, OnFailure, Outbox,
    Runner, System, Trouble,
};
use tracing::field::{Field, Visit};
use tracing::{Event as TracingEvent, Level, Metadata, Subscriber, span};

use crate::faulty::{Faults, FaultyStore};
use crate::nodes::options;
use crate::patience::{PATIENCE, until};
use crate::runners::{Setting, on_every_runner};
use crate::shop::{Order, Placed, Stock, memory, one_way, place, reservations};

async fn refuse(_: &Placed, _: &mut Context) -> retold::Result<()> {
    Err(retold::Error::Refused("it cannot be had".into()))
}

/// Returns a shop in which one follower parks everything and one stops at the first event.
fn broken_shop() -> System {
    let parking = Follower::new("parking").follows("orders").on(refuse);
    System::new("shop")
        .application("orders", |app| app.aggregate::<Order>())
        .application("stock", |app| {
            app.aggregate::<Stock>()
                .follower(parking.on_failure(OnFailure::Park))
                .follower(Follower::new("stopping").follows("orders").on(refuse))
        })
        .build()
        .unwrap()
}

fn broken_view(attempts: &'static AtomicU32) -> Arc<dyn ViewStore> {
    let placed = Projection::new("placed", 1, "orders").on::<Placed>(|_: &mut u64, _| {
        attempts.fetch_add(1, Ordering::SeqCst);
        Err("it cannot be counted".into())
    });
    MemoryView::<u64>::new().keep(placed).unwrap()
}

/// An event with the topic of `Mail` and a different shape.
#[derive(Event, Serialize, Deserialize)]
#[event(topic = "Mail")]
struct NoMail {
    number: u32,
}

#[derive(Event, Serialize, Deserialize, Debug)]
#[event(topic = "Mail")]
struct Mail {
    to: String,
}

fn finding(health: &Health, kind: FindingKind, trouble: Trouble) -> Option<&Finding> {
    let mut findings = health.findings.iter();
    findings.find(|it| it.kind == kind && it.trouble == trouble)
}

/// Checks the health reported by a runner of the broken shop with the broken view.
#[track_caller]
fn check_broken(health: &Health) {
    let (follower, view) = (FindingKind::Follower, FindingKind::View);
    let parked = finding(health, follower, Trouble::Parked).unwrap();
    assert_eq!(parked.name, "stock/parking");
    assert!(
        parked.reason.contains("1 event, the first at position 1"),
        "{parked}"
    );
    assert!(parked.reason.contains("cannot be had"), "{parked}");
    let paused = finding(health, follower, Trouble::Paused).unwrap();
    assert_eq!(paused.name, "stock/stopping");
    assert!(paused.reason.contains("cannot be had"), "{paused}");
    let stopped = finding(health, view, Trouble::Failed).unwrap();
    assert_eq!(stopped.name, "placed");
    assert!(stopped.reason.contains("cannot be counted"), "{stopped}");
    assert_eq!(health.findings.len(), 3, "{health}");
    // The process works nevertheless.
    assert!(health.is_ready() && !health.is_well());
    let text = serde_json::to_string(health).unwrap();
    assert!(
        text.contains(r#""kind":"view","name":"placed","trouble":"failed""#),
        "{text}"
    );
}

async fn everything_that_stopped_is_a_finding(setting: Setting) {
    static ATTEMPTS: AtomicU32 = AtomicU32::new(0);
    let with_view = |it: Infrastructure| it.view(broken_view(&ATTEMPTS));
    let work = MultiThreadOptions::new();
    let runners = setting.start_with(&broken_shop(), with_view, work).await;
    for runner in runners.iter() {
        until("all is well", async || runner.health().await.is_well()).await;
    }
    place(&runners.first().application("orders").unwrap(), "1", "tea").await;
    for runner in runners.iter() {
        until("all have stopped", async || {
            runner.health().await.findings.len() == 3
        })
        .await;
        check_broken(&runner.health().await);
    }
    runners.stop().await;
}

on_every_runner!(
    [memory, sqlite, postgres],
    (everything_that_stopped_is_a_finding,)
);

/// Each node reports the recorded problems of the followers, whichever node holds them.
#[tokio::test]
async fn recorded_problems_are_findings_on_each_node() {
    let store = Infrastructure::new(Arc::new(MemoryStore::new()));
    let system = broken_shop();
    let one = Cluster::join(&system, &store, "one", options()).await;
    let two = Cluster::join(&system, &store, "two", options()).await;
    let (one, two) = (one.unwrap(), two.unwrap());
    place(&one.application("orders").unwrap(), "1", "tea").await;
    for node in [&one, &two] {
        until("both followers are found", async || {
            let health = node.health().await;
            finding(&health, FindingKind::Follower, Trouble::Parked).is_some()
                && finding(&health, FindingKind::Follower, Trouble::Paused).is_some()
        })
        .await;
        assert!(!node.cluster_status().await.is_well());
        assert!(
            node.cluster_status()
                .await
                .to_string()
                .contains("stock/stopping is paused")
        );
    }
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_view_of_another_log_is_a_finding_on_a_node() {
    let view = MemoryView::<u64>::new();
    let counting = || {
        Projection::new("placed", 1, "orders").on::<Placed>(|placed: &mut u64, _| {
            *placed += 1;
            Ok(())
        })
    };
    let system = one_way(reservations());
    let view_store = view.keep(counting()).unwrap();
    let over_a_log = || memory().view(Arc::clone(&view_store));
    let first = MultiThread::start(&system, &over_a_log()).await.unwrap();
    let position = place(&first.application("orders").unwrap(), "1", "tea").await;
    first
        .wait(Goal::shown_by("placed", position), PATIENCE)
        .await
        .unwrap();
    first.stop().await;
    // The same view over the log of another store.
    let other = join_with(&system, &over_a_log()).await;
    until("the view is found", async || {
        finding(&other.health().await, FindingKind::View, Trouble::Failed).is_some()
    })
    .await;
    let health = other.health().await;
    assert!(health.to_string().contains("has diverged"), "{health}");
    other.stop().await;
}

async fn join_with(system: &System, infrastructure: &Infrastructure) -> Cluster {
    let joined = Cluster::join(system, infrastructure, "one", options()).await;
    joined.unwrap()
}

#[tokio::test]
async fn a_store_that_does_not_respond_is_a_finding_about_logs_and_followers() {
    let store = Arc::new(FaultyStore::<Faults>::default());
    let faults = Arc::clone(&store.behaviour);
    let quick = Duration::from_millis(1);
    let options = MultiThreadOptions::new().back_off(quick, quick);
    let system = one_way(reservations());
    let infrastructure = Infrastructure::new(store);
    let runner = MultiThread::start_with(&system, &infrastructure, options);
    let runner = runner.await.unwrap();
    place(&runner.application("orders").unwrap(), "1", "tea").await;
    faults.unavailable.store(u32::MAX / 2, Ordering::SeqCst);
    let orders = runner.application("orders").unwrap();
    let placing = tokio::spawn(async move { place(&orders, "2", "tea").await });
    until("the follower retries", async || {
        finding(
            &runner.health().await,
            FindingKind::Follower,
            Trouble::Retrying,
        )
        .is_some()
    })
    .await;
    faults.unavailable.store(0, Ordering::SeqCst);
    placing.await.unwrap();
    until("it is well again", async || runner.health().await.is_well()).await;
    runner.stop().await;
}

#[tokio::test]
async fn an_outbox_that_cannot_be_read_is_a_finding_while_it_is_open() {
    let infrastructure = memory();
    let runner = MultiThread::start(&one_way(reservations()), &infrastructure)
        .await
        .unwrap();
    let orders = runner.application("orders").unwrap();
    let store = Arc::clone(infrastructure.store_of("orders"));
    let other = Application::builder("orders")
        .store(store)
        .open()
        .await
        .unwrap();
    other.decide((), |()| NoMail { number: 7 }).await.unwrap();

    let mut outbox = Outbox::<Mail>::open(&orders, "mail").await.unwrap();
    assert!(runner.health().await.is_well());
    let (lines, next) = reported(async { outbox.next().await.map(drop) }).await;
    next.unwrap_err();
    assert!(lines.contains("an outbox has stopped"), "{lines}");
    let health = runner.health().await;
    let stopped = finding(&health, FindingKind::Outbox, Trouble::Failed).unwrap();
    assert_eq!(stopped.name, "orders/mail");
    assert!(stopped.reason.contains("Mail"), "{stopped}");
    // Logged once.
    let (lines, next) = reported(async { outbox.next().await.map(drop) }).await;
    next.unwrap_err();
    assert_eq!(lines, "");
    outbox.pass_over().await.unwrap();
    assert!(outbox.next().await.unwrap().is_none());
    assert!(runner.health().await.is_well());
    runner.stop().await;
}

/// Goal: one alarm for each stop, and no flood of alarms. Method: everything is retried immediately
/// and often.
#[tokio::test]
async fn a_stop_is_reported_once_however_often_it_is_retried() {
    static ATTEMPTS: AtomicU32 = AtomicU32::new(0);
    let stock_store = Arc::new(MemoryStore::new());
    let infrastructure = |id: u128| {
        Infrastructure::new(Arc::new(MemoryStore::new()))
            .application_in("stock", stock_store.clone())
            .log_id("orders", LogId::new(Uuid::from_u128(id)))
    };
    let system = one_way(reservations());
    let runner = MultiThread::start(&system, &infrastructure(1))
        .await
        .unwrap();
    let position = place(&runner.application("orders").unwrap(), "1", "tea").await;
    runner
        .wait(Goal::processed("orders", position), PATIENCE)
        .await
        .unwrap();
    runner.stop().await;

    let (lines, ()) = reported(async {
        let options = MultiThreadOptions::new().failed_interval(Duration::from_millis(1));
        let infrastructure = infrastructure(2).view(broken_view(&ATTEMPTS));
        let runner = MultiThread::start_with(&system, &infrastructure, options);
        let runner = runner.await.unwrap();
        place(&runner.application("orders").unwrap(), "1", "tea").await;
        until("both were tried often", async || {
            runner.status().await[0].failures > 5 && ATTEMPTS.load(Ordering::SeqCst) > 5
        })
        .await;
        runner.stop().await;
    })
    .await;
    let count = |line: &str| lines.matches(line).count();
    assert_eq!(count("a follower has stopped"), 1, "{lines}");
    assert_eq!(count("a view has stopped"), 1, "{lines}");
    assert_eq!(lines.lines().count(), 2, "{lines}");
}

/// Returns the errors logged while a future runs, one per line.
async fn reported<T>(future: impl Future<Output = T>) -> (String, T) {
    let lines = Lines::default();
    let guard = tracing::subscriber::set_default(Listener(lines.clone()));
    let done = future.await;
    drop(guard);
    let lines = lines.lock().unwrap().clone();
    (lines, done)
}

type Lines = Arc<Mutex<String>>;

struct Listener(Lines);

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &TracingEvent<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push_str(&(line.0 + "\n"));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

/// Schedules a due timer of an event with this encoding; no log accepts an event without an
/// encoding.
pub(crate) async fn schedule(orders: &Application, key: &str, encoding: &str) {
    let planned = serde_json::json!({ "due": "2020-01-01T00:00:00Z", "event": {
        "stream": null, "topic": "Viewed", "revision": 1, "tags": [],
        "encoding": encoding, "payload": "null",
    }});
    let payload = planned.to_string().into_bytes();
    let new = NewEvent::new(orders.next_event_id(), "retold.scheduled", payload);
    let new = new
        .stream(format!("retold.timer/{key}"))
        .origin(Origin::Library);
    orders.settle(Append::of([new])).await.unwrap();
}

/// Goal: a timer that cannot be fired stays a finding, although all others fire. Method: its event
/// has an encoding that no log accepts.
#[tokio::test]
async fn a_timer_that_cannot_be_fired_is_a_finding() {
    let runner = MultiThread::start(&one_way(reservations()), &memory())
        .await
        .unwrap();
    let orders = runner.application("orders").unwrap();
    for (key, encoding) in [("bad", ""), ("good", "json")] {
        schedule(&orders, key, encoding).await;
    }
    let is_found = async || {
        let health = runner.health().await;
        finding(&health, FindingKind::Timers, Trouble::Parked).is_some()
    };
    until("it is found", is_found).await;
    until("the other fires", async || runner.timers()[0].fired == 1).await;
    assert!(is_found().await);
    let health = runner.health().await;
    let timers = finding(&health, FindingKind::Timers, Trouble::Parked).unwrap();
    assert_eq!(timers.name, "orders");
    assert!(timers.reason.starts_with("1 cannot be fired: "), "{timers}");
    runner.stop().await;
}
