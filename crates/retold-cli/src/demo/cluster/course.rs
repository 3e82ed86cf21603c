//! The course of the demonstration of a cluster: who tells what, who is killed when, and whether all is
//! processed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use retold::recording::error::RecordError;
use retold::recording::identity::Position;
use retold::recording::store::Store;
use retold::runner::{ClusterOverview, UnitOverview};
use retold::system::OpenSystem;
use retold_flights::itinerary::itineraries;
use retold_flights::processed::is_processed;
use retold_flights::record::FlightRecord;
use retold_flights::replay::command_count;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::bars::{Bars, Shown};
use super::node::TIME_TO_LIVE;
use super::process::{Heard, Process, Start, What};
use super::word::Word;
use crate::demo::stop::Stop;
use crate::failure::Failure;

/// How often the logs are looked at: short beside what a person notices.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Pause before a process that ended by itself is started again, so that one that cannot start does not
/// take the machine.
const RESTART_PAUSE: Duration = Duration::from_millis(500);

/// So long nothing may be recorded or processed before it is given up: many times what taking over takes.
const PROGRESS_WAIT_MAX: Duration = Duration::from_secs(120);

/// Lines of nodes that may wait to be heard; then nodes wait.
const HEARD_MAX: usize = 1_024;

/// Longest wait for all nodes to show their views and leave.
const FINISH_WAIT_MAX: Duration = Duration::from_secs(120);

/// How long a process is stopped in its sleep: its leases are over then, and others have taken its work.
const FREEZE_TIME: Duration = TIME_TO_LIVE.saturating_mul(2);

/// What is said when everything is told and processed: from now on the store is only read.
const PROCESSED: &str = "everything is told and processed";

/// Longest wait for a store that does not answer when it is only read any more.
const READ_WAIT_MAX: Duration = Duration::from_secs(60);

/// Reads something from a store that may be down for a moment.
pub(in crate::demo) async fn patiently<T, E: Into<Failure>>(
    read: impl AsyncFn() -> Result<T, E>,
) -> Result<T, Failure> {
    let begun = Instant::now();
    loop {
        match read().await {
            Err(_) if begun.elapsed() < READ_WAIT_MAX => tokio::time::sleep(LOOK_INTERVAL).await,
            done => return done.map_err(Into::into),
        }
    }
}

/// How it is to go.
#[derive(Clone, Debug)]
pub(in crate::demo) struct Plan {
    pub(in crate::demo) nodes: usize,
    /// Itineraries that are told at a time.
    pub(in crate::demo) callers: usize,
    pub(in crate::demo) kill_every: Duration,
    pub(in crate::demo) freeze_every: Option<Duration>,
    pub(in crate::demo) seed: u64,
}

/// How it went.
#[derive(Debug, Default)]
pub(in crate::demo) struct Told {
    /// Of each node, how often it was killed.
    pub(in crate::demo) kills: Vec<(String, u64)>,
    /// How often one was stopped and woken.
    pub(in crate::demo) freezes: u64,
    /// How often one ended by itself, and was started again.
    pub(in crate::demo) ended: u64,
    /// How often a follower went from one node to another.
    pub(in crate::demo) moves: u64,
    /// How many itineraries were told again, because the process that told them was gone.
    pub(in crate::demo) again: u64,
    /// From the first process until everything was told.
    pub(in crate::demo) told: Duration,
    /// The same until everything was processed.
    pub(in crate::demo) elapsed: Duration,
    /// The view of each node at the end.
    pub(in crate::demo) views: Vec<(String, String)>,
}

/// A node, dead or alive.
struct Node {
    name: String,
    life: u64,
    process: Option<Process>,
    is_ready: bool,
    /// What it was told to tell and has not.
    telling: BTreeSet<usize>,
    /// Commands of this life, and of those before.
    commands: (u64, u64),
    kills: u64,
    restart_at: Option<Instant>,
    wakes_at: Option<Instant>,
    view: Option<String>,
}

