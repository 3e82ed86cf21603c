//! Commands, decisions and changes, one after the other.

use retold::application::{Error, ExecuteError, Outcome};
use retold::prelude::*;
use retold::recording::{Conflict, Version};

use super::bank::{Account, AccountEvent, Count, Refusal, account, accounts_of, deposited, opened};
use super::{Place, on_every_store};

on_every_store!(
    commands_are_executed_and_survive,
    events_of_another_process_are_seen,
    repeated_commands_record_nothing,
    decisions_and_changes_are_recorded_at_once,
    tags_of_a_decision_are_recorded,
    metadata_is_recorded,
    names_of_all_kinds_are_kept,
);

#[derive(Event, Serialize, Deserialize)]
enum DogEvent {
    Registered { name: String },
    TrickAdded { trick: String },
}

#[derive(Aggregate, Clone, Default)]
#[aggregate(event = DogEvent)]
struct Dog {
    name: String,
    tricks: Vec<String>,
}

impl Apply<DogEvent> for Dog {
    fn apply(&mut self, event: &DogEvent) {
        match event {
            DogEvent::Registered { name } => self.name.clone_from(name),
            DogEvent::TrickAdded { trick } => self.tricks.push(trick.clone()),
        }
    }
}

async fn commands_are_executed_and_survive(place: Place) {
    let school = place.open().await;
    let registered = DogEvent::Registered {
        name: "Fido".into(),
    };
    let fido = school.create::<Dog>(registered).await.unwrap();
    let tricks = ["sit", "roll over"];
    let recorded = school
        .execute(fido, |_| {
            tricks.map(|trick| DogEvent::TrickAdded {
                trick: trick.into(),
            })
        })
        .await
        .unwrap();
    assert_eq!(recorded.version, Version::new(3));
    assert_eq!(recorded.checkpoint, school.head().await.unwrap().checkpoint);
    for school in [school, place.open().await] {
        let dog = school.get(fido).await.unwrap();
        assert_eq!(
            (dog.state.name.as_str(), dog.state.tricks),
            ("Fido", tricks.map(String::from).into())
        );
    }
}

