//! Decisions over models, views, and changes of several aggregates, over the memory store.

use std::convert::Infallible;
use std::sync::Arc;

use retold_core::application::limits::FOLD_PAGE_EVENTS;
use retold_core::application::{
    Application, Error, EventBus, ExecuteError, Fold, Outcome, Recorded, fold_of,
};
use retold_core::domain::{Apply, Event, EventType, Id, content};
use retold_core::mapping::{Addressed, AnyEvent};
use retold_core::recording::{MemoryStore, Position, Store, Version};
use serde::{Deserializer, Serializer};

use crate::accounts::{Account, AccountCount, AccountEvent, Refusal, deposited, opened};
use crate::dogs::{Dog, registered};

async fn open(store: &MemoryStore) -> Application {
    let store: Arc<dyn Store> = Arc::new(store.clone());
    let builder = Application::builder("bank").store(store);
    builder.aggregate::<Account>().open().await.unwrap()
}

fn account(key: &str) -> Id<Account> {
    key.into()
}

fn accounts_of(owner: &str) -> Fold<AccountCount> {
    fold_of::<AccountCount, AccountEvent>()
        .only("AccountEvent.Opened")
        .tag(format!("owner:{owner}"))
}

/// No owner has more than two accounts: a single aggregate cannot enforce this.
async fn open_account(
    bank: &Application,
    owner: &str,
    key: &str,
) -> Result<Outcome, ExecuteError<Refusal>> {
    let id = account(key);
    let recorded = bank
        .decide(accounts_of(owner), |accounts| match accounts.0 {
            0..2 => Ok(opened(owner).to(&id)),
            count => Err(Refusal::TooManyAccounts { count }),
        })
        .await?;
    Ok(recorded.outcome)
}

#[tokio::test]
async fn a_decision_on_a_view_sees_what_came_after_it() {
    let bank = open(&MemoryStore::new()).await;
    open_account(&bank, "ann", "1").await.unwrap();
    let view = bank.view(accounts_of("ann")).await.unwrap();
    open_account(&bank, "ann", "2").await.unwrap();

    let id = account("3");
    let third = bank
        .decide(&view, |accounts| match accounts.0 {
            0..2 => Ok(opened("ann").to(&id)),
            count => Err(Refusal::TooManyAccounts { count }),
        })
        .await;

    assert!(matches!(
        third,
        Err(ExecuteError::Refused(Refusal::TooManyAccounts { count: 2 }))
    ));
    // The view itself stays as it was read.
    assert_eq!(view.state, AccountCount(1));
}

#[tokio::test]
async fn a_decision_crosses_the_boundaries_of_aggregates() {
    let bank = open(&MemoryStore::new()).await;
    for key in ["1", "2"] {
        open_account(&bank, "ann", key).await.unwrap();
    }
    let third = open_account(&bank, "ann", "3").await;
    assert!(matches!(
        third,
        Err(ExecuteError::Refused(Refusal::TooManyAccounts { count: 2 }))
    ));
    open_account(&bank, "bob", "3").await.unwrap();
    assert_eq!(bank.get(account("3")).await.unwrap().state.owner, "bob");
}

/// Many concurrent decisions never open more than two accounts for one owner, and owners do not
/// affect each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn decisions_hold_under_races() {
    let store = MemoryStore::new();
    let banks = [open(&store).await, open(&store).await];
    let tasks: Vec<_> = (0..40)
        .map(|index| {
            let bank = banks[index % 2].clone();
            let owner = ["ann", "bob", "cid", "dan"][index / 2 % 4];
            tokio::spawn(async move { open_account(&bank, owner, &index.to_string()).await })
        })
        .collect();
    let mut opened_count = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(outcome) => {
                assert_eq!(outcome, Outcome::Recorded);
                opened_count += 1;
            }
            Err(ExecuteError::Refused(Refusal::TooManyAccounts { count })) => assert_eq!(count, 2),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(opened_count, 8);
    for owner in ["ann", "bob", "cid", "dan"] {
        let view = banks[0].view(accounts_of(owner)).await.unwrap();
        assert_eq!(view.state, AccountCount(2));
    }
}

