//! The work of an application: commands to an aggregate, and loading one.

use std::time::{Duration, Instant};

use retold::prelude::*;
use tokio::runtime::Runtime;

use super::upcast::load_older;
use crate::asked::Read;
use crate::bare::BareLog;
use crate::bench::Bench;
use crate::contender::{Contender, Result, RunFn};
use crate::sample::{Run, Stopwatch};
use crate::subject::{Subject, open_store};

/// Number of events of the loaded aggregate.
pub(super) const EVENTS_LOADED: u32 = 100;
/// Number of tasks that send commands concurrently, each to its own aggregate.
const WRITER_COUNT: usize = 64;
/// Number of commands to an aggregate before its writer begins another, so that none grows without
/// bound.
const COMMANDS_PER_BASKET: u32 = 100;

/// The events of a basket.
#[derive(Event, Serialize, Deserialize)]
enum BasketEvent {
    LineAdded { product: String, quantity: u32 },
    LineRemoved { product: String },
}

/// A shopping basket.
#[derive(Aggregate, Clone, Default)]
#[aggregate(event = BasketEvent)]
struct Basket {
    line_count: u32,
    quantity: u64,
}

impl Apply<BasketEvent> for Basket {
    fn apply(&mut self, event: &BasketEvent) {
        match event {
            BasketEvent::LineAdded { quantity, .. } => {
                self.line_count += 1;
                self.quantity += u64::from(*quantity);
            }
            BasketEvent::LineRemoved { product } => {
                debug_assert!(!product.is_empty());
                self.line_count = self.line_count.saturating_sub(1);
            }
        }
    }
}

impl Basket {
    /// Every third command removes a line.
    fn change(&self) -> BasketEvent {
        let product = "espresso cup, white".to_owned();
        if self.line_count % 3 == 2 {
            BasketEvent::LineRemoved { product }
        } else {
            BasketEvent::LineAdded {
                product,
                quantity: 1 + self.line_count % 4,
            }
        }
    }
}

/// Returns all workloads of this module on `subject`.
pub(crate) fn contenders<'a>(bench: &'a Bench, subject: &'a Subject) -> Vec<Contender<'a>> {
    let one = &bench.one_thread;
    let many = &bench.many_threads;
    // Responses of a server are awaited on the runtime that drives all of its sockets.
    let lone = if subject.has_server() { many } else { one };
    let mut contenders = vec![
        execute_cached(subject, one),
        execute_together(subject, many),
        load_aggregate(subject, lone),
        load_older(subject, lone),
    ];
    if let Some(label) = subject.bare_label() {
        contenders.push(select_stream(subject, label, one));
    }
    contenders
}

pub(super) async fn open(
    subject: &Subject,
    workload: &str,
    cache_size: usize,
) -> Result<Application> {
    let store = open_store(&subject.url(workload)).await?;
    let builder = Application::builder("shop").store(store);
    Ok(builder.cache_size(cache_size).open().await?)
}

