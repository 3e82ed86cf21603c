use retold::prelude::*;

#[derive(Event, Serialize, Deserialize)]
#[event(tag = "dog:{nmae}")]
struct Misspelt {
    name: String,
}

#[derive(Event, Serialize, Deserialize)]
#[event(tag = "dog:{name}")]
enum InNoVariant {
    Barked { loudness: u8 },
    Slept,
}

#[derive(Event, Serialize, Deserialize)]
enum InThisVariant {
    #[event(tag = "dog:{1}")]
    Named(String),
    Renamed(String, String),
}

#[derive(Event, Serialize, Deserialize)]
#[event(tag = "dog:{name")]
struct Open {
    name: String,
}

#[derive(Event, Serialize, Deserialize)]
#[event(tag = "dog:name}")]
struct Close {
    name: String,
}

#[derive(Event, Serialize, Deserialize)]
#[event(tag = "dog:{name:?}")]
struct Formatted {
    name: String,
}

#[derive(Event, Serialize, Deserialize)]
#[event(tag = "dogs:{names}")]
struct NotPrinted {
    names: Vec<String>,
}

#[derive(Event, Serialize, Deserialize)]
#[event(tag = "")]
struct Empty {
    names: Vec<String>,
}

#[derive(Event, Serialize, Deserialize)]
#[event(tag = "dog:{name}")]
enum OfSomeVariants {
    Registered { name: String },
    TrickAdded { trick: String },
}

fn main() {}
