//! Subjects of events that are declared wrongly.

use retold::prelude::*;

#[derive(Event, Serialize, Deserialize)]
#[event(subject = "customer:{id}")]
struct Forgotten {
    id: u32,
}

#[derive(Event, Serialize, Deserialize)]
enum ForgottenVariant {
    #[event(subject = "customer:{id}")]
    Wrote { id: u32, text: String },
}

#[derive(Event, Serialize, Deserialize)]
#[event(subject = "customer:{id}")]
enum ForgottenVariants {
    Wrote { id: u32, text: String },
}

#[derive(Event, Serialize, Deserialize)]
#[event(tag = "name:{name}")]
struct Tagged {
    id: u32,
    #[event(subject = "customer:{id}")]
    name: Option<String>,
}

#[derive(Event, Serialize, Deserialize)]
#[event(tag = "name:{name}")]
enum TaggedVariants {
    Registered {
        id: u32,
        #[event(subject = "customer:{id}")]
        name: Option<String>,
    },
}

#[derive(Event, Serialize, Deserialize)]
enum TaggedVariant {
    #[event(tag = "customer:{id}", tag = "name:{name}")]
    Registered {
        id: u32,
        #[event(subject = "customer:{id}")]
        name: Option<String>,
    },
}

#[derive(Event, Serialize, Deserialize)]
struct WithoutDefault {
    id: u32,
    #[event(subject = "customer:{id}")]
    name: String,
}

#[derive(Event, Serialize, Deserialize)]
struct OfItself {
    #[event(subject = "customer:{name}")]
    #[serde(default)]
    name: String,
}

#[derive(Event, Serialize, Deserialize)]
#[event(subject = "customer", erased = skip)]
struct OfNone {
    id: u32,
}

// What is allowed: a value for an event that was forgotten, also once for all variants.
#[derive(Event, Serialize, Deserialize)]
#[event(subject = "customer:{id}", erased = skip, tag = "customer:{id}")]
enum Good {
    Wrote { id: u32, text: String },
}

fn main() {}
