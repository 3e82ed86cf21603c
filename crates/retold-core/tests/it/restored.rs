//! A log that is restored from an older copy while an application has it open: the application's
//! cached state is then ahead of the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use retold_core::application::{Application, Draft, Error, fold_of};
use retold_core::domain::Id;
use retold_core::following::Outbox;
use retold_core::mapping::Addressed;
use retold_core::recording::{MemoryStore, Recorder, RecorderLayer, Version};

use crate::accounts::{Account, AccountCount, AccountEvent, deposited, opened};
use crate::racing;

/// One log, until it is restored; then the older copy.
struct Restored {
    newest: Arc<dyn Recorder>,
    copy: Arc<dyn Recorder>,
    is_restored: AtomicBool,
}

impl RecorderLayer for Restored {
    fn inner(&self) -> &Arc<dyn Recorder> {
        match self.is_restored.load(Ordering::SeqCst) {
            false => &self.newest,
            true => &self.copy,
        }
    }
}

/// A bank whose cache has version 3 of an account, of a log that has only the first.
async fn restored() -> (Application, Id<Account>) {
    let id = Id::<Account>::new("1".into());
    let log = Arc::new(Restored {
        newest: racing::log().await,
        copy: racing::log().await,
        is_restored: AtomicBool::new(false),
    });
    for log in [&log.newest, &log.copy] {
        let builder = Application::builder("bank").recorder(Arc::clone(log));
        let bank = builder.open().await.unwrap();
        let open = bank.execute_or_create(&id, |_| opened("ann"));
        open.await.unwrap();
    }
    let builder = Application::builder("bank").recorder(log.clone());
    let bank = builder.open().await.unwrap();
    for _ in 0..2 {
        bank.execute(&id, |_| deposited(5)).await.unwrap();
    }
    log.is_restored.store(true, Ordering::SeqCst);
    (bank, id)
}

#[tokio::test]
async fn a_command_decides_on_what_the_log_has() {
    let (bank, id) = restored().await;
    let recorded = bank.execute(&id, |_| deposited(1)).await.unwrap();
    assert_eq!(recorded.version, Version::new(2));
    assert_eq!(bank.get(&id).await.unwrap().state.cents, 1);
}

#[tokio::test]
async fn a_decision_decides_on_what_the_log_has() {
    let (bank, id) = restored().await;
    bank.decide(id.clone(), |_| deposited(1).to(&id))
        .await
        .unwrap();
    let account = bank.get(&id).await.unwrap();
    assert_eq!((account.version.get(), account.state.cents), (2, 1));
}

/// A bank whose cache has version 3 of an account with 10 cents, of a log that was restored from an
/// older copy and has grown to version 3 again, with 2 cents. The cached state comes from commands
/// or from decisions.
async fn restored_and_grown(by_decisions: bool) -> (Application, Id<Account>) {
    let id = Id::<Account>::new("1".into());
    let log = Arc::new(Restored {
        newest: racing::log().await,
        copy: racing::log().await,
        is_restored: AtomicBool::new(false),
    });
    let mut banks = Vec::new();
    for log in [&log.newest, &log.copy] {
        let builder = Application::builder("bank").recorder(Arc::clone(log));
        let bank = builder.open().await.unwrap();
        let open = bank.execute_or_create(&id, |_| opened("ann"));
        open.await.unwrap();
        banks.push(bank);
    }
    let builder = Application::builder("bank").recorder(log.clone());
    let bank = builder.open().await.unwrap();
    for _ in 0..2 {
        match by_decisions {
            false => drop(bank.execute(&id, |_| deposited(5)).await.unwrap()),
            true => {
                let decide = bank.decide(id.clone(), |_| deposited(5).to(&id));
                decide.await.unwrap();
            }
        }
        let grown = banks[1].execute(&id, |_| deposited(1));
        grown.await.unwrap();
    }
    log.is_restored.store(true, Ordering::SeqCst);
    (bank, id)
}