/// Commands to a cached aggregate, one after the other.
fn execute_cached<'a>(subject: &'a Subject, runtime: &'a Runtime) -> Contender<'a> {
    let name = "execute-cached";
    Contender::new(name, subject.label, "commands", move || {
        Ok(Box::new(move |budget| {
            runtime.block_on(async {
                let shop = open(subject, name, 1_000).await?;
                let watch = Stopwatch::start(budget);
                let run = execute_until(&shop, watch).await?;
                Ok(run.took(watch.elapsed()))
            })
        }) as RunFn<'a>)
    })
}

/// Commands to cached aggregates, by many tasks.
fn execute_together<'a>(subject: &'a Subject, runtime: &'a Runtime) -> Contender<'a> {
    let name = "execute-64";
    Contender::new(name, subject.label, "commands", move || {
        Ok(Box::new(move |budget| {
            runtime.block_on(async {
                let shop = open(subject, name, 1_000).await?;
                let watch = Stopwatch::start(budget);
                let tasks: Vec<_> = (0..WRITER_COUNT)
                    .map(|_| {
                        let shop = shop.clone();
                        tokio::spawn(async move { execute_until(&shop, watch).await })
                    })
                    .collect();
                let mut all = Run::new();
                for task in tasks {
                    all.merge(&task.await??);
                }
                Ok(all.took(watch.elapsed()))
            })
        }) as RunFn<'a>)
    })
}

async fn execute_until(shop: &Application, watch: Stopwatch) -> Result<Run> {
    let mut run = Run::new();
    while run.operation_count() == 0 || watch.has_time() {
        let basket = shop.create::<Basket>(Basket::default().change()).await?;
        for _ in 0..COMMANDS_PER_BASKET {
            let start = Instant::now();
            shop.execute(basket, Basket::change).await?;
            run.add(start.elapsed(), 1);
            // A command that completes without waiting would starve the other writers.
            tokio::task::yield_now().await;
            if !watch.has_time() {
                break;
            }
        }
    }
    Ok(run)
}

/// Commands to the one basket that all processes change.
pub(super) async fn change_one_basket(shop: &Application, watch: Stopwatch) -> Result<Run> {
    let basket = Id::<Basket>::new(Uuid::nil());
    let mut run = Run::new();
    while run.operation_count() == 0 || watch.has_time() {
        let start = Instant::now();
        shop.execute_or_create(basket, Basket::change).await?;
        run.add(start.elapsed(), 1);
    }
    Ok(run)
}

/// An application without a cache, with a basket of [`EVENTS_LOADED`] events.
async fn with_basket(subject: &Subject, name: &str) -> Result<(Application, Id<Basket>)> {
    let shop = open(subject, name, 0).await?;
    let mut state = Basket::default();
    let events: Vec<_> = (0..EVENTS_LOADED)
        .map(|_| {
            let event = state.change();
            state.apply(&event);
            event
        })
        .collect();
    let basket = shop.create::<Basket>(events).await?;
    Ok((shop, basket))
}

/// The rows of loading the aggregate, read with the bare driver.
fn select_stream<'a>(
    subject: &'a Subject,
    label: &'static str,
    runtime: &'a Runtime,
) -> Contender<'a> {
    let name = "load-aggregate-100";
    Contender::new(name, label, "loads", move || {
        let name = format!("bare-{name}");
        let (_, basket) = runtime.block_on(with_basket(subject, &name))?;
        let mut log = BareLog::open(&subject.url(&name), "shop")?;
        let stream = Read::Stream(basket.stream().into());
        Ok(Box::new(move |budget: Duration| {
            let mut run = Run::new();
            let watch = Stopwatch::start(budget);
            while run.operation_count() == 0 || watch.has_time() {
                let start = Instant::now();
                let found = log.read(&stream)?;
                run.add(start.elapsed(), 1);
                if found.events != u64::from(EVENTS_LOADED) {
                    return Err(format!("{stream:?} has {found:?}").into());
                }
            }
            Ok(run.took(watch.elapsed()))
        }) as RunFn<'a>)
    })
}

/// Loads an aggregate of [`EVENTS_LOADED`] events from its stream, without cache and snapshot.
fn load_aggregate<'a>(subject: &'a Subject, runtime: &'a Runtime) -> Contender<'a> {
    let name = "load-aggregate-100";
    Contender::new(name, subject.label, "loads", move || {
        let (shop, basket) = runtime.block_on(with_basket(subject, name))?;
        Ok(Box::new(move |budget: Duration| {
            let shop = shop.clone();
            let load = runtime.spawn(async move {
                let mut run = Run::new();
                let watch = Stopwatch::start(budget);
                while run.operation_count() == 0 || watch.has_time() {
                    let start = Instant::now();
                    let loaded = shop.get(basket).await?;
                    run.add(start.elapsed(), 1);
                    let version = loaded.version.get();
                    if version != u64::from(EVENTS_LOADED) {
                        return Err(format!("the aggregate has version {version}").into());
                    }
                }
                Result::Ok(run.took(watch.elapsed()))
            });
            runtime.block_on(load)?
        }) as RunFn<'a>)
    })
}