#[tokio::test]
async fn models_compose() {
    let bank = open(&MemoryStore::new()).await;
    let (one, two) = (account("1"), account("2"));
    bank.execute_or_create(&one, |_| [opened("ann"), deposited(5)])
        .await
        .unwrap();
    let models = (
        &one,
        two.clone(),
        accounts_of("ann"),
        Some(accounts_of("bob")),
        vec![one.clone(), two.clone()],
        None::<Id<Account>>,
    );
    let recorded = bank
        .decide(models, |(one, two, ann, bob, all, none)| {
            assert_eq!((one.cents, two.cents, ann.0), (5, 0, 1));
            assert_eq!((bob, all.len(), none), (&Some(AccountCount(0)), 2, &None));
            (registered("Rex"), opened("bob").to(&account("2")))
        })
        .await
        .unwrap();
    assert_eq!(recorded.positions.count(), 2);
    assert_eq!(recorded.checkpoint, bank.head().await.unwrap().checkpoint);
    assert_eq!(
        bank.get(two).await.unwrap().version,
        Version::new(1).unwrap()
    );
}

/// An event that was recorded under a former name is part of the boundary too.
#[tokio::test]
async fn former_topics_are_in_the_query() {
    let query = format!("{:?}", accounts_of("ann").query().unwrap());
    assert!(query.contains("AccountEvent.Opened") && query.contains("AccountEvent.Created"));
    assert!(!query.contains("AccountEvent.Deposited"));
    let wrong = fold_of::<AccountCount, AccountEvent>().only("AccountEvent.Sold");
    let bank = open(&MemoryStore::new()).await;
    let view = bank.view(wrong).await;
    assert!(matches!(view, Err(Error::Invalid(_))), "{view:?}");
}

#[tokio::test]
async fn a_repeated_decision_records_nothing() {
    let bank = open(&MemoryStore::new()).await;
    let decide = |key: &'static str| {
        bank.decide(accounts_of("ann"), move |accounts| {
            (accounts.0 == 0).then(|| {
                [
                    opened("ann").to(&account(key)),
                    deposited(1).to(&account(key)),
                ]
            })
        })
        .command_id("first account")
        .into_future()
    };
    let first = decide("1").await.unwrap();
    let second = decide("2").await.unwrap();
    assert!(second.is_repeated());
    assert_eq!(
        (second.positions, second.checkpoint),
        (first.positions, first.checkpoint)
    );
}

/// Money is neither created nor lost under concurrent transfers, and a refusal was true when it was
/// made.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_aggregates_change_in_one_append() {
    let store = MemoryStore::new();
    let banks = [open(&store).await, open(&store).await];
    let ids: Vec<_> = ["1", "2", "3"].map(account).into();
    for id in &ids {
        banks[0]
            .execute_or_create(id, |_| [opened("ann"), deposited(10)])
            .await
            .unwrap();
    }
    let tasks: Vec<_> = (0..60_usize)
        .map(|index| {
            let bank = banks[index % 2].clone();
            let (from, to) = (
                ids[index % 3].clone(),
                ids[(index + 1 + index % 2) % 3].clone(),
            );
            tokio::spawn(async move {
                let change = bank.change((from, to), |(from, to)| {
                    from.record(from.withdraw(7)?);
                    to.record(deposited(7));
                    Ok::<_, Refusal>(())
                });
                change.await
            })
        })
        .collect();
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) | Err(ExecuteError::Refused(Refusal::InsufficientFunds { .. })) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    let view = banks[1].view(ids).await.unwrap();
    assert_eq!(view.state.iter().map(|it| it.cents).sum::<i64>(), 30);
    assert!(
        view.state.iter().all(|it| it.cents >= 0),
        "{:?}",
        view.state
    );
}

#[tokio::test]
async fn a_view_is_refreshed_by_what_is_new() {
    let bank = open(&MemoryStore::new()).await;
    let mut view = bank.view((accounts_of("ann"), account("1"))).await.unwrap();
    assert_eq!(view.read_to, None);
    open_account(&bank, "ann", "1").await.unwrap();
    view.refresh(&bank).await.unwrap();
    assert_eq!(view.state.0, AccountCount(1));
    assert_eq!(view.state.1.owner, "ann");
    assert_eq!(view.read_to, bank.head().await.unwrap().checkpoint);
}

#[tokio::test]
async fn ids_of_a_type_are_listed_in_pages() {
    let bank = open(&MemoryStore::new()).await;
    for key in ["b", "a", "c"] {
        open_account(&bank, key, key).await.unwrap();
    }
    bank.create::<Dog>(registered("Rex")).await.unwrap();
    let mut ids = bank.aggregates::<Account>().page_size(2);
    assert_eq!(
        ids.next_page().await.unwrap(),
        Some(vec![account("a"), account("b")])
    );
    assert_eq!(ids.next_page().await.unwrap(), Some(vec![account("c")]));
    assert_eq!(ids.next_page().await.unwrap(), None);
    let rest = bank.aggregates::<Account>().after(&account("a"));
    assert_eq!(rest.collect().await.unwrap().len(), 2);
    assert_eq!(bank.aggregates::<Dog>().collect().await.unwrap().len(), 1);
}

