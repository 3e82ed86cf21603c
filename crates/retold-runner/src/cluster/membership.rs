//! A membership: a node's part in one store. It keeps the node's leases there, and runs the jobs
//! whose units belong on the node.
//!
//! A round: end finished jobs, renew held leases, read the roster, give up units that belong on
//! other nodes, and take free units that belong here. Every call has a time limit, a failure is
//! reported and retried in the next round, and the workers watch the ends of their leases by
//! themselves.
//!
//! Nodes may know different units when a new version of the program is rolled out node by node, and
//! may then each place a unit on a node that does not know it. A unit that was free for a whole
//! time to live is therefore adopted by any node that knows it, until the set of living nodes
//! changes, and for a limited time at most: its own node may only have been slow.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use retold_core::domain::Timestamp;
use retold_core::recording::{Lease, RecordError, Store};
use retold_core::system::StopReport;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

use super::note;
use super::options::ClusterOptions;
use super::placement::place;
use super::roster::{NodeLife, Roster, StoreClock, in_time};
use super::unit::{LeaseNames, Unit};
use super::worker::Worker;
use crate::back_off::BackOff;
use crate::job::Job;
use crate::limits::{
    ADOPTION_TIMES_TO_LIVE, HELD_TIMES_TO_LIVE, LEASE_CALLS_MAX, NODES_MAX, NOTE_INTERVAL,
};
use crate::log_news::News;
use crate::options::Range;
use crate::panics::caught;
use crate::telemetry::{LOOK_FAILURES, UNITS_GIVEN_UP, UNITS_TAKEN, count};

/// Why a node has no slot.
#[derive(Debug)]
pub(crate) enum NoSlot {
    /// A living node has its name.
    Namesake(Lease),
    /// There are [`NODES_MAX`] nodes.
    Full,
    Failed(RecordError),
}

impl From<RecordError> for NoSlot {
    fn from(error: RecordError) -> Self {
        Self::Failed(error)
    }
}

/// The part of a membership that the rest of the process sees.
#[derive(Debug, Default)]
pub(crate) struct MembershipCell(Mutex<MembershipView>);

#[derive(Clone, Debug, Default)]
pub(crate) struct MembershipView {
    pub(crate) clock: Option<StoreClock>,
    /// The leases as of this node's last look.
    pub(crate) roster: Arc<Roster>,
    /// Why the last round failed, if it did.
    pub(crate) failure: Option<String>,
    /// When the last round ended, or the node joined.
    pub(crate) looked_at: Option<Instant>,
}

impl MembershipCell {
    pub(crate) fn read(&self) -> MembershipView {
        let view = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        view.clone()
    }

    fn write(&self, change: impl FnOnce(&mut MembershipView)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The part of a node's surroundings that all its memberships share.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) life: NodeLife,
    pub(crate) names: LeaseNames,
    pub(crate) options: ClusterOptions,
    pub(crate) news: Vec<News>,
    pub(crate) leaving: watch::Receiver<bool>,
}

/// A node in one store.
pub(crate) struct Membership {
    store: Arc<dyn Store>,
    around: Surroundings,
    cell: Arc<MembershipCell>,
    slot: Option<NodeSlot>,
    places: Vec<UnitState>,
    /// Notified when a job is over.
    ended: Arc<Notify>,
    back_off: BackOff,
}

/// The lease that shows that a node is alive.
#[derive(Clone, Copy, Debug)]
struct NodeSlot {
    index: usize,
    renewed_at: Instant,
}

/// A unit, and its state on this node.
struct UnitState {
    lease: Arc<str>,
    job: Job,
    worker: Option<Worker>,
    /// Since when no holder of its lease has been seen.
    free_since: Option<Instant>,
    adopted: Option<Adoption>,
    /// The unit has held here before an event that this program does not know: other nodes should
    /// take it.
    has_held: bool,
    noted: Option<Noted>,
    shown: Option<ShownFinding>,
}

/// The failure of a unit that was noted last.
#[derive(Clone, Copy, Debug)]
struct Noted {
    /// When it happened.
    failed_at: Timestamp,
    at: Instant,
}

/// The finding that is shown for a unit with a problem.
#[derive(Debug)]
struct ShownFinding {
    /// The name of the lease that is held while it is shown.
    lease: String,
    text: String,
    renewed_at: Instant,
}

/// A unit that belongs on another node but runs here, because that node has not taken it.
struct Adoption {
    /// The nodes that were alive then.
    among: BTreeSet<Arc<str>>,
    since: Instant,
}

impl Membership {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        around: Surroundings,
        jobs: Vec<(Unit, Job)>,
        cell: Arc<MembershipCell>,
    ) -> Self {
        let places = jobs.into_iter().map(|(unit, job)| UnitState {
            lease: around.names.unit(&unit),
            job,
            worker: None,
            free_since: None,
            adopted: None,
            has_held: false,
            noted: None,
            shown: None,
        });
        Self {
            places: places.collect(),
            back_off: BackOff::new(Range {
                min: around.options.rest(),
                max: around.options.renew_interval(),
            }),
            store,
            around,
            cell,
            slot: None,
            ended: Arc::default(),
        }
    }

