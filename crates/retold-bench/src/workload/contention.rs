//! Many followers that decide on one aggregate for the same event: whether the time is linear in
//! their number.

use std::time::{Duration, Instant};

use retold::prelude::*;
use retold::runner::MultiThread;
use retold::system::{Goal, Runner};
use tokio::runtime::Runtime;

use crate::contender::{Contender, Result, RunFn};
use crate::sample::Run;
use crate::subject::{Subject, open_store};

/// The numbers of followers to compare, each with the name of its workload.
const COUNTS: [(&str, u64); 3] = [
    ("decide-100-followers", 100),
    ("decide-300-followers", 300),
    ("decide-1000-followers", 1_000),
];
/// The number of followers in a test.
const COUNT_QUICK: u64 = 10;
/// Maximum wait for followers before the benchmark fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// A bell was rung.
#[derive(Event, Serialize, Deserialize)]
struct Rung {}

/// Somebody heard it.
#[derive(Event, Serialize, Deserialize)]
struct Heard {}

/// All who heard it.
#[derive(Aggregate, Clone, Default)]
#[aggregate(event = Heard, key = String)]
struct Audience {
    count: u64,
}

impl Apply<Heard> for Audience {
    fn apply(&mut self, _: &Heard) {
        self.count += 1;
    }
}

async fn hear(_: &Rung, context: &mut Context) -> retold::Result<()> {
    let all = Id::<Audience>::from("all");
    context.execute_or_create(&all, |_| Heard {}).await?;
    Ok(())
}

fn town(followers: u64) -> Result<System> {
    let followers = (0..followers).map(|number| {
        let follower = Follower::new(format!("listener-{number}"));
        follower.follows("bell").on(hear)
    });
    Ok(System::new("town")
        .application("bell", |app| app.event::<Rung>())
        .application("audience", |app| {
            followers.fold(app.aggregate::<Audience>(), |app, it| app.follower(it))
        })
        .build()?)
}

/// Returns the workloads for all numbers of followers.
pub(crate) fn contenders<'a>(
    subject: &'a Subject,
    runtime: &'a Runtime,
    is_quick: bool,
) -> impl Iterator<Item = Contender<'a>> {
    COUNTS.into_iter().map(move |(name, count)| {
        let count = if is_quick { COUNT_QUICK } else { count };
        decide(subject, runtime, name, count)
    })
}

/// The followers have started and are idle; then the bell rings once.
fn decide<'a>(
    subject: &'a Subject,
    runtime: &'a Runtime,
    name: &'static str,
    followers: u64,
) -> Contender<'a> {
    Contender::new(name, subject.label, "decisions", move || {
        let mut number = 0;
        Ok(Box::new(move |_| {
            number += 1;
            let url = subject.url(&format!("{name}-{number}"));
            runtime.block_on(async {
                let infrastructure = Infrastructure::new(open_store(&url).await?);
                let runner = MultiThread::start(&town(followers)?, &infrastructure).await?;
                ring(&runner).await?;
                let start = Instant::now();
                ring(&runner).await?;
                let took = start.elapsed();
                let audience = runner.application("audience")?;
                let heard = audience.get::<Audience>("all").await?.state.count;
                if heard != 2 * followers {
                    return Err(format!("{heard} effects of {followers} followers").into());
                }
                drop(runner.stop().await);
                let mut run = Run::new();
                run.add(took, followers);
                Ok(run.took(took))
            })
        }) as RunFn<'a>)
    })
}

/// Rings the bell and waits until all have heard it.
async fn ring(runner: &MultiThread) -> Result<()> {
    let bell = runner.application("bell")?;
    let rung = bell.decide((), |(): &()| Rung {}).await?;
    let position = rung.position().ok_or("nothing was recorded")?;
    runner
        .wait(Goal::processed("bell", position), PATIENCE)
        .await?;
    Ok(())
}
