//! The replay: sends everything that happened to all flights to an application, as commands.
//!
//! Every step is a command on one flight. It is decided by the rules of the flight and recorded
//! durably before the next step of the same aircraft is sent. Callers work concurrently, like the
//! clients of a service; each processes the itinerary of one aircraft at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use retold::application::{CommandId, ExecuteError, Fold, Recorded, View};
use retold::prelude::*;
use tokio::task::JoinSet;

use crate::aircraft::{InAir, depart, depart_on, depart_once, in_air};
use crate::flight::{Flight, Refusal, Scheduled, flight_id};
use crate::itinerary::{Itinerary, Step, itineraries, steps};
use crate::record::FlightRecord;

/// Maximum number of refused departures that are kept in full. Further ones are only counted.
pub const DOUBTS_KEPT_MAX: usize = 10;

/// Number of departures of an aircraft after which its caller refreshes its view of the aircraft's
/// flights. The decisions in between read only newer events, so none reads the history of a year.
const DEPARTURES_PER_REFRESH: u32 = 16;

/// The progress of a replay, visible to other tasks, and a way to stop it.
#[derive(Debug, Default)]
pub struct Progress {
    commands: AtomicU64,
    events: AtomicU64,
    is_stopped: AtomicBool,
}

impl Progress {
    /// Returns the number of completed commands.
    pub fn commands(&self) -> u64 {
        self.commands.load(Ordering::Relaxed)
    }

    /// Returns the number of recorded events.
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// Stops the replay: commands already sent are completed, and no more are sent.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }
}

/// A departure that was refused because its aircraft was in the air, and was then recorded without
/// an aircraft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// The flight whose aircraft is in doubt.
    pub flight: String,
    /// The refusal.
    pub refusal: Refusal,
}

/// The result of a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Number of commands sent.
    pub commands: u64,
    /// Number of events recorded by them.
    pub events: u64,
    /// Number of departures recorded without the aircraft in the input, because it was in the air.
    pub aircraft_in_air: u64,
    /// The first of them, sorted by flight.
    pub doubts: Vec<Doubt>,
    /// Number of other refusals, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Whether the replay was stopped before its end.
    pub is_stopped: bool,
}

/// Returns the number of commands that a replay of these flights sends if none is refused.
pub fn command_count(flights: &[FlightRecord]) -> u64 {
    use crate::record::Outcome::{Arrived, Cancelled, Diverted};
    let commands = flights.iter().map(|flight| match flight.outcome {
        Cancelled => 2,
        Arrived { .. } | Diverted { .. } => 3,
    });
    commands.sum()
}

/// Replays flights with `callers` concurrent callers into the application of flights: a single
/// application, or the one of a [`system`](crate::system) on any runner.
///
/// # Errors
///
/// The first error that is not a refusal. Events recorded before it remain, and another replay into
/// the same log resumes where this one ended.
pub async fn replay(
    app: &Application,
    flights: Arc<[FlightRecord]>,
    callers: usize,
    progress: Arc<Progress>,
) -> retold::Result<Outcome> {
    let itineraries = itineraries(&flights).into();
    replay_itineraries(app, flights, itineraries, callers, progress).await
}

/// As [`replay`], with itineraries processed in the given order.
///
/// # Errors
///
/// As for [`replay`].
pub async fn replay_itineraries(
    app: &Application,
    flights: Arc<[FlightRecord]>,
    itineraries: Arc<[Itinerary]>,
    callers: usize,
    progress: Arc<Progress>,
) -> retold::Result<Outcome> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..callers.clamp(1, itineraries.len().max(1)) {
        let caller = Caller::new(app, &progress, Naming::None);
        let work = caller.work(
            Arc::clone(&flights),
            Arc::clone(&itineraries),
            Arc::clone(&next),
        );
        tasks.spawn(work);
    }
    let mut outcome = Outcome::default();
    let mut failed = None;
    while let Some(done) = tasks.join_next().await {
        match done.expect("a caller neither panics nor is aborted") {
            Ok(done) => outcome.add(done),
            // The other callers finish their current step.
            Err(error) => {
                progress.stop();
                failed.get_or_insert(error);
            }
        }
    }
    if let Some(error) = failed {
        return Err(error);
    }
    outcome
        .doubts
        .sort_by(|one, other| one.flight.cmp(&other.flight));
    outcome.doubts.truncate(DOUBTS_KEPT_MAX);
    outcome.is_stopped = progress.is_stopped();
    Ok(outcome)
}

