//! What an application tells of its work, under the names that its documentation gives.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};
use retold_core::application::{Application, telemetry};
use retold_core::domain::id::Id;
use retold_core::recording::memory::MemoryStore;
use tracing::span;

use crate::accounts::{Account, deposited, opened};

/// Counts by name.
#[derive(Default)]
struct Counts(Mutex<BTreeMap<String, Arc<Count>>>);

#[derive(Default)]
struct Count(AtomicU64);

impl CounterFn for Count {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }

    fn absolute(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

impl Counts {
    fn of(&self, name: &str) -> u64 {
        let counts = self.0.lock().unwrap();
        counts
            .get(name)
            .map_or(0, |it| it.0.load(Ordering::Relaxed))
    }
}

impl metrics::Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mut counts = self.0.lock().unwrap();
        let count = counts.entry(key.name().into()).or_default();
        Counter::from_arc(Arc::clone(count))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// Remembers the spans that were opened.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Spans {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("retold")
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        struct Fields(String);
        impl tracing::field::Visit for Fields {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0 += &format!(" {}={value:?}", field.name());
            }
        }
        let mut fields = Fields(attributes.metadata().name().into());
        attributes.record(&mut fields);
        let mut spans = self.0.lock().unwrap();
        spans.push(fields.0);
        span::Id::from_u64(spans.len() as u64)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

async fn work() {
    let store = Arc::new(MemoryStore::new());
    let here = Application::builder("bank").store(store);
    let here = here.open().await.unwrap();
    let there = here.another("bank").open().await.unwrap();
    let id = Id::<Account>::from("1");
    let open = here.execute_or_create(&id, |_| opened("ann"));
    open.command_id("open").await.unwrap();
    there.execute(&id, |_| deposited(5)).await.unwrap();
    // Decided on an old state: one conflict, one retry.
    here.execute(&id, |_| deposited(5)).await.unwrap();
    let refused = here.execute(&id, |account| account.withdraw(11));
    refused.await.unwrap_err();
    let repeated = there.execute(&id, |_| opened("ann")).command_id("open");
    assert!(repeated.await.unwrap().is_repeated());
    for bank in [&here, &there] {
        let many = bank.execute(&id, |_| vec![deposited(1); 4]);
        many.await.unwrap();
    }
    let other = here.another("bank").open().await.unwrap();
    other.get(&id).await.unwrap();
}

#[test]
fn metrics_and_spans_tell_what_was_done() {
    let (counts, spans) = (Counts::default(), Spans::default());
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.build().unwrap();
    tracing::subscriber::with_default(spans.clone(), || {
        // Another test may be the first to reach a span while nobody listens, and tracing then keeps
        // that nobody does; so every span is reached once, and tracing asked to look again.
        runtime.block_on(work());
        tracing::callsite::rebuild_interest_cache();
        spans.0.lock().unwrap().clear();
        metrics::with_local_recorder(&counts, || {
            telemetry::describe_metrics();
            runtime.block_on(work());
        });
    });
    let check = |name: &str, count: u64| assert_eq!(counts.of(name), count, "{name}");
    check(telemetry::APPENDS, 5);
    check(telemetry::EVENTS, 11);
    check(telemetry::CONFLICTS, 2);
    check(telemetry::RETRIES, 2);
    check(telemetry::SETTLES, 0);
    check(telemetry::REFUSALS, 1);
    check(telemetry::REPEATS, 1);
    check(telemetry::CACHE_HITS, 4);
    check(telemetry::CACHE_MISSES, 3);
    check(telemetry::SNAPSHOTS_TAKEN, 1);
    check(telemetry::SNAPSHOTS_USED, 1);
    check(telemetry::SNAPSHOTS_IGNORED, 0);
    check(telemetry::SNAPSHOTS_FAILED, 0);
    let spans = spans.0.lock().unwrap();
    let first = "retold.execute log=\"bank\" stream=Account/1 command=\"open\"";
    assert_eq!(spans[0], first);
    assert!(
        spans[1].starts_with("retold.load log=\"bank\" stream=Account/1"),
        "{spans:?}"
    );
    let append = spans.iter().find(|it| it.starts_with("retold.append "));
    let append = append.unwrap();
    let (head, conversation) = append.split_once(" correlation=").unwrap();
    assert!(
        head.starts_with("retold.append log=\"bank\" events=1 event="),
        "{append}"
    );
    assert!(conversation.ends_with(" causation=\"open\""), "{append}");
}
