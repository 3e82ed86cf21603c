//! Older shapes, past events and erased ones that are declared wrongly.

use retold::prelude::*;

#[derive(Deserialize)]
struct V1 {}

#[derive(Event, Serialize, Deserialize)]
#[event(revision = 2, from(2 = V1))]
struct NotOlder {}

#[derive(Event, Serialize, Deserialize)]
#[event(from(1 = V1))]
struct WithoutRevision {}

#[derive(Event, Serialize, Deserialize)]
#[event(revision = 3, ahead(3 = V1))]
struct NotNewer {}

#[derive(Event, Serialize, Deserialize)]
#[event(revision = 3, from(2 = V1, 1 = V1))]
struct Descending {}

#[derive(Event, Serialize, Deserialize)]
#[event(revision = 2, from(0 = V1))]
struct BeforeTheFirst {}

#[derive(Event, Serialize, Deserialize)]
#[event(revision = 2, from = V1)]
struct NoRevisions {}

#[derive(Event, Serialize, Deserialize)]
#[event(erased = "nothing")]
struct ErasedText {}

#[derive(Event, Serialize, Deserialize)]
#[event(from(1 = V1))]
enum OnTheEnum {
    A,
}

#[derive(Event, Serialize, Deserialize)]
enum OnTheVariant {
    #[event(past(NotOlder))]
    A,
}

#[derive(Event, Serialize, Deserialize)]
#[event(revision = 2, from(1 = V1))]
struct NotConverted {}

#[derive(Event, Serialize, Deserialize)]
struct Gone {}

#[derive(Event, Serialize, Deserialize)]
#[event(past(Gone))]
enum NotSplit {
    A,
}

fn main() {}
