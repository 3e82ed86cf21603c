//! Applications in simulation: commands of several actors in several processes, under all faults.

use std::sync::Arc;

use tokio::sync::OnceCell;

use retold_core::application::{Application, Error};
use retold_core::domain::{Id, ManualClock, SequentialIds};
use retold_core::recording::{MemoryStore, verify_log};
use retold_core::simulation::{SimulatedStore, Simulation, run_seed, seeds};

use super::{Heard, announce};
use crate::accounts::{Account, deposited};

const TELLERS: [&str; 3] = ["ann", "bob", "cid"];
const DEPOSITS: usize = 3;

/// Opens an application of this run, each time its process starts.
#[derive(Clone)]
pub(super) struct Bank {
    store: Arc<SimulatedStore>,
    clock: Arc<ManualClock>,
    ids: Arc<SequentialIds>,
}

impl Bank {
    pub(super) fn new(simulation: &mut Simulation) -> Self {
        let clock = simulation.clock();
        let memory = MemoryStore::new().with_clock(clock.clone());
        Self {
            store: simulation.store(Arc::new(memory)),
            clock,
            ids: simulation.ids(),
        }
    }

    /// Returns the application of a process, which is opened by the first caller that can.
    pub(super) async fn opened<'a>(&self, opened: &'a OnceCell<Application>) -> &'a Application {
        loop {
            if let Ok(application) = opened.get_or_try_init(|| self.open()).await {
                return application;
            }
        }
    }

    pub(super) async fn open(&self) -> Result<Application, Error> {
        let builder = Application::builder("bank").store(self.store.clone());
        let builder = builder.clock(self.clock.clone()).ids(self.ids.clone());
        builder.cache_size(10).open().await
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Repeats {
    UnderAnId,
    AsNew,
}

/// Deposits one cent the given number of times, each until it is known to be recorded.
async fn deposit(bank: &Application, teller: &str, repeats: Repeats, heard: &Heard<String>) {
    let account: Id<Account> = "shared".into();
    for number in 0..DEPOSITS {
        let request = format!("{teller}-{number}");
        loop {
            let command = bank.execute_or_create(&account, |_| deposited(1));
            let executed = match repeats {
                Repeats::UnderAnId => command.command_id(&*request).await,
                Repeats::AsNew => command.await,
            };
            match executed.map_err(Error::from) {
                Ok(_) => break,
                Err(Error::Unavailable(_) | Error::OutcomeUnknown { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        announce(heard, request);
    }
}

/// Two processes with three tellers each; the balance must equal the deposits.
fn deposits(repeats: Repeats) -> impl Fn(&mut Simulation) -> Result<(), String> {
    move |simulation| {
        let bank = Bank::new(simulation);
        let heard = Heard::default();
        for branch in ["north", "south"] {
            let (bank, heard) = (bank.clone(), heard.clone());
            simulation.process(branch, move |process| {
                let opened = Arc::new(OnceCell::new());
                for teller in TELLERS {
                    let teller = format!("{branch}-{teller}");
                    let (bank, heard, opened) = (bank.clone(), heard.clone(), opened.clone());
                    process.actor(teller.clone(), async move {
                        let application = bank.opened(&opened).await;
                        deposit(application, &teller, repeats, &heard).await;
                    });
                }
            });
        }
        simulation.run()?;
        let mut requests = heard.lock().unwrap().clone();
        requests.sort_unstable();
        requests.dedup();
        let (cents, findings) = simulation.outside(async {
            let bank = bank.open().await.unwrap();
            let account = bank.get::<Account>("shared").await.unwrap();
            let verified = verify_log(&**bank.recorder(), &mut |_| {}).await.unwrap();
            (account.state.cents, verified)
        })?;
        if !findings.is_sound() {
            return Err(format!("{findings:?}"));
        }
        let expected = 2 * TELLERS.len() * DEPOSITS;
        match (usize::try_from(cents), requests.len()) {
            (Ok(cents), heard) if cents == expected && heard == expected => Ok(()),
            (cents, heard) => Err(format!("{cents:?} cents, {heard} heard of, not {expected}")),
        }
    }
}

#[test]
fn every_command_is_executed_once_under_all_faults() {
    seeds(300, deposits(Repeats::UnderAnId));
}

#[test]
fn a_client_that_repeats_commands_as_new_ones_is_found() {
    let mut seeds = 0..20;
    assert!(seeds.any(|seed| run_seed(seed, deposits(Repeats::AsNew)).is_err()));
}

#[test]
fn a_seed_is_a_run_of_applications_too() {
    let run = |seed| run_seed(seed, deposits(Repeats::UnderAnId)).unwrap();
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed));
    }
}