/// Two stores in one place do not share caches.
async fn events_of_another_process_are_seen(place: Place) {
    let (here, there) = (place.open().await, place.open().await);
    let id = account("1");
    let absent = here.execute(&id, |_| deposited(1)).await;
    assert!(matches!(
        absent,
        Err(ExecuteError::Retold(Error::NotFound { .. }))
    ));
    here.execute_or_create(&id, |_| opened("ann"))
        .await
        .unwrap();
    there.execute(&id, |_| deposited(5)).await.unwrap();
    here.execute(&id, |account| account.withdraw(4))
        .await
        .unwrap();
    let refused = there.execute(&id, |account| account.withdraw(4)).await;
    let Err(ExecuteError::Refused(refusal)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(refusal, Refusal::InsufficientFunds { missing_cents: 3 });
    let late = there
        .execute(&id, |_| deposited(1))
        .at(Version::new(2))
        .await;
    assert!(matches!(
        late,
        Err(ExecuteError::Retold(Error::Conflict(
            Conflict::Stream { .. }
        )))
    ));
    assert_eq!(here.get(&id).await.unwrap().state.cents, 1);
    assert_eq!(there.get(&id).await.unwrap().state.cents, 1);
}

async fn repeated_commands_record_nothing(place: Place) {
    let (here, there) = (place.open().await, place.open().await);
    let id = account("1");
    here.execute_or_create(&id, |_| [opened("ann"), deposited(5)])
        .await
        .unwrap();
    // Withdrawing twice would be refused: the repeat returns what the first recorded.
    let withdraw = async |bank: &Application| {
        bank.execute(&id, |account| account.withdraw(5))
            .command_id("withdraw 5")
            .await
            .unwrap()
    };
    let first = withdraw(&here).await;
    here.execute(&id, |_| deposited(1)).await.unwrap();
    for bank in [&here, &there] {
        let repeated = withdraw(bank).await;
        assert_eq!(repeated.outcome, Outcome::Repeated);
        assert_eq!(
            (repeated.version, repeated.positions, repeated.checkpoint),
            (first.version, first.positions, first.checkpoint)
        );
    }
    let of_another = there
        .execute_or_create(account("2"), |_| opened("bob"))
        .command_id("withdraw 5")
        .await;
    assert!(matches!(
        of_another,
        Err(ExecuteError::Retold(Error::CommandIdReused { .. }))
    ));
}

async fn decisions_and_changes_are_recorded_at_once(place: Place) {
    let bank = place.open().await;
    let (one, two) = (account("1"), account("2"));
    for id in [&one, &two] {
        bank.decide((id, accounts_of("ann")), |(account, accounts)| {
            if accounts.0 >= 2 || !account.owner.is_empty() {
                return Err(Refusal::TooManyAccounts);
            }
            Ok([opened("ann").to(id), deposited(10).to(id)])
        })
        .await
        .unwrap();
    }
    let third = bank
        .decide(accounts_of("ann"), |accounts| match accounts.0 {
            0..2 => Ok(opened("ann").to(&account("3"))),
            _ => Err(Refusal::TooManyAccounts),
        })
        .await;
    assert!(matches!(
        third,
        Err(ExecuteError::Refused(Refusal::TooManyAccounts))
    ));
    let transfer = async |cents| {
        bank.change((one.clone(), two.clone()), |(one, two)| {
            one.record(one.withdraw(cents)?);
            two.record(deposited(cents));
            Ok::<_, Refusal>(())
        })
        .await
    };
    let moved = transfer(7).await.unwrap();
    assert_eq!(moved.positions.count(), 2);
    assert!(matches!(
        transfer(7).await,
        Err(ExecuteError::Refused(Refusal::InsufficientFunds {
            missing_cents: 4
        }))
    ));
    let view = bank.view((one, two, accounts_of("ann"))).await.unwrap();
    assert_eq!(
        (view.state.0.cents, view.state.1.cents, view.state.2.0),
        (3, 17, 2)
    );
    assert_eq!(view.read_to, moved.checkpoint);
}

async fn tags_of_a_decision_are_recorded(place: Place) {
    let bank = place.open().await;
    let campaign = || fold_of::<Count, AccountEvent>().tag("campaign:spring");
    for (name, expected) in [("1", 1), ("2", 2), ("3", 2)] {
        let id = account(name);
        let decided = bank.decide(campaign(), |count| {
            let event = opened("ann").to(&id);
            match count.0 {
                0..2 => event.tag("campaign:spring").tag("owner:ann"),
                _ => event,
            }
        });
        decided.await.unwrap();
        assert_eq!(bank.view(campaign()).await.unwrap().state.0, expected);
    }
    let events = bank.log().stored().read().collect().await.unwrap();
    let tags: Vec<Vec<&str>> = events.iter().map(|it| it.tags().collect()).collect();
    let [of_campaign, plain] = [vec!["campaign:spring", "owner:ann"], vec!["owner:ann"]];
    assert_eq!(tags, [of_campaign.clone(), of_campaign, plain]);

    let refused = bank.decide(account("4"), |_| opened("ann").to(&account("4")).tag(""));
    let error = refused.await.unwrap_err();
    assert!(
        matches!(error, ExecuteError::Retold(Error::Invalid(_))),
        "{error}"
    );
}

async fn metadata_is_recorded(place: Place) {
    let bank = place.open().await;
    let request = bank.with(Metadata::new().with("user", "ann").with_correlation_id("c"));
    let id = account("1");
    let command = request
        .execute_or_create(&id, |_| opened("ann"))
        .command_id("open");
    command.await.unwrap();
    bank.execute(&id, |_| [deposited(1), deposited(2)])
        .await
        .unwrap();
    let events = bank.log().stored().read().collect().await.unwrap();
    let expected = Metadata::new()
        .with("user", "ann")
        .with_correlation_id("c")
        .with_causation_id("open");
    assert_eq!(events[0].metadata().unwrap(), expected);
    for event in &events[1..] {
        let metadata = event.metadata().unwrap();
        assert_eq!(
            metadata.correlation_id(),
            Some(events[1].id().to_string().as_str())
        );
        assert_eq!(metadata.causation_id(), None);
    }
}

async fn names_of_all_kinds_are_kept(place: Place) {
    let bank = place.open().await;
    let mut keys = [
        "1",
        "a/b",
        "it's",
        "\"quoted\"",
        "100%",
        "_",
        "é",
        "🦀",
        "'; DROP TABLE events; --",
        " ",
    ];
    for key in keys {
        bank.execute_or_create(account(key), |_| [opened(key), deposited(1)])
            .await
            .unwrap();
    }
    keys.sort_unstable();
    let ids = bank.aggregates::<Account>().page_size(3).collect().await;
    assert_eq!(ids.unwrap(), keys.map(account));
    for key in keys {
        assert_eq!(bank.get(account(key)).await.unwrap().state.owner, key);
        assert_eq!(bank.view(accounts_of(key)).await.unwrap().state.0, 1);
    }
    for bad in ["a\nb", &"k".repeat(256)] {
        let recorded = bank
            .execute_or_create(account(bad), |_| opened("ann"))
            .await;
        assert!(
            matches!(recorded, Err(ExecuteError::Retold(Error::Invalid(_)))),
            "{bad:?}: {recorded:?}"
        );
    }
}

#[tokio::test]
async fn two_types_under_one_name_are_found_at_opening() {
    #[derive(Event, Serialize, Deserialize)]
    #[event(topic = "AccountEvent")]
    enum OtherEvent {
        Deposited { euros: i64 },
    }
    #[derive(Aggregate, Clone, Default)]
    #[aggregate(event = OtherEvent, type = "Account")]
    struct Other;
    impl Apply<OtherEvent> for Other {
        fn apply(&mut self, _: &OtherEvent) {}
    }

    let store = retold::open_store(&Place::memory().url).await.unwrap();
    let builder = || Application::builder("bank").store(store.clone());
    let twice = builder().event::<AccountEvent>().event::<OtherEvent>();
    assert!(matches!(twice.open().await, Err(Error::Registry(_))));
    let twice = builder().aggregate::<Account>().aggregate::<Other>();
    assert!(matches!(twice.open().await, Err(Error::Registry(_))));
    // Types that are not registered at the start are detected at first use.
    let bank = builder().aggregate::<Account>().open().await.unwrap();
    let euros = bank
        .create::<Other>(OtherEvent::Deposited { euros: 1 })
        .await;
    assert!(matches!(euros, Err(Error::Registry(_))));
}

#[tokio::test]
async fn an_application_for_reading_refuses_commands() {
    let place = Place::sqlite();
    let id = account("1");
    let bank = place.open().await;
    bank.execute_or_create(&id, |_| opened("ann"))
        .await
        .unwrap();
    let store = retold::open_store(&place.url).await.unwrap();
    let builder = Application::builder("bank").store(store);
    let reader = builder.read_only().open().await.unwrap();
    assert_eq!(reader.get(&id).await.unwrap().state.owner, "ann");
    let refused = reader.execute(&id, |_| deposited(1)).await;
    assert!(matches!(
        refused,
        Err(ExecuteError::Retold(Error::Invalid(_)))
    ));
}
