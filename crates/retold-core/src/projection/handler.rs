//! Handlers of projections, which process one event: synchronously, or by awaiting a database.
//!
//! The kind of view determines which of the two its handlers are. A panic of a handler is caught
//! here and counts as a failure.

use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use super::error::BoxError;
use crate::application::{Logged, panic_text};
use crate::domain::{Decoded, Event};
use crate::mapping::{Mapper, MappingError};
use crate::recording::{BoxFuture, StoredEvent};

/// A kind of view: defines what its handlers change, and whether they are asynchronous.
pub trait ViewKind: Sized + 'static {
    /// The target of a handler: a value in memory, or a transaction of a database driver.
    type Target<'a>;
    /// The type of its handlers: [`AtOnce`] or [`Awaited`].
    type Handler: Send + Sync + 'static;
}

/// A kind of view whose handlers are synchronous: a value in memory, or tables in a local file.
#[diagnostic::on_unimplemented(
    message = "the handlers of `{Self}` are asynchronous",
    label = "needs asynchronous handlers",
    note = "use `on_async` in place of `on`"
)]
pub trait SyncViewKind: ViewKind<Handler = AtOnce<Self>> {}

#[diagnostic::do_not_recommend]
impl<K: ViewKind<Handler = AtOnce<K>>> SyncViewKind for K {}

/// A kind of view whose handlers are asynchronous: tables in a database on a server.
#[diagnostic::on_unimplemented(
    message = "the handlers of `{Self}` are synchronous",
    label = "needs synchronous handlers",
    note = "use `on` in place of `on_async`"
)]
pub trait AsyncViewKind: ViewKind<Handler = Awaited<Self>> {}

#[diagnostic::do_not_recommend]
impl<K: ViewKind<Handler = Awaited<K>>> AsyncViewKind for K {}

/// The result of a handler.
pub(super) type Handled = Result<(), BoxError>;

type Act<K> = Box<
    dyn for<'a, 'b> Fn(
            &'a mut <K as ViewKind>::Target<'b>,
            &StoredEvent,
            &ViewReading,
        ) -> Result<(), BoxError>
        + Send
        + Sync,
>;

/// A handler that awaits nothing: for a view in the process, or in a local file.
pub struct AtOnce<K: ViewKind>(Act<K>);

impl<K: ViewKind> AtOnce<K> {
    pub(crate) fn new<E: Event>(
        handler: impl for<'a, 'b, 'c> Fn(&'a mut K::Target<'b>, &'c Logged<E>) -> Handled
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self(Box::new(move |target, stored, reading| {
            let mut events = reading.events::<E>(stored)?.into_iter();
            events.try_for_each(|logged| handler(&mut *target, &logged))
        }))
    }

    pub(crate) fn handle(
        &self,
        target: &mut K::Target<'_>,
        stored: &StoredEvent,
        reading: &ViewReading,
    ) -> Result<(), BoxError> {
        // The view of a failed event is rolled back or was not touched, whether the handler
        // panicked or not.
        catch_unwind(AssertUnwindSafe(|| self.0(target, stored, reading)))
            .unwrap_or_else(|panic| Err(panicked(&*panic)))
    }
}

/// A handler that awaits the view's database.
pub struct Awaited<K: ViewKind>(Box<dyn AnyHandler<K>>);

/// A handler for events of type `E` that awaits the view's database: an
/// `async fn(&K::Target<'_>, &Logged<E>) -> Result<(), BoxError>`, or an
/// `async |view: &K::Target<'_>, logged: &Logged<E>| { … Ok(()) }` that captures nothing.
///
/// That an asynchronous closure cannot capture anything is deliberate: the content of a view must
/// depend only on the log, so that a rebuilt view is the same.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler for `{E}`",
    label = "not a handler for events of type `{E}`",
    note = "write `async fn name(view: &PostgresTransaction<'_>, logged: &Logged<{E}>) -> \
            Result<(), BoxError>`, or an asynchronous closure of that form that captures nothing"
)]
pub trait HandleView<'a, 'e, K: ViewKind, E>: Send + Sync {
    /// The handler's future.
    type Fut: Future<Output = Result<(), BoxError>> + Send;

