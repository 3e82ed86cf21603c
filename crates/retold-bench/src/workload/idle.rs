//! The cost of an idle system: the number of context switches of the process per second.

use std::time::Duration;

use retold::runner::{Cluster, ClusterOptions, MultiThread};
use retold::system::{Infrastructure, Runner};
use tokio::runtime::Runtime;

use super::system::{one_order, shop};
use crate::bench::Bench;
use crate::contender::{Contender, Result, RunFn};
use crate::sample::{Run, Stopwatch};
use crate::subject::{Subject, open_store};

/// Number of budgets of other workloads that a run takes, because little happens.
const BUDGETS: u32 = 8;
/// Number of budgets to wait until everything has caught up and is quiet.
const BUDGETS_BEFORE: u32 = 4;

/// The idle runners to measure.
#[derive(Clone, Copy)]
enum Idle {
    MultiThread,
    Cluster,
}

/// Returns all workloads of this module on `subject`; none if the operating system does not count
/// context switches.
pub(crate) fn contenders<'a>(bench: &'a Bench, subject: &'a Subject) -> Vec<Contender<'a>> {
    if switches().is_err() {
        return Vec::new();
    }
    let runtime = &bench.many_threads;
    vec![
        rest(subject, runtime, "idle runner", Idle::MultiThread),
        rest(subject, runtime, "idle node", Idle::Cluster),
    ]
}

fn rest<'a>(
    subject: &'a Subject,
    runtime: &'a Runtime,
    workload: &'static str,
    idle: Idle,
) -> Contender<'a> {
    Contender::new(workload, subject.label, "switches", move || {
        let mut number = 0;
        Ok(Box::new(move |budget| {
            number += 1;
            let url = subject.url(&format!("{}-{number}", workload.replace(' ', "-")));
            runtime.block_on(async {
                let infrastructure = Infrastructure::new(open_store(&url).await?);
                rest_once(&infrastructure, idle, budget).await
            })
        }) as RunFn<'_>)
    })
}

async fn rest_once(on: &Infrastructure, idle: Idle, budget: Duration) -> Result<Run> {
    let shop = shop(1)?;
    let runner: Box<dyn Runner> = match idle {
        Idle::MultiThread => Box::new(MultiThread::start(&shop, on).await?),
        Idle::Cluster => Box::new(Cluster::join(&shop, on, "one", ClusterOptions::new()).await?),
    };
    one_order(&runner.application("orders")?, 1).await?;
    let run = count(budget).await;
    runner.stop().await;
    run
}

async fn count(budget: Duration) -> Result<Run> {
    tokio::time::sleep(budget * BUDGETS_BEFORE).await;
    let (before, watch) = (switches()?, Stopwatch::start(budget));
    tokio::time::sleep(budget * BUDGETS).await;
    let (after, elapsed) = (switches()?, watch.elapsed());
    let mut run = Run::new();
    run.add(elapsed, after.saturating_sub(before));
    Ok(run.took(elapsed))
}

/// Returns the number of context switches of all threads of this process, voluntary or not.
fn switches() -> Result<u64> {
    let mut sum = 0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        // A thread that has ended in the meantime is not idle.
        let status = std::fs::read_to_string(thread?.path().join("status"));
        for line in status.unwrap_or_default().lines() {
            if let Some((name, count)) = line.split_once(':')
                && name.ends_with("voluntary_ctxt_switches")
            {
                sum += count.trim().parse::<u64>()?;
            }
        }
    }
    Ok(sum)
}
