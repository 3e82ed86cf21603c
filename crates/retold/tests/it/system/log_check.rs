//! Whether a program can still read and fold all of its logs.

use std::sync::Arc;

use retold::application::LogCheck;
use retold::prelude::*;
use retold::recording::{Append, EventId, MemoryStore, NewEvent, Store, StoredSnapshot, Version};
use retold::system::{Context, Deadline, Follower, Infrastructure, OpenSystem, Opening, System};

#[derive(Event, Serialize, Deserialize, Clone)]
enum CounterEvent {
    Counted {
        by: u64,
    },
    #[event(revision = 2)]
    Cleared {},
}

#[derive(Aggregate, Clone, Default, Serialize, Deserialize)]
#[aggregate(event = CounterEvent, key = u64, snapshots(every = 2, revision = 1))]
struct Counter {
    count: u64,
    #[serde(skip)]
    steps: u64,
}

impl Apply<CounterEvent> for Counter {
    fn apply(&mut self, event: &CounterEvent) {
        self.steps += 1;
        match event {
            CounterEvent::Counted { by: 13 } => panic!("13 is not counted"),
            // State that no snapshot contains makes a difference only here.
            CounterEvent::Counted { by: 7 } => self.count += self.steps,
            CounterEvent::Counted { by } => self.count += by,
            CounterEvent::Cleared {} => self.count = 0,
        }
    }
}

#[derive(Event, Serialize, Deserialize)]
struct Noticed {
    count: u64,
}

async fn notice(event: &CounterEvent, context: &mut Context) -> retold::Result<()> {
    if let CounterEvent::Counted { by } = event {
        context.record(Noticed { count: *by })?;
    }
    Ok(())
}

async fn open(store: &Arc<MemoryStore>) -> Application {
    let builder = Application::builder("counters").store(store.clone());
    builder.aggregate::<Counter>().open().await.unwrap()
}

fn counted(by: u64) -> impl Fn(&Counter) -> CounterEvent {
    move |_| CounterEvent::Counted { by }
}

fn new(topic: &'static str, payload: &'static str) -> NewEvent {
    NewEvent::new(EventId::new(Uuid::now_v7()), topic, payload)
}

/// Records events that the program would not have recorded.
async fn record(application: &Application, events: impl IntoIterator<Item = NewEvent>) {
    application
        .recorder()
        .append(Append::of(events))
        .await
        .unwrap();
}

#[track_caller]
fn finds(check: &LogCheck, findings: &[(&str, Option<&str>, &str)]) {
    assert_eq!(check.finding_count, findings.len() as u64, "{check}");
    for (place, topic, reason) in findings {
        let is_it = |it: &&retold::application::LogFinding| {
            it.place.contains(place) && it.topic.as_deref() == *topic && it.reason.contains(reason)
        };
        assert!(
            check.findings.iter().any(|it| is_it(&it)),
            "{place}: {reason}\n{check}"
        );
        assert!(check.to_string().contains(reason));
    }
}

#[tokio::test]
async fn a_sound_log_is_read_and_folded_into_whole() {
    let store = Arc::new(MemoryStore::new());
    let counters = open(&store).await;
    let empty = counters.check_log().await.unwrap();
    assert!(empty.is_sound() && empty.events == 0, "{empty}");
    for key in 0..3 {
        for _ in 0..5 {
            counters.execute_or_create(key, counted(1)).await.unwrap();
        }
    }
    let due = counters.now();
    let deadline = Deadline::new("k", due, CounterEvent::Cleared {});
    counters.schedule(deadline).await.unwrap();
    let check = open(&store).await.check_log().await.unwrap();
    finds(&check, &[]);
    let found = (check.events, check.aggregates, check.snapshots);
    assert_eq!(found, (16, 3, 6), "{check}");
    assert!(check.is_sound());
}

