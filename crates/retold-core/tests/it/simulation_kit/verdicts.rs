//! The failures that a run finds, and how it reports them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use retold_core::domain::{Clock, Timestamp};
use retold_core::recording::Append;
use retold_core::simulation::{
    Fault, Faults, Simulation, SimulationFailure, first_failure, run_seed, seeds,
};

use super::{Heard, Writes, announce, counters, event, open, payloads, store};

#[track_caller]
fn check_failure(failure: &SimulationFailure, reason: &str) {
    assert!(failure.reason().contains(reason), "{failure}");
}

#[test]
fn a_wait_that_never_ends_is_a_deadlock() {
    let mut simulation = Simulation::new(1);
    let store = store(&mut simulation);
    let never = Arc::new(Notify::new());
    simulation.actor("waiting", move || {
        let (store, never) = (store.clone(), never.clone());
        async move {
            open(&store).await;
            never.notified().await;
        }
    });
    let failure = simulation.run().unwrap_err();
    check_failure(&failure, "deadlock: nothing can wake waiting,");
}

#[test]
fn a_service_may_wait_for_the_others() {
    let mut simulation = Simulation::new(1);
    let store = store(&mut simulation);
    let sums = Heard::default();
    let shared = sums.clone();
    simulation.faults(Faults::none());
    simulation.process("calculator", move |process| {
        let (requests, mut received) = mpsc::channel::<u64>(1);
        let (store, sums) = (store.clone(), shared.clone());
        process.service("adder", async move {
            let mut sum = 0;
            while let Some(number) = received.recv().await {
                open(&store).await;
                sum += number;
                announce(&sums, sum);
            }
        });
        let kept = requests.clone();
        process.actor("asker", async move {
            for number in 1..=3 {
                requests.send(number).await.unwrap();
            }
        });
        process.service("keeper", async move {
            kept.closed().await;
        });
    });
    simulation.run().unwrap();
    assert_eq!(*sums.lock().unwrap(), [1, 3, 6]);
}

#[test]
fn an_actor_that_never_ends_makes_no_progress() {
    let mut simulation = Simulation::new(1);
    simulation.calm_steps(500);
    let store = store(&mut simulation);
    simulation.actor("restless", move || {
        let store = store.clone();
        async move {
            loop {
                open(&store).await;
            }
        }
    });
    let failure = simulation.run().unwrap_err();
    check_failure(&failure, "no progress: in 500 steps without faults");
    check_failure(
        &failure,
        "Still running: restless (open). If they need more",
    );
}

/// The length of a run is independent of its progress.
#[test]
fn a_long_run_that_makes_progress_ends() {
    let mut simulation = Simulation::new(1);
    let (steps_max, appends) = (100, 500);
    simulation.steps(0).calm_steps(steps_max);
    let store = store(&mut simulation);
    let ids = simulation.ids();
    simulation.actor("diligent", move || {
        let (store, ids) = (store.clone(), Arc::clone(&ids));
        async move {
            let log = open(&store).await;
            for _ in 0..appends {
                let append = Append::of([event(&*ids, "1")]);
                log.append(append).await.unwrap();
            }
        }
    });
    let report = simulation.run().unwrap();
    assert!(report.steps() > appends, "{report:?}");
}

#[test]
fn a_panic_of_an_actor_and_of_a_check_is_a_failure() {
    let mut simulation = Simulation::new(1);
    simulation.actor("hot", || async { panic!("too hot") });
    check_failure(&simulation.run().unwrap_err(), "hot panicked: too hot");

    let failure = run_seed(7, |_| panic!("no good")).unwrap_err();
    check_failure(&failure, "a check panicked: no good");
}

#[test]
fn two_actors_of_one_name_are_refused() {
    let mut simulation = Simulation::new(1);
    simulation.process("twins", |process| {
        process.actor("ann", async {});
        process.actor("ann", async {});
    });
    let failure = simulation.run().unwrap_err();
    check_failure(&failure, "twins has two actors named ann");
}

