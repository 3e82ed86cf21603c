//! Events are read back exactly as they were recorded.

use super::scene::{
    Scene, checkpoint, event, event_id, log_id, read, read_stream, record, version,
    without_wall_clock,
};
use super::subject::Subject;
use super::whole::whole;
use retold_core::domain::Timestamp;
use retold_core::recording::Append;
use retold_core::recording::Encoding;
use retold_core::recording::FollowerKey;
use retold_core::recording::Metadata;
use retold_core::recording::NewEvent;
use retold_core::recording::Origin;
use retold_core::recording::Position;
use retold_core::recording::{AppendPlace, StoredEvent};
use retold_core::recording::{LogRead, StreamRead};

/// The content of an event is returned unchanged by every way of reading it, and an event is found
/// by its id only in its own log.
pub async fn events_come_back_as_they_were<S: Subject>() {
    let scene = Scene::<S>::new().await;
    let follower = FollowerKey::new("f@1");
    let all_bytes: Vec<u8> = (0..=255).collect();
    let new = [
        event(1).metadata(Metadata::new().with("user", "ann").with("n", 1).to_bytes()),
        NewEvent::new(event_id(u128::MAX), "Ünï.🐕", all_bytes)
            .stream("dog/'; DROP TABLE events; --")
            .tag("b")
            .tag("a:\"quoted\"")
            .revision(u32::MAX)
            .time(Timestamp::from_micros(i64::MIN))
            .encoding(Encoding::parse("msgpack+zstd@key/1").expect("an encoding"))
            .origin(Origin::Effect {
                follower,
                policy_version: 3,
                upstream: log_id(9),
                position: Position::FIRST,
                event_id: event_id(8),
            }),
        event(3)
            .erased()
            .origin(Origin::Library)
            .time(Timestamp::from_micros(i64::MAX)),
        NewEvent::new(event_id(0), "Empty", ""),
    ];
    record(&*scene.log, Append::of(new.iter().cloned())).await;
    let found = whole(&*scene.log).await;
    assert_eq!(found.len(), new.len());
    for ((index, new), found) in (0..).zip(&new).zip(&found) {
        let version = new.stream.is_some().then(|| version(1));
        let place = AppendPlace { index, count: 4 };
        let position = Position::FIRST.plus(index.into());
        let expected = StoredEvent::from_new(new, position, version, place, Timestamp::default());
        assert_eq!(without_wall_clock(found), expected);
        let by_id = scene.log.event(new.id).await.expect("the event is read");
        assert_eq!(by_id.as_ref(), Some(found));
    }
    let stream = StreamRead::new("dog/'; DROP TABLE events; --");
    assert_eq!(read_stream(&*scene.log, stream).await.events, found[1..2]);
    let backward = read(&*scene.log, LogRead::new().backward()).await;
    assert!(backward.events.iter().rev().eq(&found));
    assert_eq!(found[1].checkpoint(), checkpoint(2, u128::MAX));
}
