//! The runtime of the conformance suites, which tests of all stores in memory share.

use std::sync::LazyLock;

use tokio::runtime::Runtime;

pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
