//! Purging: what was erased or replaced is in no byte of a store's files afterwards.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use retold_core::projection::{Projection, ProjectionPipeline};
use retold_core::recording::limits::SNAPSHOTS_PER_STREAM_MAX;
use retold_core::recording::{
    Amendment, Append, Appended, ErasedParts, EventId, LogRead, NewEvent, PageEnd, RecordError,
    Recorder, Replacement, Store, StoredEvent, StoredSnapshot, Version, verify_log,
};
use retold_sqlite::{Sqlite, SqliteOptions, SqliteStore, SqliteTables, SqliteViews};
use rusqlite::Connection;
use uuid::Uuid;

use crate::place::{Place, event, log, record};
use crate::tricks::TrickAdded;

/// Begins every text that is erased or replaced in these tests.
pub(crate) const SECRET: &str = "sesame-open-";
/// Sizes of payloads: within a page, nearly a page, and in 3, 5 and 50 overflow pages.
const SIZES: [usize; 6] = [20, 700, 3_000, 9_000, 20_000, 200_000];
const STREAMS: u64 = 5;

/// A text of this size that has the secret many times.
pub(crate) fn secret_of(size: usize, number: u128) -> String {
    let text = format!("{SECRET}{number:08}-");
    let text = text.repeat(size / text.len() + 1);
    format!("{text:?}")
}

fn stream(number: u128) -> String {
    format!("dog/{}", number % u128::from(STREAMS))
}

fn secret_event(number: u128) -> NewEvent {
    let mut event = event(number)
        .stream(stream(number))
        .tag(format!("{SECRET}{}", number % 7))
        .tag(format!("{SECRET}{number}"))
        .tag("all")
        .metadata(format!("{SECRET}{number}"));
    let size = SIZES[usize::try_from(number).unwrap() % SIZES.len()];
    event.payload = Some(secret_of(size, number).into());
    event
}

fn public_event(number: u128) -> NewEvent {
    let size = usize::try_from(number * 97 % 3_000).unwrap();
    let mut event = event(number).stream(stream(number)).tag("public");
    event.payload = Some(format!("{:?}", "public".repeat(size / 6)).into());
    event
}

/// The places of the secret in the files of a store.
pub(crate) fn find_secret(path: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path.parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let first = SECRET.as_bytes()[0];
        let places = (0..bytes.len())
            .filter(|at| bytes[*at] == first && bytes[*at..].starts_with(SECRET.as_bytes()));
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        found.extend(places.map(|at| format!("{name} at {at}")));
    }
    found
}

pub(crate) async fn whole(recorder: &dyn Recorder) -> Vec<StoredEvent> {
    let (mut events, mut after) = (Vec::new(), None);
    loop {
        let page = recorder.read_log(LogRead::new().after(after)).await;
        let page = page.unwrap();
        after = page.events.last().map(StoredEvent::position).or(after);
        events.extend(page.events);
        if page.end == PageEnd::Complete {
            return events;
        }
    }
}

/// Fills the log `dogs` with events, tags, metadata and snapshots that have the secret, in turns
/// with a log that has not: its events come after those of `dogs` in the file, so pages are split
/// all the time, which leaves copies of rows behind.
async fn fill(store: &SqliteStore) {
    let (dogs, cats) = (log(store, "dogs").await, log(store, "cats").await);
    for number in 1..=180 {
        cats.append(Append::of([public_event(number)]))
            .await
            .unwrap();
        let secret = secret_event(number);
        dogs.append(Append::of([secret])).await.unwrap();
        if number % 3 == 0 {
            let version = u64::try_from(number.div_ceil(u128::from(STREAMS))).unwrap();
            let size = SIZES[usize::try_from(number / 3).unwrap() % SIZES.len()];
            let state = secret_of(size, number);
            let version = Version::new(version).unwrap();
            let snapshot = StoredSnapshot::new(stream(number), version, "Dog", state);
            dogs.put_snapshot(snapshot).await.unwrap();
        }
    }
}

