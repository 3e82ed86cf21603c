//! Events and snapshots that are not encrypted, in a log that a program with keys reads.

use std::sync::Arc;

use retold::mapping::MappingError;
use retold::prelude::*;
use retold::protection::{KeyRing, Protection, SecretKey};
use retold::recording::{
    Append, Encoding, EventId, LogRead, MemoryStore, Metadata, NewEvent, Position, SealFault,
    Store, verify_log,
};

use super::{Note, key, keys, open, protection, read_fault, stored, written};

fn id() -> Id<Note> {
    Id::from("n")
}

/// Records an event as one who can write to the store, but has no keys.
async fn plant(store: &Arc<MemoryStore>, change: impl FnOnce(&mut NewEvent)) {
    let mut event = NewEvent::new(
        EventId::new(Uuid::now_v7()),
        "NoteEvent.Written",
        r#"{"text":"planted"}"#,
    )
    .stream("Note/n");
    change(&mut event);
    let log = store.open("notes", Uuid::now_v7().into()).await.unwrap();
    log.append(Append::of([event])).await.unwrap();
}

#[tokio::test]
async fn a_plain_event_that_was_planted_is_refused() {
    let store = Arc::new(MemoryStore::new());
    let protection = Protection::new().keys(keys());
    let notes = open(&store, &protection).await;
    let recorded = notes.execute_or_create(id(), |_| written("a"));
    recorded.await.unwrap();
    assert_eq!(read_fault(&store, keys()).await, None);

    plant(&store, |_| {}).await;
    let error = open(&store, &protection)
        .await
        .get(&id())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("reading_plain_until"), "{error}");
    assert_eq!(
        read_fault(&store, keys()).await,
        Some(SealFault::NotEncrypted)
    );
    // One that has the event in its cache reads the rest.
    assert!(notes.get(&id()).await.is_err());
    let report = verify_log(&**notes.recorder(), &mut |_| {}).await.unwrap();
    assert_eq!(report.findings.len(), 1, "{report:?}");

    let admitted = open(&store, &protection.reading_plain()).await;
    let texts = admitted.get(&id()).await.unwrap().state.texts;
    assert_eq!(texts, ["a", "planted"]);
}

/// Each way to avoid the encryption of the program is noticed, and events of the library, which are
/// plain, are read.
#[tokio::test]
async fn no_form_without_the_key_of_the_program_is_read() {
    for encoding in [
        "json",
        "json+zstd",
        "json.parts",
        "msgpack",
        "json+zstd.parts",
    ] {
        let store = Arc::new(MemoryStore::new());
        let encoding = Encoding::parse(encoding).unwrap();
        plant(&store, |it| it.encoding = encoding.clone()).await;
        let fault = read_fault(&store, keys()).await;
        assert_eq!(fault, Some(SealFault::NotEncrypted), "{encoding}");
    }
    let store = Arc::new(MemoryStore::new());
    let notes = open(&store, &protection()).await;
    let recorded = notes.execute_or_create(id(), |_| written("a"));
    recorded.await.unwrap();
    // The payload is authentic, and the metadata are replaced.
    let event = stored(&store).await.remove(0);
    let altered = Arc::new(MemoryStore::new());
    plant(&altered, |it| {
        it.id = event.id();
        it.encoding = event.encoding().unwrap();
        it.payload = event.payload_bytes();
        it.metadata = Metadata::new().with("user", "mallory").to_bytes();
    })
    .await;
    let notes = open(&altered, &protection()).await;
    let page = notes.recorder().read_log(LogRead::new()).await.unwrap();
    let fault = page.events[0].seal_fault();
    assert_eq!(fault, Some(&SealFault::NotEncrypted));
    let library = NewEvent::new(EventId::new(Uuid::now_v7()), "retold.erased", "{}");
    notes
        .recorder()
        .append(Append::of([library]))
        .await
        .unwrap();
    let page = notes.recorder().read_log(LogRead::new()).await.unwrap();
    assert_eq!(page.events[1].seal_fault(), None);
    assert_eq!(page.events[1].encoding_text(), "json");
}

