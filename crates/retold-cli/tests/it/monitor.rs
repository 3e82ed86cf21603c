//! The HTTP server of a node of the demonstration, with a plain TCP client.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::command::retold;

/// Maximum wait for a condition.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process that is killed when this is dropped, even if the test fails.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Returns the status and body of a response; none while nothing listens.
fn ask(address: SocketAddr, request: &str) -> Option<(u16, String)> {
    let mut client = TcpStream::connect(address).ok()?;
    let head = format!("{request} HTTP/1.1\r\nhost: {address}\r\n\r\n");
    client.write_all(head.as_bytes()).ok()?;
    let mut response = String::new();
    client.read_to_string(&mut response).ok()?;
    let (head, body) = response.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "did not happen in time: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_node_serves_probes_and_scrapers() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("flights.db").display());
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let mut node = retold(&["demo-node", "--name", "one", "--flights-max", "100"]);
    node.args(["--metrics", &address.to_string()])
        .env("RETOLD_DEMO_URL", &url)
        .stdin(Stdio::piped());
    let mut node = Node(node.spawn().unwrap());
    let mut input = node.0.stdin.take().unwrap();
    let mut lines = BufReader::new(node.0.stdout.take().unwrap()).lines();

    until("it is ready", || {
        ask(address, "GET /ready").is_some_and(|(status, _)| status == 200)
    });
    assert_eq!(ask(address, "GET /live"), Some((200, "live\n".into())));
    assert_eq!(ask(address, "HEAD /live?full"), Some((200, String::new())));
    assert_eq!(ask(address, "GET /").unwrap().0, 404);
    assert_eq!(ask(address, "POST /live").unwrap().0, 405);
    assert_eq!(ask(address, "nonsense").unwrap().0, 405);

    writeln!(input, "0").unwrap();
    let done = lines.by_ref().map(Result::unwrap).find(|it| it == "done 0");
    assert!(done.is_some());
    let metrics = || ask(address, "GET /metrics").unwrap().1;
    until("its followers have processed events", || {
        let metrics = metrics();
        let mut counts = metrics
            .lines()
            .filter(|it| it.starts_with("retold_follower_processed{"));
        counts.any(|it| it.contains("follower=\"movements\"") && !it.ends_with(" 0"))
    });
    let metrics = metrics();
    for named in [
        "# HELP retold_appends Appends that were recorded.",
        "# TYPE retold_follower_lag_events gauge",
        "retold_append_seconds",
        "retold_cluster_units_taken 5",
    ] {
        assert!(metrics.contains(named), "{named:?} is not in\n{metrics}");
    }

    drop(input);
    let view = lines
        .map(Result::unwrap)
        .find(|it| it.starts_with("view OnTime"));
    assert!(view.is_some());
    assert!(node.0.wait().unwrap().success());
    assert_eq!(ask(address, "GET /live"), None);
}
