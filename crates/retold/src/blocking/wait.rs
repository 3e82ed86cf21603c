//! Waiting for a future, or for each item of a stream, in the calling thread.

use std::future::{Future, IntoFuture, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use futures_util::stream::Stream;

/// Waits where asynchronous code would await: for every future, and for everything that converts
/// into one.
pub trait Wait: IntoFuture {
    /// Runs the future in the calling thread, which sleeps while there is nothing to do, and
    /// returns its output.
    fn wait(self) -> Self::Output;
}

impl<F: IntoFuture> Wait for F {
    fn wait(self) -> F::Output {
        wait_for(self.into_future())
    }
}

/// Waits for the items of a stream, one by one: for the events of a read, and for subscriptions,
/// which never end.
pub trait WaitEach: Stream + Sized {
    /// Returns the items as an iterator, whose `next` sleeps until there is one.
    fn wait_each(self) -> Waited<Self>;
}

impl<S: Stream> WaitEach for S {
    fn wait_each(self) -> Waited<S> {
        Waited {
            stream: Box::pin(self),
        }
    }
}

/// The items of a stream, each waited for. See [`WaitEach::wait_each`].
#[derive(Debug)]
pub struct Waited<S> {
    stream: Pin<Box<S>>,
}

impl<S: Stream> Iterator for Waited<S> {
    type Item = S::Item;

    fn next(&mut self) -> Option<S::Item> {
        wait_for(poll_fn(|context| self.stream.as_mut().poll_next(context)))
    }
}

/// Wakes one wait. Each wait has its own flag: a thread that waits within a wait has only one token
/// for unparking and may consume it in the wrong one.
struct Waiter {
    thread: Thread,
    is_woken: AtomicBool,
}

impl Wake for Waiter {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

fn wait_for<F: Future>(future: F) -> F::Output {
    let waiter = Arc::new(Waiter {
        thread: thread::current(),
        is_woken: AtomicBool::new(false),
    });
    let waker = Waker::from(Arc::clone(&waiter));
    let mut context = Context::from_waker(&waker);
    // Within a task of tokio, its channels would refuse to make progress after a while, until the
    // task yields, which it does not do while this waits.
    let mut future = pin!(tokio::task::unconstrained(future));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        while !waiter.is_woken.swap(false, Ordering::Acquire) {
            thread::park();
        }
    }
}
