//! Queries of several tags and topics that are all frequent: read and checked block by block, by
//! bits where they were checked before, with the same results as a scan of every event.

use std::collections::BTreeSet;
use std::sync::Arc;

use fastrand::Rng;
use retold_core::recording::{
    AMENDED_TOPIC, Amendment, Append, Appended, Condition, Conflict, ErasedParts, EventId, LogId,
    LogRead, NewEvent, PageEnd, Position, Query, QueryItem, RecordError, Recorder, Replacement,
    Store, verify_log,
};
use retold_postgres::PostgresStore;
use uuid::Uuid;

use crate::database::{Database, block_on, until};
use crate::writers::seed;

/// Events of the log: four blocks of 8192 positions, and part of a fifth.
const EVENTS: u64 = 36_000;
/// Events per append when the log is filled.
const BATCH: u64 = 1_000;
/// Reads, before and after each condition.
const READS: usize = 40;
/// Number of conditions.
const CONDITIONS: usize = 40;

const TAGS: [&str; 7] = ["even", "odd", "low", "high", "all", "middle", "seldom"];
const TOPICS: [&str; 3] = ["Third", "Began", "Other"];

fn topic(position: u64) -> &'static str {
    match position {
        _ if position.is_multiple_of(3) => "Third",
        9_000..12_000 => "Began",
        _ => "Other",
    }
}

fn tags(position: u64) -> BTreeSet<&'static str> {
    let is_of = |tag: &&str| match *tag {
        "even" => position.is_multiple_of(2),
        "odd" => !position.is_multiple_of(2),
        "low" => position < 20_000,
        "high" => position >= 20_000,
        "middle" => (8_000..30_000).contains(&position),
        "seldom" => position.is_multiple_of(977),
        _ => true,
    };
    TAGS.into_iter().filter(is_of).collect()
}

/// A query, and the positions up to `EVENTS` that match it.
struct Question {
    query: Query,
    matches: Vec<u64>,
}

