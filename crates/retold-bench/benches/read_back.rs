//! The cost of reading an event back before it is recorded: `cargo bench -p retold-bench`.
//!
//! Three loops run interleaved for each event, so that a busy machine slows all of them: encoding
//! alone, encoding with reading back, and the floor, which is encoding, decoding and encoding again
//! with `serde_json` and nothing else. The shortest time of each loop counts.

use std::collections::{HashMap, HashSet};
use std::hint::black_box;
use std::time::{Duration, Instant};

use retold::mapping::{Codec, Envelope, Mapper};
use retold::prelude::*;
use retold::recording::EventId;

const ROUNDS: usize = 200;
const EVENTS_PER_ROUND: u32 = 200;

#[derive(Event, Serialize, Deserialize)]
struct Small {
    name: String,
    number: u64,
    is_new: bool,
    note: Option<String>,
}

#[derive(Event, Serialize, Deserialize)]
struct Order {
    number: u64,
    customer: String,
    address: Address,
    lines: Vec<Line>,
    note: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Address {
    street: String,
    postal_code: String,
    city: String,
    country: String,
}

#[derive(Serialize, Deserialize)]
struct Line {
    article: String,
    title: String,
    count: u32,
    price: i64,
    discount: Option<f64>,
}

#[derive(Event, Serialize, Deserialize)]
struct HashedMap {
    counts: HashMap<String, u64>,
}

#[derive(Event, Serialize, Deserialize)]
struct HashedSet {
    names: HashSet<String>,
}

fn order() -> Order {
    let line = |number: u32| Line {
        article: format!("A-{number:05}"),
        title: format!("Wooden train, wagon {number}"),
        count: number,
        price: 1_999 + i64::from(number),
        discount: number.is_multiple_of(2).then_some(0.125),
    };
    Order {
        number: 2_013_000_017,
        customer: "Ann Example".into(),
        address: Address {
            street: "12 Long Street".into(),
            postal_code: "EX1 2MP".into(),
            city: "Exampleton".into(),
            country: "GB".into(),
        },
        lines: (1..=6).map(line).collect(),
        note: Some("Leave it with the neighbours, please.".into()),
    }
}

fn main() {
    println!("| event | bytes | encode | added by reading back | floor of that | ratio |");
    println!("|---|---|---|---|---|---|");
    measure(
        "small",
        &Small {
            name: "Fido".into(),
            number: 17,
            is_new: true,
            note: None,
        },
    );
    measure("order", &order());
    let names = || (0..20_u64).map(|number| (format!("name-{number}"), number));
    let counts = names().collect();
    measure("map of 20 hashed entries", &HashedMap { counts });
    let names = names().map(|(name, _)| name).collect();
    measure("set of 20 hashed texts", &HashedSet { names });
}

fn measure<E: Event + Serialize + for<'de> Deserialize<'de>>(name: &str, event: &E) {
    let mapper = Mapper::default();
    let envelope = || Envelope::new(EventId::new(Uuid::nil()), Timestamp::default());
    let [mut alone, mut with_reading_back, mut floor] = [Duration::MAX; 3];
    for _ in 0..ROUNDS {
        alone = alone.min(time(|| {
            black_box(Codec::Json.encode(black_box(event))).expect("it is encoded");
        }));
        with_reading_back = with_reading_back.min(time(|| {
            black_box(mapper.encode(black_box(event), envelope())).expect("it is encoded");
        }));
        floor = floor.min(time(|| {
            let json = serde_json::to_vec(black_box(event)).expect("it is encoded");
            let read_back: E = serde_json::from_slice(&json).expect("it is decoded");
            black_box(serde_json::to_vec(&read_back)).expect("it is encoded");
        }));
    }
    let bytes = Codec::Json.encode(event).expect("it is encoded").len();
    let nanos = |time: Duration| time.as_nanos() / u128::from(EVENTS_PER_ROUND);
    let added = with_reading_back.saturating_sub(alone);
    let floor = floor.saturating_sub(alone);
    let ratio = added.as_secs_f64() / floor.as_secs_f64();
    println!(
        "| {name} | {bytes} | {} ns | {} ns | {} ns | {ratio:.2} |",
        nanos(alone),
        nanos(added),
        nanos(floor),
    );
}

fn time(mut work: impl FnMut()) -> Duration {
    let began = Instant::now();
    for _ in 0..EVENTS_PER_ROUND {
        work();
    }
    began.elapsed()
}
