//! Commands on one aggregate, over the memory store.

use std::sync::Arc;

use retold_core::application::{Application, Error, EventBus, ExecuteError, Outcome};
use retold_core::domain::{Id, SequentialIds};
use retold_core::recording::{Conflict, MemoryStore, Store, Version};
use uuid::Uuid;

use crate::dogs::{Dog, DogEvent, Refusal, registered, trick_added};

async fn open(store: &MemoryStore) -> Application {
    let store: Arc<dyn Store> = Arc::new(store.clone());
    Application::builder("school")
        .store(store)
        .aggregate::<Dog>()
        .open()
        .await
        .unwrap()
}

fn version(number: u64) -> Version {
    Version::new(number).unwrap()
}

/// The first program of the documentation, without its derives.
#[tokio::test]
async fn a_dog_is_created_taught_and_read() -> Result<(), Error> {
    let school = open(&MemoryStore::new()).await;
    let fido = school.create::<Dog>(registered("Fido")).await?;
    let trick = String::from("roll over");
    let recorded = school.execute(fido, |dog| dog.add_trick(&trick)).await?;
    assert_eq!(recorded.version, Some(version(2)));
    assert_eq!(recorded.outcome, Outcome::Recorded);
    assert_eq!(recorded.checkpoint, school.head().await?.checkpoint);
    let dog = school.get(fido).await?;
    assert_eq!(dog.version, version(2));
    assert_eq!(
        (dog.state.name.as_str(), &dog.state.tricks[..]),
        ("Fido", &["roll over".to_owned()][..])
    );
    Ok(())
}

#[tokio::test]
async fn commands_work_in_spawned_tasks() {
    let school = open(&MemoryStore::new()).await;
    let fido = school.create::<Dog>(registered("Fido")).await.unwrap();
    let task = tokio::spawn({
        let school = school.clone();
        async move { school.execute(fido, |dog| dog.add_trick("sit")).await }
    });
    let recorded = task.await.unwrap().unwrap();
    assert_eq!(recorded.version, Some(version(2)));
}

#[tokio::test]
async fn refusals_and_absence_are_returned_as_such() {
    let school = open(&MemoryStore::new()).await;
    let id = Id::<Dog>::new(Uuid::from_u128(1));
    let taught = school.execute(id, |dog| dog.add_trick("sit")).await;
    assert!(matches!(
        taught,
        Err(ExecuteError::Retold(Error::NotFound { .. }))
    ));
    let taught = school
        .execute_or_create(id, |dog| dog.add_trick("sit"))
        .await;
    assert!(matches!(
        taught,
        Err(ExecuteError::Refused(Refusal::NotRegistered))
    ));
    assert!(school.find(id).await.unwrap().is_none());
    assert!(matches!(school.get(id).await, Err(Error::NotFound { .. })));
    let created = school
        .execute_or_create(id, |_| [registered("Rex"), trick_added("sit")])
        .await
        .unwrap();
    assert_eq!(created.version, Some(version(2)));
    let nothing = school
        .execute(id, |dog| dog.add_trick("sit"))
        .await
        .unwrap();
    assert_eq!(
        (nothing.outcome, nothing.version),
        (Outcome::Nothing, Some(version(2)))
    );
}

/// A refusal is never based on a cached state: events of another handle are read first.
#[tokio::test]
async fn a_refusal_is_not_based_on_a_cached_state() {
    let store = MemoryStore::new();
    let (here, there) = (open(&store).await, open(&store).await);
    let id = Id::<Dog>::new(Uuid::from_u128(1));
    let start = |_: &Dog| vec![DogEvent::Walked];
    here.execute_or_create(id, start).await.unwrap();
    there.execute(id, |_| registered("Rex")).await.unwrap();
    // `here` has it without a name in its cache, and would refuse.
    here.execute(id, |dog| dog.add_trick("sit")).await.unwrap();
    // An empty decision is not based on it either.
    there.execute(id, |_| registered("Max")).await.unwrap();
    let nothing_for_rex = |dog: &Dog| (dog.name != "Rex").then(|| trick_added("stay"));
    let recorded = here.execute(id, nothing_for_rex).await.unwrap();
    assert_eq!(recorded.version, Some(version(5)));
}

