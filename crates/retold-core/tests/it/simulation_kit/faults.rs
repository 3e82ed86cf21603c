//! The effect of each kind of fault.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use retold_core::domain::{Clock, Timestamp};
use retold_core::recording::{
    Append, Appended, Condition, ExpectedVersion, LogRead, RecordError, Store,
};
use retold_core::simulation::limits::{CLOCK_BACK_MAX, CLOCK_FORWARD_MAX};
use retold_core::simulation::{Fault, Faults, SimulatedStore, Simulation};

use super::{Heard, announce, birth, event, open, payloads, store};

/// The outcome that the caller of one append received.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reported {
    Recorded,
    Repeated,
    Conflict,
    Unavailable,
    Unknown,
}

fn reported(answer: Result<Appended, RecordError>) -> Reported {
    match answer {
        Ok(Appended::Recorded(_)) => Reported::Recorded,
        Ok(_) => Reported::Repeated,
        Err(RecordError::Conflict(_)) => Reported::Conflict,
        Err(RecordError::Unavailable(_)) => Reported::Unavailable,
        Err(RecordError::OutcomeUnknown(_)) => Reported::Unknown,
        Err(error) => panic!("{error}"),
    }
}

/// Runs one append with this fault only, injected whenever possible; returns what the actor
/// received, and how many events there are.
fn append_once(fault: Fault, steps: u64) -> (Vec<Reported>, usize) {
    let mut simulation = Simulation::new(3);
    let store = store(&mut simulation);
    simulation.steps(steps);
    simulation.faults(Faults::none().with(fault, 1_000));
    let append = Append::of([event(&*simulation.ids(), "1")]);
    let heard = Heard::default();
    let log = simulation.outside(store.open("log", birth())).unwrap();
    let log = log.unwrap();
    simulation.actor("writer", {
        let heard = heard.clone();
        move || {
            let (log, append, heard) = (log.clone(), append.clone(), heard.clone());
            async move { announce(&heard, reported(log.append(append).await)) }
        }
    });
    simulation.run().unwrap();
    assert!(simulation.report().count(fault) > 0);
    let heard = heard.lock().unwrap().clone();
    (heard, payloads(&simulation, &store).len())
}

#[test]
fn unavailable_means_that_nothing_was_done() {
    let outcome = append_once(Fault::Unavailable, 100);
    assert_eq!(outcome, (vec![Reported::Unavailable], 0));
}

#[test]
fn the_unknown_is_recorded_or_not_or_lands_late() {
    let recorded = append_once(Fault::UnknownRecorded, 100);
    assert_eq!(recorded, (vec![Reported::Unknown], 1));
    let not_recorded = append_once(Fault::UnknownNotRecorded, 100);
    assert_eq!(not_recorded, (vec![Reported::Unknown], 0));
    let late = append_once(Fault::UnknownLate, 100);
    assert_eq!(late, (vec![Reported::Unknown], 1));
}

#[test]
fn a_crash_before_does_nothing_and_one_after_has_done_it() {
    // Every call meets the fault until faults stop; each time the process restarts.
    let before = append_once(Fault::CrashBefore, 20);
    assert_eq!(before, (vec![Reported::Recorded], 1));
    let after = append_once(Fault::CrashAfter, 20);
    assert_eq!(after, (vec![Reported::Repeated], 1));
}

