use retold::prelude::*;

#[derive(Key, Clone, Debug, PartialEq, Eq, Hash)]
struct Pair(u32, u32);

#[derive(Key, Clone, Debug, PartialEq, Eq, Hash)]
enum Either {
    One,
}

#[derive(Key, Clone, Debug, PartialEq, Eq, Hash)]
struct Generic<T>(T);

#[derive(Key, Clone, Debug, PartialEq, Eq, Hash)]
#[key(text = "…")]
struct Unknown(u32);

#[derive(Key, Clone, Debug, PartialEq, Eq, Hash)]
struct NoKey(NotAKey);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct NotAKey;

fn main() {}
