//! The same commands on PostgreSQL through Retold and through `cqrs-es` with `postgres-es`: one
//! client, eight clients, and the load of an aggregate of 100 events.
//!
//! `cargo xtask compare` runs a release build against a private server. Both libraries use an
//! aggregate of the same shape, payloads of the same fields, and their defaults: `cqrs-es` loads
//! the aggregate for each command, Retold caches some; rows say where the cache is off. The rounds
//! of a workload alternate between the libraries. The ratio is taken within each round, and the
//! median of the ratios counts.

mod cqrs;
mod ours;

use std::sync::Arc;
use std::time::{Duration, Instant};

use xtask::postgres_server::PostgresServer;

/// What goes wrong ends the comparison.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Rounds that count, after one that does not.
const ROUNDS: usize = 7;
/// How long one library works in a round.
const BUDGET: Duration = Duration::from_millis(1_000);
/// Clients that send commands together.
const CLIENTS: usize = 8;
/// Commands to an aggregate before its client begins another.
const COMMANDS_PER_BASKET: usize = 20;
/// Events of the aggregate that is loaded.
const EVENTS_LOADED: usize = 100;

/// What both libraries are asked to do.
trait Library: Send + Sync + 'static {
    /// A line is added to a basket; it exists from its first line on.
    fn add_line(&self, basket: &str) -> impl Future<Output = Result<()>> + Send;
    /// How many lines a basket has, from its events.
    fn load(&self, basket: &str) -> impl Future<Output = Result<usize>> + Send;
}

const ONE: Workload = Workload::Commands { clients: 1 };
const EIGHT: Workload = Workload::Commands { clients: CLIENTS };

/// A workload, whether Retold has its cache, and how many times the rate of the other library it is
/// to reach.
const WORKLOADS: [(&str, Workload, Cache, f64); 5] = [
    ("command, 1 client", ONE, Cache::Default, 1.5),
    ("command, 8 clients", EIGHT, Cache::Default, 4.0),
    ("the same, no cache, 1", ONE, Cache::None, 1.0),
    ("the same, no cache, 8", EIGHT, Cache::None, 1.0),
    ("load of 100 events", Workload::Load, Cache::None, 1.0),
];

/// What Retold keeps of aggregates.
#[derive(Clone, Copy, Debug)]
enum Cache {
    /// As many as it does by default.
    Default,
    /// None.
    None,
}

#[derive(Clone, Copy)]
enum Workload {
    Commands { clients: usize },
    Load,
}

#[tokio::main]
async fn main() -> Result<()> {
    let server = PostgresServer::start()?;
    let url = server.url("postgres");
    let with_cache = Arc::new(ours::Retold::open(&url, Cache::Default).await?);
    let without = Arc::new(ours::Retold::open(&url, Cache::None).await?);
    let other = Arc::new(cqrs::CqrsEs::open(&url).await?);
    for _ in 0..EVENTS_LOADED {
        without.add_line("loaded").await?;
        other.add_line("loaded").await?;
    }
    println!(
        "{:<22} {:>12} {:>12} {:>7}  target",
        "", "retold/s", "cqrs-es/s", "ratio"
    );
    for (name, workload, cache, target) in WORKLOADS {
        let ours = match cache {
            Cache::Default => &with_cache,
            Cache::None => &without,
        };
        let (mut our_rates, mut other_rates, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let our_rate = rate(ours, workload, name, round).await?;
            let other_rate = rate(&other, workload, name, round).await?;
            if round > 0 {
                our_rates.push(our_rate);
                other_rates.push(other_rate);
                ratios.push(our_rate / other_rate);
            }
        }
        let ratio = median(&mut ratios);
        let outcome = if ratio >= target { "met" } else { "MISSED" };
        let (our_rate, other_rate) = (median(&mut our_rates), median(&mut other_rates));
        println!(
            "{name:<22} {our_rate:>12.0} {other_rate:>12.0} {ratio:>7.2}  >= {target} {outcome}"
        );
    }
    Ok(())
}

/// Operations a second.
async fn rate<L: Library>(
    library: &Arc<L>,
    workload: Workload,
    of: &str,
    round: usize,
) -> Result<f64> {
    let begun = Instant::now();
    let clients = match workload {
        Workload::Commands { clients } => clients,
        Workload::Load => 1,
    };
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let library = Arc::clone(library);
            let name = format!("{of}-{round}-{client}");
            tokio::spawn(async move {
                let mut count = 0;
                while begun.elapsed() < BUDGET {
                    match workload {
                        Workload::Commands { .. } => {
                            let basket = format!("{name}-{}", count / COMMANDS_PER_BASKET);
                            library.add_line(&basket).await?;
                        }
                        Workload::Load => {
                            let lines = library.load("loaded").await?;
                            if lines != EVENTS_LOADED {
                                return Err(format!("{lines} lines are loaded").into());
                            }
                        }
                    }
                    count += 1;
                }
                Result::Ok(count)
            })
        })
        .collect();
    let mut count = 0;
    for task in tasks {
        count += task.await??;
    }
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
