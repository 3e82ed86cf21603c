use retold::prelude::*;

#[derive(Event)]
#[event(topic = "walked")]
struct Walked;

#[derive(Event)]
#[event(formerly("walked"))]
struct Strolled;

#[derive(Event)]
#[event(join)]
enum DogEvent {
    Walked(Walked),
    Strolled(Strolled),
}

fn main() {}
