use retold::prelude::*;

#[derive(Event)]
enum DogEvent {
    Registered { name: String },
}

#[derive(Event)]
struct TrickAdded {
    trick: String,
}

fn main() {}
