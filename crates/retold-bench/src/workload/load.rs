//! Writing the log of orders, in batches: each time in a separate process, so that its peak memory
//! is that of this workload alone.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use retold::store_url::StoreUrl;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use crate::bare::BareLog;
use crate::bench::{Bench, write_orders};
use crate::contender::{Measured, Result};
use crate::dataset::Dataset;
use crate::machine::peak_memory;
use crate::sample::{Measurement, Run};
use crate::subject::{Subject, open_log, whole_text};

/// Name of the only workload of this module.
pub(crate) const NAME: &str = "load";

/// No round of loads begins after the previous rounds took longer than this. A slow disk makes each
/// round take minutes, and the whole must end within ten.
const ROUNDS_TIME_MAX: Duration = Duration::from_secs(100);

/// What writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Loader {
    /// The store.
    Store,
    /// The bare driver.
    Bare,
}

/// The result that the loading process sends to its parent.
#[derive(Debug, Serialize, Deserialize)]
struct Loaded {
    /// Latency of each append, in nanoseconds.
    latencies_ns: Vec<u64>,
    /// Peak memory of the process, in bytes.
    peak_memory: Option<u64>,
}

/// Loads every subject and its bare driver in turn. The log written by the first run of a store is
/// kept for the reading workloads.
///
/// # Errors
///
/// If a process cannot be started or fails.
pub(crate) fn measure(bench: &Bench) -> Result<Vec<Measured>> {
    let mut contenders: Vec<(&Subject, Loader)> = Vec::new();
    for subject in &bench.subjects {
        contenders.push((subject, Loader::Store));
        if subject.bare_label().is_some() {
            contenders.push((subject, Loader::Bare));
        }
    }
    let mut runs: Vec<Vec<Run>> = vec![Vec::new(); contenders.len()];
    let mut peaks: Vec<Option<u64>> = vec![None; contenders.len()];
    let start = Instant::now();
    for ordinal in 0..bench.sizes.load_run_count {
        if ordinal > 0 && start.elapsed() > ROUNDS_TIME_MAX {
            break;
        }
        for (index, (subject, loader)) in contenders.iter().enumerate() {
            let url = match loader {
                Loader::Store => subject.url(&format!("load-{ordinal}")),
                Loader::Bare => subject.url(&format!("bare-load-{ordinal}")),
            };
            let loaded = load_in_child(&url, *loader, bench.sizes.dataset)?;
            peaks[index] = peaks[index].max(loaded.peak_memory);
            runs[index].push(run_of(&loaded, bench.sizes.dataset));
            if ordinal == 0 && *loader == Loader::Store && subject.is_on_disk() {
                bench.keep_orders(subject, url)?;
            } else if let Some(file) = url.file() {
                remove(file)?;
            }
        }
    }
    let measured = contenders.iter().zip(&runs).zip(peaks);
    Ok(measured
        .map(|(((subject, loader), runs), peak_memory)| Measured {
            workload: NAME,
            store: match loader {
                Loader::Store => subject.label,
                Loader::Bare => subject.bare_label().unwrap_or_default(),
            },
            unit: "events",
            measurement: Measurement::of(runs),
            peak_memory,
        })
        .collect())
}

fn load_in_child(url: &StoreUrl, loader: Loader, dataset: Dataset) -> Result<Loaded> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["load-alone", &whole_text(url)]);
    command.args([
        "--loader",
        match loader {
            Loader::Store => "store",
            Loader::Bare => "bare",
        },
    ]);
    if dataset == Dataset::QUICK {
        command.arg("--quick");
    }
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("the load of {url} in a separate process failed").into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Runs the loading process: loads, and prints the result.
///
/// # Errors
///
/// Errors of the store.
pub(crate) fn load_alone(
    runtime: &Runtime,
    url: &StoreUrl,
    loader: Loader,
    dataset: Dataset,
) -> Result<()> {
    let mut latencies_ns = Vec::new();
    let observe = |latency: Duration| {
        latencies_ns.push(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    };
    match loader {
        Loader::Store => runtime.block_on(async {
            let recorder = open_log(url).await?;
            write_orders(&recorder, dataset, observe).await
        })?,
        Loader::Bare => {
            let mut log = BareLog::create(runtime, url)?;
            log.write_orders(dataset, observe)?;
        }
    }
    let loaded = Loaded {
        latencies_ns,
        peak_memory: peak_memory(),
    };
    println!("{}", serde_json::to_string(&loaded)?);
    Ok(())
}

fn run_of(loaded: &Loaded, dataset: Dataset) -> Run {
    let mut run = Run::new();
    let mut total = Duration::ZERO;
    for (batch, nanos) in dataset.batches().zip(&loaded.latencies_ns) {
        let latency = Duration::from_nanos(*nanos);
        run.add(latency, batch.end - batch.start);
        total += latency;
    }
    run.took(total)
}

/// Removes a SQLite file and its companion files.
fn remove(file: &std::path::Path) -> Result<()> {
    for suffix in ["", "-wal", "-shm"] {
        let mut path = file.as_os_str().to_owned();
        path.push(suffix);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}
