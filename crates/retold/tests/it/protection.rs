//! Protection: what a store keeps, what programs read, and what happens to what was altered.

mod admitting_plain;
mod forgetting;
mod inline;
mod key_files;
mod other_processes;
mod replacing;

use std::sync::Arc;

use retold::mapping::MappingError;
use retold::prelude::*;
use retold::protection::{Compression, KeyError, KeyRing, KeySource, Protection, SecretKey};
use retold::recording::{
    Append, BoxFuture, EventId, LogRead, MemoryStore, Metadata, NewEvent, RecordError, SealFault,
    Store, StoredEvent, StreamRead,
};

pub(crate) fn key(id: &str, byte: u8) -> SecretKey {
    SecretKey::new(id, &[byte; 32]).unwrap()
}

pub(crate) fn keys() -> KeyRing {
    KeyRing::new(key("k1", 1))
}

/// Encrypts and compresses.
pub(crate) fn protection() -> Protection {
    let compression = Compression::zstd().above(100);
    Protection::new().compression(compression).keys(keys())
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
enum NoteEvent {
    Written { text: String },
    Measured { value: f64 },
}

#[derive(Aggregate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[aggregate(event = NoteEvent, key = String, snapshots(every = 2, revision = 1))]
struct Note {
    texts: Vec<String>,
}

impl Apply<NoteEvent> for Note {
    fn apply(&mut self, event: &NoteEvent) {
        if let NoteEvent::Written { text } = event {
            self.texts.push(text.clone());
        }
    }
}

fn written(text: &str) -> NoteEvent {
    NoteEvent::Written { text: text.into() }
}

async fn open(store: &Arc<MemoryStore>, protection: &Protection) -> Application {
    let builder = Application::builder("notes").store(store.clone());
    let opened = builder.protection(protection.clone()).open().await;
    opened.unwrap()
}

/// The events of the log as the store has them.
async fn stored(store: &Arc<MemoryStore>) -> Vec<StoredEvent> {
    let log = store.open_read_only("notes").await.unwrap();
    log.read_log(LogRead::new()).await.unwrap().events
}

const SECRET: &str = "Ada Lovelace";

fn contains(event: &StoredEvent, text: &str) -> bool {
    let has = |bytes: &[u8]| {
        bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    has(event.payload().unwrap_or_default()) || has(event.metadata_bytes())
}

#[tokio::test]
async fn a_store_has_nothing_readable_and_programs_read_everything() {
    let store = Arc::new(MemoryStore::new());
    let notes = open(&store, &protection()).await;
    let id = Id::<Note>::from("n");
    let request = notes.with(Metadata::new().with("user", SECRET));
    for text in [SECRET, &SECRET.repeat(100)] {
        let recorded = request.execute_or_create(&id, |_| written(text)).await;
        recorded.unwrap();
    }
    let events = stored(&store).await;
    let encodings: Vec<_> = events.iter().map(StoredEvent::encoding_text).collect();
    assert_eq!(encodings, ["json@k1", "json+zstd@k1"]);
    assert!(events.iter().all(|it| !contains(it, SECRET)));
    assert!(events.iter().all(StoredEvent::has_sealed_metadata));
    assert!(events[1].payload().unwrap().len() < 200);
    let log = store.open_read_only("notes").await.unwrap();
    let snapshot = log.snapshot("Note/n", None).await.unwrap().unwrap();
    assert_eq!(snapshot.encoding.as_str(), "json+zstd@k1");

    // Another process.
    let notes = open(&store, &protection()).await;
    let state = notes.get(&id).await.unwrap().state;
    assert_eq!(state.texts, [SECRET.to_owned(), SECRET.repeat(100)]);
    let page = notes.recorder().read_log(LogRead::new()).await.unwrap();
    for event in &page.events {
        assert_eq!(event.encoding_text(), "json");
        assert_eq!(event.metadata().unwrap().get("user").unwrap(), SECRET);
        assert!(contains(event, SECRET));
    }
    let one = notes.recorder().event(page.events[0].id()).await.unwrap();
    assert_eq!(one.as_ref(), Some(&page.events[0]));
    let stream = StreamRead::new("Note/n").backward();
    let stream = notes.recorder().read_stream(stream).await.unwrap();
    assert_eq!(stream.events[1], page.events[0]);
}

#[tokio::test]
async fn a_log_mixes_plain_compressed_and_encrypted_events() {
    let store = Arc::new(MemoryStore::new());
    let id = Id::<Note>::from("n");
    let text = "a text ".repeat(50);
    let compressing = Protection::new().compression(Compression::zstd());
    let protections = [Protection::new(), compressing, protection().reading_plain()];
    for protection in &protections {
        let notes = open(&store, protection).await;
        let recorded = notes.execute_or_create(&id, |_| written(&text)).await;
        recorded.unwrap();
    }
    let encodings = stored(&store).await;
    let encodings: Vec<_> = encodings.iter().map(StoredEvent::encoding_text).collect();
    assert_eq!(encodings, ["json", "json+zstd", "json+zstd@k1"]);
    let notes = open(&store, &protection().reading_plain()).await;
    assert_eq!(notes.get(&id).await.unwrap().state.texts.len(), 3);
    // What is only compressed needs no settings of the writer.
    let notes = open(&store, &Protection::new()).await;
    let read = notes
        .get_at(&id, retold::recording::Version::new(2).unwrap())
        .await
        .unwrap();
    assert_eq!(read.state.texts.len(), 2);
}

#[track_caller]
fn fault(error: retold::Error) -> SealFault {
    let text = error.to_string();
    assert!(text.contains("position"), "{text}");
    match error {
        retold::Error::Mapping(MappingError::Sealed { fault, .. }) => fault,
        other => panic!("{other}"),
    }
}

async fn read_fault(store: &Arc<MemoryStore>, keys: KeyRing) -> Option<SealFault> {
    let notes = open(store, &Protection::new().keys(keys)).await;
    match notes.get(&Id::<Note>::from("n")).await {
        Ok(_) => None,
        Err(error) => Some(fault(error)),
    }
}

#[tokio::test]
async fn wrong_missing_and_rotated_keys() {
    let store = Arc::new(MemoryStore::new());
    let notes = open(&store, &Protection::new().keys(keys())).await;
    let id = Id::<Note>::from("n");
    notes
        .execute_or_create(&id, |_| written("a"))
        .await
        .unwrap();

    let missing = read_fault(&store, KeyRing::new(key("k2", 2))).await;
    assert_eq!(missing, Some(SealFault::KeyMissing { key: "k1".into() }));
    let wrong = read_fault(&store, KeyRing::new(key("k1", 9))).await;
    assert_eq!(wrong, Some(SealFault::NotAuthentic { key: "k1".into() }));

    let rotated = KeyRing::new(key("k2", 2)).reading(key("k1", 1)).unwrap();
    let notes = open(&store, &Protection::new().keys(rotated.clone())).await;
    notes.execute(&id, |_: &Note| written("b")).await.unwrap();
    let encodings = stored(&store).await;
    let encodings: Vec<_> = encodings.iter().map(StoredEvent::encoding_text).collect();
    assert_eq!(encodings, ["json@k1", "json@k2"]);
    assert_eq!(read_fault(&store, rotated).await, None);
    let old = read_fault(&store, keys()).await;
    assert_eq!(old, Some(SealFault::KeyMissing { key: "k2".into() }));
    assert!(keys().reading(key("k1", 2)).is_err());

    // Without any protection, the error says what is missing.
    let notes = Application::builder("notes")
        .store(store.clone())
        .open()
        .await;
    let error = notes.unwrap().get(&id).await.unwrap_err().to_string();
    assert!(
        error.contains("json@k1") && error.contains("key"),
        "{error}"
    );
}

/// Has the keys, and counts how often it is asked.
struct Service {
    asked: std::sync::atomic::AtomicUsize,
    is_down: std::sync::atomic::AtomicBool,
}

impl KeySource for Service {
    fn key<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<SecretKey>, KeyError>> {
        use std::sync::atomic::Ordering;

        self.asked.fetch_add(1, Ordering::Relaxed);
        let answer = match self.is_down.load(Ordering::Relaxed) {
            true => Err(KeyError::new("the service is down")),
            false => Ok((id == "k1").then(|| key("k1", 1))),
        };
        Box::pin(std::future::ready(answer))
    }
}

#[tokio::test]
async fn keys_are_fetched_once_from_a_source() {
    use std::sync::atomic::Ordering;

    let store = Arc::new(MemoryStore::new());
    let notes = open(&store, &Protection::new().keys(keys())).await;
    let id = Id::<Note>::from("n");
    for _ in 0..3 {
        notes
            .execute_or_create(&id, |_| written("a"))
            .await
            .unwrap();
    }
    let service = Arc::new(Service {
        asked: 0.into(),
        is_down: true.into(),
    });
    let keys = KeyRing::new(key("k2", 2)).source(service.clone());
    let notes = open(&store, &Protection::new().keys(keys)).await;
    let error = notes.get(&id).await.unwrap_err();
    assert!(matches!(error, retold::Error::Unavailable(_)), "{error}");
    service.is_down.store(false, Ordering::Relaxed);
    assert_eq!(notes.get(&id).await.unwrap().state.texts.len(), 3);
    // Twice in vain, for a snapshot and for events, and a third time.
    assert_eq!(service.asked.load(Ordering::Relaxed), 3);
}

/// Copies a stored event into a new log, changed.
async fn with_changed(event: &StoredEvent, change: impl FnOnce(&mut NewEvent)) -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new());
    let mut new = NewEvent::new(
        event.id(),
        event.topic().to_owned(),
        event.payload_bytes().unwrap(),
    )
    .stream("Note/n")
    .metadata(event.metadata_bytes().to_vec())
    .encoding(event.encoding().unwrap());
    change(&mut new);
    let log = store.open("notes", Uuid::now_v7().into()).await.unwrap();
    log.append(Append::of([new])).await.unwrap();
    store
}

