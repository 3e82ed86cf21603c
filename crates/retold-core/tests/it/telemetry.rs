//! The telemetry of an application, under its documented names.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};
use retold_core::application::{Application, telemetry};
use retold_core::domain::{Aggregate, Apply, Id, SnapshotRule};
use retold_core::recording::MemoryStore;
use serde::{Deserialize, Serialize};
use tracing::span;

use crate::accounts::{Account, AccountEvent, deposited, opened};

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

/// Records the spans that were opened.
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
fn metrics_and_spans_show_what_was_done() {
    let (counts, spans) = (Counts::default(), Spans::default());
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.build().unwrap();
    tracing::subscriber::with_default(spans.clone(), || {
        // Another test may be the first to reach a span while there is no subscriber, and tracing
        // then caches that there is none; so every span is reached once, and tracing rebuilds its
        // cache.
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

/// Records the warnings that were logged.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Fields(String);
        impl tracing::field::Visit for Fields {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0 += &format!(" {}={value:?}", field.name());
            }
        }
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
    }
}

/// Has a float that is not a number, which JSON cannot represent.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Mean(Option<f64>);

impl Apply<AccountEvent> for Mean {
    fn apply(&mut self, _: &AccountEvent) {
        self.0 = Some(f64::NAN);
    }
}

impl Aggregate for Mean {
    type Event = AccountEvent;
    type Key = String;
    const TYPE: &'static str = "Mean";
    const SNAPSHOTS: Option<SnapshotRule<Self>> = Some(SnapshotRule::new(1, 1));
}

#[test]
fn a_state_that_is_not_fit_for_snapshots_is_logged_once() {
    let (counts, warnings) = (Counts::default(), Warnings::default());
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.build().unwrap();
    let work = || async {
        let builder = Application::builder("bank").store(Arc::new(MemoryStore::new()));
        let bank = builder.open().await.unwrap();
        for key in ["a", "b"] {
            for _ in 0..3 {
                bank.execute_or_create(Id::<Mean>::from(key), |_| deposited(1))
                    .await
                    .unwrap();
            }
            let log = bank.recorder();
            let found = log.snapshot(&format!("Mean/{key}"), None).await.unwrap();
            assert_eq!(found, None);
        }
    };
    tracing::subscriber::with_default(warnings.clone(), || {
        runtime.block_on(work());
        tracing::callsite::rebuild_interest_cache();
        warnings.0.lock().unwrap().clear();
        metrics::with_local_recorder(&counts, || runtime.block_on(work()));
    });
    assert_eq!(counts.of(telemetry::SNAPSHOTS_FAILED), 6);
    let warnings = warnings.0.lock().unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    for part in ["Mean/a", "the float is NaN", "a snapshot was not taken"] {
        assert!(
            warnings[0].contains(part),
            "{part:?} is not in: {warnings:?}"
        );
    }
}
