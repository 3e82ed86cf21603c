use retold::prelude::*;

#[derive(Event, Serialize, Deserialize)]
struct Wrapped<T> {
    inner: T,
}

#[derive(Event, Serialize, Deserialize)]
enum Borrowed<'a> {
    Named { name: &'a str },
}

#[derive(Event)]
struct Sized<const N: usize>;

#[derive(Event)]
union Either {
    one: u8,
    other: i8,
}

#[derive(Event)]
enum Nothing {}

fn main() {}
