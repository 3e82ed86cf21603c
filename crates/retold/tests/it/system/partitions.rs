//! Followers that are split into partitions, and split again: on one thread and step by step.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use retold::prelude::*;
use retold::recording::{FollowerKey, LogRead, Origin, StoredEvent};
use retold::system::{
    Context, Follower, FollowerOperator, FollowerPath, Infrastructure, OnFailure, OpenSystem,
    Opening, Phase, Pipeline, Runner, SingleThread, Step, System, partition_of_key,
};

use super::shop::{Order, Placed, Stock, StockEvent, assert_retold, lines, memory, place, reserve};

fn system(follower: Follower) -> System {
    System::new("shop")
        .application("orders", |app| app.aggregate::<Order>())
        .application("stock", |app| app.aggregate::<Stock>().follower(follower))
        .build()
        .unwrap()
}

fn reservations() -> Follower {
    Follower::new("reservations").follows("orders").on(reserve)
}

async fn events(app: &Application) -> Vec<StoredEvent> {
    let page = app.recorder().read_log(LogRead::new()).await.unwrap();
    page.events
}

/// Returns the ids of effects, in their order.
async fn effect_ids(app: &Application) -> Vec<String> {
    let is_effect = |it: &StoredEvent| matches!(it.origin(), Ok(Origin::Effect { .. }));
    let events = events(app).await.into_iter().filter(is_effect);
    events.map(|event| event.id().to_string()).collect()
}

/// Returns the follower keys of effects.
async fn keys(app: &Application) -> BTreeSet<String> {
    let key = |event: StoredEvent| match event.origin() {
        Ok(Origin::Effect { follower, .. }) => Some(follower.to_string()),
        _ => None,
    };
    events(app).await.into_iter().filter_map(key).collect()
}

async fn place_many(orders: &Application, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let item = ["tea", "coffee", "milk"][number as usize % 3];
        place(orders, &number.to_string(), item).await.unwrap();
    }
}

/// Goal: however a follower is split, and split again in between, a single thread records the same
/// effects in the same order, under the same ids; and all of it can be retold.
#[tokio::test]
async fn a_follower_records_the_same_however_it_is_split() {
    let mut expected = None;
    for (first, later) in [
        (1, vec![]),
        (4, vec![]),
        (3, vec![5, 1, 2]),
        (1, vec![4, 4, 3]),
    ] {
        let (memory, _) = memory();
        let system = system(reservations().partitioned(first));
        let runner = SingleThread::start(&system, &memory).await.unwrap();
        let orders = runner.application("orders").unwrap();
        let stock = runner.application("stock").unwrap();
        let operator = runner
            .operator(&FollowerPath::new("stock", "reservations"))
            .unwrap();
        place_many(&orders, 0..10).await;
        let mut partitions = first;
        for (round, number) in later.iter().enumerate() {
            let is_other = *number != partitions;
            assert_eq!(operator.repartition(*number, None).await.unwrap(), is_other);
            runner.catch_up().await.unwrap();
            let record = operator.record().await.unwrap();
            assert_eq!((record.partitions, record.partitioning), (*number, None));
            partitions = *number;
            assert_eq!(runner.status().await.len(), partitions as usize);
            let round = round as u32 * 10;
            place_many(&orders, 10 + round..20 + round).await;
        }
        let done = 10 + 10 * later.len() as u32;
        place_many(&orders, done..40).await;

        assert!(
            runner
                .status()
                .await
                .iter()
                .all(|it| it.phase == Phase::CaughtUp)
        );
        let own = |line: &String| !line.starts_with("retold.");
        let effects: Vec<_> = lines(&stock).await.into_iter().filter(own).collect();
        let found = (effects, effect_ids(&stock).await);
        assert_eq!(found.0.len(), 40);
        assert_eq!(*expected.get_or_insert_with(|| found.clone()), found);
        assert_retold(runner.open_system()).await;

        // Another process finds the same.
        let again = SingleThread::start(&system, &memory).await.unwrap();
        assert_eq!(again.status().await.len(), partitions as usize);
        assert_eq!(effect_ids(&stock).await, found.1);
    }
}

