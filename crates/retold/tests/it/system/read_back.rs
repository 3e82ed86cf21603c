//! Events that followers record can be read back, and followers decide on events as read back.

use std::sync::Arc;

use retold::prelude::*;
use retold::recording::MemoryStore;
use retold::retelling::retell_whole;
use retold::system::{
    Context, Follower, Infrastructure, OpenSystem, Opening, Phase, Runner, SingleThread, System,
};

use super::shop::assert_retold;

#[derive(Event, Serialize, Deserialize)]
struct Weighed {
    kg: f64,
    count: u32,
}

#[derive(Aggregate, Clone, Default)]
#[aggregate(event = Weighed, key = String)]
struct Crate;

impl Apply<Weighed> for Crate {
    fn apply(&mut self, _: &Weighed) {}
}

/// Has a field that the log does not.
#[derive(Event, Serialize, Deserialize)]
struct Summed {
    sum: f64,
    #[serde(skip)]
    aside: u32,
}

#[derive(Aggregate, Clone, Default)]
#[aggregate(event = Summed, key = String)]
struct Total {
    sum: f64,
    asides: u32,
}

impl Apply<Summed> for Total {
    fn apply(&mut self, event: &Summed) {
        self.sum = event.sum;
        self.asides += event.aside;
    }
}

fn system(follower: Follower) -> System {
    System::new("scales")
        .application("crates", |app| app.aggregate::<Crate>())
        .application("totals", |app| {
            app.aggregate::<Total>()
                .follower(follower.follows("crates"))
        })
        .build()
        .unwrap()
}

fn memory() -> Infrastructure {
    Infrastructure::new(Arc::new(MemoryStore::new()))
}

async fn weigh(runner: &SingleThread, kg: f64, count: u32) {
    let crates = runner.application("crates").unwrap();
    crates
        .execute_or_create("c", move |_: &Crate| Weighed { kg, count })
        .await
        .unwrap();
}

async fn total(runner: &SingleThread) -> Total {
    let totals = runner.application("totals").unwrap();
    totals.get::<Total>("all").await.unwrap().state
}

/// Adds a price, in floats whose shortest text has 17 digits.
async fn add(weighed: &Weighed, context: &mut Context) -> retold::Result<()> {
    let price = weighed.kg * 117.633_313_394_000_17;
    for _ in 0..2 {
        context
            .execute_or_create("all", |total: &Total| {
                assert_eq!(total.asides, 0, "the log has no such field");
                Summed {
                    sum: total.sum + price,
                    aside: 1,
                }
            })
            .await?;
        // Read by a model, and again as an aggregate.
        let seen = context.view(Id::<Total>::from("all")).await?;
        assert_eq!(seen.sum, context.get::<Total>("all").await?.sum);
    }
    Ok(())
}

#[tokio::test]
async fn a_restart_does_not_change_decisions() {
    let mut sums = Vec::new();
    for restart in [false, true] {
        for batch in [1, 100] {
            let (memory, system) = (memory(), system(Follower::new("add").on(add).batch(batch)));
            let mut runner = SingleThread::start(&system, &memory).await.unwrap();
            for kg in [1.0, 0.01, 0.7] {
                if restart {
                    assert!(runner.stop().await.is_clean());
                    runner = SingleThread::start(&system, &memory).await.unwrap();
                }
                weigh(&runner, kg, 1).await;
            }
            sums.push(total(&runner).await.sum.to_bits());
            assert_eq!(total(&runner).await.asides, 0);
            assert!(runner.stop().await.is_clean());
            let open = OpenSystem::open(&system, &memory, Opening::ReadOnly)
                .await
                .unwrap();
            assert_retold(&open).await;
            let report = retell_whole(&open).await.unwrap();
            assert!(report.difference.is_none(), "{report}");
        }
    }
    assert!(sums.iter().all(|sum| *sum == sums[0]), "{sums:?}");
}

async fn average(weighed: &Weighed, context: &mut Context) -> retold::Result<()> {
    let mean = weighed.kg / f64::from(weighed.count);
    let summed = |sum| Summed { sum, aside: 0 };
    // Either all events of a decision are recorded or none.
    let decided = context
        .execute_or_create("all", |_: &Total| [summed(1.0), summed(mean)])
        .await;
    if mean.is_nan() {
        assert!(
            context
                .find::<Total>("all")
                .await?
                .is_some_and(|it| it.sum == 2.0)
        );
        let stream = Id::<Total>::from("all");
        let recorded = context.record([summed(3.0), summed(mean)].map(|it| it.to(&stream)));
        assert!(recorded.is_err());
        assert!(
            context
                .find::<Total>("all")
                .await?
                .is_some_and(|it| it.sum == 2.0)
        );
    }
    decided?;
    Ok(())
}

#[tokio::test]
async fn an_event_that_cannot_be_read_back_is_a_failure_of_its_policy() {
    let memory = memory();
    let system = system(Follower::new("average").on(average));
    let runner = SingleThread::start(&system, &memory).await.unwrap();
    weigh(&runner, 4.0, 2).await;
    weigh(&runner, 0.0, 0).await;
    weigh(&runner, 9.0, 3).await;
    let status = runner.status().await.remove(0);
    assert_eq!(status.phase, Phase::Paused);
    let (_, error) = status.last_error.unwrap();
    for part in ["\"Summed\"", "at `sum`", "NaN"] {
        assert!(error.contains(part), "{part:?} is not in: {error}");
    }
    assert!(runner.stop().await.is_clean());

    // Recorded events can be read, so the follower starts again and nothing is lost.
    let runner = SingleThread::start(&system, &memory).await.unwrap();
    assert_eq!(total(&runner).await.sum, 2.0);
    assert_eq!(runner.status().await[0].phase, Phase::Paused);
}

/// A timer whose event could not be read back is not set.
#[tokio::test]
async fn a_deadline_whose_event_cannot_be_read_back_is_not_set() {
    let memory = memory();
    let system = system(Follower::new("add").on(add));
    let runner = SingleThread::start(&system, &memory).await.unwrap();
    let crates = runner.application("crates").unwrap();
    let due = crates
        .now()
        .saturating_add(std::time::Duration::from_secs(3600));
    let deadline = |kg| retold::system::Deadline::new("k", due, Weighed { kg, count: 1 });
    let error = crates.schedule(deadline(f64::NAN)).await.unwrap_err();
    assert!(matches!(error, retold::Error::Mapping(_)), "{error:?}");
    let error = crates.decide((), |()| deadline(f64::NAN)).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("NaN") && error.contains("`kg`"), "{error}");
    assert_eq!(crates.head().await.unwrap().checkpoint, None);
    crates.decide((), |()| deadline(1.0)).await.unwrap();
    assert!(crates.cancel("k").await.unwrap());
}