/// Sends one itinerary, each command under its own id. If the itinerary is sent again, after an
/// error or by another process, it resumes where it ended, and nothing is recorded twice.
///
/// # Errors
///
/// As for [`replay`].
pub async fn replay_itinerary(
    app: &Application,
    flights: &[FlightRecord],
    itinerary: &Itinerary,
    progress: &Arc<Progress>,
) -> retold::Result<Outcome> {
    let mut caller = Caller::new(app, progress, Naming::ByStep);
    for (flight, step) in steps(itinerary, flights) {
        if progress.is_stopped() {
            break;
        }
        caller.take(flight, step).await?;
    }
    caller.outcome.is_stopped = progress.is_stopped();
    Ok(caller.outcome)
}

impl Outcome {
    fn add(&mut self, other: Self) {
        self.commands += other.commands;
        self.events += other.events;
        self.aircraft_in_air += other.aircraft_in_air;
        self.doubts.extend(other.doubts);
        for (reason, count) in other.refused {
            *self.refused.entry(reason).or_default() += count;
        }
    }
}

/// Whether commands have ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Naming {
    /// Each command is sent once and has no id.
    None,
    /// The id consists of flight and step.
    ByStep,
}

/// One of the concurrent callers.
struct Caller {
    app: Application,
    naming: Naming,
    progress: Arc<Progress>,
    outcome: Outcome,
    /// The view of the current aircraft's flights at the last refresh; `None` while it has flown
    /// little.
    in_air: Option<View<Fold<InAir>>>,
    /// Number of departures since the refresh.
    departures: u32,
}

impl Caller {
    fn new(app: &Application, progress: &Arc<Progress>, naming: Naming) -> Self {
        Self {
            app: app.clone(),
            naming,
            progress: Arc::clone(progress),
            outcome: Outcome::default(),
            in_air: None,
            departures: 0,
        }
    }

    /// Processes itineraries until none is left.
    async fn work(
        mut self,
        flights: Arc<[FlightRecord]>,
        itineraries: Arc<[Itinerary]>,
        next: Arc<AtomicUsize>,
    ) -> retold::Result<Outcome> {
        while let Some(itinerary) = itineraries.get(next.fetch_add(1, Ordering::Relaxed)) {
            self.in_air = None;
            self.departures = 0;
            for (flight, step) in steps(itinerary, &flights) {
                if self.progress.is_stopped() {
                    return Ok(self.outcome);
                }
                self.take(flight, step).await?;
            }
        }
        Ok(self.outcome)
    }

    async fn take(&mut self, flight: &FlightRecord, step: Step) -> retold::Result<()> {
        if let (Step::Depart(_), Some(aircraft)) = (step, &flight.aircraft) {
            self.look_at(aircraft).await?;
        }
        let id = id_of(flight);
        let answer = match (self.naming, step, &flight.aircraft, &self.in_air) {
            (Naming::None, Step::Depart(at), Some(aircraft), Some(view)) => {
                depart_on(&self.app, &id, view, aircraft, at).await
            }
            (Naming::ByStep, Step::Depart(at), Some(aircraft), Some(view)) => {
                let command = command_id(&id, step.name());
                depart_once(&self.app, &id, view, aircraft, at, command).await
            }
            (Naming::None, ..) => send(&self.app, flight, step).await,
            (Naming::ByStep, ..) => send_once(&self.app, flight, step).await,
        };
        let is_in_doubt = self.count(&id, answer)?;
        if let (true, Step::Depart(at)) = (is_in_doubt, step) {
            // The flight did depart, so the tail number of this flight, or of the other one, must
            // be wrong.
            let mut departing = self.app.execute(&id, |flight| flight.depart(at, None));
            if self.naming == Naming::ByStep {
                departing = departing.command_id(command_id(&id, "depart-in-doubt"));
            }
            let answer = departing.await;
            self.count(&id, answer)?;
        }
        Ok(())
    }

    /// Refreshes the view of the aircraft if it is old enough.
    async fn look_at(&mut self, aircraft: &str) -> retold::Result<()> {
        if self.departures == DEPARTURES_PER_REFRESH {
            self.departures = 0;
            match &mut self.in_air {
                Some(view) => view.refresh(&self.app).await?,
                none => *none = Some(self.app.view(in_air(aircraft)).await?),
            }
        }
        self.departures += 1;
        Ok(())
    }

