//! Codecs: a log may mix them, and what a codec cannot read is an error.

use std::error::Error;
use std::sync::Arc;

use retold::mapping::{Codec, ContentReader, CustomCodec, MappingError, erased_serde};
use retold::prelude::*;
use retold::recording::{LogRead, MemoryStore};

/// JSON with white space.
pub(super) struct Pretty;

impl CustomCodec for Pretty {
    fn name(&self) -> &'static str {
        "pretty"
    }

    fn encode(
        &self,
        content: &dyn erased_serde::Serialize,
        payload: &mut Vec<u8>,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(serde_json::to_writer_pretty(payload, content)?)
    }

    fn decode(
        &self,
        payload: &[u8],
        reader: &mut ContentReader<'_>,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let mut json = serde_json::Deserializer::from_slice(payload);
        reader(&mut <dyn erased_serde::Deserializer<'_>>::erase(&mut json))?;
        Ok(json.end()?)
    }
}

/// Leaves out the letter `q`.
struct Lossy;

impl CustomCodec for Lossy {
    fn name(&self) -> &'static str {
        "lossy"
    }

    fn encode(
        &self,
        content: &dyn erased_serde::Serialize,
        payload: &mut Vec<u8>,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let json = serde_json::to_string(content)?;
        payload.extend_from_slice(json.replace('q', "").as_bytes());
        Ok(())
    }

    fn decode(
        &self,
        payload: &[u8],
        reader: &mut ContentReader<'_>,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        Pretty.decode(payload, reader)
    }
}

/// Reads nothing.
struct Silent;

impl CustomCodec for Silent {
    fn name(&self) -> &'static str {
        "silent"
    }

    fn encode(
        &self,
        _: &dyn erased_serde::Serialize,
        _: &mut Vec<u8>,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }

    fn decode(
        &self,
        _: &[u8],
        _: &mut ContentReader<'_>,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }
}

