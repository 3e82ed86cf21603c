//! The cluster of the demonstration on three machines, as far as one machine can be three: hosts with a
//! network between them that is cut, parted and spoiled. What they recorded is one story all the same.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use fastrand::Rng;
use retold::recording::identity::Position;
use retold::recording::memory::MemoryStore;
use retold::recording::store::Store;
use retold::runner::ClusterOverview;
use retold::system::confluence::{Times, compare_runs};
use retold::system::{Infrastructure, OpenSystem, Opening, SingleThread};
use retold_flights::input::Input;
use retold_flights::itinerary::itineraries;
use retold_flights::on_time::OnTime;
use retold_flights::processed::is_processed;
use retold_flights::record::FlightRecord;
use retold_flights::replay::replay;
use retold_flights::system::{FLIGHTS, system};
use serde_json::Value;
use tokio::runtime::Runtime;
use xtask::postgres_server::{PostgresServer, Setup};

use crate::command::run;
use crate::demo_cluster::TURN;
use crate::hosts::{Cable, Hosts};

/// Hosts, each with a node.
const HOSTS: usize = 3;

/// Flights of the first days of January.
const FLIGHTS_MAX: usize = 1000;

/// Itineraries that a node is given at a time: so many that a disturbance finds it in their middle.
const SHARE: usize = 40;

/// Events after which they are in the middle.
const BEGUN: u64 = 30;

/// Itineraries of its share that a node tells through a bad cable, before it is given a good one.
const TOLD_THROUGH_BAD_CABLE: usize = 10;

/// Where nodes answer monitors.
const MONITOR_PORT: u16 = 9464;

/// How long the nodes are listened to before everything is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Guards the test against hanging; nothing is measured by it.
const PATIENCE: Duration = Duration::from_secs(60);

/// What becomes of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disturbance {
    /// A host is cut off from everything, the database above all.
    Cut,
    /// A host is cut off from the others, but not from the database.
    Parted,
    /// A host has a bad cable.
    Spoiled,
}

#[test]
fn hosts_that_are_cut_off_tell_one_story() {
    let hosts = match Hosts::make(HOSTS) {
        Ok(hosts) => hosts,
        Err(reason) => {
            return say(&format!(
                "nothing is shown, for no hosts can be made here: {reason}"
            ));
        }
    };
    let seed = std::env::var("RETOLD_SEED");
    let seed = seed.map_or_else(|_| u64::from(fastrand::u32(..)), |it| it.parse().unwrap());
    eprintln!("to repeat: RETOLD_SEED={seed}");
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Setup::new().private(hosts.network()).start();
    let server = server.unwrap_or_else(|error| panic!("{error}"));
    let mut flights = Input::january().unwrap().flights;
    flights.truncate(FLIGHTS_MAX);

    let mut rng = Rng::with_seed(seed);
    let mut cluster = Cluster::start(&hosts, &server, &flights, &mut rng);
    let mut disturbances = [Disturbance::Cut, Disturbance::Parted, Disturbance::Spoiled];
    rng.shuffle(&mut disturbances);
    for disturbance in disturbances {
        let host = rng.usize(..HOSTS);
        eprintln!("{disturbance:?}: host {host}");
        match disturbance {
            Disturbance::Cut => cluster.cut(host),
            Disturbance::Parted => cluster.part(host),
            Disturbance::Spoiled => cluster.spoil(host),
        }
    }
    cluster.tell_the_rest();
    let views = cluster.finish();
    check_one_story(&cluster, flights, &views);
    drop(turn);
}

