//! Events that change between two programs on one log: renamed, new, with a new field, without a
//! field, retired. No reader passes over an unknown topic silently, and nothing is lost while
//! programs of both versions run. These are the cases of the guide's chapter.

use std::sync::Arc;

use retold::application::{ExecuteError, Logged, fold_of};
use retold::prelude::*;
use retold::projection::{MemoryView, Projection, ProjectionState};
use retold::recording::{MemoryStore, Store};
use retold::retelling::SystemSimulation;
use retold::simulation::seeds;
use retold::system::{
    Context, Follower, Infrastructure, OpenSystem, Opening, Outbox, Phase, Runner, SingleThread,
    System, Trouble,
};

/// The program that runs first.
mod old {
    use retold::prelude::*;

    #[derive(Event, Serialize, Deserialize, Clone)]
    #[event(topic = "placed", tag = "room:{room}")]
    pub(super) struct Placed {
        pub(super) room: u32,
        #[serde(default)]
        pub(super) by: String,
    }

    #[derive(Event, Serialize, Deserialize, Clone)]
    #[event(topic = "called off")]
    pub(super) struct CalledOff {
        pub(super) room: u32,
    }
}

/// Later programs, each with one change.
mod new {
    use retold::prelude::*;

    #[derive(Event, Serialize, Deserialize, Clone)]
    #[event(topic = "booked", formerly("placed"), tag = "room:{room}")]
    pub(super) struct Renamed {
        pub(super) room: u32,
    }

    /// The former topic was not declared.
    #[derive(Event, Serialize, Deserialize, Clone)]
    #[event(topic = "booked", tag = "room:{room}")]
    pub(super) struct Forgetful {
        pub(super) room: u32,
    }

    #[derive(Event, Serialize, Deserialize, Clone)]
    #[event(topic = "placed", tag = "room:{room}")]
    pub(super) struct WithField {
        pub(super) room: u32,
        #[serde(default)]
        pub(super) guests: u32,
    }

    /// The old program needs `by` and would read the event without it, so the revision is raised.
    #[derive(Event, Serialize, Deserialize, Clone)]
    #[event(topic = "placed", revision = 2, tag = "room:{room}")]
    pub(super) struct WithoutField {
        pub(super) room: u32,
    }
}

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(topic = "letter", tag = "room:{room}")]
struct Letter {
    room: u32,
}

macro_rules! policy {
    ($name:ident, $event:ty) => {
        async fn $name(event: &$event, context: &mut Context) -> retold::Result<()> {
            context.record(Letter { room: event.room })?;
            Ok(())
        }
    };
}

policy!(on_placed, old::Placed);
policy!(on_called_off, old::CalledOff);
policy!(on_renamed, new::Renamed);
policy!(on_with_field, new::WithField);
policy!(on_without_field, new::WithoutField);

fn letters() -> Follower {
    Follower::new("letters").follows("orders")
}

/// Orders of these types, and letters about them.
fn system(
    orders: impl Fn(retold::system::Member) -> retold::system::Member,
    follower: Follower,
) -> System {
    System::new("hotel")
        .application("orders", orders)
        .application("letters", |app| app.event::<Letter>().follower(follower))
        .build()
        .unwrap()
}

fn old_system() -> System {
    system(|app| app.event::<old::Placed>(), letters().on(on_placed))
}

fn placed(room: u32) -> old::Placed {
    let by = "ann".into();
    old::Placed { room, by }
}

/// Records an event of the application `orders` of a program, without its followers.
async fn record<E: Event + Clone>(system: &System, store: &Infrastructure, event: E) {
    let open = OpenSystem::open(system, store, Opening::Write)
        .await
        .unwrap();
    let orders = open.application("orders").unwrap();
    orders.decide((), move |()| event.clone()).await.unwrap();
}

async fn rooms(runner: &SingleThread) -> Vec<u32> {
    let letters = runner.application("letters").unwrap();
    let letters = letters.events::<Letter>().read().collect().await.unwrap();
    letters.iter().map(|it| it.event.room).collect()
}