/// Goal: each partition has processed ranges of its own under its own key, over the whole upstream,
/// and processes only the events that belong to it.
#[tokio::test]
async fn each_partition_has_its_own_key_and_covers_everything() {
    let (memory, _) = memory();
    let system = system(reservations().partitioned(3));
    let runner = SingleThread::start(&system, &memory).await.unwrap();
    let orders = runner.application("orders").unwrap();
    let stock = runner.application("stock").unwrap();
    place_many(&orders, 0..30).await;
    let open = runner.open_system().clone();
    assert!(runner.stop().await.is_clean());

    let log = orders.log_id().await.unwrap().unwrap();
    let head = orders.head().await.unwrap().checkpoint;
    for partition in 0..3 {
        let key = FollowerKey::new(format!("reservations@1/{partition}"));
        let checkpoint = stock.recorder().checkpoint(&key, log).await.unwrap();
        assert_eq!(checkpoint, head);
    }
    let upstream = events(&orders).await;
    for event in events(&stock).await {
        let Ok(Origin::Effect {
            follower, position, ..
        }) = event.origin()
        else {
            continue;
        };
        let cause = &upstream[position.get() as usize - 1];
        let partition = partition_of_key(cause.stream().unwrap(), 3);
        assert_eq!(follower.as_str(), format!("reservations@1/{partition}"));
    }
    assert_eq!(keys(&stock).await.len(), 3);
    assert_retold(&open).await;
}

/// Goal: events that share a user's key stay together, by tag and by function; events without a key
/// are in the first partition.
#[tokio::test]
async fn events_of_one_key_are_in_one_partition() {
    let by_tag = reservations().partitioned(5).partition_by_tag("item:");
    let by_name = reservations()
        .partitioned(5)
        .partition_by("last digit", |event| {
            let stream = event.stream()?;
            stream.get(stream.len() - 1..)
        });
    let without = reservations().partitioned(5).partition_by_tag("shop:");
    for (follower, key_of) in [(by_tag, "item"), (by_name, "digit"), (without, "none")] {
        let (memory, _) = memory();
        let system = system(follower);
        let runner = SingleThread::start(&system, &memory).await.unwrap();
        let orders = runner.application("orders").unwrap();
        let stock = runner.application("stock").unwrap();
        place_many(&orders, 0..30).await;
        let upstream = events(&orders).await;
        for event in events(&stock).await {
            let Ok(Origin::Effect {
                follower, position, ..
            }) = event.origin()
            else {
                continue;
            };
            let cause = &upstream[position.get() as usize - 1];
            let stream = cause.stream().unwrap();
            let partition = match key_of {
                "item" => {
                    let tag = cause.tags().next().unwrap();
                    partition_of_key(tag.strip_prefix("item:").unwrap(), 5)
                }
                "digit" => partition_of_key(&stream[stream.len() - 1..], 5),
                _ => 0,
            };
            assert_eq!(follower.as_str(), format!("reservations@1/{partition}"));
        }
        assert_retold(runner.open_system()).await;
    }
}

#[test]
fn followers_that_cannot_be_split_are_refused() {
    let refused = |follower: Follower, expected: &str| {
        let built = System::new("shop")
            .application("orders", |app| app.aggregate::<Order>())
            .application("stock", |app| app.follower(follower))
            .build();
        let refusal = built.unwrap_err().to_string();
        assert!(refusal.contains(expected), "{refusal}");
    };
    refused(reservations().partitioned(0), "0 partitions; 1 to 64");
    refused(reservations().partitioned(65), "65 partitions; 1 to 64");
    for name in ["stream", "tag item:", ""] {
        let follower = reservations().partition_by(name, StoredEvent::stream);
        refused(follower, "a rule without a name of its own");
    }
}

/// Runs pipelines in turn until a round of all of them records nothing.
async fn drive(pipelines: &mut [Pipeline]) {
    loop {
        let known = |it: &Pipeline| (it.counts().appends, it.record().version);
        let before: Vec<_> = pipelines.iter().map(known).collect();
        for pipeline in &mut *pipelines {
            while pipeline.step().await.unwrap() == Step::Moved || pipeline.is_unflushed() {
                if !pipeline.has_effects() {
                    pipeline.flush_idle().await.unwrap();
                }
            }
        }
        if pipelines.iter().map(known).eq(before) {
            return;
        }
    }
}

async fn pipelines(system: &System, memory: &Infrastructure) -> (OpenSystem, Vec<Pipeline>) {
    let open = OpenSystem::open(system, memory, Opening::Write)
        .await
        .unwrap();
    let pipelines = open.pipelines().into_iter().map(|(_, it)| it).collect();
    (open, pipelines)
}