#[test]
fn a_late_append_lands_among_others_and_may_conflict() {
    let (mut landed_first, mut landed_last) = (0, 0);
    for seed in 0..50 {
        let mut simulation = Simulation::new(seed);
        let store = store(&mut simulation);
        simulation.faults(Faults::none().with(Fault::UnknownLate, 500));
        let heard = Heard::default();
        for name in ["ann", "bob"] {
            let (store, heard) = (store.clone(), heard.clone());
            let first = Condition::stream_at(super::STREAM, ExpectedVersion::None);
            let append = Append::of([event(&*simulation.ids(), name)]).condition(first);
            simulation.actor(name, move || {
                let (store, heard, append) = (store.clone(), heard.clone(), append.clone());
                async move {
                    let log = open(&store).await;
                    let reported = reported(log.append(append).await);
                    announce(&heard, (name, reported));
                }
            });
        }
        simulation.run().unwrap();
        let recorded = payloads(&simulation, &store);
        assert_eq!(recorded.len(), 1, "one of them was the first");
        for (name, reported) in &*heard.lock().unwrap() {
            let is_recorded = recorded[0] == *name;
            match reported {
                Reported::Recorded => assert!(is_recorded),
                Reported::Conflict => assert!(!is_recorded),
                Reported::Unknown if is_recorded => landed_first += 1,
                Reported::Unknown => landed_last += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(landed_first > 0 && landed_last > 0);
}

#[test]
fn appends_on_the_way_land_or_vanish_when_their_process_crashes() {
    let (mut landed, mut vanished) = (0, 0);
    for seed in 0..50 {
        let mut simulation = Simulation::new(seed);
        let store = store(&mut simulation);
        simulation.steps(40);
        simulation.faults(Faults::none().with(Fault::CrashOfAll, 300));
        let ids = simulation.ids();
        simulation.process("pair", {
            let store = store.clone();
            move |process| {
                for name in ["ann", "bob"] {
                    let (store, ids) = (store.clone(), ids.clone());
                    // A fresh event each time, so that one that landed is counted.
                    process.actor(name, async move {
                        let log = open(&store).await;
                        let _ = log.append(Append::of([event(&*ids, name)])).await;
                    });
                }
            }
        });
        simulation.trace_entries(1_000);
        simulation.run().unwrap();
        let trace = simulation.trace().join("\n");
        landed += trace.matches("landed late").count();
        vanished += trace.matches("never lands").count();
    }
    assert!(landed > 0 && vanished > 0);
}

#[test]
fn a_dropped_append_withdraws_nothing() {
    for seed in 0..20 {
        let mut simulation = Simulation::new(seed);
        simulation.faults(Faults::none());
        let store = store(&mut simulation);
        let append = Append::of([event(&*simulation.ids(), "1")]);
        let shared = store.clone();
        simulation.actor("hasty", move || {
            let (store, append) = (shared.clone(), append.clone());
            async move {
                let log = open(&store).await;
                let mut call = pin!(log.append(append));
                let first = poll_fn(|context| Poll::Ready(call.as_mut().poll(context).is_ready()));
                assert!(!first.await, "a call waits for its turn");
            }
        });
        simulation.run().unwrap();
        assert_eq!(payloads(&simulation, &store), ["1"]);
    }
}

/// A writer of `count` events, and a reader that waits for changes until it has seen them all.
pub(super) fn writer_and_reader(
    simulation: &mut Simulation,
    count: usize,
) -> Result<Heard<(u64, u64)>, String> {
    let store = store(simulation);
    let ids = simulation.ids();
    let appends: Vec<_> = (0..count)
        .map(|number| Append::of([event(&*ids, &number.to_string())]))
        .collect();
    let heard = Heard::default();
    simulation.actor("writer", {
        let store = store.clone();
        move || {
            let (store, appends) = (store.clone(), appends.clone());
            async move {
                let log = open(&store).await;
                for append in appends {
                    while log.append(append.clone()).await.is_err() {}
                }
            }
        }
    });
    simulation.actor("reader", {
        let (store, heard) = (store.clone(), heard.clone());
        move || read_all(store.clone(), count, heard.clone())
    });
    simulation.run()?;
    let found = payloads(simulation, &store).len();
    match found == count {
        true => Ok(heard),
        false => Err(format!("{found} events in place of {count}")),
    }
}

async fn read_all(store: Arc<SimulatedStore>, count: usize, heard: Heard<(u64, u64)>) {
    let log = open(&store).await;
    let mut seen = 0;
    loop {
        match log.read_log(LogRead::new()).await {
            Ok(page) if page.events.len() == count => return,
            _ => {}
        }
        if let Ok(now) = log.changed_since(seen).await {
            announce(&heard, (seen, now));
            seen = now;
        }
    }
}

fn waits_under(fault: Fault) -> Vec<(u64, u64)> {
    let mut waits = Vec::new();
    for seed in 0..20 {
        let mut simulation = Simulation::new(seed);
        simulation.faults(Faults::none().with(fault, 1_000));
        let heard = writer_and_reader(&mut simulation, 20).unwrap();
        waits.extend(heard.lock().unwrap().drain(..));
    }
    waits
}

#[test]
fn hints_are_lost_late_or_doubled_and_every_wait_ends() {
    let skipped = |waits: &[(u64, u64)]| {
        assert!(waits.iter().all(|(seen, now)| seen < now));
        let waits_count = waits.len() as f64;
        waits.iter().map(|(seen, now)| now - seen).sum::<u64>() as f64 / waits_count
    };
    let sound = skipped(&waits_under(Fault::ClockBack));
    let late = skipped(&waits_under(Fault::HintLate));
    let lost = skipped(&waits_under(Fault::HintLost));
    assert!(sound < late && late < lost, "{sound} {late} {lost}");
    let doubled = waits_under(Fault::HintDoubled);
    assert!(doubled.iter().any(|(seen, now)| seen == now));
}

#[test]
fn the_clock_jumps_forward_and_back_within_bounds() {
    let jumps = |fault| {
        let mut simulation = Simulation::new(5);
        simulation.faults(Faults::none().with(fault, 1_000));
        writer_and_reader(&mut simulation, 5).unwrap();
        let jumps = u32::try_from(simulation.report().count(fault)).unwrap();
        assert!(jumps > 0);
        (simulation.clock().now(), jumps)
    };
    let (now, count) = jumps(Fault::ClockForward);
    let start = Timestamp::default();
    let second = Duration::from_secs(1);
    assert!(now > start.saturating_add(second));
    assert!(now < start.saturating_add(CLOCK_FORWARD_MAX * count));
    let (now, count) = jumps(Fault::ClockBack);
    assert!(now < start.saturating_sub(second));
    assert!(now > start.saturating_sub(CLOCK_BACK_MAX * count));
}

#[test]
fn all_processes_crash_at_once_and_start_again() {
    let mut simulation = Simulation::new(5);
    simulation.steps(200);
    simulation.faults(Faults::none().with(Fault::CrashOfAll, 100));
    simulation.trace_entries(1_000);
    writer_and_reader(&mut simulation, 10).unwrap();
    let trace = simulation.trace().join("\n");
    assert!(trace.matches("crashed reader").count() > 1, "{trace}");
    assert!(trace.matches("started reader").count() > 2, "{trace}");
}
