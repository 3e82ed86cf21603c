//! The program itself: its command line, its stop by a signal, and going on where it was.

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
async fn a_wrong_command_line_says_what_to_do() {
    let check = async |arguments: &[&str], code: i32, expected: &str| {
        let output = output(arguments).await;
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(expected), "{text}");
    };
    check(&["--store", "office.db"], 1, "write sqlite:office.db").await;
    check(&["--requests-max", "0"], 2, "say 1 at least").await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let text = "choose another address with --listen";
    check(&["--listen", &address], 1, text).await;
}

/// Goal: requests at work are finished when the service stops, and no new ones are taken. Method: a
/// request waits for what another causes while the service stops already.
#[tokio::test]
async fn requests_at_work_are_finished_when_it_stops() {
    let service = Running::on_memory("at-work").await;
    let client = service.client;
    let first = client.ask("first", "hamlet", 1).await.expect(201);
    let (location, token) = (first.header("location"), first.token());
    let declined = client.get_after(location, &token).await.expect(200);
    assert_eq!(declined.body["status"], "declined");

    // Behind the first request and its answer are those of the second.
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
        let address = line.strip_prefix("listening at http://").unwrap();
        let address = address.parse().unwrap();
        let client = Client { address };
        Self { child, client }
    }

    async fn terminate(mut self) {
        let id = self.child.id().unwrap().to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status().await;
        assert!(told.unwrap().success());
        let ended = in_time("it ends", self.child.wait()).await.unwrap();
        assert!(ended.success(), "{ended}");
    }
}

/// Goal: what was taken before the stop is answered, once, by then or after the next start.
#[cfg(unix)]
#[tokio::test]
async fn after_sigterm_a_restart_on_the_same_file_goes_on() {
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
        // Nobody waits for what that causes.
        process.terminate().await;
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
