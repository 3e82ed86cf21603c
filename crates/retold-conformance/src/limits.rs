//! Rule 16: limits are enforced before anything is written, and are inclusive.

use std::sync::Arc;

use bytes::Bytes;

use super::scene::{
    AppendOutcome, LOG, Scene, append_of, append_to, checkpoint, event, event_id, event_of, head,
    log_id, numbers, open, position, processed, read, read_stream, record, refuse, send, stream_at,
};
use super::subject::Subject;
use retold_core::recording::Append;
use retold_core::recording::Condition;
use retold_core::recording::FollowerKey;
use retold_core::recording::NewEvent;
use retold_core::recording::Origin;
use retold_core::recording::Position;
use retold_core::recording::RecordError;
use retold_core::recording::limits::{
    Limits, METADATA_SIZE_MAX, PAGE_EVENTS_MAX, PAGE_SIZE_MAX, QUERY_ITEMS_MAX, QUERY_NAMES_MAX,
    TAGS_MAX,
};
use retold_core::recording::{LogRead, PageEnd, Recorder, StreamRead};
use retold_core::recording::{Query, QueryItem};

/// Rule 16. The largest allowed value is accepted; a larger or meaningless one is `Invalid` and
/// nothing is written.
pub async fn limits_are_enforced<S: Subject>() {
    let scene = Scene::<S>::new().await;
    let log = &*scene.log;
    check_least(log.limits());
    check_names(&scene).await;
    check_event(log).await;
    check_queries(log).await;
    check_counts(log).await;
    check_sizes(log).await;
    check_large_pages(log).await;
}

/// The minimum that every recorder accepts.
fn check_least(limits: Limits) {
    let least = Limits::LEAST;
    assert!(limits.append_events >= least.append_events);
    assert!(limits.append_conditions >= least.append_conditions);
    assert!(limits.append_size >= least.append_size);
    assert!(limits.payload_size >= least.payload_size);
}

/// Invalid names: empty, one byte too long, with a control character.
fn bad_names() -> Vec<String> {
    let long = [
        "x".repeat(256),
        format!("{}x", "é".repeat(128)),
        "🐕".repeat(64),
    ];
    let control = [
        "\0",
        "a\0b",
        "\n",
        "a\n",
        "\t",
        "\u{7f}",
        "\u{85}",
        "\u{1b}[0m",
    ];
    let control = control.map(String::from);
    [String::new()]
        .into_iter()
        .chain(long)
        .chain(control)
        .collect()
}

async fn check_names<S: Subject>(scene: &Scene<S>) {
    let log = &*scene.log;
    let before = head(log).await;
    for name in bad_names() {
        let name = name.as_str();
        refuse(log, append_to(name, [1]), "a bad stream name").await;
        let mut topic = event(1);
        topic.topic = name.to_owned().into();
        refuse(log, Append::of([event(2), topic]), "a bad topic").await;
        refuse(
            log,
            Append::of([event(1).tag("good").tag(name)]),
            "a bad tag",
        )
        .await;
        let effect = event(1).origin(Origin::Effect {
            follower: FollowerKey::new(name),
            policy_version: 1,
            upstream: log_id(9),
            position: position(1),
            event_id: event_id(9),
        });
        refuse(log, Append::of([effect]), "a bad follower as origin").await;
        refuse(
            log,
            append_of([1]).processed_range(processed(name, 0, 1)),
            "a bad follower key",
        )
        .await;
        refuse(
            log,
            append_of([1]).condition(stream_at(name, 0)),
            "a bad stream in a condition",
        )
        .await;
        let query = Condition::none_match(Query::tag(name));
        refuse(
            log,
            append_of([1]).condition(query),
            "a bad tag in a condition",
        )
        .await;
        for opened in [
            scene.store.open(name, log_id(1)).await,
            scene.store.open_read_only(name).await,
        ] {
            let is_invalid = matches!(opened, Err(RecordError::Invalid(_)));
            assert!(is_invalid, "a log of the name {name:?} must be refused");
        }
    }
    assert_eq!(head(log).await, before, "nothing is written");
    let logs = scene.store.logs(None, 10).await.expect("logs are read");
    let logs: Vec<&str> = logs.iter().map(|it| &*it.name).collect();
    assert_eq!(logs, [LOG]);
    let longest = "é".repeat(127) + "x";
    let mut new = event_of(&longest, 1).tag(longest.as_str());
    new.topic = longest.clone().into();
    record(
        log,
        Append::of([new]).processed_range(processed(&longest, 0, 1)),
    )
    .await;
    open(&*scene.store, &longest).await;
}

async fn check_event(log: &dyn Recorder) {
    refuse(log, Append::new(), "an append of nothing").await;
    let alone = Append::new().condition(stream_at("dog/1", 0));
    refuse(log, alone, "an append of conditions only").await;
    refuse(log, Append::of([event(10).revision(0)]), "revision 0").await;
    let tagged = |count: usize| (0..count).fold(event(10), |it, tag| it.tag(format!("{tag}")));
    refuse(log, Append::of([tagged(TAGS_MAX + 1)]), "a tag too many").await;
    record(log, Append::of([tagged(TAGS_MAX)])).await;
    let described = |size| event(11).metadata(vec![b' '; size]);
    refuse(
        log,
        Append::of([described(METADATA_SIZE_MAX + 1)]),
        "metadata too large",
    )
    .await;
    record(log, Append::of([described(METADATA_SIZE_MAX)])).await;
    let end = u64::MAX;
    record(
        log,
        append_of([12]).processed_range(processed("end@1", end - 1, end)),
    )
    .await;
}