#[tokio::test]
async fn what_was_altered_at_any_byte_is_refused() {
    let store = Arc::new(MemoryStore::new());
    let notes = open(&store, &Protection::new().keys(keys())).await;
    let id = Id::<Note>::from("n");
    let request = notes.with(Metadata::new().with("user", "ann"));
    let recorded = request.execute_or_create(&id, |_| written("a")).await;
    recorded.unwrap();
    let event = stored(&store).await.remove(0);
    let not_authentic = Some(SealFault::NotAuthentic { key: "k1".into() });

    let copied = with_changed(&event, |_| {}).await;
    assert_eq!(read_fault(&copied, keys()).await, None);
    let payload = event.payload().unwrap().to_vec();
    for at in 0..payload.len() {
        let mut altered = payload.clone();
        altered[at] ^= 1;
        let altered = with_changed(&event, |it| it.payload = Some(altered.into())).await;
        assert_eq!(
            read_fault(&altered, keys()).await,
            not_authentic,
            "byte {at}"
        );
        let cut = payload[..at].to_vec();
        let cut = with_changed(&event, |it| it.payload = Some(cut.into())).await;
        assert_eq!(read_fault(&cut, keys()).await, not_authentic, "cut to {at}");
    }
    let metadata = event.metadata_bytes().to_vec();
    for at in 1..metadata.len() {
        let mut altered = metadata.clone();
        altered[at] ^= 1;
        let altered = with_changed(&event, |it| it.metadata = altered.into()).await;
        let notes = open(&altered, &Protection::new().keys(keys())).await;
        let page = notes.recorder().read_log(LogRead::new()).await.unwrap();
        let error = page.events[0].metadata().unwrap_err().to_string();
        assert!(error.contains("encrypted"), "{error}");
    }
}

