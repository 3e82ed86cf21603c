//! The contract of `changed_since`: waiters wake when something is recorded.

use futures_util::FutureExt;

use super::scene::{Scene, append_of, at_once, head, processed, record, soon};
use super::subject::Subject;
use retold_core::recording::Append;

/// A caller of `changed_since` returns once there are more appends than its count, recorded through
/// any handle; if there are more already, it does not wait.
pub async fn changed_since_wakes_those_who_wait<S: Subject>() {
    const APPENDS: u64 = 20;
    let scene = Scene::<S>::new().await;
    let mut tasks = Vec::new();
    for handle in [scene.log.clone(), scene.another_handle().await] {
        let waiter = async move {
            let mut known = 0;
            while known < APPENDS {
                let count = handle.changed_since(known).await.expect("a count");
                assert!(count > known, "the waiter wakes when there are more");
                let seen = head(&*handle).await.append_count;
                assert!(seen >= count, "the announced appends can be read");
                known = count;
            }
            assert_eq!(known, APPENDS);
        };
        tasks.push(waiter.boxed());
    }
    let writer = scene.another_handle().await;
    let writer = async move {
        for number in 0..APPENDS {
            // Processed ranges without events count as well.
            let append = match number % 2 {
                0 => append_of([number.into()]),
                _ => Append::new().processed_range(processed("f@1", number - 1, number + 1)),
            };
            let append = if number == 1 {
                Append::new().processed_range(processed("f@1", 0, 2))
            } else {
                append
            };
            record(&*writer, append).await;
        }
    };
    tasks.push(writer.boxed());
    soon("all waiters see all appends", at_once::<S, ()>(tasks)).await;

    let behind = scene.log.changed_since(APPENDS - 1);
    let count = soon("a caller that is behind does not wait", behind).await;
    assert_eq!(count.expect("a count"), APPENDS);
    // A dropped wait affects nothing else.
    let waiting = scene.log.changed_since(APPENDS);
    assert!(waiting.now_or_never().is_none(), "nothing more is recorded");
    // A count beyond that of the log comes from before the log was restored.
    let ahead = scene.log.changed_since(u64::MAX);
    let count = soon("a caller that is ahead does not wait", ahead).await;
    assert_eq!(count.expect("a count"), APPENDS);
    record(&*scene.log, append_of([1000])).await;
    let count = scene.another_handle().await.changed_since(APPENDS).await;
    assert_eq!(count.expect("a count"), APPENDS + 1);
}