/// Erases or replaces everything that has the secret.
async fn amend(dogs: &dyn Recorder) {
    let mut number = 1_000;
    for event in whole(dogs).await {
        number += 1;
        let stream = event.stream().unwrap();
        let mut append = Append::of([record(number, stream)]);
        append = match number % 3 {
            // It keeps its metadata until its stream is erased.
            0 => {
                let mut replacement = Replacement::of(&event, "[]").unwrap();
                replacement.tags.clear();
                append.amendment(Amendment::ReplaceEvent {
                    event: event.id(),
                    stream: Some(stream.into()),
                    replacement,
                })
            }
            _ => append.amendment(Amendment::EraseEvent {
                event: event.id(),
                stream: Some(stream.into()),
                parts: ErasedParts::ALL,
            }),
        };
        dogs.append(append).await.unwrap();
    }
    for stream in (0..STREAMS).map(|number| stream(number.into())) {
        number += 1;
        let until = Version::new(36).unwrap();
        let append = Append::of([record(number, &stream)]);
        let erase = Amendment::EraseStream {
            stream: stream.into(),
            after: None,
            until,
            parts: ErasedParts::ALL,
        };
        dogs.append(append.amendment(erase)).await.unwrap();
    }
}

#[tokio::test]
async fn nothing_is_left_after_erasing_and_purging() {
    let place = Place::new();
    let store = place.open();
    fill(&store).await;
    let (dogs, cats) = (log(&store, "dogs").await, log(&store, "cats").await);
    let others = whole(&*cats).await;
    amend(&*dogs).await;
    assert!(
        !find_secret(&place.path()).is_empty(),
        "the search finds it"
    );

    let purged = store.purge().await.unwrap();
    assert_eq!(purged.remains, Vec::<String>::new());
    assert_eq!(find_secret(&place.path()), Vec::<String>::new());

    // Everything else is there, and the store works as before.
    assert_eq!(whole(&*cats).await, others);
    let events = whole(&*dogs).await;
    assert!(events[..180].iter().all(StoredEvent::is_erased));
    for (name, recorder) in [("dogs", &dogs), ("cats", &cats)] {
        let report = verify_log(&**recorder, &mut |_| {}).await.unwrap();
        assert_eq!(report.findings, [], "{name}");
    }
    assert_eq!(store.verify().await.unwrap(), []);
    dogs.append(Append::of([public_event(5_000)]))
        .await
        .unwrap();
    drop((dogs, cats, store));
    assert_eq!(find_secret(&place.path()), Vec::<String>::new());
    assert_eq!(place.open().verify().await.unwrap(), []);
}

/// Goal: copies that SQLite makes of rows are purged, too, even those that it makes while it
/// overwrites what it deletes. Method: erasing leaves holes in pages, which makes SQLite move the
/// other rows when it needs room; these are erased later.
#[tokio::test]
async fn copies_of_rows_are_purged() {
    let place = Place::new();
    let store = place.open();
    let (dogs, cats) = (log(&store, "dogs").await, log(&store, "cats").await);
    cats.append(Append::of((1..200).map(public_event)))
        .await
        .unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    let mut number = 100_000;
    let mut left = Vec::new();
    let erase = |ids: Vec<u128>, number: u128| {
        let records = (0..u128::from(STREAMS)).map(|it| record(number + it, &stream(it)));
        ids.into_iter().fold(Append::of(records), |append, id| {
            append.amendment(Amendment::EraseEvent {
                event: event(id).id,
                stream: Some(stream(id).into()),
                parts: ErasedParts::ALL,
            })
        })
    };
    for id in 1..=300 {
        let mut event = secret_event(id);
        event.payload = Some(secret_of(random.usize(10..900), id).into());
        dogs.append(Append::of([event])).await.unwrap();
        left.push(id);
        if id % 4 == 0 {
            number += 10;
            let erased = (0..2).map(|_| left.swap_remove(random.usize(..left.len())));
            dogs.append(erase(erased.collect(), number)).await.unwrap();
        }
    }
    dogs.append(erase(left, number + 10)).await.unwrap();
    assert!(store.purge().await.unwrap().is_complete());
    assert_eq!(find_secret(&place.path()), Vec::<String>::new());
    assert_eq!(store.verify().await.unwrap(), []);
}

