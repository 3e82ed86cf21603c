//! Reading a log once over a range: fetched page by page, returned event by event.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::stream::Stream;

use super::error::Error;
use super::selection::Selection;
use crate::domain::Decoded;
use crate::recording::{
    BoxFuture, Checkpoint, Direction, Invalid, LogRead, Page, PageEnd, Position, RecordError,
    StoredEvent,
};

impl<T> Selection<T> {
    /// Reads the selected events once: by default all of them, in log order.
    pub fn read(self) -> Reading<T> {
        Reading {
            selection: self,
            after: None,
            until: None,
            direction: Direction::Forward,
            limit: None,
        }
    }
}

/// A reading of a log that has not started: its range and direction.
#[must_use = "nothing is read until the events are asked for"]
#[derive(Debug)]
pub struct Reading<T> {
    selection: Selection<T>,
    after: Option<Position>,
    until: Option<Position>,
    direction: Direction,
    limit: Option<usize>,
}

impl<T> Reading<T> {
    /// Starts after this position in the direction of reading; by default at the log's beginning in
    /// that direction. Beyond the head there are no events.
    pub fn after(mut self, after: impl Into<Option<Position>>) -> Self {
        self.after = after.into();
        self
    }

    /// Reads up to and including this position.
    pub fn until(mut self, until: impl Into<Option<Position>>) -> Self {
        self.until = until.into();
        self
    }

    /// Reads the last event first. `after` and `until` apply in this direction: the events read
    /// have lower positions than `after`, and `until` is the lowest. If a stored event is read as
    /// several events, the last of them comes first too.
    pub fn backward(mut self) -> Self {
        self.direction = Direction::Backward;
        self
    }

    /// Reads at most this many stored events, not counting those that are read as nothing. A stored
    /// event that is read as several counts as one and all of them are returned, so a reading that
    /// continues after its position misses none.
    pub fn limit(mut self, events: usize) -> Self {
        self.limit = Some(events);
        self
    }

    /// Returns the events one after the other. Nothing is read before the first one is requested.
    pub fn events(self) -> Events<T> {
        let Self {
            selection,
            after,
            until,
            direction,
            limit,
        } = self;
        Events {
            selection,
            until,
            direction,
            left: limit.unwrap_or(usize::MAX),
            next: Next::First(after),
            pending: None,
            page: VecDeque::new(),
            rest: VecDeque::new(),
            read_to: None,
        }
    }

    /// Returns all events at once. Use it only for short ranges: all events are held in memory.
    ///
    /// # Errors
    ///
    /// As for [`Events::next`].
    pub async fn collect(self) -> Result<Vec<T>, Error> {
        let mut events = self.events();
        let mut all = Vec::new();
        while let Some(page) = events.next_page().await? {
            all.extend(page);
        }
        Ok(all)
    }

    /// Returns the first event, or `None`. If a stored event is read as several, that is one of
    /// them.
    ///
    /// # Errors
    ///
    /// As for [`Events::next`].
    pub async fn first(self) -> Result<Option<T>, Error> {
        self.limit(1).events().next().await
    }
}

/// Where the next page starts.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// Where the reading starts.
    First(Option<Position>),
    /// After an event that was read.
    After(Checkpoint),
    Nothing,
}

/// The events of a reading, one after the other, or page by page. Holds at most one page.
///
/// Each page is as of a later state of the log than the page before: events recorded during a
/// forward reading are read too, until a page reaches the end. Also a [`Stream`]. Every method can
/// be dropped while it waits; the next call continues at the same place.
pub struct Events<T> {
    selection: Selection<T>,
    until: Option<Position>,
    direction: Direction,
    left: usize,
    next: Next,
    pending: Option<BoxFuture<'static, Result<Page, RecordError>>>,
    page: VecDeque<StoredEvent>,
    /// The rest of what the last stored event was read as.
    rest: VecDeque<T>,
    read_to: Option<Checkpoint>,
}

