//! What all workloads of one call share: sizes, runtimes, subjects, and the log of orders.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use retold::recording::append::Append;
use retold::recording::recorder::Recorder;
use retold::store_url::StoreUrl;
use tokio::runtime::{Builder, Runtime};

use crate::contender::Result;
use crate::dataset::Dataset;
use crate::subject::{Subject, open_log};

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// The log of orders.
    pub(crate) dataset: Dataset,
    /// Runs that are counted.
    pub(crate) run_count: usize,
    /// Runs of the load that are counted; each takes as long as it takes.
    pub(crate) load_run_count: usize,
    /// How long a run of any other workload lasts.
    pub(crate) budget: Duration,
}

impl Sizes {
    /// What the figures are about.
    pub(crate) const FULL: Self = Self {
        dataset: Dataset::FULL,
        run_count: 5,
        load_run_count: 2,
        budget: Duration::from_millis(500),
    };

    /// The same in small, for a test.
    pub(crate) const QUICK: Self = Self {
        dataset: Dataset::QUICK,
        run_count: 2,
        load_run_count: 1,
        budget: Duration::from_millis(5),
    };
}

/// What all workloads of one call share.
pub(crate) struct Bench {
    /// How much is done.
    pub(crate) sizes: Sizes,
    /// What is measured.
    pub(crate) subjects: Vec<Subject>,
    /// A runtime with a worker for every core, as `#[tokio::main]` gives.
    pub(crate) many_threads: Runtime,
    /// A runtime of the calling thread alone.
    pub(crate) one_thread: Runtime,
    /// The logs of orders that are written already, by the label of their subject.
    orders: RefCell<BTreeMap<&'static str, Orders>>,
}

impl Bench {
    /// Workloads of these sizes over these stores.
    ///
    /// # Errors
    ///
    /// If a URL is refused, or the system gives no threads.
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

    /// Takes the store at `url`, which has the log of orders of `subject` already.
    ///
    /// # Errors
    ///
    /// What the store reports.
    pub(crate) fn keep_orders(&self, subject: &Subject, url: StoreUrl) -> Result<()> {
        let recorder = self.many_threads.block_on(open_log(&url))?;
        let orders = Orders { url, recorder };
        self.orders.borrow_mut().insert(subject.label, orders);
        Ok(())
    }

    /// The log of orders of `subject`, which is written first if it is not there.
    ///
    /// # Errors
    ///
    /// What the store reports.
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
    /// Where it is.
    pub(crate) url: StoreUrl,
    /// The log, open.
    pub(crate) recorder: Arc<dyn Recorder>,
}

/// Writes the log of orders, a batch an append, and tells `observe` how long each append took.
///
/// # Errors
///
/// What the recorder reports.
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