async fn check_queries(log: &dyn Recorder) {
    let item = |names: usize| {
        (0..names).fold(QueryItem::new(), |item, name| match name % 3 {
            0 => item.stream(format!("{name}")),
            1 => item.topic(format!("{name}")),
            _ => item.tag(format!("{name}")),
        })
    };
    let query = |items: usize, names| Query::Items(vec![item(names); items]);
    let append = |number, query| append_of([number]).condition(Condition::none_match(query));
    let (items, names) = (QUERY_ITEMS_MAX, QUERY_NAMES_MAX);
    for bad in [
        query(0, 1),
        query(1, 0),
        query(1, names + 1),
        query(items + 1, 1),
    ] {
        refuse(log, append(20, bad.clone()), "a bad query").await;
        let refused = log.read_log(LogRead::of(bad)).await;
        assert!(
            matches!(refused, Err(RecordError::Invalid(_))),
            "{refused:?}"
        );
    }
    record(log, append(20, query(items, names))).await;
    read(log, LogRead::of(query(items, names))).await;
    // An append that matches only by the last name.
    let last = item(names - 1).topic("Dog.Barked");
    let streams = (0..names - 1).fold(QueryItem::new(), |item, name| {
        item.stream(format!("{name}"))
    });
    let query = Query::Items(vec![streams, last, QueryItem::new().topic("Dog.Barked")]);
    let page = read(log, LogRead::of(query.clone()).backward().limit(1)).await;
    assert_eq!(numbers(&page.events), [20]);
    let outcome = send(log, append(21, query)).await;
    assert!(matches!(outcome, AppendOutcome::Conflict(_)), "{outcome:?}");
}

async fn check_counts(log: &dyn Recorder) {
    let limits = log.limits();
    let before = head(log).await;
    let base = 1_000_000;
    let most = limits.append_events as u128;
    refuse(log, append_of(base..base + most + 1), "an event too many").await;
    assert_eq!(head(log).await, before, "nothing is written");
    let condition = |number: usize| stream_at(&format!("absent/{number}"), 0);
    let conditions = limits.append_conditions;
    let many = append_of([base]).conditions((0..conditions).map(condition));
    refuse(
        log,
        many.clone().processed_range(processed("x@1", 0, 1)),
        "a condition too many",
    )
    .await;
    refuse(
        log,
        many.clone().condition(condition(conditions)),
        "a condition too many",
    )
    .await;
    let first = record(log, many).await;
    let first_of_many = record(log, append_to("dog/many", base + 1..base + 1 + most)).await;
    assert_eq!(first_of_many, first + 1);
    assert_eq!(head(log).await.append_count, before.append_count + 2);
    let version = stream_at("dog/many", most as u64);
    record(log, append_of([base - 1]).condition(version)).await;
    // A page is limited to this number of events, even if more are requested.
    let asked = LogRead::new().after(position(first)).limit(usize::MAX);
    let page = read(log, asked).await;
    let expected = PAGE_EVENTS_MAX.min(most as usize + 1);
    assert_eq!(page.events.len(), expected);
    if expected == PAGE_EVENTS_MAX {
        assert_eq!(page.end, PageEnd::Full);
    }
}

async fn check_sizes(log: &dyn Recorder) {
    let limits = log.limits();
    let large = |number, payload: &Bytes, size| {
        NewEvent::new(event_id(number), "Dog.Painted", payload.slice(..size))
    };
    let payload = Bytes::from(vec![b'x'; limits.payload_size + 1]);
    let before = head(log).await;
    let too_large = large(30, &payload, limits.payload_size + 1);
    refuse(
        log,
        Append::of([event(31), too_large]),
        "a payload too large",
    )
    .await;

    // Exactly the largest append, to the byte; then one byte more, in metadata.
    let mut rest = limits.append_size;
    let mut events = Vec::new();
    for number in 40.. {
        let size = rest.min(limits.payload_size);
        events.push(large(number, &payload, size));
        rest -= size;
        if rest == 0 {
            break;
        }
    }
    let mut over = events.clone();
    over[0].metadata = Bytes::from_static(b"x");
    refuse(log, Append::of(over), "an append too large").await;
    assert_eq!(head(log).await, before, "nothing is written");
    let count = events.len() as u64;
    let first = record(log, Append::of(events)).await;
    let last = head(log).await.checkpoint.map(|it| it.position.get());
    assert_eq!(last, Some(first + count - 1));
    let found = log
        .event(event_id(40))
        .await
        .expect("is read")
        .expect("is there");
    let size = limits.payload_size.min(limits.append_size);
    assert_eq!(found.payload().map(<[u8]>::len), Some(size));
}

/// A page of large events ends with the event that reaches the size limit.
async fn check_large_pages(log: &dyn Recorder) {
    let limits = log.limits();
    let payload: Arc<[u8]> = vec![b'y'; limits.payload_size].into();
    let before = head(log).await.position();
    let enough = PAGE_SIZE_MAX.div_ceil(limits.payload_size) as u128;
    for number in 0..=enough {
        let payload = Bytes::from_owner(Arc::clone(&payload));
        let new = NewEvent::new(event_id(50_000 + number), "Dog.Painted", payload);
        record(log, Append::of([new.stream("dog/large")])).await;
    }
    let page = read(log, LogRead::new().after(before)).await;
    assert_eq!(page.events.len() as u128, enough);
    assert_eq!(page.end, PageEnd::Full);
    let last = before.map_or(0, Position::get) + enough as u64;
    assert_eq!(page.read_to, Some(checkpoint(last, 50_000 + enough - 1)));
    let dog = StreamRead::new("dog/large");
    let page = read_stream(log, dog.clone()).await;
    assert_eq!(
        (page.events.len() as u128, page.end),
        (enough, PageEnd::Full)
    );
    let page = read_stream(log, dog.backward()).await;
    assert_eq!(
        (page.events.len() as u128, page.end),
        (enough, PageEnd::Full)
    );
}
