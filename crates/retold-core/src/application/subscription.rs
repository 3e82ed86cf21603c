//! Subscribing to a log: what is there, then what comes, with no gap between and without an end.
//!
//! A subscription only ever reads forward by pages and moves by how far each page says it went. A
//! hint tells when to read again and nothing else, so a lost, doubled or late one can neither skip an
//! event nor give one twice.

use std::collections::VecDeque;
use std::fmt;
use std::future::{IntoFuture, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::stream::Stream;

use super::error::Error;
use super::selection::Selection;
use crate::recording::{
    BoxFuture, LogRead, Mark, Page, PageEnd, Position, Query, RecordError, Recorder, StoredEvent,
};

impl<T> Selection<T> {
    /// Subscribes to the selected events: by default all from the first on; see [`Subscribing`].
    ///
    /// ```
    #[doc = include_str!("../../doc/school.rs.txt")]
    /// let mut events = school.events::<DogEvent>().subscribe().await?;
    /// let first = events.next().await?;
    /// assert_eq!(first.aggregate(), Some(fido));
    ///
    /// // What comes later is given by the same subscription, as soon as it is recorded.
    /// school.execute(fido, |_| DogEvent::TrickAdded { trick: "fetch".into() }).await?;
    /// let second = events.next().await?;
    /// assert_eq!(second.position().get(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn subscribe(self) -> Subscribing<T> {
        Subscribing {
            selection: self,
            start: Start::Beginning,
        }
    }
}

/// A subscription that has not begun: from where. Await it.
#[must_use = "a subscription begins when this is awaited"]
#[derive(Debug)]
pub struct Subscribing<T> {
    selection: Selection<T>,
    start: Start,
}

#[derive(Clone, Copy, Debug)]
enum Start {
    Beginning,
    Mark(Mark),
    Position(Position),
    Now,
}

impl<T> Subscribing<T> {
    /// Begin just after this mark, which another subscription gave ([`Subscription::mark`]); with
    /// none, with the first event.
    ///
    /// It is checked that the log has the event of the mark at its position: else the log was
    /// replaced, cut or restored since, and awaiting this is `Diverged`.
    pub fn after(mut self, mark: impl Into<Option<Mark>>) -> Self {
        self.start = mark.into().map_or(Start::Beginning, Start::Mark);
        self
    }

    /// Begin just after this position, whatever event is there; one beyond the head is `Invalid`.
    pub fn after_position(mut self, position: impl Into<Option<Position>>) -> Self {
        self.start = position.into().map_or(Start::Beginning, Start::Position);
        self
    }

    /// Begin with what is recorded from now on.
    pub fn from_now(mut self) -> Self {
        self.start = Start::Now;
        self
    }

