//! Deletions and replacements in simulation, while several processes write to the same stream.

use std::sync::Arc;

use retold_core::application::{Application, Error};
use retold_core::domain::Id;
use retold_core::recording::{
    BoxFuture, DELETED_TOPIC, LogRead, StoredEvent, is_amendment_record, verify_log,
};
use retold_core::simulation::{Simulation, seeds};
use tokio::sync::OnceCell;

use super::applications::Bank;
use crate::accounts::{Account, AccountEvent, deposited};

const TELLERS: [&str; 2] = ["ann", "bob"];
const DEPOSITS: usize = 3;

fn shared() -> Id<Account> {
    "shared".into()
}

/// Deposits one cent at a time, until that is done or the account is deleted.
async fn deposit(bank: &Application, teller: &str) {
    for number in 0..DEPOSITS {
        let request = format!("{teller}-{number}");
        loop {
            let command = bank.execute_or_create(shared(), |_| deposited(1));
            match command.command_id(&*request).await.map_err(Error::from) {
                Ok(_) => break,
                Err(Error::Unavailable(_) | Error::OutcomeUnknown { .. }) => {}
                Err(Error::Deleted { .. }) => return,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// An act on the bank; whether it is done.
type Act = for<'a> fn(&'a Application) -> BoxFuture<'a, Result<bool, Error>>;

/// Runs tellers in two processes, and `act` in a third one until it succeeds; returns the events
/// and whether the log is sound.
fn run(simulation: &mut Simulation, act: Act) -> Result<(Bank, Vec<StoredEvent>), String> {
    let bank = Bank::new(simulation);
    for branch in ["north", "south"] {
        let bank = bank.clone();
        simulation.process(branch, move |process| {
            let opened = Arc::new(OnceCell::new());
            for teller in TELLERS {
                let teller = format!("{branch}-{teller}");
                let (bank, opened) = (bank.clone(), opened.clone());
                process.actor(teller.clone(), async move {
                    deposit(bank.opened(&opened).await, &teller).await;
                });
            }
        });
    }
    let office = bank.clone();
    simulation.process("office", move |process| {
        let office = office.clone();
        process.actor("eve", async move {
            let opened = OnceCell::new();
            let bank = office.opened(&opened).await;
            loop {
                match act(bank).await {
                    Ok(true) => break,
                    Ok(false)
                    | Err(
                        Error::Unavailable(_)
                        | Error::OutcomeUnknown { .. }
                        | Error::NotFound { .. },
                    ) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
    });
    simulation.run()?;
    let after = bank.clone();
    let (events, findings) = simulation.outside(async move {
        let bank = after.open().await.unwrap();
        let page = bank.recorder().read_log(LogRead::new()).await.unwrap();
        let verified = verify_log(&**bank.recorder(), &mut |_| {}).await.unwrap();
        (page.events, verified)
    })?;
    match findings.is_sound() {
        true => Ok((bank, events)),
        false => Err(format!("{findings:?}")),
    }
}

/// A deletion ends the stream for every process, and leaves no content, under all faults.
#[test]
fn a_deletion_is_complete_under_all_faults() {
    seeds(200, |simulation| {
        let delete: Act = |bank| {
            Box::pin(async move {
                bank.delete(shared(), "eve", "request 17")
                    .await
                    .map(|_| true)
            })
        };
        let (bank, events) = run(simulation, delete)?;
        let (records, deposits): (Vec<_>, Vec<_>) = events
            .iter()
            .partition(|event| is_amendment_record(event.topic()));
        if let Some(left) = deposits.iter().find(|event| !event.is_erased()) {
            return Err(format!("{left:?} is left"));
        }
        let last = events.last().map(StoredEvent::topic);
        if last != Some(DELETED_TOPIC) || records.is_empty() {
            return Err(format!("the stream ends with {last:?}"));
        }
        let state = simulation.outside(async move {
            let bank = bank.open().await.unwrap();
            bank.get(shared()).await.map(drop)
        })?;
        match state {
            Err(Error::Deleted { .. }) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

/// The state is the fold of what the log has, also while an event of it is replaced.
#[test]
fn a_replaced_event_counts_once_under_all_faults() {
    seeds(200, |simulation| {
        let replace: Act = |bank| {
            Box::pin(async move {
                let events = bank.events::<AccountEvent>().read().first().await?;
                let Some(first) = events else {
                    return Ok(false);
                };
                let amender = bank.amender("eve", "a typing error")?;
                let deposit = deposited(100);
                let replaced = amender.replace_by(first.stored.id(), &deposit);
                replaced.await.map(|_| true)
            })
        };
        let (bank, _) = run(simulation, replace)?;
        let cents = simulation.outside(async move {
            let bank = bank.open().await.unwrap();
            bank.get(shared()).await.unwrap().state.cents
        })?;
        let deposits = i64::try_from(2 * TELLERS.len() * DEPOSITS).unwrap();
        match cents == deposits + 99 {
            true => Ok(()),
            false => Err(format!("{cents} cents")),
        }
    });
}
