//! The targets, and whether they were met.

use crate::contender::Measured;
use crate::sample::median;

/// A figure that a workload on a store must reach, at full size and optimized.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// Name of the workload.
    pub(crate) workload: &'static str,
    /// The store.
    pub(crate) store: &'static str,
    rule: Rule,
}

#[derive(Clone, Copy, Debug)]
enum Rule {
    /// Minimum rate in units per second.
    RateAtLeast(f64),
    /// Maximum median latency in microseconds.
    MedianAtMost(f64),
    /// Maximum 99th percentile of the latency in microseconds.
    P99AtMost(f64),
    /// Maximum latency of every operation in microseconds.
    MaxAtMost(f64),
    /// Minimum ratio to the rate of another workload or store, paired run by run.
    TimesAtLeast {
        workload: &'static str,
        store: &'static str,
        factor: f64,
    },
}

/// Minimum ratio of a rate on PostgreSQL to another.
const fn postgres(
    workload: &'static str,
    factor: f64,
    (other, store): (&'static str, &'static str),
) -> Target {
    Target {
        workload,
        store: "postgres",
        rule: Rule::TimesAtLeast {
            workload: other,
            store,
            factor,
        },
    }
}

/// Returns all targets.
pub(crate) const TARGETS: &[Target] = &[
    postgres("append-1", 0.6, ("append-1", "tokio-postgres")),
    postgres("append-64", 0.5, ("append-64", "tokio-postgres")),
    postgres("append-64", 8.0, ("append-1", "postgres")),
    postgres("append-2x32-one-log", 0.6, ("append-64", "postgres")),
    postgres("append-2x32-two-logs", 0.9, ("append-64", "postgres")),
    postgres("append-8-none-match-tag", 0.6, ("append-8", "postgres")),
    postgres(
        "append-8-at-1000000",
        0.8,
        ("append-8-at-10000", "postgres"),
    ),
    postgres("load", 0.6, ("load", "tokio-postgres")),
    postgres("read-log", 0.7, ("read-log", "tokio-postgres")),
    postgres("read-stream-10", 0.67, ("read-stream-10", "tokio-postgres")),
    postgres(
        "load-aggregate-100",
        0.67,
        ("load-aggregate-100", "tokio-postgres"),
    ),
    postgres("follow-single-thread", 0.8, ("append-1", "postgres")),
    postgres(
        "follow-multi-thread-100",
        5.0,
        ("follow-single-thread", "postgres"),
    ),
    postgres(
        "follow-4-partitions-2-processes",
        1.0,
        ("follow-1-process", "postgres"),
    ),
    Target {
        workload: "execute-4x16-one-aggregate",
        store: "postgres",
        rule: Rule::RateAtLeast(1_000.0),
    },
    Target {
        workload: "execute-4x16-one-aggregate",
        store: "postgres",
        rule: Rule::MaxAtMost(1_000_000.0),
    },
    Target {
        workload: "append-to-processed-elsewhere",
        store: "postgres",
        rule: Rule::P99AtMost(15_000.0),
    },
    Target {
        workload: "execute-cached",
        store: "memory",
        rule: Rule::RateAtLeast(200_000.0),
    },
    Target {
        workload: "load-aggregate-100",
        store: "memory",
        rule: Rule::MedianAtMost(60.0),
    },
    Target {
        workload: "load-upcast-100",
        store: "memory",
        rule: Rule::TimesAtLeast {
            workload: "load-aggregate-100",
            store: "memory",
            factor: 0.67,
        },
    },
    Target {
        workload: "append-1",
        store: "sqlite",
        rule: Rule::TimesAtLeast {
            workload: "append-1",
            store: "rusqlite",
            factor: 0.8,
        },
    },
    Target {
        workload: "append-64",
        store: "sqlite",
        rule: Rule::TimesAtLeast {
            workload: "append-64",
            store: "rusqlite",
            factor: 0.7,
        },
    },
    Target {
        workload: "append-64",
        store: "sqlite",
        rule: Rule::TimesAtLeast {
            workload: "append-1",
            store: "sqlite",
            factor: 5.0,
        },
    },
    Target {
        workload: "read-log",
        store: "sqlite",
        rule: Rule::RateAtLeast(500_000.0),
    },
    Target {
        workload: "read-stream-10",
        store: "sqlite",
        rule: Rule::MedianAtMost(50.0),
    },
    Target {
        workload: "condition-topic-after",
        store: "sqlite",
        rule: Rule::MedianAtMost(1_000.0),
    },
    Target {
        workload: "condition-topic-ever",
        store: "sqlite",
        rule: Rule::MedianAtMost(1_000.0),
    },
    Target {
        workload: "erase-stream",
        store: "sqlite",
        rule: Rule::MedianAtMost(50_000.0),
    },
    Target {
        workload: "append-8-during-erase",
        store: "sqlite",
        rule: Rule::MaxAtMost(100_000.0),
    },
    Target {
        workload: "erase-stream",
        store: "postgres",
        rule: Rule::MedianAtMost(100_000.0),
    },
    Target {
        workload: "append-8-during-erase",
        store: "postgres",
        rule: Rule::MaxAtMost(200_000.0),
    },
    Target {
        workload: "follow-single-thread",
        store: "memory",
        rule: Rule::RateAtLeast(100_000.0),
    },
    Target {
        workload: "follow-single-thread",
        store: "sqlite",
        rule: Rule::TimesAtLeast {
            workload: "append-1",
            store: "sqlite",
            factor: 0.7,
        },
    },
    Target {
        workload: "follow-multi-thread-100",
        store: "sqlite",
        rule: Rule::RateAtLeast(20_000.0),
    },
    Target {
        workload: "append-to-processed",
        store: "sqlite",
        rule: Rule::P99AtMost(5_000.0),
    },
    Target {
        workload: "retell",
        store: "sqlite",
        rule: Rule::RateAtLeast(50_000.0),
    },
];