    /// Starts to apply an event to the view.
    fn call(&self, view: &'a K::Target<'a>, logged: &'e Logged<E>) -> Self::Fut;
}

#[diagnostic::do_not_recommend]
impl<'a, 'e, K, E, F, Fut> HandleView<'a, 'e, K, E> for F
where
    K: ViewKind,
    E: 'e,
    F: Fn(&'a K::Target<'a>, &'e Logged<E>) -> Fut + Send + Sync,
    Fut: Future<Output = Result<(), BoxError>> + Send,
{
    type Fut = Fut;

    fn call(&self, view: &'a K::Target<'a>, logged: &'e Logged<E>) -> Fut {
        self(view, logged)
    }
}

/// A handler for events of any type.
trait AnyHandler<K: ViewKind>: Send + Sync {
    fn handle<'a>(
        &'a self,
        view: &'a K::Target<'a>,
        stored: &'a StoredEvent,
        reading: &'a ViewReading,
    ) -> BoxFuture<'a, Result<(), BoxError>>;
}

struct OfType<E, F> {
    handler: F,
    event: PhantomData<fn(&E)>,
}

impl<K, E, F> AnyHandler<K> for OfType<E, F>
where
    K: ViewKind,
    for<'a> K::Target<'a>: Sync,
    E: Event,
    F: for<'a, 'e> HandleView<'a, 'e, K, E> + 'static,
{
    fn handle<'a>(
        &'a self,
        view: &'a K::Target<'a>,
        stored: &'a StoredEvent,
        reading: &'a ViewReading,
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            for logged in reading.events::<E>(stored)? {
                self.handler.call(view, &logged).await?;
            }
            Ok(())
        })
    }
}

impl<K: ViewKind> Awaited<K> {
    pub(crate) fn new<E, F>(handler: F) -> Self
    where
        E: Event,
        F: for<'a, 'e> HandleView<'a, 'e, K, E> + 'static,
        for<'a> K::Target<'a>: Sync,
    {
        let event = PhantomData::<fn(&E)>;
        Self(Box::new(OfType { handler, event }))
    }

    pub(crate) async fn handle<'a>(
        &'a self,
        target: &'a K::Target<'a>,
        stored: &'a StoredEvent,
        reading: &'a ViewReading,
    ) -> Result<(), BoxError> {
        let mut handling = pin!(self.0.handle(target, stored, reading));
        poll_fn(|context| {
            let polled = catch_unwind(AssertUnwindSafe(|| handling.as_mut().poll(context)));
            polled.unwrap_or_else(|panic| Poll::Ready(Err(panicked(&*panic))))
        })
        .await
    }
}

/// How the events of a view are read.
#[derive(Clone)]
pub(crate) struct ViewReading {
    pub(super) mapper: Mapper,
    pub(super) erased: Erased,
}

/// How events with an erased payload are treated whose type does not declare what they are read as.
#[derive(Clone, Copy)]
pub(crate) enum Erased {
    PassedOver,
    /// They cannot be decoded, and are poison like any other such event.
    Poison,
}

impl ViewReading {
    fn events<E: Event>(&self, stored: &StoredEvent) -> Result<Decoded<Logged<E>>, MappingError> {
        let stored = &self.mapper.opened(stored);
        match (self.mapper.read::<E>(stored), self.erased) {
            (Err(MappingError::Erased { .. }), Erased::PassedOver) => Ok(Decoded::Nothing),
            (read, _) => Ok(Logged::all(read?, stored)),
        }
    }
}

fn panicked(panic: &(dyn Any + Send)) -> BoxError {
    let text = panic_text(panic).unwrap_or("without a message");
    format!("its handler panicked: {text}").into()
}

impl<K: ViewKind> fmt::Debug for AtOnce<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtOnce").finish_non_exhaustive()
    }
}

impl<K: ViewKind> fmt::Debug for Awaited<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Awaited").finish_non_exhaustive()
    }
}