#[tokio::test]
async fn a_command_at_a_version_returns_the_conflict() {
    let store = MemoryStore::new();
    let (here, there) = (open(&store).await, open(&store).await);
    let fido = here.create::<Dog>(registered("Fido")).await.unwrap();
    there.execute(fido, |_| DogEvent::Walked).await.unwrap();
    for school in [&here, &there] {
        let late = school
            .execute(fido, |_| DogEvent::Walked)
            .at(version(1))
            .await;
        match late {
            Err(ExecuteError::Retold(Error::Conflict(Conflict::Stream { actual, .. }))) => {
                assert_eq!(actual, Some(version(2)));
            }
            other => panic!("{other:?}"),
        }
    }
    here.execute(fido, |_| DogEvent::Walked)
        .at(version(2))
        .await
        .unwrap();
    let again = there
        .execute_or_create(fido, |_| DogEvent::Walked)
        .at(None)
        .await;
    assert!(matches!(
        again,
        Err(ExecuteError::Retold(Error::Conflict(_)))
    ));
}

#[tokio::test]
async fn a_repeated_command_records_nothing() {
    let store = MemoryStore::new();
    let (here, there) = (open(&store).await, open(&store).await);
    let fido = here
        .create::<Dog>([registered("Fido"), DogEvent::Walked])
        .command_id("register")
        .await
        .unwrap();
    let again = there
        .create::<Dog>(registered("Fido"))
        .command_id("register")
        .await;
    assert_eq!(again.unwrap(), fido);
    let teach = |school: Application| async move {
        school
            .execute(fido, |dog| dog.add_trick("sit"))
            .command_id("teach")
            .at(version(2))
            .await
    };
    let first = teach(here.clone()).await.unwrap();
    here.execute(fido, |_| DogEvent::Walked).await.unwrap();
    for school in [here.clone(), there] {
        let second = teach(school).await.unwrap();
        assert!(second.is_repeated());
        assert_eq!(
            (second.positions, second.version, second.checkpoint),
            (first.positions, first.version, first.checkpoint)
        );
    }
    // A creation is another command than one on the aggregate that it created.
    let reused = here
        .execute(fido, |_| DogEvent::Walked)
        .command_id("register");
    assert!(matches!(
        reused.await,
        Err(ExecuteError::Retold(Error::CommandIdReused { .. }))
    ));
    let reused = here.create::<Dog>(registered("Rex")).command_id("teach");
    assert!(matches!(reused.await, Err(Error::CommandIdReused { .. })));
    let other = Id::<Dog>::new(Uuid::from_u128(1));
    let reused = here
        .execute_or_create(other, |_| DogEvent::Walked)
        .command_id("teach")
        .await;
    assert!(matches!(
        reused,
        Err(ExecuteError::Retold(Error::CommandIdReused { .. }))
    ));
}

/// An id source that restarts returns ids that the log has: new events must not count as recorded
/// because others have their ids.
#[tokio::test]
async fn events_under_reused_ids_do_not_count_as_recorded() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let open = || {
        let builder = Application::builder("school").store(Arc::clone(&store));
        builder.ids(Arc::new(SequentialIds::new(7))).open()
    };
    let before = open().await.unwrap();
    let fido = before.create::<Dog>(registered("Fido")).await.unwrap();

    let again = open().await.unwrap();
    let rex = again.create::<Dog>(registered("Rex")).await;
    assert!(
        matches!(&rex, Err(Error::Invalid(invalid)) if invalid.to_string().contains("id source")),
        "{rex:?}"
    );
    assert_eq!(again.get(fido).await.unwrap().state.name, "Fido");

    let again = open().await.unwrap();
    again.next_event_id();
    let walked = again.decide(None::<Id<Dog>>, |_| DogEvent::Walked).await;
    assert!(
        matches!(&walked, Err(ExecuteError::Retold(Error::Invalid(_)))),
        "{walked:?}"
    );
    let bus = EventBus::new();
    let again = open().await.unwrap();
    again.next_event_id();
    bus.record_into(&again).unwrap();
    let published = bus.publish(DogEvent::Walked).await;
    assert!(
        matches!(&published, Err(Error::Invalid(_))),
        "{published:?}"
    );
    assert_eq!(before.head().await.unwrap().append_count, 1);
}
