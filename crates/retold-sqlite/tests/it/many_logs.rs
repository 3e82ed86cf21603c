//! Ten thousand small logs in one file, opened on demand.

use std::sync::Arc;

use futures_util::future::try_join_all;
use retold_core::recording::{Append, LogId, Recorder, Store};
use uuid::Uuid;

use crate::place::{Place, event};

const LOGS: u128 = 10_000;

#[tokio::test]
async fn ten_thousand_logs_live_in_one_file() {
    let place = Place::new();
    let store = place.open();
    let open = async |number: u128| {
        let birth = LogId::new(Uuid::from_u128(number));
        store.open(&format!("tenant-{number:05}"), birth).await
    };
    // All at once: their creations share syncs.
    let recorders: Vec<Arc<dyn Recorder>> = try_join_all((0..LOGS).map(open)).await.unwrap();
    let appends = recorders.iter().map(|it| it.append(Append::of([event(1)])));
    try_join_all(appends).await.unwrap();

    let page = store.logs(Some("tenant-00009"), 2).await.unwrap();
    let names: Vec<_> = page.iter().map(|entry| &*entry.name).collect();
    assert_eq!(names, ["tenant-00010", "tenant-00011"]);
    assert_eq!(store.logs(None, 99_999).await.unwrap().len(), 10_000);
    for recorder in &recorders {
        assert_eq!(recorder.head().await.unwrap().append_count, 1);
    }
    assert_eq!(store.verify().await.unwrap(), []);
}
