//! Presence: makes a runner in one process visible to other processes. It holds a lease for each
//! follower, for the timers of each application and for each view that it runs, under separate
//! names, so that the store shows which parts a running system still has. These leases place
//! nothing: several processes that run the same parts hold them alternately, and a killed process
//! stays visible until they end. Outboxes are visible by the leases under which they are drained.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use retold_core::recording::Store;
use retold_core::system::{Infrastructure, OpenSystem, presence_leases};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::limits::{LEASE_CALLS_MAX, PRESENCE_CALL_MAX, PRESENCE_INTERVAL, PRESENCE_TIME_TO_LIVE};

/// The leases of a runner, each with its store.
pub(crate) struct Presence {
    holder: Arc<str>,
    leases: Vec<(Arc<dyn Store>, Arc<str>)>,
}

impl Presence {
    /// Returns the presence of a runner that runs this system. `holder` is its name as a holder of
    /// leases.
    pub(crate) fn new(
        holder: Arc<str>,
        open: &OpenSystem,
        infrastructure: &Infrastructure,
    ) -> Self {
        let leases = presence_leases(open, infrastructure);
        Self { holder, leases }
    }

    /// Keeps the leases until it is stopped, and then releases them. If a store fails to take one,
    /// the next round retries: nothing depends on it.
    pub(crate) async fn keep(self, mut stop: watch::Receiver<bool>) -> Option<String> {
        let holder = &*self.holder;
        while !*stop.borrow() {
            self.each(|store, lease| async move {
                let held = store.acquire_lease(&lease, holder, PRESENCE_TIME_TO_LIVE);
                if let Ok(Err(error)) = timeout(PRESENCE_CALL_MAX, held).await {
                    tracing::debug!(%lease, %error, "a presence lease was not taken");
                }
            })
            .await;
            tokio::select! {
                _ = stop.changed() => {}
                () = sleep(PRESENCE_INTERVAL) => {}
            }
        }
        let given_back = self.each(|store, lease| async move {
            let _ = store.release_lease(&lease, holder).await;
        });
        let _ = timeout(PRESENCE_CALL_MAX, given_back).await;
        None
    }

    async fn each<F: Future<Output = ()>>(&self, call: impl Fn(Arc<dyn Store>, Arc<str>) -> F) {
        let calls = self.leases.iter();
        let calls = calls.map(|(store, lease)| call(Arc::clone(store), Arc::clone(lease)));
        let calls: Vec<_> = calls.collect();
        let calls = stream::iter(calls).buffer_unordered(LEASE_CALLS_MAX);
        calls.collect::<()>().await;
    }
}

/// Leases are renewed well before they end.
const _: () = assert!(PRESENCE_TIME_TO_LIVE.as_secs() >= 2 * PRESENCE_INTERVAL.as_secs());
