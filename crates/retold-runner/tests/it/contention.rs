//! Many followers that decide on one aggregate: the cost, counted in decisions and appends.

use std::sync::atomic::{AtomicU64, Ordering};

use retold::prelude::*;
use retold::recording::BoxFuture;
use retold::runner::MultiThread;
use retold::system::{Context, Follower, Goal, Runner, System};

use crate::faulty::{Behaviour, Call, Fate, FaultyStore};
use crate::patience::PATIENCE;

/// How often a policy was called.
static DECISIONS: AtomicU64 = AtomicU64::new(0);

#[derive(Event, Serialize, Deserialize)]
struct Rung {}

#[derive(Event, Serialize, Deserialize)]
struct Heard {}

#[derive(Aggregate, Clone, Default)]
#[aggregate(event = Heard, key = String)]
struct Ears {
    count: u64,
}

impl Apply<Heard> for Ears {
    fn apply(&mut self, _: &Heard) {
        self.count += 1;
    }
}

async fn hear(_: &Rung, context: &mut Context) -> retold::Result<()> {
    DECISIONS.fetch_add(1, Ordering::Relaxed);
    context
        .execute_or_create("all", |_: &Ears| Heard {})
        .await?;
    Ok(())
}

fn town(followers: usize) -> System {
    System::new("town")
        .application("bell", |app| app.event::<Rung>())
        .application("ears", |app| {
            let app = app.aggregate::<Ears>();
            (0..followers).fold(app, |app, number| {
                let follower = Follower::new(format!("f{number}"));
                app.follower(follower.follows("bell").on(hear))
            })
        })
        .build()
        .unwrap()
}

/// Delays each append, so that others decide meanwhile. Counts appends.
#[derive(Default)]
struct Slow(AtomicU64);

impl Behaviour for Slow {
    fn meet<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Fate> {
        Box::pin(async move {
            if let Call::Append(_) = call {
                self.0.fetch_add(1, Ordering::Relaxed);
                // Lets all other ready tasks run.
                tokio::task::yield_now().await;
            }
            Fate::Sound
        })
    }
}

/// Without turns each recorded append would cost all others a decision: 20,000 for 200 followers.
#[tokio::test]
async fn followers_of_one_aggregate_decide_a_few_times_each() {
    for followers in [50, 200] {
        let (infrastructure, slow) = FaultyStore::in_memory(Slow::default());
        let appends = &slow.0;
        let town = town(followers);
        let runner = MultiThread::start(&town, &infrastructure).await.unwrap();
        let bell = runner.application("bell").unwrap();
        let rung = bell.decide((), |(): &()| Rung {}).await.unwrap();
        let first = rung.position().unwrap();
        runner
            .wait(Goal::processed("bell", first), PATIENCE)
            .await
            .unwrap();
        // All have started. They process the second event at the same time.
        let decisions = DECISIONS.swap(0, Ordering::Relaxed);
        let before = appends.swap(0, Ordering::Relaxed);
        let rung = bell.decide((), |(): &()| Rung {}).await.unwrap();
        let position = rung.position().unwrap();
        runner
            .wait(Goal::processed("bell", position), PATIENCE)
            .await
            .unwrap();
        let decisions = [decisions, DECISIONS.swap(0, Ordering::Relaxed)];
        let appends = [before, appends.load(Ordering::Relaxed)];
        let text = format!("{followers} followers: {decisions:?} decisions, {appends:?} appends");
        println!("{text}");
        let ears = runner.application("ears").unwrap();
        let count = ears.get::<Ears>("all").await.unwrap().state.count;
        assert_eq!(count, 2 * followers as u64);
        let bound = 6 * followers as u64;
        assert!(decisions.into_iter().all(|it| it <= bound), "{text}");
        assert!(appends.into_iter().all(|it| it <= bound), "{text}");
        runner.stop().await;
    }
}