/// Goal: a fold sees everything, over any number of pages, and later events when it continues.
#[tokio::test]
async fn a_fold_reads_beyond_its_first_page() {
    let store = MemoryStore::new();
    let bank = open(&store).await;
    let count = FOLD_PAGE_EVENTS * 2 + 1;
    let append = async |count: usize| {
        let all = (0..count).map(|_| opened("ann")).collect::<Vec<_>>();
        let bus = EventBus::new();
        bus.record_into(&bank).unwrap();
        bus.publish(all).await.unwrap();
    };
    append(count).await;
    let mut view = bank.view(accounts_of("ann")).await.unwrap();
    assert_eq!(view.state, AccountCount(count));
    append(1).await;
    view.refresh(&bank).await.unwrap();
    assert_eq!(view.state, AccountCount(count + 1));
}

/// A decision may begin with a cached aggregate; a refusal or an empty decision may not be based on
/// it.
#[tokio::test]
async fn a_decision_is_not_refused_on_a_cached_state() {
    let store = MemoryStore::new();
    let (here, there) = (open(&store).await, open(&store).await);
    let (one, two) = (account("1"), account("2"));
    here.execute_or_create(&one, |_| opened("ann"))
        .await
        .unwrap();
    there.execute(&one, |_| deposited(5)).await.unwrap();
    here.decide((&one, &two), |(from, _)| {
        let withdrawn = from.withdraw(5)?.to(&one);
        Ok::<_, Refusal>([withdrawn, deposited(5).to(&two)])
    })
    .await
    .unwrap();
    there.execute(&one, |_| deposited(7)).await.unwrap();
    // An empty decision is not based on an old state either; events decided on one are judged by
    // the append.
    let when_seven = |account: &Account| (account.cents == 7).then(|| opened("bob").to(&one));
    let recorded = here.decide(&one, when_seven).await.unwrap();
    assert_eq!(recorded.outcome, Outcome::Recorded);
    let recorded = there.decide(&one, |account| {
        let cents = account.cents;
        let deposited = AccountEvent::Deposited { cents };
        deposited.to(&one)
    });
    recorded.await.unwrap();
    let account = here.get(&one).await.unwrap();
    assert_eq!(
        (account.state.owner.as_str(), account.state.cents),
        ("bob", 14)
    );
}

/// Events of decisions and changes reach the cache and snapshots like those of commands.
#[tokio::test]
async fn decisions_are_remembered() {
    let store = MemoryStore::new();
    let bank = open(&store).await;
    let (one, two) = (account("1"), account("2"));
    for _ in 0..12 {
        bank.change(vec![one.clone(), two.clone()], |accounts| {
            accounts[0].record(deposited(3));
            accounts[1].record([deposited(1), deposited(1)]);
        })
        .await
        .unwrap();
    }
    for (id, version, cents) in [(&one, 10, 36), (&two, 20, 24)] {
        let snapshot = bank.recorder().snapshot(&id.stream(), None).await.unwrap();
        assert_eq!(snapshot.unwrap().version.get(), version);
        assert_eq!(bank.get(id).await.unwrap().state.cents, cents);
        let cold = open(&store).await;
        assert_eq!(cold.get(id).await.unwrap().state.cents, cents);
    }
}

/// Goal: a rule of an aggregate holds for every change. Two drafts of one aggregate could each be
/// valid and together break the rule.
#[tokio::test]
async fn an_aggregate_is_not_changed_twice_in_one_change() {
    let bank = open(&MemoryStore::new()).await;
    open_account(&bank, "ann", "1").await.unwrap();
    let deposit = bank.execute(account("1"), |_| deposited(10));
    deposit.await.unwrap();

    let ids = (account("1"), account("1"));
    let change = bank.change(ids, |(one, two)| {
        one.record(one.withdraw(10)?);
        two.record(two.withdraw(10)?);
        Ok::<_, Refusal>(())
    });
    let error = change.await.unwrap_err();
    assert!(
        matches!(error, ExecuteError::Retold(Error::Invalid(_))),
        "{error}"
    );
    assert!(error.to_string().contains("\"Account/1\" twice"), "{error}");
    assert_eq!(bank.get(account("1")).await.unwrap().state.cents, 10);

    let ids = vec![account("1"), account("2"), account("1")];
    let change = bank.change(ids, |_| Ok::<(), Refusal>(()));
    assert!(change.await.is_err());
}

