//! The scheduler: a plain loop that runs, under a seed, one call or one actor at a time.

use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use fastrand::Rng;

use super::actor::{Actor, Life, Process, ProcessState, Role};
use super::call::{Call, CallOutcome};
use super::fault::{Fault, Faults};
use super::limits::{
    CALM_STEPS_MAX, CLOCK_BACK_MAX, CLOCK_FORWARD_MAX, EFFECT_APPENDS_PER_INPUT, STEP_TIME,
    TRACE_ENTRIES_DEFAULT,
};
use super::parking::{ActorIndex, Hint, LogIndex, Parked, Parking};
use super::trace::{Happening, Trace, TraceEntry, TraceNames};
use crate::application::panic_text;
use crate::domain::{Clock, ManualClock, Timestamp};
use crate::recording::{RecordError, Recorder};

/// Weight of an actor of pace 1 among the possible next steps. The other weights are relative to
/// it.
const WEIGHT_ACTOR: u32 = 16;
const WEIGHT_START: u32 = 16;
const WEIGHT_LANDING: u32 = 8;
const WEIGHT_LATE_HINT: u32 = 4;
const WEIGHT_POLL: u32 = 1;

/// The state of one run.
pub(crate) struct Scheduler {
    pub(crate) seed: u64,
    pub(crate) parking: Arc<Parking>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) processes: Vec<ProcessState>,
    actors: Vec<Actor>,
    /// Appends in progress whose callers no longer receive their outcome.
    late: Vec<Parked>,
    random: Rng,
    /// The faults that may happen now.
    faults: Faults,
    pub(crate) fault_counts: [u64; Fault::ALL.len()],
    pub(crate) steps: u64,
    /// The step of the last progress.
    progress_at: u64,
    /// Appends of followers that recorded a checkpoint.
    follower_appends: u64,
    /// Those of them that recorded events.
    effect_appends: u64,
    pub(crate) trace: Trace,
    choices: Vec<(Choice, u32)>,
    /// Kept between steps to reuse its memory.
    changed: Vec<(LogIndex, Arc<dyn Recorder>)>,
}

/// The possible next steps.
#[derive(Clone, Copy)]
enum Choice {
    /// The parked call at this index has its turn.
    Call(usize),
    /// An actor that was woken by something other than a call runs.
    Run(ActorIndex),
    /// The late append at this index lands.
    Land(usize),
    /// A process that is down starts.
    Start(usize),
}

/// Whether anything was left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advance {
    Made,
    /// All actors are done, or wait for changes that do not come.
    Rest,
}

/// How a calm ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Calm {
    Rest,
    /// There was no progress for the permitted number of steps.
    NoProgress,
    /// There was progress, but for too long.
    NoEnd,
}

/// Why a run cannot continue.
pub(crate) type Reason = String;

/// The source of a simulated fault's error.
#[derive(Debug, thiserror::Error)]
#[error("injected by the simulation")]
struct Simulated;

