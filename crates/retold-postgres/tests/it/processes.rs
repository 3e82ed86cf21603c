//! Several processes on one log, killed at random, while readers only read forward and transactions
//! of others hold the log's row: every acknowledged event is recorded once, and each reader saw all
//! committed events, in one order.

use std::collections::HashMap;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use retold_core::recording::{
    Append, Condition, EventId, ExpectedVersion, LogId, LogRead, NewEvent, PageEnd, Position,
    Query, RecordError, Recorder, Store, verify_log,
};
use retold_postgres::PostgresStore;
use uuid::Uuid;

use crate::database::{Database, block_on};

/// Passes the database to a child; absent in the parent.
const URL: &str = "RETOLD_POSTGRES_CHILD_OF";
/// Concurrent writing processes.
const CHILDREN: usize = 3;
/// Processes that are killed, one after the other.
const KILLS: usize = 24;
/// Readers that only read forward, each with a store of its own.
const READERS: usize = 2;
/// After this time no further process is started.
const TIME_MAX: Duration = Duration::from_secs(40);

async fn open(url: &str) -> Arc<dyn Recorder> {
    let store = PostgresStore::open(url).await.unwrap();
    let birth = LogId::new(Uuid::now_v7());
    store.open("dogs", birth).await.unwrap()
}

