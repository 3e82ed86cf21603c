//! Random operations give the same answers here and in memory, also across reopening.

use std::sync::Arc;

use retold_core::recording::append::Append;
use retold_core::recording::condition::{Condition, ExpectedVersion};
use retold_core::recording::identity::{EventId, LogId, Mark, Position, Version};
use retold_core::recording::memory::MemoryStore;
use retold_core::recording::query::{Query, QueryItem};
use retold_core::recording::recorder::{LogRead, Recorder, StreamRead, StretchRead};
use retold_core::recording::store::Store;
use retold_core::recording::stretch::{FollowerKey, Stretch};
use uuid::Uuid;

use crate::place::{Place, event};

struct Random(fastrand::Rng);

impl Random {
    fn name(&mut self, kind: &str) -> String {
        format!("{kind}{}", self.0.u8(0..5))
    }

    fn maybe<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.0.bool().then(|| value(self))
    }

    fn position(&mut self) -> Option<Position> {
        Position::new(self.0.u64(0..120))
    }

    fn query(&mut self) -> Query {
        if self.0.u8(0..8) == 0 {
            return Query::All;
        }
        let items = (0..self.0.usize(1..4)).map(|_| {
            let mut item = QueryItem::new();
            while item == QueryItem::new() {
                for _ in 0..self.0.u8(0..3) {
                    item = item.stream(self.name("s/"));
                }
                for _ in 0..self.0.u8(0..3) {
                    item = item.topic(self.name("T"));
                }
                for _ in 0..self.0.u8(0..3) {
                    item = item.tag(self.name("t"));
                }
            }
            item
        });
        Query::Items(items.collect())
    }

    fn append(&mut self, fresh: &mut u128) -> Append {
        let mut append = Append::new();
        for _ in 0..self.0.usize(0..4) {
            let id = match self.0.u8(0..10) {
                0 => self.0.u128(1..=*fresh),
                1 => {
                    *fresh += 5;
                    *fresh - 3
                }
                _ => {
                    *fresh += 1;
                    *fresh
                }
            };
            let mut new = event(id);
            new.topic = self.name("T").into();
            new.stream = self.maybe(|it| it.name("s/").into());
            for _ in 0..self.0.u8(0..3) {
                new = new.tag(self.name("t"));
            }
            append = append.event(new);
        }
        if self.0.u8(0..4) == 0 {
            let expected = match self.0.u8(0..3) {
                0 => ExpectedVersion::None,
                1 => ExpectedVersion::Exists,
                _ => ExpectedVersion::At(Version::new(self.0.u64(1..6)).unwrap()),
            };
            append = append.condition(Condition::stream_at(self.name("s/"), expected));
        }
        if self.0.u8(0..4) == 0 {
            let (query, after) = (self.query(), self.position());
            append = append.condition(Condition::none_match_after(query, after));
        }
        if self.0.u8(0..4) == 0 {
            for _ in 0..self.0.u8(1..3) {
                append = append.stretch(self.stretch());
            }
        }
        append
    }

    fn stretch(&mut self) -> Stretch {
        let after = self.0.u64(0..6);
        let to = Mark {
            position: Position::new(after + self.0.u64(1..3)).unwrap(),
            event_id: EventId::new(Uuid::from_u128(9)),
        };
        let upstream = LogId::new(Uuid::from_u128(self.0.u128(0..2)));
        let follower = FollowerKey::new(self.name("f"));
        Stretch::new(follower, upstream, Position::new(after), to).edition(self.0.u32(1..3))
    }

    fn log_read(&mut self) -> LogRead {
        let read = LogRead::of(self.query())
            .after(self.maybe(Self::position).flatten())
            .until(self.maybe(Self::position).flatten())
            .limit(self.0.usize(1..20));
        if self.0.bool() { read.backward() } else { read }
    }

    fn stream_read(&mut self) -> StreamRead {
        let version = |it: &mut Self| Version::new(it.0.u64(0..12));
        let read = StreamRead::new(self.name("s/"))
            .after(self.maybe(version).flatten())
            .until(self.maybe(version).flatten())
            .limit(self.0.usize(1..10));
        if self.0.bool() { read.backward() } else { read }
    }
}

async fn check_reads(random: &mut Random, ours: &dyn Recorder, model: &dyn Recorder, seed: u64) {
    let context = format!("RETOLD_SEED={seed}");
    let read = random.log_read();
    let pages = (
        ours.read_log(read.clone()).await,
        model.read_log(read.clone()).await,
    );
    match pages {
        (Ok(a), Ok(b)) => {
            let content = |page: &retold_core::recording::recorder::Page| {
                let events = page.events.iter();
                events
                    .map(|it| (it.mark(), it.version(), it.place(), it.topic().to_owned()))
                    .collect::<Vec<_>>()
            };
            assert_eq!(content(&a), content(&b), "{context} {read:?}");
            assert_eq!((a.read_to, a.end), (b.read_to, b.end), "{context} {read:?}");
        }
        (a, b) => assert_eq!(a.is_err(), b.is_err(), "{context} {read:?} {a:?} {b:?}"),
    }
    let read = random.stream_read();
    let pages = (
        ours.read_stream(read.clone()).await,
        model.read_stream(read.clone()).await,
    );
    if let (Ok(a), Ok(b)) = pages {
        let marks = |page: &retold_core::recording::recorder::Page| {
            page.events.iter().map(|it| it.mark()).collect::<Vec<_>>()
        };
        assert_eq!(marks(&a), marks(&b), "{context} {read:?}");
        assert_eq!((a.read_to, a.end), (b.read_to, b.end), "{context} {read:?}");
    }
    let read = StretchRead::new().after(random.0.u64(0..10)).limit(7);
    assert_eq!(
        ours.stretches(read.clone()).await.unwrap(),
        model.stretches(read).await.unwrap(),
        "{context}"
    );
    assert_eq!(
        ours.head().await.unwrap(),
        model.head().await.unwrap(),
        "{context}"
    );
    assert_eq!(
        ours.streams("s/", None, 9).await.unwrap(),
        model.streams("s/", None, 9).await.unwrap(),
        "{context}"
    );
}

#[tokio::test]
async fn random_operations_give_the_answers_of_memory() {
    let given = std::env::var("RETOLD_SEED").ok();
    let seed = given.map_or_else(|| fastrand::u64(..), |it| it.parse().unwrap());
    let mut random = Random(fastrand::Rng::with_seed(seed));
    let place = Place::new();
    let (birth, mut fresh) = (LogId::new(Uuid::from_u128(7)), 1);
    let model = MemoryStore::new().open("dogs", birth).await.unwrap();
    for _ in 0..8 {
        let store = place.open();
        store.open("others", birth).await.unwrap();
        let ours: Arc<dyn Recorder> = store.open("dogs", birth).await.unwrap();
        for _ in 0..60 {
            let append = random.append(&mut fresh);
            let answers = (
                ours.append(append.clone()).await,
                model.append(append.clone()).await,
            );
            assert_eq!(
                format!("{:?}", answers.0),
                format!("{:?}", answers.1),
                "RETOLD_SEED={seed}: {append:?}"
            );
            check_reads(&mut random, &*ours, &*model, seed).await;
        }
    }
}
