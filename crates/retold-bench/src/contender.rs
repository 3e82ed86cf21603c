//! Contenders: one workload on one store each. Those of a group run by turns, so that what else the
//! machine does meanwhile falls on all of them alike.

use std::error::Error;
use std::time::Duration;

use crate::sample::{Measurement, Run};

/// What goes wrong in a benchmark ends it; nobody tells the reasons apart.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// One run of a workload, for about this long; one operation at least.
pub(crate) type RunFn<'a> = Box<dyn FnMut(Duration) -> Result<Run> + 'a>;

/// A workload on a store.
pub(crate) struct Contender<'a> {
    /// Name of the workload.
    pub(crate) workload: &'static str,
    /// What it runs on: the scheme of a store, or the bare driver.
    pub(crate) store: &'static str,
    /// What its rate counts, as in `appends`.
    pub(crate) unit: &'static str,
    prepare: Box<dyn FnOnce() -> Result<RunFn<'a>> + 'a>,
}

impl<'a> Contender<'a> {
    /// A contender that is made ready by `prepare`, if it is chosen.
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

/// A workload on a store, with what was measured.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// Name of the workload.
    pub(crate) workload: &'static str,
    /// What it ran on.
    pub(crate) store: &'static str,
    /// What its rate counts.
    pub(crate) unit: &'static str,
    /// What was measured.
    pub(crate) measurement: Measurement,
    /// The most memory a process ever had that did nothing else, in bytes.
    pub(crate) peak_memory: Option<u64>,
}

/// Runs all contenders by turns: once to warm up, then `run_count` times for `budget` each.
///
/// # Errors
///
/// What the first contender that fails reports.
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
    fn contenders_run_by_turns_after_a_warm_up() {
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
