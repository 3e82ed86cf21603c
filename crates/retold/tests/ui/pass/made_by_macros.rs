//! Types that macros make, with names, types, tags and functions from where the macro is used and from where
//! it is written.

use retold::prelude::*;

macro_rules! event {
    ($name:ident, $field:ident: $type:ty) => {
        /// An event of one field.
        #[derive(Debug, PartialEq, Event, Serialize, Deserialize)]
        #[event(tag = "made", tags = no_tags)]
        pub struct $name {
            /// Its field.
            pub $field: $type,
        }
    };
    ($name:ident) => {
        /// An event without fields.
        #[derive(Debug, PartialEq, Event)]
        pub struct $name;
    };
    ($name:ident($type:ty), $tag:literal) => {
        /// An event of one field without a name, with a tag from outside and one of its own.
        #[derive(Debug, PartialEq, Event, Serialize, Deserialize)]
        #[event(topic = "made.tuple", tag = $tag, tag = "own:{0}", revision = 2)]
        pub struct $name(pub $type);
    };
}

macro_rules! events {
    ($name:ident { $($variant:ident { $field:ident: $type:ty }),+ $(,)? }, $tag:literal, $($unit:ident),*) => {
        /// An enum of events.
        #[derive(Debug, PartialEq, Event, Serialize, Deserialize)]
        #[event(tag = $tag, tags = no_tags)]
        pub enum $name {
            $(
                /// A variant with a field.
                $variant {
                    /// Its field.
                    $field: $type,
                },
            )+
            $(
                /// A variant without.
                $unit,
            )*
        }
    };
}

macro_rules! joined {
    ($name:ident { $($part:ident),+ }) => {
        /// Joins events.
        #[derive(Debug, PartialEq, Event)]
        #[event(join)]
        pub enum $name {
            $(
                /// One of them.
                $part($part),
            )+
        }
    };
}

macro_rules! aggregate {
    ($name:ident, $event:ty, $key:ident($inner:ty)) => {
        /// A key.
        #[derive(Key, Clone, PartialEq, Eq, Hash, Debug)]
        pub struct $key($inner);

        /// An aggregate.
        #[derive(Aggregate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[aggregate(event = $event, key = $key, snapshots(every = 10))]
        pub struct $name {
            count: u32,
        }

        impl Apply<$event> for $name {
            fn apply(&mut self, _: &$event) {
                self.count += 1;
            }
        }
    };
}

fn no_tags<E>(_: &E) -> [&'static str; 0] {
    []
}

event!(Opened, value: u32);
event!(Closed);
event!(Noted(Option<String>), "note:{0}");
events!(Move { Left { by: u32 }, Right { by: u32 } }, "by:{by}", Stay);
joined!(Door {
    Opened,
    Closed,
    Noted
});
aggregate!(House, Door, Number(u64));

/// What is made is recorded and read back, folded and tagged.
pub fn main() {
    for event in [
        Door::from(Opened { value: 1 }),
        Closed.into(),
        Noted(Some("oak".into())).into(),
    ] {
        let payload = event.serialize_payload(serde_json::value::Serializer);
        let payload = payload.expect("it is written");
        let again = Door::deserialize_payload(event.type_index(), payload);
        assert_eq!(again.expect("it is read"), event);
    }
    let texts = |tags: std::collections::BTreeSet<std::sync::Arc<str>>| {
        tags.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        texts(Noted(Some("oak".into())).tags()),
        ["note:oak", "own:oak"]
    );
    assert_eq!(texts(Move::Left { by: 2 }.tags()), ["by:2"]);
    assert_eq!(texts(Move::Stay.tags()), Vec::<String>::new());
    let house = fold(House::default(), [&Door::Closed(Closed)]);
    assert_eq!(house.count, 1);
    assert_eq!(Number(7).to_text(), "7");
}