    /// Takes a slot for the node.
    pub(crate) async fn enlist(&mut self) -> Result<(), NoSlot> {
        for index in 0..NODES_MAX {
            let asked_at = Instant::now();
            let lease = self.acquire(&self.around.names.slot(index)).await?;
            if lease.holder != self.around.life.holder {
                continue;
            }
            self.slot = Some(NodeSlot {
                index,
                renewed_at: asked_at,
            });
            let clock = self.set_clock(&lease);
            let namesake = match self.read_roster(clock).await {
                Ok(roster) => roster
                    .namesake(&self.around.life)
                    .cloned()
                    .map(NoSlot::Namesake),
                Err(error) => Some(error.into()),
            };
            let Some(no_slot) = namesake else {
                return Ok(());
            };
            self.give_up_slot().await;
            return Err(no_slot);
        }
        Err(NoSlot::Full)
    }

    /// Runs until the node leaves. Returns a report of the work that could not be recorded.
    pub(crate) async fn run(mut self) -> StopReport {
        let mut leaving = self.around.leaving.clone();
        while !*leaving.borrow() {
            // A panic, perhaps of a driver, is a failure like any other: only the owner ends the
            // node.
            let looked = caught(self.round()).await.and_then(|looked| looked);
            let wait = match looked {
                Ok(()) => {
                    self.back_off.reset();
                    self.cell.write(|view| view.failure = None);
                    self.around.options.rest()
                }
                Err(failure) => {
                    tracing::warn!(
                        node = &*self.around.life.name,
                        failure,
                        "a look at leases failed"
                    );
                    count(LOOK_FAILURES, 1);
                    self.cell.write(|view| view.failure = Some(failure));
                    self.back_off.next()
                }
            };
            self.cell
                .write(|view| view.looked_at = Some(Instant::now()));
            tokio::select! {
                _ = leaving.changed() => {}
                () = self.ended.notified() => {}
                () = sleep(wait) => {}
            }
        }
        self.leave().await
    }

    async fn round(&mut self) -> Result<(), String> {
        self.end_what_is_over().await;
        let renewed = self.renew().await;
        if self.slot.is_none() {
            // Other nodes place units without this node, or with another node of its name.
            if let Err(no_slot) = self.enlist().await {
                self.drain_all();
                return Err(no_slot.to_string());
            }
        }
        let clock = self.cell.read().clock;
        let clock = clock.ok_or("the store's clock is not known yet")?;
        let roster = self.read_roster(clock).await;
        let roster = roster.map_err(|error| error.to_string())?;
        let roster = Arc::new(roster);
        self.cell.write(|view| view.roster = Arc::clone(&roster));
        let taken = self.follow(&roster).await;
        self.note_failures().await;
        self.show_findings().await;
        renewed.and(taken).map_err(|error| error.to_string())
    }

    /// Releases the leases of jobs that are over. Returns the jobs that could not record processed
    /// events, with the reasons.
    async fn end_what_is_over(&mut self) -> Vec<(String, String)> {
        let mut unrecorded = Vec::new();
        let mut over = Vec::new();
        for place in &mut self.places {
            let Some(mut worker) = place.worker.take_if(|worker| worker.is_over()) else {
                continue;
            };
            over.push(Arc::clone(&place.lease));
            if let Some(reason) = worker.report().await {
                let unit = place.job.title();
                tracing::warn!(unit, reason, "a unit was given up with work unrecorded");
                unrecorded.push((unit, reason));
            }
        }
        count(UNITS_GIVEN_UP, over.len());
        let calls: Vec<_> = over.iter().map(|lease| self.release(lease)).collect();
        let calls = stream::iter(calls).buffer_unordered(LEASE_CALLS_MAX);
        calls.collect::<()>().await;
        unrecorded
    }

