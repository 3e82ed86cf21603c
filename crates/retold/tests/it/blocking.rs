//! The blocking API: everything the asynchronous one does, from any thread, also within a runtime.

use std::thread;

use retold::application::{Error, ExecuteError, Signal, fold_of};
use retold::blocking::{BlockingApplication, BlockingExt, Wait, WaitEach};
use retold::prelude::{Addressed, Aggregate, Apply, Deserialize, Event, Id, Serialize};
use retold::recording::Version;

#[derive(Clone, Debug, PartialEq, Event, Serialize, Deserialize)]
enum DogEvent {
    Registered {
        name: String,
    },
    #[event(tag = "trick:{trick}")]
    TrickAdded {
        trick: String,
    },
}

#[derive(Aggregate, Clone, Debug, Default, PartialEq)]
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

#[derive(Clone, Default)]
struct Count(usize);

impl Apply<DogEvent> for Count {
    fn apply(&mut self, _: &DogEvent) {
        self.0 += 1;
    }
}

fn registered(name: &str) -> DogEvent {
    DogEvent::Registered { name: name.into() }
}

fn trick(trick: &str) -> DogEvent {
    DogEvent::TrickAdded {
        trick: trick.into(),
    }
}

/// Uses the whole API on the store at `url`.
fn exercise(url: &str) -> Result<(), Error> {
    let school = BlockingApplication::open("school", url)?;
    let fido = school.create::<Dog>(registered("Fido")).wait()?;
    let recorded = school
        .execute(fido, |_| trick("sit"))
        .command_id("c1")
        .wait();
    let version = recorded.expect("it cannot be refused").version;
    let again = school
        .execute(fido, |_| trick("sit"))
        .command_id("c1")
        .wait();
    assert!(again.expect("it cannot be refused").is_repeated());
    let late = school.execute(fido, |_| trick("roll")).at(None).wait();
    assert!(matches!(
        late,
        Err(ExecuteError::Retold(Error::Conflict(_)))
    ));
    let refused = school.execute(fido, |_| Err::<DogEvent, _>("tired")).wait();
    assert!(matches!(refused, Err(ExecuteError::Refused("tired"))));

    assert_eq!(Some(school.get(fido)?.version), version);
    let first = school.get_at(fido, Version::FIRST)?;
    assert!(first.state.tricks.is_empty());
    assert_eq!(school.find(fido)?.map(|it| it.state.tricks.len()), Some(1));
    assert_eq!(school.aggregates::<Dog>()?, [fido]);

    let sits = fold_of::<Count, DogEvent>().tag("trick:sit");
    let decided = school.decide((fido, sits.clone()), |(dog, count)| {
        (dog.tricks.len() == count.0).then(|| trick("sit").to(&fido))
    });
    assert_eq!(
        decided
            .wait()
            .expect("it cannot be refused")
            .positions
            .count(),
        1
    );
    assert_eq!(school.view(sits)?.state.0, 2);

    let positions: Vec<_> = (1..=3).collect();
    let mut read = Vec::new();
    for event in school.events::<DogEvent>().read().events().wait_each() {
        read.push(event?.position().get());
    }
    assert_eq!(read, positions);
    let mut subscription = school.log().stored().subscribe().wait()?;
    for position in &positions {
        assert_eq!(subscription.next().wait()?.position().get(), *position);
    }
    assert_eq!(
        subscription.next_signal().wait()?,
        Signal::CaughtUp(school.head()?.checkpoint)
    );
    Ok(())
}

#[test]
fn the_blocking_api_works_on_every_store() {
    exercise("memory:blocking").unwrap();
    let folder = tempfile::tempdir().unwrap();
    exercise(&format!(
        "sqlite:{}",
        folder.path().join("dogs.db").display()
    ))
    .unwrap();
    #[cfg(feature = "postgres")]
    exercise(&xtask::postgres_server::database()).unwrap();
}

/// Goal: a subscriber sleeps in its thread and receives what other threads record.
#[test]
fn threads_write_and_subscribe() {
    let folder = tempfile::tempdir().unwrap();
    for url in [
        "memory:blocking-threads".to_owned(),
        format!("sqlite:{}", folder.path().join("dogs.db").display()),
        #[cfg(feature = "postgres")]
        xtask::postgres_server::database(),
    ] {
        let school = BlockingApplication::open("school", &url).unwrap();
        let subscriber = {
            let subscription = school.events::<DogEvent>().page_size(7).subscribe();
            let events = subscription.wait().unwrap().wait_each();
            thread::spawn(move || {
                events
                    .take(200)
                    .map(|it| it.unwrap().position().get())
                    .collect()
            })
        };
        let dog = school.create::<Dog>(registered("Fido")).wait().unwrap();
        thread::scope(|scope| {
            for _ in 0..4 {
                let school = school.clone();
                scope.spawn(move || {
                    for _ in 0..50 {
                        school.execute(dog, |_| trick("sit")).wait().unwrap();
                    }
                });
            }
        });
        let heard: Vec<u64> = subscriber.join().unwrap();
        assert_eq!(heard, (1..=200).collect::<Vec<_>>());
        assert_eq!(school.get(dog).unwrap().state.tricks.len(), 200);
    }
}

/// Goal: within a task nothing hangs or panics, regardless of how many calls are made before the
/// task yields (tokio limits the steps of a task).
async fn exercise_within_a_task() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!(
        "sqlite:{}?synchronous=normal",
        folder.path().join("dogs.db").display()
    );
    let school = BlockingApplication::open("school", &url).unwrap();
    let dog = school.create::<Dog>(registered("Fido")).wait().unwrap();
    let mut subscription = school.events::<DogEvent>().subscribe().wait().unwrap();
    let mut commits = school.commits();
    for _ in 0..300 {
        school.execute(dog, |_| trick("sit")).wait().unwrap();
        subscription.next().wait().unwrap();
        commits.next().wait().unwrap();
    }
    let asynchronous = school.asynchronous();
    assert_eq!(asynchronous.get(dog).await.unwrap().state.tricks.len(), 300);
    let nested = school.execute(dog, |_| {
        let known = asynchronous.blocking().get(dog).unwrap().state.tricks.len();
        trick(&known.to_string())
    });
    nested.wait().unwrap();
}

#[tokio::test]
async fn it_works_within_a_runtime_of_one_thread() {
    exercise_within_a_task().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_works_within_a_runtime_of_many_threads() {
    tokio::spawn(exercise_within_a_task()).await.unwrap();
}

#[test]
fn an_id_works_in_both_apis() {
    let school = BlockingApplication::open("school", "memory:blocking-ids").unwrap();
    let id: Id<Dog> = school.create(registered("Rex")).wait().unwrap();
    let found = school.asynchronous().get(id).wait().unwrap();
    assert_eq!(found.id, id);
}