/// Only deposits, as a separate type, which shares events with accounts.
#[derive(Clone, Debug)]
struct Paid;

impl Event for Paid {
    const TYPES: &'static [EventType] = &[AccountEvent::TYPES[1]];

    fn type_index(&self) -> usize {
        0
    }

    fn serialize_payload<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        content::serialize_nothing(serializer)
    }

    fn deserialize_payload<'de, D: Deserializer<'de>>(
        _: usize,
        deserializer: D,
    ) -> Result<Self, D::Error> {
        content::deserialize_nothing(deserializer).map(|()| Self)
    }
}

/// The events that a fold received, with their types.
#[derive(Clone, Debug, Default, PartialEq)]
struct Came {
    account_events: Vec<AccountEvent>,
    paid_count: usize,
}

impl Apply<AccountEvent> for Came {
    fn apply(&mut self, event: &AccountEvent) {
        self.account_events.push(event.clone());
    }
}

impl Apply<Paid> for Came {
    fn apply(&mut self, _: &Paid) {
        self.paid_count += 1;
    }
}

/// A type that is narrowed to one topic receives no other events, even if another type of the same
/// fold selects more of its topics.
#[tokio::test]
async fn a_narrowed_type_leaves_other_topics_to_other_types() {
    let bank = open(&MemoryStore::new()).await;
    bank.execute_or_create(account("1"), |_| [opened("ann"), deposited(5)])
        .await
        .unwrap();
    let fold = fold_of::<Came, AccountEvent>()
        .only("AccountEvent.Opened")
        .and::<Paid>();
    let came = bank.view(fold).await.unwrap().state;
    assert_eq!(came.account_events, [opened("ann")]);
    assert_eq!(came.paid_count, 1);
}

/// The state of one log is not valid for another.
#[tokio::test]
async fn a_view_of_another_log_is_refused() {
    let store = MemoryStore::new();
    let bank = open(&store).await;
    open_account(&bank, "ann", "1").await.unwrap();
    let other = bank.another("other bank").open().await.unwrap();
    open_account(&other, "ann", "1").await.unwrap();
    other.execute(account("1"), |_| deposited(5)).await.unwrap();

    let mut view = bank.view((accounts_of("ann"), account("1"))).await.unwrap();
    let decided = other
        .decide(&view, |_| opened("ann").to(&account("2")))
        .await;
    let Err(ExecuteError::Retold(Error::Invalid(invalid))) = decided else {
        panic!("{decided:?}");
    };
    assert!(
        invalid.to_string().contains("\"bank\"") && invalid.to_string().contains("\"other bank\"")
    );
    assert!(matches!(view.refresh(&other).await, Err(Error::Invalid(_))));
    view.refresh(&bank).await.unwrap();
}

/// A decision on a view of an aggregate takes the snapshot that its events make due.
#[tokio::test]
async fn a_decision_on_a_view_remembers_what_it_recorded() {
    let bank = open(&MemoryStore::new()).await;
    let id = account("1");
    bank.execute_or_create(&id, |_| opened("ann"))
        .await
        .unwrap();
    let view = bank.view(id.clone()).await.unwrap();
    bank.decide(&view, |_| {
        vec![1; 9]
            .into_iter()
            .map(|it| deposited(it).to(&id))
            .collect::<Vec<_>>()
    })
    .await
    .unwrap();
    let snapshot = bank.recorder().snapshot(&id.stream(), None).await.unwrap();
    assert_eq!(snapshot.map(|it| it.version.get()), Some(10));
}

/// Whether a result says that the id was used for another command, which recorded events from this
/// position.
fn is_reused<T, R>(answer: Result<T, ExecuteError<R>>, position: u64) -> bool {
    matches!(
        answer,
        Err(ExecuteError::Retold(Error::CommandIdReused { position: at, .. }))
            if at.get() == position
    )
}

type Answer = Result<Recorded, ExecuteError<Infallible>>;

async fn open_one(bank: &Application, id: &Id<Account>, command: &str) -> Answer {
    let opened = bank.execute_or_create(id, |_| opened("ann"));
    opened.command_id(command).await
}

