//! Every statement of the store uses an index, whether the tables are empty, fresh (without
//! statistics) or large and analyzed. The server itself logs the plan of each statement, including
//! those within functions.

use std::fmt::Write as _;
use std::sync::Arc;

use retold_core::recording::{
    Amendment, Append, Checkpoint, Condition, Direction, ERASED_TOPIC, ErasedParts, EventId,
    ExpectedVersion, FollowerKey, LogId, LogRead, NewEvent, Position, ProcessedRange, Query,
    QueryItem, RangeRead, Recorder, Replacement, Store, StoredEvent, StoredSnapshot, StreamRead,
    Version,
};
use retold_postgres::PostgresStore;
use tokio_postgres::NoTls;
use uuid::Uuid;
use xtask::postgres_server::{PostgresServer, Setup};

use crate::database::block_on;

/// Events of the log when it is fresh and when it is large.
const SIZES: [usize; 2] = [3_000, 30_000];
/// Events per append when the log is filled.
const BATCH: usize = 500;
/// Most rows that a statement may read in vain. With a wrong index it would be a part of the log.
const IN_VAIN_MAX: u64 = 200;
/// Tables that grow with the log.
const TABLES: [&str; 5] = ["event", "event_tag", "presence", "stretch", "snapshot"];
/// Fragments of statements that scan the events of a tag or stream, some of which do not match.
const FILTERS: [&str; 2] = ["has_tags(", "cardinality(of_topics)"];

#[test]
fn every_statement_uses_an_index() {
    // Statistics are gathered when the test requests it; plans of statements within functions are
    // logged too.
    let server = Setup::new()
        .setting("autovacuum", "off")
        .setting("session_preload_libraries", "auto_explain")
        .setting("auto_explain.log_min_duration", "0")
        .setting("auto_explain.log_nested_statements", "on")
        .setting("auto_explain.log_analyze", "on")
        .setting("auto_explain.log_timing", "off")
        .start()
        .unwrap();
    block_on(async {
        let store = PostgresStore::open(&server.url("postgres")).await.unwrap();
        let id = LogId::new(Uuid::from_u128(1));
        let log = store.open("orders", id).await.unwrap();
        let mut trial = Trial {
            log: &*log,
            count: 0,
        };
        let mut seen = server.log().len();
        let mut reported = 0;
        for (stage, size) in [("empty", 0), ("fresh", SIZES[0]), ("counted", SIZES[1])] {
            // The statements that fill it are checked as well, with the plans of the stage before.
            trial.fill(size).await;
            trial.everything().await;
            if stage == "counted" {
                // This discards all plans.
                analyze(&server).await;
                trial.everything().await;
            }
            let text = server.log();
            let plans = &text[seen..];
            seen = text.len();
            reported += plans.matches("Query Text:").count();
            assert_eq!(wrong(plans), "", "{stage}");
        }
        assert!(reported > 300, "the server logged {reported} plans");
    });
}

/// Returns the plans of our statements that read too many rows, or would in a larger log.
fn wrong(log: &str) -> String {
    let mut wrong = String::new();
    for plan in log.split("Query Text:").skip(1) {
        let is_filter = FILTERS.iter().any(|text| plan.contains(text));
        let in_vain = removed(plan, "Filter").max(removed(plan, "Join Filter"));
        let is_scan = TABLES.iter().any(|table| scans(plan, table));
        if (in_vain > IN_VAIN_MAX && !is_filter) || is_scan {
            let _ = writeln!(
                wrong,
                "{in_vain} rows in vain: {}",
                first_chars(plan, 3_000)
            );
        }
    }
    first_chars(&wrong, 12_000).to_owned()
}

/// Returns the most rows that a filter of this kind removed.
fn removed(plan: &str, filter: &str) -> u64 {
    let label = format!("Rows Removed by {filter}: ");
    let counts = plan.split(&label).skip(1);
    let counts = counts.filter_map(|rest| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    });
    counts.max().unwrap_or(0)
}

/// Whether a plan reads all rows of a table, or those of a log, which its indexes begin with.
fn scans(plan: &str, table: &str) -> bool {
    if plan.contains(&format!("Seq Scan on {table} ")) {
        return true;
    }
    let end = format!(" on {table} ");
    let lines: Vec<_> = plan.lines().map(str::trim).collect();
    let mut pairs = lines.windows(2);
    pairs.any(|pair| pair[0].contains(&end) && is_of_log_alone(pair[1]))
}

