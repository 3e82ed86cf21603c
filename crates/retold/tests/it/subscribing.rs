//! Subscriptions over every store: writers race, and subscribers of several handles follow.

use retold::application::{Error, LogReader};
use retold::prelude::*;
use retold::recording::{EventId, Store};
use retold::{open_store, open_store_read_only};

#[derive(Clone, Debug, Event, Serialize, Deserialize)]
enum NoteEvent {
    #[event(tag = "writer:{writer}")]
    Noted {
        writer: u8,
        text: String,
    },
    Ended,
}

#[derive(Aggregate, Clone, Debug, Default)]
#[aggregate(event = NoteEvent, key = String)]
struct Note;

impl Apply<NoteEvent> for Note {
    fn apply(&mut self, _: &NoteEvent) {}
}

const WRITERS: u8 = 4;
const COMMANDS: usize = 40;

/// Records notes, some of them in large batches, on aggregates that the writers contend for.
async fn write(app: Application, writer: u8, mut random: fastrand::Rng) {
    for _ in 0..COMMANDS {
        let id = Id::<Note>::new(random.u8(0..3).to_string());
        let count = if random.u8(..) < 20 { 700 } else { 1 };
        let noted = |_: &Note| {
            let note = |number: usize| NoteEvent::Noted {
                writer,
                text: number.to_string(),
            };
            (0..count).map(note).collect::<Vec<_>>()
        };
        app.execute_or_create(id, noted).await.unwrap();
    }
}

/// Returns everything that a subscriber receives, until the end.
async fn hear(log: LogReader, query: Query, page_size: usize) -> Result<Vec<EventId>, Error> {
    let ended = Query::topic("NoteEvent.Ended");
    let selection = log.events::<NoteEvent>().matching(query.or(ended));
    let mut subscription = selection.page_size(page_size).subscribe().await?;
    let mut heard = Vec::new();
    loop {
        let logged = subscription.next().await?;
        if matches!(logged.event, NoteEvent::Ended) {
            return Ok(heard);
        }
        heard.push(logged.id());
    }
}

/// Goal: every subscriber receives each selected event once, in order, through any handle of the
/// store.
async fn nothing_is_skipped(url: &str) {
    let mut random = fastrand::Rng::with_seed(crate::seed());
    let app = Application::open("notes", url).await.unwrap();
    let stores: [std::sync::Arc<dyn Store>; 2] = [
        open_store(url).await.unwrap(),
        open_store_read_only(url).await.unwrap(),
    ];
    let mut readers = vec![app.log()];
    for store in &stores {
        let recorder = store.open_read_only("notes").await.unwrap();
        readers.push(LogReader::new(recorder));
    }
    let queries = [
        Query::All,
        Query::tag("writer:1"),
        Query::stream("Note/0").or(Query::stream("Note/2")),
    ];
    let mut subscribers = Vec::new();
    for query in &queries {
        for reader in &readers {
            let heard = hear(reader.clone(), query.clone(), random.usize(1..600));
            subscribers.push((query, tokio::spawn(heard)));
        }
    }
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write(app.clone(), writer, random.fork())))
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let end = app.execute_or_create(Id::<Note>::new("end".into()), |_| NoteEvent::Ended);
    end.await.unwrap();
    for (query, subscriber) in subscribers {
        let heard = subscriber.await.unwrap().unwrap();
        let recorded = app.log().stored().matching(query.clone()).read();
        let recorded = recorded.collect().await.unwrap();
        let is_note =
            |event: &&_| retold::recording::StoredEvent::topic(event) == "NoteEvent.Noted";
        let recorded: Vec<_> = recorded.iter().filter(is_note).map(|it| it.id()).collect();
        assert_eq!(heard.len(), recorded.len(), "{query:?}");
        assert!(heard == recorded, "{query:?} was heard in another order");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn subscribers_of_a_memory_store_skip_nothing() {
    nothing_is_skipped("memory:subscribing").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn subscribers_of_a_sqlite_store_skip_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notes.db");
    nothing_is_skipped(&format!("sqlite:{}?synchronous=normal", file.display())).await;
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn subscribers_of_a_postgres_store_skip_nothing() {
    nothing_is_skipped(&xtask::postgres_server::database()).await;
}
