//! Tests of participants that take single steps in random order, crash and restart, while a
//! minority never runs.

use std::env;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use retold::domain::{Clock, ManualClock, SequentialIds};
use retold::prelude::*;
use retold::recording::MemoryStore;
use retold::system::{Infrastructure, OpenSystem, Opening, Pipeline, Step, System, Timers};
use retold_paxos::client::{answer, decided, propose, submit};
use retold_paxos::command::{Command, Request};
use retold_paxos::electorate::Electorate;
use retold_paxos::invariants::History;
use retold_paxos::participant::system;

use crate::agreement::difference;

const RUNS: u64 = 40;
const STEPS: usize = 400;
const KEYS: [&str; 3] = ["drink", "food", "place"];

/// One participant with its state in memory.
struct Process {
    index: usize,
    application: Application,
    pipelines: Vec<Pipeline>,
    timers: Timers,
}

/// The run of one seed.
struct Run {
    random: Rng,
    electorate: Electorate,
    system: System,
    infrastructure: Infrastructure,
    clock: Arc<ManualClock>,
    processes: Vec<Process>,
    /// Participants from this index on never run, although clients send commands to them.
    running: usize,
    /// Keys and requests that were given to a running participant.
    keys: Vec<&'static str>,
    requests: Vec<String>,
    requests_count: u32,
}

impl Run {
    async fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let electorate = Electorate::of([3, 5][random.usize(..2)]).unwrap();
        let clock = Arc::new(ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap()));
        let store = MemoryStore::new().with_clock(clock.clone());
        let infrastructure = Infrastructure::new(Arc::new(store))
            .clock(clock.clone())
            .ids(Arc::new(SequentialIds::new(seed)));
        let down = random.u32(..=electorate.failures_tolerated());
        let mut run = Self {
            random,
            electorate,
            system: system(electorate).unwrap(),
            infrastructure,
            clock,
            processes: Vec::new(),
            running: (electorate.participants() - down) as usize,
            keys: Vec::new(),
            requests: Vec::new(),
            requests_count: 0,
        };
        for index in 0..electorate.participants() as usize {
            let process = run.start(index).await;
            run.processes.push(process);
        }
        run
    }

    /// Starts a participant without state in memory.
    async fn start(&self, index: usize) -> Process {
        let open = OpenSystem::open(&self.system, &self.infrastructure, Opening::Write);
        let open = open.await.unwrap();
        let application = open.applications()[index].clone();
        let pipelines = open.pipelines().into_iter();
        let pipelines = pipelines.filter_map(|(of, pipeline)| (of == index).then_some(pipeline));
        Process {
            index,
            timers: Timers::new(application.clone()),
            pipelines: pipelines.collect(),
            application,
        }
    }

    /// Takes one random step.
    async fn act(&mut self) {
        let any = self.random.usize(..self.processes.len());
        let running = self.random.usize(..self.running);
        match self.random.u8(..100) {
            0..3 => self.processes[running] = self.start(running).await,
            3..8 => self.propose(any).await,
            8..12 => self.submit(any).await,
            12..16 => {
                self.clock
                    .advance(Duration::from_millis(self.random.u64(..3_000)));
                self.processes[running].fire(self.clock.now()).await;
            }
            16..30 => self.processes[running].flush_idle().await,
            _ => {
                self.processes[running].step().await;
            }
        }
    }

    async fn propose(&mut self, index: usize) {
        let key = KEYS[self.random.usize(..KEYS.len())];
        let application = &self.processes[index].application;
        let text = application.name().to_owned();
        match propose(application, self.electorate, key, &text).await {
            Ok(()) | Err(ExecuteError::Refused(_)) => {}
            Err(ExecuteError::Retold(error)) => panic!("{error}"),
        }
        if index < self.running {
            self.keys.push(key);
        }
    }

    async fn submit(&mut self, index: usize) {
        self.requests_count += 1;
        let request = format!("request-{}", self.requests_count);
        let key = KEYS[self.random.usize(..KEYS.len())];
        let command = match self.random.u8(..4) {
            0 => Command::get(key),
            1 => Command::rename(key, KEYS[self.random.usize(..KEYS.len())]),
            2 => Command::delete(key),
            _ => Command::set(key, request.clone()),
        };
        let application = &self.processes[index].application;
        let request = Request::new(request, command);
        let taken = submit(application, self.electorate, &request).await;
        if taken.is_ok() && index < self.running {
            self.requests.push(request.id);
        }
    }

    /// Runs the live participants until no work is left, advancing time as needed.
    async fn calm(&mut self) {
        loop {
            let mut has_moved = false;
            for process in &mut self.processes[..self.running] {
                while process.step().await == Step::Moved {
                    has_moved = true;
                }
                has_moved |= process.pipelines.iter().any(Pipeline::is_unflushed);
                process.flush_idle().await;
            }
            if has_moved {
                continue;
            }
            let mut next = None;
            for process in &mut self.processes[..self.running] {
                process.timers.read_on().await.unwrap();
                let due = process.timers.next_due().map(|due| (due, process.index));
                next = next.into_iter().chain(due).min();
            }
            let Some((due, index)) = next else { return };
            self.clock.set(due.max(self.clock.now()));
            self.processes[index].fire(self.clock.now()).await;
        }
    }

    async fn check(&self) {
        let applications = self.processes.iter().map(|it| it.application.clone());
        let applications: Vec<_> = applications.collect();
        let history = History::read(&applications).await.unwrap();
        assert_eq!(history.violations(self.electorate), []);
        let open = OpenSystem::open(&self.system, &self.infrastructure, Opening::ReadOnly);
        assert_eq!(difference(&open.await.unwrap()).await, None);
        for application in &applications[..self.running] {
            for key in &self.keys {
                let decided = decided(application, key).await.unwrap();
                assert!(
                    decided.is_some(),
                    "{} does not know {key}",
                    application.name()
                );
            }
            for request in &self.requests {
                let answer = answer(application, request).await.unwrap();
                assert!(answer.is_some(), "{}: no {request}", application.name());
            }
        }
    }
}

impl Process {
    async fn step(&mut self) -> Step {
        let mut step = Step::Idle;
        for pipeline in &mut self.pipelines {
            if pipeline.step().await.unwrap() == Step::Moved {
                step = Step::Moved;
            }
        }
        step
    }

    async fn flush_idle(&mut self) {
        for pipeline in &mut self.pipelines {
            pipeline.flush_idle().await.unwrap();
        }
    }

    async fn fire(&mut self, now: Timestamp) {
        self.timers.read_on().await.unwrap();
        while self.timers.fire_next(now).await.unwrap() {}
    }
}

#[tokio::test]
async fn a_majority_agrees_in_any_order_of_steps() {
    let seeds = match env::var("RETOLD_SEED") {
        Ok(seed) => vec![seed.parse().expect("RETOLD_SEED is a number")],
        Err(_) => {
            let first = u64::from(fastrand::u32(..));
            (first..first + RUNS).collect()
        }
    };
    for seed in seeds {
        // Printed if the test fails.
        println!("RETOLD_SEED={seed}");
        let mut run = Run::new(seed).await;
        for _ in 0..STEPS {
            run.act().await;
        }
        run.calm().await;
        run.check().await;
    }
}
