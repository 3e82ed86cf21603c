//! The cluster of the demonstration on three hosts, which are network namespaces of one machine.
//! Their network is cut, partitioned and degraded. The hosts record the same as one thread.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use fastrand::Rng;
use retold::recording::{MemoryStore, Position, Store};
use retold::retelling::{Times, compare_runs};
use retold::runner::ClusterOverview;
use retold::system::{Infrastructure, OpenSystem, Opening, Runner, SingleThread};
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

/// Number of hosts, each with a node.
const HOSTS: usize = 3;

/// Number of flights.
const FLIGHTS_MAX: usize = 1000;

/// Number of itineraries that a node gets at a time: enough to be in progress at a disturbance.
const SHARE: usize = 40;

/// Number of events after which they are in progress.
const BEGUN: u64 = 30;

/// Number of itineraries that a node finishes with a bad cable, before it gets a good one.
const DONE_WITH_BAD_CABLE: usize = 10;

/// Where nodes serve their metrics.
const MONITOR_PORT: u16 = 9464;

/// How often a condition is checked.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Maximum wait for a condition.
const PATIENCE: Duration = Duration::from_secs(60);

/// A disturbance of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disturbance {
    /// A host is cut off from everything, including the database.
    Cut,
    /// A host is cut off from the other hosts, but not from the database.
    Partitioned,
    /// A host has a bad cable.
    Degraded,
}

