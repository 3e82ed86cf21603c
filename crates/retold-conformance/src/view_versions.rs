//! Rules 6 to 12 of a view store: how versions begin, replace each other, and are discarded.

use retold_core::projection::{
    Applied, ProjectionError, Supersede, Switched, ViewStore, VisibleView,
};
use retold_core::recording::{Checkpoint, StoredEvent};

use super::scene::{checkpoint, log_id};
use super::view_scene::{
    ViewScene, after, apply, begin, checkpoint_of, history, kept, page, skipped, state,
};
use super::view_subject::ViewSubject;

/// Rule 6. A version that has begun is left unchanged, unless it has processed nothing and begins
/// over another log.
pub async fn a_version_begins_once<S: ViewSubject>() {
    let scene = ViewScene::<S>::new().await;
    let view_store = scene.keep(1).await;
    assert_eq!(kept(&*view_store).await, None);
    let begun = state(1, None, VisibleView::This);
    assert_eq!(begin(&*view_store, 1).await, begun);
    let start = Some(checkpoint(3, 3));
    let again = view_store.begin(log_id(1), start).await;
    assert_eq!(again.ok(), Some(begun), "it has begun over this log");
    assert_eq!(kept(&*view_store).await, Some(begun));

    let replaced = state(2, start, VisibleView::This);
    let again = view_store.begin(log_id(2), start).await;
    assert_eq!(again.ok(), Some(replaced), "it has processed nothing");
    for view_store in [view_store, scene.keep(1).await] {
        for log in [1, 2] {
            assert_eq!(begin(&*view_store, log).await, replaced, "over log {log}");
        }
        assert_eq!(kept(&*view_store).await, Some(replaced));
    }
}

/// Rule 7. Readers see the first version at once, and continue to see it while others are built.
pub async fn readers_see_the_first_version_at_once<S: ViewSubject>() {
    let scene = ViewScene::<S>::new().await;
    let events = history(1, &["sit", "fetch"]).await;
    let first = scene.begun(2).await;
    let next = scene.keep(3).await;
    assert_eq!(begin(&*next, 1).await, state(1, None, VisibleView::Older));
    apply(&*next, page(&events, 0..2)).await;
    assert_eq!(scene.read().await, [""; 0]);
    apply(&*first, page(&events, 0..1)).await;
    assert_eq!(scene.read().await, ["sit"]);
    assert_eq!(
        kept(&*first).await,
        Some(state(1, after(&events, 1), VisibleView::This))
    );
    assert_eq!(
        kept(&*next).await,
        Some(state(1, after(&events, 2), VisibleView::Older))
    );
}

/// Rule 8. A version replaces an older one only if it has processed as much, unless the log has
/// diverged.
pub async fn readers_never_move_backward<S: ViewSubject>() {
    let scene = ViewScene::<S>::new().await;
    let events = history(1, &["sit", "fetch", "roll"]).await;
    let first = scene.begun(1).await;
    apply(&*first, page(&events, 0..3)).await;
    let second = scene.begun(2).await;
    let ahead = events[2].checkpoint();
    let switch = async |view_store: &dyn ViewStore, from, to, supersede| {
        let (from, to) = (after(&events, from), after(&events, to));
        view_store
            .switch(from, to, supersede)
            .await
            .expect("it is stored")
    };
    for count in [0, 2] {
        if count > 0 {
            apply(&*second, page(&events, 0..count)).await;
        }
        let switched = switch(&*second, count, count, Supersede::Reached).await;
        assert_eq!(switched, Switched::Behind(ahead));
        assert_eq!(checkpoint_of(&*second).await, after(&events, count));
        assert_eq!(scene.read().await, ["sit", "fetch", "roll"]);
    }
    // The last event is not selected by the second version.
    let switched = switch(&*second, 2, 3, Supersede::Reached).await;
    assert_eq!(switched, Switched::Done);
    assert_eq!(scene.read().await, ["sit", "fetch"]);
    assert_eq!(
        kept(&*second).await,
        Some(state(1, Some(ahead), VisibleView::This))
    );

    let third = scene.begun(3).await;
    apply(&*third, page(&events, 0..1)).await;
    let switched = switch(&*third, 1, 1, Supersede::Diverged).await;
    assert_eq!(switched, Switched::Done);
    assert_eq!(scene.read().await, ["sit"]);
    assert_eq!(
        kept(&*third).await,
        Some(state(1, after(&events, 1), VisibleView::This))
    );
}