    /// Releases a lease; if that fails, the lease ends by itself.
    async fn release(&self, lease: &str) {
        self.release_as(lease, &self.around.life.holder).await;
    }

    async fn release_as(&self, lease: &str, holder: &str) {
        let release = self.store.release_lease(lease, holder);
        let call_max = self.around.options.renew_interval();
        if let Err(error) = in_time("releasing a lease", call_max, release).await {
            tracing::warn!(lease, %error, "a lease was not released");
        }
    }

    /// Renews the leases that are due. A failure of one does not keep the others from being tried.
    async fn renew(&mut self) -> Result<(), RecordError> {
        let interval = self.around.options.renew_interval();
        let mut result = Ok(());
        if let Some(slot) = self.slot.filter(|it| it.renewed_at.elapsed() >= interval) {
            result = self.renew_slot(slot).await;
        }
        let due = self.places.iter().enumerate().filter(|(_, place)| {
            let worker = place.worker.as_ref();
            worker.is_some_and(|it| it.is_due(interval))
        });
        let due: Vec<usize> = due.map(|(index, _)| index).collect();
        for (index, asked_at, answer) in self.acquire_all(&due).await {
            let Some(worker) = &mut self.places[index].worker else {
                continue;
            };
            match answer {
                Ok(lease) if lease.holder == self.around.life.holder => {
                    worker.renewed(asked_at, self.around.options.time_to_live);
                }
                Ok(_) => worker.lost(),
                Err(error) => result = Err(error),
            }
        }
        result
    }

    async fn renew_slot(&mut self, slot: NodeSlot) -> Result<(), RecordError> {
        if slot.renewed_at.elapsed() >= self.around.options.time_to_live {
            // The other nodes considered this node dead; a node of its name may have joined. It
            // joins again.
            self.give_up_slot().await;
            return Ok(());
        }
        let asked_at = Instant::now();
        let lease = self.acquire(&self.around.names.slot(slot.index)).await?;
        self.slot = match lease.holder == self.around.life.holder {
            true => {
                self.set_clock(&lease);
                Some(NodeSlot {
                    renewed_at: asked_at,
                    ..slot
                })
            }
            // The node was alive by its own clock, but dead by the store's.
            false => None,
        };
        Ok(())
    }

    fn set_clock(&self, lease: &Lease) -> StoreClock {
        let time_to_live = self.around.options.time_to_live;
        let clock = StoreClock::of_renewal(lease, time_to_live, Instant::now());
        self.cell.write(|view| view.clock = Some(clock));
        clock
    }

    /// Gives up units that belong on other nodes, and takes free units that belong here.
    async fn follow(&mut self, roster: &Roster) -> Result<(), RecordError> {
        let mut living = roster.living();
        living.insert(Arc::clone(&self.around.life.name));
        let leases: Vec<_> = self.places.iter().map(|it| Arc::clone(&it.lease)).collect();
        let placed = place(&leases, &living);
        let grace = self.around.options.time_to_live;
        let mut wanted = Vec::new();
        for (index, place) in self.places.iter_mut().enumerate() {
            let held = roster.held(&place.lease);
            let is_free = held.is_none_or(|lease| lease.holder == self.around.life.holder);
            place.look_for_hold(&self.around.life.name);
            // A node that holds before an event gives the unit to one that may know the event.
            let is_left_to_others = place.has_held && living.len() > 1;
            let belongs_here = *placed[index] == self.around.life.name && !is_left_to_others;
            place.consider_adoption(is_free, belongs_here, &living, grace);
            match &mut place.worker {
                Some(worker) if !belongs_here && place.adopted.is_none() => {
                    worker.drain();
                    if worker.is_late(self.around.options.work.stop_wait_max) {
                        worker.lost();
                    }
                }
                None if is_free && (belongs_here || place.adopted.is_some()) => {
                    wanted.push(index);
                }
                _ => {}
            }
        }
        self.take(&wanted).await
    }