/// The check of the demonstration: the cluster's logs are retold, and equal those of one thread on memory
/// wherever the system claims that; so do the views of all nodes.
#[track_caller]
fn check_one_story(cluster: &Cluster, flights: Vec<FlightRecord>, views: &[String]) {
    let retold = run(&["verify", &cluster.url, "--retell=whole", "--json"]).objects();
    let answers: Vec<_> = retold
        .iter()
        .filter(|row| row["answered"].is_number())
        .collect();
    assert_eq!(answers.len(), 3, "two followers, and the whole: {retold:?}");
    for row in answers {
        assert_eq!(row["difference"], Value::Null, "{row}");
        assert!(row["answered"].as_u64().unwrap() > 0, "{row}");
    }
    cluster.runtime.block_on(async {
        let memory = Infrastructure::new(Arc::new(MemoryStore::new()));
        let runner = SingleThread::start(&system(), &memory).await.unwrap();
        let app = runner.application(FLIGHTS).unwrap();
        let told = replay(&app, flights.into(), 1, Arc::default()).await;
        told.unwrap();
        let memory = runner.open_system().clone();
        let compared = compare_runs(&memory, &cluster.open, Times::PassedOver);
        let compared = compared.await.unwrap();
        assert!(compared.difference.is_none(), "{compared:?}");
        assert!(compared.compared.iter().all(|it| it.events > 0));
        let expected = OnTime::read(&app).await.unwrap();
        for view in views {
            assert_eq!(*view, format!("{expected:?}"));
        }
        runner.stop().await.unwrap();
    });
}

/// Says it also if the test passes, when what it prints is not shown.
fn say(text: &str) {
    // Who cannot be told is not told.
    let _ = writeln!(
        std::io::stderr(),
        "hosts_that_are_cut_off_tell_one_story: {text}"
    );
}

/// What is heard of a node.
enum Heard {
    Said(String),
    /// For people.
    Aside(String),
    /// Its output ended, as it does with the process.
    Ended,
}

/// A node on its host, killed at the latest when it is dropped.
struct Node {
    name: String,
    process: Child,
    input: Option<ChildStdin>,
    is_ready: bool,
    is_over: bool,
    /// What it was given and has not told yet.
    telling: BTreeSet<usize>,
    view: Option<String>,
    asides: Vec<String>,
}

impl Node {
    fn start(
        cluster_url: &str,
        hosts: &Hosts,
        host: usize,
        heard: &Sender<(usize, Heard)>,
    ) -> Self {
        let name = format!("host-{host}");
        let (max, monitor) = (FLIGHTS_MAX.to_string(), monitor(hosts, host).to_string());
        let arguments = [
            "demo-node",
            "--name",
            &name,
            "--flights-max",
            &max,
            "--metrics",
            &monitor,
        ];
        let mut command = hosts.command(host, env!("CARGO_BIN_EXE_retold"), &arguments);
        command
            .env("RETOLD_DEMO_URL", cluster_url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        listen(
            process.stdout.take().unwrap(),
            host,
            heard.clone(),
            Heard::Said,
        );
        listen(
            process.stderr.take().unwrap(),
            host,
            heard.clone(),
            Heard::Aside,
        );
        Self {
            name,
            input: process.stdin.take(),
            process,
            is_ready: false,
            is_over: false,
            telling: BTreeSet::new(),
            view: None,
            asides: Vec::new(),
        }
    }

    fn hear(&mut self, heard: Heard) {
        let line = match heard {
            Heard::Said(line) => line,
            Heard::Aside(line) => return self.asides.push(line),
            Heard::Ended => {
                assert!(
                    self.input.is_none(),
                    "{} ended by itself: {:#?}",
                    self.name,
                    self.asides
                );
                self.is_over = true;
                return;
            }
        };
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("ready", _) => self.is_ready = true,
            ("told", number) => assert!(self.telling.remove(&number.parse().unwrap())),
            ("view", view) => self.view = Some(view.to_owned()),
            ("failed", reason) => panic!("{}: {reason}", self.name),
            _ => {}
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Hands on what it says. Only the end of what it says to its parent is its end.
fn listen(
    output: impl Read + Send + 'static,
    host: usize,
    heard: Sender<(usize, Heard)>,
    kind: fn(String) -> Heard,
) {
    let is_parents = matches!(kind(String::new()), Heard::Said(_));
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let _ = heard.send((host, kind(line)));
        }
        if is_parents {
            let _ = heard.send((host, Heard::Ended));
        }
    });
}

fn monitor(hosts: &Hosts, host: usize) -> SocketAddr {
    SocketAddr::from((hosts.address(host), MONITOR_PORT))
}