/// Snapshots that were dropped as too many, or with `drop_snapshots`, go too.
#[tokio::test]
async fn dropped_snapshots_are_purged() {
    let place = Place::new();
    let store = place.open();
    let dogs = log(&store, "dogs").await;
    for number in 1..=40 + SNAPSHOTS_PER_STREAM_MAX as u128 {
        let state = match number {
            ..=40 => secret_of(
                SIZES[usize::try_from(number).unwrap() % SIZES.len()],
                number,
            ),
            _ => "{}".into(),
        };
        let version = Version::new(u64::try_from(number).unwrap()).unwrap();
        for stream in ["dog/1", "dog/2"] {
            let snapshot = StoredSnapshot::new(stream, version, "Dog", state.clone());
            dogs.put_snapshot(snapshot).await.unwrap();
        }
    }
    dogs.drop_snapshots("dog/2").await.unwrap();
    assert!(!find_secret(&place.path()).is_empty());
    assert!(store.purge().await.unwrap().is_complete());
    assert_eq!(find_secret(&place.path()), Vec::<String>::new());
    assert!(dogs.snapshot("dog/1", None).await.unwrap().is_some());
}

fn impatient(place: &Place) -> SqliteStore {
    let options = SqliteOptions::new().busy_wait_max(Duration::from_millis(30));
    SqliteStore::open_with(place.path(), &options).unwrap()
}

async fn with_an_erased_event(store: &SqliteStore) {
    let dogs = log(store, "dogs").await;
    dogs.append(Append::of([secret_event(1)])).await.unwrap();
    let erase = Amendment::EraseEvent {
        event: EventId::new(Uuid::from_u128(1)),
        stream: Some(stream(1).into()),
        parts: ErasedParts::ALL,
    };
    let append = Append::of([record(2, &stream(1))]).amendment(erase);
    dogs.append(append).await.unwrap();
}

