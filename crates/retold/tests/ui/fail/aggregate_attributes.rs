use retold::prelude::*;

#[derive(Event, Serialize, Deserialize)]
struct Barked {
    loudness: u8,
}

#[derive(Aggregate, Clone, Default)]
#[aggregate(events = Barked)]
struct Plural;

#[derive(Aggregate, Clone, Default)]
#[aggregate(event = Barked, type = "dog/hound")]
struct Slash;

#[derive(Aggregate, Clone, Default)]
#[aggregate(event = Barked, type = "")]
struct Empty;

#[derive(Aggregate, Clone, Default)]
#[aggregate(event = Barked, type = "retold.follower")]
struct Reserved;

#[derive(Aggregate, Clone, Default)]
#[aggregate(event = Barked, type = Dog)]
struct NoText;

#[derive(Aggregate, Clone, Default)]
#[aggregate(event = Barked, snapshots)]
struct NoRule;

#[derive(Aggregate, Clone, Default)]
#[aggregate(event = Barked, snapshots(every = 0))]
struct EveryNone;

#[derive(Aggregate, Clone, Default)]
#[aggregate(event = Barked, snapshots(evry = 10))]
struct Misspelt;

#[derive(Aggregate, Clone, Default)]
#[aggregate(event = Barked, event = Barked)]
struct Twice;

#[derive(Aggregate, Clone, Default)]
struct OnField {
    #[aggregate(event = Barked)]
    name: String,
}

fn main() {}