/// Has this name.
struct Named(&'static str);

impl CustomCodec for Named {
    fn name(&self) -> &'static str {
        self.0
    }

    fn encode(
        &self,
        _: &dyn erased_serde::Serialize,
        _: &mut Vec<u8>,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }

    fn decode(
        &self,
        _: &[u8],
        _: &mut ContentReader<'_>,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
enum PageEvent {
    Written { text: String, by: Uuid },
    Removed,
}

#[derive(Aggregate, Clone, Debug, Default, PartialEq)]
#[aggregate(event = PageEvent, key = String)]
struct Pages {
    texts: Vec<String>,
}

impl Apply<PageEvent> for Pages {
    fn apply(&mut self, event: &PageEvent) {
        match event {
            PageEvent::Written { text, .. } => self.texts.push(text.clone()),
            PageEvent::Removed => self.texts.clear(),
        }
    }
}

fn written(text: &str) -> PageEvent {
    PageEvent::Written {
        text: text.into(),
        by: Uuid::from_u128(7),
    }
}

async fn open(store: &Arc<MemoryStore>, codec: Codec) -> Application {
    let builder = Application::builder("pages").store(store.clone());
    builder.codec(codec).open().await.unwrap()
}

#[tokio::test]
async fn a_log_mixes_codecs() {
    let store = Arc::new(MemoryStore::new());
    let id = Id::<Pages>::from("home");
    let mut codecs = vec![
        (Codec::Json, "json"),
        (Codec::custom(&Pretty).unwrap(), "pretty"),
    ];
    #[cfg(feature = "msgpack")]
    codecs.push((Codec::MessagePack, "msgpack"));
    let mut expected = Vec::new();
    for (codec, name) in &codecs {
        let builder = Application::builder("pages").store(store.clone());
        let pretty = Codec::custom(&Pretty).unwrap();
        let pages = builder.codec(*codec).reads_codec(pretty).open().await;
        let pages = pages.unwrap();
        expected.push((*name).to_owned());
        let recorded = pages.execute_or_create(&id, |_| written(name)).await;
        recorded.unwrap();
        assert_eq!(pages.get(&id).await.unwrap().state.texts, expected);
    }
    let pages = open(&store, Codec::custom(&Pretty).unwrap()).await;
    let log = pages.recorder().read_log(LogRead::new()).await.unwrap();
    let encodings = log.events.iter().map(|it| it.encoding_text());
    assert!(encodings.eq(codecs.iter().map(|(_, name)| *name)));

    let error = open(&store, Codec::Json).await.get(&id).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("\"pretty\""), "{text}");
    assert!(text.contains("position 2"), "{text}");
}

/// Programs that do not know the application's codec read the library's events.
#[tokio::test]
async fn events_of_the_library_are_json() {
    let store = Arc::new(MemoryStore::new());
    let pages = open(&store, Codec::custom(&Pretty).unwrap()).await;
    let due = pages.now();
    let deadline = retold::system::Deadline::new("k", due, PageEvent::Removed);
    pages.schedule(deadline).await.unwrap();
    let log = pages.recorder().read_log(LogRead::new()).await.unwrap();
    assert_eq!(log.events[0].encoding_text(), "json");
}

#[tokio::test]
async fn a_codec_that_loses_content_records_nothing() {
    let store = Arc::new(MemoryStore::new());
    for (codec, reason) in [
        (Codec::custom(&Lossy).unwrap(), "at `text`"),
        (Codec::custom(&Silent).unwrap(), "read no content"),
    ] {
        let pages = open(&store, codec).await;
        let id = Id::<Pages>::from("home");
        let recorded = pages.execute_or_create(&id, |_| written("q y")).await;
        let error = recorded.unwrap_err();
        assert!(matches!(
            error,
            ExecuteError::Retold(retold::Error::Mapping(MappingError::NotReadBack { .. }))
        ));
        assert!(error.to_string().contains(reason), "{error}");
        assert_eq!(pages.head().await.unwrap().checkpoint, None);
    }
}

#[test]
fn bad_names_of_codecs_are_refused() {
    for name in ["", "json", "msgpack", "a+b", "a@b", "Upper", "a b", "é"] {
        let codec: &'static Named = Box::leak(Box::new(Named(name)));
        assert!(Codec::custom(codec).is_err(), "{name:?}");
    }
    let long: &'static str = Box::leak("a".repeat(33).into_boxed_str());
    let codec: &'static Named = Box::leak(Box::new(Named(long)));
    assert!(Codec::custom(codec).is_err());
    assert!(Codec::custom(&Named("cbor-2_x")).is_ok());
}

#[cfg(feature = "msgpack")]
mod message_pack {
    use super::*;
    use retold::mapping::message_pack_as_json;

    fn decode(payload: &[u8]) -> Result<PageEvent, retold::mapping::CodecError> {
        Codec::MessagePack.decode(0, payload)
    }

    /// These bytes must not change: logs contain them.
    #[test]
    fn fields_have_names() {
        let bytes = Codec::MessagePack.encode(&written("a")).unwrap();
        let mut expected = b"\x82\xa4text\xa1a\xa2by\xc4\x10".to_vec();
        expected.extend(Uuid::from_u128(7).as_bytes());
        assert_eq!(bytes, expected);
        assert_eq!(decode(&bytes).unwrap(), written("a"));
        let removed = Codec::MessagePack.encode(&PageEvent::Removed).unwrap();
        assert_eq!(removed, &b"\x80"[..]);
        let shown = message_pack_as_json(&bytes).unwrap();
        let by = "00000000000000000000000000000007";
        assert_eq!(shown, serde_json::json!({"text": "a", "by": by}));
    }

    #[test]
    fn errors_say_where() {
        let mut bytes = Codec::MessagePack.encode(&written("a")).unwrap().to_vec();
        bytes.push(0);
        let error = decode(&bytes).unwrap_err().to_string();
        assert!(error.contains("1 bytes follow"), "{error}");
        let error = decode(b"\x82\xa4text\x07\xa2by\xc0").unwrap_err();
        assert!(error.to_string().contains("at `text`"), "{error}");
    }

    /// Any bytes are an event or an error, in little time and memory.
    #[test]
    fn no_payload_makes_reading_panic() {
        let mut random = fastrand::Rng::with_seed(crate::seed());
        let good = Codec::MessagePack.encode(&written("a text")).unwrap();
        for _ in 0..20_000 {
            let mut payload = good.to_vec();
            for _ in 0..random.usize(1..5) {
                let at = random.usize(..payload.len());
                payload[at] = random.u8(..);
            }
            payload.truncate(random.usize(..=payload.len()));
            let _ = decode(&payload);
            let _ = message_pack_as_json(&payload);
        }
        for prefix in [0xdd_u8, 0xdf, 0xdb, 0xc6, 0xc9] {
            let huge = [prefix, 0xff, 0xff, 0xff, 0xff];
            assert!(decode(&huge).is_err());
            assert!(message_pack_as_json(&huge).is_none());
        }
        let deep = vec![0x91; 1_000_000];
        assert!(decode(&deep).is_err());
        assert!(message_pack_as_json(&deep).is_none());
    }
}