    async fn take(&mut self, wanted: &[usize]) -> Result<(), RecordError> {
        let mut result = Ok(());
        for (index, asked_at, answer) in self.acquire_all(wanted).await {
            let place = &mut self.places[index];
            match answer {
                Ok(lease) if lease.holder == self.around.life.holder => {
                    let (unit, term) = (place.job.title(), lease.term);
                    tracing::info!(
                        node = &*self.around.life.name,
                        unit,
                        term,
                        "a unit was taken"
                    );
                    count(UNITS_TAKEN, 1);
                    place.free_since = None;
                    place.worker = Some(Worker::start(
                        place.job.clone(),
                        self.around.news.clone(),
                        self.around.options.work.clone(),
                        asked_at,
                        self.around.options.time_to_live,
                        Arc::clone(&self.ended),
                    ));
                }
                Ok(_) => {}
                Err(error) => result = Err(error),
            }
        }
        result
    }

    /// Requests the leases of these places, several at a time; returns when each was requested.
    async fn acquire_all(
        &self,
        places: &[usize],
    ) -> Vec<(usize, Instant, Result<Lease, RecordError>)> {
        let calls = places.iter().map(|index| async move {
            let asked_at = Instant::now();
            (
                *index,
                asked_at,
                self.acquire(&self.places[*index].lease).await,
            )
        });
        let calls: Vec<_> = calls.collect();
        stream::iter(calls)
            .buffer_unordered(LEASE_CALLS_MAX)
            .collect()
            .await
    }

    async fn acquire(&self, lease: &str) -> Result<Lease, RecordError> {
        let options = &self.around.options;
        let holder = &self.around.life.holder;
        let call = self
            .store
            .acquire_lease(lease, holder, options.time_to_live);
        in_time("taking a lease", options.renew_interval(), call).await
    }

    /// Notes new failures of the units on this node for all processes. A failure to do so is not an
    /// error: a store that does not accept notes does not accept the units' appends either.
    async fn note_failures(&mut self) {
        let mut notes = Vec::new();
        for (index, place) in self.places.iter().enumerate() {
            let is_soon = place
                .noted
                .is_some_and(|it| it.at.elapsed() < NOTE_INTERVAL);
            let failed = place.worker.as_ref().and_then(|_| place.job.last_error());
            let Some((failed_at, failure)) = failed.filter(|_| !is_soon) else {
                continue;
            };
            if place.noted.is_none_or(|it| it.failed_at < failed_at)
                && let Some(name) = self.around.names.note(&place.lease)
            {
                let text = note::text(&self.around.life.name, &failure);
                notes.push((index, failed_at, name, text));
            }
        }
        let call_max = self.around.options.renew_interval();
        for (index, failed_at, name, text) in notes {
            let note = self.store.acquire_lease(&name, &text, Duration::ZERO);
            if let Err(error) = in_time("noting a failure", call_max, note).await {
                tracing::warn!(note = text, %error, "a failure was not noted");
                return;
            }
            let at = Instant::now();
            self.places[index].noted = Some(Noted { failed_at, at });
        }
    }

    /// Shows all processes the problems of the units on this node while they last. As for notes, a
    /// failure to do so is not an error.
    async fn show_findings(&mut self) {
        let call_max = self.around.options.renew_interval();
        for index in 0..self.places.len() {
            let place = &self.places[index];
            let found = place.worker.as_ref().and_then(|_| place.job.finding());
            let text = found.map(|it| note::text_of_finding(&self.around.life.name, &it));
            let shown = place.shown.as_ref();
            let age = shown.map(|it| it.renewed_at.elapsed());
            let is_same = shown.map(|it| &it.text) == text.as_ref();
            let interval = if is_same {
                call_max
            } else {
                NOTE_INTERVAL.min(call_max)
            };
            // This node no longer shows findings of units that are on other nodes.
            let is_early = place.worker.is_some() && age.is_some_and(|age| age < interval);
            if is_early || (is_same && text.is_none()) {
                continue;
            }
            if !is_same && let Some(shown) = self.places[index].shown.take() {
                self.release_as(&shown.lease, &shown.text).await;
            }
            let Some((text, lease)) =
                text.zip(self.around.names.finding(&self.places[index].lease))
            else {
                continue;
            };
            let asked_at = Instant::now();
            let time_to_live = self.around.options.time_to_live;
            let show = self.store.acquire_lease(&lease, &text, time_to_live);
            match in_time("showing a finding", call_max, show).await {
                // The former holder's finding is still shown; it ends by itself.
                Ok(held) if *held.holder != *text => {}
                Ok(_) => {
                    self.places[index].shown = Some(ShownFinding {
                        lease,
                        text,
                        renewed_at: asked_at,
                    });
                }
                Err(error) => {
                    tracing::warn!(finding = text, %error, "a finding was not shown");
                    return;
                }
            }
        }
    }