fn question(random: &mut Rng) -> Question {
    let some = |random: &mut Rng, names: &[&'static str], most: usize| -> BTreeSet<&'static str> {
        let count = random.usize(0..=most);
        random
            .choose_multiple(names.iter().copied(), count)
            .into_iter()
            .collect()
    };
    let (mut wanted, topics) = (some(random, &TAGS, 3), some(random, &TOPICS, 2));
    if wanted.is_empty() {
        wanted.insert("all");
    }
    let mut item = QueryItem::new();
    for tag in &wanted {
        item = item.tag(*tag);
    }
    for topic in &topics {
        item = item.topic(*topic);
    }
    let is_match = |position: &u64| {
        wanted.is_subset(&tags(*position))
            && (topics.is_empty() || topics.contains(topic(*position)))
    };
    Question {
        query: Query::item(item),
        matches: (1..=EVENTS).filter(is_match).collect(),
    }
}

async fn fill(log: &dyn Recorder) {
    for first in (1..=EVENTS).step_by(BATCH as usize) {
        let events = (first..first + BATCH).map(|position| {
            let id = EventId::new(Uuid::from_u128(position.into()));
            let event = NewEvent::new(id, topic(position), "{}");
            tags(position).into_iter().fold(event, NewEvent::tag)
        });
        log.append(Append::of(events)).await.unwrap();
    }
}

async fn read(log: &dyn Recorder, random: &mut Rng, question: &Question) {
    let limit = random.choice([1, 10, 500]).unwrap();
    let (one, other) = (random.u64(0..EVENTS), random.u64(1..=EVENTS));
    let (low, high) = (one.min(other), one.max(other));
    let is_backward = random.bool();
    let within = |it: &&u64| match is_backward {
        true => (low.max(1)..high).contains(it),
        false => (low + 1..=high).contains(it),
    };
    let all: Vec<u64> = question.matches.iter().filter(within).copied().collect();
    let expected: Vec<u64> = match is_backward {
        true => all.iter().rev().take(limit).copied().collect(),
        false => all.iter().take(limit).copied().collect(),
    };
    let read = LogRead::of(question.query.clone()).limit(limit);
    let mut read = match is_backward {
        true => read.backward().after(Position::new(high)),
        false => read.after(Position::new(low)),
    };
    read.until = Position::new(if is_backward { low.max(1) } else { high });
    let page = log.read_log(read).await.unwrap();
    let found: Vec<u64> = page.events.iter().map(|it| it.position().get()).collect();
    assert_eq!(
        found, expected,
        "{:?} {low}..{high} {is_backward}",
        question.query
    );
    assert_eq!(page.end == PageEnd::Complete, all.len() < limit);
}

async fn judge(log: &dyn Recorder, random: &mut Rng, question: &Question) {
    let after = match random.bool() {
        true => 0,
        false => random.u64(0..EVENTS),
    };
    let condition = Condition::NoneMatch {
        query: question.query.clone(),
        after: Position::new(after),
    };
    let id = EventId::new(Uuid::now_v7());
    let append = Append::new().event(NewEvent::new(id, "Judged", "{}"));
    let judged = log.append(append.condition(condition)).await;
    let first = question.matches.iter().find(|it| **it > after).copied();
    let found = match judged {
        Ok(Appended::Recorded(_)) => None,
        Err(RecordError::Conflict(Conflict::Query { found, .. })) => Some(found.position.get()),
        other => panic!("{other:?}"),
    };
    assert_eq!(found, first, "{:?} after {after}", question.query);
}

#[test]
fn frequent_tags_and_topics_are_intersected() {
    let mut random = Rng::with_seed(seed());
    block_on(async {
        let database = Database::create().await;
        let store = database.open().await;
        let log = store
            .open("many", LogId::new(Uuid::from_u128(1)))
            .await
            .unwrap();
        fill(&*log).await;
        // None was used in a condition yet: by rows.
        for _ in 0..READS {
            let question = question(&mut random);
            read(&*log, &mut random, &question).await;
        }
        for _ in 0..CONDITIONS {
            let question = question(&mut random);
            judge(&*log, &mut random, &question).await;
        }
        // Some were: by bits, by rows, and by both where the last block is not full.
        for _ in 0..READS {
            let question = question(&mut random);
            read(&*log, &mut random, &question).await;
            judge(&*log, &mut random, &question).await;
        }
        let made = "SELECT count(*) FROM retold.presence";
        let made: i64 = database
            .client()
            .await
            .query_one(made, &[])
            .await
            .unwrap()
            .get(0);
        assert!(made > 0, "nothing was checked by bits");
        let found = store.verify().await.unwrap();
        assert!(found.is_empty(), "{found:?}");
    });
}

/// Goal: an intersection of frequent tags and topics finds amended events by what they have now, in
/// reads and in conditions, with the bits of before and with new ones. Method: an event in each
/// block gets the missing tag and topic, and loses all tags again.
#[test]
fn amended_events_are_intersected_as_they_are() {
    block_on(async {
        let database = Database::create().await;
        let store = database.open().await;
        let birth = LogId::new(Uuid::from_u128(1));
        let log = store.open("many", birth).await.unwrap();
        fill(&*log).await;
        let query = Query::item(QueryItem::new().tag("low").tag("high").topic("Other"));
        let check = async |expected: Option<u64>| {
            for read in [
                LogRead::of(query.clone()),
                LogRead::of(query.clone()).backward(),
            ] {
                let page = log.read_log(read).await.unwrap();
                let found: Vec<_> = page.events.iter().map(|it| it.position().get()).collect();
                assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
            }
            let id = EventId::new(Uuid::now_v7());
            let append = Append::of([NewEvent::new(id, "Judged", "{}")]);
            let none = Condition::none_match(query.clone());
            match (log.append(append.condition(none)).await, expected) {
                (Ok(_), None) => {}
                (Err(RecordError::Conflict(Conflict::Query { found, .. })), Some(position)) => {
                    assert_eq!(found.position.get(), position);
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(store.verify().await.unwrap(), []);
        };
        check(None).await;
        for position in [33_000, 24_000, 8_193, 8_192, 1] {
            let event = EventId::new(Uuid::from_u128(position.into()));
            let stored = log.event(event).await.unwrap().unwrap();
            let mut replacement = Replacement::of(&stored, "{}").unwrap();
            replacement.topic = "Other".into();
            replacement.tags.extend(["low".into(), "high".into()]);
            let replace = Amendment::ReplaceEvent {
                event,
                stream: None,
                replacement,
            };
            let erase = Amendment::EraseEvent {
                event,
                stream: None,
                parts: ErasedParts::ALL,
            };
            for (amendment, expected) in [(replace, Some(position)), (erase, None)] {
                let record = EventId::new(Uuid::now_v7());
                let record = NewEvent::new(record, AMENDED_TOPIC, "{}");
                let append = Append::of([record]).amendment(amendment);
                log.append(append).await.unwrap();
                check(expected).await;
            }
        }
        let report = verify_log(&*log, &mut |_| {}).await.unwrap();
        assert!(report.is_sound(), "{report:?}");
    });
}

/// Goal: data stored next to events is verified: bits that differ from the index, missing blocks,
/// counts of a log, rows of a log that does not exist. Method: change one after the other,
/// bypassing the triggers.
#[test]
fn data_next_to_events_is_verified() {
    const DAMAGE: [(&str, &str); 7] = [
        (
            "UPDATE retold.presence SET bits = bits # 1::bit(8192) WHERE kind = 't' AND block = 1",
            "its bits differ from the index",
        ),
        (
            "DELETE FROM retold.presence WHERE kind = 'o' AND block = 0",
            "the block before it is missing",
        ),
        (
            "UPDATE retold.log SET stretch_count = 5, append_count = append_count + 1",
            "its last range is number 0.",
        ),
        (
            "INSERT INTO retold.stretch SELECT 77, 1, 'f@1', id, NULL, 1, id, 1, NULL, true, 0, 0 \
             FROM retold.log",
            "the table stretch: it has rows of a log with the key 77",
        ),
        (
            "INSERT INTO retold.event_tag VALUES (78, 'a', 1), (79, 'a', 1)",
            "the table event_tag: it has rows of a log with the key 79",
        ),
        (
            "INSERT INTO retold.presence VALUES (80, 't', 'a', 0, repeat('0', 8192)::bit(8192))",
            "the table presence: it has rows of a log with the key 80",
        ),
        (
            "UPDATE retold.log SET position = position + 1, append_count = append_count + 1",
            "it counts 36002 events",
        ),
    ];
    block_on(async {
        let database = Database::create().await;
        let store = database.open().await;
        let birth = LogId::new(Uuid::from_u128(1));
        let log = store.open("many", birth).await.unwrap();
        fill(&*log).await;
        let never = Query::item(QueryItem::new().tag("low").tag("high").topic("Other"));
        let judged = Append::new().condition(Condition::none_match(never));
        let id = EventId::new(Uuid::now_v7());
        let judged = judged.event(NewEvent::new(id, "Judged", "{}"));
        log.append(judged).await.unwrap();
        let reader = PostgresStore::open_read_only(&database.url())
            .await
            .unwrap();
        let found = reader.verify().await.unwrap();
        assert!(found.is_empty(), "{found:?}");
        let client = database.client().await;
        for (damage, reported) in DAMAGE {
            let damage = format!(
                "ALTER TABLE retold.presence DISABLE TRIGGER USER; {damage};
                 ALTER TABLE retold.presence ENABLE ALWAYS TRIGGER presence_is_only_amended"
            );
            client.batch_execute(&damage).await.unwrap();
            let found = reader.verify().await.unwrap();
            let is_told = found.iter().any(|it| it.to_string().contains(reported));
            assert!(is_told, "{reported:?} is not in {found:?}");
        }
    });
}

/// Goal: events that others record between the check and the lock are checked too. Method: an
/// append waits for the log's row, and behind it one of another handle, on the condition that there
/// is no such event.
#[test]
fn events_after_the_check_are_checked_too() {
    block_on(async {
        let database = Database::create().await;
        let birth = LogId::new(Uuid::from_u128(1));
        let mut logs: Vec<Arc<dyn Recorder>> = Vec::new();
        for _ in 0..2 {
            logs.push(database.open().await.open("dogs", birth).await.unwrap());
        }
        let event = || NewEvent::new(EventId::new(Uuid::now_v7()), "Began", "{}").tag("a");
        let client = database.client().await;
        for round in 0..3 {
            let blocker = database.client().await;
            let block = "BEGIN; SELECT 1 FROM retold.log FOR UPDATE";
            blocker.batch_execute(block).await.unwrap();
            let none = Condition::NoneMatch {
                query: Query::tag("a"),
                after: logs[0].head().await.unwrap().position(),
            };
            let appends = [
                Append::new().event(event()),
                Append::new().event(event()).condition(none),
            ];
            let mut waiting = Vec::new();
            for (log, append) in logs.iter().cloned().zip(appends) {
                waiting.push(tokio::spawn(async move { log.append(append).await }));
                let wait = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
                    AND datname = current_database()";
                let expected = waiting.len() as i64;
                until(async || {
                    client.query_one(wait, &[]).await.unwrap().get::<_, i64>(0) == expected
                })
                .await;
            }
            blocker.batch_execute("COMMIT").await.unwrap();
            let refused = waiting.pop().unwrap().await.unwrap();
            waiting.pop().unwrap().await.unwrap().unwrap();
            let Err(RecordError::Conflict(Conflict::Query { found, .. })) = refused else {
                panic!("{round}: {refused:?}");
            };
            assert_eq!(found.position.get(), round + 1);
        }
    });
}

/// Goal: names of streams are the same if streams are short, long or both, in pages of any size.
#[test]
fn streams_of_all_lengths_are_listed() {
    let mut random = Rng::with_seed(seed());
    block_on(async {
        let database = Database::create().await;
        let log = database.open().await;
        let log = log
            .open("many", LogId::new(Uuid::from_u128(1)))
            .await
            .unwrap();
        let mut versions = std::collections::BTreeMap::<String, u64>::new();
        let mut number = 0;
        for stream in 0..600 {
            let length = random.choice([1, 1, 1, 2, 5, 150]).unwrap();
            let name = format!("{}/{stream}", ["a", "ab", "b"][stream % 3]);
            let events = (0..length).map(|_| {
                number += 1;
                let id = EventId::new(Uuid::from_u128(number));
                NewEvent::new(id, "Went", "{}").stream(name.clone())
            });
            log.append(Append::of(events)).await.unwrap();
            versions.insert(name, length);
        }
        for prefix in ["", "a", "a/", "ab", "b/1", "c"] {
            for limit in [1, 7, 100, 10_000] {
                let mut listed = Vec::new();
                loop {
                    let after = listed.last().map(|(name, _): &(String, u64)| name.clone());
                    let page = log.streams(prefix, after.as_deref(), limit).await.unwrap();
                    if page.is_empty() {
                        break;
                    }
                    assert!(page.len() <= limit);
                    listed.extend(
                        page.iter()
                            .map(|it| (it.name.to_string(), it.version.get())),
                    );
                    // Pages of one name take long; some of them are enough.
                    if limit == 1 && listed.len() == 40 {
                        break;
                    }
                }
                let expected = versions.iter().filter(|(name, _)| name.starts_with(prefix));
                let expected = expected.map(|(name, version)| (name.clone(), *version));
                let expected: Vec<_> = match limit {
                    1 => expected.take(40).collect(),
                    _ => expected.collect(),
                };
                assert_eq!(listed, expected, "{prefix:?} {limit}");
            }
        }
    });
}
