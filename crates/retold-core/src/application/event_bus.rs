//! A bus for code that publishes events without an application, and the subscriber that records
//! them.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::command_id::EventIds;
use super::error::{Error, Result};
use super::handle::Application;
use super::limits::PUBLICATIONS_KEPT;
use super::publish::Missed;
use super::stamp::Stamp;
use crate::domain::{Decision, Event};
use crate::mapping::AnyEvent;
use crate::recording::{Append, Checkpoint};

/// Delivers events to the subscribers in this process, for code that publishes events without
/// knowing an application.
///
/// If it has a persistence subscriber ([`record_into`](Self::record_into)), a publication is
/// recorded first. The other subscribers receive it only when it is durable, with the content that
/// later readers of the log will decode. If recording fails, the publisher gets the error and the
/// subscribers receive nothing. Publishing never waits for subscribers: each has a bounded queue,
/// and a slow subscriber learns how many publications it [`Missed`].
///
/// A clone is the same bus.
///
/// ```
#[doc = include_str!("../../doc/school.rs.txt")]
/// use retold::application::EventBus;
///
/// let bus = EventBus::new();
/// bus.record_into(&school)?;
/// let mut listener = bus.subscribe::<DogEvent>();
///
/// let rex = Id::<Dog>::new(Uuid::now_v7());
/// bus.publish(DogEvent::Registered { name: "Rex".into() }.to(&rex)).await?;
///
/// assert!(listener.next_reported().is_ok_and(|reported| reported.is_some()));
/// assert_eq!(school.get(rex).await?.state.name, "Rex");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct EventBus {
    shared: Arc<BusState>,
}

struct BusState {
    sender: broadcast::Sender<Arc<[AnyEvent]>>,
    recorded_into: OnceLock<Application>,
}

impl EventBus {
    /// Creates a bus without subscribers.
    pub fn new() -> Self {
        Self {
            shared: Arc::new(BusState {
                sender: broadcast::channel(PUBLICATIONS_KEPT).0,
                recorded_into: OnceLock::new(),
            }),
        }
    }

    /// Records everything published from now on in this application's log, with the metadata of
    /// this handle: each publication in one append without conditions, each event in the stream
    /// that it is addressed to.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the bus already records into a log: a publication is recorded as a
    /// whole or not at all, and no append spans two logs.
    pub fn record_into(&self, application: &Application) -> Result<()> {
        let recorded_into = &self.shared.recorded_into;
        recorded_into.set(application.clone()).map_err(|_| {
            let name = recorded_into.get().map_or("", Application::name);
            Error::invalid(format!(
                "publications on this bus are already recorded in {name:?}; \
                 use another bus for {:?}",
                application.name()
            ))
        })
    }

    /// Publishes events: one, or several that belong together, as an array, a `Vec` or a tuple.
    /// Returns the checkpoint of the last one, if they are recorded; publishing none does nothing.
    ///
    /// Dropping the future does not withdraw the events: they may be recorded without being
    /// delivered to subscribers.
    ///
    /// # Errors
    ///
    /// The error that prevented recording, as [`Application::settle`] reports it; then no
    /// subscriber receives the events. Without a persistence subscriber there are no errors.
    pub async fn publish(
        &self,
        events: impl Decision<AnyEvent, Refusal = std::convert::Infallible>,
    ) -> Result<Option<Checkpoint>> {
        let mut published = Vec::new();
        let Ok(()) = events.decided(&mut published);
        if published.is_empty() {
            return Ok(None);
        }
        let checkpoint = match self.shared.recorded_into.get() {
            Some(application) => {
                let (checkpoint, read_back) = record(application, &published).await?;
                published = read_back;
                checkpoint
            }
            None => None,
        };
        // An error means that there are no subscribers, which does not fail publishing.
        let _ = self.shared.sender.send(published.into());
        Ok(checkpoint)
    }

