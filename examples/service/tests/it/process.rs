//! Tests of the program: its command line, its shutdown on a signal, and restarts.

use std::path::Path;
use std::process::{Output, Stdio};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::client::Client;
use crate::patience::{in_time, until};
use crate::running::Running;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ticket-office");

async fn output(arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    let output = command.args(arguments).kill_on_drop(true).output();
    in_time("the program ends", output).await.unwrap()
}

#[tokio::test]
async fn errors_in_the_command_line_say_what_to_do() {
    let check = async |arguments: &[&str], code: i32, expected: &str| {
        let output = output(arguments).await;
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(expected), "{text}");
    };
    check(&["--store", "office.db"], 1, "write sqlite:office.db").await;
    check(&["--requests-max", "0"], 2, "must be at least 1").await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let text = "choose another address with --listen";
    check(&["--listen", &address], 1, text).await;
}

/// Goal: running requests are finished when the service stops, and no new ones are accepted.
/// Method: a request waits for the effects of another while the service is stopping.
#[tokio::test]
async fn running_requests_are_finished_on_shutdown() {
    let service = Running::on_memory("at-work").await;
    let client = service.client;
    let first = client.ask("first", "hamlet", 1).await.expect(201);
    let (location, token) = (first.header("location"), first.token());
    let declined = client.get_after(location, &token).await.expect(200);
    assert_eq!(declined.body["status"], "declined");

    // After the first request and its response follow those of the second.
    let position: u64 = token.strip_prefix("bookings:").unwrap().parse().unwrap();
    let token = format!("bookings:{}", position + 3);
    let waiting = async move { client.get_after("/shows/hamlet/bookings", &token).await };
    let waiting = tokio::spawn(waiting);
    until("it is at work", async || {
        client.get("/status").await.body["requests"] == 1
    })
    .await;
    client.ask("second", "hamlet", 1).await.expect(201);
    let stopping = service.begin_to_stop();
    waiting.await.unwrap().expect(200);
    let report = in_time("it stops", stopping).await.unwrap();
    assert!(report.is_clean(), "{report:?}");
    let refused = client
        .try_send(hyper::Method::GET, "/health/live", &[], "")
        .await;
    assert!(refused.is_err());
}

#[cfg(unix)]
struct Process {
    child: Child,
    client: Client,
}

#[cfg(unix)]
impl Process {
    async fn start(path: &Path) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(["--listen", "127.0.0.1:0", "--store"])
            .arg(format!("sqlite:{}", path.display()))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = in_time("it listens", lines.next_line()).await.unwrap();
        let line = line.unwrap();
        let address = line.strip_prefix("listening on http://").unwrap();
        let address = address.parse().unwrap();
        let client = Client { address };
        Self { child, client }
    }

    async fn kill(mut self) {
        in_time("it is killed", self.child.kill()).await.unwrap();
    }

    async fn terminate(mut self) {
        let id = self.child.id().unwrap().to_string();
        let killed = Command::new("kill").args(["-TERM", &id]).status().await;
        assert!(killed.unwrap().success());
        let ended = in_time("it ends", self.child.wait()).await.unwrap();
        assert!(ended.success(), "{ended}");
    }
}

/// Goal: commands accepted before the end are processed once, before it or after the next start.
/// Method: the first and the last run end with SIGTERM, one in between with SIGKILL.
#[cfg(unix)]
#[tokio::test]
async fn a_restart_on_the_same_file_resumes_after_a_stop_or_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("office.db");
    let mut booked = Vec::new();
    for round in 0..3 {
        let process = Process::start(&path).await;
        let client = process.client;
        let announced = client.announce("hamlet", 1_000).await;
        assert_eq!(announced.status, if round == 0 { 201 } else { 200 });
        for guest in 0..10 {
            let key = format!("key-{round}-{guest}");
            booked.push(client.ask(&key, "hamlet", 1).await.expect(201));
        }
        // No request waits for its effects.
        match round {
            1 => process.kill().await,
            _ => process.terminate().await,
        }
    }
    let process = Process::start(&path).await;
    let client = process.client;
    client.ask("key-0-0", "hamlet", 1).await.expect(200);
    for booked in &booked {
        let tickets = format!("{}/tickets", booked.header("location"));
        let tickets = client.get_after(&tickets, &booked.token()).await;
        assert_eq!(tickets.expect(200).body["issued"], 1);
    }
    let show = client.get("/shows/hamlet").await.expect(200);
    assert_eq!(show.body["free"], 1_000 - booked.len());
    process.terminate().await;
}

/// Goal: two processes on one file share the work, and each booking gets its tickets once, even
/// when one of them is killed.
#[cfg(unix)]
#[tokio::test]
async fn two_processes_on_one_file_process_exactly_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("office.db");
    let (left, right) = (Process::start(&path).await, Process::start(&path).await);
    let (one, other) = (left.client, right.client);
    one.announce("hamlet", 1_000).await.expect(201);
    let mut booked = Vec::new();
    for guest in 0..20 {
        let key = format!("key-{guest}");
        let (first, second) =
            tokio::join!(one.ask(&key, "hamlet", 1), other.ask(&key, "hamlet", 1));
        assert_eq!(first.body["booking"], second.body["booking"]);
        assert_eq!(first.token(), second.token());
        booked.push(first);
    }
    left.kill().await;
    for booked in &booked {
        let tickets = format!("{}/tickets", booked.header("location"));
        let tickets = other.get_after(&tickets, &booked.token()).await;
        assert_eq!(tickets.expect(200).body["issued"], 1);
    }
    right.terminate().await;
}
