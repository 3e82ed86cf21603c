//! Actors and the processes they live in: what makes calls, ends and starts again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use fastrand::Rng;

use super::parking::ActorIndex;
use crate::recording::BoxFuture;

/// One start of a process: what lives in it is given here.
#[derive(Default)]
pub struct Process {
    pub(crate) actors: Vec<NewActor>,
}

pub(crate) struct NewActor {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) future: BoxFuture<'static, ()>,
}

/// What an actor may end with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It returns, or waits for changes of logs.
    Actor,
    /// It may also wait for the others.
    Service,
}

impl Process {
    /// An actor of this name. In the end it has returned, or waits in `changed_since` for changes that
    /// do not come; one that waits for anything else is a deadlock.
    ///
    /// One that has returned is done: it does not run again when the process starts again.
    pub fn actor(
        &mut self,
        name: impl Into<String>,
        future: impl Future<Output = ()> + Send + 'static,
    ) {
        self.add(name.into(), Role::Actor, Box::pin(future));
    }

    /// As [`actor`](Self::actor), but it may also wait for others of its process for ever, as one that
    /// serves requests does.
    pub fn service(
        &mut self,
        name: impl Into<String>,
        future: impl Future<Output = ()> + Send + 'static,
    ) {
        self.add(name.into(), Role::Service, Box::pin(future));
    }

    fn add(&mut self, name: String, role: Role, future: BoxFuture<'static, ()>) {
        self.actors.push(NewActor { name, role, future });
    }
}

/// A process and how to start it.
pub(crate) struct ProcessState {
    pub(crate) name: Arc<str>,
    pub(crate) start: Box<dyn Fn(&mut Process)>,
    pub(crate) actors: Vec<ActorIndex>,
    pub(crate) life: Life,
}

/// Whether a process is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// It is to be started.
    Down,
    Up,
    /// All of its actors are done.
    Over,
}

/// An actor.
pub(crate) struct Actor {
    pub(crate) name: Arc<str>,
    pub(crate) process: usize,
    pub(crate) role: Role,
    /// None while its process is down, and once it is done.
    pub(crate) future: Option<BoxFuture<'static, ()>>,
    pub(crate) is_done: bool,
    /// How often it is chosen, compared with others.
    pub(crate) pace: u32,
    wakes: Arc<Wakes>,
    pub(crate) waker: Waker,
}

impl Actor {
    pub(crate) fn new(name: Arc<str>, process: usize) -> Self {
        let wakes = Arc::<Wakes>::default();
        Self {
            name,
            process,
            role: Role::Actor,
            future: None,
            is_done: false,
            pace: 1,
            waker: Arc::clone(&wakes).into(),
            wakes,
        }
    }

    /// Gives it a new life. Wakers of former lives wake nobody.
    ///
    /// Actors differ in pace, so that one is overtaken many times by another.
    pub(crate) fn revive(&mut self, new: NewActor, random: &mut Rng) {
        self.role = new.role;
        self.future = Some(new.future);
        self.pace = [1, 4, 4, 16][random.usize(..4)];
        self.wakes = Arc::default();
        self.waker = Arc::clone(&self.wakes).into();
        self.waker.wake_by_ref();
    }

    /// Whether it is to be polled.
    pub(crate) fn is_woken(&self) -> bool {
        self.future.is_some() && self.wakes.is_woken.load(Ordering::Relaxed)
    }

    /// Forgets that it was woken, just before it is polled.
    pub(crate) fn take_wake(&self) {
        self.wakes.is_woken.store(false, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct Wakes {
    is_woken: AtomicBool,
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::Relaxed);
    }
}
