//! Projections: every event once and in order, despite failures, races and a replaced log.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use retold_core::application::{Application, Error};
use retold_core::domain::{Id, IdSource, ManualClock, Timestamp, UuidV7Source};
use retold_core::projection::{
    MemoryView, OnPoison, Projection, ProjectionError, ProjectionPipeline, ProjectionState,
};
use retold_core::recording::{
    Append, EventId, LogId, MemoryStore, NewEvent, Position, Recorder, Store,
};
use uuid::Uuid;

use crate::dogs::{Dog, DogEvent, registered, trick_added};
use crate::racing::{append, event, log, seed, soon};
use crate::unsteady::Unsteady;

/// Tricks in the order in which they were added.
type Tricks = Vec<String>;

async fn school(store: &MemoryStore) -> Application {
    let builder = Application::builder("school").store(Arc::new(store.clone()));
    builder.open().await.unwrap()
}

/// Teaches a new dog this trick; two events.
async fn teach(school: &Application, trick: &str) -> Position {
    let events = vec![registered("Fido"), trick_added(trick)];
    let dog = Id::<Dog>::new(Uuid::now_v7());
    let recorded = school.execute_or_create(dog, |_: &Dog| events.clone());
    recorded.await.unwrap().position().unwrap()
}

fn tricks(version: u32) -> Projection<MemoryView<Tricks>> {
    Projection::new("tricks", version, "school").on::<DogEvent>(|tricks: &mut Tricks, logged| {
        if let DogEvent::TrickAdded { trick } = &logged.event {
            if trick == "bite" {
                return Err("this trick is not taught".into());
            }
            tricks.push(trick.clone());
        }
        Ok(())
    })
}

fn pipeline(
    school: &Application,
    view: &MemoryView<Tricks>,
    projection: Projection<MemoryView<Tricks>>,
) -> ProjectionPipeline {
    ProjectionPipeline::new(school.recorder().clone(), view.keep(projection).unwrap())
}

#[tokio::test]
async fn events_are_taken_once_and_in_order() {
    let school = school(&MemoryStore::new()).await;
    let view = MemoryView::<Tricks>::new();
    let mut pipeline = pipeline(&school, &view, tricks(1)).page_size(3);
    assert_eq!(pipeline.catch_up().await.unwrap(), None);
    let names: Vec<_> = (0..10).map(|number| format!("trick {number}")).collect();
    for name in &names {
        teach(&school, name).await;
    }
    let checkpoint = pipeline.catch_up().await.unwrap().unwrap();
    assert_eq!(checkpoint.position.get(), 20);
    assert_eq!(*view.guard(), names);
    assert_eq!(view.guard().checkpoint(), Some(checkpoint));
    assert!(pipeline.step().await.unwrap().is_caught_up);
    assert_eq!(*view.guard(), names);
}

#[tokio::test]
async fn events_of_other_topics_and_without_the_tag_are_not_decoded() {
    let log = log().await;
    append(&*log, "Cat.Seen", 3).await;
    append(&*log, "DogEvent.TrickAdded", 1).await;
    let view = MemoryView::<u64>::new();
    let projection = Projection::<MemoryView<u64>>::new("walks", 1, "log")
        .on::<DogEvent>(|count, _| {
            *count += 1;
            Ok(())
        })
        .tag("trick:fetch");
    let mut pipeline = ProjectionPipeline::new(log.clone(), view.keep(projection).unwrap());
    // The payload of the dog's event has no trick: decoded, it would be poison.
    let checkpoint = pipeline.catch_up().await.unwrap().unwrap();
    assert_eq!(checkpoint.position.get(), 4);
    assert_eq!(view.read(|count| *count), 0);
    let status = pipeline.handle().status().await.unwrap();
    assert_eq!(status.checkpoint, None, "nothing was to be recorded");
    assert!(status.is_caught_up());
    append(&*log, "Cat.Seen", 1_000).await;
    pipeline.catch_up().await.unwrap();
    let status = pipeline.handle().status().await.unwrap();
    assert_eq!(status.checkpoint, status.head, "as many are recorded");
}