async fn open_over(bank: &Application, owner: &str, command: &str) -> Answer {
    let decided = bank.decide(accounts_of(owner), |_| opened("ann").to(&account("2")));
    decided.command_id(command).await
}

async fn give_both(
    bank: &Application,
    one: &Id<Account>,
    other: &Id<Account>,
    command: &str,
) -> Answer {
    let given = bank.change((one.clone(), other.clone()), |(one, other)| {
        one.record(deposited(1));
        other.record(deposited(1));
    });
    given.command_id(command).await
}

/// The events under an id are not the result of another command, and nothing is recorded for that.
#[tokio::test]
async fn a_command_id_of_another_command_is_refused() {
    let store = MemoryStore::new();
    let (bank, there) = (open(&store).await, open(&store).await);
    let ids = ["1", "2", "3"].map(account);
    open_one(&bank, &ids[0], "a").await.unwrap();
    open_over(&bank, "ann", "b").await.unwrap();
    give_both(&bank, &ids[0], &ids[1], "c").await.unwrap();
    let head = bank.head().await.unwrap().position().map(Position::get);
    assert_eq!(head, Some(4));

    for bank in [&bank, &there] {
        // The same commands again.
        assert!(open_one(bank, &ids[0], "a").await.unwrap().is_repeated());
        assert!(open_over(bank, "ann", "b").await.unwrap().is_repeated());
        assert!(
            give_both(bank, &ids[1], &ids[0], "c")
                .await
                .unwrap()
                .is_repeated()
        );
        // A decision over one aggregate is a command on it.
        let decided = bank.decide(&ids[0], |_| deposited(1).to(&account("1")));
        assert!(decided.command_id("a").await.unwrap().is_repeated());

        // Other aggregates, other queries, other kinds of commands.
        assert!(is_reused(open_one(bank, &ids[1], "a").await, 1));
        assert!(is_reused(open_over(bank, "ann", "a").await, 1));
        assert!(is_reused(give_both(bank, &ids[0], &ids[1], "a").await, 1));
        assert!(is_reused(open_over(bank, "bob", "b").await, 2));
        assert!(is_reused(open_one(bank, &ids[1], "b").await, 2));
        assert!(is_reused(give_both(bank, &ids[0], &ids[1], "b").await, 2));
        assert!(is_reused(give_both(bank, &ids[0], &ids[2], "c").await, 3));
        assert!(is_reused(open_one(bank, &ids[0], "c").await, 3));
        assert!(is_reused(open_over(bank, "ann", "c").await, 3));
        let reported = open_one(bank, &ids[1], "a").await.unwrap_err().to_string();
        assert!(
            reported
                .contains("it recorded \"AccountEvent.Opened\" about \"Account/1\", at position 1"),
            "{reported}"
        );
    }
    let after = bank.head().await.unwrap().position().map(Position::get);
    assert_eq!(after, head);
}

/// Goal: of two decisions with the same reads and the same id, the second is identified as another
/// one by its events, or by the events that its type declares as possible.
#[tokio::test]
async fn another_decision_under_one_id_is_found_by_its_events() {
    let bank = open(&MemoryStore::new()).await;
    let id = account("1");
    let open_it = || bank.decide((), |()| opened("ann").to(&id));
    let deposit = || bank.decide((), |()| deposited(1).to(&id));
    let fresh = || bank.decide((), |()| opened("bob").to(&account("another")));
    assert!(!open_it().command_id("a").await.unwrap().is_repeated());
    assert!(open_it().command_id("a").await.unwrap().is_repeated());
    // Another stream and another content, as of a command that generates a new id each time it is
    // sent.
    assert!(fresh().command_id("a").await.unwrap().is_repeated());
    assert!(is_reused(deposit().command_id("a").await, 1));
    let nothing = bank.decide((), |()| None::<AnyEvent>);
    assert!(nothing.command_id("a").await.unwrap().is_repeated());
    // Types that declare their possible events, over a query.
    let noted = || bank.decide(accounts_of("ann"), |_| Some(registered("Fido")));
    let opened_over = || bank.decide(accounts_of("ann"), |_| Ok::<_, Infallible>(opened("ann")));
    assert!(!opened_over().command_id("b").await.unwrap().is_repeated());
    assert!(opened_over().command_id("b").await.unwrap().is_repeated());
    assert!(is_reused(noted().command_id("b").await, 2));
    assert_eq!(
        bank.head().await.unwrap().position().map(Position::get),
        Some(2)
    );
}