pub(super) struct Course<'a> {
    plan: Plan,
    start: Start,
    store: &'a dyn Store,
    open: &'a OpenSystem,
    nodes: Vec<Node>,
    /// Itineraries that nobody tells now.
    queue: VecDeque<usize>,
    heard: Receiver<Heard>,
    speaker: Sender<Heard>,
    rng: Rng,
    /// Who is killed next, the last first: each once before any is killed again.
    doomed: Vec<usize>,
    bars: Bars,
    told: Told,
    is_finishing: bool,
    /// How much was recorded when it was more than before, and when that was.
    progress: (u64, Instant),
    last_aside: String,
}

impl<'a> Course<'a> {
    /// For these flights; about so many events come of them.
    pub(super) fn new(
        plan: Plan,
        start: Start,
        flights: &[FlightRecord],
        (store, open): (&'a dyn Store, &'a OpenSystem),
        events: u64,
    ) -> Self {
        let (speaker, heard) = channel(HEARD_MAX);
        let names: Vec<_> = (1..=plan.nodes).map(|it| format!("node-{it}")).collect();
        let bars = Bars::new(&names, command_count(flights), events);
        let nodes = names.into_iter().map(|name| Node {
            name,
            life: 0,
            process: None,
            is_ready: false,
            telling: BTreeSet::new(),
            commands: (0, 0),
            kills: 0,
            restart_at: None,
            wakes_at: None,
            view: None,
        });
        Self {
            nodes: nodes.collect(),
            queue: (0..itineraries(flights).len()).collect(),
            rng: Rng::with_seed(plan.seed),
            doomed: Vec::new(),
            plan,
            start,
            store,
            open,
            heard,
            speaker,
            bars,
            told: Told::default(),
            is_finishing: false,
            progress: (0, Instant::now()),
            last_aside: String::new(),
        }
    }

    /// Runs it to its end; none if that was asked for before.
    pub(super) async fn run(mut self, stop: &Stop) -> Result<Option<Told>, Failure> {
        let begun = Instant::now();
        let mut stop = stop.clone();
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for node in 0..self.nodes.len() {
            self.start_node(node)?;
        }
        let mut kill_at = begun + self.about(self.plan.kill_every);
        let freeze_every = self.plan.freeze_every;
        let mut freeze_at = freeze_every.map(|every| begun + self.about(every));
        loop {
            tokio::select! {
                () = stop.wait() => return Ok(None),
                Some(heard) = self.heard.recv() => self.hear(heard).await?,
                _ = looks.tick() => {
                    self.restart()?;
                    if self.is_told() && self.told.told.is_zero() {
                        self.told.told = begun.elapsed();
                    }
                    if self.look().await? {
                        break;
                    }
                    if Instant::now() >= kill_at {
                        self.kill_one().await?;
                        kill_at = Instant::now() + self.about(self.plan.kill_every);
                    }
                    if let (Some(every), Some(at)) = (freeze_every, freeze_at)
                        && Instant::now() >= at
                    {
                        self.freeze_one().await?;
                        freeze_at = Some(Instant::now() + self.about(every));
                    }
                }
            }
        }
        self.told.elapsed = begun.elapsed();
        self.bars.say(PROCESSED);
        self.told.moves = patiently(async || self.moves().await).await?;
        tokio::select! {
            () = stop.wait() => return Ok(None),
            finished = self.finish() => finished?,
        }
        for node in self.nodes {
            self.told.kills.push((node.name.clone(), node.kills));
            self.told
                .views
                .extend(node.view.map(|view| (node.name, view)));
        }
        Ok(Some(self.told))
    }

    /// A time that is this on average.
    fn about(&mut self, time: Duration) -> Duration {
        time.mul_f64(0.5 + self.rng.f64())
    }

    fn is_told(&self) -> bool {
        self.queue.is_empty() && self.nodes.iter().all(|node| node.telling.is_empty())
    }

    fn start_node(&mut self, index: usize) -> Result<(), Failure> {
        let node = &mut self.nodes[index];
        node.life += 1;
        node.restart_at = None;
        node.wakes_at = None;
        let process = Process::start(&self.start, &node.name, (index, node.life), &self.speaker);
        let mut process = process
            .map_err(|error| Failure::Failed(format!("no process can be started: {error}")))?;
        if self.is_finishing {
            process.finish();
        }
        node.process = Some(process);
        Ok(())
    }