/// The nodes, and the store as the machine itself sees it, whatever becomes of the hosts' network.
struct Cluster<'h> {
    hosts: &'h Hosts,
    nodes: Vec<Node>,
    heard: Receiver<(usize, Heard)>,
    /// Itineraries that nobody was given.
    queue: Vec<usize>,
    url: String,
    store: Arc<dyn Store>,
    open: OpenSystem,
    runtime: Runtime,
}

impl<'h> Cluster<'h> {
    /// Starts the nodes, and waits until each has its part.
    fn start(
        hosts: &'h Hosts,
        server: &PostgresServer,
        flights: &[FlightRecord],
        rng: &mut Rng,
    ) -> Self {
        let runtime = Runtime::new().unwrap();
        let url = server.url("postgres");
        let (store, open) = runtime.block_on(async {
            let store = retold::open_store(&url).await.unwrap();
            let infrastructure = Infrastructure::new(Arc::clone(&store));
            let open = OpenSystem::open(&system(), &infrastructure, Opening::Write).await;
            (store, open.unwrap())
        });
        let theirs = url.replace("127.0.0.1", &hosts.machine().to_string());
        let (speaker, heard) = channel();
        let nodes = (0..HOSTS).map(|host| Node::start(&theirs, hosts, host, &speaker));
        let mut queue: Vec<_> = (0..itineraries(flights).len()).collect();
        rng.shuffle(&mut queue);
        let mut cluster = Self {
            hosts,
            nodes: nodes.collect(),
            heard,
            queue,
            url,
            store,
            open,
            runtime,
        };
        cluster.until("all have a part", |it| {
            (0..HOSTS).all(|host| it.nodes[host].is_ready && it.has_part(host))
        });
        cluster
    }

    /// A host is cut off in the middle of what it tells. The others take over what it followed and
    /// process everything that is recorded; then it comes back, and tells the rest.
    fn cut(&mut self, host: usize) {
        self.begin();
        self.hosts.unplug(host);
        self.until("the others take over", |it| it.is_without(host));
        for other in (0..HOSTS).filter(|it| *it != host) {
            self.give(other, SHARE);
        }
        self.until("the others go on", |it| {
            let mut others = (0..HOSTS).filter(|it| *it != host);
            others.all(|other| it.is_told(other)) && it.is_processed()
        });
        assert!(!self.is_told(host), "it could still tell");
        self.hosts.plug(host);
        self.until("it is back", |it| it.has_part(host));
        self.until("it tells the rest", |it| it.is_told(host));
    }

    /// A host is cut off from the others. Nodes have nothing to say to each other but by the store, so
    /// it keeps its part, and tells what it has to tell.
    fn part(&mut self, host: usize) {
        let other = (host + 1) % HOSTS;
        let ways = [(host, other), (other, host)];
        let reach = |it: &Self| {
            let reaches = |(from, to)| it.hosts.reaches(from, monitor(it.hosts, to));
            ways.map(reaches)
        };
        assert_eq!(
            reach(self),
            [true, true],
            "a firewall may be between hosts on a bridge"
        );
        self.hosts.part(host);
        assert_eq!(reach(self), [false, false]);
        self.begin();
        self.until("all go on", |it| {
            (0..HOSTS).all(|host| it.is_told(host) && it.has_part(host)) && it.is_processed()
        });
        assert_eq!(reach(self), [false, false]);
        self.hosts.join(host);
        assert_eq!(reach(self), [true, true]);
    }

    /// A host has a bad cable for a while.
    fn spoil(&mut self, host: usize) {
        let cable = self.hosts.spoil(host);
        match cable {
            Cable::LateAndLossy => {}
            Cable::SlowAndLossy => {
                say("this kernel delays no packets (sch_netem), so they queue for a slow link");
            }
            Cable::Good => {
                say("this kernel neither delays packets nor drops some, so that is not shown");
            }
        }
        for host in 0..HOSTS {
            self.give(host, SHARE);
        }
        self.until("it goes on all the same", |it| {
            let left = it.nodes[host].telling.len();
            let mut others = (0..HOSTS).filter(|it| *it != host);
            left + TOLD_THROUGH_BAD_CABLE <= SHARE && others.all(|other| it.is_told(other))
        });
        let lost = self.hosts.lost(host);
        assert!(lost > 0 || cable == Cable::Good, "no packet was lost");
        self.hosts.mend(host);
        self.until("it is well again", |it| {
            it.has_part(host) && it.is_told(host)
        });
    }

