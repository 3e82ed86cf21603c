//! Tests of agreement on values for keys, in one thread, on every store.

use std::sync::Arc;
use std::time::Duration;

use retold::application::ExecuteError;
use retold::domain::{ManualClock, SequentialIds};
use retold::open_store;
use retold::recording::{MemoryStore, Store};
use retold::retelling::{retell, retell_whole};
use retold::system::{FollowerPath, Infrastructure, OpenSystem, Opening, Runner, SingleThread};
use retold_paxos::client::{decided, propose};
use retold_paxos::electorate::{Electorate, participant};
use retold_paxos::instance::Refusal;
use retold_paxos::invariants::History;
use retold_paxos::message::InstanceEvent;
use retold_paxos::participant::system;

/// Starts a system of this many participants in one thread, and returns its clock.
pub(crate) async fn start(
    participants: u32,
    store: Arc<dyn Store>,
) -> (SingleThread, Electorate, Arc<ManualClock>) {
    let (runner, _, electorate, clock) = start_with_another(participants, store).await;
    (runner, electorate, clock)
}

/// As above, plus the system as opened by another program: the runner finds what that program
/// records when it catches up.
pub(crate) async fn start_with_another(
    participants: u32,
    store: Arc<dyn Store>,
) -> (SingleThread, OpenSystem, Electorate, Arc<ManualClock>) {
    let electorate = Electorate::of(participants).unwrap();
    let start = "2026-01-01T00:00:00Z".parse().unwrap();
    let clock = Arc::new(ManualClock::new(start));
    let infrastructure = Infrastructure::new(store)
        .clock(clock.clone())
        .ids(Arc::new(SequentialIds::new(7)));
    let system = system(electorate).unwrap();
    let runner = SingleThread::start(&system, &infrastructure).await;
    let another = OpenSystem::open(&system, &infrastructure, Opening::Write).await;
    (runner.unwrap(), another.unwrap(), electorate, clock)
}

/// A temporary folder for files, and the stores to test.
pub(crate) async fn stores() -> (tempfile::TempDir, [Arc<dyn Store>; 3]) {
    let folder = tempfile::tempdir().unwrap();
    // The file does not need to survive a power failure.
    let path = folder.path().join("paxos.db");
    let url = format!("sqlite:{}?synchronous=normal", path.display());
    let sqlite = open_store(&url).await.unwrap();
    let postgres = open_store(&xtask::postgres_server::database())
        .await
        .unwrap();
    (folder, [Arc::new(MemoryStore::new()), sqlite, postgres])
}

/// Returns the first difference between recorded and retold events, per follower and for the whole.
pub(crate) async fn difference(open: &OpenSystem) -> Option<String> {
    for report in retell(open).await.unwrap() {
        if report.difference.is_some() {
            return Some(report.to_string());
        }
    }
    let whole = retell_whole(open).await.unwrap();
    whole.difference.is_some().then(|| whole.to_string())
}

/// Checks that nothing is violated, no follower has stopped, and the logs retell. Returns the
/// history.
pub(crate) async fn assert_sound(runner: &SingleThread, electorate: Electorate) -> History {
    for status in runner.status().await {
        assert_eq!(status.last_error, None, "{status:?}");
    }
    let history = History::read(runner.open_system().applications());
    let history = history.await.unwrap();
    assert_eq!(history.violations(electorate), []);
    assert_eq!(difference(runner.open_system()).await, None);
    history
}

#[tokio::test]
async fn all_learn_the_value_of_one_proposer() {
    for participants in [1, 3, 5] {
        let (_folder, stores) = stores().await;
        for store in stores {
            let (runner, electorate, _) = start(participants, store).await;
            for name in electorate.names() {
                let app = runner.application(&name).unwrap();
                propose(&app, electorate, &name, "tea").await.unwrap();
                for other in electorate.names() {
                    let other = runner.application(&other).unwrap();
                    assert_eq!(decided(&other, &name).await.unwrap(), Some("tea".into()));
                }
            }
            assert_sound(&runner, electorate).await;
        }
    }
}

