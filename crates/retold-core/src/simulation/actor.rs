//! Actors and their processes, which make calls, end and restart.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use fastrand::Rng;

use super::parking::ActorIndex;
use crate::recording::BoxFuture;

/// A process that is starting, to which its actors are added.
#[derive(Default)]
pub struct Process {
    pub(crate) actors: Vec<NewActor>,
}

pub(crate) struct NewActor {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) future: BoxFuture<'static, ()>,
}

/// How an actor may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It returns, or waits for changes of logs.
    Actor,
    /// It may also wait for other actors.
    Service,
}

impl Process {
    /// Adds an actor with this name. At the end of the run it must have returned, or wait in
    /// `changed_since` for changes that do not come; if it waits for anything else, the run fails
    /// as a deadlock.
    ///
    /// An actor that has returned is done: it does not run again when the process restarts.
    pub fn actor(
        &mut self,
        name: impl Into<String>,
        future: impl Future<Output = ()> + Send + 'static,
    ) {
        self.add(name.into(), Role::Actor, Box::pin(future));
    }

    /// Like [`actor`](Self::actor), but it may also wait forever for other actors of its process,
    /// like an actor that serves requests.
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

/// Whether a process is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// It must be started.
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
    /// How often it is chosen, relative to others.
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

    /// Restarts it with a new future. Wakers of its former lives have no effect.
    ///
    /// Actors differ in pace, so that one can be overtaken many times by another.
    pub(crate) fn revive(&mut self, new: NewActor, random: &mut Rng) {
        self.role = new.role;
        self.future = Some(new.future);
        self.pace = [1, 4, 4, 16][random.usize(..4)];
        self.wakes = Arc::default();
        self.waker = Arc::clone(&self.wakes).into();
        self.waker.wake_by_ref();
    }

    /// Returns whether it must be polled.
    pub(crate) fn is_woken(&self) -> bool {
        self.future.is_some() && self.wakes.is_woken.load(Ordering::Relaxed)
    }

    /// Clears the wake flag, just before it is polled.
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
