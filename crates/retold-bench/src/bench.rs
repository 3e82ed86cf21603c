//! State that all workloads of one run share: sizes, runtimes, subjects, and the log of orders.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use retold::recording::{Append, Recorder};
use retold::store_url::StoreUrl;
use tokio::runtime::{Builder, Runtime};

use crate::contender::Result;
use crate::dataset::Dataset;
use crate::subject::{Subject, open_log};

/// The sizes of the workloads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Size of the log of orders.
    pub(crate) dataset: Dataset,
    /// Number of measured runs.
    pub(crate) run_count: usize,
    /// Number of measured runs of the load; each takes as long as needed.
    pub(crate) load_run_count: usize,
    /// Duration of a run of any other workload.
    pub(crate) budget: Duration,
}

impl Sizes {
    /// The full sizes, to which the published figures refer.
    pub(crate) const FULL: Self = Self {
        dataset: Dataset::FULL,
        run_count: 5,
        load_run_count: 2,
        budget: Duration::from_millis(500),
    };

    /// Small sizes, for a test.
    pub(crate) const QUICK: Self = Self {
        dataset: Dataset::QUICK,
        run_count: 2,
        load_run_count: 1,
        budget: Duration::from_millis(5),
    };
}

/// State that all workloads of one run share.
pub(crate) struct Bench {
    /// The sizes.
    pub(crate) sizes: Sizes,
    /// The stores to measure.
    pub(crate) subjects: Vec<Subject>,
    /// A runtime with one worker per core, as created by `#[tokio::main]`.
    pub(crate) many_threads: Runtime,
    /// A runtime on the calling thread alone.
    pub(crate) one_thread: Runtime,
    /// The logs of orders that are already written, by the label of their subject.
    orders: RefCell<BTreeMap<&'static str, Orders>>,
}

impl Bench {
    /// Creates workloads of these sizes for these stores.
    ///
    /// # Errors
    ///
    /// If a URL is refused, or no threads can be started.
    pub(crate) fn new(sizes: Sizes, urls: &[String]) -> Result<Self> {
        let subjects = urls.iter().map(|url| Subject::of_url(url));
        Ok(Self {
            sizes,
            subjects: subjects.collect::<Result<_>>()?,
            many_threads: Builder::new_multi_thread().enable_all().build()?,
            one_thread: Builder::new_current_thread().enable_all().build()?,
            orders: RefCell::default(),
        })
    }

    /// Uses the store at `url`, which already has the log of orders of `subject`.
    ///
    /// # Errors
    ///
    /// Errors of the store.
    pub(crate) fn keep_orders(&self, subject: &Subject, url: StoreUrl) -> Result<()> {
        let recorder = self.many_threads.block_on(open_log(&url))?;
        let orders = Orders { url, recorder };
        self.orders.borrow_mut().insert(subject.label, orders);
        Ok(())
    }

    /// Returns the log of orders of `subject`, and writes it first if it does not exist.
    ///
    /// # Errors
    ///
    /// Errors of the store.
    pub(crate) fn orders(&self, subject: &Subject) -> Result<Orders> {
        if let Some(orders) = self.orders.borrow().get(subject.label) {
            return Ok(orders.clone());
        }
        let url = subject.url("orders");
        let recorder = self.many_threads.block_on(async {
            let recorder = open_log(&url).await?;
            write_orders(&recorder, self.sizes.dataset, |_| ()).await?;
            Result::Ok(recorder)
        })?;
        let orders = Orders { url, recorder };
        self.orders
            .borrow_mut()
            .insert(subject.label, orders.clone());
        Ok(orders)
    }
}

/// A log of orders.
#[derive(Clone)]
pub(crate) struct Orders {
    /// URL of its store.
    pub(crate) url: StoreUrl,
    /// The open log.
    pub(crate) recorder: Arc<dyn Recorder>,
}

/// Writes the log of orders, one batch per append, and passes the duration of each append to
/// `observe`.
///
/// # Errors
///
/// Errors of the recorder.
pub(crate) async fn write_orders(
    recorder: &Arc<dyn Recorder>,
    dataset: Dataset,
    mut observe: impl FnMut(Duration),
) -> Result<()> {
    for batch in dataset.batches() {
        let append = Append::of(batch.map(|number| dataset.event(number)));
        let start = std::time::Instant::now();
        recorder.append(append).await?;
        observe(start.elapsed());
    }
    Ok(())
}
