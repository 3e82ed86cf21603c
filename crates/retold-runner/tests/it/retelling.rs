//! Retelling logs while they grow: events recorded meanwhile are not a difference.

use retold::retelling::{retell, retell_whole};
use retold::runner::MultiThread;
use retold::system::Runner;

use crate::shop::{assert_retold, memory, place, settled, shop};

/// Orders that are placed while the logs are retold.
const ORDERS: u32 = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_that_grow_are_retold() {
    let runner = MultiThread::start(&shop(), &memory()).await.unwrap();
    let orders = runner.application("orders").unwrap();
    let busy = tokio::spawn(async move {
        for order in 0..ORDERS {
            place(&orders, &order.to_string(), &(order % 7).to_string()).await;
            tokio::task::yield_now().await;
        }
    });
    let mut rounds = 0;
    while rounds == 0 || !busy.is_finished() {
        for report in retell(runner.open_system()).await.unwrap() {
            assert!(report.difference.is_none(), "{report}");
        }
        let whole = retell_whole(runner.open_system()).await.unwrap();
        assert!(whole.difference.is_none(), "{whole}");
        rounds += 1;
    }
    busy.await.unwrap();
    settled(&runner).await;
    assert_retold([&runner]).await;
}
