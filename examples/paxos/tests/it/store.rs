//! Tests of the replicated key-value store: every replica executes the same sequence with the same
//! results.

use std::sync::Arc;
use std::time::Duration;

use retold::recording::MemoryStore;
use retold::system::{Runner, SingleThread};
use retold_paxos::client::{answer, replica, submit};
use retold_paxos::command::{Answer, Command, Request};
use retold_paxos::electorate::{Electorate, participant};

use crate::agreement::{assert_sound, start, start_with_another, stores};

/// Checks that all replicas have executed this many slots and have these values.
async fn assert_values(
    runner: &SingleThread,
    electorate: Electorate,
    slots: u64,
    values: &[(&str, &str)],
) {
    for name in electorate.names() {
        let app = runner.application(&name).unwrap();
        let replica = replica(&app).await.unwrap();
        let held: Vec<_> = replica
            .values()
            .iter()
            .map(|(key, value)| (&**key, &**value))
            .collect();
        assert_eq!((replica.next_slot() - 1, &*held), (slots, values), "{name}");
    }
}

#[tokio::test]
async fn a_sequence_of_commands_is_executed_by_all() {
    let rows = [
        (Command::get("drink"), Answer::Missing),
        (Command::set("drink", "tea"), Answer::Done),
        (Command::get("drink"), Answer::Value("tea".into())),
        (Command::rename("drink", "hot"), Answer::Done),
        (Command::get("drink"), Answer::Missing),
        (Command::set("cold", "milk"), Answer::Done),
        (Command::rename("hot", "cold"), Answer::Done),
        (Command::get("cold"), Answer::Value("tea".into())),
        (Command::rename("hot", "cold"), Answer::Missing),
        (Command::rename("cold", "cold"), Answer::Done),
        (Command::set("snack", "nut"), Answer::Done),
        (Command::delete("cold"), Answer::Done),
        (Command::delete("cold"), Answer::Missing),
    ];
    for participants in [3, 5] {
        let (_folder, stores) = stores().await;
        for store in stores {
            let (runner, electorate, _) = start(participants, store).await;
            for (number, (command, expected)) in rows.iter().enumerate() {
                // Each from another participant.
                let to = participant(number as u32 % participants);
                let app = runner.application(&to).unwrap();
                let request = Request::new(number.to_string(), command.clone());
                submit(&app, electorate, &request).await.unwrap();
                for name in electorate.names() {
                    let app = runner.application(&name).unwrap();
                    let answer = answer(&app, &request.id).await.unwrap();
                    assert_eq!(answer.as_ref(), Some(expected), "{name}, {command:?}");
                }
            }
            assert_sound(&runner, electorate).await;
            assert_values(&runner, electorate, rows.len() as u64, &[("snack", "nut")]).await;
        }
    }
}

#[tokio::test]
async fn concurrent_requests_are_each_executed_once() {
    const EACH: usize = 3;
    for participants in [3, 5] {
        let (_folder, stores) = stores().await;
        for store in stores {
            let (runner, electorate, clock) = start(participants, store).await;
            for name in electorate.names() {
                let app = runner.open_system().application(&name).unwrap();
                for number in 0..EACH {
                    let command = Command::set("last", format!("{name}/{number}"));
                    let request = Request::new(format!("{name}/{number}"), command);
                    submit(app, electorate, &request).await.unwrap();
                }
            }
            runner.catch_up().await.unwrap();
            // Requests that lost a slot got another one, and nothing waits for time to pass.
            let app = runner.application("participant-0").unwrap();
            let executed = replica(&app).await.unwrap().next_slot() - 1;
            assert_eq!(executed, u64::from(participants) * EACH as u64);
            assert_sound(&runner, electorate).await;
            clock.advance(Duration::from_secs(3_600));
            runner.catch_up().await.unwrap();
            assert_sound(&runner, electorate).await;
            let last = replica(&app)
                .await
                .unwrap()
                .value("last")
                .unwrap()
                .to_owned();
            assert_values(&runner, electorate, executed, &[("last", &last)]).await;
        }
    }
}

#[tokio::test]
async fn a_request_submitted_to_several_is_executed_once() {
    let (runner, another, electorate, _) =
        start_with_another(3, Arc::new(MemoryStore::new())).await;
    let request = Request::new("r", Command::rename("a", "b"));
    let first = Request::new("first", Command::set("a", "1"));
    let app = runner.application("participant-0").unwrap();
    submit(&app, electorate, &first).await.unwrap();
    for _ in 0..2 {
        for name in electorate.names() {
            let app = another.application(&name).unwrap();
            submit(app, electorate, &request).await.unwrap();
        }
    }
    runner.catch_up().await.unwrap();
    assert_sound(&runner, electorate).await;
    assert_eq!(answer(&app, "r").await.unwrap(), Some(Answer::Done));
    assert_eq!(replica(&app).await.unwrap().value("b"), Some("1"));
}

#[tokio::test]
async fn too_many_pending_requests_are_refused() {
    let (runner, another, electorate, _) =
        start_with_another(3, Arc::new(MemoryStore::new())).await;
    let app = another.application("participant-0").unwrap();
    for number in 0..25 {
        let request = Request::new(number.to_string(), Command::get("a"));
        submit(app, electorate, &request).await.unwrap();
    }
    let more = Request::new("more", Command::get("a"));
    let error = submit(app, electorate, &more).await.unwrap_err();
    assert!(
        error.to_string().contains("25 requests are pending"),
        "{error}"
    );
    runner.catch_up().await.unwrap();
    submit(app, electorate, &more).await.unwrap();
    runner.catch_up().await.unwrap();
    assert_eq!(answer(app, "more").await.unwrap(), Some(Answer::Missing));
    assert_sound(&runner, electorate).await;
}
