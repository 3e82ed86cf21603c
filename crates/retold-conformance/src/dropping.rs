//! Futures that are dropped before they complete, as by impatient callers.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// Polls a future at most this many times, each time after it asked to be polled, then drops it.
/// Returns its output if it completed.
pub(super) async fn poll_at_most<T>(
    future: impl Future<Output = T>,
    mut polls: usize,
) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(move |context| {
        if polls == 0 {
            return Poll::Ready(None);
        }
        polls -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if polls == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
