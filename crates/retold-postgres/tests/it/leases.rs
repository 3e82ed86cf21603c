//! Leases in a database whose host's clock is put back.

use std::time::Duration;

use retold_core::recording::Store;

use crate::database::{Database, block_on};

const MINUTE: Duration = Duration::from_secs(60);

/// Method: after the clock was put back by an hour, a lease has times one hour in the future.
#[test]
fn a_lease_of_the_future_is_ignored() {
    block_on(async {
        let database = Database::create().await;
        let store = database.open().await;
        let taken = store.acquire_lease("work", "a", MINUTE).await.unwrap();
        assert_eq!(taken.since, taken.renewed_at);
        let client = database.client().await;
        let put_back = async || {
            let hour = "UPDATE retold.lease SET since = since + 3600000000,
                ends_at = ends_at + 3600000000, renewed_at = renewed_at + 3600000000";
            assert_eq!(client.execute(hour, &[]).await.unwrap(), 1);
        };
        put_back().await;
        let shown = store.leases("", None, 1).await.unwrap().remove(0);
        assert!(!shown.is_held_at(store.now().await.unwrap()), "{shown:?}");
        let renewed = store.acquire_lease("work", "a", MINUTE).await.unwrap();
        assert_eq!(renewed.term, 1, "its holder renews it");
        let held = store.acquire_lease("work", "b", MINUTE).await.unwrap();
        assert_eq!(held, renewed, "and it is valid again");
        put_back().await;
        let lost = store.acquire_lease("work", "b", MINUTE).await.unwrap();
        assert_eq!((&*lost.holder, lost.term), ("b", 2));
        assert!(lost.is_held_at(store.now().await.unwrap()), "{lost:?}");
    });
}
