//! Random input for what reads keys and sealed content: key files, payloads, metadata, snapshots,
//! and the log of the keys of subjects.

use std::sync::Arc;

use retold::prelude::*;
use retold::protection::{Compression, KeyRing, Protection, SubjectKeys};
use retold::recording::{
    Append, Encoding, EventId, LogRead, MemoryStore, NewEvent, Recorder, Store, StoredEvent,
    StoredSnapshot,
};

use super::{fuzz, mutated_bytes};

const DIGITS: &str = "0a0b0c0d0e0f000102030405060708090a0b0c0d0e0f00010203040506070809";

fn key_file() -> String {
    let other = DIGITS.replace('0', "f");
    format!("# Written with since November.\n2026-11 {DIGITS}\n\n2025-06 {other};k {other}\n")
}

fn keys() -> KeyRing {
    KeyRing::parse(&key_file()).unwrap()
}

#[test]
fn no_key_file_makes_a_reader_panic() {
    let text = key_file();
    fuzz(|random| {
        let bytes = mutated_bytes(text.as_bytes(), random);
        match KeyRing::parse(&String::from_utf8_lossy(&bytes)) {
            Ok(keys) => assert!(keys.known(keys.writing().id()).is_some()),
            Err(error) => assert!(!error.to_string().contains(DIGITS), "{error}"),
        }
    });
}

#[derive(Event, Serialize, Deserialize, Clone)]
struct Registered {
    id: u32,
    #[event(subject = "customer:{id}")]
    name: Option<String>,
    note: String,
}

#[derive(Aggregate, Clone, Default, Serialize, Deserialize)]
#[aggregate(event = Registered, key = u32, snapshots(every = 1, revision = 1))]
struct Customer {
    note: String,
}

impl Apply<Registered> for Customer {
    fn apply(&mut self, event: &Registered) {
        self.note.clone_from(&event.note);
    }
}

/// An event without a subject.
#[derive(Event, Serialize, Deserialize, Clone)]
struct Noted {
    note: String,
}

/// What several kinds of protection store.
#[derive(Default)]
struct Stored {
    events: Vec<StoredEvent>,
    snapshots: Vec<StoredSnapshot>,
    /// The log of the keys of subjects.
    keys: Vec<StoredEvent>,
}

fn subject_keys(store: &Arc<MemoryStore>) -> Arc<SubjectKeys> {
    Arc::new(SubjectKeys::new(store.clone(), "keys", keys()))
}

async fn stored() -> Stored {
    let key_store = Arc::new(MemoryStore::new());
    let mut stored = Stored::default();
    let compression = || Compression::zstd().above(10);
    let subjects = || subject_keys(&key_store);
    let all = Protection::new().keys(keys()).compression(compression());
    for (protection, has_subjects) in [
        (Protection::new().keys(keys()), false),
        (Protection::new().compression(compression()), false),
        (Protection::new().subject_keys(subjects()), true),
        (all.subject_keys(subjects()), true),
    ] {
        let store = Arc::new(MemoryStore::new());
        let shop = Application::builder("shop").store(store.clone());
        let shop = shop.protection(protection).open().await.unwrap();
        let request = shop.with(Metadata::new().with("user", "ann"));
        let note = "a note ".repeat(20);
        let noted = Noted { note: note.clone() };
        request.decide((), |()| noted.clone()).await.unwrap();
        if has_subjects {
            let registered = Registered {
                id: 17,
                name: Some("Ada Lovelace".into()),
                note,
            };
            let id = Id::<Customer>::from(17);
            let recorded = request.execute_or_create(id, |_| registered.clone()).await;
            recorded.unwrap();
        }
        let log = store.open_read_only("shop").await.unwrap();
        let page = log.read_log(LogRead::new()).await.unwrap();
        stored.events.extend(page.events);
        let snapshot = log.snapshot("Customer/17", None).await.unwrap();
        stored.snapshots.extend(snapshot);
    }
    let log = key_store.open_read_only("keys").await.unwrap();
    let page = log.read_log(LogRead::new()).await.unwrap();
    stored.keys.extend(page.events);
    stored
}

/// Encodings that readers may meet.
const ENCODINGS: [&str; 9] = [
    "json",
    "json+zstd",
    "json@2026-11",
    "json+zstd@2026-11",
    "json.parts",
    "json.parts@2026-11",
    "json+zstd.parts@k",
    "msgpack+zstd@unknown",
    "json@",
];

/// Copies events into a new log, with changes in some.
async fn copied(
    name: &str,
    events: &[StoredEvent],
    random: &mut fastrand::Rng,
) -> Option<Arc<MemoryStore>> {
    let store = Arc::new(MemoryStore::new());
    let log = store.open(name, Uuid::from_u128(1).into()).await.unwrap();
    for event in events {
        let mut new = NewEvent::new(
            event.id(),
            event.topic().to_owned(),
            event.payload_bytes().unwrap_or_default(),
        )
        .encoding(event.encoding().unwrap())
        .metadata(event.metadata_bytes().to_vec());
        new.stream = event.stream().map(Into::into);
        match random.u8(..5) {
            0 => {}
            1 => new.metadata = mutated_bytes(event.metadata_bytes(), random).into(),
            2 => {
                let encoding = Encoding::parse(ENCODINGS[random.usize(..ENCODINGS.len())]);
                new.encoding = encoding.unwrap_or(new.encoding);
                new.payload = Some(mutated_bytes(event.payload()?, random).into());
            }
            _ => new.payload = Some(mutated_bytes(event.payload()?, random).into()),
        }
        // A store refuses some of these.
        log.append(Append::of([new])).await.ok()?;
    }
    Some(store)
}

#[test]
fn no_sealed_content_makes_a_reader_panic() {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.build().unwrap();
    let stored = runtime.block_on(stored());
    assert!(stored.events.len() > 5 && stored.snapshots.len() > 1 && stored.keys.len() > 1);
    fuzz(|random| {
        runtime.block_on(async {
            let at = random.usize(..stored.events.len());
            let events = &stored.events[at..=at];
            let Some(store) = copied("shop", events, random).await else {
                return;
            };
            let Some(key_store) = copied("keys", &stored.keys, random).await else {
                return;
            };
            let mut snapshot = stored.snapshots[random.usize(..stored.snapshots.len())].clone();
            snapshot.payload = mutated_bytes(&snapshot.payload, random).into();
            let raw = store.open("shop", Uuid::from_u128(1).into()).await.unwrap();
            let _ = raw.put_snapshot(snapshot).await;
            let protection = Protection::new()
                .keys(keys())
                .reading_plain()
                .subject_keys(subject_keys(&key_store));
            read(&*protection.store(store)).await;
        });
    });
}

async fn read(store: &dyn Store) {
    let log: Arc<dyn Recorder> = store.open_read_only("shop").await.unwrap();
    match log.read_log(LogRead::new()).await {
        Ok(page) => {
            for event in page.events {
                let fault = event.seal_fault().map(ToString::to_string);
                assert_ne!(fault.as_deref(), Some(""));
                let _ = event.metadata();
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let _ = log.snapshot("Customer/17", None).await;
    let _ = log.event(EventId::new(Uuid::from_u128(3))).await;
}