#[test]
fn a_failure_reports_its_seed_and_the_last_calls() {
    let failure = first_failure(0, 10, counters(Writes::Blind)).expect("it is found");
    let text = failure.to_string();
    let seed = failure.seed();
    assert!(text.contains(&format!("to repeat: RETOLD_SEED={seed}\n")));
    assert!(text.contains("append 1 events to Counter/1 -> recorded from"));
    assert!(failure.trace().len() <= 60);

    let again = run_seed(seed, counters(Writes::Blind)).unwrap_err();
    assert_eq!(again.to_string(), text);

    let panicked = catch_unwind(AssertUnwindSafe(|| {
        seeds(1, |_| Err("it is wrong".into()));
    }));
    let panic = panicked.unwrap_err();
    let text = panic.downcast_ref::<String>().expect("a panic with text");
    assert!(text.contains("it is wrong\nto repeat: RETOLD_SEED="));
}

#[test]
fn an_actor_that_returned_does_not_run_again() {
    for seed in 0..20 {
        let mut simulation = Simulation::new(seed);
        simulation.steps(200);
        simulation.faults(Faults::none().with(Fault::CrashAfter, 200));
        let store = store(&mut simulation);
        let returns = Heard::default();
        let shared = returns.clone();
        simulation.process("pair", move |process| {
            for (name, opens) in [("short", 1), ("long", 10)] {
                let (store, returns) = (store.clone(), shared.clone());
                process.actor(name, async move {
                    for _ in 0..opens {
                        open(&store).await;
                    }
                    announce(&returns, name);
                });
            }
        });
        simulation.run().unwrap();
        let mut returns = returns.lock().unwrap().clone();
        returns.sort_unstable();
        assert_eq!(returns, ["long", "short"]);
    }
}

#[test]
fn a_run_continues_with_processes_that_are_added() {
    let mut simulation = Simulation::new(2);
    let store = store(&mut simulation);
    let seen = Heard::default();
    simulation.actor("reader", {
        let (store, seen) = (store.clone(), seen.clone());
        move || {
            let (store, seen) = (store.clone(), seen.clone());
            async move {
                let log = open(&store).await;
                let mut count = 0;
                loop {
                    if let Ok(now) = log.changed_since(count).await {
                        count = now;
                        announce(&seen, now);
                    }
                }
            }
        }
    });
    simulation.run().unwrap();
    assert!(!seen.lock().unwrap().contains(&1));
    let append = Append::of([event(&*simulation.ids(), "1")]);
    let shared = store.clone();
    simulation.actor("writer", move || {
        let (store, append) = (shared.clone(), append.clone());
        async move {
            let log = open(&store).await;
            while log.append(append.clone()).await.is_err() {}
        }
    });
    simulation.run().unwrap();
    assert_eq!(seen.lock().unwrap().last(), Some(&1));
    assert_eq!(payloads(&simulation, &store), ["1"]);
}

#[test]
fn the_clock_advances_to_the_next_waiting_actor() {
    for seed in 0..20 {
        let mut simulation = Simulation::new(seed);
        simulation.faults(Faults::none());
        let (timer, clock) = (simulation.timer(), simulation.clock());
        let woken = Heard::default();
        for (name, hours) in [("late", 5), ("early", 1)] {
            let (timer, clock, woken) = (timer.clone(), clock.clone(), woken.clone());
            let due = clock
                .now()
                .saturating_add(Duration::from_secs(3_600 * hours));
            simulation.actor(name, move || {
                let (timer, clock, woken) = (timer.clone(), clock.clone(), woken.clone());
                async move {
                    timer.wait_until(due).await;
                    assert!(clock.now() >= due);
                    announce(&woken, name);
                }
            });
        }
        let hourly = timer.clone();
        simulation.process("hourly", move |process| {
            let (timer, clock) = (hourly.clone(), clock.clone());
            // It never ends, and yet the run does.
            process.service("hourly", async move {
                loop {
                    let hour = clock.now().saturating_add(Duration::from_secs(3_600));
                    timer.wait_until(hour).await;
                }
            });
        });
        simulation.run().unwrap();
        assert_eq!(*woken.lock().unwrap(), ["early", "late"]);
        let past = simulation.outside(timer.wait_until(Timestamp::default()));
        assert!(past.is_ok());
        let future = simulation.outside(timer.wait_until(Timestamp::from_micros(i64::MAX)));
        assert!(future.is_err());
    }
}
