use retold::prelude::*;

#[derive(Event)]
#[event(topics = "barked")]
struct Misspelt;

#[derive(Event)]
#[event(version = 2)]
struct Unknown;

#[derive(Event)]
#[event(topic = "a", topic = "b")]
struct Twice;

#[derive(Event)]
#[event(topic = Barked)]
struct NoText;

#[derive(Event)]
#[event(topic)]
struct NoValue;

#[derive(Event)]
#[event(topic = "")]
struct Empty;

#[derive(Event)]
#[event(topic = "two\nlines")]
struct Control;

#[derive(Event)]
#[event(topic = "retold.started")]
struct Reserved;

#[derive(Event)]
#[event(formerly = "yapped")]
struct NoList;

#[derive(Event)]
#[event(formerly())]
struct EmptyList;

#[derive(Event)]
#[event(revision = 0)]
struct RevisionNone;

#[derive(Event)]
#[event(revision = "2")]
struct RevisionText;

#[derive(Event)]
#[event]
struct Bare;

#[derive(Event, Serialize, Deserialize)]
struct OnField {
    #[event(tag = "{name}")]
    name: String,
}

#[derive(Event, Serialize, Deserialize)]
#[event(revision = 2)]
enum RevisionOfEnum {
    Barked { loudness: u8 },
}

#[derive(Event, Serialize, Deserialize)]
enum OnVariant {
    #[event(former("a"))]
    Barked { loudness: u8 },
}

#[derive(Event, Serialize, Deserialize)]
enum FunctionOnVariant {
    #[event(tags = some::function)]
    Barked { loudness: u8 },
}

fn main() {}