/// A read by another program keeps the write-ahead log; a purge after it removes the rest.
#[tokio::test]
async fn a_purge_says_what_a_reader_kept() {
    let place = Place::new();
    let store = impatient(&place);
    with_an_erased_event(&store).await;
    let reader = Connection::open(place.path()).unwrap();
    reader
        .execute_batch("BEGIN; SELECT count(*) FROM event")
        .unwrap();
    let purged = store.purge().await.unwrap();
    assert!(!purged.is_complete());
    assert_eq!(purged.remains.len(), 1, "{purged:?}");
    assert!(
        purged.remains[0].contains("other connections"),
        "{purged:?}"
    );
    assert!(!find_secret(&place.path()).is_empty());
    reader.execute_batch("COMMIT").unwrap();
    assert!(store.purge().await.unwrap().is_complete());
    assert_eq!(find_secret(&place.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_purge_says_what_a_writer_kept() {
    let place = Place::new();
    let store = impatient(&place);
    with_an_erased_event(&store).await;
    let writer = Connection::open(place.path()).unwrap();
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    let purged = store.purge().await.unwrap();
    assert!(
        purged.remains[0].contains("could not be rewritten"),
        "{purged:?}"
    );
    writer.execute_batch("ROLLBACK").unwrap();
    assert!(store.purge().await.unwrap().is_complete());
}

/// Goal: a file that SQLite does not rewrite for a harmless reason is not damaged, and what is in
/// the write-ahead log is removed nevertheless. Method: a table of another program has an index
/// that only its collation can sort.
#[tokio::test]
async fn a_table_of_another_program_may_prevent_a_rewrite() {
    let place = Place::new();
    let store = impatient(&place);
    with_an_erased_event(&store).await;
    let other = Connection::open(place.path()).unwrap();
    other
        .execute_batch(
            "CREATE TABLE mine (name TEXT);
             CREATE INDEX mine_by_name ON mine (name COLLATE NOCASE);
             PRAGMA writable_schema = ON;
             UPDATE sqlite_schema SET sql = replace(sql, 'NOCASE', 'HUMAN')
                 WHERE name = 'mine_by_name'",
        )
        .unwrap();
    drop(other);
    let purged = store.purge().await.unwrap();
    assert_eq!(purged.remains.len(), 1, "{purged:?}");
    assert!(purged.remains[0].contains("HUMAN"), "{purged:?}");
    let wal = place.path().with_extension("db-wal");
    assert_eq!(fs::metadata(wal).unwrap().len(), 0);
}

/// Goal: a purge waits for as long as it says. Method: another connection empties the write-ahead
/// log at the same time, for which SQLite does not wait, and is held up itself by a reader.
#[tokio::test]
async fn a_purge_waits_for_another_that_empties_the_log() {
    let place = Place::new();
    let patience = Duration::from_millis(200);
    let options = SqliteOptions::new().busy_wait_max(patience);
    let store = SqliteStore::open_with(place.path(), &options).unwrap();
    with_an_erased_event(&store).await;
    let reader = Connection::open(place.path()).unwrap();
    reader
        .execute_batch("BEGIN; SELECT count(*) FROM event")
        .unwrap();
    let (is_waiting, waits) = std::sync::mpsc::channel();
    let mut emptying = Connection::open(place.path()).unwrap();
    let thread = std::thread::spawn(move || {
        let wait = move |_| {
            std::thread::yield_now();
            is_waiting.send(()).is_ok()
        };
        emptying.busy_handler(Some(wait)).unwrap();
        let empty = "PRAGMA wal_checkpoint(TRUNCATE)";
        let is_busy: bool = emptying.query_row(empty, [], |row| row.get(0)).unwrap();
        assert!(!is_busy);
    });
    waits.recv().unwrap();
    let began = Instant::now();
    let purged = store.purge().await.unwrap();
    assert!(began.elapsed() >= 2 * patience, "{:?}", began.elapsed());
    assert_eq!(purged.remains.len(), 2, "{purged:?}");
    reader.execute_batch("COMMIT").unwrap();
    thread.join().unwrap();
    assert!(store.purge().await.unwrap().is_complete());
}

/// What a view has deleted is purged with the store, if it is in the same file, and from a separate
/// file by the statements that the guide names.
#[tokio::test]
async fn what_a_view_deleted_is_purged() {
    for is_separate in [false, true] {
        let place = Place::new();
        let store = place.open();
        let dogs = log(&store, "dogs").await;
        let views = match is_separate {
            true => SqliteViews::open(place.path().with_extension("views")).unwrap(),
            false => store.views(),
        };
        let names = (0..100).map(|number| secret_of(SIZES[number % 5], number as u128));
        let names: Vec<String> = names.map(|name| name.replace('"', "")).collect();
        let forget = names.iter().map(String::as_str).chain(["forget"]);
        dogs.append(TrickAdded::append(forget)).await.unwrap();
        let mut pipeline = forgetting_view(&dogs, &views);
        pipeline.catch_up().await.unwrap();

        let mut erase = Append::of([record(1, "dog/1")]);
        for event in whole(&*dogs).await {
            erase = erase.amendment(Amendment::EraseEvent {
                event: event.id(),
                stream: None,
                parts: ErasedParts::ALL,
            });
        }
        dogs.append(erase).await.unwrap();
        assert!(store.purge().await.unwrap().is_complete());
        assert_eq!(!find_secret(&place.path()).is_empty(), is_separate);
        if is_separate {
            let shell = Connection::open(place.path().with_extension("views")).unwrap();
            shell.execute_batch("VACUUM").unwrap();
            let empty = "PRAGMA wal_checkpoint(TRUNCATE)";
            let is_busy: bool = shell.query_row(empty, [], |row| row.get(0)).unwrap();
            assert!(!is_busy);
        }
        assert_eq!(find_secret(&place.path()), Vec::<String>::new());
    }
}

/// A view of the names of tricks, which `forget` deletes.
fn forgetting_view(dogs: &Arc<dyn Recorder>, views: &SqliteViews) -> ProjectionPipeline {
    let projection = Projection::<Sqlite>::new("tricks", 1, "dogs");
    let projection = projection.on::<TrickAdded>(|view, logged| {
        let table = view.table("trick");
        let name = &logged.event.0;
        let sql = match name == "forget" {
            true => format!("DELETE FROM {table} WHERE name <> ?1"),
            false => format!("INSERT INTO {table} VALUES (?1)"),
        };
        view.prepare_cached(&sql)?.execute([name])?;
        Ok(())
    });
    let tables = SqliteTables::new(["trick"], |view| {
        let table = view.table("trick");
        Ok(view.execute_batch(&format!("CREATE TABLE {table} (name TEXT PRIMARY KEY)"))?)
    });
    ProjectionPipeline::new(dogs.clone(), views.keep(projection, tables).unwrap())
}

/// The files of a store while it is purged: before, after the file was rewritten into the
/// write-ahead log, and after that was copied into the file.
struct Steps {
    before: Vec<u8>,
    wal: Vec<u8>,
    after: Vec<u8>,
}

impl Steps {
    async fn of(place: &Place) -> Self {
        let store = impatient(place);
        let before = fs::read(place.path()).unwrap();
        let reader = Connection::open(place.path()).unwrap();
        reader
            .execute_batch("BEGIN; SELECT count(*) FROM event")
            .unwrap();
        assert!(!store.purge().await.unwrap().is_complete());
        assert!(fs::read(place.path()).unwrap() == before);
        let wal = fs::read(place.path().with_extension("db-wal")).unwrap();
        reader.execute_batch("COMMIT").unwrap();
        reader
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .unwrap();
        let after = fs::read(place.path()).unwrap();
        assert!(after.len() < before.len());
        Self { before, wal, after }
    }

    /// The file and the write-ahead log at all steps: that is written frame by frame, then its
    /// pages are copied in their order, then the file is shortened, and then the log.
    fn states(&self) -> Vec<(Vec<u8>, &[u8])> {
        const HEADER: usize = 32;
        const PAGE: usize = 4096;
        const FRAME: usize = 24 + PAGE;
        let frames = (self.wal.len() - HEADER) / FRAME;
        assert!(frames > 20, "{frames}");
        let written = (0..frames).flat_map(|it| [it * FRAME, it * FRAME + FRAME / 2]);
        let written = written.map(|end| (self.before.clone(), &self.wal[..HEADER + end]));
        let copied = (0..self.after.len()).step_by(PAGE / 2).map(|end| {
            let mut file = self.before.clone();
            file[..end].copy_from_slice(&self.after[..end]);
            (file, &self.wal[..])
        });
        let ended = [&self.wal[..], &[]].map(|wal| (self.after.clone(), wal));
        written.chain(copied).chain(ended).collect()
    }
}

/// Goal: a process that is killed, or a power cut, at any step of a purge changes nothing that a
/// reader sees, and the next purge removes the rest. Method: open the files as they would be found.
#[tokio::test]
async fn a_purge_that_was_cut_off_changes_nothing() {
    let place = Place::new();
    let store = place.open();
    let dogs = log(&store, "dogs").await;
    // None is so large that there are many steps.
    for number in (1..=12).filter(|number| number % 6 < 4) {
        let events = [secret_event(number), public_event(100 + number)];
        dogs.append(Append::of(events)).await.unwrap();
    }
    for event in whole(&*dogs).await.iter().step_by(2) {
        let stream = event.stream().unwrap();
        let number = 1_000 + u128::from(event.position().get());
        let erase = Amendment::EraseEvent {
            event: event.id(),
            stream: Some(stream.into()),
            parts: ErasedParts::ALL,
        };
        let append = Append::of([record(number, stream)]).amendment(erase);
        dogs.append(append).await.unwrap();
    }
    let events = whole(&*dogs).await;
    drop((dogs, store));
    assert!(!find_secret(&place.path()).is_empty());
    for (file, wal) in Steps::of(&place).await.states() {
        let left = Place::new();
        fs::write(left.path(), file).unwrap();
        fs::write(left.path().with_extension("db-wal"), wal).unwrap();
        let store = left.open();
        assert!(whole(&*log(&store, "dogs").await).await == events);
        assert_eq!(store.verify().await.unwrap(), []);
        assert!(store.purge().await.unwrap().is_complete());
        assert_eq!(find_secret(&left.path()), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_read_only_store_is_not_purged() {
    let place = Place::new();
    with_an_erased_event(&place.open()).await;
    let store = SqliteStore::open_read_only(place.path()).unwrap();
    let error = store.purge().await.unwrap_err();
    assert!(matches!(error, RecordError::Invalid(_)), "{error}");
}

/// Appends and reads of the same store are possible while it is purged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_wait_for_a_purge() {
    let place = Place::new();
    let store = place.open();
    fill(&store).await;
    let dogs = log(&store, "dogs").await;
    let appends = async {
        for number in 2_000..2_050 {
            let appended = dogs.append(Append::of([public_event(number)])).await;
            assert!(
                matches!(appended, Ok(Appended::Recorded(_))),
                "{appended:?}"
            );
            dogs.read_log(LogRead::new()).await.unwrap();
        }
    };
    let purges = async {
        for _ in 0..5 {
            store.purge().await.unwrap();
        }
    };
    tokio::join!(appends, purges);
    assert_eq!(whole(&*dogs).await.len(), 230);
    assert_eq!(store.verify().await.unwrap(), []);
}