/// The stores of two programs: each opens its own handle of one place.
struct Stores {
    old: Infrastructure,
    new: Infrastructure,
}

async fn memory() -> Stores {
    let store = MemoryStore::new();
    let open = || Infrastructure::new(Arc::new(store.clone()));
    Stores {
        old: open(),
        new: open(),
    }
}

async fn at(url: &str) -> Stores {
    let open = async || Infrastructure::new(retold::open_store(url).await.unwrap());
    Stores {
        old: open().await,
        new: open().await,
    }
}

/// The old program processes the events that it knows, holds before the unknown one, and reports
/// this. The new one continues there, and each event is processed once.
async fn check_held<E: Event + Clone>(
    stores: Stores,
    new: System,
    unknown: impl Fn(u32) -> E,
    topic: &str,
) {
    let view = MemoryView::<u32>::new();
    let counted = Projection::new("count", 1, "orders");
    let counted = counted.on::<old::Placed>(|count: &mut u32, _| {
        *count += 1;
        Ok(())
    });
    let infrastructure = stores.old.clone().view(view.keep(counted).unwrap());
    let old = SingleThread::start(&old_system(), &infrastructure)
        .await
        .unwrap();
    let by_old = old.application("orders").unwrap();
    by_old.decide((), |()| placed(1)).await.unwrap();
    assert_eq!(rooms(&old).await, [1]);

    record(&new, &stores.new, unknown(2)).await;
    // Recorded by the old program, after the event that it does not know.
    by_old.decide((), |()| placed(3)).await.unwrap();
    old.catch_up().await.unwrap();
    assert_eq!(
        rooms(&old).await,
        [1],
        "nothing after the event is processed"
    );
    let status = &old.status().await[0];
    assert_eq!(status.phase, Phase::Holding, "{status:?}");
    assert!(!status.is_well());
    assert_eq!(status.findings()[0].trouble, Trouble::Holding);
    let held = status.upstreams[0].held.clone().unwrap();
    assert_eq!((&*held.topic, held.event.position.get()), (topic, 2));
    assert!(held.reason.contains(topic), "{}", held.reason);
    assert_eq!(old.projections()[0].state(), ProjectionState::Holding);

    let after = SingleThread::start(&new, &stores.new).await.unwrap();
    assert_eq!(rooms(&after).await, [1, 2, 3]);
    // The old program reads the new one's records, and processes nothing twice.
    old.catch_up().await.unwrap();
    assert_eq!(old.status().await[0].phase, Phase::CaughtUp);
    assert_eq!(rooms(&old).await, [1, 2, 3]);
}

async fn check_rename(stores: Stores) {
    let new = system(|app| app.event::<new::Renamed>(), letters().on(on_renamed));
    check_held(stores, new, |room| new::Renamed { room }, "booked").await;
}

async fn check_new_event(stores: Stores) {
    let new = system(
        |app| app.event::<old::Placed>().event::<old::CalledOff>(),
        letters().on(on_placed).on(on_called_off),
    );
    check_held(stores, new, |room| old::CalledOff { room }, "called off").await;
}

async fn check_removed_field(stores: Stores) {
    let new = system(
        |app| app.event::<new::WithoutField>(),
        letters().on(on_without_field),
    );
    check_held(stores, new, |room| new::WithoutField { room }, "placed").await;
}

/// A new field with a default needs nothing: each program reads the other's events.
async fn check_new_field(stores: Stores) {
    let old = SingleThread::start(&old_system(), &stores.old)
        .await
        .unwrap();
    let new = system(
        |app| app.event::<new::WithField>(),
        letters().on(on_with_field),
    );
    let guests = 2;
    let by_new = |room| new::WithField { room, guests };
    record(&new, &stores.new, by_new(1)).await;
    old.catch_up().await.unwrap();
    assert_eq!(rooms(&old).await, [1]);
    let by_old = old.application("orders").unwrap();
    by_old.decide((), |()| placed(2)).await.unwrap();
    let new = SingleThread::start(&new, &stores.new).await.unwrap();
    assert_eq!(rooms(&new).await, [1, 2]);
    assert!(new.status().await[0].is_well());
}

