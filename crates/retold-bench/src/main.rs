//! Workloads on any store, compared with the bare driver in interleaved runs.
//!
//! `cargo xtask bench` runs it optimized; `--quick` runs it with small sizes, as a test. Rely on
//! the ratios: absolute figures depend on the machine, whose properties are printed with them.

mod asked;
mod dataset;
mod machine;
mod sample;

mod contender;

mod subject;

mod bare;
mod bench;

mod workload;

mod target;

mod report;
mod tail;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use bench::{Bench, Sizes};
use contender::{Contender, Measured, Result, run_by_turns};
use machine::Machine;
use report::Report;
use tail::{Tail, TailPart};
use workload::WorkloadGroup;
use workload::load::{self, Loader};
use workload::processes;

/// Measures Retold's stores and compares them with their bare drivers.
#[derive(Debug, Parser)]
#[command(name = "retold-bench", version)]
struct Options {
    /// Store to measure: memory:NAME; sqlite:DIR for files in a new folder in DIR; postgres: for a
    /// private server; postgres://… for schemas in a database, which are not removed. May be
    /// repeated. Default: the first two, in a temporary folder.
    #[arg(long = "store", value_name = "URL")]
    stores: Vec<String>,

    /// Run only workloads whose name, or the name of whose group, begins with NAME. May be
    /// repeated. Groups: append, load, read, condition, application, system, rebuild, processes,
    /// idle.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,

    /// Use small sizes: shows that everything runs; the figures are meaningless.
    #[arg(long)]
    quick: bool,

    /// Number of runs of each workload; the median counts.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: Option<u16>,

    /// Write the report as JSON to FILE, or print it instead of the table.
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    json: Option<Option<PathBuf>>,

    /// Exit with code 1 if a target is missed.
    #[arg(long)]
    check: bool,

    #[command(subcommand)]
    part: Option<BenchCommand>,
}

/// Commands that the program starts itself.
#[derive(Debug, Subcommand)]
enum BenchCommand {
    /// Loads one store in its own process.
    #[command(hide = true)]
    LoadAlone {
        url: String,
        #[arg(long)]
        loader: Loader,
        #[arg(long)]
        quick: bool,
    },
    /// Writes or follows as one of several processes, controlled through standard input.
    #[command(hide = true)]
    OtherProcess {
        part: processes::ProcessRole,
        url: String,
        log: String,
        number: u64,
    },
    /// Runs processes that write to one log and others that follow it, and counts skipped,
    /// duplicate and lost events.
    Tail(Tail),
    /// One of these processes.
    #[command(hide = true, subcommand)]
    TailPart(TailPart),
}

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = match &options.part {
        Some(BenchCommand::LoadAlone { url, loader, quick }) => load_alone(url, *loader, *quick),
        Some(BenchCommand::OtherProcess {
            part,
            url,
            log,
            number,
        }) => other_process(*part, url, log, *number),
        Some(BenchCommand::Tail(tail)) => tail.run(),
        Some(BenchCommand::TailPart(part)) => part.run(),
        None => measure(&options),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::from(2)
    })
}

fn load_alone(url: &str, loader: Loader, quick: bool) -> Result<ExitCode> {
    load::load_alone(&runtime()?, &url.parse()?, loader, sizes(quick).dataset)?;
    Ok(ExitCode::SUCCESS)
}

fn other_process(
    part: processes::ProcessRole,
    url: &str,
    log: &str,
    number: u64,
) -> Result<ExitCode> {
    processes::other_process(&runtime()?, part, url, log, number)?;
    Ok(ExitCode::SUCCESS)
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().build()
}

fn sizes(quick: bool) -> Sizes {
    if quick { Sizes::QUICK } else { Sizes::FULL }
}

fn measure(options: &Options) -> Result<ExitCode> {
    let mut sizes = sizes(options.quick);
    if let Some(runs) = options.runs {
        sizes.run_count = usize::from(runs);
        sizes.load_run_count = sizes.load_run_count.min(sizes.run_count);
    }
    let temporary = std::env::temp_dir();
    let urls = if options.stores.is_empty() {
        vec![
            "memory:bench".into(),
            format!("sqlite:{}", temporary.display()),
        ]
    } else {
        options.stores.clone()
    };
    let bench = Bench::new(sizes, &urls)?;
    let folder = bench.subjects.iter().find_map(|it| it.folder());
    let machine = Machine::probe(folder.unwrap_or(&temporary), sizes.budget)?;
    let mut measured = Vec::new();
    for group in WorkloadGroup::ALL {
        measured.extend(measure_group(&bench, group, &options.only)?);
    }
    if measured.is_empty() {
        return Err("no workload has this name; --help lists the groups".into());
    }
    let report = Report::new(machine, sizes.dataset.event_count, &measured);
    write(&report, options.json.as_ref())?;
    if options.check && !report.is_met() {
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn measure_group(bench: &Bench, group: WorkloadGroup, only: &[String]) -> Result<Vec<Measured>> {
    let is_chosen = |name: &str| {
        let mut chosen = only.iter();
        only.is_empty() || chosen.any(|it| name.starts_with(&**it) || group.name() == it)
    };
    if group == WorkloadGroup::Load {
        if !is_chosen(load::NAME) {
            return Ok(Vec::new());
        }
        eprintln!("load …");
        return load::measure(bench);
    }
    let contenders = bench.subjects.iter();
    let mut contenders: Vec<Contender<'_>> = contenders
        .flat_map(|subject| group.contenders(bench, subject))
        .filter(|contender| is_chosen(contender.workload))
        .collect();
    if contenders.is_empty() {
        return Ok(Vec::new());
    }
    eprintln!("{} …", group.name());
    // Rows are grouped by workload, with the stores in their order.
    let names: Vec<&str> = contenders.iter().map(|it| it.workload).collect();
    contenders.sort_by_key(|it| names.iter().position(|name| *name == it.workload));
    run_by_turns(contenders, bench.sizes.run_count, bench.sizes.budget)
}

fn write(report: &Report, json: Option<&Option<PathBuf>>) -> Result<()> {
    let text = match json {
        None => report.to_text(),
        Some(None) => report.to_json()?,
        Some(Some(file)) => {
            std::fs::write(file, report.to_json()?)
                .map_err(|error| format!("{}: {error}", file.display()))?;
            report.to_text()
        }
    };
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