    /// Subscribes to the events of type `E` that are published from now on. An event addressed to
    /// an aggregate has the aggregate's event type.
    pub fn subscribe<E: Event>(&self) -> BusSubscription<E> {
        BusSubscription {
            receiver: self.shared.sender.subscribe(),
            publication: Arc::new([]),
            next: 0,
            event: PhantomData,
        }
    }
}

/// Records events, and returns them as they will be read.
async fn record(
    application: &Application,
    events: &[AnyEvent],
) -> Result<(Option<Checkpoint>, Vec<AnyEvent>)> {
    let (new, read_back) = Stamp::new(application, None, None).of_any(events)?;
    let last = new.last().map(|event| event.id);
    let appended = application
        .settle_new(Append::of(new), EventIds::Fresh)
        .await?;
    let checkpoint = |(position, event_id)| Checkpoint { position, event_id };
    let checkpoint = appended.positions().last().zip(last).map(checkpoint);
    Ok((checkpoint, read_back))
}

impl Default for EventBus {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for EventBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventBus")
            .field("subscribers", &self.shared.sender.receiver_count())
            .field("recorded_into", &self.shared.recorded_into.get())
            .finish()
    }
}

/// The events of type `E` that are published on a bus, in the order of publication.
///
/// For a slow subscriber the last [`PUBLICATIONS_KEPT`] publications are kept, and [`Missed`]
/// reports how many were lost to it.
pub struct BusSubscription<E> {
    receiver: broadcast::Receiver<Arc<[AnyEvent]>>,
    publication: Arc<[AnyEvent]>,
    /// Index of the next event of the publication to look at.
    next: usize,
    event: PhantomData<fn() -> E>,
}

impl<E: Event> BusSubscription<E> {
    /// Waits for the next event. Returns `None` once all handles of the bus are dropped. Can be
    /// dropped while it waits without losing an event.
    ///
    /// # Errors
    ///
    /// [`Missed`], once each time the subscriber has fallen behind; the next call continues with
    /// the oldest publication that is kept.
    pub async fn next(&mut self) -> Result<Option<Published<E>>, Missed> {
        loop {
            if let Some(event) = self.take() {
                return Ok(Some(event));
            }
            match self.receiver.recv().await {
                Ok(publication) => self.begin(publication),
                Err(RecvError::Closed) => return Ok(None),
                Err(RecvError::Lagged(count)) => return Err(Missed { count }),
            }
        }
    }

    /// Returns the next event if one has already arrived; otherwise `None`.
    ///
    /// # Errors
    ///
    /// As for [`next`](Self::next).
    pub fn next_reported(&mut self) -> Result<Option<Published<E>>, Missed> {
        loop {
            if let Some(event) = self.take() {
                return Ok(Some(event));
            }
            match self.receiver.try_recv() {
                Ok(publication) => self.begin(publication),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return Ok(None),
                Err(TryRecvError::Lagged(count)) => return Err(Missed { count }),
            }
        }
    }

    fn begin(&mut self, publication: Arc<[AnyEvent]>) {
        self.publication = publication;
        self.next = 0;
    }

    fn take(&mut self) -> Option<Published<E>> {
        while let Some(event) = self.publication.get(self.next) {
            let index = self.next;
            self.next += 1;
            if event.downcast_ref::<E>().is_some() {
                return Some(Published {
                    publication: Arc::clone(&self.publication),
                    index,
                    event: PhantomData,
                });
            }
        }
        None
    }
}

impl<E> fmt::Debug for BusSubscription<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusSubscription").finish_non_exhaustive()
    }
}

/// An event that was published on a bus, shared with all other subscribers. Dereferences to the
/// event.
pub struct Published<E> {
    publication: Arc<[AnyEvent]>,
    index: usize,
    event: PhantomData<fn() -> E>,
}

impl<E: Event> Deref for Published<E> {
    type Target = E;

    fn deref(&self) -> &E {
        self.publication[self.index]
            .downcast_ref()
            .expect("`take` returns only events of this type")
    }
}

impl<E: Event + fmt::Debug> fmt::Debug for Published<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