#[test]
fn hosts_that_are_cut_off_record_the_same() {
    let hosts = match Hosts::make(HOSTS) {
        Ok(hosts) => hosts,
        Err(reason) => {
            return print(&format!(
                "skipped, because this machine cannot create the hosts: {reason}"
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
    let mut disturbances = [
        Disturbance::Cut,
        Disturbance::Partitioned,
        Disturbance::Degraded,
    ];
    rng.shuffle(&mut disturbances);
    for disturbance in disturbances {
        let host = rng.usize(..HOSTS);
        eprintln!("{disturbance:?}: host {host}");
        match disturbance {
            Disturbance::Cut => cluster.cut(host),
            Disturbance::Partitioned => cluster.partition(host),
            Disturbance::Degraded => cluster.degrade(host),
        }
    }
    cluster.send_the_rest();
    let views = cluster.finish();
    check_equal(&cluster, flights, &views);
    drop(turn);
}

/// Checks the logs as the demonstration does: repending finds no difference, and the logs and the
/// views of all nodes equal those of one thread in memory.
#[track_caller]
fn check_equal(cluster: &Cluster, flights: Vec<FlightRecord>, views: &[String]) {
    let retold = run(&["verify", &cluster.url, "--retell=whole", "--json"]).objects();
    let rows: Vec<_> = retold
        .iter()
        .filter(|row| row["processed"].is_number())
        .collect();
    assert_eq!(rows.len(), 3, "two followers, and the whole: {retold:?}");
    for row in rows {
        assert_eq!(row["difference"], Value::Null, "{row}");
        assert!(row["processed"].as_u64().unwrap() > 0, "{row}");
    }
    cluster.runtime.block_on(async {
        let memory = Infrastructure::new(Arc::new(MemoryStore::new()));
        let runner = SingleThread::start(&system(), &memory).await.unwrap();
        let app = runner.application(FLIGHTS).unwrap();
        let done = replay(&app, flights.into(), 1, Arc::default()).await;
        done.unwrap();
        let memory = runner.open_system().clone();
        let compared = compare_runs(&memory, &cluster.open, Times::PassedOver);
        let compared = compared.await.unwrap();
        assert!(compared.difference.is_none(), "{compared:?}");
        assert!(compared.compared.iter().all(|it| it.events > 0));
        let expected = OnTime::read(&app).await.unwrap();
        for view in views {
            assert_eq!(*view, format!("{expected:?}"));
        }
        assert!(runner.stop().await.is_clean());
    });
}

/// Prints a line that is shown even if the test passes.
fn print(text: &str) {
    // A test is not worth failing for this line.
    let _ = writeln!(
        std::io::stderr(),
        "hosts_that_are_cut_off_record_the_same: {text}"
    );
}

/// Something that a node sent.
enum Heard {
    Message(String),
    /// A line for people.
    Aside(String),
    /// Its output ended, because the process did.
    Ended,
}

/// A node on its host. It is killed when this is dropped.
struct Node {
    name: String,
    process: Child,
    input: Option<ChildStdin>,
    is_ready: bool,
    is_over: bool,
    /// The itineraries that it was given and has not done.
    pending: BTreeSet<usize>,
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
            Heard::Message,
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
            pending: BTreeSet::new(),
            view: None,
            asides: Vec::new(),
        }
    }

    fn hear(&mut self, heard: Heard) {
        let line = match heard {
            Heard::Message(line) => line,
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
            ("done", number) => assert!(self.pending.remove(&number.parse().unwrap())),
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

/// Forwards the lines of a node. The end of its messages is the end of the process.
fn listen(
    output: impl Read + Send + 'static,
    host: usize,
    heard: Sender<(usize, Heard)>,
    kind: fn(String) -> Heard,
) {
    let is_for_parent = matches!(kind(String::new()), Heard::Message(_));
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let _ = heard.send((host, kind(line)));
        }
        if is_for_parent {
            let _ = heard.send((host, Heard::Ended));
        }
    });
}

fn monitor(hosts: &Hosts, host: usize) -> SocketAddr {
    SocketAddr::from((hosts.address(host), MONITOR_PORT))
}

/// The nodes, and the store as the machine sees it, which the disturbances do not affect.
struct Cluster<'h> {
    hosts: &'h Hosts,
    nodes: Vec<Node>,
    heard: Receiver<(usize, Heard)>,
    /// The itineraries that no node has.
    queue: Vec<usize>,
    url: String,
    store: Arc<dyn Store>,
    open: OpenSystem,
    runtime: Runtime,
}

impl<'h> Cluster<'h> {
    /// Starts the nodes, and waits until each holds a unit.
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
        cluster.until("all hold a unit", |it| {
            (0..HOSTS).all(|host| it.nodes[host].is_ready && it.has_unit(host))
        });
        cluster
    }

    /// Cuts off a host while it sends commands. The others take over its units and process
    /// everything that is recorded. Then the host comes back and sends the rest.
    fn cut(&mut self, host: usize) {
        self.begin();
        self.hosts.unplug(host);
        self.until("the others take over", |it| it.is_without(host));
        for other in (0..HOSTS).filter(|it| *it != host) {
            self.give(other, SHARE);
        }
        self.until("the others process everything", |it| {
            let mut others = (0..HOSTS).filter(|it| *it != host);
            others.all(|other| it.is_done(other)) && it.is_processed()
        });
        assert!(!self.is_done(host), "it could still send commands");
        self.hosts.plug(host);
        self.until("it is back", |it| it.has_unit(host));
        self.until("it sends the rest", |it| it.is_done(host));
    }

    /// Cuts off a host from the others. Nodes communicate only through the store, so the host keeps
    /// its units and sends its commands.
    fn partition(&mut self, host: usize) {
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
        self.hosts.partition(host);
        assert_eq!(reach(self), [false, false]);
        self.begin();
        self.until("all continue", |it| {
            (0..HOSTS).all(|host| it.is_done(host) && it.has_unit(host)) && it.is_processed()
        });
        assert_eq!(reach(self), [false, false]);
        self.hosts.join(host);
        assert_eq!(reach(self), [true, true]);
    }

    /// Gives a host a bad cable for a while.
    fn degrade(&mut self, host: usize) {
        let cable = self.hosts.degrade(host);
        match cable {
            Cable::LateAndLossy => {}
            Cable::SlowAndLossy => {
                print(
                    "this kernel cannot delay packets (sch_netem), so they queue for a slow link",
                );
            }
            Cable::Good => {
                print("skipped, because this kernel can neither delay nor drop packets");
            }
        }
        for host in 0..HOSTS {
            self.give(host, SHARE);
        }
        self.until("it continues", |it| {
            let remaining = it.nodes[host].pending.len();
            let mut others = (0..HOSTS).filter(|it| *it != host);
            remaining + DONE_WITH_BAD_CABLE <= SHARE && others.all(|other| it.is_done(other))
        });
        let lost = self.hosts.lost(host);
        assert!(lost > 0 || cable == Cable::Good, "no packet was lost");
        self.hosts.repair(host);
        self.until("it has recovered", |it| {
            it.has_unit(host) && it.is_done(host)
        });
    }

    fn send_the_rest(&mut self) {
        let rest = self.queue.len();
        assert!(rest > 0, "no itineraries remain after the last disturbance");
        for host in 0..HOSTS {
            self.give(host, rest.div_ceil(HOSTS));
        }
        self.until("everything is sent and processed", |it| {
            (0..HOSTS).all(|host| it.is_done(host)) && it.is_processed()
        });
    }

    /// Asks all nodes to print their views and leave, and waits for them.
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

    /// Gives each node a share, and waits until the shares are in progress.
    fn begin(&mut self) {
        let before = self.recorded();
        for host in 0..HOSTS {
            self.give(host, SHARE);
        }
        self.until("it has begun", |it| it.recorded() >= before + BEGUN);
    }

    /// Gives this number of itineraries to a node, or the remaining ones.
    fn give(&mut self, host: usize, count: usize) {
        let first = self.queue.len().saturating_sub(count);
        let node = &mut self.nodes[host];
        for itinerary in self.queue.drain(first..) {
            node.pending.insert(itinerary);
            writeln!(node.input.as_mut().unwrap(), "{itinerary}").unwrap();
        }
    }

    fn is_done(&self, host: usize) -> bool {
        self.nodes[host].pending.is_empty()
    }

    /// Receives from the nodes until the condition holds.
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
                    .map(|it| (&it.name, &it.pending, &it.asides))
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

    /// Returns whether the node holds its lease and a unit of the system.
    fn has_unit(&self, host: usize) -> bool {
        let name = &*self.nodes[host].name;
        self.overview().is_some_and(|cluster| {
            let is_its = |it: &Option<Arc<str>>| it.as_deref() == Some(name);
            cluster.nodes.iter().any(|node| &*node.name == name)
                && cluster.units.iter().any(|unit| is_its(&unit.node))
        })
    }

    /// Returns whether the lease of the node has ended and other nodes hold all units.
    fn is_without(&self, host: usize) -> bool {
        let name = &*self.nodes[host].name;
        self.overview().is_some_and(|cluster| {
            let is_anothers = |it: &Option<Arc<str>>| it.as_deref().is_some_and(|it| it != name);
            cluster.nodes.iter().all(|node| &*node.name != name)
                && cluster.units.iter().all(|unit| is_anothers(&unit.node))
        })
    }

    /// Returns the number of events in all logs.
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