/// The version alone does not distinguish the states.
#[tokio::test]
async fn a_command_notices_other_events_of_the_same_version() {
    for by_decisions in [false, true] {
        let (bank, id) = restored_and_grown(by_decisions).await;
        let double = |account: &Account| deposited(account.cents);
        let recorded = bank.execute(&id, double).await.unwrap();
        assert_eq!(recorded.version, Version::new(4));
        assert_eq!(bank.get(&id).await.unwrap().state.cents, 4);
    }
}

#[tokio::test]
async fn a_decision_notices_other_events_of_the_same_version() {
    for by_decisions in [false, true] {
        let (bank, id) = restored_and_grown(by_decisions).await;
        let double = |account: &Account| deposited(account.cents).to(&id);
        bank.decide(id.clone(), double).await.unwrap();
        let account = bank.get(&id).await.unwrap();
        assert_eq!((account.version.get(), account.state.cents), (4, 4));
        let (bank, id) = restored_and_grown(by_decisions).await;
        let double = |account: &mut Draft<Account>| account.record(deposited(account.cents));
        bank.change(id.clone(), double).await.unwrap();
        assert_eq!(bank.get(&id).await.unwrap().state.cents, 4);
    }
}

/// Goal: the next read verifies a state that a decision or a change left in the cache. Method: the
/// log is restored from a copy that has other events at the same versions, and one more.
#[tokio::test]
async fn what_a_decision_left_in_the_cache_is_proven() {
    for is_change in [false, true] {
        let id = Id::<Account>::new("1".into());
        let log = Arc::new(Restored {
            newest: racing::log().await,
            copy: racing::log().await,
            is_restored: AtomicBool::new(false),
        });
        let bank = Application::builder("bank").recorder(log.clone());
        let bank = bank.open().await.unwrap();
        let copy = Application::builder("bank").recorder(Arc::clone(&log.copy));
        let copy = copy.open().await.unwrap();
        for bank in [&bank, &copy] {
            let open = bank.execute_or_create(&id, |_| opened("ann"));
            open.await.unwrap();
        }
        match is_change {
            false => {
                let deposit = bank.decide(id.clone(), |_| deposited(5).to(&id));
                deposit.await.unwrap();
            }
            true => {
                let change = bank.change(id.clone(), |draft| draft.record(deposited(5)));
                change.await.unwrap();
            }
        }
        for cents in [7, 20] {
            copy.execute(&id, |_| deposited(cents)).await.unwrap();
        }
        log.is_restored.store(true, Ordering::SeqCst);
        let account = bank.get(&id).await.unwrap();
        assert_eq!((account.version.get(), account.state.cents), (3, 27));
    }
}

/// The events that a view has seen are lost: it must not continue as if nothing had happened.
#[tokio::test]
async fn a_view_reports_that_the_log_diverged() {
    let log = Arc::new(Restored {
        newest: racing::log().await,
        copy: racing::log().await,
        is_restored: AtomicBool::new(false),
    });
    racing::append(&*log.newest, "AccountEvent.Any", 2).await;
    racing::append(&*log.copy, "AccountEvent.Any", 1).await;
    let builder = Application::builder("bank").recorder(log.clone());
    let builder = builder.event::<AccountEvent>().retired("AccountEvent.Any");
    let bank = builder.open().await.unwrap();
    let accounts = fold_of::<AccountCount, AccountEvent>();
    let mut view = bank.view(accounts).await.unwrap();
    view.refresh(&bank).await.unwrap();
    let before = view.read_to;
    log.is_restored.store(true, Ordering::SeqCst);
    for found_there in [false, true] {
        let refreshed = view.refresh(&bank).await;
        let Err(Error::Diverged {
            checkpoint, found, ..
        }) = refreshed
        else {
            panic!("{refreshed:?}");
        };
        assert_eq!((Some(checkpoint), found.is_some()), (before, found_there));
        racing::append(&*log.copy, "AccountEvent.Any", 1).await;
    }
}

