//! What is recorded does not change: SQL that would change it is refused.

use retold_core::recording::append::Append;
use retold_core::recording::identity::{EventId, LogId, Mark, Position};
use retold_core::recording::new_event::NewEvent;
use retold_core::recording::recorder::LogRead;
use retold_core::recording::store::Store;
use retold_core::recording::stretch::{FollowerKey, Stretch};
use uuid::Uuid;

use crate::database::{Database, block_on};

/// Statements that would rewrite history, each by another way.
const REFUSED: [&str; 13] = [
    "UPDATE retold.event SET payload = ''",
    "UPDATE retold.event SET topic = 'x' WHERE position = 1",
    "DELETE FROM retold.event",
    "TRUNCATE retold.event",
    "UPDATE retold.event_tag SET tag = 'x'",
    "DELETE FROM retold.event_tag",
    "TRUNCATE retold.event_tag",
    "DELETE FROM retold.log",
    "UPDATE retold.log SET position = 0",
    "UPDATE retold.log SET id = gen_random_uuid(), append_count = append_count + 1",
    "UPDATE retold.stretch SET edition = 2",
    "DELETE FROM retold.stretch",
    "INSERT INTO retold.event SELECT * FROM retold.event ON CONFLICT (log, position) DO UPDATE SET payload = ''",
];

#[test]
fn sql_that_would_change_history_is_refused() {
    block_on(async {
        let database = Database::create().await;
        let log = LogId::new(Uuid::from_u128(1));
        let recorder = database.open().await.open("dogs", log).await.unwrap();
        let id = EventId::new(Uuid::from_u128(2));
        let event = NewEvent::new(id, "Dog.Registered", "{}")
            .stream("dog/1")
            .tag("a");
        let to = Mark {
            position: Position::FIRST,
            event_id: id,
        };
        let stretch = Stretch::new(FollowerKey::new("f@1"), log, None, to);
        let append = Append::of([event]).stretch(stretch);
        recorder.append(append).await.unwrap();
        let before = recorder.read_log(LogRead::new()).await.unwrap();

        let client = database.client().await;
        for sql in REFUSED
            .iter()
            .chain(&["SET session_replication_role = replica"])
            .chain(&REFUSED)
        {
            if sql.starts_with("SET") {
                // Other triggers do not fire from here on.
                client.batch_execute(sql).await.unwrap();
                continue;
            }
            let error = client.batch_execute(sql).await.unwrap_err();
            let message = error.as_db_error().unwrap().message();
            assert!(message.starts_with("retold: "), "{sql}: {message}");
        }
        assert_eq!(recorder.read_log(LogRead::new()).await.unwrap(), before);
    });
}