/// A removed type must be declared as retired, or the program does not open.
async fn check_retirement(stores: Stores) {
    let both = system(
        |app| app.event::<old::Placed>().event::<old::CalledOff>(),
        letters().on(on_placed).on(on_called_off),
    );
    record(&both, &stores.old, old::CalledOff { room: 1 }).await;
    let refused = SingleThread::start(&old_system(), &stores.new).await;
    let refused = refused
        .expect_err("the log has a topic that is not known")
        .to_string();
    assert!(refused.contains("\"called off\""), "{refused}");
    assert!(refused.contains(".retired(\"called off\")"), "{refused}");
    let retired = system(
        |app| app.event::<old::Placed>().retired("called off"),
        letters().on(on_placed),
    );
    let new = SingleThread::start(&retired, &stores.new).await.unwrap();
    let orders = new.application("orders").unwrap();
    orders.decide((), |()| placed(2)).await.unwrap();
    assert_eq!(rooms(&new).await, [2]);
    assert!(new.status().await[0].is_well());
}

macro_rules! on_every_store {
    ($($name:ident: $check:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            $check(memory().await).await;
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("hotel.db");
            $check(at(&format!("sqlite:{}", file.display())).await).await;
            $check(at(&xtask::postgres_server::database()).await).await;
        }
    )*};
}

on_every_store! {
    a_renamed_event_is_held_before: check_rename,
    a_new_event_is_held_before: check_new_event,
    a_removed_field_is_held_before_by_its_revision: check_removed_field,
    a_new_field_needs_nothing: check_new_field,
    a_removed_event_is_retired: check_retirement,
    a_booked_room_is_not_booked_again: check_rooms,
    what_comes_between_a_read_and_its_append_is_noticed: check_between,
    typed_readings_and_outboxes_stop_before_an_unknown_event: check_typed_readers,
    events_of_another_program_are_passed_over: check_of_others,
}

/// Whether a room is taken.
#[derive(Clone, Default)]
struct Taken(bool);

impl Apply<old::Placed> for Taken {
    fn apply(&mut self, _: &old::Placed) {
        self.0 = true;
    }
}

impl Apply<new::Forgetful> for Taken {
    fn apply(&mut self, _: &new::Forgetful) {
        self.0 = true;
    }
}

impl Apply<new::Renamed> for Taken {
    fn apply(&mut self, _: &new::Renamed) {
        self.0 = true;
    }
}

/// Books a room by a decision over a query; returns false if it is taken.
async fn book<E: Event>(
    orders: &Application,
    room: u32,
    event: impl Fn(u32) -> E + Send + Sync,
) -> retold::Result<bool>
where
    Taken: Apply<E>,
{
    let is_taken = fold_of::<Taken, E>().tag(format!("room:{room}"));
    let decided = orders
        .decide(is_taken, |taken| match taken.0 {
            true => Err(()),
            false => Ok(event(room)),
        })
        .await;
    match decided {
        Ok(_) => Ok(true),
        Err(ExecuteError::Refused(())) => Ok(false),
        Err(ExecuteError::Retold(error)) => Err(error),
    }
}

fn opening(stores: &Infrastructure) -> retold::application::ApplicationBuilder {
    Application::builder("orders").store(Arc::clone(stores.store_of("orders")))
}

#[track_caller]
fn assert_unknown<T: std::fmt::Debug>(result: retold::Result<T>, topic: &str) {
    let message = result.unwrap_err().to_string();
    assert!(message.contains(&format!("{topic:?}")), "{message}");
    assert!(
        message.contains(&format!("formerly({topic:?})")),
        "{message}"
    );
}

