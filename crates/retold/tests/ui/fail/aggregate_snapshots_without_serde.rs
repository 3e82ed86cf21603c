use retold::prelude::*;

#[derive(Event)]
struct Barked;

#[derive(Aggregate, Clone, Default)]
#[aggregate(event = Barked, snapshots(every = 10))]
struct Dog;

impl Apply<Barked> for Dog {
    fn apply(&mut self, _: &Barked) {}
}

fn main() {}
