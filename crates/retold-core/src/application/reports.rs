//! What is driven by a program itself, such as an outbox, tells here how it is getting on, so that the health of
//! the application's system has it.

use std::sync::{Arc, Mutex, PoisonError, Weak};

/// What belongs to an application and is in use.
#[derive(Debug, Default)]
pub(crate) struct Reports(Mutex<Vec<Weak<ReportCell>>>);

/// Where one of them tells how it is getting on. It is forgotten when its user drops it.
#[derive(Debug)]
pub(crate) struct ReportCell {
    name: String,
    told: Mutex<Option<Report>>,
}

/// A failure that is not overcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// Whether time alone may mend it.
    pub(crate) is_retriable: bool,
    pub(crate) reason: String,
}

impl Reports {
    /// A cell for what has this name.
    pub(crate) fn begin(&self, name: String) -> Arc<ReportCell> {
        let told = Mutex::default();
        let cell = Arc::new(ReportCell { name, told });
        let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cells.retain(|it| it.strong_count() > 0);
        cells.push(Arc::downgrade(&cell));
        cell
    }

    /// The failures of those that are in use, with their names.
    pub(crate) fn failures(&self) -> Vec<(String, Report)> {
        let cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let cells = cells.iter().filter_map(Weak::upgrade);
        cells
            .filter_map(|it| Some((it.name.clone(), it.read()?)))
            .collect()
    }
}

impl ReportCell {
    fn read(&self) -> Option<Report> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.clone()
    }

    /// Tells what came of the last attempt. Says whether that is news.
    pub(crate) fn tell(&self, report: Option<Report>) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = *told != report;
        *told = report;
        is_news
    }
}
