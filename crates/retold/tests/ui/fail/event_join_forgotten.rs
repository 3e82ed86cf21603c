use retold::prelude::*;

#[derive(Event, Serialize, Deserialize)]
struct Registered {
    name: String,
}

#[derive(Serialize, Deserialize)]
struct Content {
    trick: String,
}

#[derive(Event, Serialize, Deserialize)]
enum DogEvent {
    Registered(Registered),
    TrickAdded(Content),
}

fn main() {}