#[tokio::test]
async fn what_was_moved_to_another_place_is_refused() {
    let store = Arc::new(MemoryStore::new());
    let notes = open(&store, &Protection::new().keys(keys())).await;
    let id = Id::<Note>::from("n");
    let recorded = notes.execute_or_create(&id, |_| [written("a"), written("b")]);
    recorded.await.unwrap();
    let events = stored(&store).await;
    let not_authentic = Some(SealFault::NotAuthentic { key: "k1".into() });
    let changes: [&dyn Fn(&mut NewEvent); 4] = [
        &|it| it.id = EventId::new(Uuid::from_u128(1)),
        &|it| it.topic = "NoteEvent.Measured".into(),
        &|it| it.revision = 2,
        &|it| it.payload = events[1].payload_bytes(),
    ];
    for (index, change) in changes.iter().enumerate() {
        let moved = with_changed(&events[0], |it| change(it)).await;
        let found = match read_fault(&moved, keys()).await {
            // The type has no such revision, which is found out later.
            None => panic!("change {index} was not noticed"),
            found => found,
        };
        assert_eq!(found, not_authentic, "change {index}");
    }
    // In another stream.
    let moved = with_changed(&events[0], |it| it.stream = Some("Note/other".into())).await;
    let notes = open(&moved, &Protection::new().keys(keys())).await;
    let error = notes.get(&Id::<Note>::from("other")).await.unwrap_err();
    assert_eq!(Some(fault(error)), not_authentic);
    // Under another encoding.
    for encoding in ["json+zstd@k1", "msgpack@k1", "json.parts@k1"] {
        let encoding = retold::recording::Encoding::parse(encoding).unwrap();
        let moved = with_changed(&events[0], |it| it.encoding = encoding).await;
        assert_eq!(read_fault(&moved, keys()).await, not_authentic);
    }
}