#[tokio::test]
async fn a_log_that_was_plain_at_first_is_read_up_to_a_position() {
    let store = Arc::new(MemoryStore::new());
    let plain = open(&store, &Protection::new()).await;
    let recorded = plain.execute_or_create(id(), |_| [written("a"), written("b")]);
    recorded.await.unwrap();
    assert!(open(&store, &protection()).await.get(&id()).await.is_err());

    let end = plain.head().await.unwrap().position().unwrap();
    assert_eq!(end, Position::new(2).unwrap());
    let since = protection().reading_plain_until("notes", end);
    let notes = open(&store, &since).await;
    notes.execute(id(), |_: &Note| written("c")).await.unwrap();
    let texts = open(&store, &since).await.get(&id()).await.unwrap().state;
    assert_eq!(texts.texts, ["a", "b", "c"]);
    plant(&store, |_| {}).await;
    let error = open(&store, &since).await.get(&id()).await.unwrap_err();
    assert!(
        matches!(&error, retold::Error::Mapping(MappingError::Sealed { .. })),
        "{error}"
    );
    // The position is that of one log.
    let other = protection().reading_plain_until("others", end);
    assert!(open(&store, &other).await.get(&id()).await.is_err());
}

#[tokio::test]
async fn a_plain_snapshot_is_not_used() {
    let store = Arc::new(MemoryStore::new());
    let plain = open(&store, &Protection::new()).await;
    let recorded = plain.execute_or_create(id(), |_| [written("a"), written("b")]);
    recorded.await.unwrap();
    let log = store.open("notes", Uuid::now_v7().into()).await.unwrap();
    let mut snapshot = log.snapshot("Note/n", None).await.unwrap().unwrap();
    let forged = String::from_utf8(snapshot.payload.to_vec()).unwrap();
    snapshot.payload = forged.replace("\"b\"", "\"forged\"").into();
    log.put_snapshot(snapshot).await.unwrap();
    let forged = open(&store, &Protection::new()).await;
    let texts = forged.get(&id()).await.unwrap().state.texts;
    assert_eq!(texts, ["a", "forged"], "the snapshot is used without keys");
    for protection in [
        protection().reading_plain(),
        protection().reading_plain_until("notes", Position::new(2).unwrap()),
    ] {
        let notes = open(&store, &protection).await;
        let found = notes.recorder().snapshot("Note/n", None).await.unwrap();
        assert_eq!(found, None);
        let texts = notes.get(&id()).await.unwrap().state.texts;
        assert_eq!(texts, ["a", "b"]);
    }
}

/// A source of keys is asked only for ids that a key can have, and once for each in a read.
#[tokio::test]
async fn a_source_of_keys_is_not_asked_for_anything() {
    use std::sync::Mutex;

    use retold::protection::{KeyError, KeySource};
    use retold::recording::BoxFuture;

    struct Asked(Mutex<Vec<String>>);

    impl KeySource for Asked {
        fn key<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<SecretKey>, KeyError>> {
            self.0.lock().unwrap().push(id.to_owned());
            Box::pin(std::future::ready(Ok(None)))
        }
    }

    let store = Arc::new(MemoryStore::new());
    let long = "a".repeat(49);
    let ids = [
        "../admin",
        "a?x=1",
        "é",
        "subject.x",
        "x y",
        "a/b",
        "good",
        "good",
        &long,
        "other",
    ];
    for id in ids {
        let encoding = Encoding::parse(format!("json@{id}")).unwrap();
        plant(&store, |it| it.encoding = encoding).await;
    }
    plant(&store, |it| {
        it.encoding = Encoding::parse("json@good").unwrap();
        it.metadata = [&[1, 4][..], b"../x", &[0; 40]].concat().into();
    })
    .await;
    let source = Arc::new(Asked(Mutex::default()));
    let keys = KeyRing::new(key("k1", 1)).source(source.clone());
    let notes = open(&store, &Protection::new().keys(keys)).await;
    let page = notes.recorder().read_log(LogRead::new()).await.unwrap();
    assert!(page.events.iter().all(|it| it.seal_fault().is_some()));
    assert_eq!(*source.0.lock().unwrap(), ["good", "other"]);
}
