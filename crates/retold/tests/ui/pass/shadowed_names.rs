//! Names that the derives use, taken by the user: those of the prelude, of crates, of primitive
//! types, of type parameters and of bindings; and names that are keywords.

#![allow(
    dead_code,
    non_camel_case_types,
    non_upper_case_globals,
    missing_docs,
    reason = "the names are what is tested"
)]

mod core {}
mod std {}
mod retold {}
mod serde {}

struct Option;
struct Result;
struct String;
struct Vec;
struct Some;
struct None;
struct Ok;
struct Err;
struct Box;
trait From {}
trait Into {}
trait IntoIterator {}
trait Iterator {}
trait Extend {}
trait Default {}
trait Clone {}

const event: u8 = 0;
const index: u8 = 0;
const tags: u8 = 0;
const key: u8 = 0;
const text: u8 = 0;
const inner: u8 = 0;
const events: u8 = 0;
const serializer: u8 = 0;
const deserializer: u8 = 0;
const type_index: u8 = 0;
const field_0: u8 = 0;

/// Events named like type parameters, and keywords, where the names above are used too.
mod named {
    #[allow(unused_imports, reason = "they shadow what the derives must not use")]
    use super::*;
    use ::retold::prelude::{Event, Key};
    use ::retold::serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Event, Serialize, Deserialize)]
    #[event(tag = "r:{type}", tag = "m:{r#match}")]
    pub struct S {
        pub r#type: u32,
        pub r#match: u32,
    }

    #[derive(Debug, PartialEq, Event)]
    pub struct D;

    #[derive(Debug, PartialEq, Event)]
    pub struct r#struct;

    #[derive(Key, Clone, PartialEq, Eq, Hash, Debug)]
    pub struct A {
        pub r#fn: u64,
    }

    #[derive(Debug, PartialEq, Event, Serialize, Deserialize)]
    pub enum E {
        r#enum { r#in: u8 },
        S,
        D(u8),
    }
}

/// The derives of serde expand to `str`, so these types do not use them.
mod primitive {
    struct usize;
    struct str;

    #[derive(Debug, PartialEq, ::retold::prelude::Event)]
    pub struct Bare;

    #[derive(Debug, PartialEq, ::retold::prelude::Event)]
    #[event(join)]
    pub enum Both {
        Bare(Bare),
    }

    #[derive(::retold::prelude::Key, Clone, PartialEq, Eq, Hash, Debug)]
    pub struct Number(pub u64);

    #[derive(::retold::prelude::Aggregate, Clone, Default)]
    #[aggregate(event = Both, key = Number)]
    pub struct Counted;

    impl ::retold::prelude::Apply<Both> for Counted {
        fn apply(&mut self, _: &Both) {}
    }
}

use named::{A, D, E, S};

#[derive(Debug, PartialEq, ::retold::prelude::Event)]
#[event(join)]
enum Joined {
    S(S),
    D(D),
    E(E),
    r#struct(named::r#struct),
}

#[derive(::retold::prelude::Aggregate)]
#[aggregate(event = Joined, key = A)]
#[derive(::core::fmt::Debug, ::core::default::Default, ::core::clone::Clone)]
struct Aggregate {
    count: u32,
}

impl ::retold::prelude::Apply<Joined> for Aggregate {
    fn apply(&mut self, _: &Joined) {
        self.count += 1;
    }
}

/// Topics and texts are the same as under other names.
pub fn main() {
    use ::retold::prelude::{Event as _, Key as _};
    let types = <Joined as ::retold::prelude::Event>::TYPES;
    let mut topics: ::std::vec::Vec<&::core::primitive::str> = ::std::vec::Vec::new();
    for it in types {
        topics.push(it.topic);
    }
    ::core::assert_eq!(topics, ["S", "D", "E.enum", "E.S", "E.D", "struct"]);
    let joined = <Joined as ::core::convert::From<S>>::from(S {
        r#type: 1,
        r#match: 2,
    });
    ::core::assert_eq!(joined.tags().len(), 2);
    ::core::assert_eq!(A { r#fn: 7 }.to_text(), "7");
}
