//! Deleting a stream and purging the store, in processes that are killed at any step: the deletion
//! is made as a whole or not at all, and when it is repeated, nothing is left.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use retold_core::recording::{
    Amendment, Append, DELETED_TOPIC, ErasedParts, Recorder, Store, StoredEvent, StoredSnapshot,
    Version, verify_log,
};

use crate::place::{Place, event, log, record};
use crate::processes::say;
use crate::purging::{SECRET, find_secret, secret_of, whole};

/// Passes the path of the file to a child; absent in the parent.
const PATH: &str = "RETOLD_SQLITE_DELETER_OF";
const STREAM: &str = "dog/1";
/// Events of the stream that is deleted, and as many of another.
const EVENTS: u64 = 30;
/// Processes that are killed.
const KILLS: u32 = 40;
const BEGINS: &str = "begins";

/// The child: deletes the stream and purges the store.
#[tokio::test]
async fn child_that_deletes() {
    let Ok(path) = env::var(PATH) else { return };
    let store = Place::at(path.into()).open();
    let dogs = log(&store, "dogs").await;
    say(BEGINS);
    let mut deleted = record(1_000, STREAM);
    deleted.topic = DELETED_TOPIC.into();
    let erase = Amendment::EraseStream {
        stream: STREAM.into(),
        after: None,
        until: Version::new(EVENTS).unwrap(),
        parts: ErasedParts::ALL,
    };
    // Repeated, if a process before recorded it.
    let append = Append::of([deleted]).amendment(erase);
    dogs.append(append).await.unwrap();
    assert!(store.purge().await.unwrap().is_complete());
}

/// Starts a child that is about to delete the stream; it fails once its output is dropped.
fn start_child(place: &Place) -> (Child, impl Sized) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "deleting::child_that_deletes", "--nocapture"])
        .env(PATH, place.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with(BEGINS)));
    (child, lines)
}

async fn fill(dogs: &dyn Recorder) {
    for number in 1..=EVENTS {
        let size = usize::try_from(number).unwrap() * 300;
        let mut secret = event(number.into())
            .stream(STREAM)
            .tag(format!("{SECRET}{number}"));
        secret.payload = Some(secret_of(size, number.into()).into());
        let mut public = event((100 + number).into()).stream("dog/2");
        public.payload = Some(format!("{:?}", "public".repeat(size / 6)).into());
        dogs.append(Append::of([secret, public])).await.unwrap();
    }
    let version = Version::new(EVENTS).unwrap();
    let snapshot = StoredSnapshot::new(STREAM, version, "Dog", secret_of(9_000, 1));
    dogs.put_snapshot(snapshot).await.unwrap();
}

/// Checks a store; returns whether the stream was deleted, and the other events.
async fn check(place: &Place) -> (bool, Vec<StoredEvent>) {
    let store = place.open();
    let dogs = log(&store, "dogs").await;
    let events = whole(&*dogs).await;
    let is_deleted = events.last().unwrap().topic() == DELETED_TOPIC;
    let (deleted, others) = events
        .into_iter()
        .partition::<Vec<_>, _>(|it| it.stream() == Some(STREAM));
    let erased = deleted.iter().filter(|it| it.is_erased()).count() as u64;
    assert_eq!(erased, if is_deleted { EVENTS } else { 0 });
    let snapshot = dogs.snapshot(STREAM, None).await.unwrap();
    assert_eq!(snapshot.is_none(), is_deleted);
    let report = verify_log(&*dogs, &mut |_| {}).await.unwrap();
    assert_eq!(report.findings, []);
    assert_eq!(store.verify().await.unwrap(), []);
    (is_deleted, others)
}

fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test]
async fn a_deletion_that_was_killed_at_any_step_is_repeated() {
    let filled = Place::new();
    fill(&*log(&filled.open(), "dogs").await).await;
    let (_, others) = check(&filled).await;
    let mut lasts = Duration::ZERO;
    let mut left = [0, 0];
    for kill in 0..KILLS {
        let place = Place::new();
        copy_all(
            filled.path().parent().unwrap(),
            place.path().parent().unwrap(),
        );
        let (mut child, _output) = start_child(&place);
        let began = Instant::now();
        if kill == 0 {
            assert!(child.wait().unwrap().success());
            lasts = began.elapsed();
        }
        // At a later moment each time.
        while began.elapsed() < lasts * kill / KILLS {
            thread::yield_now();
        }
        drop(child.kill());
        child.wait().unwrap();
        let (is_deleted, there) = check(&place).await;
        assert!(there == others);
        left[usize::from(is_deleted)] += 1;

        let (mut child, _output) = start_child(&place);
        assert!(child.wait().unwrap().success());
        let (is_deleted, there) = check(&place).await;
        assert!(is_deleted && there == others);
        assert_eq!(find_secret(&place.path()), Vec::<String>::new());
    }
    println!("killed before and after the deletion: {left:?}");
}
