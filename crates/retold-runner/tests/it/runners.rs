//! The runners and places that a test runs on.

use std::sync::Arc;

use retold::runner::{Cluster, MultiThread, MultiThreadOptions};
use retold::system::{Infrastructure, Runner, SingleThread, System};

use crate::nodes::options;
use crate::place::Place;
use crate::shop::settled;

/// A way to run a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunBy {
    SingleThread,
    MultiThread,
    OneNode,
    TwoNodes,
}

/// A place for a store, and how systems are run there.
pub(crate) struct Setting {
    pub(crate) run_by: RunBy,
    pub(crate) place: Place,
}

impl Setting {
    /// Starts the system on the store of the place, which each runner opens for itself.
    pub(crate) async fn start(&self, system: &System) -> Runners {
        let unchanged = |infrastructure| infrastructure;
        self.start_with(system, unchanged, MultiThreadOptions::new())
            .await
    }

    /// Starts the system; `extend` adds to the infrastructure of each runner.
    pub(crate) async fn start_with(
        &self,
        system: &System,
        extend: impl Fn(Infrastructure) -> Infrastructure,
        work: MultiThreadOptions,
    ) -> Runners {
        let open = async || extend(self.place.open().await);
        let join = async |node| {
            let options = options().work(work.clone());
            let joined = Cluster::join(system, &open().await, node, options).await;
            let node: Arc<dyn Runner> = Arc::new(joined.unwrap());
            node
        };
        let runners: Vec<Arc<dyn Runner>> = match self.run_by {
            RunBy::SingleThread => {
                let started = SingleThread::start(system, &open().await).await;
                vec![Arc::new(started.unwrap())]
            }
            RunBy::MultiThread => {
                let started = MultiThread::start_with(system, &open().await, work.clone()).await;
                vec![Arc::new(started.unwrap())]
            }
            RunBy::OneNode => vec![join("one").await],
            RunBy::TwoNodes => vec![join("one").await, join("two").await],
        };
        Runners(runners)
    }
}

/// The runners of a system: one for each process.
pub(crate) struct Runners(Vec<Arc<dyn Runner>>);

impl Runners {
    /// Returns the first runner, which gets the commands.
    pub(crate) fn first(&self) -> &dyn Runner {
        &*self.0[0]
    }

    /// Returns the last runner: another one than the first, if there are several.
    pub(crate) fn last(&self) -> &dyn Runner {
        &**self.0.last().unwrap()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &dyn Runner> {
        self.0.iter().map(|runner| &**runner)
    }

    /// Waits, on each runner, until everything that the orders caused is processed.
    pub(crate) async fn settle(&self) {
        for runner in self.iter() {
            settled(runner).await;
        }
    }

    /// Stops all runners. Checks that everything is recorded, and retells the record.
    pub(crate) async fn stop(&self) {
        for runner in self.iter() {
            let report = runner.stop().await;
            assert!(report.is_clean(), "{report:?}");
        }
        crate::shop::assert_retold(self.iter()).await;
    }
}

/// Runs each of these tests with each runner in each of these places.
macro_rules! on_every_runner {
    ([$($place:ident),+], $tests:tt) => {
        crate::runners::on_every_runner!(@ single_thread SingleThread [$($place),+] $tests);
        crate::runners::on_every_runner!(@ multi_thread MultiThread [$($place),+] $tests);
        crate::runners::on_every_runner!(@ one_node OneNode [$($place),+] $tests);
        crate::runners::on_every_runner!(@ two_nodes TwoNodes [$($place),+] $tests);
    };
    (@ $module:ident $run_by:ident [$($place:ident),+] $tests:tt) => {
        mod $module {
            $(crate::runners::on_every_runner!(# $run_by $place $tests);)+
        }
    };
    (# $run_by:ident $place:ident ($($test:ident),+ $(,)?)) => {
        mod $place {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let setting = crate::runners::Setting {
                    run_by: crate::runners::RunBy::$run_by,
                    place: crate::place::Place::$place(),
                };
                super::super::$test(setting).await;
            })+
        }
    };
}

pub(crate) use on_every_runner;