#[tokio::test]
async fn events_that_a_program_cannot_read_or_fold_are_found() {
    let store = Arc::new(MemoryStore::new());
    let counters = open(&store).await;
    counters.execute_or_create(1, counted(1)).await.unwrap();
    record(&counters, [new("CounterEvent.Counted", r#"{"by":"many"}"#)]).await;
    record(&counters, [new("CounterEvent.Cleared", "{}").revision(3)]).await;
    for _ in 0..3 {
        record(&counters, [new("retold.forgotten", "{}")]).await;
    }
    let panics = new("CounterEvent.Counted", r#"{"by":13}"#);
    record(&counters, [panics.stream("Counter/2")]).await;
    let no_key = new("CounterEvent.Counted", r#"{"by":1}"#);
    record(&counters, [no_key.stream("Counter/two")]).await;
    let erased = new("CounterEvent.Counted", r#"{"by":1}"#).erased();
    record(&counters, [erased.stream("Counter/3")]).await;
    let unreadable = new("CounterEvent.Counted", "{}");
    record(&counters, [unreadable.stream("Counter/4")]).await;

    let check = counters.check_log().await.unwrap();
    finds(
        &check,
        &[
            ("position 2", Some("CounterEvent.Counted"), "at `by`"),
            ("position 3", Some("CounterEvent.Cleared"), "revision 3"),
            (
                "position 4",
                Some("retold.forgotten"),
                "newer version of the library",
            ),
            ("Counter/2", None, "panicked: 13 is not counted"),
            ("Counter/two", None, "no key"),
            (
                "Counter/4",
                Some("CounterEvent.Counted"),
                "missing field `by`",
            ),
            ("\"Counter/4\"", None, "missing field `by`"),
        ],
    );
    assert_eq!((check.events, check.aggregates), (10, 5));
    assert_eq!((check.erased, check.erased_aggregates), (1, 1));
}

#[tokio::test]
async fn snapshots_that_differ_from_the_events_are_found() {
    let store = Arc::new(MemoryStore::new());
    let counters = open(&store).await;
    for key in [1, 2, 3] {
        for _ in 0..2 {
            counters.execute_or_create(key, counted(1)).await.unwrap();
        }
    }
    finds(&counters.check_log().await.unwrap(), &[]);
    let put = async |key: u64, payload: &'static str, revision: u32| {
        let stream = Id::<Counter>::from(key).stream();
        let version = Version::new(2).unwrap();
        let mut forged = StoredSnapshot::new(&*stream, version, "Counter", payload.as_bytes());
        forged.revision = revision;
        counters.recorder().put_snapshot(forged).await.unwrap();
    };
    put(1, r#"{"count":1000}"#, 1).await;
    // The program ignores it.
    put(2, r#"{"count":1000}"#, 2).await;
    counters.execute_or_create(3, counted(7)).await.unwrap();
    let check = open(&store).await.check_log().await.unwrap();
    finds(
        &check,
        &[
            (
                "Counter/1\" at version 2",
                None,
                "`count` is 2, but 1000 in the snapshot",
            ),
            (
                "Counter/3\" at version 2",
                None,
                "`count` is 5, but 3 in the snapshot",
            ),
        ],
    );
    assert_eq!(check.snapshots, 2);
}

/// The types of followers count too, for the logs that they follow.
#[tokio::test]
async fn logs_of_a_system_are_read_as_their_followers_read_them() {
    let store = Arc::new(MemoryStore::new());
    let system = System::new("counting")
        .application("counters", |app| app)
        .application("notices", |app| {
            app.event::<Noticed>()
                .follower(Follower::new("noticing").follows("counters").on(notice))
        })
        .build()
        .unwrap();
    let birth = Uuid::now_v7().into();
    let log = store.open("counters", birth).await.unwrap();
    let unreadable = new("CounterEvent.Counted", "{}");
    log.append(Append::of([unreadable])).await.unwrap();
    let memory = Infrastructure::new(store);
    let open = OpenSystem::open(&system, &memory, Opening::ReadOnly)
        .await
        .unwrap();
    let checks = open.check_logs().await.unwrap();
    assert_eq!(checks.len(), 2);
    finds(
        &checks[0],
        &[(
            "position 1",
            Some("CounterEvent.Counted"),
            "missing field `by`",
        )],
    );
    finds(&checks[1], &[]);
    assert!(open.check_log("noticed").await.is_err());
}
