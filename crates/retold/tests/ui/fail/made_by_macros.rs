// Mistakes in types that macros make are shown where somebody wrote them.

use retold::prelude::*;

macro_rules! event {
    ($name:ident, $type:ty) => {
        #[derive(Event)]
        struct $name {
            value: $type,
        }
    };
}

macro_rules! generic {
    ($name:ident, $parameter:ident) => {
        #[derive(Event, Serialize, Deserialize)]
        enum $name<$parameter> {
            Opened { value: $parameter },
        }
    };
}

macro_rules! joined {
    ($name:ident, $part:ident) => {
        #[derive(Event)]
        #[event(join)]
        enum $name {
            $part($part),
        }
    };
}

struct NoEvent;

event!(WithoutSerde, u32);
generic!(Generic, T);
joined!(Joined, NoEvent);

fn main() {}
