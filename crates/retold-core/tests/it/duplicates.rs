//! Requests that are sent twice and race with themselves: neither is refused by the other's success.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use retold_core::application::model::{Reach, ReadTo};
use retold_core::application::{Application, ExecuteError, Fold, Model, Outcome, Result, fold_of};
use retold_core::domain::id::Id;
use retold_core::mapping::any_event::Addressed;
use retold_core::recording::condition::Condition;
use retold_core::recording::memory::MemoryStore;
use retold_core::recording::recorder::BoxFuture;
use std::future::IntoFuture;

use crate::accounts::{Account, AccountCount, AccountEvent, Refusal, deposited, opened};

async fn open(store: &MemoryStore) -> Application {
    let builder = Application::builder("bank").store(Arc::new(store.clone()));
    builder.open().await.unwrap()
}

fn account() -> Id<Account> {
    Id::new("1".into())
}

/// Withdraws all there is, under one command id.
async fn withdraw(bank: &Application) {
    let command = bank.execute(account(), |account| account.withdraw(10));
    let recorded = command.command_id("withdraw").await.unwrap();
    assert_eq!(recorded.outcome, Outcome::Recorded);
}

/// Goal: a command whose duplicate is recorded after the look-up of its id, but before its state is
/// read anew, is answered with what was recorded. Method: the duplicate runs while the command decides
/// on an old state, in the cache, that refuses it.
#[tokio::test]
async fn a_command_is_not_refused_by_its_duplicate() {
    let store = MemoryStore::new();
    let (bank, other) = (open(&store).await, open(&store).await);
    let create = bank.execute_or_create(account(), |_| opened("ann"));
    create.await.unwrap();
    let deposit = other.execute(account(), |_| deposited(10));
    deposit.await.unwrap();

    let has_run = AtomicBool::new(false);
    let command = bank.execute(account(), |account| {
        if !has_run.swap(true, Ordering::SeqCst) {
            withdraw(&other).now_or_never().expect("memory never waits");
        }
        account.withdraw(10)
    });
    let recorded = command.command_id("withdraw").await.unwrap();
    assert_eq!(recorded.outcome, Outcome::Repeated);
    assert_eq!(recorded.version.map(|it| it.get()), Some(3));
}

/// The same for one that decides on nothing when its effect is there already.
#[tokio::test]
async fn a_command_that_finds_nothing_left_to_do_gives_what_its_duplicate_recorded() {
    let store = MemoryStore::new();
    let (bank, other) = (open(&store).await, open(&store).await);
    let create = bank.execute_or_create(account(), |_| opened("ann"));
    create.await.unwrap();
    other.execute(account(), |_| deposited(10)).await.unwrap();

    let has_run = AtomicBool::new(false);
    let command = bank.execute(account(), |account| {
        if !has_run.swap(true, Ordering::SeqCst) {
            withdraw(&other).now_or_never().expect("memory never waits");
        }
        account.withdraw(10).ok()
    });
    let recorded = command.command_id("withdraw").await.unwrap();
    assert_eq!(recorded.outcome, Outcome::Repeated);
}

/// A model that lets something happen just before it is read.
struct After<M, F>(M, F);

impl<M: Model, F: Fn() + Send + Sync> Model for After<M, F> {
    type State = M::State;
    type Place = M::Place;

    fn begin(&self) -> (M::State, M::Place) {
        self.0.begin()
    }

    fn read_on<'a>(
        &'a self,
        application: &'a Application,
        state: &'a mut M::State,
        place: &'a mut M::Place,
        reach: Reach,
    ) -> BoxFuture<'a, Result<ReadTo>> {
        (self.1)();
        self.0.read_on(application, state, place, reach)
    }

    fn conditions(&self, place: &M::Place, conditions: &mut Vec<Condition>) {
        self.0.conditions(place, conditions);
    }
}

fn accounts() -> Fold<AccountCount> {
    fold_of::<AccountCount, AccountEvent>().only("AccountEvent.Opened")
}

fn open_first(count: &AccountCount) -> Result<retold_core::mapping::any_event::AnyEvent, Refusal> {
    if count.0 > 0 {
        return Err(Refusal::TooManyAccounts { count: count.0 });
    }
    Ok(opened("ann").to(&account()))
}

#[tokio::test]
async fn a_decision_is_not_refused_by_its_duplicate() {
    let store = MemoryStore::new();
    let (bank, other) = (open(&store).await, open(&store).await);
    let has_run = AtomicBool::new(false);
    let model = After(accounts(), || {
        if !has_run.swap(true, Ordering::SeqCst) {
            let duplicate = other.decide(accounts(), open_first).command_id("open");
            let recorded = duplicate.into_future().now_or_never();
            recorded.expect("memory never waits").unwrap();
        }
    });
    let recorded = bank.decide(model, open_first).command_id("open").await;
    assert_eq!(recorded.unwrap().outcome, Outcome::Repeated);

    let another = bank.decide(accounts(), open_first).command_id("another");
    let refused = another.await.unwrap_err();
    assert!(matches!(refused, ExecuteError::Refused(_)), "{refused}");
}
