use retold::prelude::*;

struct Barked;

#[derive(Aggregate, Clone, Default)]
#[aggregate(event = Barked)]
struct Dog;

impl Apply<Barked> for Dog {
    fn apply(&mut self, _: &Barked) {}
}

fn main() {}
