//! Requests that are sent twice and race with themselves: neither is refused because the other
//! succeeded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use retold_core::application::{
    Application, ExecuteError, Fold, Model, Outcome, Reach, ReadTo, Result, fold_of,
};
use retold_core::domain::Id;
use retold_core::mapping::Addressed;
use retold_core::recording::{BoxFuture, Condition, MemoryStore};
use std::collections::BTreeSet;
use std::future::IntoFuture;

use crate::accounts::{Account, AccountCount, AccountEvent, Refusal, deposited, opened};
use crate::racing::{log, seed, soon};
use crate::unsteady::Unsteady;

async fn open(store: &MemoryStore) -> Application {
    let builder = Application::builder("bank").store(Arc::new(store.clone()));
    builder.open().await.unwrap()
}

fn account() -> Id<Account> {
    Id::new("1".into())
}

/// Withdraws the whole balance, under one command id.
async fn withdraw(bank: &Application) {
    let command = bank.execute(account(), |account| account.withdraw(10));
    let recorded = command.command_id("withdraw").await.unwrap();
    assert_eq!(recorded.outcome, Outcome::Recorded);
}

/// Goal: a command whose duplicate is recorded after the lookup of its id, but before its state is
/// read again, returns what was recorded. Method: the duplicate runs while the command decides on
/// an old cached state that refuses it.
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

/// The same for a command that decides on nothing because its effect exists already.
#[tokio::test]
async fn an_empty_command_returns_what_its_duplicate_recorded() {
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

/// A model that runs something just before it is read.
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

fn open_first(count: &AccountCount) -> Result<retold_core::mapping::AnyEvent, Refusal> {
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

const ROUNDS: usize = 100;
const IDS: usize = 3;
const FUNDS: i64 = 2;

/// Withdraws one cent under each id, in a random order; returns which of the ids succeeded.
async fn withdraw_under_each_id(
    bank: Application,
    from: Id<Account>,
    mut random: fastrand::Rng,
) -> BTreeSet<usize> {
    let mut ids: Vec<_> = (0..IDS).collect();
    random.shuffle(&mut ids);
    let mut succeeded = BTreeSet::new();
    for id in ids {
        let command_id = format!("withdraw-{from}-{id}");
        let withdrawn = if random.bool() {
            let decide = |account: &Account| Ok::<_, Refusal>(account.withdraw(1)?.to(&from));
            bank.decide(&from, decide).command_id(command_id).await
        } else {
            let decide = |account: &Account| account.withdraw(1);
            bank.execute(&from, decide).command_id(command_id).await
        };
        match withdrawn {
            Ok(_) => assert!(succeeded.insert(id)),
            Err(ExecuteError::Refused(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    succeeded
}

/// Goal: of many duplicates of a command one is executed, and all get the same result. Method:
/// clients send the same commands in different orders, through handles with separate caches, over a
/// recorder that yields to others between every two steps. The balance only decreases, so a caller
/// that is refused under an id that was executed was refused because of its own success.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_duplicates_get_one_answer() {
    let mut random = fastrand::Rng::with_seed(seed());
    let log = log().await;
    let mut handles = Vec::new();
    for _ in 0..3 {
        let recorder = Unsteady::new(log.clone(), random.u64(..));
        let builder = Application::builder("bank").recorder(recorder);
        handles.push(builder.open().await.unwrap());
    }
    for round in 0..ROUNDS {
        let from = Id::<Account>::new(round.to_string());
        let fund = handles[0].execute_or_create(&from, |_| [opened("ann"), deposited(FUNDS)]);
        fund.await.unwrap();
        let clients: Vec<_> = (0..6)
            .map(|number| {
                let bank = handles[number % handles.len()].clone();
                let withdrawn = withdraw_under_each_id(bank, from.clone(), random.fork());
                tokio::spawn(withdrawn)
            })
            .collect();
        let mut answers = Vec::new();
        for client in clients {
            answers.push(soon(client).await.unwrap());
        }
        assert_eq!(answers[0].len() as i64, FUNDS);
        for answer in &answers {
            assert_eq!(answer, &answers[0], "round {round}");
        }
        let account = handles[0].get(&from).await.unwrap();
        assert_eq!(account.state.cents, 0);
        assert_eq!(account.version.get(), 2 + FUNDS as u64);
    }
}
