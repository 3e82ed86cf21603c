//! The bus for code without an application: typed subscribers, and recording published events.

use retold_core::application::limits::PUBLICATIONS_KEPT;
use retold_core::application::{Application, Error, EventBus};
use retold_core::domain::Id;
use retold_core::mapping::{Addressed, AnyEvent};
use retold_core::recording::MemoryStore;
use uuid::Uuid;

use crate::dogs::{Dog, DogEvent, registered, trick_added};
use crate::racing::{log, soon};

async fn application() -> Application {
    let app = Application::builder("kennel").recorder(log().await);
    app.open().await.unwrap()
}

#[tokio::test]
async fn subscribers_hear_the_events_of_their_type_in_order() {
    let bus = EventBus::new();
    let mut dogs = bus.subscribe::<DogEvent>();
    assert_eq!(bus.publish(registered("Fido")).await.unwrap(), None);
    bus.publish([trick_added("sit"), DogEvent::Walked])
        .await
        .unwrap();
    bus.publish(()).await.unwrap();
    let rex = Id::<Dog>::new(Uuid::from_u128(7));
    bus.publish((registered("Rex").to(&rex), Some(DogEvent::Walked)))
        .await
        .unwrap();
    for expected in [
        registered("Fido"),
        trick_added("sit"),
        DogEvent::Walked,
        registered("Rex"),
        DogEvent::Walked,
    ] {
        let heard = soon(dogs.next()).await.unwrap().unwrap();
        assert_eq!(*heard, expected);
    }
    assert!(dogs.next_reported().unwrap().is_none());
    drop(bus);
    assert!(soon(dogs.next()).await.unwrap().is_none());
}

#[tokio::test]
async fn what_is_published_is_recorded_before_subscribers_are_notified() {
    let app = application().await;
    let bus = EventBus::new();
    bus.record_into(&app).unwrap();
    let mut dogs = bus.subscribe::<DogEvent>();
    let rex = Id::<Dog>::new(Uuid::from_u128(7));
    let events = (registered("Rex").to(&rex), trick_added("sit").to(&rex));
    let checkpoint = bus.publish(events).await.unwrap();
    assert_eq!(checkpoint, app.head().await.unwrap().checkpoint);
    assert_eq!(checkpoint.map(|it| it.position.get()), Some(2));
    assert_eq!(
        *soon(dogs.next()).await.unwrap().unwrap(),
        registered("Rex")
    );
    assert_eq!(app.get(rex).await.unwrap().state.tricks, ["sit"]);

    let error = bus.record_into(&application().await).unwrap_err();
    assert!(error.to_string().contains("already"), "{error}");
}

#[tokio::test]
async fn an_error_of_recording_reaches_the_publisher_and_no_subscriber() {
    let store = MemoryStore::new();
    let app = Application::builder("kennel")
        .store(std::sync::Arc::new(store))
        .read_only()
        .open()
        .await
        .unwrap();
    let bus = EventBus::new();
    bus.record_into(&app).unwrap();
    let mut dogs = bus.subscribe::<DogEvent>();
    let error = bus.publish(DogEvent::Walked).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
    assert!(dogs.next_reported().unwrap().is_none());
}

#[tokio::test]
async fn a_slow_subscriber_of_a_bus_learns_what_it_missed() {
    let bus = EventBus::new();
    let mut dogs = bus.subscribe::<DogEvent>();
    for number in 0..PUBLICATIONS_KEPT + 3 {
        bus.publish(registered(&number.to_string())).await.unwrap();
    }
    assert_eq!(soon(dogs.next()).await.unwrap_err().count, 3);
    for number in 3..PUBLICATIONS_KEPT + 3 {
        let heard = dogs.next_reported().unwrap().unwrap();
        assert_eq!(*heard, registered(&number.to_string()));
    }
    assert!(dogs.next_reported().unwrap().is_none());
}

#[tokio::test]
async fn commits_are_decoded_by_type() {
    let app = application().await;
    let mut commits = app.commits();
    let fido = app.create::<Dog>(registered("Fido")).await.unwrap();
    app.execute(fido, |dog| dog.add_trick("sit")).await.unwrap();
    let mut heard = Vec::new();
    while let Some(committed) = commits.next_reported().unwrap() {
        for event in committed.events_of::<DogEvent>() {
            let (position, event) = event.unwrap();
            heard.push((position.get(), event));
        }
    }
    assert_eq!(heard, [(1, registered("Fido")), (2, trick_added("sit"))]);
}

/// Goal: a publication is recorded as a whole, despite concurrent ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_publications_stay_whole() {
    let app = application().await;
    let bus = EventBus::new();
    bus.record_into(&app).unwrap();
    let publishers: Vec<_> = (0..4)
        .map(|number| {
            let bus = bus.clone();
            tokio::spawn(async move {
                for _ in 0..50 {
                    let name = number.to_string();
                    let both: [AnyEvent; 2] = [registered(&name).into(), trick_added(&name).into()];
                    bus.publish(both).await.unwrap();
                }
            })
        })
        .collect();
    for publisher in publishers {
        soon(publisher).await.unwrap();
    }
    let all = app.events::<DogEvent>().read().collect().await.unwrap();
    assert_eq!(all.len(), 400);
    for pair in all.chunks(2) {
        let DogEvent::Registered { name } = &pair[0].event else {
            panic!("{pair:?}");
        };
        assert_eq!(pair[1].event, trick_added(name));
    }
}
