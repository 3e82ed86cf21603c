//! Tests of Paxos on a cluster of three processes on one store. Processes are randomly killed, or
//! suspended for longer than their leases. They still agree, and the logs retell.

use std::env;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use fastrand::Rng;
use retold::application::ExecuteError;
use retold::open_store;
use retold::runner::{Cluster, ClusterOptions};
use retold::system::{Infrastructure, OpenSystem, Opening};
use retold_paxos::client::{answer, decided, propose, submit};
use retold_paxos::command::{Command as Change, Request};
use retold_paxos::electorate::{Electorate, participant};
use retold_paxos::instance::Refusal;
use retold_paxos::invariants::History;
use retold_paxos::participant::system;
use tokio::time::{Instant, interval, sleep, timeout};
use xtask::postgres_server::PostgresServer;

use crate::agreement::difference;

/// Passes the store to a child; not set in the parent.
const URL: &str = "RETOLD_PAXOS_NODE_OF";
/// Passes its name to a child.
const NODE: &str = "RETOLD_PAXOS_NODE";
const NODES: usize = 3;
const PARTICIPANTS: u32 = 3;
/// Number of rounds, each with client operations and a kill or a suspension.
const ROUNDS: usize = 8;
/// Number of keys per round for which all participants propose values, and of requests to all of
/// them.
const KEYS: usize = 2;
const REQUESTS: usize = 2;
const TIME_TO_LIVE: Duration = Duration::from_millis(1_500);
/// How long a process is suspended: until its leases have expired.
const SLEEP: Duration = TIME_TO_LIVE.saturating_mul(2);
/// Longest pause between two operations of a round.
const PAUSE_MAX_MS: u64 = 300;
/// Time limit for everything that the test waits for.
const PATIENCE: Duration = Duration::from_secs(120);
/// Interval between reads of another process's log.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// The server of the run. It ends with this process.
static SERVER: LazyLock<PostgresServer> =
    LazyLock::new(|| PostgresServer::start().unwrap_or_else(|error| panic!("{error}")));

/// The child process: a node until it is killed. Without a parent, it does nothing.
#[test]
fn child() {
    let (Ok(url), Ok(node)) = (env::var(URL), env::var(NODE)) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let infrastructure = Infrastructure::new(open_store(&url).await.unwrap());
        let options = ClusterOptions::new()
            .time_to_live(TIME_TO_LIVE)
            .look_interval(Duration::from_millis(50))
            .name_wait_max(PATIENCE);
        let system = system(Electorate::of(PARTICIPANTS).unwrap()).unwrap();
        let joined = Cluster::join(&system, &infrastructure, &node, options);
        let _node = joined.await.unwrap();
        std::future::pending::<()>().await;
    });
}

/// Killed when dropped, however the test ends.
struct Process(Child);

impl Process {
    fn start(url: &str, node: usize) -> Self {
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "cluster::child", "--test-threads=1"])
            .env(URL, url)
            .env(NODE, format!("node-{node}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }

    fn kill(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }

    /// Sends a signal with the shell's `kill`, which exists on every machine that runs this test.
    fn signal(&self, signal: &str) {
        let command = format!("kill -{signal} {}", self.0.id());
        let status = Command::new("sh").args(["-c", &command]).status().unwrap();
        assert!(status.success(), "{command}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Retries until the store accepts it.
async fn until_taken(what: &str, attempt: impl AsyncFn() -> bool) {
    let taken = async {
        let mut looks = interval(LOOK_INTERVAL);
        while !attempt().await {
            looks.tick().await;
        }
    };
    let taken = timeout(PATIENCE, taken).await;
    taken.unwrap_or_else(|_| panic!("timed out: {what}"));
}

/// Makes each participant propose a value for each key of the round, and submits requests to it.
async fn act(open: &OpenSystem, electorate: Electorate, round: usize, rng: &mut Rng) {
    for name in electorate.names() {
        let app = open.application(&name).unwrap();
        for key in 0..KEYS {
            let key = format!("key-{round}-{key}");
            let text = format!("of {name}");
            until_taken("a proposal is made", async || {
                match propose(app, electorate, &key, &text).await {
                    Ok(()) | Err(ExecuteError::Refused(Refusal::Decided(_))) => true,
                    Err(ExecuteError::Refused(refusal)) => panic!("{refusal}"),
                    Err(ExecuteError::Retold(_)) => false,
                }
            })
            .await;
        }
        for request in 0..REQUESTS {
            let change = Change::set(format!("at-{request}"), format!("{name}/{round}"));
            let request = Request::new(request_id(round, &name, request), change);
            until_taken("a request is accepted", async || {
                submit(app, electorate, &request).await.is_ok()
            })
            .await;
        }
        sleep(Duration::from_millis(rng.u64(..PAUSE_MAX_MS))).await;
    }
}

fn request_id(round: usize, participant: &str, request: usize) -> String {
    format!("{round}/{participant}/{request}")
}

/// Waits until each participant knows the decisions and has executed all requests.
async fn agreed(open: &OpenSystem, electorate: Electorate) {
    for name in electorate.names() {
        let app = open.application(&name).unwrap();
        for round in 0..ROUNDS {
            for key in 0..KEYS {
                let key = format!("key-{round}-{key}");
                until_taken(&format!("{name} decides {key}"), async || {
                    decided(app, &key).await.unwrap().is_some()
                })
                .await;
            }
            for (from, request) in
                (0..PARTICIPANTS).flat_map(|it| (0..REQUESTS).map(move |of| (it, of)))
            {
                let id = request_id(round, &participant(from), request);
                until_taken(&format!("{name} executes {id}"), async || {
                    answer(app, &id).await.unwrap().is_some()
                })
                .await;
            }
        }
    }
}

async fn check_agreement(url: &str) {
    let mut rng = Rng::with_seed(crate::seed());
    let electorate = Electorate::of(PARTICIPANTS).unwrap();
    let infrastructure = Infrastructure::new(open_store(url).await.unwrap());
    let system = system(electorate).unwrap();
    let open = OpenSystem::open(&system, &infrastructure, Opening::Write);
    let open = open.await.unwrap();
    let mut nodes: Vec<_> = (0..NODES).map(|node| Process::start(url, node)).collect();
    let begun = Instant::now();
    let (mut kills, mut sleeps) = (0, 0);
    for round in 0..ROUNDS {
        act(&open, electorate, round, &mut rng).await;
        let chosen = rng.usize(..NODES);
        if rng.u8(..4) == 0 {
            sleeps += 1;
            nodes[chosen].signal("STOP");
            sleep(SLEEP).await;
            nodes[chosen].signal("CONT");
        } else {
            kills += 1;
            nodes[chosen].kill();
            nodes[chosen] = Process::start(url, chosen);
        }
    }
    agreed(&open, electorate).await;
    eprintln!(
        "{kills} kills, {sleeps} sleeps, agreed after {:?}",
        begun.elapsed()
    );
    drop(nodes);
    let history = History::read(open.applications()).await.unwrap();
    let violations = history.violations(electorate);
    assert!(violations.is_empty(), "{violations:?}");
    assert_eq!(difference(&open).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_processes_agree_on_postgres() {
    check_agreement(&SERVER.url("postgres")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_processes_agree_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("paxos.db");
    check_agreement(&format!("sqlite:{}", path.display())).await;
}
