//! Runs the demonstration of a cluster: distributes the itineraries, kills and restarts nodes, and
//! waits until everything is processed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use retold::recording::{Position, RecordError, Store};
use retold::runner::{ClusterOverview, UnitOverview};
use retold::system::OpenSystem;
use retold_flights::itinerary::itineraries;
use retold_flights::processed::is_processed;
use retold_flights::record::FlightRecord;
use retold_flights::replay::command_count;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::bars::{Bars, NodeProgress};
use super::message::Message;
use super::node::TIME_TO_LIVE;
use super::process::{Heard, NodeProcess, NodeStart, What};
use crate::demo::stop::Stop;
use crate::failure::CommandFailure;
use crate::output::counted;

/// How often the logs are checked: more often than a person notices.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Pause before a process that ended by itself is restarted, so that a process that cannot start
/// does not overload the machine.
const RESTART_PAUSE: Duration = Duration::from_millis(500);

/// Maximum time without progress before the run fails: many times the time of a failover.
const PROGRESS_WAIT_MAX: Duration = Duration::from_secs(120);

/// Maximum number of lines of nodes in the queue. If it is full, nodes wait.
const HEARD_MAX: usize = 1_024;

/// Maximum wait for all nodes to print their views and leave.
const FINISH_WAIT_MAX: Duration = Duration::from_secs(120);

/// How long a process is stopped: until its leases have ended and other nodes have taken over.
const FREEZE_TIME: Duration = TIME_TO_LIVE.saturating_mul(2);

/// The line that is printed when everything is processed. The store is only read afterwards.
const PROCESSED: &str = "all commands are done and everything is processed";

/// Maximum wait for a store that is unavailable, when it is only read.
const READ_WAIT_MAX: Duration = Duration::from_secs(60);

/// Reads from a store, and retries while it is unavailable.
pub(in crate::demo) async fn patiently<T, E: Into<CommandFailure>>(
    read: impl AsyncFn() -> Result<T, E>,
) -> Result<T, CommandFailure> {
    let begun = Instant::now();
    loop {
        match read().await {
            Err(_) if begun.elapsed() < READ_WAIT_MAX => tokio::time::sleep(LOOK_INTERVAL).await,
            done => return done.map_err(Into::into),
        }
    }
}

/// The parameters of a run.
#[derive(Clone, Debug)]
pub(in crate::demo) struct Plan {
    pub(in crate::demo) nodes: usize,
    /// Number of itineraries that are sent in parallel.
    pub(in crate::demo) callers: usize,
    pub(in crate::demo) kill_every: Duration,
    pub(in crate::demo) freeze_every: Option<Duration>,
    pub(in crate::demo) seed: u64,
}

/// The result of a run.
#[derive(Debug, Default)]
pub(in crate::demo) struct Summary {
    /// Each node, with the number of its kills.
    pub(in crate::demo) kills: Vec<(String, u64)>,
    /// How often a node was stopped and woken.
    pub(in crate::demo) freezes: u64,
    /// How often a node ended by itself and was restarted.
    pub(in crate::demo) ended: u64,
    /// How often a follower moved between nodes.
    pub(in crate::demo) moves: u64,
    /// Number of itineraries that were sent again because the process that sent them had ended.
    pub(in crate::demo) sent_again: u64,
    /// From the first process until all commands were done.
    pub(in crate::demo) commands_elapsed: Duration,
    /// From the first process until everything was processed.
    pub(in crate::demo) elapsed: Duration,
    /// The view of each node at the end.
    pub(in crate::demo) views: Vec<(String, String)>,
}

impl Summary {
    /// Returns the number of kills of all nodes.
    pub(in crate::demo) fn kill_count(&self) -> u64 {
        self.kills.iter().map(|(_, count)| count).sum()
    }
}

/// A node, whether its process runs or not.
struct Node {
    name: String,
    /// Number of its process, counted from its starts and ends.
    process_number: u64,
    process: Option<NodeProcess>,
    is_ready: bool,
    /// The itineraries that it was given and has not done.
    pending: BTreeSet<usize>,
    /// Commands of this process, and of the processes before.
    commands: (u64, u64),
    kills: u64,
    restart_at: Option<Instant>,
    wakes_at: Option<Instant>,
    view: Option<String>,
}

pub(super) struct Course<'a> {
    plan: Plan,
    start: NodeStart,
    store: &'a dyn Store,
    open: &'a OpenSystem,
    nodes: Vec<Node>,
    /// The itineraries that no node has.
    queue: VecDeque<usize>,
    heard: Receiver<Heard>,
    speaker: Sender<Heard>,
    rng: Rng,
    /// The nodes to kill next, the last first. Each node is killed once before any is killed again.
    doomed: Vec<usize>,
    bars: Bars,
    summary: Summary,
    is_finishing: bool,
    /// The number of recorded events, and when it last grew.
    progress: (u64, Instant),
    last_aside: String,
}