    /// Takes it that a node's life is over: what it had to tell is for others.
    fn end_life(&mut self, index: usize) -> Option<Process> {
        let node = &mut self.nodes[index];
        node.life += 1;
        node.is_ready = false;
        node.commands = (0, node.commands.0 + node.commands.1);
        for itinerary in std::mem::take(&mut node.telling) {
            self.told.again += 1;
            self.queue.push_front(itinerary);
        }
        node.process.take()
    }

    fn restart(&mut self) -> Result<(), Failure> {
        for index in 0..self.nodes.len() {
            let due = self.nodes[index].restart_at;
            if due.is_some_and(|due| due <= Instant::now()) {
                self.start_node(index)?;
            }
        }
        Ok(())
    }

    async fn hear(&mut self, heard: Heard) -> Result<(), Failure> {
        let index = heard.node;
        if let What::Aside(text) = &heard.what {
            self.last_aside = format!("{}: {text}", self.nodes[index].name);
            self.bars.say(&self.last_aside);
            return Ok(());
        }
        if heard.life != self.nodes[index].life {
            return Ok(());
        }
        let node = &mut self.nodes[index];
        match heard.what {
            What::Said(Word::Ready) => node.is_ready = true,
            What::Said(Word::Commands(count)) => node.commands.0 = count,
            What::Said(Word::Told(itinerary)) => {
                node.telling.remove(&itinerary);
            }
            What::Said(Word::View(view)) => node.view = Some(view),
            What::Said(Word::Failed(reason)) => {
                return Err(Failure::Failed(format!("{}: {reason}", node.name)));
            }
            What::Aside(_) => {}
            What::Ended => {
                let process = self.end_life(index);
                if let Some(process) = process
                    && let Some(status) = process.ended().await
                {
                    let node = &mut self.nodes[index];
                    node.view = None;
                    node.restart_at = Some(Instant::now() + RESTART_PAUSE);
                    self.told.ended += 1;
                    let text = format!("{} ended by itself: {status}", self.nodes[index].name);
                    self.bars.say(&text);
                }
            }
        }
        self.hand_out(index).await;
        Ok(())
    }

    /// Gives a node so much to tell that it has its share of the callers.
    async fn hand_out(&mut self, index: usize) {
        let share = self.plan.callers.div_ceil(self.plan.nodes);
        let node = &mut self.nodes[index];
        let Some(process) = node.process.as_mut().filter(|_| node.is_ready) else {
            return;
        };
        while node.telling.len() < share
            && let Some(itinerary) = self.queue.pop_front()
        {
            node.telling.insert(itinerary);
            process.tell(itinerary).await;
        }
    }

    fn choose(&mut self) -> Option<usize> {
        let alive = (0..self.nodes.len()).filter(|it| self.nodes[*it].process.is_some());
        let alive: Vec<_> = alive.collect();
        (!alive.is_empty()).then(|| alive[self.rng.usize(..alive.len())])
    }

    async fn kill_one(&mut self) -> Result<(), Failure> {
        if self.doomed.is_empty() {
            self.doomed = (0..self.nodes.len()).collect();
            self.rng.shuffle(&mut self.doomed);
        }
        let Some(doomed) = self.doomed.pop() else {
            return Ok(());
        };
        if self.nodes[doomed].process.is_none() {
            // It is to be started again already.
            return Ok(());
        }
        if let Some(process) = self.end_life(doomed) {
            let killed = process.kill().await;
            killed
                .map_err(|error| Failure::Failed(format!("no process can be killed: {error}")))?;
        }
        self.nodes[doomed].kills += 1;
        self.bars
            .say(&format!("{} is killed", self.nodes[doomed].name));
        self.start_node(doomed)?;
        // What it had to tell is taken over at once.
        for index in 0..self.nodes.len() {
            self.hand_out(index).await;
        }
        Ok(())
    }

