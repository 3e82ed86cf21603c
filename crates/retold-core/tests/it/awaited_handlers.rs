//! Async handlers: their types are inferred, they run in order, and they may fail but never panic
//! out of a projection.

use std::sync::Mutex;

use retold_core::application::Logged;
use retold_core::projection::{Awaited, BoxError, Projection, ViewKind};
use retold_core::recording::{Append, LogRead, StoredEvent};

use crate::dogs::DogEvent;
use crate::racing::{event, log};

/// A view like that of a database: it is shared, and every change waits.
struct Rows<'a> {
    rows: &'a Mutex<Vec<String>>,
}

impl Rows<'_> {
    async fn insert(&self, row: &str) {
        tokio::task::yield_now().await;
        self.rows.lock().unwrap().push(row.to_owned());
    }
}

enum Shared {}

impl ViewKind for Shared {
    type Target<'a> = Rows<'a>;
    type Handler = Awaited<Self>;
}

async fn walked(view: &Rows<'_>, logged: &Logged<DogEvent>) -> Result<(), BoxError> {
    view.insert(&format!("{} {:?}", logged.position(), logged.event))
        .await;
    Ok(())
}

async fn stored(payloads: [Option<&'static str>; 2]) -> Vec<StoredEvent> {
    let log = log().await;
    let events = payloads.map(|payload| {
        let mut event = event("DogEvent.Walked");
        event.payload = payload.map(Into::into);
        event
    });
    log.append(Append::of(events)).await.unwrap();
    log.read_log(LogRead::new()).await.unwrap().events
}

fn projection() -> Projection<Shared> {
    Projection::<Shared>::new("walks", 1, "log").on_async(walked)
}

/// As a store does it: on another thread, so that the future is sent there.
async fn take(projection: Projection<Shared>, events: Vec<StoredEvent>) -> (Vec<String>, String) {
    let taking = tokio::spawn(async move {
        let rows = Mutex::new(Vec::new());
        let mut failed = Vec::new();
        for event in &events {
            let view = Rows { rows: &rows };
            if let Err(error) = projection.handle_async(&view, event).await {
                failed.push(error.to_string());
            }
        }
        (rows.into_inner().unwrap(), failed.join("; "))
    });
    taking.await.unwrap()
}

#[tokio::test]
async fn functions_and_closures_act_in_their_order() {
    let projection = projection().on_async(async |view: &Rows<'_>, logged: &Logged<DogEvent>| {
        view.insert(&format!("{} again", logged.position())).await;
        Ok(())
    });
    let events = stored([Some("{}"), Some("{}")]).await;
    assert!(events.iter().all(|it| projection.takes(it)));
    let (rows, failed) = take(projection, events).await;
    assert_eq!(rows, ["1 Walked", "1 again", "2 Walked", "2 again"]);
    assert_eq!(failed, "");
}

#[tokio::test]
async fn a_panic_after_waiting_is_a_failure() {
    let projection = projection().on_async(
        async |view: &Rows<'_>, _: &Logged<DogEvent>| -> Result<(), BoxError> {
            view.insert("about to fail").await;
            panic!("it rained")
        },
    );
    let events = stored([Some("{}"), Some("no dog's walk")]).await;
    let (rows, failed) = take(projection, events).await;
    assert_eq!(rows, ["1 Walked", "about to fail"]);
    assert!(
        failed.starts_with("its handler panicked: it rained; "),
        "{failed}"
    );
}

#[tokio::test]
async fn erased_events_are_passed_over_unless_they_are_poison() {
    let (_, failed) = take(
        projection().erased_is_poison(),
        stored([Some("{}"), None]).await,
    )
    .await;
    assert!(failed.contains("erased"), "{failed}");
    let (rows, failed) = take(projection(), stored([Some("{}"), None]).await).await;
    assert_eq!((rows.len(), &*failed), (1, ""));
}
