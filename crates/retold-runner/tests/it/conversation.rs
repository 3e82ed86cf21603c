//! Spans that trace a conversation: from a command's append to a follower's processing and the
//! appends that result.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use retold::runner::MultiThread;
use retold::system::Runner;
use tracing::span;

use crate::shop::{memory, place, settled, shop};

/// A span with its fields.
#[derive(Clone, Debug)]
struct Seen {
    name: &'static str,
    fields: BTreeMap<&'static str, String>,
}

impl Seen {
    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

/// Collects the spans that were opened.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<Seen>>>);

impl tracing::field::Visit for Seen {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        let text = format!("{value:?}");
        let text = text.trim_matches('"').to_owned();
        self.fields.insert(field.name(), text);
    }
}

impl tracing::Subscriber for Spans {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("retold")
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        let mut seen = Seen {
            name: attributes.metadata().name(),
            fields: BTreeMap::new(),
        };
        attributes.record(&mut seen);
        let mut spans = self.0.lock().unwrap();
        spans.push(seen);
        span::Id::from_u64(spans.len() as u64)
    }

    fn record(&self, id: &span::Id, record: &span::Record<'_>) {
        let mut spans = self.0.lock().unwrap();
        let index = usize::try_from(id.into_u64()).unwrap() - 1;
        if let Some(seen) = spans.get_mut(index) {
            record.record(seen);
        }
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

async fn order() {
    let runner = MultiThread::start(&shop(), &memory()).await.unwrap();
    place(&runner.application("orders").unwrap(), "1", "tea").await;
    settled(&runner).await;
    assert!(runner.stop().await.is_clean());
}

#[test]
fn a_command_is_followed_to_its_effects() {
    let spans = Spans::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    tracing::subscriber::with_default(spans.clone(), || {
        // Another test may reach a span first while no subscriber listens, and tracing then caches
        // that; so every span is reached once, and tracing's cache is rebuilt.
        runtime.block_on(order());
        tracing::callsite::rebuild_interest_cache();
        spans.0.lock().unwrap().clear();
        runtime.block_on(order());
    });
    let spans = spans.0.lock().unwrap();
    let find = |name: &str, is_meant: &dyn Fn(&Seen) -> bool| -> Seen {
        let mut named = spans.iter().filter(|it| it.name == name);
        let found = named.find(|it| is_meant(it));
        found
            .unwrap_or_else(|| panic!("no {name} in {spans:#?}"))
            .clone()
    };
    let placed = find("retold.append", &|it| {
        it.field("log") == "orders" && it.field("correlation") == it.field("event")
    });
    let (event, correlation) = (placed.field("event"), placed.field("correlation"));
    assert_ne!(event, "");
    assert_ne!(placed.field("position"), "");
    let answered = find("retold.process", &|it| {
        it.field("application") == "stock" && it.field("event") == event
    });
    assert_eq!(answered.field("correlation"), correlation);
    assert_eq!(answered.field("upstream"), "orders");
    assert_eq!(answered.field("follower"), "reservations@1");
    let effect = find("retold.append", &|it| {
        it.field("log") == "stock" && it.field("causation") == event
    });
    assert_eq!(effect.field("correlation"), correlation);
}
