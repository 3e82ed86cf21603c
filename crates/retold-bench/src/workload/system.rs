//! The work of a system on a store: an application follows another, with one small effect per
//! event.

use std::sync::Arc;
use std::time::{Duration, Instant};

use retold::prelude::*;
use retold::recording::{Append, NewEvent, Position};
use retold::retelling::FollowerRetelling;
use retold::runner::MultiThread;
use retold::system::{
    Context, Follower, Goal, Infrastructure, OpenSystem, Opening, Runner, SingleThread, System,
};
use tokio::runtime::Runtime;

use super::contention;
use crate::bench::Bench;
use crate::contender::{Contender, Result, RunFn};
use crate::sample::{Run, Stopwatch};
use crate::subject::{Subject, open_store};

/// Number of upstream events before followers start, where one append covers many.
const BACKLOG_IN_BATCHES: u64 = 50_000;
/// The same, with one append per event.
pub(crate) const BACKLOG_ONE_BY_ONE: u64 = 2_000;
/// The same, in memory.
const BACKLOG_ON_MEMORY: u64 = 50_000;
/// The same, in a test.
pub(crate) const BACKLOG_QUICK: u64 = 100;
/// Number of upstream events per append of the backlog.
const BACKLOG_APPEND: u64 = 1_000;
/// Number of aggregates that the effects are spread over: as many as the default cache holds.
const ITEM_COUNT: u64 = 500;
/// Maximum number of upstream events per append of a batching follower.
const BATCH: usize = 100;
/// Maximum wait for followers before the benchmark fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// An item was ordered.
#[derive(Event, Serialize, Deserialize)]
struct Ordered {
    item: u64,
}

/// An item was reserved.
#[derive(Event, Serialize, Deserialize)]
struct Reserved {
    order: u64,
}

/// The number of reservations of an item.
#[derive(Aggregate, Clone, Default)]
#[aggregate(event = Reserved, key = u64)]
struct ReservedItem {
    reserved: u64,
}

impl Apply<Reserved> for ReservedItem {
    fn apply(&mut self, _: &Reserved) {
        self.reserved += 1;
    }
}

async fn reserve(ordered: &Ordered, context: &mut Context) -> retold::Result<()> {
    let order = context.cause().position().get();
    context
        .execute_or_create(ordered.item, |_: &ReservedItem| Reserved { order })
        .await?;
    Ok(())
}

/// Builds an application that follows another, with up to `batch` upstream events per append.
pub(crate) fn shop(batch: usize) -> Result<System> {
    shop_in_parts(batch, 1)
}

/// The same, with the follower split into this many partitions.
pub(crate) fn shop_in_parts(batch: usize, partitions: u32) -> Result<System> {
    let follower = Follower::new("reservations").follows("orders").on(reserve);
    let follower = follower.partitioned(partitions);
    Ok(System::new("shop")
        .application("orders", |app| app.event::<Ordered>())
        .application("stock", |app| {
            app.aggregate::<ReservedItem>()
                .follower(follower.batch(batch))
        })
        .build()?)
}

/// Places one order, for an item that is a function of `number`.
pub(crate) async fn one_order(orders: &Application, number: u64) -> Result<Position> {
    let item = number % ITEM_COUNT;
    let recorded = orders.decide((), |()| Ordered { item }).await?;
    Ok(recorded.position().ok_or("nothing was recorded")?)
}

/// Returns all workloads of this module on `subject`.
pub(crate) fn contenders<'a>(bench: &'a Bench, subject: &'a Subject) -> Vec<Contender<'a>> {
    let is_quick = bench.sizes.budget < Duration::from_millis(100);
    let backlog = |full| if is_quick { BACKLOG_QUICK } else { full };
    let one_by_one = match subject.label {
        "memory" => BACKLOG_ON_MEMORY,
        _ => BACKLOG_ONE_BY_ONE,
    };
    // Responses of a server are awaited on the runtime that drives all of its sockets.
    let lone = match subject.has_server() {
        true => &bench.many_threads,
        false => &bench.one_thread,
    };
    let many = &bench.many_threads;
    let mut contenders = vec![
        follow_on_one_thread(subject, lone, backlog(one_by_one)),
        follow_on_many(subject, many, backlog(BACKLOG_IN_BATCHES)),
        latency(subject, many),
        retell(subject, many, backlog(BACKLOG_IN_BATCHES)),
    ];
    contenders.extend(contention::contenders(subject, many, is_quick));
    contenders
}

