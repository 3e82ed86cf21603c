//! Rules 2 to 5 and 22: how an append is checked, and in which order.

use futures_util::FutureExt;
use futures_util::future::join_all;

use super::scene::{
    AppendOutcome, Scene, append_of, append_to, at_once, checkpoint, conflict, event, event_id,
    event_of, events, head, log_id, numbers, position, processed, record, refuse, send, stream_at,
    version,
};
use super::subject::Subject;
use super::whole::whole;
use retold_core::recording::Conflict;
use retold_core::recording::EventId;
use retold_core::recording::FollowerKey;
use retold_core::recording::StoredEvent;
use retold_core::recording::{Append, Positions};
use retold_core::recording::{Condition, ExpectedVersion};
use retold_core::recording::{Query, QueryItem};

/// Rule 2. First the checks that do not read the log, then processed ranges or a repeat, then ids,
/// then the conditions in their order: only the first mistake is reported.
pub async fn append_is_judged_in_one_order<S: Subject>() {
    let scene = Scene::<S>::new().await;
    let log = &*scene.log;
    let processed = append_to("dog/1", [1, 2]).processed_range(processed("f@1", 0, 5));
    record(log, processed).await;
    record(log, append_to("dog/1", [3])).await;
    let before = head(log).await;
    let rows = mistakes_before_conditions()
        .into_iter()
        .chain(mistakes_in_conditions());
    for (what, append, expected) in rows {
        assert_eq!(send(log, append).await, expected, "{what}");
        assert_eq!(head(log).await, before, "{what}: nothing is recorded");
    }
}

