//! Agreement on values for keys, in one thread, over every store.

use std::sync::Arc;
use std::time::Duration;

use retold::application::ExecuteError;
use retold::domain::clock::ManualClock;
use retold::domain::id_source::SequentialIds;
use retold::open_store;
use retold::recording::memory::MemoryStore;
use retold::recording::store::Store;
use retold::system::retelling::{retell, retell_whole};
use retold::system::{Infrastructure, OpenSystem, Opening, SingleThread};
use retold_paxos::client::{decided, propose};
use retold_paxos::electorate::{Electorate, participant};
use retold_paxos::instance::Refusal;
use retold_paxos::invariants::History;
use retold_paxos::message::InstanceEvent;
use retold_paxos::participant::system;

/// A system of so many participants in one thread, and its clock.
pub(crate) async fn start(
    participants: u32,
    store: Arc<dyn Store>,
) -> (SingleThread, Electorate, Arc<ManualClock>) {
    let (runner, _, electorate, clock) = start_with_another(participants, store).await;
    (runner, electorate, clock)
}

/// The same, and the system as another program has it open: what that records, the runner finds when it
/// catches up.
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

/// A folder for files that is removed at the end, and the stores to test over.
pub(crate) async fn stores() -> (tempfile::TempDir, [Arc<dyn Store>; 3]) {
    let folder = tempfile::tempdir().unwrap();
    // It need not survive the machine.
    let path = folder.path().join("paxos.db");
    let url = format!("sqlite:{}?synchronous=normal", path.display());
    let sqlite = open_store(&url).await.unwrap();
    let postgres = open_store(&xtask::postgres_server::database())
        .await
        .unwrap();
    (folder, [Arc::new(MemoryStore::new()), sqlite, postgres])
}

/// The first difference between what is recorded and what the participants tell again, follower by
/// follower and as a whole.
pub(crate) async fn difference(open: &OpenSystem) -> Option<String> {
    for report in retell(open).await.unwrap() {
        if report.difference.is_some() {
            return Some(report.to_string());
        }
    }
    let whole = retell_whole(open).await.unwrap();
    whole.difference.is_some().then(|| whole.to_string())
}

/// Nothing is violated, no follower has stopped, and all is retold. Gives what was recorded.
pub(crate) async fn assert_sound(runner: &SingleThread, electorate: Electorate) -> History {
    for status in runner.status() {
        assert_eq!(status.last_error, None, "{status:?}");
    }
    let history = History::read(runner.open_system().applications());
    let history = history.await.unwrap();
    assert_eq!(history.violations(electorate), []);
    assert_eq!(difference(runner.open_system()).await, None);
    history
}

#[tokio::test]
async fn all_learn_what_one_proposes() {
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
async fn all_propose_at_once_and_agree_on_one() {
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
            // The one with the highest index yields to nobody.
            let highest = participant(participants - 1);
            assert_eq!(all[0].1, &highest.as_str().into());

            // What waits for a rival finds the matter decided.
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
async fn a_proposer_waits_for_one_that_is_down_and_then_goes_on() {
    let (runner, open, electorate, clock) =
        start_with_another(3, Arc::new(MemoryStore::new())).await;
    // As if the last participant had crashed just after it prepared: nobody answers for it.
    let last = participant(2);
    let operator = runner.operator(&last, "paxos").unwrap();
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
async fn what_is_decided_or_proposed_is_not_proposed_anew() {
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
async fn what_cannot_be_proposed_is_refused_in_words() {
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