    async fn freeze_one(&mut self) -> Result<(), Failure> {
        let Some(chosen) = self.choose() else {
            return Ok(());
        };
        let node = &mut self.nodes[chosen];
        if node.wakes_at.is_some_and(|at| at > Instant::now()) {
            return Ok(());
        }
        node.wakes_at = Some(Instant::now() + FREEZE_TIME);
        if let Some(process) = &node.process {
            let frozen = process.freeze(FREEZE_TIME).await;
            frozen
                .map_err(|error| Failure::Failed(format!("no process can be stopped: {error}")))?;
            self.told.freezes += 1;
            self.bars
                .say(&format!("{} sleeps for {FREEZE_TIME:?}", node.name));
        }
        Ok(())
    }

    /// Looks how far everything is; whether it is told and processed. A store that does not answer is
    /// asked again.
    async fn look(&mut self) -> Result<bool, Failure> {
        let recorded = self.recorded().await.unwrap_or(self.progress.0);
        if recorded != self.progress.0 {
            self.progress = (recorded, Instant::now());
        } else if self.progress.1.elapsed() > PROGRESS_WAIT_MAX {
            return Err(Failure::Failed(format!(
                "nothing was recorded for {PROGRESS_WAIT_MAX:?}, and not everything is processed; the last that a node said: {}",
                self.last_aside
            )));
        }
        let placed = self.placed().await.unwrap_or_default();
        let nodes = self.nodes.iter().map(|node| {
            let units = placed.get(&*node.name);
            let units = units.map_or_else(|| "no followers".into(), |units| units.join(", "));
            Shown {
                name: &node.name,
                commands: node.commands.0 + node.commands.1,
                what: format!("{units}, {} kills", node.kills),
            }
        });
        let nodes: Vec<_> = nodes.collect();
        let kills = self.nodes.iter().map(|node| node.kills).sum();
        self.bars.show(recorded, kills, &nodes);
        Ok(self.is_told() && is_processed(self.open).await.unwrap_or(false))
    }

    /// The followers, by the leases.
    async fn followers(&self) -> Result<Vec<UnitOverview>, RecordError> {
        let clusters = ClusterOverview::read_all(self.store).await?;
        let units = clusters.into_iter().flat_map(|cluster| cluster.units);
        Ok(units.filter(|unit| &*unit.kind == "follower").collect())
    }

    /// Which followers are with which node.
    async fn placed(&self) -> Result<BTreeMap<Arc<str>, Vec<String>>, RecordError> {
        let mut placed: BTreeMap<Arc<str>, Vec<String>> = BTreeMap::new();
        for unit in self.followers().await? {
            if let Some(node) = unit.node {
                // Its own name, without that of its application.
                let name = unit.names.get(1..).unwrap_or_default().join("/");
                placed.entry(node).or_default().push(name);
            }
        }
        Ok(placed)
    }

    /// How often followers went from one node to another.
    async fn moves(&self) -> Result<u64, RecordError> {
        let followers = self.followers().await?;
        let moves = followers.iter().map(|unit| unit.term.saturating_sub(1));
        Ok(moves.sum())
    }

    /// Lets all nodes show their views and leave.
    async fn finish(&mut self) -> Result<(), Failure> {
        self.is_finishing = true;
        for node in &mut self.nodes {
            if let Some(process) = &mut node.process {
                process.finish();
            }
        }
        let deadline = tokio::time::Instant::now() + FINISH_WAIT_MAX;
        let is_done = |node: &Node| node.view.is_some() && node.process.is_none();
        while !self.nodes.iter().all(is_done) {
            match tokio::time::timeout_at(deadline, self.heard.recv()).await {
                Ok(Some(heard)) => self.hear(heard).await?,
                _ => {
                    return Err(Failure::Failed(format!(
                        "a node did not show its view and leave in {FINISH_WAIT_MAX:?}; the last that one said: {}",
                        self.last_aside
                    )));
                }
            }
            for index in 0..self.nodes.len() {
                if self.nodes[index].restart_at.is_some() {
                    self.start_node(index)?;
                }
            }
        }
        Ok(())
    }

    /// Events in all logs.
    async fn recorded(&self) -> retold::Result<u64> {
        let mut events = 0;
        for app in self.open.applications() {
            events += Position::number(app.head().await?.position());
        }
        Ok(events)
    }
}
