//! Contenders: a workload on a store. The runs of a group's contenders are interleaved, so that
//! other load on the machine affects all of them equally.

use std::error::Error;
use std::time::Duration;

use crate::sample::{Measurement, Run};

/// Any error ends a benchmark, so its type does not matter.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Runs a workload for about this long, with at least one operation.
pub(crate) type RunFn<'a> = Box<dyn FnMut(Duration) -> Result<Run> + 'a>;

/// A workload on a store.
pub(crate) struct Contender<'a> {
    /// Name of the workload.
    pub(crate) workload: &'static str,
    /// What it runs on: the scheme of a store, or the bare driver.
    pub(crate) store: &'static str,
    /// The unit of its rate, such as `appends`.
    pub(crate) unit: &'static str,
    prepare: Box<dyn FnOnce() -> Result<RunFn<'a>> + 'a>,
}

impl<'a> Contender<'a> {
    /// Creates a contender that `prepare` sets up if it is selected.
    pub(crate) fn new(
        workload: &'static str,
        store: &'static str,
        unit: &'static str,
        prepare: impl FnOnce() -> Result<RunFn<'a>> + 'a,
    ) -> Self {
        Self {
            workload,
            store,
            unit,
            prepare: Box::new(prepare),
        }
    }
}

/// A workload on a store, with its measurements.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// Name of the workload.
    pub(crate) workload: &'static str,
    /// What it ran on.
    pub(crate) store: &'static str,
    /// The unit of its rate.
    pub(crate) unit: &'static str,
    /// The measurements.
    pub(crate) measurement: Measurement,
    /// Peak memory of a process that did nothing else, in bytes.
    pub(crate) peak_memory: Option<u64>,
}

/// Runs all contenders in turn: once to warm up, then `run_count` times for `budget` each.
///
/// # Errors
///
/// The error of the first contender that fails.
pub(crate) fn run_by_turns(
    contenders: Vec<Contender<'_>>,
    run_count: usize,
    budget: Duration,
) -> Result<Vec<Measured>> {
    let mut ready = Vec::new();
    for contender in contenders {
        let about = |error: Box<dyn Error + Send + Sync>| {
            let reason = error.source().map_or(String::new(), |it| format!(": {it}"));
            format!(
                "{} on {}: {error}{reason}",
                contender.workload, contender.store
            )
        };
        let mut run = (contender.prepare)().map_err(about)?;
        run(budget / 2).map_err(about)?;
        ready.push((contender.workload, contender.store, contender.unit, run));
    }
    let mut runs: Vec<Vec<Run>> = vec![Vec::new(); ready.len()];
    for _ in 0..run_count {
        for ((workload, store, _, run), runs) in ready.iter_mut().zip(&mut runs) {
            let run = run(budget).map_err(|error| format!("{workload} on {store}: {error}"))?;
            runs.push(run);
        }
    }
    let measured = ready.iter().zip(&runs);
    Ok(measured
        .map(|((workload, store, unit, _), runs)| Measured {
            workload,
            store,
            unit,
            measurement: Measurement::of(runs),
            peak_memory: None,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn contenders_run_in_turn_after_a_warm_up() {
        let order = RefCell::new(Vec::new());
        let contender = |store| {
            let order = &order;
            Contender::new("append", store, "appends", move || {
                Ok(Box::new(move |budget| {
                    order.borrow_mut().push(store);
                    let mut run = Run::new();
                    run.add(budget, 1);
                    Ok(run.took(budget))
                }) as RunFn<'_>)
            })
        };

        let measured = run_by_turns(
            vec![contender("a"), contender("b")],
            2,
            Duration::from_millis(1),
        );

        assert_eq!(measured.unwrap().len(), 2);
        assert_eq!(*order.borrow(), ["a", "b", "a", "b", "a", "b"]);
    }
}
