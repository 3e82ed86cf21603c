//! Random input for what reads bytes that others wrote: lock files of events, payloads of older
//! shapes, keys and sealed content. Nothing may panic, and every answer is an event, a description
//! or an error.
//!
//! Each test runs for a moment; for ten minutes:
//! `RETOLD_FUZZ_SECONDS=600 cargo test -p retold --all-features --test it fuzz -- --nocapture`

mod sealed;

use std::time::{Duration, Instant};

use retold::domain::{Decoded, PastEvent, SplitInto, Upcast, Upcasted};
use retold::prelude::*;
use retold::projection::BoxError;
use retold::recording::{EventId, NewEvent};
use retold::schema::EventSchemas;
use retold::schemars::{self, JsonSchema};
use retold::testing::read_recorded;

/// How long a test runs by default.
const SECONDS: f64 = 0.5;

/// Calls `round` with random numbers until the time is up.
fn fuzz(mut round: impl FnMut(&mut fastrand::Rng)) {
    let seconds = std::env::var("RETOLD_FUZZ_SECONDS").ok();
    let seconds = seconds.and_then(|it| it.parse().ok()).unwrap_or(SECONDS);
    let time = Duration::from_secs_f64(seconds);
    let mut random = fastrand::Rng::with_seed(crate::seed());
    let (begun, mut rounds) = (Instant::now(), 0_u64);
    while begun.elapsed() < time {
        round(&mut random);
        rounds += 1;
    }
    println!("{rounds} rounds");
    assert!(rounds > 10, "too slow: {rounds} rounds");
}

/// Parts of JSON and of schemas that are worth trying.
const PARTS: [&str; 32] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "null",
    "true",
    "false",
    "0",
    "-1",
    "1e999",
    "18446744073709551616",
    "\"$ref\":\"#\"",
    "\"$ref\":\"#/$defs/Name\"",
    "\"$ref\":\"#/$defs/~1\"",
    "\"type\":[\"string\",\"null\"]",
    "\"oneOf\":[{}]",
    "\"anyOf\":[true,{\"$ref\":\"#\"}]",
    "\"allOf\":[{\"type\":\"object\"}]",
    "\"enum\":[]",
    "\"required\":[\"a\",\"a\"]",
    "\"prefixItems\":[{}]",
    "\"maxItems\":-1",
    "\"format\":\"uint999\"",
    "\"format\":\"int-1\"",
    "\"patternProperties\":{\"(\":true}",
    "\"additionalProperties\":{\"$ref\":\"#\"}",
    "\"shapes\":{\"4294967295\":{}}",
    "\"revision\":4294967295",
    "\u{1f415}",
];

/// Changes a text in some places.
fn mutated(text: &str, random: &mut fastrand::Rng) -> Vec<u8> {
    mutated_bytes(text.as_bytes(), random)
}

fn mutated_bytes(bytes: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.usize(1..6) {
        let at = random.usize(..=bytes.len());
        match random.u8(..6) {
            0 if at < bytes.len() => bytes[at] = random.u8(..),
            1 => bytes.truncate(at),
            2 => {
                let end = (at + random.usize(..40)).min(bytes.len());
                bytes.drain(at..end);
            }
            3 => {
                let from = random.usize(..=bytes.len());
                let end = (from + random.usize(..200)).min(bytes.len());
                let copied = bytes[from..end].to_vec();
                bytes.splice(at..at, copied);
            }
            _ => {
                let part = PARTS[random.usize(..PARTS.len())];
                bytes.splice(at..at, part.bytes());
            }
        }
    }
    bytes
}

#[derive(Event, Serialize, Deserialize, JsonSchema, Debug)]
#[event(revision = 3, from(1 = PlacedV1, 2 = PlacedV2), erased = skip, past(Cart))]
struct Placed {
    lines: Vec<Line>,
    tree: Tree,
}

#[derive(Serialize, Deserialize, JsonSchema, Debug)]
struct Line {
    article: String,
    count: u8,
    #[serde(default)]
    note: Option<String>,
}

