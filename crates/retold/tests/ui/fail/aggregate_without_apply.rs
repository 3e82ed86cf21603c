use retold::prelude::*;

#[derive(Event, Serialize, Deserialize)]
enum DogEvent {
    Registered { name: String },
}

#[derive(Aggregate, Clone, Default)]
#[aggregate(event = DogEvent)]
struct Dog;

fn main() {}
