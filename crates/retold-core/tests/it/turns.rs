//! Commands of one process on one aggregate take turns; one that stalls blocks no others.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use retold_core::application::{Application, ExecuteError, Recorded};
use retold_core::domain::Id;
use retold_core::recording::{Append, BoxFuture, Recorder};

use crate::accounts::{Account, Refusal, deposited, opened};
use crate::faults::Faulty;
use crate::racing;

type Command<'a> = BoxFuture<'a, Result<Recorded, ExecuteError<Refusal>>>;

/// An application with an account in its cache, and its recorder.
async fn bank(log: &Arc<dyn Recorder>) -> (Application, Id<Account>, Arc<Faulty>) {
    let gated = Faulty::new(Arc::clone(log), []);
    let builder = Application::builder("bank").recorder(gated.clone());
    let (bank, id) = (builder.open().await.unwrap(), Id::from("1"));
    let open = bank.execute_or_create(&id, |_| opened("ann"));
    open.await.unwrap();
    (bank, id, gated)
}

fn deposit<'a>(bank: &'a Application, id: &'a Id<Account>) -> Command<'a> {
    let one = |_: &Account| Ok::<_, Refusal>(deposited(1));
    bank.execute(id, one).into_future()
}

/// Commands that were overtaken by another writer and run again: the first has the turn, the others
/// wait for it. Their appends wait until they are allowed.
async fn beaten<'a>(
    bank: &'a Application,
    id: &'a Id<Account>,
    gated: &Faulty,
) -> Vec<Command<'a>> {
    let mut commands: Vec<_> = (0..4).map(|_| deposit(bank, id)).collect();
    gated.allow(commands.len());
    poll_once(&mut commands).await;
    let mut rival = racing::event("AccountEvent.Deposited").stream(id.stream());
    rival.payload = Some(r#"{"cents":100}"#.into());
    gated.sound().append(Append::of([rival])).await.unwrap();
    poll_once(&mut commands).await;
    commands
}

/// Polls each command once; none is done then.
async fn poll_once(commands: &mut [Command<'_>]) {
    for command in commands {
        let pending = poll_fn(|context| Poll::Ready(command.as_mut().poll(context).is_pending()));
        assert!(pending.await);
    }
}

#[tokio::test]
async fn a_command_continues_though_earlier_ones_are_not_polled() {
    let log = racing::log().await;
    let (bank, id, gated) = bank(&log).await;
    let mut commands = beaten(&bank, &id, &gated).await;
    gated.allow(usize::MAX);
    let last = commands.pop().unwrap();
    racing::soon(last).await.unwrap();
    for command in commands {
        racing::soon(command).await.unwrap();
    }
    assert_eq!(bank.get(&id).await.unwrap().state.cents, 104);
}

#[tokio::test]
async fn a_command_continues_though_earlier_ones_are_dropped() {
    let log = racing::log().await;
    let (bank, id, gated) = bank(&log).await;
    let mut commands = beaten(&bank, &id, &gated).await;
    gated.allow(usize::MAX);
    let last = commands.pop().unwrap();
    drop(commands);
    racing::soon(last).await.unwrap();
    // The command that had the turn was executed by the waiting one: a dropped command withdraws
    // nothing.
    assert_eq!(bank.get(&id).await.unwrap().state.cents, 102);
}

#[tokio::test]
async fn dropped_commands_hold_nothing() {
    let log = racing::log().await;
    let (bank, id, gated) = bank(&log).await;
    drop(beaten(&bank, &id, &gated).await);
    gated.allow(usize::MAX);
    let mut after = beaten(&bank, &id, &gated).await;
    gated.allow(usize::MAX);
    racing::soon(after.pop().unwrap()).await.unwrap();
    drop(after);
    drop(beaten(&bank, &id, &gated).await);
    drop((bank, gated));
    assert_eq!(Arc::strong_count(&log), 1, "the application is closed");
}

/// Commands that were overtaken once are not overtaken again by each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn commands_of_one_process_do_not_overtake_each_other() {
    let log = racing::log().await;
    let slow = Faulty::new(Arc::clone(&log), []);
    let builder = Application::builder("bank").recorder(slow).retries(20);
    let bank = builder.open().await.unwrap();
    let id = Id::<Account>::from("1");
    bank.execute_or_create(&id, |_| opened("ann"))
        .await
        .unwrap();
    let tasks: Vec<_> = (0..200)
        .map(|_| {
            let (bank, id) = (bank.clone(), id.clone());
            tokio::spawn(async move { deposit(&bank, &id).await })
        })
        .collect();
    for task in tasks {
        racing::soon(task).await.unwrap().unwrap();
    }
    assert_eq!(bank.get(&id).await.unwrap().state.cents, 200);
}
