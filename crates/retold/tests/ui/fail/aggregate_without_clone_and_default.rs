use retold::prelude::*;

#[derive(Event)]
struct Barked;

#[derive(Aggregate)]
#[aggregate(event = Barked)]
struct Dog;

impl Apply<Barked> for Dog {
    fn apply(&mut self, _: &Barked) {}
}

fn main() {}