/// Goal: programs with a number of pipelines other than the number of partitions do all the work,
/// alone and together; the recorded number counts.
#[tokio::test]
async fn a_program_with_other_pipelines_does_all_the_work() {
    for (declared, repartitioned) in [(1, 4), (2, 5), (4, 2), (3, 1), (2, 2)] {
        let (memory, _) = memory();
        let first = system(reservations().partitioned(3));
        let (open, mut of_first) = pipelines(&first, &memory).await;
        let orders = open.application("orders").unwrap();
        let stock = open.application("stock").unwrap();
        place_many(orders, 0..20).await;
        drive(&mut of_first).await;

        let other = system(reservations().partitioned(declared));
        let (_, mut of_other) = pipelines(&other, &memory).await;
        assert_eq!(of_other.len(), declared as usize);
        place_many(orders, 20..40).await;
        drive(&mut of_other).await;
        assert_eq!(effect_ids(stock).await.len(), 40);
        let operator = FollowerOperator::new(stock, "reservations");
        assert_eq!(operator.record().await.unwrap().partitions, 3);

        assert!(operator.repartition(repartitioned, None).await.unwrap());
        place_many(orders, 40..60).await;
        of_other.extend(of_first);
        drive(&mut of_other).await;
        let record = operator.record().await.unwrap();
        assert_eq!(record.partitions, repartitioned);
        assert_eq!(record.generation, 2);
        assert_eq!(effect_ids(stock).await.len(), 60);
        assert_retold(&open).await;
    }
}

/// Goal: partitions at different positions are brought to the same one, and none passes it before
/// the follower is split; an operator can revoke the split.
#[tokio::test]
async fn partitions_reach_one_position_before_the_follower_is_split_again() {
    let (memory, _) = memory();
    let system = system(reservations().partitioned(2));
    let (open, mut pipelines) = pipelines(&system, &memory).await;
    let orders = open.application("orders").unwrap();
    let stock = open.application("stock").unwrap();
    let operator = FollowerOperator::new(stock, "reservations");
    place_many(orders, 0..20).await;
    drive(&mut pipelines[..1]).await;
    let ahead = effect_ids(stock).await.len();

    // The partition that is ahead does not continue, regardless of what else is recorded.
    assert!(operator.repartition(3, None).await.unwrap());
    assert!(!operator.repartition(3, None).await.unwrap());
    place_many(orders, 20..30).await;
    drive(&mut pipelines[..1]).await;
    assert_eq!(effect_ids(stock).await.len(), ahead);
    assert_eq!(pipelines[0].status().read().phase, Phase::Draining);
    assert_eq!(operator.record().await.unwrap().generation, 1);

    // After the split is revoked it continues; when the split is requested again, the other one is
    // waited for.
    assert!(operator.repartition(2, None).await.unwrap());
    drive(&mut pipelines[..1]).await;
    let ahead_now = effect_ids(stock).await.len();
    assert!(ahead_now > ahead);
    assert!(operator.repartition(3, None).await.unwrap());
    place_many(orders, 30..40).await;
    drive(&mut pipelines[1..]).await;
    let record = operator.record().await.unwrap();
    assert_eq!((record.generation, record.partitions), (2, 3));
    let start = record.starts["orders"].after.unwrap();
    assert_eq!(start.position.get(), 30);
    drive(&mut pipelines).await;
    assert_eq!(effect_ids(stock).await.len(), 40);
    assert_retold(&open).await;
}

