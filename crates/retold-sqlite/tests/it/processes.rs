//! Several processes on one file, killed at random: every acknowledged event is present, none
//! twice, and positions have no gaps. They also erase events and purge the file: an event is erased
//! exactly if the record of its erasure is present.

use std::collections::{HashMap, HashSet};
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use retold_core::recording::{
    Amendment, Append, ERASED_TOPIC, ErasedParts, EventId, LogId, LogRead, NewEvent, PageEnd,
    Position, Recorder, Store, verify_log,
};
use retold_sqlite::SqliteStore;
use uuid::Uuid;

use crate::place::{Place, log};
use crate::purging::whole;

/// Passes the path of the file to a child; absent in the parent.
const PATH: &str = "RETOLD_SQLITE_CHILD_OF";
/// Begins the lines of a child about events that it recorded and erased.
const RECORDED: &str = "acknowledged ";
const ERASED: &str = "acknowledged as erased ";
/// Passes the path of the file to a child that reads; absent in the parent.
const READ: &str = "RETOLD_SQLITE_READER_OF";
/// A stream that ends the child that reads.
const LAST_STREAM: &str = "last";
/// Processes that are killed, one after another.
const KILLS: usize = 200;
/// Processes that run at a time.
const CHILDREN: usize = 2;
/// Acknowledged events, of all processes together, that make a check worthwhile.
const ENOUGH: usize = 100;
/// Beyond this no further process is started, once there was enough to check.
const TIME_MAX: Duration = Duration::from_secs(40);