/// Goal: a log that is restored and grows beyond its readers makes them miss no event: positions
/// are assigned again, and each reader reports it. Method: a memory store with a copy of an earlier
/// state.
#[tokio::test]
async fn readers_of_a_log_that_grew_again_report_that_it_diverged() {
    let store = MemoryStore::new();
    let builder = Application::builder("bank").store(Arc::new(store.clone()));
    let bank = builder.open().await.unwrap();
    let account = |name: &str| Id::<Account>::new(name.into());
    bank.execute_or_create(account("kept"), |_| opened("ann"))
        .await
        .unwrap();
    let copy = store.fork();
    for name in ["lost 1", "lost 2"] {
        bank.execute_or_create(account(name), |_| opened("bob"))
            .await
            .unwrap();
    }
    let mut subscription = bank.events::<AccountEvent>().subscribe().await.unwrap();
    for _ in 0..3 {
        subscription.next().await.unwrap();
    }
    let mut outbox = Outbox::<AccountEvent>::open(&bank, "mail").await.unwrap();
    while outbox.next().await.unwrap().is_some() {
        outbox.delivered().await.unwrap();
    }
    let mut view = bank
        .view(fold_of::<AccountCount, AccountEvent>())
        .await
        .unwrap();
    let mut first = bank.events::<AccountEvent>().page_size(2).read().events();
    first.next().await.unwrap();
    first.next().await.unwrap();

    store.restore(&copy);
    for number in 0..5 {
        let name = format!("new {number}");
        bank.execute_or_create(account(&name), |_| opened("cid"))
            .await
            .unwrap();
    }
    let diverged = |error: Error| matches!(error, Error::Diverged { .. });
    assert!(subscription.next().await.is_err_and(diverged));
    assert!(subscription.next().await.is_err_and(diverged), "again");
    assert!(outbox.next().await.map(drop).is_err_and(diverged));
    assert!(view.refresh(&bank).await.is_err_and(diverged));
    assert!(first.next().await.is_err_and(diverged));
    // States of lost events are folded from the log again.
    assert!(bank.find(account("lost 1")).await.unwrap().is_none());
    assert!(bank.find(account("new 4")).await.unwrap().is_some());
}

/// Goal: an outbox records no delivery of a lost event, even of one that it had read before the log
/// was restored; otherwise the new event at that position would be skipped. Method: a page in
/// memory while the store is restored, and grows again.
#[tokio::test]
async fn an_outbox_records_no_delivery_of_a_lost_event() {
    let store = MemoryStore::new();
    let builder = Application::builder("bank").store(Arc::new(store.clone()));
    let bank = builder.open().await.unwrap();
    let open = async |name: &str| {
        let id = Id::<Account>::new(name.into());
        let opened = bank.execute_or_create(id, |_| opened("ann")).await;
        opened.unwrap().position().unwrap()
    };
    let kept = open("kept").await;
    let mut outbox = Outbox::<AccountEvent>::open(&bank, "mail").await.unwrap();
    outbox.next().await.unwrap().unwrap();
    outbox.delivered().await.unwrap();
    let copy = store.fork();
    open("lost").await;
    let given = outbox.next().await.unwrap().unwrap();
    assert!(given.position() > kept);

    store.restore(&copy);
    let new = open("new").await;
    let count = bank.head().await.unwrap().append_count;
    for again in [false, true] {
        let delivered = match again {
            false => outbox.delivered().await,
            true => outbox.next().await.map(drop),
        };
        assert!(
            matches!(delivered, Err(Error::Diverged { .. })),
            "{delivered:?}"
        );
    }
    assert_eq!(bank.head().await.unwrap().append_count, count);
    let mut reopened = Outbox::<AccountEvent>::open(&bank, "mail").await.unwrap();
    assert_eq!(reopened.next().await.unwrap().unwrap().position(), new);
    reopened.delivered().await.unwrap();
}