/// The first mistake of an append, the append, and its outcome.
type Mistake = (&'static str, Append, AppendOutcome);

/// Appends with a mistake and, in addition, a condition that does not hold.
fn mistakes_before_conditions() -> Vec<Mistake> {
    let wrong_stream = stream_at("dog/1", 7);
    let wrong_range = processed("f@1", 4, 6);
    let checkpoint = Conflict::Checkpoint {
        follower: FollowerKey::new("f@1"),
        upstream: log_id(9),
        checkpoint: Some(checkpoint(5, 5)),
    };
    let taken = |number, at| {
        let (id, position) = (event_id(number), position(at));
        AppendOutcome::Conflict(Conflict::EventId { id, position })
    };
    let rows = [
        (
            "an invalid append, before its processed range",
            append_of([9, 9]).processed_range(wrong_range.clone()),
            AppendOutcome::Invalid,
        ),
        (
            "two conditions on one stream, before all checks of the log",
            append_of([3]).condition(stream_at("dog/1", 3)),
            AppendOutcome::Invalid,
        ),
        (
            "a processed range, before ids and conditions; never a repeat",
            append_to("dog/1", [1, 2]).processed_range(wrong_range),
            AppendOutcome::Conflict(checkpoint),
        ),
        (
            "ids, if the processed range joins",
            append_to("dog/1", [1, 2]).processed_range(processed("f@1", 5, 6)),
            taken(1, 1),
        ),
        (
            "a repeat, before conditions",
            append_of([1, 2]),
            AppendOutcome::Repeated(Positions::new(position(1), 2)),
        ),
        (
            "an id, before conditions; the first of several in the order of the append",
            append_of([8, 3, 1]),
            taken(3, 3),
        ),
    ];
    let with_condition =
        |(what, append, outcome): Mistake| (what, append.condition(wrong_stream.clone()), outcome);
    rows.map(with_condition).into()
}

fn mistakes_in_conditions() -> Vec<Mistake> {
    let wrong_stream = stream_at("dog/1", 7);
    let wrong_query = Condition::none_match(Query::topic("Dog.Barked"));
    let late_query = Condition::none_match_after(Query::All, position(1000).into());
    let append =
        |conditions: &[&Condition]| append_of([9]).conditions(conditions.iter().copied().cloned());
    let stream = AppendOutcome::Conflict(Conflict::Stream {
        stream: "dog/1".into(),
        expected: ExpectedVersion::At(version(7)),
        actual: Some(version(3)),
        other: None,
    });
    let found = |condition| {
        let found = checkpoint(1, 1);
        AppendOutcome::Conflict(Conflict::Query { condition, found })
    };
    let (right, other) = (stream_at("dog/1", 3), stream_at("dog/2", 1));
    vec![
        (
            "a stream before a query",
            append(&[&wrong_stream, &wrong_query]),
            stream,
        ),
        (
            "a query before a stream",
            append(&[&right, &wrong_query, &other]),
            found(1),
        ),
        (
            "an `after` beyond the head in its turn: after a conflict",
            append(&[&wrong_query, &late_query]),
            found(0),
        ),
        (
            "an `after` beyond the head in its turn: before a conflict",
            append(&[&late_query, &wrong_stream]),
            AppendOutcome::Invalid,
        ),
    ]
}

/// Rule 3. Of two appends that expect the same version of a stream and write to it, at most one is
/// recorded.
pub async fn append_checks_stream_versions<S: Subject>() {
    let scene = Scene::<S>::new().await;
    let log = &*scene.log;
    check_expected_versions(&scene).await;

    // A condition may name a stream that the append does not write.
    record(
        log,
        append_to("dog/3", [20]).condition(stream_at("dog/1", 3)),
    )
    .await;
    conflict(
        log,
        append_to("dog/3", [21]).condition(stream_at("dog/1", 2)),
    )
    .await;
    // Several conditions in one append; all must hold.
    let both = |one, three| {
        append_of([22])
            .condition(stream_at("dog/1", one))
            .condition(stream_at("dog/3", three))
    };
    conflict(log, both(3, 2)).await;
    conflict(log, both(2, 1)).await;
    record(log, both(3, 1)).await;
    // A condition is judged against the stream before the append, not after some of its events.
    let append = append_to("dog/4", [30, 31]).condition(stream_at("dog/4", 1));
    conflict(log, append).await;

    writers_count_up(&scene).await;
    whole(log).await;
}

async fn check_expected_versions<S: Subject>(scene: &Scene<S>) {
    let log = &*scene.log;
    let expect = |expected| Condition::stream_at("dog/1", expected);
    let at = |number| ExpectedVersion::At(version(number));
    for wrong in [ExpectedVersion::Exists, at(1), at(u64::MAX)] {
        let stream = "dog/1".into();
        assert_eq!(
            conflict(log, append_to("dog/1", [1]).condition(expect(wrong))).await,
            Conflict::Stream {
                stream,
                expected: wrong,
                actual: None,
                other: None,
            },
        );
    }
    let first = append_to("dog/1", [1, 2]).condition(expect(ExpectedVersion::None));
    record(log, first).await;
    let far = [at(1 << 63), at((1 << 63) - 1), at(u64::MAX)];
    let near = [ExpectedVersion::None, at(1), at(3)];
    for wrong in near.into_iter().chain(far) {
        let stream = "dog/1".into();
        let actual = Some(version(2));
        assert_eq!(
            conflict(log, append_to("dog/1", [3]).condition(expect(wrong))).await,
            Conflict::Stream {
                stream,
                expected: wrong,
                actual,
                other: None,
            },
        );
    }
    let exists = append_to("dog/2", [9]).condition(expect(ExpectedVersion::Exists));
    record(log, exists).await;
    record(log, append_to("dog/1", [3]).condition(expect(at(2)))).await;
}

/// Rule 22. A condition that names the event at a stream's version holds only if that event is
/// there, even if an earlier append of the same group wrote it.
pub async fn append_checks_the_events_of_streams<S: Subject>() {
    let scene = Scene::<S>::new().await;
    let log = &*scene.log;
    let read =
        |at, event| Condition::stream_read("dog/1", Some(version(at)), Some(event_id(event)));
    let differs = |expected, actual, other| Conflict::Stream {
        stream: "dog/1".into(),
        expected: ExpectedVersion::At(version(expected)),
        actual,
        other,
    };
    let append = append_to("dog/1", [1]).condition(read(1, 1));
    assert_eq!(conflict(log, append).await, differs(1, None, None));
    record(log, append_to("dog/1", [1, 2])).await;
    record(log, append_to("dog/2", [3])).await;
    let mistakes = [
        // An unknown id, the id of an earlier version, of another stream, of another version.
        (read(2, 9), differs(2, Some(version(2)), Some(event_id(2)))),
        (read(2, 1), differs(2, Some(version(2)), Some(event_id(2)))),
        (read(2, 3), differs(2, Some(version(2)), Some(event_id(2)))),
        (read(1, 1), differs(1, Some(version(2)), None)),
        (read(3, 2), differs(3, Some(version(2)), None)),
    ];
    for handle in [&scene.log, &scene.another_handle().await] {
        for (condition, expected) in &mistakes {
            let append = append_to("dog/1", [4]).condition(condition.clone());
            assert_eq!(conflict(&**handle, append).await, *expected);
        }
    }
    let nameless = Condition::StreamAt {
        stream: "dog/1".into(),
        expected: ExpectedVersion::Exists,
        event: Some(event_id(2)),
    };
    refuse(
        log,
        append_of([4]).condition(nameless),
        "an event, but no version",
    )
    .await;
    // After an append that wrote to several streams, each stream ends with its own last event.
    let append = Append::of([event_of("dog/1", 4), event_of("dog/2", 5), event(6)]);
    record(log, append.condition(read(2, 2))).await;
    conflict(log, append_to("dog/1", [7]).condition(read(3, 5))).await;
    // Through another handle, which has not written yet, and without writing to the stream.
    let another = scene.another_handle().await;
    record(&*another, append_to("dog/2", [7]).condition(read(3, 4))).await;
    chains_hold_together(&scene).await;
    whole(log).await;
}

/// Appends that are sent together, each conditional on the event that the previous one writes. One
/// is left out, and another append writes its version.
async fn chains_hold_together<S: Subject>(scene: &Scene<S>) {
    const LENGTH: u64 = 8;
    for left_out in [None, Some(1), Some(4), Some(LENGTH)] {
        let stream = format!("dog/chain-{left_out:?}");
        let first = 1_000 * u128::from(1 + left_out.unwrap_or(0));
        let number = |at: u64| first + u128::from(at);
        let rival = number(500);
        record(&*scene.log, append_to(&stream, [number(0)])).await;
        let append = |at: u64| match left_out {
            Some(left_out) if left_out == at => {
                append_to(&stream, [rival]).condition(stream_at(&stream, at))
            }
            _ => {
                let before = Some(event_id(number(at - 1)));
                let read = Condition::stream_read(&*stream, Some(version(at)), before);
                append_to(&stream, [number(at)]).condition(read)
            }
        };
        let sent = (1..=LENGTH).map(|at| send(&*scene.log, append(at)));
        let outcomes = join_all(sent).await;
        let events = super::scene::stream_events(&*scene.log, &stream).await;
        let ids: Vec<EventId> = events.iter().map(StoredEvent::id).collect();
        for (at, outcome) in (1..).zip(outcomes) {
            let own = match left_out {
                Some(left_out) if left_out == at => rival,
                _ => number(at),
            };
            let there = ids.iter().position(|id| *id == event_id(own));
            match (outcome, there) {
                (AppendOutcome::Recorded(_), Some(there)) if own == number(at) => {
                    assert_eq!(
                        ids[there - 1],
                        event_id(number(at - 1)),
                        "{stream:?}: {ids:?}"
                    );
                }
                (AppendOutcome::Recorded(_), Some(_)) => {}
                (AppendOutcome::Conflict(Conflict::Stream { .. }), None) => {}
                (outcome, there) => panic!("{own} of {stream:?}: {outcome:?} and {there:?}"),
            }
        }
    }
}

/// Writers with separate threads and handles append to one stream at the version that each expects;
/// every version is won once.
async fn writers_count_up<S: Subject>(scene: &Scene<S>) {
    const WRITERS: u128 = 4;
    const ROUNDS: u64 = 12;
    let mut tasks = Vec::new();
    for writer in 0..WRITERS {
        let log = scene.another_handle().await;
        let task = async move {
            let mut won = Vec::new();
            for expected in 0..ROUNDS {
                let number = 10_000 + writer * 1000 + u128::from(expected);
                let append = append_to("dog/race", [number]);
                let append = append.condition(stream_at("dog/race", expected));
                match send(&*log, append).await {
                    AppendOutcome::Recorded(_) => won.push(expected),
                    AppendOutcome::Conflict(Conflict::Stream { actual, .. }) => {
                        assert!(actual > retold_core::recording::Version::new(expected));
                    }
                    other => panic!("a race for a version resulted in {other:?}"),
                }
            }
            won
        };
        tasks.push(task.boxed());
    }
    let mut won = at_once::<S, Vec<u64>>(tasks).await.concat();
    won.sort_unstable();
    let versions: Vec<u64> = (0..ROUNDS).collect();
    assert_eq!(won, versions, "every version is won by one writer");
    let stream = super::scene::stream_events(&*scene.log, "dog/race").await;
    assert_eq!(stream.len() as u64, ROUNDS);
}

/// Rule 4. A query has its documented meaning. `after` is exclusive; if it is absent, all events
/// count; beyond the head it is invalid. An append is not compared with its own events.
pub async fn append_checks_queries<S: Subject>() {
    let scene = Scene::<S>::new().await;
    let log = &*scene.log;
    // An empty log: nothing matches, and no position is valid as `after`.
    refuse(
        log,
        append_of([1]).condition(Condition::none_match_after(Query::All, position(1).into())),
        "an `after` beyond the head of an empty log",
    )
    .await;
    let first = Append::of([event_of("dog/1", 1).tag("brown").tag("small")]);
    record(log, first.condition(Condition::none_match(Query::All))).await;
    let mut second = event_of("dog/2", 2).tag("brown");
    second.topic = "Dog.Fed".into();
    record(log, Append::of([second])).await;
    record(log, append_of([3])).await;

    check_query_meanings(&scene).await;
    check_query_after(&scene).await;
    deciders_exclude_each_other(&scene).await;
    whole(log).await;
}

async fn check_query_meanings<S: Subject>(scene: &Scene<S>) {
    let item = QueryItem::new;
    let rows = [
        (Query::All, Some(1)),
        (Query::stream("dog/2"), Some(2)),
        (Query::stream("dog/3"), None),
        (Query::topic("Dog.Barked"), Some(1)),
        (Query::topic("Dog.Fed"), Some(2)),
        (Query::topic("Dog"), None),
        (Query::tag("brown"), Some(1)),
        (Query::tag("brow"), None),
        (Query::item(item().tag("brown").tag("small")), Some(1)),
        (Query::item(item().tag("brown").tag("large")), None),
        (
            Query::item(item().topic("Dog.Fed").topic("Dog.Sold")),
            Some(2),
        ),
        (Query::item(item().stream("dog/0").stream("dog/2")), Some(2)),
        (Query::item(item().topic("Dog.Fed").tag("small")), None),
        (Query::item(item().stream("dog/1").topic("Dog.Fed")), None),
        (
            Query::item(item().stream("dog/2").topic("Dog.Fed").tag("brown")),
            Some(2),
        ),
        (Query::tag("large").or(Query::topic("Dog.Fed")), Some(2)),
        (Query::tag("large").or(Query::stream("dog/9")), None),
        (Query::tag("large").or(Query::All), Some(1)),
    ];
    for (number, (query, found)) in (100..).zip(rows) {
        // The append's own events match, which is not a conflict. The last condition prevents
        // recording.
        let stop = stream_at("dog/never", 5);
        let own = event_of("dog/3", number).tag("large");
        let append = Append::of([own])
            .condition(Condition::none_match(query.clone()))
            .condition(stop);
        let conflict = conflict(&*scene.log, append).await;
        let at = match conflict {
            Conflict::Query {
                condition: 0,
                found,
            } => Some(found),
            Conflict::Stream { .. } => None,
            other => panic!("{query:?} resulted in {other:?}"),
        };
        assert_eq!(
            at,
            found.map(|number| checkpoint(number, number.into())),
            "{query:?}"
        );
    }
}

async fn check_query_after<S: Subject>(scene: &Scene<S>) {
    let log = &*scene.log;
    let barked = |after: u64| {
        let after = retold_core::recording::Position::new(after);
        Condition::none_match_after(Query::topic("Dog.Barked"), after)
    };
    let rows = [(0, 1), (1, 3), (2, 3)];
    for (after, expected) in rows {
        let found = checkpoint(expected, expected.into());
        assert_eq!(
            conflict(log, append_of([200]).condition(barked(after))).await,
            Conflict::Query {
                condition: 0,
                found
            },
            "after {after}"
        );
    }
    for beyond in [4, 5, 1 << 63, u64::MAX] {
        let append = append_of([200]).condition(barked(beyond));
        refuse(log, append, "an `after` beyond the head").await;
    }
    // At the head: only the append itself follows.
    record(log, append_of([200]).condition(barked(3))).await;
    let found = checkpoint(4, 200);
    assert_eq!(
        conflict(log, append_of([201]).condition(barked(3))).await,
        Conflict::Query {
            condition: 0,
            found
        },
    );
}

/// Deciders with separate threads and handles record events that may exist only once.
async fn deciders_exclude_each_other<S: Subject>(scene: &Scene<S>) {
    const DECIDERS: u128 = 4;
    const ROUNDS: u128 = 12;
    let mut tasks = Vec::new();
    for decider in 0..DECIDERS {
        let log = scene.another_handle().await;
        let task = async move {
            let mut won = 0_u64;
            for round in 0..ROUNDS {
                let tag = format!("seat:{round}");
                let number = 10_000 + decider * 1000 + round;
                let condition = Condition::none_match(Query::tag(tag.as_str()));
                let append = Append::of([event(number).tag(tag.as_str())]).condition(condition);
                match send(&*log, append).await {
                    AppendOutcome::Recorded(_) => won += 1,
                    AppendOutcome::Conflict(Conflict::Query { .. }) => {}
                    other => panic!("a race for a seat resulted in {other:?}"),
                }
            }
            won
        };
        tasks.push(task.boxed());
    }
    let won: u64 = at_once::<S, u64>(tasks).await.iter().sum();
    assert_eq!(u128::from(won), ROUNDS, "every seat is taken once");
}

/// Rule 5. An append whose ids are exactly those of one recorded append, in its order, is a repeat;
/// nothing is recorded, and contents are not compared.
pub async fn a_repeated_append_records_nothing<S: Subject>() {
    let scene = Scene::<S>::new().await;
    let log = &*scene.log;
    record(log, append_to("dog/1", [1])).await;
    record(log, append_to("dog/1", [2, 3, 4])).await;
    record(
        log,
        append_to("dog/1", [5]).processed_range(processed("f@1", 0, 5)),
    )
    .await;
    let before = head(log).await;

    let repeated = |first, count| AppendOutcome::Repeated(Positions::new(position(first), count));
    assert_eq!(send(log, append_to("dog/1", [1])).await, repeated(1, 1));
    assert_eq!(
        send(log, append_to("dog/1", [2, 3, 4])).await,
        repeated(2, 3)
    );
    // Other contents, another stream, conditions that no longer hold.
    let other = append_to("dog/2", [2, 3, 4]).condition(stream_at("dog/1", 1));
    assert_eq!(send(log, other).await, repeated(2, 3));
    // Without the processed ranges of the append that recorded them.
    assert_eq!(send(log, append_of([5])).await, repeated(5, 1));

    // Only some ids, another order, more ids, or ids of several appends: these are not repeats.
    let rows: [(&[u128], u128, u64); 7] = [
        (&[2, 3], 2, 2),
        (&[3, 4], 3, 3),
        (&[2, 4, 3], 2, 2),
        (&[2, 3, 4, 5], 2, 2),
        (&[1, 2, 3, 4], 1, 1),
        (&[2, 3, 4, 6], 2, 2),
        (&[6, 2, 3, 4], 2, 2),
    ];
    for (ids, number, at) in rows {
        let (id, position) = (event_id(number), position(at));
        assert_eq!(
            conflict(log, append_of(ids.iter().copied())).await,
            Conflict::EventId { id, position },
            "{ids:?}"
        );
    }
    // An append with processed ranges is never a repeat.
    let again = append_to("dog/1", [5]).processed_range(processed("f@1", 0, 5));
    let again = conflict(log, again).await;
    assert!(matches!(again, Conflict::Checkpoint { .. }), "{again:?}");

    assert_eq!(head(log).await, before, "nothing is recorded");
    let handle = scene.another_handle().await;
    assert_eq!(send(&*handle, append_of([2, 3, 4])).await, repeated(2, 3));
    assert_eq!(numbers(&whole(log).await), [1, 2, 3, 4, 5]);

    retries_meet(&scene).await;
}

/// Sends the same append from several handles at once: one records, the others repeat.
async fn retries_meet<S: Subject>(scene: &Scene<S>) {
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let log = scene.another_handle().await;
        let task = async move {
            let mut outcomes = Vec::new();
            for round in 0..8 {
                let first = 1000 + round * 10;
                outcomes.push(send(&*log, append_of(first..first + 3)).await);
            }
            outcomes
        };
        tasks.push(task.boxed());
    }
    let outcomes = at_once::<S, Vec<AppendOutcome>>(tasks).await;
    for round in 0..8 {
        let mut positions = Vec::new();
        let mut recorded = 0;
        for outcomes in &outcomes {
            match &outcomes[round] {
                AppendOutcome::Recorded(at) => {
                    recorded += 1;
                    positions.push(*at);
                }
                AppendOutcome::Repeated(at) => positions.push(*at),
                other => panic!("a retry resulted in {other:?}"),
            }
        }
        assert_eq!(recorded, 1, "one of the retries records");
        positions.dedup();
        assert_eq!(positions.len(), 1, "all retries get the same positions");
    }
    assert_eq!(events(&*scene.log).await.len(), 5 + 8 * 3);
}