/// A room that was booked before the event was renamed is not sold a second time: neither by a
/// program that declares its types, nor by one that declares none, nor by one that is already
/// running.
async fn check_rooms(stores: Stores) {
    let old = opening(&stores.old)
        .event::<old::Placed>()
        .open()
        .await
        .unwrap();
    assert!(book(&old, 7, placed).await.unwrap());
    assert!(!book(&old, 7, placed).await.unwrap());

    let forgetful = |room| new::Forgetful { room };
    let declared = opening(&stores.new).event::<new::Forgetful>().open().await;
    assert_unknown(declared.map(drop), "placed");
    let undeclared = opening(&stores.new).open().await.unwrap();
    assert_unknown(book(&undeclared, 7, forgetful).await, "placed");
    let view = fold_of::<Taken, new::Forgetful>();
    assert_unknown(undeclared.view(view).await.map(drop), "placed");
    // A room without events under that topic.
    assert!(book(&undeclared, 8, forgetful).await.unwrap());

    let new = opening(&stores.new)
        .event::<new::Renamed>()
        .open()
        .await
        .unwrap();
    let renamed = |room| new::Renamed { room };
    assert!(!book(&new, 7, renamed).await.unwrap());
    assert!(!book(&new, 8, renamed).await.unwrap());
    assert!(book(&new, 9, renamed).await.unwrap());
    // The old program still runs.
    assert_unknown(book(&old, 9, placed).await, "booked");
    assert!(book(&old, 10, placed).await.unwrap());
    assert!(!book(&new, 10, renamed).await.unwrap());
}

/// Runs a future to completion within a decision.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(future))
}

/// Goal: a decision over a query is recorded only if no event that it would have read was recorded
/// between its read and its append, also under a topic that its program does not know. Method: the
/// decision itself makes another program record in between.
async fn check_between(stores: Stores) {
    let old = opening(&stores.old);
    let old = old.event::<old::Placed>().event::<old::CalledOff>();
    let old = old.open().await.unwrap();
    let others = opening(&stores.new);
    let new = others.event::<new::Renamed>().event::<old::CalledOff>();
    let new = new.open().await.unwrap();
    let renamed = |room| new::Renamed { room };
    // The log contained no event of that topic before.
    let between = |room| {
        at_once(book(&new, room, renamed)).unwrap();
        placed(room)
    };
    assert_unknown(book(&old, 1, between).await, "booked");
    // It contains some, of another room.
    assert_unknown(book(&old, 2, between).await, "booked");
    assert!(book(&old, 3, placed).await.unwrap());
    // A topic that is new to the log but known to the program: it decides again.
    let times = std::sync::atomic::AtomicUsize::new(0);
    let called_off = |room| {
        if times.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 {
            at_once(async { new.decide((), |()| old::CalledOff { room: 9 }).await }).unwrap();
        }
        placed(room)
    };
    assert!(book(&old, 4, called_off).await.unwrap());
    assert_eq!(times.into_inner(), 2);
    let stored = old.log().stored().read().collect().await.unwrap();
    let topics: Vec<_> = stored.iter().map(|it| it.topic().to_owned()).collect();
    assert_eq!(
        topics,
        ["booked", "booked", "placed", "called off", "placed"]
    );
}

