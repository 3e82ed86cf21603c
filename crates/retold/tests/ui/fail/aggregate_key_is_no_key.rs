use retold::prelude::*;

#[derive(Event)]
struct Barked;

struct Chip;

#[derive(Aggregate, Clone, Default)]
#[aggregate(event = Barked, key = Chip)]
struct Dog;

impl Apply<Barked> for Dog {
    fn apply(&mut self, _: &Barked) {}
}

fn main() {}
