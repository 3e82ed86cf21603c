//! Several processes on one file, killed at random: every acknowledged event is present, none
//! twice, and positions have no gaps.

use std::collections::{HashMap, HashSet};
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use retold_core::recording::{
    Append, EventId, LogId, LogRead, NewEvent, PageEnd, Position, Recorder, Store, verify_log,
};
use uuid::Uuid;

use crate::place::{Place, log};

/// Passes the path of the file to a child; absent in the parent.
const PATH: &str = "RETOLD_SQLITE_CHILD_OF";
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
            .map(|_| tokio::spawn(append_for_ever(recorder.clone())))
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

async fn append_for_ever(recorder: Arc<dyn Recorder>) {
    loop {
        let ids: Vec<_> = (0..fastrand::usize(1..4))
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
        recorder
            .append(Append::of(ids.iter().map(event)))
            .await
            .unwrap();
        let ids: Vec<_> = ids.iter().map(EventId::to_string).collect();
        // One write of one line: complete or not at all.
        let line = format!("acknowledged {}\n", ids.join(" "));
        std::io::stdout().write_all(line.as_bytes()).unwrap();
        std::io::stdout().flush().unwrap();
    }
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

/// Reads from a child, kills it after this many lines, and collects what it acknowledged until its
/// end.
fn listen_and_kill(mut child: Child, lines_max: usize) -> Vec<EventId> {
    let mut acknowledged = Vec::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for number in 0.. {
        if number == lines_max {
            // At any moment: the child does not wait for its output to be read.
            child.kill().unwrap();
        }
        let Some(Ok(line)) = lines.next() else { break };
        // The test harness prints on the same line before the first outcome.
        if let Some((_, ids)) = line.split_once("acknowledged ") {
            acknowledged.extend(ids.split(' ').filter_map(|id| id.parse::<EventId>().ok()));
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
            let mut acknowledged = Vec::new();
            for _ in 0..KILLS / CHILDREN {
                let has_enough = acknowledged.len() > ENOUGH / CHILDREN;
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
    let acknowledged: Vec<_> = killers
        .into_iter()
        .flat_map(|it| it.join().unwrap())
        .collect();
    assert!(
        acknowledged.len() > ENOUGH,
        "the processes acknowledged too little: {}",
        acknowledged.len()
    );
    check(&place, &acknowledged);
}

fn check(place: &Place, acknowledged: &[EventId]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = place.open();
        let recorder = store.open("dogs", LogId::new(Uuid::nil())).await.unwrap();
        let mut there = HashMap::new();
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
            }
            if page.end == PageEnd::Complete {
                break;
            }
        }
        let lost: HashSet<_> = acknowledged
            .iter()
            .filter(|id| !there.contains_key(id))
            .collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        let report = verify_log(&*recorder, &mut |_| {}).await.unwrap();
        assert_eq!(report.findings, []);
        assert_eq!(store.verify().await.unwrap(), []);
    });
}