/// The errors of all calls that change a version.
async fn changes(
    view_store: &dyn ViewStore,
    stored: Option<Checkpoint>,
    event: &StoredEvent,
) -> [Option<ProjectionError>; 3] {
    let mut page = page(std::slice::from_ref(event), 0..1);
    page.after = stored;
    let to = Some(page.to);
    [
        view_store.apply(page).await.err(),
        view_store.skip(stored, skipped(event)).await.err(),
        view_store
            .switch(stored, to, Supersede::Diverged)
            .await
            .err(),
    ]
}

fn is_superseded(error: &Option<ProjectionError>, by: u32) -> bool {
    matches!(error, Some(ProjectionError::Superseded { current, .. }) if *current == by)
}

/// Rule 9. A switch drops all older versions; their calls fail with `Superseded` from then on.
pub async fn a_switch_drops_older_versions<S: ViewSubject>() {
    let scene = ViewScene::<S>::new().await;
    let events = history(1, &["sit", "fetch", "roll", "speak"]).await;
    let (first, second, third) = (
        scene.begun(1).await,
        scene.begun(2).await,
        scene.begun(3).await,
    );
    apply(&*first, page(&events, 0..2)).await;
    apply(&*second, page(&events, 0..1)).await;
    apply(&*third, page(&events, 0..3)).await;
    let stored = after(&events, 3);
    let switched = third.switch(stored, stored, Supersede::Reached).await;
    assert_eq!(switched.ok(), Some(Switched::Done));
    let seen = state(1, stored, VisibleView::This);
    for view_store in [third, scene.keep(3).await] {
        assert_eq!(kept(&*view_store).await, Some(seen));
        // A version that readers see already only moves its checkpoint.
        let switched = view_store.switch(stored, stored, Supersede::Reached).await;
        assert_eq!(switched.ok(), Some(Switched::Done));
    }
    let dropped = [(first, 2), (second, 1), (scene.keep(1).await, 0)];
    for (view_store, count) in dropped {
        assert_eq!(kept(&*view_store).await, None);
        let version = view_store.outline().version;
        let begun = view_store.begin(log_id(1), None).await.err();
        assert!(is_superseded(&begun, 3), "{version}: {begun:?}");
        let changes = changes(&*view_store, after(&events, count), &events[count]).await;
        for error in changes {
            assert!(is_superseded(&error, 3), "{version}: {error:?}");
        }
        let discarded = view_store.discard().await;
        assert!(discarded.is_ok(), "{version}: {discarded:?}");
    }
    assert_eq!(scene.read().await, ["sit", "fetch", "roll"]);
}

/// Rule 10. A version that is not stored is neither changed nor read, and is not superseded by an
/// older one.
pub async fn a_version_that_is_not_stored_changes_nothing<S: ViewSubject>() {
    let scene = ViewScene::<S>::new().await;
    let events = history(1, &["sit", "fetch"]).await;
    let check = async |view_store: &dyn ViewStore| {
        assert_eq!(kept(view_store).await, None);
        assert_eq!(view_store.skipped(None, 10).await.ok(), Some(Vec::new()));
        for error in changes(view_store, None, &events[0]).await {
            let is_invalid = matches!(error, Some(ProjectionError::Invalid { .. }));
            assert!(is_invalid, "{error:?}");
        }
    };
    let second = scene.keep(2).await;
    check(&*second).await;
    let discarded = second.discard().await;
    assert!(
        discarded.is_ok(),
        "there is nothing to discard: {discarded:?}"
    );

    let first = scene.begun(1).await;
    apply(&*first, page(&events, 0..1)).await;
    check(&*second).await;
    begin(&*second, 1).await;
    apply(&*second, page(&events, 0..1)).await;
    // Discarded by another process.
    let discarded = scene.keep(2).await.discard().await;
    assert!(discarded.is_ok(), "{discarded:?}");
    if kept(&*second).await.is_none() {
        check(&*second).await;
    }
    assert_eq!(scene.read().await, ["sit"]);
    assert_eq!(checkpoint_of(&*first).await, after(&events, 1));
}