    fn tell_the_rest(&mut self) {
        let rest = self.queue.len();
        assert!(
            rest > 0,
            "there is nothing left to tell after the last disturbance"
        );
        for host in 0..HOSTS {
            self.give(host, rest.div_ceil(HOSTS));
        }
        self.until("all is told and processed", |it| {
            (0..HOSTS).all(|host| it.is_told(host)) && it.is_processed()
        });
    }

    /// Lets all show their views, and leave in good order.
    fn finish(&mut self) -> Vec<String> {
        for node in &mut self.nodes {
            node.input = None;
        }
        self.until("all have left", |it| {
            it.nodes.iter().all(|node| node.is_over)
        });
        let ended = self.nodes.iter_mut().map(|node| {
            let status = node.process.wait().unwrap();
            assert!(
                status.success(),
                "{}: {status}, {:#?}",
                node.name,
                node.asides
            );
            node.view.take().unwrap()
        });
        ended.collect()
    }

    /// Gives all a share, and waits until they are in the middle of it.
    fn begin(&mut self) {
        let before = self.recorded();
        for host in 0..HOSTS {
            self.give(host, SHARE);
        }
        self.until("it has begun", |it| it.recorded() >= before + BEGUN);
    }

    /// Gives so many itineraries to a node, or what is left.
    fn give(&mut self, host: usize, count: usize) {
        let left = self.queue.len().saturating_sub(count);
        let node = &mut self.nodes[host];
        for itinerary in self.queue.drain(left..) {
            node.telling.insert(itinerary);
            writeln!(node.input.as_mut().unwrap(), "{itinerary}").unwrap();
        }
    }

    fn is_told(&self, host: usize) -> bool {
        self.nodes[host].telling.is_empty()
    }

    /// Listens to the nodes until it holds.
    #[track_caller]
    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        loop {
            let mut wait = LOOK_INTERVAL;
            while let Ok((host, heard)) = self.heard.recv_timeout(wait) {
                self.nodes[host].hear(heard);
                wait = Duration::ZERO;
            }
            if holds(self) {
                eprintln!("{:5.1} s: {what}", begun.elapsed().as_secs_f64());
                return;
            }
            if begun.elapsed() > PATIENCE {
                let nodes = self.nodes.iter();
                let asides: Vec<_> = nodes
                    .map(|it| (&it.name, &it.telling, &it.asides))
                    .collect();
                panic!(
                    "did not happen in time: {what}; {:#?}; {asides:#?}",
                    self.overview()
                );
            }
        }
    }

    fn overview(&self) -> Option<ClusterOverview> {
        let all = ClusterOverview::read_all(&*self.store);
        self.runtime.block_on(all).unwrap().pop()
    }

    /// Whether it lives by its lease, and has a unit of the system.
    fn has_part(&self, host: usize) -> bool {
        let name = &*self.nodes[host].name;
        self.overview().is_some_and(|cluster| {
            let is_its = |it: &Option<Arc<str>>| it.as_deref() == Some(name);
            cluster.nodes.iter().any(|node| &*node.name == name)
                && cluster.units.iter().any(|unit| is_its(&unit.node))
        })
    }

    /// Whether it is dead by its lease, and every unit is with another node.
    fn is_without(&self, host: usize) -> bool {
        let name = &*self.nodes[host].name;
        self.overview().is_some_and(|cluster| {
            let is_anothers = |it: &Option<Arc<str>>| it.as_deref().is_some_and(|it| it != name);
            cluster.nodes.iter().all(|node| &*node.name != name)
                && cluster.units.iter().all(|unit| is_anothers(&unit.node))
        })
    }

    /// Events in all logs.
    fn recorded(&self) -> u64 {
        self.runtime.block_on(async {
            let mut events = 0;
            for app in self.open.applications() {
                events += Position::number(app.head().await.unwrap().position());
            }
            events
        })
    }

    fn is_processed(&self) -> bool {
        let processed = is_processed(&self.open);
        self.runtime.block_on(processed).unwrap()
    }
}