/// Subscriptions, reads and outboxes of a type return the events recorded before an unknown event
/// and then stop, because it may be of their type under another name.
async fn check_typed_readers(stores: Stores) {
    let old = opening(&stores.old).event::<old::Placed>();
    let old = old.open().await.unwrap();
    let by_old = async |room| old.decide((), |()| placed(room)).await.unwrap();
    by_old(1).await;
    let events = || old.events::<old::Placed>();
    let mut subscription = events().subscribe().await.unwrap();
    assert_eq!(subscription.next().await.unwrap().event.room, 1);
    let mut outbox = Outbox::<old::Placed>::open(&old, "mail").await.unwrap();
    assert_eq!(outbox.next().await.unwrap().unwrap().event.room, 1);
    outbox.delivered().await.unwrap();

    let new = opening(&stores.new).event::<new::Renamed>();
    let new = new.open().await.unwrap();
    new.decide((), |()| new::Renamed { room: 2 }).await.unwrap();
    by_old(3).await;
    for _ in 0..2 {
        assert_unknown(subscription.next().await.map(drop), "booked");
        assert_unknown(outbox.next().await.map(drop), "booked");
    }
    assert_unknown(events().read().collect().await.map(drop), "booked");
    let backward = events().read().backward();
    let rooms = |events: Vec<Logged<old::Placed>>| {
        let rooms = events.iter().map(|it| it.event.room);
        rooms.collect::<Vec<_>>()
    };
    assert_unknown(backward.collect().await.map(drop), "booked");
    // An event with another tag cannot match.
    let tagged = events().tag("room:3").read().collect().await.unwrap();
    assert_eq!(rooms(tagged), [3]);
    let skipping = events().skips_unknown_events().read().collect().await;
    assert_eq!(rooms(skipping.unwrap()), [1, 3]);

    let passed = subscription.pass_over().unwrap();
    assert_eq!(passed.topic(), "booked");
    assert_eq!(subscription.next().await.unwrap().event.room, 3);
    outbox.pass_over().await.unwrap();
    assert_eq!(outbox.next().await.unwrap().unwrap().event.room, 3);
}

/// Two programs record in one log, each with types of its own, and declare that.
async fn check_of_others(stores: Stores) {
    let letters = opening(&stores.old).event::<Letter>();
    let letters = letters.of_others("placed").open().await.unwrap();
    letters.decide((), |()| Letter { room: 1 }).await.unwrap();
    let refused = opening(&stores.new).event::<old::Placed>().open().await;
    let refused = refused.map(drop).unwrap_err().to_string();
    assert!(refused.contains(".of_others(\"letter\")"), "{refused}");
    let orders = opening(&stores.new).event::<old::Placed>();
    let orders = orders.of_others("letter").open().await.unwrap();
    assert!(book(&orders, 1, placed).await.unwrap());
    assert!(!book(&orders, 1, placed).await.unwrap());
    letters.decide((), |()| Letter { room: 1 }).await.unwrap();
    let placed = orders.events::<old::Placed>().read().collect().await;
    assert_eq!(placed.unwrap().len(), 1);
    let sent = letters.events::<Letter>().read().collect().await;
    assert_eq!(sent.unwrap().len(), 2);
}

/// A follower that is configured to skip unknown events does so.
#[tokio::test]
async fn a_follower_may_skip_unknown_events() {
    let stores = memory().await;
    let follower = letters().on(on_placed).skips_unknown_events();
    let old = system(|app| app.event::<old::Placed>(), follower);
    let old = SingleThread::start(&old, &stores.old).await.unwrap();
    let new = system(|app| app.event::<new::Renamed>(), letters().on(on_renamed));
    record(&new, &stores.new, new::Renamed { room: 1 }).await;
    let orders = old.application("orders").unwrap();
    orders.decide((), |()| placed(2)).await.unwrap();
    assert_eq!(rooms(&old).await, [2]);
    assert_eq!(old.status().await[0].phase, Phase::CaughtUp);
}

/// In one process, and with types that are declared nowhere: the type that records has, as a former
/// topic, the topic that the follower processes.
#[tokio::test]
async fn a_follower_holds_before_another_name_of_its_topic() {
    async fn finish(_: &old::CalledOff, context: &mut Context) -> retold::Result<()> {
        context.record(new::Renamed { room: 5 })?;
        Ok(())
    }
    let stores = memory().await;
    let mixed = |answer: Follower| {
        System::new("mixed")
            .application("orders", |app| app.event::<old::CalledOff>())
            .application("rooms", |app| {
                app.follower(Follower::new("finish").follows("orders").on(finish))
            })
            .application("letters", |app| app.follower(answer))
            .build()
            .unwrap()
    };
    let follower = || Follower::new("letters").follows("rooms");
    let both = mixed(follower().on(on_placed));
    let runner = SingleThread::start(&both, &stores.old).await.unwrap();
    let orders = runner.application("orders").unwrap();
    let called_off = || old::CalledOff { room: 5 };
    orders.decide((), |()| called_off()).await.unwrap();
    assert_eq!(rooms(&runner).await, [0; 0]);
    let status = &runner.status().await[1];
    assert_eq!(status.phase, Phase::Holding, "{status:?}");
    let after = mixed(follower().on(on_renamed));
    let after = SingleThread::start(&after, &stores.new).await.unwrap();
    assert_eq!(rooms(&after).await, [5]);
}

