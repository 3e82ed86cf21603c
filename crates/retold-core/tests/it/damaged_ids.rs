//! Commands whose events are in the log only in part, or are not found by their ids: every kind of
//! command reports that the log is corrupt, and records nothing.

use std::sync::Arc;

use retold_core::application::{Application, CommandId, Error};
use retold_core::domain::Id;
use retold_core::mapping::Addressed;
use retold_core::recording::{
    Append, BoxFuture, EventId, RecordError, Recorder, RecorderLayer, StoredEvent,
};
use uuid::Uuid;

use crate::dogs::{Dog, registered, trick_added};
use crate::racing;

/// One command id for each kind of command.
const COMMANDS: [&str; 4] = ["execute", "create", "decide", "change"];

/// A recorder whose index of event ids has lost some of them.
struct Lossy {
    sound: Arc<dyn Recorder>,
    lost: Vec<EventId>,
}

impl RecorderLayer for Lossy {
    fn inner(&self) -> &Arc<dyn Recorder> {
        &self.sound
    }

    fn event(&self, id: EventId) -> BoxFuture<'_, Result<Option<StoredEvent>, RecordError>> {
        Box::pin(async move {
            match self.lost.contains(&id) {
                true => Ok(None),
                false => self.sound.event(id).await,
            }
        })
    }
}

async fn open(log: &Arc<dyn Recorder>) -> Application {
    let builder = Application::builder("school").recorder(Arc::clone(log));
    builder.retries(3).open().await.unwrap()
}

/// Opens the log without finding the events of the commands with this ordinal.
async fn without(log: &Arc<dyn Recorder>, ordinal: u64) -> Application {
    let lost = COMMANDS.map(|it| CommandId::from(it).event_id(ordinal));
    let lossy: Arc<dyn Recorder> = Arc::new(Lossy {
        sound: Arc::clone(log),
        lost: lost.into(),
    });
    open(&lossy).await
}

/// Sends the same command of each kind; each decides on two events.
async fn send_each(school: &Application) -> Vec<Result<(), Error>> {
    let dog = |number| Id::<Dog>::new(Uuid::from_u128(number));
    let named = |name| (registered(name), trick_added("sit"));
    let executed = school
        .execute_or_create(dog(1), |_| named("Fido"))
        .command_id(COMMANDS[0])
        .await;
    let created = school
        .create::<Dog>(named("Rex"))
        .command_id(COMMANDS[1])
        .await;
    let decided = school
        .decide((), |()| {
            [
                registered("Lassie").to(&dog(2)),
                trick_added("sit").to(&dog(2)),
            ]
        })
        .command_id(COMMANDS[2])
        .await;
    let changed = school
        .change(dog(3), |dog| dog.record(named("Laika")))
        .command_id(COMMANDS[3])
        .await;
    vec![
        executed.map(drop).map_err(Error::from),
        created.map(drop),
        decided.map(drop).map_err(Error::from),
        changed.map(drop).map_err(Error::from),
    ]
}

async fn assert_corrupt(school: &Application) {
    let appends = school.head().await.unwrap().append_count;
    for (command, sent) in COMMANDS.iter().zip(send_each(school).await) {
        let is_corrupt = matches!(&sent, Err(Error::Corrupt(corrupt))
            if corrupt.place().contains(command));
        assert!(is_corrupt, "{command}: {sent:?}");
    }
    assert_eq!(school.head().await.unwrap().append_count, appends);
}

#[tokio::test]
async fn a_command_of_which_one_event_is_not_found_is_corrupt() {
    let log = racing::log().await;
    let school = open(&log).await;
    for sent in send_each(&school).await {
        sent.unwrap();
    }
    // The same commands again: the recorder knows their events, or one of them, by id.
    assert_corrupt(&without(&log, 0).await).await;
    assert_corrupt(&without(&log, 1).await).await;
}

#[tokio::test]
async fn a_later_event_of_a_command_without_the_first_is_corrupt() {
    let log = racing::log().await;
    for command in COMMANDS {
        let mut later = racing::event("DogEvent.TrickAdded");
        later.id = CommandId::from(command).event_id(1);
        log.append(Append::of([later])).await.unwrap();
    }
    assert_corrupt(&open(&log).await).await;
}
