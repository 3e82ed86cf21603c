//! What a system costs that has nothing to do: how often the threads of its process are switched to and from.

#![cfg(target_os = "linux")]

use std::env;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use retold::runner::{Cluster, ClusterOptions, MultiThread};

use crate::place::open;
use crate::shop::{place, settled, shop};

/// Tells a child its store; absent in the parent.
const URL: &str = "RETOLD_RUNNER_IDLE_CHILD_OF";
/// Which runner it is to start.
const RUNNER: &str = "RETOLD_RUNNER_IDLE_CHILD";
/// What a child prints before its figure.
const FIGURE: &str = "switches a second: ";

/// Until what a start leaves to do is done.
const SETTLING: Duration = Duration::from_secs(6);
/// As long as this is counted.
const COUNTING: Duration = Duration::from_secs(6);

/// The child: rests, and prints how often it was switched. Without a parent it does nothing.
#[test]
fn child() {
    let Ok(url) = env::var(URL) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let infrastructure = open(&url).await;
        let rested = match env::var(RUNNER).as_deref() {
            Ok("node") => {
                let shop = shop();
                let joined = Cluster::join(&shop, &infrastructure, "one", ClusterOptions::new());
                let node = joined.await.unwrap();
                place(&node.application("orders").unwrap(), "1", "tea").await;
                crate::nodes::settled(&node).await;
                rest().await
            }
            _ => {
                let runner = MultiThread::start(&shop(), &infrastructure).await.unwrap();
                place(&runner.application("orders").unwrap(), "1", "tea").await;
                settled(&runner).await;
                rest().await
            }
        };
        println!("\n{FIGURE}{rested:.1}");
    });
}

/// Switches a second, while nothing is to be done.
async fn rest() -> f64 {
    tokio::time::sleep(SETTLING).await;
    let (before, begun) = (switches(), Instant::now());
    tokio::time::sleep(COUNTING).await;
    (switches() - before) as f64 / begun.elapsed().as_secs_f64()
}

fn switches() -> u64 {
    let threads = fs::read_dir("/proc/self/task").unwrap();
    let statuses = threads.map(|it| fs::read_to_string(it.unwrap().path().join("status")).unwrap());
    let counts = statuses.map(|status| {
        let counts = status.lines().filter_map(|line| {
            let (name, count) = line.split_once(':')?;
            let is_meant = name.ends_with("voluntary_ctxt_switches");
            is_meant.then(|| count.trim().parse::<u64>().unwrap())
        });
        counts.sum::<u64>()
    });
    counts.sum()
}

/// What a child of its own measures. Whatever else the machine does makes a process that rests wake no more often.
fn measured(runner: &str) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("shop.db").display());
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "idle::child", "--test-threads=1", "--nocapture"])
        .env(URL, &url)
        .env(RUNNER, runner)
        .output()
        .unwrap();
    let output = String::from_utf8(child.stdout).unwrap();
    let figure = output.lines().find_map(|line| line.strip_prefix(FIGURE));
    let figure = figure
        .unwrap_or_else(|| panic!("{output}"))
        .parse()
        .unwrap();
    println!("{runner}: {figure} switches a second");
    figure
}

// A machine that is busy takes the processor away now and then, which is a switch too: so the bounds are twice what a
// quiet one shows.

#[test]
fn an_idle_runner_hardly_wakes() {
    assert!(measured("runner") < 20.0);
}

#[test]
fn an_idle_node_hardly_wakes() {
    assert!(measured("node") < 40.0);
}
