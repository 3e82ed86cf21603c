//! Subscribes to a log: the existing events, then new ones, without gaps and without an end.
//!
//! A subscription only reads forward by pages, and advances by the position that each page reports.
//! A hint only triggers the next read, so a lost, duplicated or late hint can neither skip an event
//! nor return one twice.

use std::collections::VecDeque;
use std::fmt;
use std::future::{IntoFuture, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::stream::Stream;

use super::error::Error;
use super::selection::Selection;
use crate::recording::{
    BoxFuture, Checkpoint, LogRead, Page, PageEnd, Position, Query, RecordError, Recorder,
    StoredEvent, prove_checkpoint,
};

impl<T> Selection<T> {
    /// Subscribes to the selected events, by default from the first one; see [`Subscribing`].
    ///
    /// ```
    #[doc = include_str!("../../doc/school.rs.txt")]
    /// let mut events = school.events::<DogEvent>().subscribe().await?;
    /// let first = events.next().await?;
    /// assert_eq!(first.aggregate(), Some(fido));
    ///
    /// // The same subscription returns later events as soon as they are recorded.
    /// school.execute(fido, |_| DogEvent::TrickAdded { trick: "fetch".into() }).await?;
    /// let second = events.next().await?;
    /// assert_eq!(second.position().get(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn subscribe(self) -> Subscribing<T> {
        Subscribing {
            selection: self,
            start: SubscriptionStart::Beginning,
        }
    }
}

/// A subscription that has not started, with its starting point. Await it.
#[must_use = "a subscription begins when this is awaited"]
#[derive(Debug)]
pub struct Subscribing<T> {
    selection: Selection<T>,
    start: SubscriptionStart,
}

#[derive(Clone, Copy, Debug)]
enum SubscriptionStart {
    Beginning,
    Checkpoint(Checkpoint),
    Position(Position),
    Now,
}

impl<T> Subscribing<T> {
    /// Starts after this checkpoint, which another subscription returned
    /// ([`Subscription::checkpoint`]); with `None`, at the first event.
    ///
    /// Awaiting this checks that the log has the checkpoint's event at its position. If not, the
    /// log was replaced, cut or restored since, and the result is `Diverged`.
    pub fn after(mut self, checkpoint: impl Into<Option<Checkpoint>>) -> Self {
        self.start = checkpoint
            .into()
            .map_or(SubscriptionStart::Beginning, SubscriptionStart::Checkpoint);
        self
    }

    /// Starts after this position, regardless of the event there; `Invalid` if it is beyond the
    /// head.
    pub fn after_position(mut self, position: impl Into<Option<Position>>) -> Self {
        self.start = position
            .into()
            .map_or(SubscriptionStart::Beginning, SubscriptionStart::Position);
        self
    }

    /// Starts with the events that are recorded from now on.
    pub fn from_now(mut self) -> Self {
        self.start = SubscriptionStart::Now;
        self
    }

    async fn begin(self) -> Result<Subscription<T>, Error> {
        let Self { selection, start } = self;
        let recorder = selection.recorder().clone();
        let query = selection.query()?;
        let checkpoint = match start {
            SubscriptionStart::Beginning => None,
            SubscriptionStart::Checkpoint(checkpoint) => {
                prove_checkpoint(&*recorder, checkpoint).await?;
                Some(checkpoint)
            }
            SubscriptionStart::Position(position) => {
                Some(checkpoint_at(&*recorder, position).await?)
            }
            SubscriptionStart::Now => recorder.head().await?.checkpoint,
        };
        Ok(Subscription {
            selection,
            query,
            checkpoint,
            page: VecDeque::new(),
            rest: VecDeque::new(),
            page_checkpoint: checkpoint,
            append_count: 0,
            step: SubscriptionStep::Read,
            state: SubscriptionState::CatchingUp,
            due: None,
        })
    }
}

impl<T: 'static> IntoFuture for Subscribing<T> {
    type Output = Result<Subscription<T>, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.begin())
    }
}

async fn checkpoint_at(recorder: &dyn Recorder, position: Position) -> Result<Checkpoint, Error> {
    let page = recorder.read_log(LogRead::at(position)).await?;
    match page.events.first() {
        Some(event) => Ok(event.checkpoint()),
        None => Err(RecordError::invalid(format!(
            "the log {:?} does not reach position {position} yet; \
             subscribe after a position that it has",
            recorder.log_name()
        ))
        .into()),
    }
}

/// An item of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signal<T> {
    /// The next event.
    Event(T),
    /// Everything that was recorded when the last page was read has been returned; later events are
    /// returned as they arrive. Contains the checkpoint of the last page's end; `None` if the log
    /// is empty.
    CaughtUp(Option<Checkpoint>),
    /// More events arrived at once than fit in a page: the events returned from now on may lag
    /// behind the log until the next [`CaughtUp`](Self::CaughtUp). No event is lost.
    FellBehind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SubscriptionState {
    CatchingUp,
    Live,
}

#[derive(Clone, Copy, Debug)]
enum Due {
    CaughtUp,
    FellBehind,
}