    async fn begin(self) -> Result<Subscription<T>, Error> {
        let Self { selection, start } = self;
        let recorder = selection.recorder().clone();
        let query = selection.query()?;
        let mark = match start {
            Start::Beginning => None,
            Start::Mark(mark) => Some(check_mark(&*recorder, mark).await?),
            Start::Position(position) => Some(mark_at(&*recorder, position).await?),
            Start::Now => recorder.head().await?.mark,
        };
        Ok(Subscription {
            selection,
            query,
            mark,
            page: VecDeque::new(),
            page_mark: mark,
            append_count: 0,
            step: Step::Read,
            state: State::CatchingUp,
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

/// The mark, if the log has its event at its position; else `Diverged`.
pub(crate) async fn check_mark(recorder: &dyn Recorder, mark: Mark) -> Result<Mark, Error> {
    let proof = LogRead::new().after_mark(mark).limit(1);
    recorder.read_log(proof.until(mark.position)).await?;
    Ok(mark)
}

async fn mark_at(recorder: &dyn Recorder, position: Position) -> Result<Mark, Error> {
    let page = recorder.read_log(LogRead::at(position)).await?;
    match page.events.first() {
        Some(event) => Ok(event.mark()),
        None => Err(RecordError::invalid(format!(
            "the log {:?} does not reach position {position} yet; subscribe after a position it has",
            recorder.log_name()
        ))
        .into()),
    }
}

/// What a subscription has to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signal<T> {
    /// The next event.
    Event(T),
    /// Everything that was recorded when the last page was read has been given; what follows is given
    /// as it comes. With how far that was; none if the log is empty.
    CaughtUp(Option<Mark>),
    /// More came at once than a page takes: what is given now may lag behind the log until the next
    /// [`CaughtUp`](Self::CaughtUp). Nothing is lost by it.
    FellBehind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    CatchingUp,
    Live,
}

#[derive(Clone, Copy, Debug)]
enum Due {
    CaughtUp,
    FellBehind,
}

enum Step {
    Read,
    Reading(BoxFuture<'static, Result<Page, RecordError>>),
    Wait,
    Waiting(BoxFuture<'static, Result<u64, RecordError>>),
}

/// Events of a log: those that are there, then those that come, each once, in the order of recording.
///
/// It has no end. It holds one page of events at most, and reads the next when that has been given:
/// whoever is slow lags behind and fills nobody's memory. Also a [`Stream`]. Every method may be
/// dropped while it waits; the next call goes on where it was.
///
/// To go on later, in another process perhaps, keep [`mark`](Self::mark) and give it to
/// [`Subscribing::after`].
pub struct Subscription<T> {
    selection: Selection<T>,
    query: Query,
    /// Everything up to here has been given.
    mark: Option<Mark>,
    page: VecDeque<StoredEvent>,
    /// How far the page goes: `mark`, once all its events are given.
    page_mark: Option<Mark>,
    /// How many appends were known before the last page was read. It begins with 0, so that the first
    /// wait returns at once and what came while the first pages were read is never waited for.
    append_count: u64,
    step: Step,
    state: State,
    due: Option<Due>,
}

impl<T> Subscription<T> {
    /// The next event; waits for it as long as it takes.
    ///
    /// # Errors
    ///
    /// `Unavailable`: the next call tries again. `Diverged`: the log no longer has what was read from
    /// it, and the next call tells that again; only a new subscription helps. `Corrupt`, and whatever keeps an event from being decoded:
    /// the next call tells it again, unless the event is [passed over](Self::pass_over).
    pub async fn next(&mut self) -> Result<T, Error> {
        loop {
            if let Signal::Event(event) = self.next_signal().await? {
                return Ok(event);
            }
        }
    }

    /// The next event, or that the subscription caught up with the log or fell behind it.
    ///
    /// # Errors
    ///
    /// As for [`next`](Self::next).
    pub async fn next_signal(&mut self) -> Result<Signal<T>, Error> {
        poll_fn(|context| self.poll(context)).await
    }

    /// How far it has come: everything selected up to here has been given, and nothing after it. None
    /// before the first event of the log. It moves also over events that are not selected.
    pub fn mark(&self) -> Option<Mark> {
        self.mark
    }

    /// Passes over the event that could not be decoded, which the last call told, and returns it; does
    /// nothing if the next event can be decoded or is not there yet.
    pub fn pass_over(&mut self) -> Option<StoredEvent> {
        let failed = |event: &StoredEvent| self.selection.decode(event).is_err();
        if !self.page.front().is_some_and(failed) {
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
                Step::Read => {
                    let read = LogRead::of(self.query.clone())
                        .after_mark(self.mark)
                        .limit(self.selection.page_events());
                    self.step = Step::Reading(self.selection.read_page(read));
                }
                Step::Reading(page) => {
                    let page = ready!(page.as_mut().poll(context));
                    self.step = Step::Read;
                    self.accept(page?);
                }
                Step::Wait => {
                    let recorder = self.selection.recorder().clone();
                    let append_count = self.append_count;
                    let changed =
                        Box::pin(async move { recorder.changed_since(append_count).await });
                    self.step = Step::Waiting(changed);
                }
                Step::Waiting(changed) => {
                    let append_count = ready!(changed.as_mut().poll(context));
                    self.step = Step::Wait;
                    self.append_count = append_count?;
                    self.step = Step::Read;
                }
            }
        }
    }

    /// What can be told without asking the recorder.
    fn take(&mut self) -> Result<Option<Signal<T>>, Error> {
        if matches!(self.due, Some(Due::FellBehind)) {
            self.due = None;
            return Ok(Some(Signal::FellBehind));
        }
        while let Some(stored) = self.page.front() {
            let event = self.selection.decode(stored)?;
            self.pop();
            if let Some(event) = event {
                return Ok(Some(Signal::Event(event)));
            }
        }
        let caught_up = self.due.take().map(|_| Signal::CaughtUp(self.mark));
        Ok(caught_up)
    }

    fn pop(&mut self) -> Option<StoredEvent> {
        let event = self.page.pop_front()?;
        self.mark = if self.page.is_empty() {
            self.page_mark
        } else {
            Some(event.mark())
        };
        Some(event)
    }

    fn accept(&mut self, page: Page) {
        self.page_mark = page.read_to;
        self.page = page.events.into();
        if self.page.is_empty() {
            self.mark = self.page_mark;
        }
        let before = self.state;
        (self.step, self.state) = match page.end {
            PageEnd::Full => (Step::Read, State::CatchingUp),
            PageEnd::Complete => (Step::Wait, State::Live),
        };
        self.due = match (before, self.state) {
            (State::CatchingUp, State::Live) => Some(Due::CaughtUp),
            (State::Live, State::CatchingUp) => Some(Due::FellBehind),
            _ => None,
        };
    }
}

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
            .field("mark", &self.mark)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
