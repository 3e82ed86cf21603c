//! Many concurrent callers of the same thing: each gets its turn, however the store groups appends.

use retold::prelude::*;
use retold::recording::BoxFuture;

const CALLERS: usize = 64;
/// Commands of each caller, one after the other.
const COMMANDS: usize = 10;
/// Decisions of each caller; half of all are refused.
const DECISIONS: usize = 4;

#[derive(Clone, Debug, Event, Serialize, Deserialize)]
enum CounterEvent {
    #[event(tag = "counter")]
    Counted,
}

#[derive(Aggregate, Clone, Debug, Default)]
#[aggregate(event = CounterEvent)]
struct Counter {
    count: usize,
}

impl Apply<CounterEvent> for Counter {
    fn apply(&mut self, _: &CounterEvent) {
        self.count += 1;
    }
}

#[derive(Debug, PartialEq)]
struct Enough;

/// A command, called once for each execution.
type Command = fn(Application) -> BoxFuture<'static, Result<Recorded, ExecuteError<Enough>>>;

/// Runs this number of commands in each of `CALLERS` callers, and returns the number of refusals.
async fn contend(app: &Application, commands: usize, command: Command) -> usize {
    let caller = async |app: Application| {
        let mut refused = 0;
        for _ in 0..commands {
            match command(app.clone()).await {
                Ok(_) => {}
                Err(ExecuteError::Refused(Enough)) => refused += 1,
                Err(error) => panic!("{error:?}"),
            }
        }
        refused
    };
    let callers = (0..CALLERS).map(|_| caller(app.clone()));
    futures_util::future::join_all(callers).await.iter().sum()
}

/// Goal: no caller runs out of retries because others are faster. Method: all callers want the same
/// aggregate, then the same query, on stores that commit in groups, so that one of each group wins.
async fn everybody_gets_a_turn(url: &str) {
    let app = Application::open("counters", url).await.unwrap();
    let refused = contend(&app, COMMANDS, |app| {
        Box::pin(async move {
            let id = Id::<Counter>::new(Uuid::nil());
            let count = |_: &Counter| Ok::<_, Enough>(CounterEvent::Counted);
            app.execute_or_create(id, count).await
        })
    });
    assert_eq!(refused.await, 0);
    let id = Id::<Counter>::new(Uuid::nil());
    let counter = app.get(id).await.unwrap().state;
    assert_eq!(counter.count, CALLERS * COMMANDS);

    let few = Application::open("few", url).await.unwrap();
    let limit = fold_of::<Counter, CounterEvent>().tag("counter");
    let refused = contend(&few, DECISIONS, |few| {
        Box::pin(async move {
            let counted = fold_of::<Counter, CounterEvent>().tag("counter");
            let decide = |counter: &Counter| {
                if counter.count >= CALLERS * DECISIONS / 2 {
                    return Err(Enough);
                }
                Ok(CounterEvent::Counted)
            };
            few.decide(counted, decide).await
        })
    });
    assert_eq!(refused.await, CALLERS * DECISIONS / 2);
    let counter = few.view(limit).await.unwrap().state;
    assert_eq!(counter.count, CALLERS * DECISIONS / 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_callers_of_one_thing_each_get_their_turn() {
    everybody_gets_a_turn("memory:contention").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("counters.db");
    everybody_gets_a_turn(&format!("sqlite:{}?synchronous=normal", file.display())).await;
    #[cfg(feature = "postgres")]
    everybody_gets_a_turn(&xtask::postgres_server::database()).await;
}