    async fn read_roster(&self, clock: StoreClock) -> Result<Roster, RecordError> {
        let call_max = self.around.options.renew_interval();
        Roster::read(&*self.store, &self.around.names, clock, call_max).await
    }

    async fn give_up_slot(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.release(&self.around.names.slot(slot.index)).await;
        }
    }

    fn drain_all(&mut self) {
        let workers = self.places.iter_mut().filter_map(|it| it.worker.as_mut());
        workers.for_each(Worker::drain);
    }

    /// Hands the units over: first the slot, so that the others place units without this node, then
    /// each unit as soon as it has drained. Units that do not drain in time are dropped.
    pub(crate) async fn leave(mut self) -> StopReport {
        self.give_up_slot().await;
        self.drain_all();
        let options = self.around.options.clone();
        let drain_max = options.work.stop_wait_max;
        let mut late: BTreeSet<String> = BTreeSet::new();
        let mut report = StopReport::default();
        let left_at = Instant::now();
        loop {
            report.unrecorded.extend(self.end_what_is_over().await);
            let working = self.places.iter().filter(|it| it.worker.is_some());
            // A job that blocks its thread cannot be dropped; its lease ends nevertheless.
            let is_too_late = left_at.elapsed() >= drain_max.saturating_add(options.time_to_live);
            if working.count() == 0 || is_too_late {
                break;
            }
            if let Err(error) = self.renew().await {
                tracing::warn!(%error, "a lease was not renewed while its unit drains");
            }
            for place in &mut self.places {
                if let Some(worker) = place.worker.as_mut().filter(|it| it.is_late(drain_max)) {
                    worker.lost();
                    late.insert(place.job.title());
                }
            }
            tokio::select! {
                () = self.ended.notified() => {}
                () = sleep(options.rest()) => {}
            }
        }
        for index in 0..self.places.len() {
            if let Some(shown) = self.places[index].shown.take() {
                self.release_as(&shown.lease, &shown.text).await;
            }
        }
        report.unrecorded.retain(|(unit, _)| !late.contains(unit));
        report.unfinished = late.into_iter().collect();
        report
    }
}

impl UnitState {
    fn look_for_hold(&mut self, node: &str) {
        if self.worker.is_some() && self.job.is_holding() && !self.has_held {
            self.has_held = true;
            // If adopted, it would stay here for a long time while nodes that know the event wait.
            self.adopted = None;
            let unit = self.job.title();
            let reason = self.job.last_error().map(|(_, reason)| reason);
            tracing::warn!(
                node,
                unit,
                reason,
                "a unit holds before an event that this node does not know; other nodes may take it"
            );
        }
    }

    fn consider_adoption(
        &mut self,
        is_free: bool,
        belongs_here: bool,
        living: &BTreeSet<Arc<str>>,
        time_to_live: Duration,
    ) {
        let is_idle = self.worker.is_none();
        self.free_since = match is_free && is_idle {
            true => Some(self.free_since.unwrap_or_else(Instant::now)),
            false => None,
        };
        let life_max = time_to_live * ADOPTION_TIMES_TO_LIVE;
        let is_over = |it: &mut Adoption| it.among != *living || it.since.elapsed() >= life_max;
        let is_elsewhere = is_idle && !is_free;
        if belongs_here || is_elsewhere || self.adopted.as_mut().is_some_and(is_over) {
            self.adopted = None;
        }
        // A node that may know the event has priority.
        let patience = match self.has_held {
            true => time_to_live * HELD_TIMES_TO_LIVE,
            false => time_to_live,
        };
        let is_orphan = self
            .free_since
            .is_some_and(|since| since.elapsed() >= patience);
        if is_orphan && !belongs_here {
            self.adopted.get_or_insert_with(|| Adoption {
                among: living.clone(),
                since: Instant::now(),
            });
        }
    }
}

impl std::fmt::Display for NoSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Namesake(lease) => {
                write!(
                    f,
                    "another living node has this node's name: {}",
                    lease.holder
                )
            }
            Self::Full => write!(f, "there are {NODES_MAX} nodes, which is the maximum"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}
