//! A store that a child process inherited by `fork`: it is refused, the child opens its own, and
//! the parent's keeps working.

use std::fs;
use std::future::Future;
use std::path::Path;

use fork::{Fork, fork, waitpid};
use futures_util::FutureExt;
use retold_core::recording::{
    Append, EventId, FollowerKey, LogId, LogRead, NewEvent, RecordError, Recorder, Store,
};
use retold_postgres::PostgresStore;
use tokio::runtime::Builder;
use uuid::Uuid;

use crate::database::{Database, block_on};

fn append_of(number: u128) -> Append {
    let id = EventId::new(Uuid::from_u128(number));
    Append::of([NewEvent::new(id, "Dog.Registered", "{}").stream("dog/1")])
}

/// Checks a call that must return at once, because the threads that would process it belong to the
/// parent.
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

/// Runs in the child, which has only this thread.
fn in_the_child(store: PostgresStore, log: &dyn Recorder, url: &str) -> Result<(), String> {
    let (follower, id) = (FollowerKey::new("f@1"), LogId::new(Uuid::from_u128(1)));
    refused("an append", log.append(append_of(2)))?;
    refused("a read", log.read_log(LogRead::new()))?;
    refused("the head", log.head())?;
    refused("a checkpoint", log.checkpoint(&follower, id))?;
    refused("a wait", log.changed_since(1))?;
    refused("an opening", store.open("dogs", id))?;
    refused("the logs", store.logs(None, 10))?;
    refused("verifying", store.verify())?;
    drop(store);
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let own = runtime.block_on(async {
        let store = PostgresStore::open(url).await?;
        store.open("dogs", id).await?.append(append_of(3)).await
    });
    own.map(drop)
        .map_err(|error| format!("the child's own: {error}"))
}

/// Goal: a child that inherited a store is refused by each call at once, and neither it nor the
/// store that it opens for itself damages the parent's. Method: a real fork of this process, while
/// the store is working.
#[test]
fn a_child_that_inherited_a_store_is_refused() {
    let database = block_on(Database::create());
    let (store, log) = block_on(async {
        let store = database.open().await;
        let log = store.open("dogs", LogId::new(Uuid::from_u128(1))).await;
        let log = log.unwrap();
        log.append(append_of(1)).await.unwrap();
        (store, log)
    });
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report");
    match fork() {
        Ok(Fork::Child) => {
            let done = in_the_child(store, &*log, &database.url());
            announce(&report, &done);
            // The other threads, the test's output among them, belong to the parent.
            std::process::exit(0);
        }
        Ok(Fork::Parent(child)) => {
            waitpid(child).unwrap();
            assert_eq!(fs::read_to_string(&report).unwrap(), "well");
            block_on(async {
                log.append(append_of(4)).await.unwrap();
                let events = log.read_log(LogRead::new()).await.unwrap().events;
                let ids: Vec<u128> = events.iter().map(|it| it.id().uuid().as_u128()).collect();
                assert_eq!(ids, [1, 3, 4]);
            });
        }
        Err(error) => panic!("there is no child: {error}"),
    }
}

fn announce(report: &Path, done: &Result<(), String>) {
    let text = done.as_ref().err().map_or("well", |error| error);
    let _ = fs::write(report, text);
}