/// The result of a target.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct TargetOutcome {
    /// The target, for people.
    pub(crate) target: String,
    /// The measured figure, in the unit of the target.
    pub(crate) measured: f64,
    /// Whether it was met.
    pub(crate) is_met: bool,
}

impl Target {
    /// Returns the result, or `None` if one of the compared workloads was not measured.
    pub(crate) fn outcome(&self, all: &[Measured]) -> Option<TargetOutcome> {
        let of = find(all, self.workload, self.store)?;
        match self.rule {
            Rule::RateAtLeast(rate) => Some(TargetOutcome {
                target: format!(">= {rate:.0}/s"),
                measured: of.measurement.rate,
                is_met: of.measurement.rate >= rate,
            }),
            Rule::MedianAtMost(micros) => Some(TargetOutcome {
                target: format!("p50 <= {micros:.0} us"),
                measured: of.measurement.p50_us,
                is_met: of.measurement.p50_us <= micros,
            }),
            Rule::P99AtMost(micros) => Some(TargetOutcome {
                target: format!("p99 <= {micros:.0} us"),
                measured: of.measurement.p99_us,
                is_met: of.measurement.p99_us <= micros,
            }),
            Rule::MaxAtMost(micros) => Some(TargetOutcome {
                target: format!("max <= {micros:.0} us"),
                measured: of.measurement.max_us,
                is_met: of.measurement.max_us <= micros,
            }),
            Rule::TimesAtLeast {
                workload,
                store,
                factor,
            } => {
                let measured = times(of, find(all, workload, store)?);
                let other = if workload == self.workload {
                    store
                } else {
                    workload
                };
                Some(TargetOutcome {
                    target: format!(">= {factor} x {other}"),
                    measured,
                    is_met: measured >= factor,
                })
            }
        }
    }
}

/// Returns the measurements of this workload on this store.
pub(crate) fn find<'a>(all: &'a [Measured], workload: &str, store: &str) -> Option<&'a Measured> {
    all.iter()
        .find(|it| it.workload == workload && it.store == store)
}

/// Returns the ratio of its rate to that of `other`: the median over pairs of adjacent runs.
pub(crate) fn times(this: &Measured, other: &Measured) -> f64 {
    let pairs = this.measurement.rates.iter().zip(&other.measurement.rates);
    let ratios: Vec<f64> = pairs.map(|(this, other)| this / other).collect();
    median(&ratios)
}