/// Goal: a program that splits a follower by another rule does nothing for it, reports this, and is
/// admitted by an operator's action while the old one still runs.
#[tokio::test]
async fn a_program_with_another_rule_stands_aside() {
    let (memory, _) = memory();
    let old = system(reservations().partitioned(2));
    let new = system(reservations().partitioned(2).partition_by_tag("item:"));
    let (open, mut of_old) = pipelines(&old, &memory).await;
    let (now, mut of_new) = pipelines(&new, &memory).await;
    let orders = open.application("orders").unwrap();
    let stock = open.application("stock").unwrap();
    place_many(orders, 0..10).await;
    drive(&mut of_old).await;
    let refusal = of_new[0].step().await.unwrap_err().to_string();
    assert!(
        refusal.contains(r#"split by "stream", but by "tag item:""#),
        "{refusal}"
    );

    let operator = FollowerOperator::new(stock, "reservations");
    place_many(orders, 10..20).await;
    assert!(operator.repartition(2, Some("tag item:")).await.unwrap());
    for pipeline in &mut of_old {
        while let Ok(Step::Moved) = pipeline.step().await {}
        drop(pipeline.flush_idle().await);
    }
    drive(&mut of_new).await;
    assert!(of_old[0].step().await.is_err());
    assert_eq!(effect_ids(stock).await.len(), 20);
    assert_retold(&now).await;
    // The old program accepts the records of the new one's partitions as they are.
    assert_retold(&open).await;
}

static CLOSED: AtomicBool = AtomicBool::new(true);

async fn reserve_if_open(placed: &Placed, context: &mut Context) -> retold::Result<()> {
    let order = context.cause().stream().unwrap_or_default().to_owned();
    if CLOSED.load(Ordering::SeqCst) && order.ends_with('7') {
        return Err(retold::Error::Refused("closed".into()));
    }
    let reserved = |_: &Stock| StockEvent::Reserved { order };
    context
        .execute_or_create(placed.item.as_str(), reserved)
        .await?;
    Ok(())
}

/// Goal: a parked event stays parked when the follower is split again, is then processed once by
/// the partition that owns it, and can be retold.
#[tokio::test]
async fn a_parked_event_is_processed_by_its_new_partition() {
    let (memory, _) = memory();
    CLOSED.store(true, Ordering::SeqCst);
    let follower = Follower::new("reservations")
        .follows("orders")
        .on(reserve_if_open)
        .on_failure(OnFailure::Park)
        .partitioned(3);
    let system = system(follower);
    let runner = SingleThread::start(&system, &memory).await.unwrap();
    let orders = runner.application("orders").unwrap();
    let stock = runner.application("stock").unwrap();
    place_many(&orders, 0..30).await;
    place_many(&orders, 0..30).await;
    let operator = runner
        .operator(&FollowerPath::new("stock", "reservations"))
        .unwrap();
    assert_eq!(operator.parked().await.unwrap().len(), 6);

    operator.repartition(4, None).await.unwrap();
    runner.catch_up().await.unwrap();
    assert_eq!(operator.record().await.unwrap().partitions, 4);
    assert_eq!(operator.parked().await.unwrap().len(), 6);
    place_many(&orders, 7..8).await;
    assert_eq!(operator.parked().await.unwrap().len(), 7);
    assert_eq!(effect_ids(&stock).await.len(), 54);

    CLOSED.store(false, Ordering::SeqCst);
    operator.resume().await.unwrap();
    runner.catch_up().await.unwrap();
    assert_eq!(operator.parked().await.unwrap().len(), 0);
    assert_eq!(effect_ids(&stock).await.len(), 61);
    assert_retold(runner.open_system()).await;

    // A reset keeps the partitions.
    operator.reset(&[]).await.unwrap();
    runner.catch_up().await.unwrap();
    let record = operator.record().await.unwrap();
    assert_eq!((record.generation, record.partitions), (3, 4));
    assert_eq!(effect_ids(&stock).await.len(), 122);
    assert_retold(runner.open_system()).await;
}

/// Goal: paused followers do not continue, and are split once they are resumed.
#[tokio::test]
async fn a_paused_follower_is_split_when_it_is_resumed() {
    let (memory, _) = memory();
    let system = system(reservations().partitioned(2));
    let (open, mut pipelines) = pipelines(&system, &memory).await;
    let orders = open.application("orders").unwrap();
    let stock = open.application("stock").unwrap();
    let operator = FollowerOperator::new(stock, "reservations");
    place_many(orders, 0..20).await;
    drive(&mut pipelines[..1]).await;
    operator.pause("a look").await.unwrap();
    operator.repartition(3, None).await.unwrap();
    for pipeline in &mut pipelines {
        assert_eq!(pipeline.step().await.unwrap(), Step::Paused);
    }
    operator.resume().await.unwrap();
    drive(&mut pipelines).await;
    assert_eq!(operator.record().await.unwrap().partitions, 3);
    assert_eq!(effect_ids(stock).await.len(), 20);
    assert_retold(&open).await;
}

/// Goal: programs that start a follower at the same time, with different numbers, agree on one.
#[tokio::test]
async fn the_number_that_is_recorded_first_counts() {
    let (memory, _) = memory();
    let (open, mut of_one) = pipelines(&system(reservations().partitioned(2)), &memory).await;
    let (_, mut of_two) = pipelines(&system(reservations().partitioned(5)), &memory).await;
    let orders = open.application("orders").unwrap();
    let stock = open.application("stock").unwrap();
    place_many(orders, 0..20).await;
    of_two[4].step().await.unwrap();
    of_one.append(&mut of_two);
    drive(&mut of_one).await;
    let operator = FollowerOperator::new(stock, "reservations");
    assert_eq!(operator.record().await.unwrap().partitions, 5);
    assert_eq!(effect_ids(stock).await.len(), 20);
    assert_retold(&open).await;
}