/// Rule 11. A discarded version is gone with its view, and can begin again over any log.
pub async fn a_discarded_version_begins_again<S: ViewSubject>() {
    let scene = ViewScene::<S>::new().await;
    let events = history(1, &["sit", "bite"]).await;
    let first = scene.begun(1).await;
    apply(&*first, page(&events, 0..1)).await;
    let skip = first.skip(after(&events, 1), skipped(&events[1])).await;
    assert!(matches!(skip, Ok(Applied::Whole)), "{skip:?}");
    let second = scene.begun(2).await;
    apply(&*second, page(&events, 0..1)).await;
    let discarded = second.discard().await;
    assert!(discarded.is_ok(), "{discarded:?}");
    assert_eq!(kept(&*second).await, None);
    assert_eq!(scene.read().await, ["sit"], "the version that readers see");

    let discarded = first.discard().await;
    assert!(discarded.is_ok(), "{discarded:?}");
    assert_eq!(kept(&*first).await, None);
    assert_eq!(first.skipped(None, 10).await.ok(), Some(Vec::new()));
    assert_eq!(scene.read().await, [""; 0]);
    assert_eq!(begin(&*first, 2).await, state(2, None, VisibleView::This));
    let events = history(2, &["speak", "roll"]).await;
    apply(&*first, page(&events, 0..2)).await;
    assert_eq!(scene.read().await, ["speak", "roll"]);
}

/// Rule 12. A version does not begin over another log than that of the events in other versions,
/// unless it was discarded before.
pub async fn versions_have_events_of_one_log<S: ViewSubject>() {
    let scene = ViewScene::<S>::new().await;
    let events = history(1, &["sit", "fetch"]).await;
    let stored = scene.begun(2).await;
    // While no version has events, there is nothing to compare.
    let empty = scene.keep(3).await;
    assert_eq!(begin(&*empty, 2).await, state(2, None, VisibleView::Older));
    assert!(empty.discard().await.is_ok());
    apply(&*stored, page(&events, 0..1)).await;

    for version in [1, 3] {
        let other = scene.keep(version).await;
        let refused = other.begin(log_id(2), None).await;
        let ids = match &refused {
            Err(ProjectionError::Diverged { ids, .. }) => ids.as_deref().copied(),
            _ => None,
        };
        assert_eq!(ids, Some((log_id(1), log_id(2))), "{version}: {refused:?}");
        assert_eq!(kept(&*other).await, None, "{version}");
    }
    apply(&*stored, page(&events, 1..2)).await;
    assert_eq!(scene.read().await, ["sit", "fetch"]);

    let (older, newer) = (scene.keep(1).await, scene.keep(3).await);
    assert!(older.discard().await.is_ok() && newer.discard().await.is_ok());
    let refused = older.begin(log_id(2), None).await.err();
    assert!(is_superseded(&refused, 2), "{refused:?}");
    assert_eq!(begin(&*newer, 2).await, state(2, None, VisibleView::Older));
    let events = history(2, &["speak"]).await;
    apply(&*newer, page(&events, 0..1)).await;
    let to = after(&events, 1);
    let switched = newer.switch(to, to, Supersede::Diverged).await;
    assert_eq!(switched.ok(), Some(Switched::Done));
    assert_eq!(scene.read().await, ["speak"]);
}
