use retold::prelude::*;

#[derive(Event)]
struct Barked;

#[derive(Event)]
struct Meowed;

#[derive(Aggregate, Clone, Default)]
#[aggregate(event = Barked)]
struct Dog;

impl Apply<Barked> for Dog {
    fn apply(&mut self, _: &Barked) {}
}

fn main() {
    let dog = Id::<Dog>::new(Uuid::nil());
    Meowed.to(&dog);
}
