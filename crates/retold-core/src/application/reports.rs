//! Status reports of components that a program drives itself, such as an outbox, so that they
//! appear in the health of the application's system.

use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The components of an application that are in use.
#[derive(Debug, Default)]
pub(crate) struct Reports(Mutex<Vec<Weak<ReportCell>>>);

/// Holds the status of one component. It is removed when the component drops it.
#[derive(Debug)]
pub(crate) struct ReportCell {
    name: String,
    reported: Mutex<Option<PersistentFailure>>,
}

/// A failure that persists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PersistentFailure {
    /// Whether a retry may succeed.
    pub(crate) is_retriable: bool,
    pub(crate) reason: String,
}

impl Reports {
    /// Creates a cell for the component with this name.
    pub(crate) fn begin(&self, name: String) -> Arc<ReportCell> {
        let reported = Mutex::default();
        let cell = Arc::new(ReportCell { name, reported });
        let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cells.retain(|it| it.strong_count() > 0);
        cells.push(Arc::downgrade(&cell));
        cell
    }

    /// The failures of the components in use, with their names.
    pub(crate) fn failures(&self) -> Vec<(String, PersistentFailure)> {
        let cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let cells = cells.iter().filter_map(Weak::upgrade);
        cells
            .filter_map(|it| Some((it.name.clone(), it.read()?)))
            .collect()
    }
}

impl ReportCell {
    fn read(&self) -> Option<PersistentFailure> {
        let reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        reported.clone()
    }

    /// Reports the result of the last attempt. Returns whether it changed.
    pub(crate) fn announce(&self, report: Option<PersistentFailure>) -> bool {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = *reported != report;
        *reported = report;
        is_news
    }
}
