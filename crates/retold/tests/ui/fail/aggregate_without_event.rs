use retold::prelude::*;

#[derive(Aggregate, Clone, Default)]
struct Dog;

fn main() {}
