//! Measurements: a run, and the median of several runs.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

/// The longest latency that is recorded precisely: an hour, in nanoseconds.
const LATENCY_MAX_NS: u64 = 3_600_000_000_000;

/// One run of a workload: the work done, its duration, and the latency of each operation.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// Units done: what the rate of the workload counts (appends, reads, events).
    units: u64,
    elapsed: Duration,
    latencies: Histogram<u64>,
}

impl Run {
    /// Creates an empty run.
    pub(crate) fn new() -> Self {
        let latencies = Histogram::new_with_max(LATENCY_MAX_NS, 3)
            .expect("the bounds of the histogram are valid constants");
        Self {
            units: 0,
            elapsed: Duration::ZERO,
            latencies,
        }
    }

    /// Adds one operation with its latency and its units.
    pub(crate) fn add(&mut self, latency: Duration, units: u64) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(LATENCY_MAX_NS);
        self.latencies.saturating_record(nanos.max(1));
        self.units += units;
    }

    /// Adds the operations of another task of the same run.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.units += other.units;
        self.latencies
            .add(&other.latencies)
            .expect("both histograms have the same bounds");
    }

    /// Returns the latencies in nanoseconds, in ascending order and with the recorded precision.
    pub(crate) fn latencies_ns(&self) -> impl Iterator<Item = u64> {
        let recorded = self.latencies.iter_recorded();
        recorded.flat_map(|it| {
            let count = usize::try_from(it.count_at_value()).unwrap_or(usize::MAX);
            std::iter::repeat_n(it.value_iterated_to(), count)
        })
    }

    /// Sets the total duration.
    #[must_use]
    pub(crate) fn took(mut self, elapsed: Duration) -> Self {
        self.elapsed = elapsed;
        self
    }

    /// Returns the number of operations.
    pub(crate) fn operation_count(&self) -> u64 {
        self.latencies.len()
    }

    fn rate(&self) -> f64 {
        self.units as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// Ends a run after a time budget.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch {
    start: Instant,
    budget: Duration,
}

impl Stopwatch {
    /// Starts the time.
    pub(crate) fn start(budget: Duration) -> Self {
        Self {
            start: Instant::now(),
            budget,
        }
    }

    /// Returns whether there is time for another operation.
    pub(crate) fn has_time(&self) -> bool {
        self.start.elapsed() < self.budget
    }

    /// Returns the time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

/// Several runs of one workload on one contender.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measurement {
    /// Median of the runs' rates, in units per second.
    pub(crate) rate: f64,
    /// The rate of each run, in the order of the runs.
    pub(crate) rates: Vec<f64>,
    /// Number of operations in all runs; the percentiles are over these.
    pub(crate) operations: u64,
    /// Median latency of an operation, in microseconds.
    pub(crate) p50_us: f64,
    /// 99th percentile of the latency, in microseconds.
    pub(crate) p99_us: f64,
    /// 99.9th percentile of the latency, in microseconds.
    pub(crate) p999_us: f64,
    /// How long the longest operation took, in microseconds.
    pub(crate) max_us: f64,
}

impl Measurement {
    /// Returns the median of `runs`, which must not be empty.
    pub(crate) fn of(runs: &[Run]) -> Self {
        let mut all = Run::new();
        for run in runs {
            all.merge(run);
        }
        let rates: Vec<f64> = runs.iter().map(Run::rate).collect();
        let percentile = |quantile| all.latencies.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            rate: median(&rates),
            operations: all.operation_count(),
            p50_us: percentile(0.5),
            p99_us: percentile(0.99),
            p999_us: percentile(0.999),
            max_us: all.latencies.max() as f64 / 1e3,
            rates,
        }
    }
}

/// Returns the median of these numbers; the mean of the middle two if their count is even.
pub(crate) fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        count if count % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_is_the_median_of_its_runs() {
        let run = |millis| {
            let mut run = Run::new();
            for _ in 0..10 {
                run.add(Duration::from_millis(millis), 2);
            }
            run.took(Duration::from_millis(millis * 10))
        };
        let measurement = Measurement::of(&[run(1), run(100), run(2)]);
        assert_eq!(measurement.operations, 30);
        assert!((measurement.rate - 1000.0).abs() < 1.0);
        assert!((measurement.p50_us - 2000.0).abs() < 10.0);
        assert!((measurement.p999_us - 100_000.0).abs() < 200.0);
        assert!((measurement.max_us - 100_000.0).abs() < 200.0);
    }

    #[test]
    fn the_median_of_two_is_between_them() {
        assert_eq!(median(&[1.0, 3.0]), 2.0);
        assert_eq!(median(&[]), 0.0);
    }
}
