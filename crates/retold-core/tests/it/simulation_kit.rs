//! The simulation itself: a seed determines a run, faults do what they are documented to do, and
//! faulty actors are found.

mod amendments;
mod applications;
mod faults;
mod verdicts;

use std::sync::{Arc, Mutex};

use retold_core::domain::IdSource;
use retold_core::recording::{
    Append, Condition, ExpectedVersion, LogId, LogRead, MemoryStore, NewEvent, RecordError,
    Recorder, Store, StreamRead,
};
use retold_core::simulation::{Fault, Faults, SimulatedStore, Simulation, run_seed, seeds};

const STREAM: &str = "Counter/1";

fn birth() -> LogId {
    LogId::new(uuid::Uuid::from_u128(1))
}

/// A store over memory that has the log `log`.
fn store(simulation: &mut Simulation) -> Arc<SimulatedStore> {
    let store = simulation.store(Arc::new(MemoryStore::new().with_clock(simulation.clock())));
    let opened = simulation.outside(store.open("log", birth())).unwrap();
    opened.unwrap();
    store
}

/// The log `log`, opened with as many attempts as necessary.
async fn open(store: &SimulatedStore) -> Arc<dyn Recorder> {
    loop {
        if let Ok(log) = store.open("log", birth()).await {
            return log;
        }
    }
}

fn event(ids: &dyn IdSource, payload: &str) -> NewEvent {
    let event = NewEvent::new(ids.next_id().into(), "Counted", payload.to_owned());
    event.stream(STREAM)
}

/// Payloads of all events.
fn payloads(simulation: &Simulation, store: &SimulatedStore) -> Vec<String> {
    let page = simulation.outside(async {
        let log = store.open("log", birth()).await?;
        log.read_log(LogRead::new()).await
    });
    let events = page.unwrap().unwrap().events;
    let payload = |it: &[u8]| String::from_utf8(it.to_vec()).unwrap();
    let payloads = events.iter().map(|it| payload(it.payload().unwrap()));
    payloads.collect()
}

/// A list that outlives crashes, like the knowledge of a client.
type Heard<T> = Arc<Mutex<Vec<T>>>;

fn announce<T>(heard: &Heard<T>, what: T) {
    heard.lock().unwrap().push(what);
}

#[derive(Clone, Copy, PartialEq)]
enum Writes {
    /// At the version that was read.
    Conditional,
    /// At any version.
    Blind,
}

/// Reads a number, adds one and writes it, once, until it is known to be written.
async fn count_up(log: &dyn Recorder, ids: &dyn IdSource, writes: Writes) {
    loop {
        let Ok(page) = log.read_stream(StreamRead::new(STREAM)).await else {
            continue;
        };
        let count = page.events.len() as u64;
        let mut append = Append::of([event(ids, &(count + 1).to_string())]);
        if writes == Writes::Conditional {
            let version = page.events.last().and_then(|it| it.version());
            let expected = ExpectedVersion::seen(version);
            append = append.condition(Condition::stream_at(STREAM, expected));
        }
        loop {
            match log.append(append.clone()).await {
                Ok(_) => return,
                Err(RecordError::Conflict(_)) => break,
                Err(_) => {}
            }
        }
    }
}

/// Three actors that count up twice each; the written numbers must be 1, 2, 3 and so on.
fn counters(writes: Writes) -> impl Fn(&mut Simulation) -> Result<(), String> {
    move |simulation| {
        let store = store(simulation);
        let ids = simulation.ids();
        for name in ["ann", "bob", "cid"] {
            let (store, ids) = (store.clone(), ids.clone());
            simulation.actor(name, move || {
                let (store, ids) = (store.clone(), ids.clone());
                async move {
                    let log = open(&store).await;
                    for _ in 0..2 {
                        count_up(&*log, &*ids, writes).await;
                    }
                }
            });
        }
        simulation.run()?;
        let written = payloads(simulation, &store);
        let expected: Vec<_> = (1..=written.len()).map(|it| it.to_string()).collect();
        match written == expected {
            true if written.len() >= 6 => Ok(()),
            _ => Err(format!("lost updates: {written:?}")),
        }
    }
}

#[test]
fn a_seed_is_a_run() {
    let run = |seed| {
        let mut simulation = Simulation::new(seed);
        simulation.trace_entries(1_000_000);
        counters(Writes::Conditional)(&mut simulation).unwrap();
        (simulation.report(), simulation.trace())
    };
    let mut fingerprints = Vec::new();
    for seed in 0..20 {
        let (report, trace) = run(seed);
        assert_eq!((&report, &trace), (&run(seed).0, &run(seed).1));
        assert!(trace.len() as u64 >= report.steps());
        fingerprints.push(report.fingerprint());
    }
    fingerprints.sort_unstable();
    fingerprints.dedup();
    assert_eq!(fingerprints.len(), 20, "seeds make runs that differ");
}

#[test]
fn a_lost_update_is_found_and_a_condition_prevents_it() {
    let found = (0..10).find_map(|seed| run_seed(seed, counters(Writes::Blind)).err());
    let failure = found.expect("the race is met within few seeds");
    assert!(failure.reason().starts_with("lost updates"), "{failure}");
    // Even if only the order is random.
    let found = (0..10).find_map(|seed| {
        let run = run_seed(seed, |simulation| {
            simulation.faults(Faults::none());
            counters(Writes::Blind)(simulation)
        });
        run.err()
    });
    assert!(found.is_some());

    seeds(200, counters(Writes::Conditional));
}

#[test]
fn every_kind_of_fault_happens() {
    let mut missing = Fault::ALL.to_vec();
    for seed in 0..200 {
        let mut simulation = Simulation::new(seed);
        faults::writer_and_reader(&mut simulation, 10).unwrap();
        let report = simulation.report();
        missing.retain(|fault| report.count(*fault) == 0);
    }
    assert_eq!(missing, []);
}

#[test]
fn calls_outside_of_the_run_go_straight_through() {
    let mut simulation = Simulation::new(1);
    simulation.faults(Faults::all().with(Fault::Unavailable, 1_000));
    let store = store(&mut simulation);
    assert_eq!(payloads(&simulation, &store), [""; 0]);
    assert_eq!(simulation.report().steps(), 0);
    let log = simulation.outside(store.open("log", birth())).unwrap();
    let waits = simulation.outside(log.unwrap().changed_since(0));
    assert!(waits.is_err(), "nothing is appended");
}