#[tokio::test]
async fn erased_events_are_passed_over_unless_they_are_poison() {
    let log = log_of("log", &MemoryStore::new()).await;
    let mut erased = event("DogEvent.Walked");
    erased.payload = None;
    log.append(Append::of([erased, event("DogEvent.Walked")]))
        .await
        .unwrap();
    let view = MemoryView::<u64>::new();
    let mut stops =
        ProjectionPipeline::new(log.clone(), view.keep(count(1).erased_is_poison()).unwrap());
    let error = stops.catch_up().await.unwrap_err();
    assert!(error.to_string().contains("erased"), "{error}");
    let passes = view.keep(count(2)).unwrap();
    let mut passes = ProjectionPipeline::new(log, passes);
    passes.catch_up().await.unwrap();
    assert_eq!(view.read(|count| *count), 1);
}

#[tokio::test]
async fn poison_stops_by_default_until_it_is_skipped() {
    let school = school(&MemoryStore::new()).await;
    for trick in ["sit", "bite", "fetch"] {
        teach(&school, trick).await;
    }
    let view = MemoryView::<Tricks>::new();
    let mut pipeline = pipeline(&school, &view, tricks(1));
    let handle = pipeline.handle();
    for _ in 0..2 {
        let error = pipeline.catch_up().await.unwrap_err();
        assert!(!error.is_retriable());
        let text = error.to_string();
        for part in [
            "\"tricks\" version 1",
            "position 4",
            "this trick is not taught",
            "stopped",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
    assert_eq!(*view.guard(), ["sit"]);
    assert_eq!(handle.state(), ProjectionState::Stopped);
    handle.wait_for(Position::new(3).unwrap()).await.unwrap();
    let waited = soon(handle.wait_for(Position::new(4).unwrap())).await;
    assert!(matches!(waited, Err(ProjectionError::Poison { .. })));

    let skipped = pipeline.pass_over().await.unwrap().unwrap();
    assert_eq!(skipped.checkpoint.position.get(), 4);
    pipeline.catch_up().await.unwrap();
    assert_eq!(*view.guard(), ["sit", "fetch"]);
    assert_eq!(handle.skipped(None, 10).await.unwrap(), [skipped]);
    assert_eq!(pipeline.pass_over().await.unwrap(), None);
}

#[tokio::test]
async fn poison_may_be_skipped_and_is_listed() {
    let school = school(&MemoryStore::new()).await;
    for trick in ["bite", "sit", "bite", "fetch", "bite"] {
        teach(&school, trick).await;
    }
    let view = MemoryView::<Tricks>::new();
    let mut pipeline = pipeline(&school, &view, tricks(1).on_poison(OnPoison::Skip));
    pipeline.catch_up().await.unwrap();
    assert_eq!(*view.guard(), ["sit", "fetch"]);
    let handle = pipeline.handle();
    assert_eq!(handle.status().await.unwrap().skipped, 3);
    let first = handle.skipped(None, 2).await.unwrap();
    let positions: Vec<_> = first
        .iter()
        .map(|it| it.checkpoint.position.get())
        .collect();
    assert_eq!(positions, [2, 6]);
    assert_eq!(&*first[0].topic, "DogEvent.TrickAdded");
    assert_eq!(&*first[0].error, "this trick is not taught");
    let rest = handle
        .skipped(Some(first[1].checkpoint.position), 10)
        .await
        .unwrap();
    assert_eq!(rest.len(), 1);
}

/// An event of a newer program is neither skipped nor poison: a program that knows its revision
/// processes it.
#[tokio::test]
async fn an_event_of_a_newer_revision_is_waited_for() {
    let school = school(&MemoryStore::new()).await;
    teach(&school, "sit").await;
    let newer = NewEvent::new(
        EventId::new(Uuid::from_u128(99)),
        "DogEvent.TrickAdded",
        r#"{"trick":"dance","steps":7}"#,
    );
    let newer = Append::of([newer.revision(2)]);
    school.recorder().append(newer).await.unwrap();
    teach(&school, "fetch").await;
    for choice in [OnPoison::Skip, OnPoison::Stop] {
        let view = MemoryView::<Tricks>::new();
        let mut pipeline = pipeline(&school, &view, tricks(1).on_poison(choice));
        let error = pipeline.catch_up().await.unwrap_err();
        assert!(
            matches!(error, ProjectionError::UnknownTopic { .. }),
            "{error}"
        );
        assert!(error.is_retriable());
        assert_eq!(*view.guard(), ["sit"]);
        let handle = pipeline.handle();
        let status = handle.status().await.unwrap();
        assert_eq!(
            (status.state, status.skipped),
            (ProjectionState::Holding, 0)
        );
        assert!(handle.skipped(None, 10).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn poison_may_be_tried_again() {
    let school = school(&MemoryStore::new()).await;
    let position = teach(&school, "sit").await;
    let is_ready = Arc::new(AtomicBool::new(false));
    let depends = is_ready.clone();
    let projection = Projection::<MemoryView<u64>>::new("late", 1, "school")
        .on::<DogEvent>(move |count, _| {
            assert!(
                depends.load(Ordering::SeqCst),
                "a handler that panics is poison"
            );
            *count += 1;
            Ok(())
        })
        .on_poison(OnPoison::Retry(NonZeroU32::new(2).unwrap()));
    let view = MemoryView::<u64>::new();
    let mut pipeline =
        ProjectionPipeline::new(school.recorder().clone(), view.keep(projection).unwrap());
    for expected in [2, 1] {
        let error = pipeline.step().await.unwrap_err();
        assert!(error.is_retriable(), "{error}");
        assert!(
            error.to_string().contains("a handler that panics"),
            "{error}"
        );
        let left = matches!(
            error,
            ProjectionError::Poison { attempts_left, .. } if attempts_left == expected
        );
        assert!(left, "{error}");
        assert_eq!(pipeline.handle().state(), ProjectionState::Retrying);
    }
    let error = pipeline.step().await.unwrap_err();
    assert!(!error.is_retriable(), "{error}");
    is_ready.store(true, Ordering::SeqCst);
    assert!(pipeline.step().await.is_err(), "it stopped");
    pipeline.resume();
    pipeline.catch_up().await.unwrap();
    pipeline.handle().wait_for(position).await.unwrap();
    assert_eq!(view.read(|count| *count), 2);
}

/// Changes the view before it fails on the event.
fn half_way(version: u32, panics: bool) -> Projection<MemoryView<Tricks>> {
    Projection::new("tricks", version, "school")
        .on::<DogEvent>(|tricks: &mut Tricks, logged| {
            if let DogEvent::TrickAdded { trick } = &logged.event {
                tricks.push(trick.clone());
            }
            Ok(())
        })
        .on::<DogEvent>(move |tricks: &mut Tricks, logged| {
            let DogEvent::TrickAdded { trick } = &logged.event else {
                return Ok(());
            };
            tricks.push(format!("{trick} again"));
            match trick == "bite" {
                true if panics => panic!("this trick is not taught"),
                true => Err("this trick is not taught".into()),
                false => Ok(()),
            }
        })
}

/// Goal: a view never has half of a handler's changes, for any way of handling the failure. Method:
/// random tricks, some of which cannot be processed, on pages of all sizes; after each step the
/// view has exactly the processable events up to its checkpoint.
#[tokio::test]
async fn a_handler_that_fails_leaves_the_view_as_it_was() {
    let mut random = fastrand::Rng::with_seed(seed());
    for round in 0..60 {
        let school = school(&MemoryStore::new()).await;
        let mut taken = Vec::new();
        let mut expected = Tricks::new();
        for number in 0..random.usize(1..30) {
            let trick = match random.u8(0..4) {
                0 => "bite".to_owned(),
                _ => format!("trick {number}"),
            };
            let position = teach(&school, &trick).await;
            if trick != "bite" {
                expected.extend([trick.clone(), format!("{trick} again")]);
            }
            taken.push((position, expected.clone()));
        }
        let choice = match round % 3 {
            0 => OnPoison::Stop,
            1 => OnPoison::Skip,
            _ => OnPoison::Retry(NonZeroU32::new(2).unwrap()),
        };
        let view = MemoryView::<Tricks>::new();
        // A version that is built next to an older one is equal to any other.
        if random.bool() {
            let mut older = pipeline(&school, &view, tricks(1));
            older.step().await.ok();
        }
        let projection = half_way(2, random.bool()).on_poison(choice);
        let page_size = [1, 2, 7, 100][random.usize(..4)];
        let mut pipeline = pipeline(&school, &view, projection).page_size(page_size);
        for _ in 0..500 {
            let step = pipeline.step().await;
            let guard = view.guard();
            if guard.version() == 2 {
                let reached = guard.checkpoint().map(|checkpoint| checkpoint.position);
                let known = taken.iter().rev().find(|(it, _)| Some(*it) <= reached);
                let known = known.map(|(_, tricks)| tricks.clone()).unwrap_or_default();
                assert_eq!(*guard, known, "round {round}: {step:?}");
            }
            drop(guard);
            match step {
                Ok(step) if step.is_caught_up => break,
                Ok(_) => {}
                Err(error) if error.is_retriable() => {}
                Err(_) if random.bool() => pipeline.resume(),
                Err(_) => {
                    pipeline.pass_over().await.unwrap();
                }
            }
        }
        assert_eq!(*view.guard(), expected, "round {round}");
    }
}

/// A handler that fails on an event that it processed before breaks its contract: the view then
/// returns to the last certain state, and nothing is left out or processed twice.
#[tokio::test]
async fn an_inconsistent_handler_damages_nothing() {
    let school = school(&MemoryStore::new()).await;
    for trick in ["sit", "fetch", "roll", "bite"] {
        teach(&school, trick).await;
    }
    let has_failed = Arc::new(AtomicBool::new(false));
    let (fails, seen) = (has_failed.clone(), Arc::new(AtomicBool::new(false)));
    let projection = Projection::<MemoryView<Tricks>>::new("tricks", 1, "school").on::<DogEvent>(
        move |tricks: &mut Tricks, logged| {
            let DogEvent::TrickAdded { trick } = &logged.event else {
                return Ok(());
            };
            tricks.push(trick.clone());
            let is_again = trick == "fetch" && seen.swap(true, Ordering::SeqCst);
            match trick == "bite" || (is_again && !fails.swap(true, Ordering::SeqCst)) {
                true => Err("not now".into()),
                false => Ok(()),
            }
        },
    );
    let view = MemoryView::<Tricks>::new();
    let mut pipeline = pipeline(&school, &view, projection.on_poison(OnPoison::Skip));
    pipeline.catch_up().await.unwrap();
    assert!(has_failed.load(Ordering::SeqCst));
    assert_eq!(*view.guard(), ["sit", "fetch", "roll"]);
    let skipped = pipeline.handle().skipped(None, 10).await.unwrap();
    assert_eq!(skipped.len(), 1, "{skipped:?}");
}

#[tokio::test]
async fn a_new_version_is_built_next_to_the_old_one() {
    let school = school(&MemoryStore::new()).await;
    let view = MemoryView::<Tricks>::new();
    let mut old = pipeline(&school, &view, tricks(1));
    for number in 0..10 {
        teach(&school, &format!("trick {number}")).await;
    }
    old.catch_up().await.unwrap();
    let mut new = pipeline(&school, &view, tricks(2)).page_size(4);
    for number in 10..14 {
        new.step().await.unwrap();
        assert_eq!(view.guard().version(), 1);
        let last = teach(&school, &format!("trick {number}")).await;
        old.catch_up().await.unwrap();
        old.handle().wait_for(last).await.unwrap();
        assert_eq!(view.read(Vec::len), number + 1, "the old one continues");
        assert!(!new.handle().status().await.unwrap().is_caught_up());
    }
    new.catch_up().await.unwrap();
    assert_eq!(view.guard().version(), 2);
    assert_eq!(view.read(Vec::len), 14);

    let late = teach(&school, "late").await;
    let error = old.catch_up().await.unwrap_err();
    assert!(
        matches!(error, ProjectionError::Superseded { current: 2, .. }),
        "{error}"
    );
    let waited = soon(old.handle().wait_for(late)).await;
    assert!(matches!(waited, Err(ProjectionError::Superseded { .. })));
    let mut again = pipeline(&school, &view, tricks(1));
    let error = again.step().await.unwrap_err();
    assert!(
        matches!(error, ProjectionError::Superseded { .. }),
        "{error}"
    );
    new.catch_up().await.unwrap();
    assert_eq!(view.read(Vec::len), 15);
}

/// Goal: despite interrupted, unavailable or concurrent pipelines, each event is processed once,
/// and readers never see fewer. Method: unsteady logs, two pipelines of one version and one of the
/// next, which are dropped in the middle of steps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_pipelines_take_each_event_once() {
    let seed = seed();
    let school = school(&MemoryStore::new()).await;
    let view = MemoryView::<Tricks>::new();
    let versions = [1, 1, 2];
    let tasks: Vec<_> = (0..)
        .zip(versions)
        .map(|(number, version)| {
            let log = Unsteady::new(school.recorder().clone(), seed + number);
            let view_store = view.keep(tricks(version)).unwrap();
            let mut random = fastrand::Rng::with_seed(seed - number);
            tokio::spawn(async move {
                let mut pipeline = ProjectionPipeline::new(log, view_store).page_size(7);
                loop {
                    let polls = random.u8(0..20);
                    let step = interrupted(polls, pipeline.step()).await;
                    match step {
                        None | Some(Err(ProjectionError::Unavailable { .. })) => {}
                        Some(Err(ProjectionError::Superseded { .. })) => return,
                        Some(Err(error)) => panic!("{error}"),
                        Some(Ok(step)) => {
                            if step.read_to.map(|checkpoint| checkpoint.position.get()) == Some(200)
                            {
                                return;
                            }
                        }
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let mut seen = 0;
    for number in 0..100 {
        teach(&school, &format!("trick {number}")).await;
        let count = view.read(Vec::len);
        assert!(count >= seen, "readers never see fewer");
        seen = count;
    }
    for task in tasks {
        soon(task).await.unwrap();
    }
    let expected: Vec<_> = (0..100).map(|number| format!("trick {number}")).collect();
    assert_eq!(*view.guard(), expected);
    assert_eq!(view.guard().version(), 2);
}

/// The output, or `None` if it is not ready after this number of polls.
async fn interrupted<F: Future>(mut polls_left: u8, future: F) -> Option<F::Output> {
    use std::task::Poll;
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(move |context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if polls_left == 0 => Poll::Ready(None),
        Poll::Pending => {
            polls_left -= 1;
            Poll::Pending
        }
    })
    .await
}

async fn log_of(name: &str, store: &MemoryStore) -> Arc<dyn Recorder> {
    let birth = LogId::new(UuidV7Source.next_id());
    store.open(name, birth).await.unwrap()
}

fn count(version: u32) -> Projection<MemoryView<u64>> {
    Projection::new("count", version, "log").on::<DogEvent>(|count: &mut u64, _| {
        *count += 1;
        Ok(())
    })
}

#[tokio::test]
async fn a_log_that_was_replaced_cut_or_restored_is_diverged() {
    const TOPIC: &str = "DogEvent.Walked";
    let view = MemoryView::<u64>::new();
    let view_store = view.keep(count(1)).unwrap();
    let store = MemoryStore::new();
    let log = log_of("log", &store).await;
    append(&*log, TOPIC, 2).await;
    let older = store.fork();
    append(&*log, TOPIC, 2).await;
    let mut pipeline = ProjectionPipeline::new(log.clone(), view_store.clone());
    let checkpoint = pipeline.catch_up().await.unwrap().unwrap();

    let cut = log_of("log", &older).await;
    let replaced = log_of("log", &MemoryStore::new()).await;
    append(&*replaced, TOPIC, 9).await;
    for other in [cut.clone(), replaced] {
        let mut pipeline = ProjectionPipeline::new(other, view_store.clone());
        let error = pipeline.step().await.unwrap_err();
        let is_meant =
            matches!(&error, ProjectionError::Diverged { checkpoint: it, .. } if *it == checkpoint);
        assert!(is_meant, "{error}");
        let waited = soon(pipeline.handle().wait_for(checkpoint.position)).await;
        assert!(matches!(waited, Err(ProjectionError::Diverged { .. })));
        assert!(matches!(Error::from(error), Error::Diverged { .. }));
        assert_eq!(view.read(|count| *count), 4, "nothing was applied");
    }
    // Other events at the same positions.
    append(&*cut, TOPIC, 5).await;
    let mut pipeline = ProjectionPipeline::new(cut, view_store);
    let error = pipeline.step().await.unwrap_err();
    assert!(
        matches!(error, ProjectionError::Diverged { found: Some(_), .. }),
        "{error}"
    );
    pipeline.rebuild().await.unwrap();
    pipeline.catch_up().await.unwrap();
    assert_eq!(view.read(|count| *count), 7);
}

/// A version that is built over a log that was cut does not wait until it reaches the older one.
#[tokio::test]
async fn a_new_version_supersedes_one_of_a_log_that_was_cut() {
    const TOPIC: &str = "DogEvent.Walked";
    let view = MemoryView::<u64>::new();
    let store = MemoryStore::new();
    let log = log_of("log", &store).await;
    append(&*log, TOPIC, 2).await;
    let cut = log_of("log", &store.fork()).await;
    append(&*log, TOPIC, 2).await;
    let mut old = ProjectionPipeline::new(log, view.keep(count(1)).unwrap());
    old.catch_up().await.unwrap();

    let mut new = ProjectionPipeline::new(cut, view.keep(count(2)).unwrap());
    let step = new.step().await.unwrap();
    assert!(!step.is_caught_up, "the older one is ahead: {step:?}");
    assert_eq!(view.read(|count| *count), 4);
    soon(new.catch_up()).await.unwrap();
    assert_eq!(view.read(|count| *count), 2);
}

#[tokio::test]
async fn waiting_callers_read_their_writes() {
    let school = school(&MemoryStore::new()).await;
    let view = MemoryView::<Tricks>::new();
    let mut pipeline = pipeline(&school, &view, tricks(1));
    let handle = pipeline.handle();
    let running = tokio::spawn(async move { pipeline.run().await });
    for number in 1..50 {
        let position = teach(&school, "sit").await;
        soon(handle.wait_for(position)).await.unwrap();
        assert_eq!(view.read(Vec::len), number);
    }
    running.abort();
    assert!(running.await.is_err());
    let position = teach(&school, "late").await;
    let waited = soon(handle.wait_for(position)).await;
    assert!(matches!(waited, Err(ProjectionError::Ended { .. })));
}

#[tokio::test]
async fn the_status_shows_lag_and_errors() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_000_000)));
    let store = MemoryStore::new().with_clock(clock.clone());
    let log = log_of("log", &store).await;
    let view = MemoryView::<u64>::new();
    let view_store = view.keep(count(1)).unwrap();
    let mut pipeline = ProjectionPipeline::new(log.clone(), view_store)
        .page_size(2)
        .clock(clock.clone());
    let handle = pipeline.handle();
    assert_eq!(handle.state(), ProjectionState::NotStarted);
    append(&*log, "DogEvent.Walked", 3).await;
    clock.advance(Duration::from_secs(7));
    append(&*log, "Cat.Seen", 1).await;
    let status = handle.status().await.unwrap();
    assert_eq!((status.lag_events, status.lag), (4, Duration::from_secs(7)));
    pipeline.step().await.unwrap();
    let status = handle.status().await.unwrap();
    assert_eq!((status.lag_events, status.lag), (2, Duration::from_secs(7)));
    assert_eq!(status.state, ProjectionState::CatchingUp);
    assert!(!status.is_caught_up());
    pipeline.catch_up().await.unwrap();
    let status = handle.status().await.unwrap();
    assert_eq!((status.lag_events, status.lag), (0, Duration::ZERO));
    assert_eq!(
        (&*status.name, status.version, &*status.upstream),
        ("count", 1, "log")
    );
    assert!(status.is_caught_up() && status.events_per_second > 0.0);
    assert!(status.last_error.is_none());
}

#[tokio::test]
async fn what_is_declared_wrongly_is_invalid() {
    let view = MemoryView::<u64>::new();
    let bare = Projection::<MemoryView<u64>>::new("count", 1, "log");
    let wrong = [
        (bare, "no handlers"),
        (Projection::new("", 1, "log"), "empty"),
        (Projection::new("count", 0, "log"), "version 0"),
    ];
    for (projection, part) in wrong {
        let Err(error) = view.keep(projection) else {
            panic!("it is refused: {part}");
        };
        assert!(error.to_string().contains(part), "{error}");
    }
    let other = log_of("other", &MemoryStore::new()).await;
    let view_store = view.keep(count(1)).unwrap();
    let error = ProjectionPipeline::new(other, view_store)
        .step()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("\"other\""), "{error}");
}

/// Two handlers for one type run in the order of their declaration.
#[tokio::test]
async fn several_handlers_act_in_order() {
    let school = school(&MemoryStore::new()).await;
    teach(&school, "sit").await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let handler = |name: &'static str| {
        let order = order.clone();
        move |_: &mut BTreeSet<u8>, _: &retold_core::application::Logged<DogEvent>| {
            order.lock().unwrap().push(name);
            Ok(())
        }
    };
    let projection = Projection::<MemoryView<BTreeSet<u8>>>::new("order", 1, "school")
        .on::<DogEvent>(handler("first"))
        .on::<DogEvent>(handler("second"));
    let view = MemoryView::new();
    let view_store = view.keep(projection).unwrap();
    let mut pipeline = ProjectionPipeline::new(school.recorder().clone(), view_store);
    pipeline.catch_up().await.unwrap();
    assert_eq!(
        *order.lock().unwrap(),
        ["first", "second", "first", "second"]
    );
}
