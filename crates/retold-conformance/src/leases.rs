//! The contract of leases: one holder at a time, and a term that counts changes of holder.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use super::scene::{Scene, at_once};
use super::subject::Subject;
use retold_core::recording::RecordError;
use retold_core::recording::Store;

const HOUR: Duration = Duration::from_secs(3600);

/// A lease has one holder until it ends. The holder may renew it or release it, then others may
/// take it, and the term counts how often the holder changed.
pub async fn leases_have_one_holder<S: Subject>() {
    let scene = Scene::<S>::new().await;
    let (one, two) = (&*scene.store, scene.subject.open().await);
    let two = &*two;
    let acquire = async |store: &dyn Store, holder: &str, time_to_live| -> (Arc<str>, u64) {
        let lease = store.acquire_lease("work", holder, time_to_live).await;
        let lease = lease.expect("a lease is returned");
        assert_eq!(&*lease.name, "work");
        (lease.holder, lease.term)
    };
    assert_eq!(acquire(one, "a", HOUR).await, ("a".into(), 1));
    assert_eq!(acquire(two, "b", HOUR).await, ("a".into(), 1), "it is held");
    let long = one
        .acquire_lease("work", "a", HOUR * 2)
        .await
        .expect("renewed");
    let held = two
        .acquire_lease("work", "b", HOUR)
        .await
        .expect("a lease is returned");
    assert_eq!(
        long, held,
        "the lease of the other holder is returned unchanged"
    );
    assert!(long.since <= long.renewed_at && long.renewed_at < long.ends_at);
    let now = two.now().await.expect("the clock is read");
    assert!(long.is_held_at(now) && !long.is_held_at(long.ends_at));
    assert_eq!(acquire(one, "a", HOUR).await, ("a".into(), 1), "renewed");

    // Only the holder can release it.
    two.release_lease("work", "b")
        .await
        .expect("the release is ignored");
    assert_eq!(acquire(two, "b", HOUR).await, ("a".into(), 1));
    one.release_lease("work", "a")
        .await
        .expect("the lease is released");
    assert_eq!(acquire(two, "b", HOUR).await, ("b".into(), 2));
    assert_eq!(acquire(one, "a", HOUR).await, ("b".into(), 2));
    let of_two = one
        .leases("work", None, 1)
        .await
        .expect("the leases are read");
    assert!(of_two[0].since >= long.since, "it was taken later");
    let renewed = two.acquire_lease("work", "b", HOUR).await;
    let renewed = renewed.expect("renewed");
    assert_eq!(renewed.since, of_two[0].since, "a renewal keeps the start");

    // A lease with a duration of zero ends at once: anyone may take it, and its holder can renew it
    // until then.
    assert_eq!(acquire(two, "b", Duration::ZERO).await, ("b".into(), 2));
    assert_eq!(acquire(two, "b", Duration::ZERO).await, ("b".into(), 2));
    assert_eq!(acquire(one, "a", Duration::ZERO).await, ("a".into(), 3));
    assert_eq!(
        acquire(one, "c", Duration::MAX).await,
        ("c".into(), 4),
        "an unlimited time"
    );
    assert_eq!(acquire(two, "a", HOUR).await, ("c".into(), 4));
    two.release_lease("unknown", "a")
        .await
        .expect("the release is ignored");

    check_lease_listing(one).await;
    holders_exclude_each_other(&scene).await;
}

/// [`Store::now`] returns the time of the clock by which leases end, through any handle, and later
/// calls do not return earlier times.
pub async fn leases_end_by_the_clock_that_is_given<S: Subject>() {
    let scene = Scene::<S>::new().await;
    let (one, two) = (&*scene.store, scene.subject.open().await);
    let now = async |store: &dyn Store| store.now().await.expect("the clock is read");
    for round in 0..3 {
        let before = now(one).await;
        let lease = two.acquire_lease("clock", "a", HOUR).await;
        let lease = lease.expect("a lease is taken");
        let after = now(one).await;
        assert!(
            before.saturating_add(HOUR) <= lease.ends_at
                && lease.ends_at <= after.saturating_add(HOUR),
            "round {round}: between {before} and {after} a lease of an hour ends at {}",
            lease.ends_at
        );
        assert!(after <= now(&*two).await);
    }
}

async fn check_lease_listing(store: &dyn Store) {
    for name in ["x/b", "x/a", "x%", "y", "x/a/1"] {
        let taken = store.acquire_lease(name, "ended", Duration::ZERO).await;
        taken.expect("a lease is taken");
    }
    let list = async |prefix: &str, after: Option<&str>, limit| -> Vec<Arc<str>> {
        let leases = store
            .leases(prefix, after, limit)
            .await
            .expect("the leases are read");
        leases.into_iter().map(|it| it.name).collect()
    };
    let none: [Arc<str>; 0] = [];
    assert_eq!(
        list("", None, 10).await,
        ["work", "x%", "x/a", "x/a/1", "x/b", "y"].map(Into::into)
    );
    assert_eq!(
        list("x/", None, 10).await,
        ["x/a", "x/a/1", "x/b"].map(Into::into)
    );
    assert_eq!(list("x/", Some("x/a"), 1).await, ["x/a/1"].map(Into::into));
    assert_eq!(list("x%", None, 10).await, ["x%"].map(Into::into));
    assert_eq!(list("z", None, 10).await, none);
    assert_eq!(list("x/", Some("y"), 10).await, none);
    let refused = store.leases("", None, 0).await;
    assert!(
        matches!(refused, Err(RecordError::Invalid(_))),
        "{refused:?}"
    );
    for (name, holder) in [("", "a"), ("a", ""), ("a\0", "a"), ("a", "b\n")] {
        let refused = store.acquire_lease(name, holder, HOUR).await;
        assert!(
            matches!(refused, Err(RecordError::Invalid(_))),
            "{refused:?}"
        );
        let refused = store.release_lease(name, holder).await;
        assert!(
            matches!(refused, Err(RecordError::Invalid(_))),
            "{refused:?}"
        );
    }
}

async fn holders_exclude_each_other<S: Subject>(scene: &Scene<S>) {
    let mut tasks = Vec::new();
    for holder in ["a", "b", "c", "d"] {
        let store = scene.subject.open().await;
        let task = async move {
            let mut held = Vec::new();
            for number in 0..10 {
                let name = format!("race/{number}");
                let lease = store.acquire_lease(&name, holder, HOUR).await;
                let lease = lease.expect("a lease is returned");
                assert_eq!(lease.term, 1);
                held.push(lease.holder);
            }
            held
        };
        tasks.push(task.boxed());
    }
    let held = at_once::<S, _>(tasks).await;
    let same = held.iter().all(|it| *it == held[0]);
    assert!(same, "all callers see the same holder: {held:?}");
}
