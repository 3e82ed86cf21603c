use retold::prelude::*;

#[derive(Event)]
struct Barked;

#[derive(Aggregate, Clone, Default)]
#[aggregate(event = Barked)]
struct Kennel<T> {
    inmates: Vec<T>,
}

#[derive(Aggregate)]
#[aggregate(event = Barked)]
union Either {
    one: u8,
    other: i8,
}

fn main() {}