/// Whether a line of a plan is the condition of an index, and the log is all of it.
fn is_of_log_alone(line: &str) -> bool {
    let condition = line.strip_prefix("Index Cond: (");
    let condition = condition.and_then(|it| it.strip_suffix(')'));
    condition.is_some_and(|it| {
        let column = it.split_once(" = ").map(|(column, _)| column);
        column.is_some_and(|it| it.rsplit('.').next() == Some("log")) && !it.contains(" AND ")
    })
}

fn first_chars(text: &str, most: usize) -> &str {
    text.char_indices()
        .nth(most)
        .map_or(text, |(end, _)| &text[..end])
}

async fn analyze(server: &PostgresServer) {
    let (client, connection) = tokio_postgres::connect(&server.url("postgres"), NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    client.batch_execute("ANALYZE").await.unwrap();
}

/// A log, and the number of events written to it.
struct Trial<'a> {
    log: &'a dyn Recorder,
    count: usize,
}

impl Trial<'_> {
    fn event(&mut self) -> NewEvent {
        self.count += 1;
        let number = self.count;
        let id = EventId::new(Uuid::now_v7());
        NewEvent::new(id, ["Began", "Went", "Ended"][number % 3], "{}")
            .stream(format!("order/{}", number % 997))
            .tag(format!("customer:{}", number % 499))
            .tag(format!("region:{}", number % 7))
    }

    async fn append(&mut self, append: Append) {
        // The result does not matter here.
        drop(self.log.append(append).await);
    }

    async fn fill(&mut self, size: usize) {
        while self.count < size {
            let events: Vec<_> = (0..BATCH).map(|_| self.event()).collect();
            self.append(Append::of(events)).await;
        }
    }

    async fn everything(&mut self) {
        self.appends().await;
        self.amendments().await;
        self.queries().await;
        self.reads().await;
    }

    async fn appends(&mut self) {
        let stream = "order/5";
        let version = self.log.read_stream(StreamRead::new(stream)).await.unwrap();
        let version = Version::new(version.events.len() as u64);
        let queries = [
            Query::stream(stream),
            Query::topic("Never"),
            Query::topic("Began"),
            Query::tag("customer:5"),
            Query::item(QueryItem::new().tag("customer:5").tag("region:5")),
            Query::item(QueryItem::new().tag("region:5").topic("Never")),
            Query::item(QueryItem::new().stream(stream).topic("Never")),
            Query::tag("never").or(Query::stream("never/1")),
            Query::All,
        ];
        for query in queries {
            let event = self.event();
            let none = Condition::none_match(query);
            self.append(Append::new().event(event).condition(none))
                .await;
        }
        for expected in [
            ExpectedVersion::seen(version),
            ExpectedVersion::None,
            ExpectedVersion::Exists,
        ] {
            let (one, two, three) = (self.event(), self.event(), self.event());
            let at = Condition::stream_at(stream, expected);
            self.append(Append::new().event(one).condition(at.clone()))
                .await;
            self.append(Append::new().event(two).event(three).condition(at))
                .await;
        }
        let event = self.event();
        self.append(Append::new().event(event.clone())).await;
        self.append(Append::new().event(event)).await;
        let (follower, upstream) = (FollowerKey::new("one@1"), LogId::new(Uuid::from_u128(7)));
        for (with_event, to) in [(true, 3), (false, 6), (true, 2)] {
            let after = self.log.checkpoint(&follower, upstream).await.unwrap();
            let after = after.map(|checkpoint| checkpoint.position);
            let to = Checkpoint {
                position: Position::new(Position::number(after) + to).unwrap(),
                event_id: EventId::new(Uuid::now_v7()),
            };
            let range = ProcessedRange::new(follower.clone(), upstream, after, to);
            let append = Append::new().processed_range(range);
            let append = match with_event {
                true => append.event(self.event()),
                false => append,
            };
            self.append(append).await;
        }
    }

    async fn amendments(&mut self) {
        let stream: Arc<str> = "order/6".into();
        for _ in 0..3 {
            let event = self.event().stream("order/6");
            self.append(Append::new().event(event)).await;
        }
        let page = self
            .log
            .read_stream(StreamRead::new("order/6"))
            .await
            .unwrap();
        let [.., one, two, three] = &page.events[..] else {
            panic!("the stream has three events");
        };
        let erase = |event: &StoredEvent, parts| Amendment::EraseEvent {
            event: event.id(),
            stream: Some(stream.clone()),
            parts,
        };
        let mut replacement = Replacement::of(two, "[]").unwrap();
        replacement.topic = "Replaced".into();
        replacement.tags = ["customer:5".into()].into();
        let replace = Amendment::ReplaceEvent {
            event: two.id(),
            stream: Some(stream.clone()),
            replacement,
        };
        let erase_stream = |parts| Amendment::EraseStream {
            stream: stream.clone(),
            after: None,
            until: three.version().unwrap(),
            parts,
        };
        for amendment in [
            erase(one, ErasedParts::PAYLOAD),
            erase(one, ErasedParts::ALL),
            erase(one, ErasedParts::ALL),
            replace,
            erase_stream(ErasedParts::PAYLOAD),
            erase_stream(ErasedParts::ALL),
        ] {
            let record = NewEvent::new(EventId::new(Uuid::now_v7()), ERASED_TOPIC, "{}");
            let append = Append::of([record.stream("order/6")]).amendment(amendment);
            self.append(append).await;
        }
    }

    async fn queries(&self) {
        let queries = [
            Query::All,
            Query::stream("order/5"),
            Query::topic("Began"),
            Query::tag("customer:5"),
            Query::item(QueryItem::new().tag("customer:5").tag("region:5")),
            Query::item(QueryItem::new().stream("order/5").topic("Went")),
            Query::topic("Began").or(Query::tag("region:3")),
        ];
        for query in queries {
            for direction in [Direction::Forward, Direction::Backward] {
                let mut read = LogRead::of(query.clone()).limit(20);
                read.direction = direction;
                let page = self.log.read_log(read.clone()).await.unwrap();
                self.log
                    .read_log(read.clone().after(Position::new(10)))
                    .await
                    .unwrap();
                let checkpoints = [page.events.first(), page.events.last()];
                for checkpoint in checkpoints
                    .into_iter()
                    .flatten()
                    .map(StoredEvent::checkpoint)
                {
                    let after = read.clone().after_checkpoint(checkpoint);
                    self.log.read_log(after.clone()).await.unwrap();
                    let until = after.until(checkpoint.position);
                    self.log.read_log(until.limit(1)).await.unwrap();
                }
            }
        }
    }

    async fn reads(&self) {
        let log = self.log;
        for direction in [Direction::Forward, Direction::Backward] {
            let mut read = StreamRead::new("order/5").limit(20);
            read.direction = direction;
            let page = log.read_stream(read.clone()).await.unwrap();
            if let Some(event) = page.events.first() {
                log.event(event.id()).await.unwrap();
            }
            for event in [page.events.first(), page.events.last()]
                .into_iter()
                .flatten()
            {
                let after = read
                    .clone()
                    .after_checkpoint(event.version(), Some(event.checkpoint()));
                log.read_stream(after.clone()).await.unwrap();
                let until = after.until(event.version()).limit(1);
                log.read_stream(until).await.unwrap();
            }
        }
        log.head().await.unwrap();
        log.streams("order/5", None, 10).await.unwrap();
        log.streams("order/", Some("order/5"), 10).await.unwrap();
        log.topics(None, 10).await.unwrap();
        log.topics(Some("Began"), 10).await.unwrap();
        let follower = FollowerKey::new("one@1");
        log.processed_ranges(RangeRead::new()).await.unwrap();
        let mut of_one = RangeRead::new();
        of_one.follower = Some(follower);
        log.processed_ranges(of_one).await.unwrap();
        let version = Version::new(1).unwrap();
        let snapshot = StoredSnapshot::new("order/5", version, "Order", "{}");
        log.put_snapshot(snapshot).await.unwrap();
        log.snapshot("order/5", None).await.unwrap();
        log.drop_snapshots("order/5").await.unwrap();
    }
}
