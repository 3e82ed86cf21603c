//! Publishing in process: notified once durable, without being waited for, and never missed
//! silently.

use std::collections::BTreeSet;

use retold_core::application::limits::COMMITS_KEPT;
use retold_core::application::{Application, LogReader};
use retold_core::recording::{Append, StoredEvent};

use crate::racing::{event, log, soon};

async fn application() -> Application {
    Application::builder("log")
        .recorder(log().await)
        .open()
        .await
        .unwrap()
}

async fn commit(app: &Application, count: usize) {
    let events = (0..count).map(|_| event("a"));
    app.settle(Append::of(events)).await.unwrap();
}

#[tokio::test]
async fn a_commit_is_published_with_its_events_and_positions() {
    let app = application().await;
    commit(&app, 1).await;
    let mut commits = app.commits();
    assert!(commits.next_reported().unwrap().is_none());
    commit(&app, 2).await;

    let committed = soon(commits.next()).await.unwrap().unwrap();
    let reported: Vec<_> = committed
        .events()
        .map(|(position, event)| (position, event.id))
        .collect();
    let recorded = LogReader::new(app.recorder().clone())
        .stored()
        .read()
        .collect()
        .await
        .unwrap();
    let recorded: Vec<_> = recorded[1..]
        .iter()
        .map(|it| (it.position(), it.id()))
        .collect();
    assert_eq!(reported, recorded);
    assert_eq!(committed.checkpoint(), app.head().await.unwrap().checkpoint);
}

#[tokio::test]
async fn a_slow_subscriber_learns_how_many_it_missed() {
    let app = application().await;
    let mut commits = app.commits();
    for _ in 0..COMMITS_KEPT + 7 {
        commit(&app, 1).await;
    }
    let missed = soon(commits.next()).await.unwrap_err();
    assert_eq!(missed.count, 7);
    assert!(missed.to_string().contains("missed 7 messages"));
    for number in 0..COMMITS_KEPT {
        let committed = soon(commits.next()).await.unwrap().unwrap();
        let expected = (8 + number) as u64;
        assert_eq!(
            committed.positions.first().map(|it| it.get()),
            Some(expected)
        );
    }
    assert!(commits.next_reported().unwrap().is_none());
    drop(app);
    assert!(soon(commits.next()).await.unwrap().is_none());
}

/// Goal: every announced event is in the log already, at the announced position, and is announced
/// once. Method: concurrent commits; a subscriber that reads each event back when it receives it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_is_recorded() {
    let app = application().await;
    let mut commits = app.commits();
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let app = app.clone();
            tokio::spawn(async move {
                for count in 1..=50 {
                    commit(&app, count % 3 + 1).await;
                }
            })
        })
        .collect();
    let mut reported = BTreeSet::new();
    for _ in 0..200 {
        let committed = soon(commits.next()).await.unwrap().unwrap();
        for (position, event) in committed.events() {
            let stored = app.recorder().event(event.id).await.unwrap();
            assert_eq!(stored.as_ref().map(StoredEvent::position), Some(position));
            assert!(reported.insert(position), "{position} is announced twice");
        }
    }
    for writer in writers {
        soon(writer).await.unwrap();
    }
    assert_eq!(
        reported.len() as u64,
        app.head().await.unwrap().checkpoint.unwrap().position.get()
    );
    assert!(commits.next_reported().unwrap().is_none());
}