/// The child: appends forever, in several tasks, and prints after each outcome what was
/// acknowledged. It is a test so that the test binary can be the child; without a parent it does
/// nothing.
#[test]
fn child() {
    let Ok(path) = env::var(PATH) else { return };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).build().unwrap().block_on(async {
        let store = Place::at(path.into()).open();
        let recorder = log(&store, "dogs").await;
        let tasks: Vec<_> = (0..4)
            .map(|_| tokio::spawn(append_for_ever(store.clone(), recorder.clone())))
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

async fn append_for_ever(store: SqliteStore, recorder: Arc<dyn Recorder>) {
    // The events that it recorded and has not erased, each with its stream.
    let mut own: Vec<(EventId, String)> = Vec::new();
    loop {
        if own.len() > 3 && fastrand::u8(0..3) == 0 {
            let (erased, stream) = own.swap_remove(fastrand::usize(..own.len()));
            erase(&*recorder, erased, stream).await;
        }
        if fastrand::u8(0..60) == 0 {
            store.purge().await.unwrap();
        }
        let new: Vec<_> = (0..fastrand::usize(1..4))
            .map(|_| {
                let stream = format!("dog/{}", fastrand::u8(0..20));
                (EventId::new(Uuid::now_v7()), stream)
            })
            .collect();
        let event = |(id, stream): &(EventId, String)| {
            NewEvent::new(
                *id,
                "Dog.Registered",
                format!("{:?}", "x".repeat(fastrand::usize(0..3000))),
            )
            .stream(stream.clone())
            .tag(format!("breed:{}", fastrand::u8(0..3)))
        };
        recorder
            .append(Append::of(new.iter().map(event)))
            .await
            .unwrap();
        let ids: Vec<_> = new.iter().map(|(id, _)| id.to_string()).collect();
        say(&format!("{RECORDED}{}", ids.join(" ")));
        own.extend(new);
    }
}

/// Erases an event; the payload of the record is its id.
async fn erase(recorder: &dyn Recorder, erased: EventId, stream: String) {
    let id = EventId::new(Uuid::now_v7());
    let record = NewEvent::new(id, ERASED_TOPIC, format!("\"{erased}\"")).stream(stream.clone());
    let append = Append::of([record]).amendment(Amendment::EraseEvent {
        event: erased,
        stream: Some(stream.into()),
        parts: ErasedParts::ALL,
    });
    recorder.append(append).await.unwrap();
    say(&format!("{ERASED}{erased}"));
}

/// Prints one line in one write: complete or not at all.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

fn start_child(place: &Place) -> Child {
    Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "processes::child",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(PATH, place.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// What children acknowledged.
#[derive(Default)]
struct Acknowledged {
    recorded: Vec<EventId>,
    erased: Vec<EventId>,
}

impl Acknowledged {
    fn extend(&mut self, other: Self) {
        self.recorded.extend(other.recorded);
        self.erased.extend(other.erased);
    }
}

/// Reads from a child, kills it after this many lines, and collects what it acknowledged until its
/// end.
fn listen_and_kill(mut child: Child, lines_max: usize) -> Acknowledged {
    let mut acknowledged = Acknowledged::default();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for number in 0.. {
        if number == lines_max {
            // At any moment: the child does not wait for its output to be read.
            child.kill().unwrap();
        }
        let Some(Ok(line)) = lines.next() else { break };
        // The test harness prints on the same line before the first outcome.
        if let Some((_, id)) = line.split_once(ERASED) {
            acknowledged.erased.extend(id.parse::<EventId>());
        } else if let Some((_, ids)) = line.split_once(RECORDED) {
            let ids = ids.split(' ').filter_map(|id| id.parse::<EventId>().ok());
            acknowledged.recorded.extend(ids);
        }
    }
    // It may have ended by itself, if it waited too long for the others.
    drop(child.kill());
    child.wait().unwrap();
    acknowledged
}

#[test]
fn killed_processes_lose_nothing_acknowledged() {
    let place = Place::new();
    let began = Instant::now();
    let killers = (0..CHILDREN).map(|_| {
        let path = Place::at(place.path());
        thread::spawn(move || {
            let mut acknowledged = Acknowledged::default();
            for _ in 0..KILLS / CHILDREN {
                let has_enough = acknowledged.recorded.len() > ENOUGH / CHILDREN;
                if began.elapsed() > TIME_MAX && has_enough {
                    break;
                }
                let child = start_child(&path);
                acknowledged.extend(listen_and_kill(child, fastrand::usize(0..40)));
            }
            acknowledged
        })
    });
    let killers: Vec<_> = killers.collect();
    let mut acknowledged = Acknowledged::default();
    for killer in killers {
        acknowledged.extend(killer.join().unwrap());
    }
    assert!(
        acknowledged.recorded.len() > ENOUGH && !acknowledged.erased.is_empty(),
        "the processes acknowledged too little: {}, {}",
        acknowledged.recorded.len(),
        acknowledged.erased.len()
    );
    check(&place, &acknowledged);
}

fn check(place: &Place, acknowledged: &Acknowledged) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = place.open();
        let recorder = store.open("dogs", LogId::new(Uuid::nil())).await.unwrap();
        let mut there = HashMap::new();
        let (mut erased, mut records) = (HashSet::new(), HashSet::new());
        let mut after = None;
        loop {
            let page = recorder
                .read_log(LogRead::new().after(after))
                .await
                .unwrap();
            for event in &page.events {
                let next = after.map_or(Position::FIRST, Position::next);
                assert_eq!(event.position(), next, "positions have no gaps");
                after = Some(next);
                let before = there.insert(event.id(), event.position());
                assert_eq!(before, None, "{} is there twice", event.id());
                if event.is_erased() {
                    assert_eq!(event.tags().count(), 0, "{}", event.id());
                    erased.insert(event.id());
                }
                if event.topic() == ERASED_TOPIC {
                    let payload = String::from_utf8_lossy(event.payload().unwrap());
                    records.insert(payload.trim_matches('"').parse::<EventId>().unwrap());
                }
            }
            if page.end == PageEnd::Complete {
                break;
            }
        }
        assert_eq!(erased, records, "erasures and their records");
        let not_erased = acknowledged.erased.iter().find(|id| !erased.contains(id));
        assert_eq!(not_erased, None, "acknowledged as erased");
        let lost: HashSet<_> = acknowledged
            .recorded
            .iter()
            .filter(|id| !there.contains_key(id))
            .collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        let report = verify_log(&*recorder, &mut |_| {}).await.unwrap();
        assert_eq!(report.findings, []);
        assert_eq!(store.verify().await.unwrap(), []);
    });
}

/// The child: reads all the time, until there is an event of the last stream.
#[tokio::test]
async fn child_that_reads() {
    let Ok(path) = env::var(READ) else { return };
    let store = SqliteStore::open_read_only(path).unwrap();
    let recorder = store.open_read_only("dogs").await.unwrap();
    for number in 0.. {
        let events = whole(&*recorder).await;
        if number == 0 {
            say("reads");
        }
        if events
            .last()
            .is_some_and(|it| it.stream() == Some(LAST_STREAM))
        {
            break;
        }
    }
}

/// Goal: a process that has the file mapped into memory survives purges that make the file shorter.
/// Method: another process reads the log all the time, while it grows and shrinks.
#[tokio::test]
async fn readers_survive_purges() {
    const LARGE: usize = 40_000;
    let place = Place::new();
    let store = place.open();
    let recorder = log(&store, "dogs").await;
    let stored = |stream: &str, size: usize| {
        let payload = format!("{:?}", "x".repeat(size));
        NewEvent::new(EventId::new(Uuid::now_v7()), "Dog.Registered", payload).stream(stream)
    };
    recorder
        .append(Append::of([stored("dog/0", LARGE)]))
        .await
        .unwrap();
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "processes::child_that_reads", "--nocapture"])
        .env(READ, place.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with("reads")));
    for round in 0..20 {
        let stream = format!("dog/{round}");
        let events: Vec<_> = (0..30).map(|_| stored(&stream, LARGE)).collect();
        recorder.append(Append::of(events.clone())).await.unwrap();
        let record = NewEvent::new(EventId::new(Uuid::now_v7()), ERASED_TOPIC, "{}");
        let mut append = Append::of([record.stream(stream.clone())]);
        for event in events {
            append = append.amendment(Amendment::EraseEvent {
                event: event.id,
                stream: Some(stream.as_str().into()),
                parts: ErasedParts::ALL,
            });
        }
        recorder.append(append).await.unwrap();
        store.purge().await.unwrap();
        let size = std::fs::metadata(place.path()).unwrap().len();
        assert!(size < 10 * LARGE as u64, "{size}");
    }
    recorder
        .append(Append::of([stored(LAST_STREAM, 1)]))
        .await
        .unwrap();
    let ended = child.wait().unwrap();
    assert!(ended.success(), "{ended:?}");
}
