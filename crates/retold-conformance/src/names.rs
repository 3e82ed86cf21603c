//! Rule 19, and the rest of the contract of names: they are never confused with one another, and
//! are listed in the order of their bytes.

use std::sync::Arc;

use super::scene::{
    Scene, append_to, conflict, event, event_of, head, numbers, read, record, stream_at,
    stream_events,
};
use super::subject::Subject;
use super::whole::whole;
use retold_core::recording::Append;
use retold_core::recording::Condition;
use retold_core::recording::Version;
use retold_core::recording::{Conflict, RecordError};
use retold_core::recording::{LogRead, Recorder, StreamRead};
use retold_core::recording::{Query, QueryItem};

/// Names that a careless store confuses with one another, with a pattern or with a command.
#[rustfmt::skip]
const TRICKY: &[&str] = &[
    "a", "A", "ä", "a\u{308}", "Ä", "å", "ß", "ss", "ﬁ", "fi", "İ", "i", "ı", "I", "%", "_", "*",
    "?", "a%", "a_", "a*", "[a]", "^a$", "a.b", "a,b", "a;b", "a:b", "a|b", " ", "  ", " a", "a ",
    "a b", "\u{a0}", "\u{200b}", "\u{feff}", "\u{2028}", "'", "''", "\"", "\"\"", "`", "\\",
    "\\\\", "\\n", "\\x00", "%00", "a'--", "'; DROP TABLE events; --",
    "\"); DELETE FROM events; --", "$1", "?1", ":name", "@p", "{}", "[]", "[\"a\"]", "\"a\"",
    "null", "NULL", "true", "0", "00", "-0", "1", "01", "1.0", "+1", "1e0", "-1", "0x1", "/",
    "//", "a/", "/a", "a/b", "a//b", ".", "..", "../a", "a/../b", "🐕", "🐕‍🦺", "👩‍👩‍👧",
    "\u{10ffff}", "\u{e000}", "\u{fffd}", "語", "\u{3a9}", "\u{2126}", "\u{212a}", "K", "ſ", "s",
    "all", "ALL", "none", "retold.x", "$all", "~", "#", "&", "<a>", "=", "!", "(a)",
];

/// The tricky names and the longest, in the order of their bytes.
fn tricky_names() -> Vec<String> {
    let mut names: Vec<String> = TRICKY.iter().copied().map(String::from).collect();
    names.extend([
        "x".repeat(255),
        "x".repeat(254),
        "é".repeat(127),
        "🐕".repeat(63),
    ]);
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "no name is in the list twice");
    names
}

/// Every name is a distinct stream, topic and tag: case, normal form, spaces, quotes and patterns
/// matter.
pub async fn names_are_never_confused<S: Subject>() {
    let scene = Scene::<S>::new().await;
    let log = &*scene.log;
    let names = tricky_names();
    let named: Vec<(u128, &str)> = (1..).zip(names.iter().map(String::as_str)).collect();
    for (number, name) in &named {
        let mut new = event_of(name, *number).tag(*name);
        new.topic = String::from(*name).into();
        let unseen = stream_at(name, 0);
        let never = Condition::none_match(Query::topic(*name).or(Query::tag(*name)));
        record(log, Append::of([new]).condition(unseen).condition(never)).await;
    }
    let handle = &*scene.another_handle().await;
    for (number, name) in &named {
        assert_eq!(
            numbers(&stream_events(handle, name).await),
            [*number],
            "{name:?}"
        );
        let item = QueryItem::new().stream(*name).topic(*name).tag(*name);
        for query in [
            Query::stream(*name),
            Query::topic(*name),
            Query::tag(*name),
            Query::item(item),
        ] {
            let page = read(handle, LogRead::of(query)).await;
            assert_eq!(numbers(&page.events), [*number], "{name:?}");
        }
        let taken = conflict(handle, Append::of([event(0)]).condition(stream_at(name, 0))).await;
        let actual = Some(Version::FIRST);
        assert!(
            matches!(taken, Conflict::Stream { actual: at, .. } if at == actual),
            "{taken:?}"
        );
    }
    whole(handle).await;
    // An event with many of them as tags has each.
    let many = names.iter().take(64).map(String::as_str);
    let tagged = many
        .clone()
        .fold(event(1000), |event, name| event.tag(name));
    record(log, Append::of([tagged])).await;
    let all = many.fold(QueryItem::new(), |item, name| item.tag(name));
    let page = read(handle, LogRead::of(Query::item(all))).await;
    assert_eq!(numbers(&page.events), [1000]);
}

