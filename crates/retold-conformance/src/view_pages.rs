//! Rules 1 to 5 of a view store: pages, poison and skipped events.

use retold_core::projection::{Applied, ProjectionError, Supersede, Switched, ViewStore};
use retold_core::recording::{Checkpoint, StoredEvent};

use super::dropping::poll_at_most;
use super::scene::event_id;
use super::view_scene::{
    ViewScene, after, apply, checkpoint_of, elsewhere, history, kept, page, skipped,
};
use super::view_subject::ViewSubject;

/// Rule 1. A page that is applied changes view and checkpoint, also if it has no events.
pub async fn view_and_checkpoint_change_together<S: ViewSubject>() {
    let scene = ViewScene::<S>::new().await;
    let events = history(1, &["sit", "fetch", "roll", "speak"]).await;
    let view_store = scene.begun(1).await;
    assert_eq!(scene.read().await, [""; 0]);
    apply(&*view_store, page(&events, 0..2)).await;
    assert_eq!(scene.read().await, ["sit", "fetch"]);
    assert_eq!(checkpoint_of(&*view_store).await, after(&events, 2));

    let mut empty = page(&events, 2..3);
    empty.events.clear();
    apply(&*view_store, empty).await;
    assert_eq!(scene.read().await, ["sit", "fetch"]);
    // As another process finds it.
    let other = scene.keep(1).await;
    assert_eq!(checkpoint_of(&*other).await, after(&events, 3));
    apply(&*other, page(&events, 3..4)).await;
    assert_eq!(scene.read().await, ["sit", "fetch", "speak"]);
    assert_eq!(checkpoint_of(&*view_store).await, after(&events, 4));
}

/// Rule 2. A call that expects another checkpoint than the stored one changes nothing.
pub async fn a_page_is_applied_once<S: ViewSubject>() {
    let scene = ViewScene::<S>::new().await;
    let events = history(1, &["sit", "fetch", "roll"]).await;
    let view_store = scene.begun(1).await;
    apply(&*view_store, page(&events, 0..2)).await;
    let stored = after(&events, 2);
    let other_event = stored.map(|it| Checkpoint {
        event_id: event_id(99),
        ..it
    });
    for view_store in [view_store, scene.keep(1).await] {
        for expected in [None, after(&events, 1), after(&events, 3), other_event] {
            let mut page = page(&events, 2..3);
            page.after = expected;
            assert_eq!(elsewhere(view_store.apply(page).await), stored);
            let skip = view_store.skip(expected, skipped(&events[2])).await;
            assert_eq!(elsewhere(skip), stored);
            let to = after(&events, 3);
            let switch = view_store.switch(expected, to, Supersede::Diverged).await;
            assert_eq!(switch.ok(), Some(Switched::Elsewhere(stored)));
        }
        let kept = kept(&*view_store).await.expect("it has begun");
        assert_eq!((kept.checkpoint, kept.skipped), (stored, 0));
    }
    assert_eq!(scene.read().await, ["sit", "fetch"]);
}

/// Applies a page of which the event with this index fails.
async fn apply_until(view_store: &dyn ViewStore, events: &[StoredEvent], range: (usize, usize)) {
    let (first, failing) = range;
    let page = page(events, first..events.len());
    let Ok(Applied::Until { count, error }) = view_store.apply(page).await else {
        panic!("the event {failing} fails");
    };
    assert_eq!(count, failing - first);
    let text = error.to_string();
    let is_meant = text.contains("not taught") || text.contains("too exciting");
    assert!(is_meant, "{text}");
    assert_eq!(checkpoint_of(view_store).await, after(events, failing));
}