impl<T> Events<T> {
    /// Returns the next event, or `None` at the end.
    ///
    /// # Errors
    ///
    /// `Invalid` for a query beyond the limits or an `until` that lies before `after` in the
    /// direction of reading; `Unavailable`, after which the next call retries; `Diverged` if the
    /// log no longer contains the previous pages; `Corrupt`, and any error of decoding an event,
    /// which the next call returns again.
    pub async fn next(&mut self) -> Result<Option<T>, Error> {
        poll_fn(|context| self.poll(context)).await
    }

    /// Returns the next events that are available at once, at least one, or `None` at the end.
    ///
    /// # Errors
    ///
    /// As for [`next`](Self::next); the events before one that cannot be decoded are returned
    /// first.
    pub async fn next_page(&mut self) -> Result<Option<Vec<T>>, Error> {
        let Some(first) = self.next().await? else {
            return Ok(None);
        };
        let mut events = Vec::with_capacity(1 + self.page.len());
        events.push(first);
        while let Ok(Some(event)) = self.take() {
            events.push(event);
        }
        Ok(Some(events))
    }

    /// Returns how far the log has been read: see [`Page::read_to`]. After the end of a forward
    /// reading, it is the correct `after` for a condition on what was read; `None` if the log was
    /// empty.
    pub fn read_to(&self) -> Option<Checkpoint> {
        self.read_to
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<T>, Error>> {
        loop {
            if let Some(event) = self.take()? {
                return Poll::Ready(Ok(Some(event)));
            }
            if self.left == 0 {
                return Poll::Ready(Ok(None));
            }
            let pending = match &mut self.pending {
                Some(pending) => pending,
                None => {
                    let Some(read) = self.next_read()? else {
                        return Poll::Ready(Ok(None));
                    };
                    self.pending.insert(self.selection.read_page(read))
                }
            };
            let page = ready!(pending.as_mut().poll(context));
            self.pending = None;
            self.accept(page?);
        }
    }

    /// Returns the next event of the page in memory, or `None` if there is none.
    fn take(&mut self) -> Result<Option<T>, Error> {
        if let Some(next) = self.rest.pop_front() {
            return Ok(Some(next));
        }
        while self.left > 0
            && let Some(stored) = self.page.front()
        {
            let events = self.selection.decode(stored)?;
            self.page.pop_front();
            let next = self.first_of(events);
            if next.is_some() {
                self.left -= 1;
                return Ok(next);
            }
        }
        Ok(None)
    }

    /// Returns the first of the events that a stored event is read as, and keeps the others.
    fn first_of(&mut self, events: Decoded<T>) -> Option<T> {
        match events {
            Decoded::Nothing => None,
            Decoded::One(event) => Some(event),
            Decoded::Several(mut events) => {
                if self.direction == Direction::Backward {
                    events.reverse();
                }
                self.rest = events.into();
                self.rest.pop_front()
            }
        }
    }

    /// Returns the read of the next page; `None` at the end.
    fn next_read(&self) -> Result<Option<LogRead>, Invalid> {
        let read = LogRead::of(self.selection.query()?)
            .until(self.until)
            .limit(self.selection.page_events().min(self.left));
        let read = match self.next {
            Next::First(after) => read.after(after),
            Next::After(checkpoint) => read.after_checkpoint(checkpoint),
            Next::Nothing => return Ok(None),
        };
        Ok(Some(match self.direction {
            Direction::Forward => read,
            Direction::Backward => read.backward(),
        }))
    }

    fn accept(&mut self, page: Page) {
        let last = page.events.last().map(StoredEvent::checkpoint);
        self.next = match (page.end, last) {
            (PageEnd::Full, Some(last)) => Next::After(last),
            _ => Next::Nothing,
        };
        // A backward reading shows the head as of its start.
        if self.direction == Direction::Forward || self.read_to.is_none() {
            self.read_to = page.read_to;
        }
        self.page = page.events.into();
    }
}

/// Nothing in it is pinned.
impl<T> Unpin for Events<T> {}

impl<T> Stream for Events<T> {
    type Item = Result<T, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll(context).map(Result::transpose)
    }
}

impl<T> fmt::Debug for Events<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("selection", &self.selection)
            .field("next", &self.next)
            .field("read_to", &self.read_to)
            .finish_non_exhaustive()
    }
}