impl Scheduler {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            parking: Parking::new(),
            clock: Arc::new(ManualClock::new(Timestamp::default())),
            processes: Vec::new(),
            actors: Vec::new(),
            late: Vec::new(),
            random: Rng::with_seed(seed),
            faults: Faults::none(),
            fault_counts: [0; Fault::ALL.len()],
            steps: 0,
            progress_at: 0,
            follower_appends: 0,
            effect_appends: 0,
            trace: Trace::new(TRACE_ENTRIES_DEFAULT),
            choices: Vec::new(),
            changed: Vec::new(),
        }
    }

    /// Makes up to `steps` steps under these faults.
    pub(crate) fn run(&mut self, faults: Faults, steps: u64) -> Result<Advance, Reason> {
        self.faults = faults;
        for _ in 0..steps {
            if self.step()? == Advance::Rest {
                return Ok(Advance::Rest);
            }
        }
        Ok(Advance::Made)
    }

    /// Makes steps without faults while there is progress at least once in `without_progress_max`
    /// steps.
    pub(crate) fn run_in_calm(&mut self, without_progress_max: u64) -> Result<Calm, Reason> {
        self.faults = Faults::none();
        self.progress_at = self.steps;
        let begun_at = self.steps;
        loop {
            if self.steps - self.progress_at >= without_progress_max {
                return Ok(Calm::NoProgress);
            }
            if self.steps - begun_at >= CALM_STEPS_MAX {
                return Ok(Calm::NoEnd);
            }
            if self.step()? == Advance::Rest {
                return Ok(Calm::Rest);
            }
        }
    }

    /// Returns the faults of this seed.
    pub(crate) fn varied(&mut self, faults: &Faults) -> Faults {
        faults.varied(&mut self.random)
    }

    /// Returns the actors that are neither done nor at rest, each with its current call; processes
    /// that are about to start; and appends in progress.
    pub(crate) fn busy(&self) -> String {
        let title = |actor: &Actor| {
            let process = &self.processes[actor.process].name;
            match *process == actor.name {
                true => actor.name.to_string(),
                false => format!("{process}/{}", actor.name),
            }
        };
        let mut busy: Vec<String> = Vec::new();
        let state = self.parking.state();
        for (index, actor) in self.actors.iter().enumerate() {
            let own = |parked: &&Parked| parked.actor as usize == index;
            let mut calls = state.parked.iter().filter(own);
            let call = calls.find(|parked| !self.is_at_rest(parked));
            match call {
                _ if actor.is_done => {}
                Some(parked) => busy.push(format!("{} ({})", title(actor), parked.call)),
                None if actor.is_woken() => busy.push(title(actor)),
                None => {}
            }
        }
        drop(state);
        let down = self.processes.iter().filter(|it| it.life == Life::Down);
        busy.extend(down.map(|process| format!("{} (about to start)", process.name)));
        if !self.late.is_empty() {
            busy.push(format!("{} appends in progress", self.late.len()));
        }
        busy.join(", ")
    }

    /// Returns whether a call waits for something that nothing else will do.
    fn is_at_rest(&self, parked: &Parked) -> bool {
        match (&parked.call, parked.hint) {
            (Call::ChangedSince { .. }, hint) => matches!(hint, Hint::Unseen | Hint::Awaited),
            (Call::WaitUntil { .. }, _) => self.actors[parked.actor as usize].role == Role::Service,
            _ => false,
        }
    }

    /// Notes progress, if the recorded append is progress.
    fn count_append(&mut self, call: &Call, outcome: CallOutcome) {
        let Call::Append { events, ranges, .. } = call else {
            return;
        };
        if !matches!(outcome, CallOutcome::Recorded(_)) {
            return;
        }
        self.follower_appends += u64::from(*ranges > 0);
        self.effect_appends += u64::from(*ranges > 0 && *events > 0);
        if *events > 0 && (*ranges == 0 || self.may_be_caused()) {
            self.progress_at = self.steps;
        }
    }

    /// Returns whether the followers' records may be caused by commands and timers, including those
    /// before the run, rather than by an endless cycle.
    fn may_be_caused(&self) -> bool {
        let logs = &self.parking.state().logs;
        let appends: u64 = logs.iter().map(|log| log.append_count).sum();
        let inputs = appends.saturating_sub(self.follower_appends);
        self.effect_appends <= inputs.saturating_mul(EFFECT_APPENDS_PER_INPUT)
    }

    pub(crate) fn names(&self) -> TraceNames {
        let logs = &self.parking.state().logs;
        TraceNames {
            actors: self.actors.iter().map(|it| Arc::clone(&it.name)).collect(),
            processes: self
                .processes
                .iter()
                .map(|it| Arc::clone(&it.name))
                .collect(),
            logs: logs.iter().map(|it| Arc::clone(&it.name)).collect(),
        }
    }

    fn step(&mut self) -> Result<Advance, Reason> {
        self.take_orphans();
        self.shake();
        self.look_at_changed_logs();
        self.list_choices();
        if self.choices.is_empty() {
            // An append may have bypassed this store; a check costs a call, so it is made only now.
            for log in &mut self.parking.state().logs {
                log.is_changed = true;
            }
            self.look_at_changed_logs();
            self.list_choices();
        }
        if self.choices.is_empty() && self.move_clock_to_next_wait() {
            self.list_choices();
        }
        let total: u32 = self.choices.iter().map(|(_, weight)| weight).sum();
        if total == 0 {
            return self.rest();
        }
        let mut drawn = self.random.u32(..total);
        let chosen = self.choices.iter().find(|(_, weight)| {
            let is_drawn = drawn < *weight;
            drawn = drawn.saturating_sub(*weight);
            is_drawn
        });
        let (choice, _) = *chosen.expect("what is drawn is less than the total");
        self.steps += 1;
        self.clock.advance(STEP_TIME);
        match choice {
            Choice::Call(index) => self.serve(index)?,
            Choice::Run(actor) => {
                self.note(Some(actor), None, None, Happening::Ran);
                self.poll(actor)?;
            }
            Choice::Land(index) => self.land(index)?,
            Choice::Start(process) => self.start(process)?,
        }
        Ok(Advance::Made)
    }

    /// Lists the possible next steps, each with its weight.
    fn list_choices(&mut self) {
        self.choices.clear();
        let now = self.clock.now();
        for (index, parked) in (0..).zip(&self.parking.state().parked) {
            let weight = match (&parked.call, parked.hint) {
                (Call::ChangedSince { .. }, Hint::Unseen | Hint::Awaited) => continue,
                (Call::ChangedSince { .. }, Hint::Late) => WEIGHT_LATE_HINT,
                (Call::ChangedSince { .. }, Hint::Lost) => WEIGHT_POLL,
                (Call::WaitUntil { time }, _) if now < *time => continue,
                _ => WEIGHT_ACTOR * self.actors[parked.actor as usize].pace,
            };
            self.choices.push((Choice::Call(index), weight));
        }
        for (index, actor) in (0..).zip(&self.actors) {
            if actor.is_woken() {
                let weight = WEIGHT_ACTOR * actor.pace;
                self.choices.push((Choice::Run(index), weight));
            }
        }
        for index in 0..self.late.len() {
            self.choices.push((Choice::Land(index), WEIGHT_LANDING));
        }
        for (index, process) in self.processes.iter().enumerate() {
            if process.life == Life::Down {
                self.choices.push((Choice::Start(index), WEIGHT_START));
            }
        }
    }

    /// Moves the clock to the earliest instant that an actor, not a service, waits for. Returns
    /// whether there is one.
    fn move_clock_to_next_wait(&mut self) -> bool {
        let is_actor = |it: &&Parked| self.actors[it.actor as usize].role == Role::Actor;
        let state = self.parking.state();
        let waiting = state.parked.iter().filter(is_actor);
        let next = waiting
            .filter_map(|parked| match parked.call {
                Call::WaitUntil { time } => Some(time),
                _ => None,
            })
            .min();
        drop(state);
        if let Some(time) = next {
            self.clock.set(time);
            self.note(None, None, None, Happening::Clock(time));
        }
        next.is_some()
    }

    /// No step is possible: either the run has ended, or an actor waits forever.
    fn rest(&self) -> Result<Advance, Reason> {
        let waiting = self.waiting_actors();
        let blocked: Vec<_> = (0..)
            .zip(&self.actors)
            .filter(|(index, actor)| {
                let may_wait = actor.is_done || actor.role == Role::Service;
                !may_wait && !waiting[*index as usize]
            })
            .map(|(_, actor)| &*actor.name)
            .collect();
        if blocked.is_empty() {
            return Ok(Advance::Rest);
        }
        Err(format!(
            "deadlock: nothing can wake {}, which wait for something other than a log",
            blocked.join(", ")
        ))
    }

    /// Returns, for each actor, whether it has a call that waits.
    fn waiting_actors(&self) -> Vec<bool> {
        let mut waiting = vec![false; self.actors.len()];
        for parked in &self.parking.state().parked {
            waiting[parked.actor as usize] = true;
        }
        waiting
    }

    /// Applies the faults that happen between two steps.
    fn shake(&mut self) {
        let kinds = &Fault::OF_THE_WORLD;
        let Some(fault) = self.faults.draw(kinds, &mut self.random) else {
            return;
        };
        match fault {
            Fault::HintDoubled => self.double_hint(),
            Fault::CrashOfAll => self.crash_all(),
            Fault::ClockForward => {
                let far = micros(CLOCK_FORWARD_MAX) >> self.random.u32(..32);
                let to = self.clock.now().saturating_add(Duration::from_micros(far));
                self.set_clock(fault, to);
            }
            _ => {
                let far = micros(CLOCK_BACK_MAX) >> self.random.u32(..24);
                let to = self.clock.now().saturating_sub(Duration::from_micros(far));
                self.set_clock(fault, to);
            }
        }
    }

    fn set_clock(&mut self, fault: Fault, now: Timestamp) {
        self.clock.set(now);
        self.count(fault);
        self.note(None, None, Some(fault), Happening::Clock(now));
    }

    fn double_hint(&mut self) {
        let mut state = self.parking.state();
        let waiting = state.parked.iter_mut();
        let mut waiting: Vec<_> = waiting.filter(|it| it.hint == Hint::Awaited).collect();
        if waiting.is_empty() {
            return;
        }
        let chosen = self.random.usize(..waiting.len());
        let parked = &mut *waiting[chosen];
        parked.hint = Hint::Reported;
        let (actor, log) = (parked.actor, parked.log);
        drop(state);
        self.count(Fault::HintDoubled);
        let fault = Some(Fault::HintDoubled);
        self.note(Some(actor), log, fault, Happening::Hint);
    }

    fn crash_all(&mut self) {
        let is_up = |index: &usize| self.processes[*index].life == Life::Up;
        let up: Vec<usize> = (0..self.processes.len()).filter(is_up).collect();
        if up.is_empty() {
            return;
        }
        self.count(Fault::CrashOfAll);
        for process in up {
            self.crash(process, Fault::CrashOfAll);
        }
    }

    /// Reads the append counts of logs that were appended to, and notifies the calls that wait for
    /// them.
    fn look_at_changed_logs(&mut self) {
        let mut changed = mem::take(&mut self.changed);
        let mut state = self.parking.state();
        for (index, log) in (0..).zip(&mut state.logs) {
            if mem::take(&mut log.is_changed) {
                changed.push((index, Arc::clone(&log.recorder)));
            }
        }
        drop(state);
        for (index, recorder) in changed.drain(..) {
            let mut context = Context::from_waker(Waker::noop());
            // A store that cannot report has nothing new; its calls will show that it is broken.
            if let Poll::Ready(Ok(head)) = recorder.head().as_mut().poll(&mut context) {
                self.parking.state().logs[index as usize].append_count = head.append_count;
            }
        }
        self.changed = changed;
        self.announce();
    }

    fn announce(&mut self) {
        let mut guard = self.parking.state();
        let state = &mut *guard;
        let mut wrong = Vec::new();
        for parked in &mut state.parked {
            let (Call::ChangedSince { append_count }, Some(log)) = (&parked.call, parked.log)
            else {
                continue;
            };
            let is_new = *append_count < state.logs[log as usize].append_count;
            parked.hint = match (parked.hint, is_new) {
                (Hint::Unseen, true) => Hint::Reported,
                (Hint::Unseen, false) => Hint::Awaited,
                (Hint::Awaited, true) => {
                    let fault = self.faults.draw(&Fault::OF_HINTS, &mut self.random);
                    wrong.extend(fault.map(|fault| (fault, parked.actor, log)));
                    match fault {
                        Some(Fault::HintLost) => Hint::Lost,
                        Some(_) => Hint::Late,
                        None => Hint::Reported,
                    }
                }
                (hint, _) => hint,
            };
        }
        drop(guard);
        for (fault, actor, log) in wrong {
            self.count(fault);
            self.note(Some(actor), Some(log), Some(fault), Happening::Hint);
        }
    }

    /// Carries out a call whose turn it is.
    fn serve(&mut self, index: usize) -> Result<(), Reason> {
        let mut parked = self.parking.state().parked.swap_remove(index);
        let kinds: &[Fault] = match parked.call {
            Call::Append { .. } => &Fault::OF_APPENDS,
            Call::WaitUntil { .. } => &Fault::OF_WAITS,
            _ => &Fault::OF_CALLS,
        };
        let fault = self.faults.draw(kinds, &mut self.random);
        let outcome = match fault {
            None | Some(Fault::UnknownRecorded | Fault::CrashAfter) => self.carry_out(&mut parked),
            _ => CallOutcome::NotCarriedOut,
        };
        let (actor, log) = (parked.actor, parked.log);
        let happening = Happening::Called(parked.call.clone(), outcome);
        self.note(Some(actor), log, fault, happening);
        if outcome == CallOutcome::Pending {
            return Err(format!(
                "the store did not complete {} at once; a simulation needs one that does, such as \
                 a memory store",
                parked.call
            ));
        }
        if let Some(fault) = fault {
            self.count(fault);
        }
        match fault {
            None => parked.deed.answer(),
            Some(fault @ (Fault::CrashBefore | Fault::CrashAfter)) => {
                let process = self.actors[actor as usize].process;
                self.crash(process, fault);
                return Ok(());
            }
            Some(Fault::Unavailable) => {
                let error = RecordError::unavailable("calling", Simulated);
                parked.deed.refuse(error);
            }
            Some(_) => {
                let error = RecordError::outcome_unknown("appending", Simulated);
                parked.deed.refuse(error);
            }
        }
        parked.waker.wake_by_ref();
        if fault == Some(Fault::UnknownLate) {
            self.late.push(parked);
        }
        // Another actor may await the call by now; its turn comes then.
        match self.actors[actor as usize].is_woken() {
            true => self.poll(actor),
            false => Ok(()),
        }
    }

    fn carry_out(&mut self, parked: &mut Parked) -> CallOutcome {
        let outcome = parked.deed.carry_out();
        if matches!(outcome, CallOutcome::Recorded(_)) {
            self.parking.mark_changed(parked.log);
            self.count_append(&parked.call, outcome);
        }
        outcome
    }

    fn land(&mut self, index: usize) -> Result<(), Reason> {
        let mut parked = self.late.swap_remove(index);
        let outcome = self.carry_out(&mut parked);
        let happening = Happening::Landed(parked.call.clone(), outcome);
        self.note(Some(parked.actor), parked.log, None, happening);
        Ok(())
    }

    fn poll(&mut self, index: ActorIndex) -> Result<(), Reason> {
        let actor = &mut self.actors[index as usize];
        actor.take_wake();
        let Some(future) = &mut actor.future else {
            return Ok(());
        };
        let mut context = Context::from_waker(&actor.waker);
        self.parking.enter(index);
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut context)));
        self.parking.leave();
        match polled {
            Ok(Poll::Pending) => Ok(()),
            Ok(Poll::Ready(())) => {
                actor.is_done = true;
                self.progress_at = self.steps;
                drop(actor.future.take());
                let process = actor.process;
                self.note(Some(index), None, None, Happening::Returned);
                self.end_if_done(process);
                Ok(())
            }
            Err(panic) => Err(format!(
                "{} panicked: {}",
                self.actors[index as usize].name,
                said_by(&*panic)
            )),
        }
    }

    fn end_if_done(&mut self, process: usize) {
        let mut actors = self.processes[process].actors.iter();
        if actors.all(|actor| self.actors[*actor as usize].is_done) {
            self.processes[process].life = Life::Over;
        }
    }

    /// Starts a process: all of its actors that are not done start again.
    fn start(&mut self, index: usize) -> Result<(), Reason> {
        self.note(None, None, None, Happening::Started(index));
        let mut new = Process::default();
        (self.processes[index].start)(&mut new);
        self.processes[index].life = Life::Up;
        let mut started: Vec<ActorIndex> = Vec::with_capacity(new.actors.len());
        for new in new.actors {
            let actor = self.actor_of(index, &new.name);
            if started.contains(&actor) {
                return Err(format!(
                    "the process {} has two actors named {}",
                    self.processes[index].name, new.name
                ));
            }
            started.push(actor);
            let actor = &mut self.actors[actor as usize];
            if !actor.is_done {
                actor.revive(new, &mut self.random);
            }
        }
        for actor in &self.processes[index].actors {
            // An actor that this start did not add again is done.
            self.actors[*actor as usize].is_done |= !started.contains(actor);
        }
        self.end_if_done(index);
        Ok(())
    }

    fn actor_of(&mut self, process: usize, name: &str) -> ActorIndex {
        let mut known = self.processes[process].actors.iter();
        if let Some(actor) = known.find(|it| &*self.actors[**it as usize].name == name) {
            return *actor;
        }
        let index = ActorIndex::try_from(self.actors.len()).expect("there are less than 2^32");
        self.actors.push(Actor::new(name.into(), process));
        self.processes[process].actors.push(index);
        index
    }

    /// Ends a process: everything in it is dropped.
    fn crash(&mut self, process: usize, fault: Fault) {
        let happening = Happening::Crashed(process);
        self.note(None, None, Some(fault), happening);
        self.processes[process].life = Life::Down;
        for index in 0..self.processes[process].actors.len() {
            let actor = self.processes[process].actors[index];
            drop(self.actors[actor as usize].future.take());
        }
        let orphans = mem::take(&mut self.parking.state().orphans);
        for orphan in orphans {
            if self.random.bool() {
                self.late.push(orphan);
            } else {
                let happening = Happening::Vanished(orphan.call.clone());
                self.note(Some(orphan.actor), orphan.log, None, happening);
            }
        }
    }

    /// Moves the appends that were dropped by their actors to the late ones.
    fn take_orphans(&mut self) {
        let orphans = &mut self.parking.state().orphans;
        self.late.append(orphans);
    }

    fn count(&mut self, fault: Fault) {
        self.fault_counts[fault.index()] += 1;
    }

    fn note(
        &mut self,
        actor: Option<ActorIndex>,
        log: Option<LogIndex>,
        fault: Option<Fault>,
        happening: Happening,
    ) {
        self.trace.push(TraceEntry {
            step: self.steps,
            actor,
            log,
            fault,
            happening,
        });
    }
}

impl Drop for Scheduler {
    /// Actors own their stores, and stores the calls of actors: neither would ever be dropped.
    fn drop(&mut self) {
        for actor in &mut self.actors {
            actor.future = None;
        }
        let (parked, orphans) = {
            let mut state = self.parking.state();
            (mem::take(&mut state.parked), mem::take(&mut state.orphans))
        };
        drop((parked, orphans));
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Returns the text of a panic, or a placeholder.
pub(crate) fn said_by(panic: &(dyn Any + Send)) -> &str {
    panic_text(panic).unwrap_or("without a message")
}