/// Rule 3. An event whose handler fails or panics leaves no trace, and those before it are applied.
pub async fn an_event_that_fails_leaves_no_trace<S: ViewSubject>() {
    for poison in ["bite", "panic"] {
        let scene = ViewScene::<S>::new().await;
        let events = history(1, &["sit", "fetch", poison, "roll", poison]).await;
        let view_store = scene.begun(1).await;
        // Twice: the second page begins with the event.
        for first in [0, 2] {
            apply_until(&*view_store, &events, (first, 2)).await;
            assert_eq!(scene.read().await, ["sit", "fetch"], "{poison}");
        }
        let skip = view_store
            .skip(after(&events, 2), skipped(&events[2]))
            .await;
        assert!(matches!(skip, Ok(Applied::Whole)), "{skip:?}");
        apply_until(&*view_store, &events, (3, 4)).await;
        assert_eq!(scene.read().await, ["sit", "fetch", "roll"], "{poison}");
        // A version that is built next to another is not different.
        let next = scene.begun(2).await;
        apply_until(&*next, &events, (0, 2)).await;
    }
}

/// Rule 4. A skipped event moves the checkpoint and is listed, once, with its version.
pub async fn skipped_events_are_listed<S: ViewSubject>() {
    let scene = ViewScene::<S>::new().await;
    let events = history(1, &["bite", "sit", "bite", "bite"]).await;
    let view_store = scene.begun(1).await;
    let list: Vec<_> = [0, 2, 3].map(|index| skipped(&events[index])).into();
    for (index, is_poison) in [true, false, true, true].into_iter().enumerate() {
        let expected = after(&events, index);
        match is_poison {
            true => {
                let skip = view_store.skip(expected, skipped(&events[index])).await;
                assert!(matches!(skip, Ok(Applied::Whole)), "{skip:?}");
            }
            false => apply(&*view_store, page(&events, index..index + 1)).await,
        }
        assert_eq!(checkpoint_of(&*view_store).await, after(&events, index + 1));
    }
    assert_eq!(scene.read().await, ["sit"]);
    let other = scene.keep(1).await;
    assert_eq!(kept(&*other).await.map(|it| it.skipped), Some(3));
    let page = async |after: Option<usize>, limit| {
        let after = after.map(|index| events[index].position());
        other.skipped(after, limit).await
    };
    for (after, limit, found) in [
        (None, 10, &list[..]),
        (None, 2, &list[..2]),
        (Some(0), 1, &list[1..2]),
        (Some(1), 10, &list[1..]),
        (Some(3), 10, &[]),
    ] {
        let listed = page(after, limit).await.expect("the list is read");
        assert_eq!(listed, found, "after {after:?}, {limit}");
    }
    let refused = page(None, 0).await;
    let is_invalid = matches!(refused, Err(ProjectionError::Invalid { .. }));
    assert!(is_invalid, "a limit of 0: {refused:?}");
    // Each version has its own list.
    let next = scene.begun(2).await;
    assert_eq!(kept(&*next).await.map(|it| it.skipped), Some(0));
    assert_eq!(next.skipped(None, 10).await.ok(), Some(Vec::new()));
}

/// Rule 5. A call whose future is dropped takes effect completely or not at all.
pub async fn a_dropped_call_takes_effect_completely_or_not<S: ViewSubject>() {
    let scene = ViewScene::<S>::new().await;
    let tricks: Vec<_> = (0..40).map(|number| format!("trick {number}")).collect();
    let names: Vec<_> = tricks.iter().map(|it| &**it).collect();
    let events = history(1, &names).await;
    let view_store = scene.begun(1).await;
    let mut count = 0;
    for polls in 0.. {
        if count == events.len() {
            break;
        }
        let next = page(&events, count..count + 4);
        let (start, end) = (next.after, Some(next.to));
        let dropped = poll_at_most(view_store.apply(next.clone()), polls % 20).await;
        let found = checkpoint_of(&*view_store).await;
        assert!([start, end].contains(&found), "{found:?}");
        let is_done = dropped.is_some() && found == end;
        assert!(dropped.is_none() || is_done, "{found:?}");
        // The dropped call may still take effect; afterwards, the page is applied once.
        match view_store.apply(next).await {
            Ok(Applied::Whole) => assert!(!is_done),
            other => assert_eq!(elsewhere(other), end),
        }
        count += 4;
        assert_eq!(scene.read().await, names[..count]);
    }
}
