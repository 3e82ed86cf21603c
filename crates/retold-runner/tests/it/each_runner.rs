//! The promises of the interface of runners: each test runs on every runner and every store.

use std::sync::Arc;
use std::time::Duration;

use retold::domain::ManualClock;
use retold::prelude::*;
use retold::projection::{MemoryView, Projection};
use retold::recording::Position;
use retold::runner::MultiThreadOptions;
use retold::system::{
    Behind, Context, Follower, FollowerPath, Goal, Infrastructure, OnFailure, Phase, System,
    Trouble, WaitError,
};

use crate::patience::{PATIENCE, in_time, until};
use crate::place::Place;
use crate::runners::{RunBy, Runners, Setting, on_every_runner};
use crate::shop::{
    Order, Placed, Reserved, Stock, count, one_way, place, reservations, reserve, reserved, shop,
};

/// How long a wait takes that must fail.
const BRIEF: Duration = Duration::from_millis(100);

fn stock_reservations() -> FollowerPath {
    FollowerPath::new("stock", "reservations")
}

fn counting() -> Projection<MemoryView<u64>> {
    Projection::new("placed", 1, "orders").on::<Placed>(|placed: &mut u64, _| {
        *placed += 1;
        Ok(())
    })
}

/// Waits until all followers have processed the orders up to this position.
async fn processed(runners: &Runners, position: Position) {
    for runner in runners.iter() {
        let waited = runner.wait(Goal::processed("orders", position), PATIENCE);
        waited.await.unwrap();
    }
}

