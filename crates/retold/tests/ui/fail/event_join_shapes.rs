use retold::prelude::*;

#[derive(Event)]
struct Walked;

struct Slept;

#[derive(Event)]
#[event(join)]
enum NoEvent {
    Slept(Slept),
}

#[derive(Event)]
#[event(join)]
enum NotOne {
    Walked { walked: Walked },
}

#[derive(Event)]
#[event(join)]
enum Twice {
    Walked(Walked),
    Again(Walked),
}

#[derive(Event)]
#[event(join)]
enum OnVariant {
    #[event(topic = "walked")]
    Walked(Walked),
}

#[derive(Event)]
#[event(join, topic = "dog")]
enum WithTopic {
    Walked(Walked),
}

#[derive(Event)]
#[event(join)]
struct NoEnum {
    walked: Walked,
}

fn main() {}
