//! The same commands on PostgreSQL through Retold and through `cqrs-es` with `postgres-es`: one client,
//! eight clients, and the load of an aggregate of 100 events.
//!
//! `cargo xtask compare` runs it optimised, against a private server. Both have the aggregate of the
//! same shape, payloads of the same fields, their default pools, and no cache: each command loads its
//! aggregate, as `cqrs-es` always does. The rounds of one workload go by turns; the ratio of a round is
//! taken within it, and the median of those counts.

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

/// A workload and how many times the rate of the other library Retold is to reach.
const WORKLOADS: [(&str, Workload, f64); 3] = [
    ("command, 1 client", Workload::Commands { clients: 1 }, 1.5),
    (
        "command, 8 clients",
        Workload::Commands { clients: CLIENTS },
        4.0,
    ),
    ("load of 100 events", Workload::Load, 1.0),
];

#[derive(Clone, Copy)]
enum Workload {
    Commands { clients: usize },
    Load,
}

#[tokio::main]
async fn main() -> Result<()> {
    let server = PostgresServer::start()?;
    let ours = Arc::new(ours::Retold::open(&server.url("postgres")).await?);
    let other = Arc::new(cqrs::CqrsEs::open(&server.url("postgres")).await?);
    for _ in 0..EVENTS_LOADED {
        ours.add_line("loaded").await?;
        other.add_line("loaded").await?;
    }
    println!(
        "{:<20} {:>12} {:>12} {:>7}  target",
        "", "retold/s", "cqrs-es/s", "ratio"
    );
    for (name, workload, target) in WORKLOADS {
        let (mut our_rates, mut other_rates, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let our_rate = rate(&ours, workload, round).await?;
            let other_rate = rate(&other, workload, round).await?;
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
            "{name:<20} {our_rate:>12.0} {other_rate:>12.0} {ratio:>7.2}  >= {target} {outcome}"
        );
    }
    Ok(())
}

/// Operations a second.
async fn rate<L: Library>(library: &Arc<L>, workload: Workload, round: usize) -> Result<f64> {
    let begun = Instant::now();
    let clients = match workload {
        Workload::Commands { clients } => clients,
        Workload::Load => 1,
    };
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let library = Arc::clone(library);
            let name = format!("{clients}-{round}-{client}");
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