/// A recursive type.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Default)]
enum Tree {
    #[default]
    Leaf,
    Named {
        name: String,
    },
    Nodes(Vec<Tree>),
}

#[derive(Deserialize, JsonSchema)]
struct PlacedV1 {
    article: String,
    count: i64,
}

#[derive(Deserialize, JsonSchema)]
struct PlacedV2 {
    articles: Vec<(String, u8)>,
}

#[derive(Event, Serialize, Deserialize, JsonSchema)]
struct Cart {
    parts: Vec<PlacedPart>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct PlacedPart {
    article: String,
}

impl Upcast<PlacedV2> for PlacedV1 {
    fn upcast(self, _: &PastEvent<'_>) -> Result<PlacedV2, BoxError> {
        let count = u8::try_from(self.count)?;
        Ok(PlacedV2 {
            articles: vec![(self.article, count)],
        })
    }
}

impl Upcast<Placed> for PlacedV2 {
    fn upcast(self, past: &PastEvent<'_>) -> Result<Placed, BoxError> {
        let note = past.metadata("note").map(|it| it.to_string());
        let line = |(article, count)| Line {
            article,
            count,
            note: note.clone(),
        };
        Ok(Placed {
            lines: self.articles.into_iter().map(line).collect(),
            tree: Tree::Leaf,
        })
    }
}

impl SplitInto<Placed> for Cart {
    fn split(self, past: &PastEvent<'_>) -> Upcasted<Placed> {
        let mut placed = Vec::new();
        for part in self.parts {
            let old = PlacedV1 {
                article: part.article,
                count: 1,
            };
            placed.push(Upcast::<PlacedV2>::upcast(old, past)?.upcast(past)?);
        }
        Ok(Decoded::from(placed))
    }
}

#[test]
fn no_lock_file_makes_a_reader_panic() {
    let program = EventSchemas::new()
        .event::<Placed>("shop")
        .event::<Cart>("shop");
    let text = program.to_lock();
    fuzz(|random| {
        let bytes = mutated(&text, random);
        let Ok(read) = EventSchemas::from_lock(&bytes) else {
            return;
        };
        for (one, other) in [(&read, &program), (&program, &read), (&read, &read)] {
            let comparison = one.compare(other);
            let _ = comparison.to_string();
            let updated = one.updated(other);
            let again = EventSchemas::from_lock(updated.to_lock().as_bytes());
            assert_eq!(again.unwrap(), updated);
        }
        let document = read.to_asyncapi("fuzz", "1");
        assert_eq!(document["asyncapi"], "3.0.0");
        assert_eq!(
            EventSchemas::from_lock(read.to_lock().as_bytes()).unwrap(),
            read
        );
    });
}

#[test]
fn no_payload_of_an_older_shape_makes_a_reader_panic() {
    let rows = [
        ("Placed", 1, r#"{"article":"tea","count":3}"#),
        ("Placed", 2, r#"{"articles":[["tea",3],["cup",255]]}"#),
        (
            "Placed",
            3,
            r#"{"lines":[{"article":"tea","count":3}],"tree":{"Nodes":["Leaf"]}}"#,
        ),
        (
            "Cart",
            1,
            r#"{"parts":[{"article":"tea"},{"article":"cup"}]}"#,
        ),
    ];
    for (topic, revision, payload) in rows {
        let event = NewEvent::new(EventId::new(Uuid::nil()), topic, payload).revision(revision);
        assert!(!read_recorded::<Placed>(&event).unwrap().is_empty());
    }
    fuzz(|random| {
        let (topic, _, payload) = rows[random.usize(..rows.len())];
        let payload = mutated(payload, random);
        let id = EventId::new(Uuid::nil());
        let mut event = NewEvent::new(id, topic, payload).revision(random.u32(..6));
        if random.u8(..8) == 0 {
            event.metadata = mutated(r#"{"note":"x"}"#, random).into();
        }
        if let Err(error) = read_recorded::<Placed>(&event) {
            assert!(error.to_string().contains("position 1"), "{error}");
        }
    });
}