/// Goal: cycles come to rest, with each event processed once, also with many callers.
async fn a_system_with_cycles_comes_to_rest(setting: Setting) {
    let runners = setting.start(&shop()).await;
    let orders = runners.first().application("orders").unwrap();
    let clients = (0..4).map(|client| {
        let orders = orders.clone();
        tokio::spawn(async move {
            for order in 0..25 {
                place(&orders, &format!("{client}-{order}"), "tea").await;
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    runners.settle().await;
    let stock = runners.last().application("stock").unwrap();
    assert_eq!(count(&stock, "Reserved").await, 100);
    for topic in ["Confirmed", "retold.scheduled", "retold.cancelled"] {
        assert_eq!(count(&orders, topic).await, 100, "{topic}");
    }
    let first = orders.get::<Order>("0-0").await.unwrap();
    assert_eq!(first.state.confirmed, 1);
    for runner in runners.iter() {
        until("no follower is behind", async || {
            runner.lag().await.events == 0
        })
        .await;
    }
    runners.stop().await;
}

/// Goal: a wait returns when the effects of the command can be read, and the other waits agree.
async fn effects_are_there_after_a_wait(setting: Setting) {
    let runners = setting.start(&shop()).await;
    let orders = runners.first().application("orders").unwrap();
    for id in 0..10 {
        let id = id.to_string();
        let position = place(&orders, &id, &id).await;
        let caused = Goal::caused_by("orders", position);
        runners.last().wait(caused, PATIENCE).await.unwrap();
        let order = orders.get::<Order>(id.as_str()).await.unwrap();
        assert_eq!(order.state.confirmed, 1);
        let stock = runners.last().application("stock").unwrap();
        let item = stock.get::<Stock>(id.as_str()).await.unwrap();
        assert_eq!(item.state.reserved, 1);
        let is_pending = orders.cancel(&format!("Order/{id}")).await.unwrap();
        assert!(!is_pending, "the deadline was ended by the confirmation");
        // Everything that was caused includes what the follower itself did.
        let one = Goal::processed_by(stock_reservations(), "orders", position);
        runners.first().wait(one, PATIENCE).await.unwrap();
    }
    runners.stop().await;
}

async fn followers_catch_up_at_start_and_continue_live(setting: Setting) {
    let system = one_way(reservations());
    let before = setting.start(&system).await;
    place(&before.first().application("orders").unwrap(), "0", "tea").await;
    before.settle().await;
    before.stop().await;
    // Orders that no follower has processed yet.
    let orders = before.first().application("orders").unwrap();
    for id in 1..700 {
        place(&orders, &id.to_string(), "tea").await;
    }
    let stock = before.first().application("stock").unwrap();
    assert_eq!(reserved(&stock).await, ["0"]);

    let runners = setting.start(&system).await;
    runners.settle().await;
    let stock = runners.last().application("stock").unwrap();
    let expected: Vec<_> = (0..700).map(|id| id.to_string()).collect();
    assert_eq!(reserved(&stock).await, expected);

    let orders = runners.first().application("orders").unwrap();
    let position = place(&orders, "live", "coffee").await;
    processed(&runners, position).await;
    assert_eq!(reserved(&stock).await.len(), 701);
    runners.stop().await;
}

async fn a_view_in_memory_shows_what_was_waited_for(setting: Setting) {
    let view = MemoryView::<u64>::new();
    let keep = |it: Infrastructure| it.view(view.keep(counting()).unwrap());
    // In two processes there are two views.
    if setting.run_by == RunBy::TwoNodes {
        return;
    }
    let system = one_way(reservations());
    let runners = setting
        .start_with(&system, keep, MultiThreadOptions::new())
        .await;
    let runner = runners.first();
    let orders = runner.application("orders").unwrap();
    for id in 1..=20 {
        let position = place(&orders, &id.to_string(), "tea").await;
        let shown = runner.wait(Goal::shown_by("placed", position), PATIENCE);
        shown.await.unwrap();
        view.read(|placed| assert_eq!(*placed, id));
    }
    assert_eq!(runner.projections().len(), 1);
    let beyond = orders.head().await.unwrap().position().unwrap().next();
    let shown = runner.wait(Goal::shown_by("placed", beyond), Duration::ZERO);
    let Err(WaitError::Timeout { behind, searching }) = shown.await else {
        panic!("it was shown");
    };
    assert!(searching.is_none());
    assert!(
        matches!(&behind[..], [Behind::View { view, position, holder: None, .. }]
            if **view == *"placed" && *position == beyond),
        "{behind:?}"
    );
    runners.stop().await;
}

/// After a restart, a view in a database resumes from its checkpoint.
async fn a_view_in_a_database_resumes_after_a_restart(setting: Setting) {
    if matches!(setting.place, Place::Memory(_)) {
        return;
    }
    let system = one_way(reservations());
    for round in 1..=2_i64 {
        let keep = |it: Infrastructure| it.view(setting.place.view().view_store());
        let runners = setting
            .start_with(&system, keep, MultiThreadOptions::new())
            .await;
        let orders = runners.first().application("orders").unwrap();
        let mut position = Position::FIRST;
        for id in 0..10 {
            position = place(&orders, &format!("{round}-{id}"), "tea").await;
        }
        for runner in runners.iter() {
            let shown = runner.wait(Goal::shown_by("placed", position), PATIENCE);
            shown.await.unwrap();
            assert_eq!(setting.place.view().count().await, round * 10);
        }
        runners.stop().await;
    }
}

/// An operator acts on any runner, and all runners report it.
async fn a_follower_is_paused_and_resumed(setting: Setting) {
    let runners = setting.start(&shop()).await;
    let orders = runners.first().application("orders").unwrap();
    place(&orders, "0", "tea").await;
    runners.settle().await;
    let stock = runners.first().application("stock").unwrap();
    let mut expected = vec!["0".to_owned()];
    for (number, runner) in runners.iter().enumerate() {
        let operator = runner.operator(&stock_reservations()).unwrap();
        assert!(operator.pause("for the inventory").await.unwrap());
        assert!(!operator.pause("twice").await.unwrap());
        let order = (number + 1).to_string();
        let position = place(&orders, &order, "tea").await;
        halted(&runners, position).await;
        assert_eq!(reserved(&stock).await, expected);

        assert!(operator.resume().await.unwrap());
        processed(&runners, position).await;
        expected.push(order);
        assert_eq!(reserved(&stock).await, expected);
        runners.settle().await;
    }
    runners.stop().await;
}

/// Checks that each runner reports that the paused follower does not process this position.
async fn halted(runners: &Runners, position: Position) {
    for goal in [
        Goal::processed("orders", position),
        Goal::processed_by(stock_reservations(), "orders", position),
        Goal::caused_by("orders", position),
    ] {
        for runner in runners.iter() {
            // Reported at once, and not when the time is up.
            let waited = runner.wait(goal.clone(), Duration::MAX);
            let error = in_time("an error", waited).await;
            let WaitError::Halted {
                follower,
                phase,
                reason,
            } = error.unwrap_err()
            else {
                panic!("another error");
            };
            assert_eq!(follower, stock_reservations());
            assert_eq!((phase, &*reason), (Phase::Paused, "for the inventory"));
        }
    }
    for runner in runners.iter() {
        until("the pause is reported", async || {
            let statuses = runner.status().await;
            let mut paused = statuses.iter().filter(|it| it.phase == Phase::Paused);
            paused.any(|it| &*it.follower == "reservations")
        })
        .await;
        // A paused follower is not catching up, so it does not count.
        until("the others are not behind", async || {
            runner.lag().await.events == 0
        })
        .await;
    }
}

/// A follower that is reset processes everything again, with other ids.
async fn a_follower_is_reset(setting: Setting) {
    let runners = setting.start(&one_way(reservations())).await;
    let orders = runners.first().application("orders").unwrap();
    place(&orders, "1", "tea").await;
    let position = place(&orders, "2", "tea").await;
    processed(&runners, position).await;
    let operator = runners.last().operator(&stock_reservations()).unwrap();
    operator.reset(&[]).await.unwrap();
    let stock = runners.first().application("stock").unwrap();
    for runner in runners.iter() {
        until("everything is processed again", async || {
            let goal = Goal::processed("orders", position);
            runner.wait(goal, PATIENCE).await.unwrap();
            reserved(&stock).await == ["1", "2", "1", "2"]
        })
        .await;
    }
    assert_eq!(operator.record().await.unwrap().generation, 2);
    runners.stop().await;
}

/// Fails for bad items until the stock has a replacement. That is in the log, and not in this
/// process, so that the tests do not disturb each other.
async fn fragile(placed: &Placed, context: &mut Context) -> retold::Result<()> {
    let is_replaced = context.find::<Stock>("replacement").await?.is_some();
    if placed.item == "bad" && !is_replaced {
        return Err(retold::Error::Refused("it cannot be had".into()));
    }
    reserve(placed, context).await
}

/// Adds the replacement for bad items.
async fn replace(stock: &Application) {
    let order = "replacement".to_owned();
    let replaced = |_: &Stock| Reserved {
        order: order.clone(),
    };
    let recorded = stock.execute_or_create("replacement", replaced);
    recorded.await.unwrap();
}

async fn parked_events_are_resumed(setting: Setting) {
    let follower = Follower::new("reservations").follows("orders").on(fragile);
    let system = one_way(follower.on_failure(OnFailure::Park).batch(10));
    let runners = setting.start(&system).await;
    let orders = runners.first().application("orders").unwrap();
    place(&orders, "1", "tea").await;
    place(&orders, "2", "bad").await;
    let last = place(&orders, "3", "tea").await;
    processed(&runners, last).await;
    let stock = runners.last().application("stock").unwrap();
    assert_eq!(reserved(&stock).await, ["1", "3"]);
    for runner in runners.iter() {
        until("it is reported", async || {
            let findings = runner.health().await.findings;
            let mut parked = findings.iter().filter(|it| it.trouble == Trouble::Parked);
            parked.any(|it| it.name == "stock/reservations")
        })
        .await;
    }

    replace(&stock).await;
    let operator = runners.last().operator(&stock_reservations()).unwrap();
    let is_resumed = operator.resume().await.unwrap();
    // A node that takes the follower over retries what is parked.
    assert!(is_resumed || setting.run_by == RunBy::TwoNodes);
    for runner in runners.iter() {
        until("nothing is parked", async || {
            runner
                .wait(Goal::processed("orders", last), PATIENCE)
                .await
                .unwrap();
            runner.health().await.is_well()
        })
        .await;
    }
    assert_eq!(reserved(&stock).await, ["1", "3", "replacement", "2"]);
    assert!(!operator.resume().await.unwrap());
    runners.stop().await;
}

/// Goal: a follower that failed stops no other one, and waits for it fail at once.
async fn a_follower_that_fails_does_not_stop_the_others(setting: Setting) {
    let follower = Follower::new("fragile").follows("orders").on(fragile);
    let system = System::new("shop")
        .application("orders", |app| app.aggregate::<Order>())
        .application("stock", |app| app.aggregate::<Stock>().follower(follower))
        .application("copy", |app| {
            app.aggregate::<Stock>().follower(reservations())
        })
        .build()
        .unwrap();
    let runners = setting.start(&system).await;
    let orders = runners.first().application("orders").unwrap();
    place(&orders, "1", "tea").await;
    place(&orders, "2", "bad").await;
    let last = place(&orders, "3", "tea").await;

    let copy = FollowerPath::new("copy", "reservations");
    let stock = FollowerPath::new("stock", "fragile");
    for runner in runners.iter() {
        let copied = Goal::processed_by(copy.clone(), "orders", last);
        runner.wait(copied, PATIENCE).await.unwrap();
        let error = runner.wait(Goal::processed("orders", last), Duration::MAX);
        let error = in_time("an error", error).await.unwrap_err();
        let WaitError::Halted {
            follower,
            phase,
            reason,
        } = error
        else {
            panic!("another error: {error}");
        };
        assert_eq!((follower, phase), (stock.clone(), Phase::Paused));
        assert!(reason.contains("cannot be had"), "{reason}");
    }

    replace(&runners.first().application("stock").unwrap()).await;
    let operator = runners.last().operator(&stock).unwrap();
    assert!(operator.resume().await.unwrap());
    processed(&runners, last).await;
    let stock = runners.last().application("stock").unwrap();
    assert_eq!(reserved(&stock).await, ["1", "replacement", "2", "3"]);
    runners.stop().await;
}

async fn a_timeout_lists_what_is_behind(setting: Setting) {
    let runners = setting.start(&shop()).await;
    let orders = runners.first().application("orders").unwrap();
    place(&orders, "1", "tea").await;
    runners.settle().await;
    // The log is shorter than that.
    let beyond = Position::new(1_000).unwrap();
    for runner in runners.iter() {
        let all = runner.wait(Goal::caused_by("orders", beyond), Duration::ZERO);
        let error = all.await.unwrap_err();
        assert!(matches!(error, WaitError::Timeout { .. }), "{error}");
        for goal in [
            Goal::processed("orders", beyond),
            Goal::caused_by("orders", beyond),
        ] {
            let error = runner.wait(goal, BRIEF).await.unwrap_err();
            let text = error.to_string();
            let WaitError::Timeout { behind, .. } = error else {
                panic!("another error: {error}");
            };
            let named = behind.iter().map(|it| match it {
                Behind::Follower {
                    follower,
                    upstream,
                    position,
                    checkpoint,
                    ..
                } => {
                    assert_eq!((&**upstream, *position), ("orders", beyond));
                    assert!(checkpoint.is_some_and(|it| it < beyond), "{text}");
                    follower.to_string()
                }
                other => panic!("not a follower: {other}"),
            });
            let named: Vec<_> = named.collect();
            // The search may have found that its time is up before the followers reported.
            if !named.is_empty() {
                assert_eq!(named, ["orders/deadlines", "stock/reservations"]);
                let expected = "the follower \"reservations\" of \"stock\" is recorded at";
                assert!(text.contains(expected), "{text}");
                assert!(text.contains("not yet at 1000"), "{text}");
            }
        }
    }
    runners.stop().await;
}

async fn unknown_names_are_refused(setting: Setting) {
    let runners = setting.start(&shop()).await;
    for runner in runners.iter() {
        let error = runner.application("shelf").unwrap_err().to_string();
        assert!(error.contains("it has [\"orders\", \"stock\"]"), "{error}");
        let answers = FollowerPath::new("stock", "answers");
        let error = runner.operator(&answers).unwrap_err().to_string();
        assert!(error.contains("it has [\"reservations\"]"), "{error}");
        let first = Position::FIRST;
        for (goal, expected) in [
            (Goal::processed("shelf", first), "no application \"shelf\""),
            (Goal::caused_by("shelf", first), "no application \"shelf\""),
            (Goal::shown_by("shelf", first), "no view \"shelf\""),
            (
                Goal::processed_by(answers, "orders", first),
                "no follower \"answers\"",
            ),
            (
                Goal::processed_by(stock_reservations(), "shelf", first),
                "no application \"shelf\"",
            ),
            (
                Goal::processed_by(stock_reservations(), "stock", first),
                "does not follow \"stock\"",
            ),
        ] {
            let error = runner.wait(goal, PATIENCE).await.unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert!(matches!(error, WaitError::Failed(_)), "{error:?}");
        }
    }
    place(&runners.first().application("orders").unwrap(), "1", "tea").await;
    runners.settle().await;
    runners.stop().await;
}

/// Goal: a stop records how far the followers have read, and nothing follows any more.
async fn a_runner_is_ready_until_it_stops(setting: Setting) {
    let never = Duration::from_secs(3_600);
    let work = MultiThreadOptions::new().flush_delay(never);
    let system = one_way(reservations());
    let runners = setting.start_with(&system, |it| it, work).await;
    for runner in runners.iter() {
        until("it is ready", async || {
            let health = runner.health().await;
            health.is_live() && health.is_ready() && health.is_well()
        })
        .await;
    }
    let orders = runners.first().application("orders").unwrap();
    place(&orders, "1", "nothing").await;
    until("it is processed", async || {
        let mut processed = 0;
        for runner in runners.iter() {
            processed += runner.status().await[0].processed;
        }
        processed == 1
    })
    .await;
    let log = orders.log_id().await.unwrap().unwrap();
    let operator = runners.first().operator(&stock_reservations()).unwrap();
    let record = operator.record().await.unwrap();
    let checkpoint = async || operator.checkpoint(&record, log).await.unwrap();
    // A node that hands the follower over to another one records its checkpoint.
    if matches!(setting.run_by, RunBy::MultiThread | RunBy::OneNode) {
        assert_eq!(checkpoint().await, None);
    }

    for runner in runners.iter() {
        let report = runner.stop().await;
        assert!(report.is_clean(), "{report:?}");
        let expected = match setting.run_by {
            RunBy::SingleThread | RunBy::MultiThread => Phase::Stopped,
            RunBy::OneNode | RunBy::TwoNodes => Phase::Standby,
        };
        assert_eq!(runner.status().await[0].phase, expected);
        let health = runner.health().await;
        assert!(health.is_live() && !health.is_ready(), "{health:?}");
        assert!(health.findings.is_empty(), "{health:?}");
    }
    assert_eq!(checkpoint().await.unwrap().position.get(), 1);

    let position = place(&orders, "2", "tea").await;
    let stock = runners.first().application("stock").unwrap();
    assert!(reserved(&stock).await.is_empty());
    for runner in runners.iter() {
        let waited = runner.wait(Goal::processed("orders", position), BRIEF);
        let error = waited.await.unwrap_err();
        // A node that has left waits for the others.
        let expected = match setting.run_by {
            RunBy::SingleThread | RunBy::MultiThread => "was stopped",
            RunBy::OneNode | RunBy::TwoNodes => "not yet at 2",
        };
        assert!(error.to_string().contains(expected), "{error}");
        let report = runner.stop().await;
        assert!(report.is_clean(), "a second stop does nothing");
    }
    runners.stop().await;
}

/// Goal: a timer fires once, when the clock reaches its time and not before.
async fn a_timer_fires_once_when_it_is_due(setting: Setting) {
    let clock = Arc::new(ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap()));
    let with_clock = |it: Infrastructure| it.clock(Arc::<ManualClock>::clone(&clock));
    // A clock that is moved by hand is noticed by polling.
    let work = MultiThreadOptions::new().poll_interval(Duration::from_millis(5));
    let runners = setting.start_with(&shop(), with_clock, work).await;
    let orders = runners.first().application("orders").unwrap();
    for id in 0..20 {
        place(&orders, &id.to_string(), "nothing").await;
    }
    runners.settle().await;
    let pending = || {
        let timers = runners.iter().map(|it| it.timers()[0].pending);
        timers.max().unwrap()
    };
    until("the timers are known", async || pending() == 20).await;
    assert_eq!(count(&orders, "Overdue").await, 0);

    clock.advance(Duration::from_secs(61));
    until("all have fired", async || {
        // A single thread fires them now, other runners do so by themselves.
        runners.settle().await;
        count(&orders, "Overdue").await >= 20
    })
    .await;
    until("none is pending", async || pending() == 0).await;
    assert_eq!(count(&orders, "Overdue").await, 20);
    assert_eq!(count(&orders, "retold.fired").await, 20);
    runners.stop().await;
}

on_every_runner!(
    [memory, sqlite, postgres],
    (
        a_system_with_cycles_comes_to_rest,
        effects_are_there_after_a_wait,
        followers_catch_up_at_start_and_continue_live,
        a_view_in_memory_shows_what_was_waited_for,
        a_view_in_a_database_resumes_after_a_restart,
        a_follower_is_paused_and_resumed,
        a_follower_is_reset,
        parked_events_are_resumed,
        a_follower_that_fails_does_not_stop_the_others,
        a_timeout_lists_what_is_behind,
        unknown_names_are_refused,
        a_runner_is_ready_until_it_stops,
        a_timer_fires_once_when_it_is_due,
    )
);