/// The child: appends forever, by several tasks, and prints what was acknowledged after each
/// result. It is a test of its own so that the test binary can be the child; without a parent it
/// does nothing.
#[test]
fn child() {
    let Ok(url) = env::var(URL) else { return };
    block_on(async {
        let recorder = open(&url).await;
        let tasks: Vec<_> = (0..4)
            .map(|_| tokio::spawn(append_for_ever(recorder.clone())))
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

async fn append_for_ever(recorder: Arc<dyn Recorder>) {
    loop {
        let most = if fastrand::u8(0..10) == 0 { 200 } else { 4 };
        let ids: Vec<_> = (0..fastrand::usize(1..most))
            .map(|_| EventId::new(Uuid::now_v7()))
            .collect();
        let event = |id: &EventId| {
            NewEvent::new(
                *id,
                "Dog.Registered",
                format!("{:?}", "x".repeat(fastrand::usize(0..3000))),
            )
            .stream(format!("dog/{}", fastrand::u8(0..20)))
            .tag(format!("breed:{}", fastrand::u8(0..3)))
        };
        let mut append = Append::of(ids.iter().map(event));
        // Some of these fail, so that some reserved positions are not used.
        match fastrand::u8(0..8) {
            0 => {
                let none = Condition::stream_at("dog/1", ExpectedVersion::None);
                append = append.condition(none);
            }
            1 => {
                let after = recorder.head().await.unwrap().position();
                let none = Condition::none_match_after(Query::tag("breed:1"), after);
                append = append.condition(none);
            }
            _ => {}
        }
        match recorder.append(append).await {
            Ok(_) => {}
            Err(RecordError::Conflict(_)) => continue,
            Err(error) => panic!("{error}"),
        }
        let ids: Vec<_> = ids.iter().map(EventId::to_string).collect();
        // One write of one line: complete, or not at all.
        let line = format!("acknowledged {}\n", ids.join(" "));
        std::io::stdout().write_all(line.as_bytes()).unwrap();
        std::io::stdout().flush().unwrap();
    }
}

fn start_child(url: &str) -> Child {
    let arguments = [
        "--exact",
        "processes::child",
        "--nocapture",
        "--test-threads=1",
    ];
    Command::new(env::current_exe().unwrap())
        .args(arguments)
        .env(URL, url)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Reads a child's output, kills it after a number of lines, and collects everything that it
/// acknowledged.
fn listen_and_kill(mut child: Child, lines_max: usize) -> Vec<EventId> {
    let mut acknowledged = Vec::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for number in 0.. {
        if number == lines_max {
            // At any moment: the child does not wait for its output to be read.
            child.kill().unwrap();
        }
        let Some(Ok(line)) = lines.next() else { break };
        // The test harness prints on the same line before the first result.
        if let Some((_, ids)) = line.split_once("acknowledged ") {
            acknowledged.extend(ids.split(' ').filter_map(|id| id.parse::<EventId>().ok()));
        }
    }
    drop(child.kill());
    child.wait().unwrap();
    acknowledged
}

/// Reads forward until it is stopped and there is nothing more.
async fn tail(url: String, stop: Arc<AtomicBool>) -> Vec<(Position, EventId)> {
    let recorder = open(&url).await;
    let (mut seen, mut after, mut known) = (Vec::new(), None, 0);
    loop {
        let is_last = stop.load(Ordering::SeqCst);
        loop {
            let limit = fastrand::usize(1..100);
            let read = LogRead::new().after(after).limit(limit);
            let page = recorder.read_log(read).await.unwrap();
            seen.extend(page.events.iter().map(|it| (it.position(), it.id())));
            after = page.read_to_position();
            if page.end == PageEnd::Complete {
                break;
            }
        }
        if is_last {
            return seen;
        }
        let news = recorder.changed_since(known);
        // If writing has ended, no change arrives: after this time, the end is checked.
        if let Ok(count) = tokio::time::timeout(Duration::from_secs(1), news).await {
            known = count.unwrap();
        }
    }
}

/// Locks the log's row again and again, like a transaction that is then rolled back.
async fn disturb(database: &Database, stop: &AtomicBool) {
    let mut client = database.client().await;
    while !stop.load(Ordering::SeqCst) {
        let transaction = client.transaction().await.unwrap();
        let lock = "UPDATE retold.log SET append_count = append_count + 1 WHERE name = 'dogs'";
        transaction.execute(lock, &[]).await.unwrap();
        transaction
            .execute("SELECT pg_sleep(0.01)", &[])
            .await
            .unwrap();
        transaction.rollback().await.unwrap();
        client.execute("SELECT pg_sleep(0.05)", &[]).await.unwrap();
    }
}

fn write_and_kill(url: &str, began: Instant) -> Vec<EventId> {
    let killers = (0..CHILDREN).map(|_| {
        let url = url.to_owned();
        thread::spawn(move || {
            let mut acknowledged = Vec::new();
            for _ in 0..KILLS / CHILDREN {
                if began.elapsed() > TIME_MAX {
                    break;
                }
                let child = start_child(&url);
                acknowledged.extend(listen_and_kill(child, fastrand::usize(0..60)));
            }
            acknowledged
        })
    });
    let killers: Vec<_> = killers.collect();
    let acknowledged = killers.into_iter().flat_map(|it| it.join().unwrap());
    acknowledged.collect()
}

#[test]
fn killed_processes_lose_nothing_and_readers_skip_nothing() {
    block_on(async {
        let database = Arc::new(Database::create().await);
        let url = database.url();
        let stop = Arc::new(AtomicBool::new(false));
        let log = open(&url).await;
        let readers: Vec<_> = (0..READERS)
            .map(|_| tokio::spawn(tail(url.clone(), stop.clone())))
            .collect();
        let disturber = tokio::spawn({
            let (database, stop) = (database.clone(), stop.clone());
            async move { disturb(&database, &stop).await }
        });
        let writing = tokio::task::spawn_blocking(move || write_and_kill(&url, Instant::now()));
        let acknowledged = writing.await.unwrap();
        stop.store(true, Ordering::SeqCst);
        disturber.await.unwrap();
        assert!(acknowledged.len() > 100, "{} only", acknowledged.len());

        let report = verify_log(&*log, &mut |_| {}).await.unwrap();
        assert_eq!(report.findings, []);
        let mut expected = None;
        for reader in readers {
            let seen = reader.await.unwrap();
            let positions = (1..).map_while(Position::new);
            let is_in_order = seen.iter().zip(positions).all(|((at, _), it)| *at == it);
            assert!(is_in_order, "a reader skipped or saw twice");
            // A killed writer's last append may still be recorded after one reader's last read.
            let before: &mut Vec<_> = expected.get_or_insert_with(|| seen.clone());
            let both = before.len().min(seen.len());
            assert_eq!(before[..both], seen[..both], "readers agree");
        }
        let mut there = HashMap::new();
        for (at, id) in expected.unwrap() {
            assert!(there.insert(id, at).is_none(), "{id} is recorded twice");
        }
        for id in &acknowledged {
            assert!(
                there.contains_key(id),
                "{id} was acknowledged and is missing"
            );
        }
    });
}