#[tokio::test]
async fn a_bomb_in_a_log_is_an_error() {
    let store = Arc::new(MemoryStore::new());
    let bomb = zstd_of_zeros();
    let log = store.open("notes", Uuid::now_v7().into()).await.unwrap();
    let encoding = retold::recording::Encoding::parse("json+zstd").unwrap();
    let event = NewEvent::new(EventId::new(Uuid::nil()), "NoteEvent.Written", bomb)
        .stream("Note/n")
        .encoding(encoding);
    log.append(Append::of([event])).await.unwrap();
    let notes = open(&store, &protection().reading_plain()).await;
    let found = fault(notes.get(&Id::<Note>::from("n")).await.unwrap_err());
    assert!(
        matches!(found, SealFault::NotDecompressed { .. }),
        "{found}"
    );
    let verified = open(&store, &protection()).await;
    let report = retold::recording::verify_log(&**verified.recorder(), &mut |_| {}).await;
    let report = report.unwrap();
    assert_eq!(report.findings.len(), 1, "{report:?}");
}

/// A frame of zstd with 128 MiB of zeros in a few bytes: its header, and blocks that repeat one
/// byte.
fn zstd_of_zeros() -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0];
    frame.extend((128_u32 << 20).to_le_bytes());
    let size = 128 << 10;
    for block in 1..=1024_u32 {
        let header = u32::from(block == 1024) | 1 << 1 | size << 3;
        frame.extend(&header.to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}

#[tokio::test]
async fn payloads_up_to_the_limit_are_recorded() {
    let store = Arc::new(MemoryStore::new());
    let notes = open(&store, &Protection::new().keys(keys())).await;
    let limits = notes.recorder().limits();
    let id = Id::<Note>::from("n");
    let text = "x".repeat(limits.payload_size - br#"{"text":""}"#.len());
    let recorded = notes.execute_or_create(&id, |_| written(&text)).await;
    recorded.unwrap();
    let text = format!("{text}x");
    let error = notes.execute(&id, |_: &Note| written(&text)).await;
    assert!(matches!(
        error,
        Err(ExecuteError::Retold(retold::Error::Invalid(_)))
    ));
}

/// The opened events of a page take much more memory than the stored ones.
#[tokio::test]
async fn a_page_of_events_that_expand_ends_early() {
    let store = Arc::new(MemoryStore::new());
    let notes = open(&store, &protection()).await;
    let payload = format!("\"{}\"", "x".repeat(12 << 20));
    for number in 0..8 {
        let event = NewEvent::new(EventId::new(Uuid::from_u128(number)), "A", payload.clone());
        let append = Append::of([event]);
        notes.recorder().append(append).await.unwrap();
    }
    assert!(
        stored(&store)
            .await
            .iter()
            .map(StoredEvent::size)
            .sum::<usize>()
            < 1 << 20
    );
    let mut read = LogRead::new();
    let mut counts = Vec::new();
    loop {
        let page = notes.recorder().read_log(read).await.unwrap();
        counts.push(page.events.len());
        if page.end == retold::recording::PageEnd::Complete {
            break;
        }
        read = LogRead::new().after_checkpoint(page.read_to);
    }
    assert_eq!(counts, [6, 2]);
}

#[tokio::test]
async fn a_repeated_command_is_recognized() {
    let store = Arc::new(MemoryStore::new());
    let notes = open(&store, &protection()).await;
    let id = Id::<Note>::from("n");
    for _ in 0..2 {
        let command = notes.execute_or_create(&id, |_| written("a"));
        command.command_id("once").await.unwrap();
    }
    assert_eq!(stored(&store).await.len(), 1);
    let append = Append::of([NewEvent::new(EventId::new(Uuid::nil()), "A", "{}")]);
    for _ in 0..2 {
        notes.recorder().append(append.clone()).await.unwrap();
    }
    assert_eq!(stored(&store).await.len(), 2);
}

/// The event of a timer is content of the application.
#[tokio::test]
async fn timers_are_encrypted() {
    let store = Arc::new(MemoryStore::new());
    let notes = open(&store, &protection()).await;
    let deadline = retold::system::Deadline::new("k", notes.now(), written(SECRET));
    notes.schedule(deadline).await.unwrap();
    let events = stored(&store).await;
    assert_eq!(events[0].topic(), "retold.scheduled");
    assert!(!contains(&events[0], SECRET));
    let mut timers = retold::system::Timers::new(notes.clone());
    timers.read_on().await.unwrap();
    assert!(timers.fire_next(notes.now()).await.unwrap());
    let events = stored(&store).await;
    assert!(events.iter().all(|it| !contains(it, SECRET)));
    let page = notes.recorder().read_log(LogRead::new()).await.unwrap();
    assert!(
        page.events
            .iter()
            .any(|it| it.topic() == "NoteEvent.Written")
    );
}

#[tokio::test]
async fn a_snapshot_of_another_log_or_key_is_ignored() {
    let store = Arc::new(MemoryStore::new());
    let notes = open(&store, &protection()).await;
    let id = Id::<Note>::from("n");
    let recorded = notes.execute_or_create(&id, |_| [written("a"), written("b")]);
    recorded.await.unwrap();
    let log = store.open("notes", Uuid::now_v7().into()).await.unwrap();
    let mut snapshot = log.snapshot("Note/n", None).await.unwrap().unwrap();
    let mut altered = snapshot.payload.to_vec();
    altered[30] ^= 1;
    snapshot.payload = altered.into();
    log.put_snapshot(snapshot).await.unwrap();
    let found = notes.recorder().snapshot("Note/n", None).await.unwrap();
    assert_eq!(found, None);
    let again = open(&store, &protection()).await;
    assert_eq!(again.get(&id).await.unwrap().state.texts, ["a", "b"]);
}

/// A store that is protected as a whole protects every log that is opened in it.
#[tokio::test]
async fn a_store_protects_all_logs() {
    let inner = Arc::new(MemoryStore::new());
    let store = protection().store(inner.clone());
    let builder = Application::builder("notes").store(store.clone());
    let notes = builder.open().await.unwrap();
    let id = Id::<Note>::from("n");
    notes
        .execute_or_create(&id, |_| written(SECRET))
        .await
        .unwrap();
    assert!(!contains(&stored(&inner).await[0], SECRET));
    let other = notes.another("other").open().await.unwrap();
    other
        .execute_or_create(&id, |_| written(SECRET))
        .await
        .unwrap();
    let log = inner.open_read_only("other").await.unwrap();
    let page = log.read_log(LogRead::new()).await.unwrap();
    assert!(!contains(&page.events[0], SECRET));
    assert_eq!(store.logs(None, 10).await.unwrap().len(), 2);
    let refused: Result<_, RecordError> = store.open("", Uuid::nil().into()).await.map(drop);
    assert!(refused.is_err());
}

/// A ring that is extended leaves the rings that it was cloned from as they were.
#[tokio::test]
async fn a_ring_of_keys_is_extended_apart_from_its_clones() {
    let ring = keys();
    let other = ring.clone().reading(key("k1", 2));
    assert!(other.is_err());
    let store = Arc::new(MemoryStore::new());
    let notes = open(&store, &Protection::new().keys(ring.clone())).await;
    let id = Id::<Note>::from("1".to_owned());
    notes
        .execute_or_create(&id, |_| written("a"))
        .await
        .unwrap();
    let again = open(&store, &Protection::new().keys(ring.clone())).await;
    assert_eq!(again.get(&id).await.unwrap().state.texts, ["a"]);
    let wider = ring.clone().reading(key("k2", 2)).unwrap();
    assert!(wider.known("k2").is_some() && ring.known("k2").is_none());
}
