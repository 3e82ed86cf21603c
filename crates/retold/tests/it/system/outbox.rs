//! The outbox: everything is delivered at least once, in order, under a stable id.

use retold::prelude::*;
use retold::recording::{Append, NewEvent};
use retold::simulation::seeds;
use retold::system::{Outbox, Start};

use super::shop::{Placed, place};

async fn app(name: &str) -> Application {
    Application::open("orders", &format!("memory:{name}"))
        .await
        .unwrap()
}

async fn next(outbox: &mut Outbox<Placed>) -> Option<String> {
    let next = outbox.next().await.unwrap();
    next.map(|it| it.stream().unwrap().to_owned())
}

#[tokio::test]
async fn unacknowledged_events_are_returned_again() {
    let app = app("outbox").await;
    for order in ["1", "2", "3"] {
        place(&app, order, "tea").await.unwrap();
    }
    let mut outbox = Outbox::<Placed>::open(&app, "mail").await.unwrap();
    assert_eq!(next(&mut outbox).await.as_deref(), Some("Order/1"));
    assert_eq!(next(&mut outbox).await.as_deref(), Some("Order/1"));
    outbox.delivered().await.unwrap();
    let id = outbox.next().await.unwrap().unwrap().id();

    // As after a crash: the second was returned and perhaps sent.
    let mut again = Outbox::<Placed>::open(&app, "mail").await.unwrap();
    assert_eq!(again.next().await.unwrap().unwrap().id(), id);
    again.delivered().await.unwrap();

    // The first program continues from where the second is.
    outbox.delivered().await.unwrap();
    assert_eq!(next(&mut outbox).await.as_deref(), Some("Order/3"));
    outbox.delivered().await.unwrap();
    assert_eq!(next(&mut outbox).await, None);
    place(&app, "4", "tea").await.unwrap();
    outbox.changed().await.unwrap();
    assert_eq!(next(&mut outbox).await.as_deref(), Some("Order/4"));

    let mut other = Outbox::<Placed>::open_from(&app, "news", Start::Now)
        .await
        .unwrap();
    assert_eq!(next(&mut other).await, None);
}

#[tokio::test]
async fn an_event_that_cannot_be_read_stays_until_it_is_skipped() {
    let app = app("outbox-unreadable").await;
    place(&app, "1", "tea").await.unwrap();
    let bad = NewEvent::new(app.next_event_id(), "Placed", "[]");
    app.recorder().append(Append::of([bad])).await.unwrap();
    place(&app, "2", "tea").await.unwrap();
    let mut outbox = Outbox::<Placed>::open(&app, "mail").await.unwrap();
    assert_eq!(next(&mut outbox).await.as_deref(), Some("Order/1"));
    outbox.delivered().await.unwrap();
    for _ in 0..2 {
        assert!(matches!(
            outbox.next().await,
            Err(retold::Error::Mapping(_))
        ));
    }
    outbox.pass_over().await.unwrap();
    assert_eq!(next(&mut outbox).await.as_deref(), Some("Order/2"));
    assert!(
        Outbox::<Placed>::open(&app, &"n".repeat(201))
            .await
            .is_err()
    );
}

/// Goal: at least once, in order, under every fault. Method: two programs drain one outbox and
/// report what they send to an observer outside, which survives their crashes.
#[test]
fn everything_is_delivered_under_every_fault() {
    use std::sync::{Arc, Mutex};

    use retold::recording::MemoryStore;

    seeds(300, |simulation| {
        let store = simulation.store(Arc::new(MemoryStore::new()));
        let (clock, ids) = (simulation.clock(), simulation.ids());
        let open = move || {
            let (store, clock, ids) = (store.clone(), clock.clone(), ids.clone());
            async move {
                loop {
                    let app = Application::builder("orders").store(store.clone());
                    let app = app.clock(clock.clone()).ids(ids.clone()).open().await;
                    if let Ok(app) = app {
                        return app;
                    }
                }
            }
        };
        let sent: Arc<Mutex<Vec<u64>>> = Arc::default();
        let orders = open.clone();
        simulation.actor("clerk", move || {
            let orders = orders.clone();
            async move {
                let app = orders().await;
                for order in 0..5 {
                    let placed = || Placed { item: "tea".into() };
                    let place = || app.decide((), |()| placed()).command_id(format!("{order}"));
                    while place().await.is_err() {}
                }
            }
        });
        for name in ["one", "two"] {
            let (open, sent) = (open.clone(), sent.clone());
            simulation.actor(name, move || {
                let (open, sent) = (open.clone(), sent.clone());
                async move {
                    let app = open().await;
                    loop {
                        let Ok(mut outbox) = Outbox::<Placed>::open(&app, "mail").await else {
                            continue;
                        };
                        loop {
                            match outbox.next().await {
                                Ok(Some(event)) => {
                                    sent.lock().unwrap().push(event.position().get());
                                    drop(outbox.delivered().await);
                                }
                                Ok(None) => drop(outbox.changed().await),
                                Err(_) => break,
                            }
                        }
                    }
                }
            });
        }
        simulation.run()?;
        let sent = sent.lock().unwrap();
        let mut firsts: Vec<u64> = Vec::new();
        for position in &*sent {
            if !firsts.contains(position) {
                firsts.push(*position);
            }
        }
        match firsts == [1, 2, 3, 4, 5] {
            true => Ok(()),
            false => Err(format!("sent were {sent:?}")),
        }
    });
}
