//! The declaration of a follower: whose logs it follows, and what their events cause.

use std::sync::Arc;
use std::time::Duration;

use super::limits::{BATCH_MAX, FOLLOWER_NAME_SIZE_MAX, POLICY_TIME_MAX};
use super::partition::{self, PartitionRule};
use super::policy::{Handle, Policies};
use crate::application::is_unknown;
use crate::domain::Event;
use crate::mapping::TopicRegistry;
use crate::recording::limits::{QUERY_NAMES_MAX, check_name};
use crate::recording::{Invalid, Query, QueryItem, StoredEvent};

/// What follows the logs of applications for an application: policies under a name.
///
/// ```
/// use retold::prelude::*;
/// use retold::system::{Context, Follower};
///
/// #[derive(Event, Serialize, Deserialize)]
/// struct Ordered { item: String }
///
/// #[derive(Event, Serialize, Deserialize)]
/// struct Reserved { item: String }
///
/// #[derive(Aggregate, Clone, Default)]
/// #[aggregate(event = Reserved, key = String)]
/// struct Stock { reserved: u32 }
///
/// impl Apply<Reserved> for Stock {
///     fn apply(&mut self, _: &Reserved) {
///         self.reserved += 1;
///     }
/// }
///
/// async fn reserve(ordered: &Ordered, context: &mut Context) -> retold::Result<()> {
///     let item = ordered.item.clone();
///     context.execute_or_create(item.as_str(), |_: &Stock| Reserved { item: item.clone() }).await?;
///     Ok(())
/// }
///
/// let reservations = Follower::new("reservations").follows("orders").on(reserve);
/// ```
#[derive(Clone, Debug)]
pub struct Follower {
    name: Arc<str>,
    upstreams: Vec<Arc<str>>,
    policies: Policies,
    tags: Vec<Arc<str>>,
    edition: u32,
    start: Start,
    batch: usize,
    on_failure: OnFailure,
    partitions: u32,
    rule: PartitionRule,
    policy_time_max: Duration,
    skips_unknown_events: bool,
}

/// Where a follower begins when it meets a log for the first time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// With the log's first event.
    #[default]
    FirstEvent,
    /// With what is recorded after the follower has started.
    Now,
}

/// What becomes of an event whose policy fails.
///
/// That the store is unavailable is no failure of a policy: then the follower tries again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnFailure {
    /// The follower stops and is recorded as paused, with the reason. Once the reason is mended, an
    /// operator lets it continue, with the same event.
    #[default]
    Stop,
    /// The event is parked, with the reason, and so is every later one of its stream; the follower
    /// goes on with the others. Once the reason is mended, an operator resumes what is parked, or
    /// skips it.
    Park,
}

