//! The declaration of a follower: the logs it follows, and the effects of their events.

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

/// A named set of policies that process the events of other applications' logs, or of the
/// application's own log, on behalf of one application.
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
///     context
///         .execute_or_create(item.as_str(), |_: &Stock| Reserved { item: item.clone() })
///         .await?;
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
    policy_version: u32,
    start: Start,
    batch: usize,
    on_failure: OnFailure,
    partitions: u32,
    rule: PartitionRule,
    policy_time_max: Duration,
    skips_unknown_events: bool,
}

/// Where a follower begins in a log that it follows for the first time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// At the log's first event.
    #[default]
    FirstEvent,
    /// At the first event that is recorded after the follower has started.
    Now,
}

/// How an event is handled if its policy fails.
///
/// An unavailable store is not a failure of a policy: the follower retries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnFailure {
    /// The follower stops and is recorded as paused, with the reason. Once the cause is fixed, an
    /// operator resumes it, and it retries the same event.
    #[default]
    Stop,
    /// The event is parked with the reason, and so is every later event of its stream. The follower
    /// continues with the events of other streams. Once the cause is fixed, an operator resumes the
    /// follower, which retries the parked events; an operator can also skip them.
    Park,
}

impl Follower {
    /// Creates a follower with this name. The name must be unique in its application, because the
    /// follower's records are kept under it. It has 1 to [`FOLLOWER_NAME_SIZE_MAX`] bytes, and
    /// contains neither `@` nor `/`.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            upstreams: Vec::new(),
            policies: Policies::default(),
            tags: Vec::new(),
            policy_version: 1,
            start: Start::default(),
            batch: 1,
            on_failure: OnFailure::default(),
            partitions: 1,
            rule: PartitionRule::default(),
            policy_time_max: POLICY_TIME_MAX,
            skips_unknown_events: false,
        }
    }

    /// Follows the log of the application with this name. Can be called several times to follow
    /// several logs. The name can be that of the follower's own application.
    #[must_use]
    pub fn follows(mut self, application: impl Into<Arc<str>>) -> Self {
        self.upstreams.push(application.into());
        self
    }

    /// Processes events of type `E` with this policy. If an event has several policies, all are
    /// called in the order of declaration, and their decisions are recorded together.
    ///
    /// Events of other types are not read.
    #[must_use]
    pub fn on<E, F>(mut self, policy: F) -> Self
    where
        E: Event,
        F: for<'a> Handle<'a, E> + 'static,
    {
        self.policies.add::<E, F>(policy);
        self
    }

    /// Processes only events that have this tag. If several tags are given, an event must have all
    /// of them.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<Arc<str>>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// The version number of the follower's behavior, from 1. Raise it when policies change, so
    /// that a retelling does not compare the records of older policies with the new ones.
    #[must_use]
    pub fn policy_version(mut self, policy_version: u32) -> Self {
        self.policy_version = policy_version;
        self
    }

    /// Where the follower begins in a log that it follows for the first time. The default is the
    /// first event.
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Allows one append to cover up to this many upstream events, each with all its effects. The
    /// default is 1, the maximum [`BATCH_MAX`]. A larger batch records the same events in less
    /// time, but a conflict causes more upstream events to be processed again.
    #[must_use]
    pub fn batch(mut self, upstream_events: usize) -> Self {
        self.batch = upstream_events.clamp(1, BATCH_MAX);
        self
    }

    /// How an event is handled if its policy fails. The default is to stop the follower.
    #[must_use]
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// How long its policies may take to process one event; the default is [`POLICY_TIME_MAX`]. A
    /// policy that takes longer counts as failed; see [`on_failure`](Self::on_failure). The runners
    /// on tokio enforce the limit. [`SingleThread`](crate::system::SingleThread), a simulation and
    /// a retelling do not: they wait until the policy returns.
    ///
    /// Only a policy that awaits can be stopped. One that blocks its thread, because it sleeps or
    /// loops, is reported in the status
    /// ([`Running::blocks_for`](crate::health::Running::blocks_for)). A slow store is not a failure
    /// of a policy, and is retried.
    #[must_use]
    pub fn policy_time_max(mut self, time: Duration) -> Self {
        self.policy_time_max = time;
        self
    }

    /// Returns how long its policies may take to process one event.
    pub fn policy_time(&self) -> Duration {
        self.policy_time_max
    }

    /// Splits the follower into this many partitions, 1 to
    /// [`PARTITIONS_MAX`](super::limits::PARTITIONS_MAX), which run in parallel. Each processes the
    /// events of its streams, in their order. A program has one pipeline for each partition, and a
    /// cluster places each pipeline separately.
    ///
    /// This is the number of partitions that the follower starts with. The present number is
    /// recorded, and operators can
    /// [change](super::operating::FollowerOperator::repartition) it. A program with another number
    /// of pipelines distributes the partitions over its pipelines.
    ///
    /// ```
    /// # use retold::prelude::*;
    /// # use retold::system::{Context, Follower};
    /// # #[derive(Event, Serialize, Deserialize)]
    /// # struct Ordered;
    /// # async fn reserve(_: &Ordered, _: &mut Context) -> retold::Result<()> { Ok(()) }
    /// let reservations = Follower::new("reservations")
    ///     .follows("orders")
    ///     .on(reserve)
    ///     .partitioned(4);
    /// ```
    #[must_use]
    pub fn partitioned(mut self, partitions: u32) -> Self {
        self.partitions = partitions;
        self
    }

    /// Keeps events of one key in the same partition, instead of events of one stream. `key_of`
    /// derives the key from the event's stream, topic or tags. It must always return the same key
    /// for an event. Do not derive the key from the payload, because the payload may be erased, or
    /// decoded differently by a later program. Events without a key are all in the first partition.
    ///
    /// `name` is recorded. Give another function another name, so that programs with different
    /// functions do not share the work. A retelling detects a function that changed under the same
    /// name.
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

    /// Keeps events that share a tag with this prefix (`aircraft:` for example) in the same
    /// partition, instead of events of one stream. If an event has several such tags, the first in
    /// text order counts.
    /// Events without one are all in the first partition.
    #[must_use]
    pub fn partition_by_tag(mut self, prefix: impl Into<Arc<str>>) -> Self {
        self.rule = PartitionRule::by_tag(prefix);
        self
    }

    /// Skips events of topics that the program does not know. By default the follower holds before
    /// such an event, because most likely a newer program recorded it. It processes everything
    /// before the event and nothing after it, until a program that knows the topic takes over.
    ///
    /// The known topics are those of the types of the followed application, those that this
    /// application declared as retired, and those that any of its followers in the system
    /// processes.
    #[must_use]
    pub fn skips_unknown_events(mut self) -> Self {
        self.skips_unknown_events = true;
        self
    }

    pub(crate) fn holds_before_unknown(&self) -> bool {
        !self.skips_unknown_events
    }

    /// Returns how many pipelines a program has for the follower, which is also the number of
    /// partitions that it starts with.
    pub fn pipeline_count(&self) -> u32 {
        self.partitions
    }

    /// Returns the rule that decides which events belong together.
    pub fn partition_rule(&self) -> &PartitionRule {
        &self.rule
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// Returns the applications whose logs it follows, in the order of declaration.
    pub fn upstreams(&self) -> impl Iterator<Item = &str> {
        self.upstreams.iter().map(|it| &**it)
    }

    /// Returns its policy version.
    pub fn policy_version_number(&self) -> u32 {
        self.policy_version
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

    /// Returns whether it processes this event.
    pub(crate) fn processes(&self, event: &StoredEvent) -> bool {
        self.policies.processes(event.topic()) && self.tags.iter().all(|tag| event.has_tag(tag))
    }

    /// Returns whether it would skip this event without knowing its topic. The registry holds the
    /// types of the log that the event is in.
    pub(crate) fn is_unknown(&self, registry: &TopicRegistry, event: &StoredEvent) -> bool {
        self.holds_before_unknown()
            && is_unknown(registry, event.topic(), |topic| {
                self.policies.processes(topic)
            })
            && self.tags.iter().all(|tag| event.has_tag(tag))
    }

    /// Returns the query that selects the events it processes.
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

    /// Checks everything that does not depend on the system it is part of.
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        check_name("name of a follower", &self.name)?;
        let name = &self.name;
        if name.len() > FOLLOWER_NAME_SIZE_MAX {
            return Err(Invalid::new(format!(
                "the name of the follower {name:?} is {} bytes long; at most \
                 {FOLLOWER_NAME_SIZE_MAX} are allowed",
                name.len()
            )));
        }
        if name.contains(['@', '/']) {
            return Err(Invalid::new(format!(
                "the name of the follower {name:?} has an `@` or a `/`, which separate the \
                 generation and the partition"
            )));
        }
        if self.upstreams.is_empty() {
            return Err(Invalid::new(format!(
                "the follower {name:?} follows no application; name one with `follows`"
            )));
        }
        if self.policies.topics().is_empty() {
            return Err(Invalid::new(format!(
                "the follower {name:?} has no policy; give one with `on`"
            )));
        }
        if self.policy_version == 0 {
            return Err(Invalid::new(format!(
                "the follower {name:?} has policy version 0; policy versions start at 1"
            )));
        }
        partition::check_count(name, self.partitions)?;
        self.rule.check(name)?;
        self.query().check()
    }
}
