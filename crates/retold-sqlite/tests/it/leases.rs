//! Leases in a file when the host's clock is set back.

use std::time::Duration;

use retold_core::recording::Store;
use rusqlite::Connection;

use crate::place::Place;

const MINUTE: Duration = Duration::from_secs(60);

/// Method: a clock that was set back by an hour leaves a lease from an hour in the future.
#[tokio::test]
async fn a_lease_from_the_future_is_ignored() {
    let place = Place::new();
    let store = place.open();
    let taken = store.acquire_lease("work", "a", MINUTE).await.unwrap();
    assert_eq!(taken.since, taken.renewed_at);
    let put_back = || {
        let conn = Connection::open(place.path()).unwrap();
        conn.busy_timeout(MINUTE).unwrap();
        let hour = "UPDATE lease SET since = since + 3600000000, ends_at = ends_at + 3600000000,
            renewed_at = renewed_at + 3600000000";
        assert_eq!(conn.execute(hour, []).unwrap(), 1);
    };
    put_back();
    let shown = store.leases("", None, 1).await.unwrap().remove(0);
    assert!(!shown.is_held_at(store.now().await.unwrap()), "{shown:?}");
    let renewed = store.acquire_lease("work", "a", MINUTE).await.unwrap();
    assert_eq!(renewed.term, 1, "its holder renews it");
    let held = store.acquire_lease("work", "b", MINUTE).await.unwrap();
    assert_eq!(held, renewed, "and it is valid again");
    put_back();
    let lost = store.acquire_lease("work", "b", MINUTE).await.unwrap();
    assert_eq!((&*lost.holder, lost.term), ("b", 2));
    assert!(lost.is_held_at(store.now().await.unwrap()), "{lost:?}");
}