/// A view contains the events before the unknown event and none after it, and waiting for more
/// returns the reason.
#[tokio::test]
async fn a_view_holds_before_an_unknown_event() {
    let stores = memory().await;
    let view = MemoryView::<u32>::new();
    let count = Projection::new("count", 1, "orders").on::<old::Placed>(|count: &mut u32, _| {
        *count += 1;
        Ok(())
    });
    let infrastructure = stores.old.clone().view(view.keep(count).unwrap());
    let old = SingleThread::start(&old_system(), &infrastructure)
        .await
        .unwrap();
    let orders = old.application("orders").unwrap();
    orders.decide((), |()| placed(1)).await.unwrap();
    let new = system(|app| app.event::<new::Renamed>(), letters().on(on_renamed));
    record(&new, &stores.new, new::Renamed { room: 2 }).await;
    orders.decide((), |()| placed(3)).await.unwrap();
    assert_eq!(view.read(|count| *count), 1);
    let handle = &old.projections()[0];
    let refused = handle
        .wait_for(orders.head().await.unwrap().position())
        .await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("\"booked\""), "{refused}");
}

/// Under faults: an old program's followers, in several processes that crash, process every event
/// before the unknown one and none after it; the new program does the rest, once.
#[test]
fn an_unknown_event_is_held_before_under_every_fault() {
    // Nothing is declared here, or a process that restarts would be refused.
    let old = system(|app| app, letters().on(on_placed));
    let new = system(|app| app.event::<new::Renamed>(), letters().on(on_renamed));
    seeds(40, |simulation| {
        let store = MemoryStore::new().with_clock(simulation.clock());
        let store: Arc<dyn Store> = simulation.store(Arc::new(store));
        let mut hotel = SystemSimulation::over(simulation, &old, Arc::clone(&store))?;
        let opened = Arc::clone(&store);
        hotel.commands("desk", move |_| {
            let store = Arc::clone(&opened);
            async move {
                let open = async || loop {
                    let builder = Application::builder("orders").store(Arc::clone(&store));
                    if let Ok(orders) = builder.open().await {
                        break orders;
                    }
                };
                // One program cannot have both types.
                let (by_old, by_new) = (open().await, open().await);
                for room in 1..=6_u32 {
                    let id = format!("room-{room}");
                    if room == 4 {
                        let book = || by_new.decide((), |()| new::Renamed { room });
                        while book().command_id(id.as_str()).await.is_err() {}
                    } else {
                        let book = || by_old.decide((), |()| placed(room));
                        while book().command_id(id.as_str()).await.is_err() {}
                    }
                }
            }
        });
        let behind = hotel.run().expect_err("the followers hold");
        let infrastructure = Infrastructure::new(store);
        let after = hotel.simulation().outside(async {
            let open = OpenSystem::open(&old, &infrastructure, Opening::ReadOnly).await?;
            let letters = open.application("letters")?;
            let held = letters.events::<Letter>().read().collect().await?;
            let runner = SingleThread::start(&new, &infrastructure).await?;
            Ok::<_, retold::Error>((held.len(), rooms(&runner).await))
        })?;
        let (held, answered) = after.map_err(|error| error.to_string())?;
        match (held, answered.as_slice()) {
            (3, [1, 2, 3, 4, 5, 6]) => Ok(()),
            _ => Err(format!(
                "{held} were processed, then {answered:?}; {behind}"
            )),
        }
    });
}