/// A separate system for each run, with a backlog in its upstream log.
pub(crate) async fn with_backlog(
    subject: &Subject,
    workload: &str,
    run: u64,
    backlog: u64,
) -> Result<Infrastructure> {
    let store = open_store(&subject.url(&format!("{workload}-{run}"))).await?;
    let infrastructure = Infrastructure::new(store);
    let open = OpenSystem::open(&shop(1)?, &infrastructure, Opening::Write).await?;
    let orders = open.application("orders")?;
    for first in (0..backlog).step_by(BACKLOG_APPEND as usize) {
        let numbers = first..(first + BACKLOG_APPEND).min(backlog);
        let events = numbers.map(|number| {
            let payload = format!(r#"{{"item":{}}}"#, number * 7 % ITEM_COUNT);
            NewEvent::new(orders.next_event_id(), "Ordered", payload)
                .stream(format!("Order/{number}"))
                .time(orders.now())
        });
        orders.recorder().append(Append::of(events)).await?;
    }
    Ok(infrastructure)
}

/// A single thread, with one append per upstream event.
fn follow_on_one_thread<'a>(
    subject: &'a Subject,
    runtime: &'a Runtime,
    backlog: u64,
) -> Contender<'a> {
    let name = "follow-single-thread";
    Contender::new(name, subject.label, "upstream events", move || {
        let mut number = 0;
        Ok(Box::new(move |_| {
            number += 1;
            runtime.block_on(async {
                let infrastructure = with_backlog(subject, name, number, backlog).await?;
                let start = Instant::now();
                let runner = SingleThread::start(&shop(1)?, &infrastructure).await?;
                let took = start.elapsed();
                check_effects(runner.open_system(), backlog).await?;
                let mut run = Run::new();
                run.add(took, backlog);
                Ok(run.took(took))
            })
        }) as RunFn<'a>)
    })
}

/// Many threads, with one append per up to [`BATCH`] upstream events.
fn follow_on_many<'a>(subject: &'a Subject, runtime: &'a Runtime, backlog: u64) -> Contender<'a> {
    let name = "follow-multi-thread-100";
    Contender::new(name, subject.label, "upstream events", move || {
        let mut number = 0;
        Ok(Box::new(move |_| {
            number += 1;
            runtime.block_on(async {
                let infrastructure = with_backlog(subject, name, number, backlog).await?;
                let start = Instant::now();
                let runner = MultiThread::start(&shop(BATCH)?, &infrastructure).await?;
                let orders = runner.application("orders")?;
                let head = orders.head().await?.position().ok_or("no backlog")?;
                runner
                    .wait(Goal::processed("orders", head), PATIENCE)
                    .await?;
                let took = start.elapsed();
                check_effects(runner.open_system(), backlog).await?;
                drop(runner.stop().await);
                let mut run = Run::new();
                run.add(took, backlog);
                Ok(run.took(took))
            })
        }) as RunFn<'a>)
    })
}

/// The time from the result of a command until the follower has recorded its effect, without other
/// load.
fn latency<'a>(subject: &'a Subject, runtime: &'a Runtime) -> Contender<'a> {
    let name = "append-to-processed";
    Contender::new(name, subject.label, "commands", move || {
        let infrastructure = runtime.block_on(with_backlog(subject, name, 0, 0))?;
        let runner = runtime.block_on(MultiThread::start(&shop(1)?, &infrastructure))?;
        let runner = Arc::new(runner);
        Ok(Box::new(move |budget| {
            let runner = Arc::clone(&runner);
            runtime.block_on(async move {
                let orders = runner.application("orders")?;
                let mut run = Run::new();
                let watch = Stopwatch::start(budget);
                while run.operation_count() == 0 || watch.has_time() {
                    let position = one_order(&orders, run.operation_count()).await?;
                    let start = Instant::now();
                    runner
                        .wait(Goal::processed("orders", position), PATIENCE)
                        .await?;
                    run.add(start.elapsed(), 1);
                }
                Ok(run.took(watch.elapsed()))
            })
        }) as RunFn<'a>)
    })
}

/// Decides the effects of a follower again and compares them.
fn retell<'a>(subject: &'a Subject, runtime: &'a Runtime, backlog: u64) -> Contender<'a> {
    let name = "retell";
    Contender::new(name, subject.label, "effects", move || {
        let infrastructure = runtime.block_on(async {
            let infrastructure = with_backlog(subject, name, 0, backlog).await?;
            let open = OpenSystem::open(&shop(BATCH)?, &infrastructure, Opening::Write).await?;
            for (_, mut pipeline) in open.pipelines() {
                while pipeline.step().await? != retold::system::Step::Idle {}
                pipeline.flush_idle().await?;
            }
            Result::Ok(infrastructure)
        })?;
        Ok(Box::new(move |_| {
            runtime.block_on(async {
                let open = OpenSystem::open(&shop(1)?, &infrastructure, Opening::ReadOnly).await?;
                let start = Instant::now();
                let mut effects = 0;
                for follower in FollowerRetelling::all(&open).await? {
                    let report = follower.run().await?;
                    if report.difference.is_some() {
                        return Err(report.to_string().into());
                    }
                    effects += report.effects;
                }
                let took = start.elapsed();
                let mut run = Run::new();
                run.add(took, effects);
                Ok(run.took(took))
            })
        }) as RunFn<'a>)
    })
}

/// Checks that each of these upstream events has had its effect.
pub(crate) async fn check_effects(open: &OpenSystem, expected: u64) -> Result<()> {
    let stock = open.application("stock")?;
    let effects = stock.events::<Reserved>().read().collect().await?.len() as u64;
    match effects == expected {
        true => Ok(()),
        false => Err(format!("{effects} effects are recorded for {expected} events").into()),
    }
}