enum SubscriptionStep {
    Read,
    Reading(BoxFuture<'static, Result<Page, RecordError>>),
    Wait,
    Waiting(BoxFuture<'static, Result<u64, RecordError>>),
}

/// The events of a log: the existing ones, then new ones, each once, in log order.
///
/// It has no end. It holds at most one page of events, and reads the next page when that has been
/// returned: a slow reader lags behind and uses no more memory. Also a [`Stream`]. Every method can
/// be dropped while it waits; the next call continues at the same place.
///
/// To resume later, possibly in another process, keep [`checkpoint`](Self::checkpoint) and pass it
/// to [`Subscribing::after`].
pub struct Subscription<T> {
    selection: Selection<T>,
    query: Query,
    /// Everything up to here has been returned.
    checkpoint: Option<Checkpoint>,
    page: VecDeque<StoredEvent>,
    /// The rest of what the first event of the page is read as; that event is returned once this is
    /// empty.
    rest: VecDeque<T>,
    /// The end of the page: becomes `checkpoint` once all its events are returned.
    page_checkpoint: Option<Checkpoint>,
    /// How many appends were known before the last page was read. Starts at 0, so that the first
    /// wait returns at once and does not miss an append made while the first pages were read.
    append_count: u64,
    step: SubscriptionStep,
    state: SubscriptionState,
    due: Option<Due>,
}

impl<T> Subscription<T> {
    /// Waits for the next event and returns it.
    ///
    /// # Errors
    ///
    /// `Unavailable`: the next call retries. `Diverged`: the log no longer has what was read from
    /// it; every further call returns this too, and only a new subscription helps. `Corrupt`, and
    /// any error of decoding an event: the next call returns it again, unless the event is
    /// [skipped](Self::pass_over).
    pub async fn next(&mut self) -> Result<T, Error> {
        loop {
            if let Signal::Event(event) = self.next_signal().await? {
                return Ok(event);
            }
        }
    }

    /// Returns the next event, or a signal that the subscription caught up with the log or fell
    /// behind.
    ///
    /// # Errors
    ///
    /// As for [`next`](Self::next).
    pub async fn next_signal(&mut self) -> Result<Signal<T>, Error> {
        poll_fn(|context| self.poll(context)).await
    }

    /// Returns how far the subscription has read: all selected events up to here have been
    /// returned, and none after it. `None` before the first event of the log. It also advances over
    /// events that are not selected. If a stored event is read as several events, it advances with
    /// the last of them.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.checkpoint
    }

    /// Skips the event that could not be decoded, which the last call reported, and returns it.
    /// Does nothing if the next event can be decoded or has not arrived yet.
    pub fn pass_over(&mut self) -> Option<StoredEvent> {
        let failed = |event: &StoredEvent| self.selection.decode(event).is_err();
        if !self.rest.is_empty() || !self.page.front().is_some_and(failed) {
            return None;
        }
        self.pop()
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Signal<T>, Error>> {
        loop {
            if let Some(signal) = self.take()? {
                return Poll::Ready(Ok(signal));
            }
            match &mut self.step {
                SubscriptionStep::Read => {
                    let read = LogRead::of(self.query.clone())
                        .after_checkpoint(self.checkpoint)
                        .limit(self.selection.page_events());
                    self.step = SubscriptionStep::Reading(self.selection.read_page(read));
                }
                SubscriptionStep::Reading(page) => {
                    let page = ready!(page.as_mut().poll(context));
                    self.step = SubscriptionStep::Read;
                    self.accept(page?);
                }
                SubscriptionStep::Wait => {
                    let recorder = self.selection.recorder().clone();
                    let append_count = self.append_count;
                    let changed =
                        Box::pin(async move { recorder.changed_since(append_count).await });
                    self.step = SubscriptionStep::Waiting(changed);
                }
                SubscriptionStep::Waiting(changed) => {
                    let append_count = ready!(changed.as_mut().poll(context));
                    self.step = SubscriptionStep::Wait;
                    self.append_count = append_count?;
                    self.step = SubscriptionStep::Read;
                }
            }
        }
    }

    /// Returns the next signal that is available without a read.
    fn take(&mut self) -> Result<Option<Signal<T>>, Error> {
        if matches!(self.due, Some(Due::FellBehind)) {
            self.due = None;
            return Ok(Some(Signal::FellBehind));
        }
        while let Some(stored) = self.page.front() {
            let mut event = self.rest.pop_front();
            if event.is_none() {
                let mut events = self.selection.decode(stored)?.into_iter();
                event = events.next();
                self.rest.extend(events);
            }
            if self.rest.is_empty() {
                self.pop();
            }
            if let Some(event) = event {
                return Ok(Some(Signal::Event(event)));
            }
        }
        let caught_up = self.due.take().map(|_| Signal::CaughtUp(self.checkpoint));
        Ok(caught_up)
    }

    fn pop(&mut self) -> Option<StoredEvent> {
        let event = self.page.pop_front()?;
        self.checkpoint = if self.page.is_empty() {
            self.page_checkpoint
        } else {
            Some(event.checkpoint())
        };
        Some(event)
    }

    fn accept(&mut self, page: Page) {
        self.page_checkpoint = page.read_to;
        self.page = page.events.into();
        if self.page.is_empty() {
            self.checkpoint = self.page_checkpoint;
        }
        let before = self.state;
        (self.step, self.state) = match page.end {
            PageEnd::Full => (SubscriptionStep::Read, SubscriptionState::CatchingUp),
            PageEnd::Complete => (SubscriptionStep::Wait, SubscriptionState::Live),
        };
        self.due = match (before, self.state) {
            (SubscriptionState::CatchingUp, SubscriptionState::Live) => Some(Due::CaughtUp),
            (SubscriptionState::Live, SubscriptionState::CatchingUp) => Some(Due::FellBehind),
            _ => None,
        };
    }
}

/// Nothing in it is pinned.
impl<T> Unpin for Subscription<T> {}

impl<T> Stream for Subscription<T> {
    type Item = Result<T, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let subscription = self.get_mut();
        loop {
            match ready!(subscription.poll(context)) {
                Ok(Signal::Event(event)) => return Poll::Ready(Some(Ok(event))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }
}

impl<T> fmt::Debug for Subscription<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("selection", &self.selection)
            .field("checkpoint", &self.checkpoint)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