impl Follower {
    /// A follower of this name, which is unique in its application and stands in what it records. It
    /// has 1 to [`FOLLOWER_NAME_SIZE_MAX`] bytes, without `@` and `/`.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            upstreams: Vec::new(),
            policies: Policies::default(),
            tags: Vec::new(),
            edition: 1,
            start: Start::default(),
            batch: 1,
            on_failure: OnFailure::default(),
            partitions: 1,
            rule: PartitionRule::default(),
            policy_time_max: POLICY_TIME_MAX,
            skips_unknown_events: false,
        }
    }

    /// Follows the log of the application of this name, in addition to others; its own application's,
    /// if it is that name.
    #[must_use]
    pub fn follows(mut self, application: impl Into<Arc<str>>) -> Self {
        self.upstreams.push(application.into());
        self
    }

    /// Answers events of type `E` with this policy. Of several policies for one event each is asked,
    /// in the order in which they were given, and what they decide is recorded together.
    ///
    /// Events of other types are not even read.
    #[must_use]
    pub fn on<E, F>(mut self, policy: F) -> Self
    where
        E: Event,
        F: for<'a> Handle<'a, E> + 'static,
    {
        self.policies.add::<E, F>(policy);
        self
    }

    /// Answers only events that have this tag, and all others that are given.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<Arc<str>>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// The number of the follower's behaviour, from 1: raise it when policies change, so that a
    /// retelling does not hold what older ones recorded against the new ones.
    #[must_use]
    pub fn edition(mut self, edition: u32) -> Self {
        self.edition = edition;
        self
    }

    /// Where it begins when it meets a log for the first time; with the first event, unless said
    /// otherwise.
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Lets one append cover up to this many upstream events, each with all its effects; 1 unless
    /// said otherwise, at most [`BATCH_MAX`]. What is recorded is the same; it is faster, and one
    /// conflict makes more be decided again.
    #[must_use]
    pub fn batch(mut self, upstream_events: usize) -> Self {
        self.batch = upstream_events.clamp(1, BATCH_MAX);
        self
    }

    /// What becomes of an event whose policy fails; the follower stops, unless said otherwise.
    #[must_use]
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// How long its policies may take to answer one event, [`POLICY_TIME_MAX`] unless said otherwise. One
    /// that has not returned then fails as [`on_failure`](Self::on_failure) says. The runners of tokio hold
    /// it to that; [`SingleThread`](crate::system::SingleThread), a simulation and a retelling have no time, and wait
    /// for it.
    ///
    /// Only a policy that waits can be ended. One that keeps its thread, because it sleeps or loops, is told
    /// in the status ([`Running::blocks_for`](crate::health::Running::blocks_for)); how long a store
    /// takes to answer is no failure of a policy, and is tried again.
    #[must_use]
    pub fn policy_time_max(mut self, time: Duration) -> Self {
        self.policy_time_max = time;
        self
    }

    /// How long its policies may take to answer one event.
    pub fn policy_time(&self) -> Duration {
        self.policy_time_max
    }

    /// Splits it into so many partitions, 1 to [`PARTITIONS_MAX`](super::limits::PARTITIONS_MAX), which
    /// work side by side: each answers the events of its streams, in their order. A program has a pipeline
    /// for each, and a cluster places each by itself.
    ///
    /// That is how many it starts with. How many it has is recorded, and operators
    /// [change](super::operating::FollowerOperator::repartition) it; a program that has another number of pipelines does
    /// the same work with those.
    ///
    /// ```
    /// # use retold::prelude::*;
    /// # use retold::system::{Context, Follower};
    /// # #[derive(Event, Serialize, Deserialize)]
    /// # struct Ordered;
    /// # async fn reserve(_: &Ordered, _: &mut Context) -> retold::Result<()> { Ok(()) }
    /// let reservations = Follower::new("reservations").follows("orders").on(reserve).partitioned(4);
    /// ```
    #[must_use]
    pub fn partitioned(mut self, partitions: u32) -> Self {
        self.partitions = partitions;
        self
    }

    /// Keeps those events together that have one key, and not those of one stream: `key_of` says which,
    /// by a text of the event's stream, topic or tags. It must say the same for ever: what the event says
    /// itself may be erased, or read otherwise by a later program, and is no key. Events of no key are
    /// all in the first partition.
    ///
    /// `name` is recorded. Give another function another name: then programs that have the one do not do
    /// the work of the other. Whoever does it all the same is found by a retelling.
    ///
    /// ```
    /// # use retold::prelude::*;
    /// # use retold::system::{Context, Follower};
    /// # #[derive(Event, Serialize, Deserialize)]
    /// # struct Ordered;
    /// # async fn reserve(_: &Ordered, _: &mut Context) -> retold::Result<()> { Ok(()) }
    /// // The orders of one shop, as in `order/oslo-17`.
    /// let reservations = Follower::new("reservations")
    ///     .follows("orders")
    ///     .on(reserve)
    ///     .partitioned(4)
    ///     .partition_by("shop", |event| event.stream()?.split(['/', '-']).nth(1));
    /// ```
    #[must_use]
    pub fn partition_by<F>(mut self, name: impl Into<Arc<str>>, key_of: F) -> Self
    where
        F: for<'a> Fn(&'a StoredEvent) -> Option<&'a str> + Send + Sync + 'static,
    {
        self.rule = PartitionRule::given(name, key_of);
        self
    }

    /// Keeps those events together that have one tag with this prefix, as `aircraft:`, and not those of one
    /// stream. Of several such tags of an event the first counts, in the order of their texts; events without one are all in
    /// the first partition.
    #[must_use]
    pub fn partition_by_tag(mut self, prefix: impl Into<Arc<str>>) -> Self {
        self.rule = PartitionRule::by_tag(prefix);
        self
    }

    /// Passes over events of topics that the program does not know. Without this it holds before such an
    /// event, for most likely a newer program recorded it: everything before is answered, nothing after,
    /// until a program that knows the topic does the follower's work.
    ///
    /// Known is what the types of the application that it follows have, what that application declared
    /// as retired, and what any follower of it in the system answers.
    #[must_use]
    pub fn skips_unknown_events(mut self) -> Self {
        self.skips_unknown_events = true;
        self
    }

    pub(crate) fn holds_before_unknown(&self) -> bool {
        !self.skips_unknown_events
    }

    /// How many pipelines a program has for it, which is how many partitions it starts with.
    pub fn pipeline_count(&self) -> u32 {
        self.partitions
    }

    /// Which events belong together.
    pub fn partition_rule(&self) -> &PartitionRule {
        &self.rule
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// The applications whose logs it follows, in the order in which they were given.
    pub fn upstreams(&self) -> impl Iterator<Item = &str> {
        self.upstreams.iter().map(|it| &**it)
    }

    /// Number of its behaviour.
    pub fn edition_number(&self) -> u32 {
        self.edition
    }

    pub(crate) fn policies(&self) -> &Policies {
        &self.policies
    }

    pub(crate) fn starts(&self) -> Start {
        self.start
    }

    pub(crate) fn batch_max(&self) -> usize {
        self.batch
    }

    pub(crate) fn fails_by(&self) -> OnFailure {
        self.on_failure
    }

    /// Whether it answers this event.
    pub(crate) fn answers(&self, event: &StoredEvent) -> bool {
        self.policies.answer(event.topic()) && self.tags.iter().all(|tag| event.has_tag(tag))
    }

    /// Whether it would pass over this event of a log whose types are in the registry, without knowing what
    /// it is.
    pub(crate) fn is_unknown(&self, registry: &TopicRegistry, event: &StoredEvent) -> bool {
        self.holds_before_unknown()
            && is_unknown(registry, event.topic(), |topic| self.policies.answer(topic))
            && self.tags.iter().all(|tag| event.has_tag(tag))
    }

    /// The query that selects what it answers.
    pub fn query(&self) -> Query {
        let room = QUERY_NAMES_MAX.saturating_sub(self.tags.len()).max(1);
        let items = self.policies.topics().chunks(room).map(|topics| {
            let item = topics
                .iter()
                .fold(QueryItem::new(), |item, topic| item.topic(*topic));
            self.tags
                .iter()
                .fold(item, |item, tag| item.tag(Arc::clone(tag)))
        });
        Query::Items(items.collect())
    }

    /// Checks what needs no look at the system it is part of.
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        check_name("name of a follower", &self.name)?;
        let name = &self.name;
        if name.len() > FOLLOWER_NAME_SIZE_MAX {
            return Err(Invalid::new(format!(
                "the name of the follower {name:?} is {} bytes long; at most {FOLLOWER_NAME_SIZE_MAX} are allowed",
                name.len()
            )));
        }
        if name.contains(['@', '/']) {
            return Err(Invalid::new(format!(
                "the name of the follower {name:?} has an `@` or a `/`, by which generation and partition are set off"
            )));
        }
        if self.upstreams.is_empty() {
            return Err(Invalid::new(format!(
                "the follower {name:?} follows nobody; say whom with `follows`"
            )));
        }
        if self.policies.topics().is_empty() {
            return Err(Invalid::new(format!(
                "the follower {name:?} has no policy; give one with `on`"
            )));
        }
        if self.edition == 0 {
            return Err(Invalid::new(format!(
                "the follower {name:?} has edition 0; they count from 1"
            )));
        }
        partition::check_count(name, self.partitions)?;
        self.rule.check(name)?;
        self.query().check()
    }
}