    /// Counts a result. Returns whether it was refused because the aircraft is in the air.
    fn count(
        &mut self,
        id: &Id<Flight>,
        answer: Result<Recorded, ExecuteError<Refusal>>,
    ) -> retold::Result<bool> {
        self.outcome.commands += 1;
        self.progress.commands.fetch_add(1, Ordering::Relaxed);
        match answer {
            Ok(recorded) => {
                let events = recorded.positions.count();
                self.outcome.events += events;
                self.progress.events.fetch_add(events, Ordering::Relaxed);
            }
            Err(ExecuteError::Refused(refusal @ Refusal::AircraftInAir { .. })) => {
                self.outcome.aircraft_in_air += 1;
                self.outcome.doubts.push(Doubt {
                    flight: id.to_string(),
                    refusal,
                });
                return Ok(true);
            }
            Err(ExecuteError::Refused(refusal)) => {
                *self.outcome.refused.entry(refusal.name()).or_default() += 1;
            }
            // If the announcement of a flight was refused, nothing is recorded about the flight.
            Err(ExecuteError::Retold(retold::Error::NotFound { .. })) => {
                let refusal = Refusal::NotScheduled;
                *self.outcome.refused.entry(refusal.name()).or_default() += 1;
            }
            Err(ExecuteError::Retold(error)) => return Err(error),
        }
        Ok(false)
    }
}

/// Sends one step of a flight as a command.
///
/// # Errors
///
/// Refusals of the flight or its aircraft, and the errors of [`Application::execute`].
pub async fn send(
    app: &Application,
    flight: &FlightRecord,
    step: Step,
) -> Result<Recorded, ExecuteError<Refusal>> {
    let id = &id_of(flight);
    match step {
        Step::Schedule => {
            let plan = plan(flight);
            app.execute_or_create(id, |flight| flight.schedule(plan.clone()))
                .await
        }
        Step::Depart(at) => match &flight.aircraft {
            Some(aircraft) => depart(app, id, aircraft, at).await,
            None => app.execute(id, |flight| flight.depart(at, None)).await,
        },
        Step::Arrive(at) => app.execute(id, |flight| flight.arrive(at)).await,
        Step::Divert(at) => app.execute(id, |flight| flight.divert(at)).await,
        Step::Cancel => app.execute(id, Flight::cancel).await,
    }
}

/// Sends one step of a flight as a command, under an id that depends only on the flight and the
/// step.
///
/// # Errors
///
/// As for [`send`].
pub async fn send_once(
    app: &Application,
    flight: &FlightRecord,
    step: Step,
) -> Result<Recorded, ExecuteError<Refusal>> {
    let id = &id_of(flight);
    let command = command_id(id, step.name());
    match step {
        Step::Schedule => {
            let plan = plan(flight);
            app.execute_or_create(id, |flight| flight.schedule(plan.clone()))
                .command_id(command)
                .await
        }
        Step::Depart(at) => match &flight.aircraft {
            Some(aircraft) => depart_once(app, id, in_air(aircraft), aircraft, at, command).await,
            None => {
                app.execute(id, |flight| flight.depart(at, None))
                    .command_id(command)
                    .await
            }
        },
        Step::Arrive(at) => {
            app.execute(id, |flight| flight.arrive(at))
                .command_id(command)
                .await
        }
        Step::Divert(at) => {
            app.execute(id, |flight| flight.divert(at))
                .command_id(command)
                .await
        }
        Step::Cancel => app.execute(id, Flight::cancel).command_id(command).await,
    }
}

/// Returns the command id of a step of a flight.
fn command_id(flight: &Id<Flight>, what: &str) -> CommandId {
    format!("{flight}/{what}").into()
}

/// Returns the id of a flight.
pub fn id_of(flight: &FlightRecord) -> Id<Flight> {
    flight_id(&flight.carrier, flight.number, flight.day, &flight.origin)
}

fn plan(flight: &FlightRecord) -> Scheduled {
    Scheduled {
        carrier: flight.carrier.to_string(),
        number: flight.number,
        origin: flight.origin.to_string(),
        destination: flight.destination.to_string(),
        aircraft: flight.aircraft.as_deref().map(str::to_owned),
        departs_at: flight.departs_at,
        arrives_at: flight.arrives_at,
    }
}
