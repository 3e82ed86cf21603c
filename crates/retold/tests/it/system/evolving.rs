//! Followers over logs of an older program: policies see present events, erased ones are passed
//! over, and what the older program recorded is retold as present events.

use retold::domain::{PastEvent, SplitInto, Upcast, Upcasted};
use retold::prelude::*;
use retold::projection::BoxError;
use retold::recording::{Append, EventId, NewEvent};
use retold::system::{
    Context, Follower, Infrastructure, OpenSystem, Opening, Phase, Runner, SingleThread, System,
};

use super::retelling::retells;
use super::shop::memory;

/// The program that recorded first.
mod old {
    use retold::prelude::*;

    #[derive(Event, Serialize, Deserialize, Clone)]
    #[event(topic = "arrived")]
    pub(super) struct Arrived {
        pub(super) names: String,
    }

    #[derive(Event, Serialize, Deserialize, Clone)]
    #[event(topic = "card", tag = "card:{text}")]
    pub(super) struct Card {
        pub(super) text: String,
    }

    pub(super) async fn on_arrived(
        event: &Arrived,
        context: &mut super::Context,
    ) -> retold::Result<()> {
        for name in event.names.split(',') {
            let text = name.to_owned();
            context.record(Card { text })?;
        }
        Ok(())
    }
}

#[derive(Event, Serialize, Deserialize)]
#[event(topic = "arrived", revision = 2, from(1 = ArrivedV1))]
struct Arrived {
    name: String,
}

#[derive(Deserialize)]
struct ArrivedV1 {
    names: String,
}

impl SplitInto<Arrived> for ArrivedV1 {
    fn split(self, _: &PastEvent<'_>) -> Upcasted<Arrived> {
        let names = self.names.split(',').filter(|name| !name.is_empty());
        let arrived = names.map(|name| Arrived { name: name.into() });
        Ok(arrived.collect::<Vec<_>>().into())
    }
}

#[derive(Event, Serialize, Deserialize)]
#[event(topic = "card", revision = 2, from(1 = CardV1), tag = "to:{name}")]
struct Card {
    name: String,
    pages: u32,
}

#[derive(Deserialize)]
struct CardV1 {
    text: String,
}

impl Upcast<Card> for CardV1 {
    fn upcast(self, _: &PastEvent<'_>) -> Result<Card, BoxError> {
        let (name, pages) = (self.text, 1);
        Ok(Card { name, pages })
    }
}

async fn on_arrived(event: &Arrived, context: &mut Context) -> retold::Result<()> {
    let (name, pages) = (event.name.clone(), 1);
    context.record(Card { name, pages })?;
    Ok(())
}

fn cards() -> Follower {
    Follower::new("cards").follows("door")
}

fn system<A: Event, C: Event>(follower: Follower) -> System {
    System::new("kennel")
        .application("door", |app| app.event::<A>())
        .application("post", |app| app.event::<C>().follower(follower))
        .build()
        .unwrap()
}

fn old_system() -> System {
    system::<old::Arrived, old::Card>(cards().on(old::on_arrived))
}

fn new_system() -> System {
    system::<Arrived, Card>(cards().on(on_arrived))
}

async fn open(system: &System, infrastructure: &Infrastructure) -> OpenSystem {
    let open = OpenSystem::open(system, infrastructure, Opening::Write);
    open.await.unwrap()
}

async fn sent(runner: &SingleThread) -> Vec<String> {
    let post = runner.application("post").unwrap();
    let cards = post.events::<Card>().read().collect().await.unwrap();
    cards.into_iter().map(|it| it.event.name).collect()
}

#[tokio::test]
async fn a_policy_is_called_for_each_event_that_an_old_one_is_read_as() {
    let (infrastructure, _) = memory();
    let old = SingleThread::start(&old_system(), &infrastructure)
        .await
        .unwrap();
    let door = old.application("door").unwrap();
    let names = |names: &str| old::Arrived {
        names: names.into(),
    };
    door.decide((), move |()| names("ann,bob")).await.unwrap();
    assert!(old.stop().await.is_clean());

    // Recorded by the old program after its followers stopped.
    let open = open(&old_system(), &infrastructure).await;
    let door = open.application("door").unwrap();
    for text in ["carl,dora", ""] {
        door.decide((), move |()| names(text)).await.unwrap();
    }

    let new = SingleThread::start(&new_system(), &infrastructure)
        .await
        .unwrap();
    let door = new.application("door").unwrap();
    let name = || "eve".to_owned();
    door.decide((), move |()| Arrived { name: name() })
        .await
        .unwrap();
    assert_eq!(sent(&new).await, ["ann", "bob", "carl", "dora", "eve"]);
    assert!(new.stop().await.is_clean());
    // Including the cards of the old program, which have another shape and other tags.
    assert_eq!(retells(&new_system(), &infrastructure).await, 5);
}

