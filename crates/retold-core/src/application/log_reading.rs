//! Reading a log once, from somewhere to somewhere: page by page, given event by event.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::stream::Stream;

use super::error::Error;
use super::selection::Selection;
use crate::recording::{
    BoxFuture, Direction, Invalid, LogRead, Mark, Page, PageEnd, Position, RecordError, StoredEvent,
};

impl<T> Selection<T> {
    /// Reads the selected events once: by default all there are, in the order of recording.
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

/// A reading of a log that has not begun: from where, to where, and which way.
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
    /// Begin just after this position in the direction of reading; without it, where the log begins
    /// in that direction. Beyond the head there is nothing.
    pub fn after(mut self, after: impl Into<Option<Position>>) -> Self {
        self.after = after.into();
        self
    }

    /// Read up to and with this position.
    pub fn until(mut self, until: impl Into<Option<Position>>) -> Self {
        self.until = until.into();
        self
    }

    /// Last event first. `after` and `until` are meant in this direction: what is read lies before
    /// `after`, and `until` before it.
    pub fn backward(mut self) -> Self {
        self.direction = Direction::Backward;
        self
    }

    /// Give at most this many events.
    pub fn limit(mut self, events: usize) -> Self {
        self.limit = Some(events);
        self
    }

    /// The events, one after the other. Nothing is read before the first is asked for.
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
            read_to: None,
        }
    }

    /// All the events at once. For readings that are known to be short: all of them are in memory.
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

    /// The first event, or none.
    ///
    /// # Errors
    ///
    /// As for [`Events::next`].
    pub async fn first(self) -> Result<Option<T>, Error> {
        self.limit(1).events().next().await
    }
}

/// Where the next page begins.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// Where the reading begins.
    First(Option<Position>),
    /// After an event that was read.
    After(Mark),
    Nothing,
}

/// The events of a reading, one after the other, or page by page. Holds one page at most.
///
/// The pages are of different states of the log, each later than the one before: what is recorded
/// while a forward reading goes on is read too, until a page reaches the end. Also a
/// [`Stream`]. Every method may be dropped while it waits; the next call goes on where it was.
pub struct Events<T> {
    selection: Selection<T>,
    until: Option<Position>,
    direction: Direction,
    left: usize,
    next: Next,
    pending: Option<BoxFuture<'static, Result<Page, RecordError>>>,
    page: VecDeque<StoredEvent>,
    read_to: Option<Mark>,
}

impl<T> Events<T> {
    /// The next event, or none at the end.
    ///
    /// # Errors
    ///
    /// `Invalid` for a query beyond the limits or an `until` that lies before `after` in the
    /// direction of reading; `Unavailable`, after which the next call tries again; `Diverged` if the log
    /// no longer has what the pages before were read of it; `Corrupt`, and whatever keeps an event from
    /// being decoded, which the next call will tell again.
    pub async fn next(&mut self) -> Result<Option<T>, Error> {
        poll_fn(|context| self.poll(context)).await
    }

    /// The next events that are there at once, at least one, or none at the end.
    ///
    /// # Errors
    ///
    /// As for [`next`](Self::next); events before one that cannot be decoded are given first.
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

    /// How far the pages that were read so far went: see [`Page::read_to`]. After the end of a forward
    /// reading it is the sound `after` for a condition on what was read; none if the log was empty.
    pub fn read_to(&self) -> Option<Mark> {
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

    /// The next event of the page in memory, or none if there is none.
    fn take(&mut self) -> Result<Option<T>, Error> {
        while self.left > 0 {
            let Some(stored) = self.page.front() else {
                break;
            };
            let event = self.selection.decode(stored)?;
            self.page.pop_front();
            if event.is_some() {
                self.left -= 1;
                return Ok(event);
            }
        }
        Ok(None)
    }

    /// The next page; none at the end.
    fn next_read(&self) -> Result<Option<LogRead>, Invalid> {
        let read = LogRead::of(self.selection.query()?)
            .until(self.until)
            .limit(self.selection.page_events().min(self.left));
        let read = match self.next {
            Next::First(after) => read.after(after),
            Next::After(mark) => read.after_mark(mark),
            Next::Nothing => return Ok(None),
        };
        Ok(Some(match self.direction {
            Direction::Forward => read,
            Direction::Backward => read.backward(),
        }))
    }

    fn accept(&mut self, page: Page) {
        let last = page.events.last().map(StoredEvent::mark);
        self.next = match (page.end, last) {
            (PageEnd::Full, Some(last)) => Next::After(last),
            _ => Next::Nothing,
        };
        // A backward reading shows the head as it was at its beginning.
        if self.direction == Direction::Forward || self.read_to.is_none() {
            self.read_to = page.read_to;
        }
        self.page = page.events.into();
    }
}

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
