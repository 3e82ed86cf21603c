//! Presence: shows other programs that a program runs a system in one process. The program holds a
//! lease for each follower, for the timers of each application and for each view, under names
//! reserved for this purpose, so that readers of the store know which followers and views a running
//! system still has. The leases place no work. Several programs that run the same system hold them
//! in turn, and those of a killed program remain visible until they expire.

use std::sync::Arc;

use super::follower_path::FollowerPath;
use super::open_system::{Infrastructure, OpenSystem};
use crate::domain::Timestamp;
use crate::following::limits::{PRESENCE_INTERVAL, PRESENCE_TIME_TO_LIVE};
use crate::recording::Store;

/// Prefix of the names of all leases of runners in one process.
pub const RUNNERS: &str = "retold.runner/";

/// Escapes a name for use in a lease's name, in which `/` separates the parts.
pub fn escaped(name: &str) -> String {
    name.replace('%', "%25").replace('/', "%2F")
}

/// Reverses [`escaped`].
pub fn unescaped(name: &str) -> Arc<str> {
    name.replace("%2F", "/").replace("%25", "%").into()
}

/// Returns the path of a follower in the name of its lease.
pub fn follower_lease_path(path: &FollowerPath) -> String {
    let (application, follower) = (escaped(path.application()), escaped(path.follower()));
    format!("follower/{application}/{follower}")
}

/// Returns the path of the timers of an application in the name of their lease.
pub fn timers_lease_path(application: &str) -> String {
    format!("timers/{}", escaped(application))
}

/// Returns the path of a view in the name of its lease.
pub fn view_lease_path(application: &str, view: &str, version: u32) -> String {
    let (application, view) = (escaped(application), escaped(view));
    format!("view/{application}/{view}/{version}")
}

/// Returns a name for this process as a holder of leases; each call returns a different one.
pub fn holder() -> Arc<str> {
    let (process, id) = (std::process::id(), uuid::Uuid::now_v7());
    format!("process {process}/{id}").into()
}

/// Returns the leases by which a runner in one process is visible, each with its store: one for
/// each follower, for the timers of each application and for each view.
pub fn presence_leases(
    open: &OpenSystem,
    infrastructure: &Infrastructure,
) -> Vec<(Arc<dyn Store>, Arc<str>)> {
    let prefix = format!("{RUNNERS}{}/unit/", escaped(open.system().name()));
    let mut leases = Vec::new();
    let mut add = |application: &str, path: String| {
        let store = Arc::clone(infrastructure.store_of(application));
        leases.push((store, format!("{prefix}{path}").into()));
    };
    for member in open.system().members() {
        let name = member.name();
        for follower in member.followers() {
            let path = FollowerPath::new(name, follower.name());
            add(name, follower_lease_path(&path));
        }
    }
    for member in open.system().members() {
        add(member.name(), timers_lease_path(member.name()));
    }
    for outline in open.views() {
        let path = view_lease_path(&outline.upstream, &outline.name, outline.version);
        add(&outline.upstream, path);
    }
    leases
}

/// The leases of a runner that has no task to renew them; it renews them when it is used.
pub(super) struct RunnerPresence {
    holder: Arc<str>,
    leases: Vec<(Arc<dyn Store>, Arc<str>)>,
    /// The time at which they were last acquired or renewed, by the clock of the first application.
    renewed_at: Option<Timestamp>,
}

impl RunnerPresence {
    pub(super) fn new(open: &OpenSystem, infrastructure: &Infrastructure) -> Self {
        Self {
            holder: holder(),
            leases: presence_leases(open, infrastructure),
            renewed_at: None,
        }
    }

    /// Acquires the leases, or renews them if due. A failed attempt is repeated at the next call:
    /// nothing depends on it.
    pub(super) async fn keep(&mut self, now: Timestamp) {
        let is_recent = self
            .renewed_at
            .is_some_and(|at| at <= now && now < at.saturating_add(PRESENCE_INTERVAL));
        if is_recent {
            return;
        }
        self.renewed_at = Some(now);
        for (store, lease) in &self.leases {
            let held = store.acquire_lease(lease, &self.holder, PRESENCE_TIME_TO_LIVE);
            if let Err(error) = held.await {
                tracing::debug!(%lease, %error, "other processes cannot see that it is run here");
            }
        }
    }

    /// Releases the leases.
    pub(super) async fn end(&self) {
        for (store, lease) in &self.leases {
            let _ = store.release_lease(lease, &self.holder).await;
        }
    }
}