impl<'a> Course<'a> {
    /// Prepares a run of these flights, which record about this number of events.
    pub(super) fn new(
        plan: Plan,
        start: NodeStart,
        flights: &[FlightRecord],
        (store, open): (&'a dyn Store, &'a OpenSystem),
        events: u64,
    ) -> Self {
        let (speaker, heard) = channel(HEARD_MAX);
        let names: Vec<_> = (1..=plan.nodes).map(|it| format!("node-{it}")).collect();
        let bars = Bars::new(&names, command_count(flights), events);
        let nodes = names.into_iter().map(|name| Node {
            name,
            process_number: 0,
            process: None,
            is_ready: false,
            pending: BTreeSet::new(),
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
            summary: Summary::default(),
            is_finishing: false,
            progress: (0, Instant::now()),
            last_aside: String::new(),
        }
    }

    /// Runs it to its end. Returns none if Ctrl-C stopped it.
    pub(super) async fn run(mut self, stop: &Stop) -> Result<Option<Summary>, CommandFailure> {
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
                    if self.are_commands_done() && self.summary.commands_elapsed.is_zero() {
                        self.summary.commands_elapsed = begun.elapsed();
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
        self.summary.elapsed = begun.elapsed();
        self.bars.print(PROCESSED);
        self.summary.moves = patiently(async || self.moves().await).await?;
        tokio::select! {
            () = stop.wait() => return Ok(None),
            finished = self.finish() => finished?,
        }
        for node in self.nodes {
            self.summary.kills.push((node.name.clone(), node.kills));
            self.summary
                .views
                .extend(node.view.map(|view| (node.name, view)));
        }
        Ok(Some(self.summary))
    }

    /// Returns a random time with this average.
    fn about(&mut self, time: Duration) -> Duration {
        time.mul_f64(0.5 + self.rng.f64())
    }

    fn are_commands_done(&self) -> bool {
        self.queue.is_empty() && self.nodes.iter().all(|node| node.pending.is_empty())
    }

    fn start_node(&mut self, index: usize) -> Result<(), CommandFailure> {
        let node = &mut self.nodes[index];
        node.process_number += 1;
        node.restart_at = None;
        node.wakes_at = None;
        let process = NodeProcess::start(
            &self.start,
            &node.name,
            (index, node.process_number),
            &self.speaker,
        );
        let mut process = process
            .map_err(|error| CommandFailure::Failed(format!("cannot start a process: {error}")))?;
        if self.is_finishing {
            process.finish();
        }
        node.process = Some(process);
        Ok(())
    }

    /// Marks a node's process as ended. Its pending itineraries go back to the queue.
    fn end_process(&mut self, index: usize) -> Option<NodeProcess> {
        let node = &mut self.nodes[index];
        node.process_number += 1;
        node.is_ready = false;
        node.commands = (0, node.commands.0 + node.commands.1);
        for itinerary in std::mem::take(&mut node.pending) {
            self.summary.sent_again += 1;
            self.queue.push_front(itinerary);
        }
        node.process.take()
    }

    fn restart(&mut self) -> Result<(), CommandFailure> {
        for index in 0..self.nodes.len() {
            let due = self.nodes[index].restart_at;
            if due.is_some_and(|due| due <= Instant::now()) {
                self.start_node(index)?;
            }
        }
        Ok(())
    }

    async fn hear(&mut self, heard: Heard) -> Result<(), CommandFailure> {
        let index = heard.node;
        if let What::Aside(text) = &heard.what {
            self.last_aside = format!("{}: {text}", self.nodes[index].name);
            self.bars.print(&self.last_aside);
            return Ok(());
        }
        if heard.process != self.nodes[index].process_number {
            return Ok(());
        }
        let node = &mut self.nodes[index];
        match heard.what {
            What::Message(Message::Ready) => node.is_ready = true,
            What::Message(Message::Commands(count)) => node.commands.0 = count,
            What::Message(Message::Done(itinerary)) => {
                node.pending.remove(&itinerary);
            }
            What::Message(Message::View(view)) => node.view = Some(view),
            What::Message(Message::Failed(reason)) => {
                return Err(CommandFailure::Failed(format!("{}: {reason}", node.name)));
            }
            What::Aside(_) => {}
            What::Ended => {
                let process = self.end_process(index);
                if let Some(process) = process
                    && let Some(status) = process.ended().await
                {
                    let node = &mut self.nodes[index];
                    node.view = None;
                    node.restart_at = Some(Instant::now() + RESTART_PAUSE);
                    self.summary.ended += 1;
                    let text = format!("{} ended by itself: {status}", self.nodes[index].name);
                    self.bars.print(&text);
                }
            }
        }
        self.hand_out(index).await;
        Ok(())
    }

    /// Gives itineraries to a node until it has its share of the callers.
    async fn hand_out(&mut self, index: usize) {
        let share = self.plan.callers.div_ceil(self.plan.nodes);
        let node = &mut self.nodes[index];
        let Some(process) = node.process.as_mut().filter(|_| node.is_ready) else {
            return;
        };
        while node.pending.len() < share
            && let Some(itinerary) = self.queue.pop_front()
        {
            node.pending.insert(itinerary);
            process.give(itinerary).await;
        }
    }

    fn choose(&mut self) -> Option<usize> {
        let alive = (0..self.nodes.len()).filter(|it| self.nodes[*it].process.is_some());
        let alive: Vec<_> = alive.collect();
        (!alive.is_empty()).then(|| alive[self.rng.usize(..alive.len())])
    }

    async fn kill_one(&mut self) -> Result<(), CommandFailure> {
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
        if let Some(process) = self.end_process(doomed) {
            let killed = process.kill().await;
            killed.map_err(|error| {
                CommandFailure::Failed(format!("cannot kill a process: {error}"))
            })?;
        }
        self.nodes[doomed].kills += 1;
        self.bars
            .print(&format!("{} is killed", self.nodes[doomed].name));
        self.start_node(doomed)?;
        // The other nodes take over its itineraries at once.
        for index in 0..self.nodes.len() {
            self.hand_out(index).await;
        }
        Ok(())
    }

    async fn freeze_one(&mut self) -> Result<(), CommandFailure> {
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
            frozen.map_err(|error| {
                CommandFailure::Failed(format!("cannot stop a process: {error}"))
            })?;
            self.summary.freezes += 1;
            self.bars
                .print(&format!("{} is stopped for {FREEZE_TIME:?}", node.name));
        }
        Ok(())
    }

    /// Shows the progress. Returns whether all commands are done and everything is processed. If
    /// the store is unavailable, the next look tries again.
    async fn look(&mut self) -> Result<bool, CommandFailure> {
        let recorded = self.recorded().await.unwrap_or(self.progress.0);
        if recorded != self.progress.0 {
            self.progress = (recorded, Instant::now());
        } else if self.progress.1.elapsed() > PROGRESS_WAIT_MAX {
            return Err(CommandFailure::Failed(format!(
                "nothing was recorded for {PROGRESS_WAIT_MAX:?}, but not everything is processed; \
                 the last line of a node: {}",
                self.last_aside
            )));
        }
        let placed = self.placed().await.unwrap_or_default();
        let nodes = self.nodes.iter().map(|node| {
            let units = placed.get(&*node.name);
            let units = units.map_or_else(|| "no followers".into(), |units| units.join(", "));
            NodeProgress {
                name: &node.name,
                commands: node.commands.0 + node.commands.1,
                status: format!("{units}, {}", counted(node.kills, "kill", "kills")),
            }
        });
        let nodes: Vec<_> = nodes.collect();
        let kills = self.nodes.iter().map(|node| node.kills).sum();
        self.bars.show(recorded, kills, &nodes);
        Ok(self.are_commands_done() && is_processed(self.open).await.unwrap_or(false))
    }

    /// Returns the followers, from the leases.
    async fn followers(&self) -> Result<Vec<UnitOverview>, RecordError> {
        let clusters = ClusterOverview::read_all(self.store).await?;
        let units = clusters.into_iter().flat_map(|cluster| cluster.units);
        Ok(units.filter(|unit| &*unit.kind == "follower").collect())
    }

    /// Returns the followers of each node.
    async fn placed(&self) -> Result<BTreeMap<Arc<str>, Vec<String>>, RecordError> {
        let mut placed: BTreeMap<Arc<str>, Vec<String>> = BTreeMap::new();
        for unit in self.followers().await? {
            if let Some(node) = unit.node {
                // Without the name of its application.
                let name = unit.names.get(1..).unwrap_or_default().join("/");
                placed.entry(node).or_default().push(name);
            }
        }
        Ok(placed)
    }

    /// Returns how often followers moved between nodes.
    async fn moves(&self) -> Result<u64, RecordError> {
        let followers = self.followers().await?;
        let moves = followers.iter().map(|unit| unit.term.saturating_sub(1));
        Ok(moves.sum())
    }

    /// Asks all nodes to print their views and leave, and waits for them.
    async fn finish(&mut self) -> Result<(), CommandFailure> {
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
                    return Err(CommandFailure::Failed(format!(
                        "a node did not print its view and leave in {FINISH_WAIT_MAX:?}; the last \
                         line of a node: {}",
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

    /// Returns the number of events in all logs.
    async fn recorded(&self) -> retold::Result<u64> {
        let mut events = 0;
        for app in self.open.applications() {
            events += Position::number(app.head().await?.position());
        }
        Ok(events)
    }
}