#[tokio::test]
async fn concurrent_proposers_agree_on_one_value() {
    for participants in [3, 5] {
        let (_folder, stores) = stores().await;
        for store in stores {
            let (runner, another, electorate, clock) =
                start_with_another(participants, store).await;
            // Recorded without the runner, which then finds all of them.
            for name in electorate.names() {
                let app = another.application(&name).unwrap();
                propose(app, electorate, "drink", &name).await.unwrap();
            }
            runner.catch_up().await.unwrap();
            let history = assert_sound(&runner, electorate).await;
            let all = history.decided("drink");
            assert_eq!(all.len(), participants as usize, "{history:#?}");
            // The participant with the highest index never yields.
            let highest = participant(participants - 1);
            assert_eq!(all[0].1, &highest.as_str().into());

            // A participant that waits for a rival finds that the value is decided.
            clock.advance(Duration::from_secs(3_600));
            runner.catch_up().await.unwrap();
            assert_eq!(
                assert_sound(&runner, electorate)
                    .await
                    .decided("drink")
                    .len(),
                all.len()
            );
        }
    }
}

#[tokio::test]
async fn a_proposer_waits_for_one_that_is_down_and_then_retries() {
    let (runner, open, electorate, clock) =
        start_with_another(3, Arc::new(MemoryStore::new())).await;
    // As if the last participant had crashed just after it prepared: nothing processes replies for
    // it.
    let last = participant(2);
    let operator = runner
        .operator(&FollowerPath::new(last.as_str(), "paxos"))
        .unwrap();
    operator.pause("it is down").await.unwrap();
    let app = open.application(&last).unwrap();
    let first = open.application("participant-0").unwrap();
    propose(first, electorate, "drink", "tea").await.unwrap();
    propose(app, electorate, "drink", "coffee").await.unwrap();
    runner.catch_up().await.unwrap();
    assert_eq!(decided(first, "drink").await.unwrap(), None);

    clock.advance(Duration::from_secs(2));
    runner.catch_up().await.unwrap();
    for name in ["participant-0", "participant-1"] {
        let app = runner.application(name).unwrap();
        assert_eq!(
            decided(&app, "drink").await.unwrap(),
            Some("tea".into()),
            "{name}"
        );
    }
    assert_eq!(decided(app, "drink").await.unwrap(), None);

    operator.resume().await.unwrap();
    runner.catch_up().await.unwrap();
    assert_eq!(decided(app, "drink").await.unwrap(), Some("tea".into()));
    assert_sound(&runner, electorate).await;
}

#[tokio::test]
async fn a_decided_or_proposed_value_is_not_proposed_again() {
    let (runner, another, electorate, _) =
        start_with_another(3, Arc::new(MemoryStore::new())).await;
    let app = another.application("participant-1").unwrap();
    propose(app, electorate, "drink", "tea").await.unwrap();
    propose(app, electorate, "drink", "tea").await.unwrap();
    let error = propose(app, electorate, "drink", "coffee").await;
    assert!(
        matches!(error, Err(ExecuteError::Refused(Refusal::WantsAnother(_)))),
        "{error:?}"
    );
    runner.catch_up().await.unwrap();
    let error = propose(app, electorate, "drink", "coffee").await;
    assert!(
        matches!(error, Err(ExecuteError::Refused(Refusal::Decided(_)))),
        "{error:?}"
    );
    let events = app
        .events::<InstanceEvent>()
        .read()
        .collect()
        .await
        .unwrap();
    let prepared = events
        .iter()
        .filter(|it| matches!(it.event, InstanceEvent::Prepared(_)));
    assert_eq!(prepared.count(), 1);
}

#[tokio::test]
async fn invalid_proposals_are_refused_with_a_reason() {
    let (runner, electorate, _) = start(3, Arc::new(MemoryStore::new())).await;
    let app = runner.application("participant-1").unwrap();
    for (key, words) in [
        ("", "0 bytes"),
        (&*"k".repeat(201), "201 bytes"),
        ("slot-1", "slot"),
    ] {
        let error = propose(&app, electorate, key, "tea").await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    let one = Electorate::of(1).unwrap();
    let error = propose(&app, one, "drink", "tea").await.unwrap_err();
    assert!(error.to_string().contains("participant-0"), "{error}");
    for participants in [0, 2, 11] {
        let error = Electorate::of(participants).unwrap_err();
        assert!(error.to_string().contains("odd"), "{error}");
    }
    assert_eq!(Electorate::tolerating(2).unwrap().participants(), 5);
    assert_eq!(Electorate::of(5).unwrap().failures_tolerated(), 2);
}