/// Streams are listed by a literal prefix, in the order of the bytes of their names, in pages.
pub async fn streams_are_listed_by_prefix<S: Subject>() {
    let scene = Scene::<S>::new().await;
    let log = &*scene.log;
    let names = tricky_names();
    for (number, name) in (1..).zip(&names) {
        record(log, append_to(name, [number * 10, number * 10 + 1])).await;
    }
    record(log, append_to("a", [5])).await;
    let streams = log
        .streams("", None, 10_000)
        .await
        .expect("the streams are read");
    let listed: Vec<&str> = streams.iter().map(|it| &*it.name).collect();
    assert_eq!(listed, names, "in the order of their bytes");
    for entry in &streams {
        let expected = if &*entry.name == "a" { 3 } else { 2 };
        assert_eq!(entry.version.get(), expected, "{entry:?}");
    }
    for prefix in &names {
        let expected: Vec<&String> = names.iter().filter(|it| it.starts_with(prefix)).collect();
        let found = list_in_pages(log, prefix, 3).await;
        let found: Vec<&str> = found.iter().map(|it| &**it).collect();
        assert_eq!(found, expected, "with the prefix {prefix:?}");
    }
    let after = async |prefix: &str, after: &str| {
        let page = log
            .streams(prefix, Some(after), 1)
            .await
            .expect("the streams are read");
        page.first().map(|it| it.name.to_string())
    };
    assert_eq!(
        after("a/", "").await.as_deref(),
        Some("a/"),
        "before the prefix"
    );
    assert_eq!(after("a/", "a/").await.as_deref(), Some("a/../b"));
    assert_eq!(after("a/", "a/b").await, None, "after the last");
    assert_eq!(after("a/", "b").await, None, "beyond the prefix");
    let refused = log.streams("", None, 0).await;
    assert!(
        matches!(refused, Err(RecordError::Invalid(_))),
        "{refused:?}"
    );
}

/// Rule 19. Topics are listed once each, in the order of their bytes, in pages. Pages and heads
/// count them, including topics that the current group has just added; a refused append adds none.
pub async fn topics_are_listed_and_counted<S: Subject>() {
    let scene = Scene::<S>::new().await;
    let log = &*scene.log;
    assert_eq!(topics(log, None, 10).await, [] as [&str; 0]);
    let names = tricky_names();
    for (number, name) in (1..).zip(&names) {
        let with_topic = |number, topic: &str| {
            let mut new = event(number);
            new.topic = String::from(topic).into();
            new
        };
        // The topic of the second event exists already, unless this is the first append.
        let events = [
            with_topic(number * 10, name),
            with_topic(number * 10 + 1, &names[0]),
        ];
        record(log, Append::of(events)).await;
        let refused = Append::of([with_topic(number * 10 + 2, "refused")]);
        conflict(log, refused.condition(Condition::none_match(Query::All))).await;
    }
    let handle = &*scene.another_handle().await;
    assert_eq!(topics(handle, None, 10_000).await, names);
    let mut listed = Vec::new();
    loop {
        let page = topics(handle, listed.last().map(String::as_str), 3).await;
        assert!(page.len() <= 3, "a page keeps its limit");
        if page.is_empty() {
            break;
        }
        listed.extend(page);
    }
    assert_eq!(listed, names, "in pages");
    let count = names.len() as u64;
    assert_eq!(head(handle).await.topic_count, count);
    for asked in [
        LogRead::new(),
        LogRead::new().backward().limit(1),
        LogRead::of(Query::topic("unused topic")),
    ] {
        assert_eq!(read(handle, asked).await.topic_count, count);
    }
    let page = handle.read_stream(StreamRead::new("dog/none")).await;
    assert_eq!(page.expect("a stream is read").topic_count, count);
    // Appends that are sent at once may become one group.
    let at_once = (0..20).map(|number| {
        let mut new = event(100_000 + number);
        new.topic = format!("at once {}", number % 7).into();
        handle.append(Append::of([new]))
    });
    for appended in futures_util::future::join_all(at_once).await {
        appended.expect("the append is recorded");
    }
    assert_eq!(head(log).await.topic_count, count + 7);
    whole(handle).await;
    let refused = log.topics(None, 0).await;
    assert!(
        matches!(refused, Err(RecordError::Invalid(_))),
        "{refused:?}"
    );
}

async fn topics(log: &dyn Recorder, after: Option<&str>, limit: usize) -> Vec<String> {
    let topics = log.topics(after, limit).await.expect("topics are read");
    topics.iter().map(ToString::to_string).collect()
}

async fn list_in_pages(log: &dyn Recorder, prefix: &str, limit: usize) -> Vec<Arc<str>> {
    let mut names = Vec::<Arc<str>>::new();
    loop {
        let after = names.last().cloned();
        let page = log.streams(prefix, after.as_deref(), limit).await;
        let page = page.expect("streams are read");
        assert!(page.len() <= limit, "a page keeps its limit");
        if page.is_empty() {
            return names;
        }
        names.extend(page.into_iter().map(|it| it.name));
    }
}
