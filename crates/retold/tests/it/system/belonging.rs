//! The system that a follower is part of, and whether it is still part of any: two systems do not
//! share a follower, and a retired one stays retired.

use retold::system::{
    Context, Follower, FollowerOperator, FollowerPath, Infrastructure, Runner, SingleThread,
    System, SystemBuilder,
};

use super::shop::{Order, Placed, Stock, StockEvent, memory, place};

async fn reserve(placed: &Placed, context: &mut Context) -> retold::Result<()> {
    let order = context.cause().stream().unwrap_or_default().to_owned();
    let reserved = |_: &Stock| StockEvent::Reserved { order };
    context
        .execute_or_create(placed.item.as_str(), reserved)
        .await?;
    Ok(())
}

async fn ignore(_: &Placed, _: &mut Context) -> retold::Result<()> {
    Ok(())
}

fn reservations() -> Follower {
    Follower::new("reservations").follows("orders").on(reserve)
}

/// Defines a system of this name, whose stock has these followers.
fn define(name: &str, followers: Vec<Follower>) -> SystemBuilder {
    System::new(name)
        .application("orders", |app| app.aggregate::<Order>())
        .application("stock", |app| {
            let stock = app.aggregate::<Stock>();
            followers
                .into_iter()
                .fold(stock, |app, it| app.follower(it))
        })
}

async fn start(system: SystemBuilder, on: &Infrastructure) -> retold::Result<SingleThread> {
    SingleThread::start(&system.build().unwrap(), on).await
}

#[tokio::test]
async fn two_systems_never_share_a_follower() {
    for partitions in [1, 3] {
        let (memory, _) = memory();
        let ours = || vec![reservations().partitioned(partitions)];
        let shop = start(define("shop", ours()), &memory).await.unwrap();
        place(&shop.application("orders").unwrap(), "1", "tea")
            .await
            .unwrap();
        let record = shop
            .operator(&FollowerPath::new("stock", "reservations"))
            .unwrap()
            .record()
            .await
            .unwrap();
        assert_eq!(record.system.as_deref(), Some("shop"));

        // The same names with another policy.
        let theirs = Follower::new("reservations").follows("orders").on(ignore);
        let theirs = vec![theirs.partitioned(partitions)];
        let error = start(define("museum", theirs), &memory).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, retold::Error::Invalid(_)), "{text}");
        for said in ["\"reservations\"", "\"shop\"", "\"museum\"", "formerly"] {
            assert!(text.contains(said), "{text}");
        }
        // A renamed system declares its former name; an operator's actions in between change
        // nothing.
        let operator = shop
            .operator(&FollowerPath::new("stock", "reservations"))
            .unwrap();
        operator.reset(&[]).await.unwrap();
        shop.catch_up().await.unwrap();
        let renamed = || define("store", ours()).formerly("shop");
        let store = start(renamed(), &memory).await.unwrap();
        place(&store.application("orders").unwrap(), "2", "tea")
            .await
            .unwrap();
        assert_eq!(store.health().await.to_string(), "well");
        start(define("museum", ours()), &memory).await.unwrap_err();
        start(renamed(), &memory).await.unwrap();
    }
}

/// If two systems begin at the same time, the second to record is also refused, by its pipeline.
#[tokio::test]
async fn a_system_that_was_opened_before_the_other_began_does_nothing() {
    let (memory, _) = memory();
    let quiet = start(define("museum", vec![]), &memory).await.unwrap();
    let late = define("museum", vec![reservations()]).build().unwrap();
    let open = retold::system::OpenSystem::open(&late, &memory, retold::system::Opening::Write);
    let open = open.await.unwrap();
    let shop = start(define("shop", vec![reservations()]), &memory)
        .await
        .unwrap();
    place(&shop.application("orders").unwrap(), "1", "tea")
        .await
        .unwrap();
    let (_, mut pipeline) = open.pipelines().pop().unwrap();
    let error = pipeline.step().await.unwrap_err().to_string();
    assert!(error.contains("part of the system \"shop\""), "{error}");
    drop(quiet);
}

#[tokio::test]
async fn a_retired_follower_does_nothing_and_its_programs_are_refused() {
    let (memory, _) = memory();
    let system = || define("shop", vec![reservations()]);
    let shop = start(system(), &memory).await.unwrap();
    let orders = shop.application("orders").unwrap();
    place(&orders, "1", "tea").await.unwrap();
    let stock = shop.application("stock").unwrap();
    let operator = FollowerOperator::new(&stock, "reservations");
    assert!(operator.retire("nothing is sold any more").await.unwrap());
    assert!(!operator.retire("again").await.unwrap());

    // A program that is still running reports this, and does nothing for the follower.
    shop.catch_up().await.unwrap();
    place(&orders, "2", "tea").await.unwrap();
    let count = async || {
        stock
            .events::<StockEvent>()
            .read()
            .collect()
            .await
            .unwrap()
            .len()
    };
    assert_eq!(count().await, 1);
    let health = shop.health().await.to_string();
    assert_eq!(
        health,
        "follower stock/reservations is retired: nothing is sold any more; \
         remove it from the program"
    );
    for refused in [
        operator.pause("for a while").await.map(drop),
        operator.reset(&[]).await,
        operator.repartition(2, None).await.map(drop),
    ] {
        assert!(refused.unwrap_err().to_string().contains("retired"));
    }

    // Starting a program with the follower is refused; one without it starts.
    let error = start(system(), &memory).await.unwrap_err().to_string();
    assert!(
        error.contains("is retired (nothing is sold any more)"),
        "{error}"
    );
    assert!(error.contains("remove it"), "{error}");
    let without = start(define("shop", vec![]), &memory).await.unwrap();
    assert!(without.health().await.is_well());

    // It is restored, and continues where it was.
    assert!(operator.resume().await.unwrap());
    shop.catch_up().await.unwrap();
    assert_eq!(count().await, 2);
    assert!(
        start(system(), &memory)
            .await
            .unwrap()
            .health()
            .await
            .is_well()
    );
}