#[tokio::test]
async fn an_erased_event_does_not_stop_a_follower() {
    let (infrastructure, _) = memory();
    let open = open(&new_system(), &infrastructure).await;
    let event = |payload: &str| {
        let id = EventId::new(Uuid::now_v7());
        NewEvent::new(id, "arrived", payload.to_owned()).revision(2)
    };
    let append = Append::of([
        event(r#"{"name":"ann"}"#),
        event("{}").erased(),
        event(r#"{"name":"bob"}"#),
    ]);
    let door = open.application("door").unwrap();
    door.recorder().append(append).await.unwrap();
    drop(open);
    let runner = SingleThread::start(&new_system(), &infrastructure)
        .await
        .unwrap();
    runner.catch_up().await.unwrap();
    let status = &runner.status().await[0];
    assert_eq!(status.phase, Phase::CaughtUp, "{status:?}");
    assert_eq!(sent(&runner).await, ["ann", "bob"]);
    assert!(runner.stop().await.is_clean());
    assert_eq!(retells(&new_system(), &infrastructure).await, 2);
}

#[tokio::test]
async fn a_follower_holds_before_a_revision_that_it_does_not_know() {
    let (infrastructure, _) = memory();
    let new = SingleThread::start(&new_system(), &infrastructure)
        .await
        .unwrap();
    let door = new.application("door").unwrap();
    let name = || "ann".to_owned();
    door.decide((), move |()| Arrived { name: name() })
        .await
        .unwrap();
    assert_eq!(sent(&new).await, ["ann"]);
    assert!(new.stop().await.is_clean());

    let old = SingleThread::start(&old_system(), &infrastructure).await;
    let old = old.unwrap();
    let open = open(&new_system(), &infrastructure).await;
    let door = open.application("door").unwrap();
    door.decide((), move |()| Arrived { name: name() })
        .await
        .unwrap();
    old.catch_up().await.unwrap();
    let status = &old.status().await[0];
    assert_eq!(status.phase, Phase::Holding, "{status:?}");
    let held = status.upstreams[0].held.clone().unwrap();
    assert!(held.reason.contains("ahead(2 = …)"), "{}", held.reason);
}

mod renamed {
    use super::*;

    macro_rules! letter {
        ($name:ident, $on:ident, $($topic:tt)*) => {
            #[derive(Event, Serialize, Deserialize, Clone)]
            #[event($($topic)*, tag = "to:{name}")]
            pub(super) struct $name {
                name: String,
            }

            pub(super) async fn $on(
                event: &super::Arrived,
                context: &mut Context,
            ) -> retold::Result<()> {
                let name = event.name.clone();
                context.record($name { name })?;
                Ok(())
            }
        };
    }

    letter!(Letter, on_arrived, topic = "letter");
    letter!(Post, on_arrived_now, topic = "post", formerly("letter"));

    pub(super) fn system<L: Event>(follower: Follower, is_declared: bool) -> System {
        System::new("kennel")
            .application("door", |app| app.event::<super::Arrived>())
            .application("post", move |app| {
                let app = app.follower(follower.clone()).confluent_by_tag("to:");
                if is_declared { app.event::<L>() } else { app }
            })
            .build()
            .unwrap()
    }
}

/// A topic that a type had before is the same topic, in a retelling and when runs are compared.
#[tokio::test]
async fn a_former_topic_is_no_difference() {
    use retold::retelling::{Times, compare_runs};

    let run = async |system: &System| {
        let (infrastructure, _) = memory();
        let runner = SingleThread::start(system, &infrastructure).await.unwrap();
        let door = runner.application("door").unwrap();
        for name in ["ann", "bob"] {
            let arrived = || Arrived { name: name.into() };
            door.decide((), move |()| arrived()).await.unwrap();
        }
        assert!(runner.stop().await.is_clean());
        infrastructure
    };
    for is_declared in [true, false] {
        let before = cards().on(renamed::on_arrived);
        let before = renamed::system::<renamed::Letter>(before, is_declared);
        let now = cards().on(renamed::on_arrived_now);
        let now = renamed::system::<renamed::Post>(now, is_declared);
        let recorded = run(&before).await;
        assert_eq!(retells(&now, &recorded).await, 2);
        if is_declared {
            let other = run(&now).await;
            let (recorded, other) = (open(&now, &recorded).await, open(&now, &other).await);
            let report = compare_runs(&recorded, &other, Times::PassedOver)
                .await
                .unwrap();
            assert_eq!(report.difference, None);
            assert_eq!(report.compared[0].events, 2);
        }
    }
}
