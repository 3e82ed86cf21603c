//! A store that a child process inherited by `fork`: it is refused, the child can open the file
//! itself, and the parent's store keeps working.

use std::future::Future;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use fork::{Fork, fork, waitpid};
use futures_util::FutureExt;
use retold_core::recording::{
    Append, EventId, LogId, LogRead, NewEvent, RecordError, Recorder, Store,
};
use retold_sqlite::SqliteStore;
use tokio::runtime::Builder;
use uuid::Uuid;

use crate::place::Place;

/// Set for the process that forks.
const FORKS: &str = "RETOLD_TEST_FORKS";

fn append_of(number: u128) -> Append {
    let id = EventId::new(Uuid::from_u128(number));
    Append::of([NewEvent::new(id, "Dog.Registered", "{}").stream("dog/1")])
}

/// Returns the result of a call that must complete at once, because the threads that would continue
/// it are the parent's.
fn refused<T>(
    what: &str,
    call: impl Future<Output = Result<T, RecordError>>,
) -> Result<(), String> {
    match call.now_or_never() {
        Some(Err(RecordError::Invalid(error))) if error.to_string().contains("by `fork`") => Ok(()),
        Some(Err(error)) => Err(format!("{what}: {error}")),
        Some(Ok(_)) => Err(format!("{what} is not refused")),
        None => Err(format!("{what} waits")),
    }
}

/// Runs in the child, where only this thread exists.
fn in_the_child(store: SqliteStore, log: &dyn Recorder, path: &Path) -> Result<(), String> {
    let id = LogId::new(Uuid::from_u128(1));
    refused("an append", log.append(append_of(2)))?;
    refused("a read", log.read_log(LogRead::new()))?;
    refused("the head", log.head())?;
    refused("an opening", store.open("dogs", id))?;
    refused("the logs", store.logs(None, 10))?;
    drop(store);
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let own = runtime.block_on(async {
        let store = SqliteStore::open(path)?;
        store.open("dogs", id).await?.append(append_of(3)).await
    });
    own.map(drop)
        .map_err(|error| format!("the child's own: {error}"))
}

/// Goal: each call on a store that a child inherited is refused at once, and neither it nor the
/// store that the child opens damages the parent's. Method: a real fork, while the store is open. A
/// process of its own forks: a child of this one would wait forever for a lock of SQLite that the
/// thread of another test has at that moment.
#[test]
fn a_child_that_inherited_a_store_is_refused() {
    let mut forks = Command::new(env::current_exe().unwrap());
    forks.args(["--exact", "inherited::process_that_forks", "--nocapture"]);
    assert!(forks.env(FORKS, "1").status().unwrap().success());
}

/// The process that forks. It is a test so that the test binary can be this process; without a
/// parent it does nothing.
#[test]
fn process_that_forks() {
    if env::var_os(FORKS).is_none() {
        return;
    }
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    let place = Place::new();
    let store = place.open();
    let log = runtime.block_on(store.open("dogs", LogId::new(Uuid::from_u128(1))));
    let log = log.unwrap();
    runtime.block_on(log.append(append_of(1))).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report");
    match fork() {
        Ok(Fork::Child) => {
            let done = in_the_child(store, &*log, &place.path());
            let text = done.as_ref().err().map_or("well", |error| error);
            let _ = fs::write(&report, text);
            // The other threads, including that of the test's output, are the parent's.
            std::process::exit(0);
        }
        Ok(Fork::Parent(child)) => {
            waitpid(child).unwrap();
            assert_eq!(fs::read_to_string(&report).unwrap(), "well");
            runtime.block_on(async {
                log.append(append_of(4)).await.unwrap();
                let events = log.read_log(LogRead::new()).await.unwrap().events;
                let ids: Vec<u128> = events.iter().map(|it| it.id().uuid().as_u128()).collect();
                assert_eq!(ids, [1, 3, 4]);
            });
        }
        Err(error) => panic!("cannot fork: {error}"),
    }
}
