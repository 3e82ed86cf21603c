//! The system: its applications, their types, and which of them follow each other. It contains no
//! database and no thread.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::follower_path::FollowerPath;
use crate::application::{Application, ApplicationBuilder};
use crate::domain::{Aggregate, Event};
use crate::following::{Follower, SystemNames};
use crate::recording::limits::{RESERVED_PREFIX, check_name};
use crate::recording::{Invalid, StoredEvent};

/// Applications that follow each other's logs, defined once and independently of infrastructure.
///
/// A runner runs it: [`SingleThread`](super::single_thread::SingleThread) in one thread,
/// `MultiThread` with a task for each follower, or `Cluster` in many processes. A clone is the same
/// system.
///
/// ```
/// use retold::prelude::*;
/// use retold::system::{Context, Follower, System};
/// # #[derive(Event, Serialize, Deserialize)]
/// # struct Ordered { item: String }
/// # #[derive(Aggregate, Clone, Default)]
/// # #[aggregate(event = Ordered)]
/// # struct Order;
/// # impl Apply<Ordered> for Order { fn apply(&mut self, _: &Ordered) {} }
/// # async fn reserve(_: &Ordered, _: &mut Context) -> retold::Result<()> { Ok(()) }
///
/// let shop = System::new("shop")
///     .application("orders", |app| app.aggregate::<Order>())
///     .application("stock", |app| {
///         app.follower(Follower::new("reservations").follows("orders").on(reserve))
///     })
///     .build()?;
/// assert!(shop.to_mermaid().contains("orders -->|reservations| stock"));
/// # Ok::<(), retold::Error>(())
/// ```
#[derive(Clone)]
pub struct System {
    parts: Arc<SystemParts>,
}

struct SystemParts {
    names: SystemNames,
    members: Vec<Member>,
}

/// An application as declared in a system: its types and its followers.
pub struct Member {
    name: Arc<str>,
    /// Registers its types and chooses its options.
    set_up: Vec<SetUp>,
    followers: Vec<Arc<Follower>>,
    confluent: Option<ConfluenceKey>,
    /// Topics of its log that followers process, regardless of their types.
    processed: BTreeSet<&'static str>,
}

type SetUp = Arc<dyn Fn(ApplicationBuilder) -> ApplicationBuilder + Send + Sync>;

/// A function that returns the key that an event belongs to, if any.
pub type ConfluenceKey = Arc<dyn Fn(&StoredEvent) -> Option<String> + Send + Sync>;

/// A system that is being defined; [`build`](SystemBuilder::build) finishes it.
#[must_use = "a system is defined by `build`"]
pub struct SystemBuilder {
    names: SystemNames,
    members: Vec<Member>,
}

impl System {
    /// Begins the definition of a system with this name. The nodes of a cluster find each other by
    /// the name, and each follower records which system it is part of. A program cannot run a
    /// system if one of its followers is recorded as part of a system with another name; to rename
    /// a system, see [`formerly`](SystemBuilder::formerly). Two systems with the same name and
    /// different policies cannot be distinguished.
    #[expect(
        clippy::new_ret_no_self,
        reason = "a system is complete when it is built"
    )]
    pub fn new(name: impl Into<String>) -> SystemBuilder {
        let names = SystemNames {
            name: name.into(),
            former: Vec::new(),
        };
        SystemBuilder {
            names,
            members: Vec::new(),
        }
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.parts.names.name
    }

    /// Returns its name and its former names.
    pub(super) fn names(&self) -> &SystemNames {
        &self.parts.names
    }

    /// Returns its applications, in the order of declaration.
    pub fn members(&self) -> &[Member] {
        &self.parts.members
    }

    /// Returns the index of the application of this name, counted from 0 in the order of
    /// declaration.
    pub fn index_of(&self, application: &str) -> Option<usize> {
        let mut members = self.parts.members.iter();
        members.position(|member| &*member.name == application)
    }

    /// Returns the index of the application of this name.
    ///
    /// # Errors
    ///
    /// [`Invalid`] if there is none; the message lists the applications.
    pub fn expect_index_of(&self, application: &str) -> Result<usize, Invalid> {
        self.index_of(application).ok_or_else(|| {
            let known: Vec<_> = self.members().iter().map(Member::name).collect();
            Invalid::new(format!(
                "the system {:?} has no application {application:?}; it has {known:?}",
                self.name()
            ))
        })
    }

    /// Returns the index of the follower's application, and the follower.
    ///
    /// # Errors
    ///
    /// [`Invalid`] if there is no such application or follower; the message lists those that exist.
    pub fn expect_follower(&self, path: &FollowerPath) -> Result<(usize, &Arc<Follower>), Invalid> {
        let index = self.expect_index_of(path.application())?;
        let followers = self.members()[index].followers();
        let found = followers.iter().find(|it| it.name() == path.follower());
        let found = found.ok_or_else(|| {
            let known: Vec<_> = followers.iter().map(|it| it.name()).collect();
            Invalid::new(format!(
                "the application {:?} has no follower {:?}; it has {known:?}",
                path.application(),
                path.follower()
            ))
        })?;
        Ok((index, found))
    }

    /// Returns the index of a log among those that the follower follows: the log of this
    /// application.
    ///
    /// # Errors
    ///
    /// As for [`expect_follower`](Self::expect_follower) and
    /// [`expect_index_of`](Self::expect_index_of); [`Invalid`] also if the follower does not follow
    /// that log.
    pub fn expect_upstream(&self, path: &FollowerPath, upstream: &str) -> Result<usize, Invalid> {
        let (_, follower) = self.expect_follower(path)?;
        self.expect_index_of(upstream)?;
        let index = follower.upstreams().position(|name| name == upstream);
        index.ok_or_else(|| {
            Invalid::new(format!(
                "the follower {:?} of {:?} does not follow {upstream:?}",
                path.follower(),
                path.application()
            ))
        })
    }

    /// Returns a diagram of the applications and followers for Graphviz (`dot -Tsvg`).
    pub fn to_graphviz(&self) -> String {
        let mut text = format!("digraph {} {{\n  rankdir=LR;\n", quoted(self.name()));
        for member in self.members() {
            text += &format!("  {};\n", quoted(member.name()));
        }
        for (member, follower, upstream) in self.arrows() {
            text += &format!(
                "  {} -> {} [label={}];\n",
                quoted(upstream),
                quoted(member),
                quoted(follower)
            );
        }
        text + "}\n"
    }

    /// Returns a diagram of the applications and followers for Mermaid.
    pub fn to_mermaid(&self) -> String {
        let mut text = String::from("flowchart LR\n");
        for member in self.members() {
            let name = member.name();
            let id = mermaid_id(name);
            match id == name {
                true => text += &format!("  {id}\n"),
                false => text += &format!("  {id}[{}]\n", quoted(name)),
            }
        }
        for (member, follower, upstream) in self.arrows() {
            text += &format!(
                "  {} -->|{}| {}\n",
                mermaid_id(upstream),
                follower.replace(['|', '"'], " "),
                mermaid_id(member)
            );
        }
        text
    }

    /// Returns each follower of each application with each of its upstreams.
    fn arrows(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.members().iter().flat_map(|member| {
            member.followers.iter().flat_map(|follower| {
                let upstreams = follower.upstreams();
                upstreams.map(|upstream| (member.name(), follower.name(), upstream))
            })
        })
    }
}

/// Returns a text in double quotes, as Graphviz and Mermaid read it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Returns a name as an identifier of Mermaid.
fn mermaid_id(name: &str) -> String {
    let id: String = name
        .chars()
        .map(|it| if it.is_ascii_alphanumeric() { it } else { '_' })
        .collect();
    match id.as_str() {
        // This keyword would end a diagram early.
        "end" => "end_".into(),
        _ => id,
    }
}

impl Member {
    fn new(name: Arc<str>) -> Self {
        Self {
            name,
            set_up: Vec::new(),
            followers: Vec::new(),
            confluent: None,
            processed: BTreeSet::new(),
        }
    }

    /// Declares this type of aggregates and its events.
    #[must_use]
    pub fn aggregate<A: Aggregate>(self) -> Self {
        self.set_up(|builder| builder.aggregate::<A>())
    }

    /// Declares this type of events.
    #[must_use]
    pub fn event<E: Event>(self) -> Self {
        self.set_up(|builder| builder.event::<E>())
    }

    /// Declares a retired topic; see [`ApplicationBuilder::retired`].
    #[must_use]
    pub fn retired(self, topic: &'static str) -> Self {
        self.set_up(move |builder| builder.retired(topic))
    }

    /// Declares a topic of another program that also records in the log; see
    /// [`ApplicationBuilder::of_others`].
    #[must_use]
    pub fn of_others(self, topic: &'static str) -> Self {
        self.set_up(move |builder| builder.of_others(topic))
    }

    /// Configures the application's builder, for example with another codec or a larger cache.
    #[must_use]
    pub fn set_up(
        mut self,
        set_up: impl Fn(ApplicationBuilder) -> ApplicationBuilder + Send + Sync + 'static,
    ) -> Self {
        self.set_up.push(Arc::new(set_up));
        self
    }

    /// Adds this follower.
    #[must_use]
    pub fn follower(mut self, follower: Follower) -> Self {
        self.followers.push(Arc::new(follower));
        self
    }

    /// Declares that the application is confluent by key: in every schedule that processes the
    /// inputs of one key in the same order, its log has for each key the same events in the same
    /// order. `key` returns the key of an event; events without a key are not compared.
    ///
    /// A simulation verifies this.
    #[must_use]
    pub fn confluent(
        mut self,
        key: impl Fn(&StoredEvent) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.confluent = Some(Arc::new(key));
        self
    }

    /// Declares that the application is [confluent](Self::confluent) by the tag with this prefix,
    /// for example `aircraft:`.
    #[must_use]
    pub fn confluent_by_tag(self, prefix: &'static str) -> Self {
        self.confluent(move |event| {
            let mut tags = event.tags();
            tags.find_map(|tag| tag.strip_prefix(prefix).map(str::to_owned))
        })
    }

    /// Returns the name of the application and of its log.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns its followers, in the order of declaration.
    pub fn followers(&self) -> &[Arc<Follower>] {
        &self.followers
    }

    /// Returns the function from events to keys, if the application is declared confluent.
    pub fn confluence_key(&self) -> Option<&ConfluenceKey> {
        self.confluent.as_ref()
    }

    pub(super) fn builder(&self) -> ApplicationBuilder {
        let processed: Vec<_> = self.processed.iter().copied().collect();
        let builder = Application::builder(&*self.name).processed_by_others(&processed);
        self.set_up.iter().fold(builder, |builder, it| it(builder))
    }
}

impl SystemBuilder {
    /// Declares a former name of the system, which its followers have recorded; they continue under
    /// the new one. Keep this call as long as such followers exist.
    pub fn formerly(mut self, name: impl Into<String>) -> Self {
        self.names.former.push(name.into());
        self
    }

    /// Adds an application of this name, which is also the name of its log; `define` declares its
    /// types and followers. [`SingleThread`](super::single_thread::SingleThread) processes the
    /// applications in the order of declaration.
    pub fn application(
        mut self,
        name: impl Into<Arc<str>>,
        define: impl FnOnce(Member) -> Member,
    ) -> Self {
        self.members.push(define(Member::new(name.into())));
        self
    }

    /// Finishes the definition.
    ///
    /// # Errors
    ///
    /// [`Invalid`] with the reason: for example two applications or two followers with the same
    /// name, a follower of an application that is not declared, or a follower without policies.
    pub fn build(self) -> Result<System, Invalid> {
        let mut names = BTreeSet::new();
        for member in &self.members {
            check_name("name of an application", &member.name)?;
            if member.name.starts_with(RESERVED_PREFIX) {
                return Err(Invalid::new(format!(
                    "the application {:?} has a name reserved for the library; choose one that \
                     does not begin with {RESERVED_PREFIX:?}",
                    member.name
                )));
            }
            if !names.insert(&*member.name) {
                return Err(Invalid::new(format!(
                    "two applications of the system are named {:?}",
                    member.name
                )));
            }
        }
        if names.is_empty() {
            return Err(Invalid::new(format!(
                "the system {:?} has no application; give one with `application`",
                self.names.name
            )));
        }
        for member in &self.members {
            check_followers(member, &names)?;
        }
        let mut members = self.members;
        let followers = members.iter().flat_map(|member| &member.followers);
        let followers: Vec<_> = followers.cloned().collect();
        for follower in followers {
            for upstream in follower.upstreams() {
                let followed = members.iter_mut().find(|it| *it.name == *upstream);
                if let Some(followed) = followed {
                    followed.processed.extend(follower.policies().topics());
                }
            }
        }
        Ok(System {
            parts: Arc::new(SystemParts {
                names: self.names,
                members,
            }),
        })
    }
}

fn check_followers(member: &Member, applications: &BTreeSet<&str>) -> Result<(), Invalid> {
    let mut names: BTreeMap<&str, &Follower> = BTreeMap::new();
    for follower in &member.followers {
        follower.check()?;
        if names.insert(follower.name(), follower).is_some() {
            return Err(Invalid::new(format!(
                "two followers of the application {:?} are named {:?}",
                member.name,
                follower.name()
            )));
        }
        let mut upstreams = BTreeSet::new();
        for upstream in follower.upstreams() {
            if !applications.contains(upstream) {
                return Err(Invalid::new(format!(
                    "the follower {:?} of {:?} follows {upstream:?}, which is not an application \
                         of the system; there are {applications:?}",
                    follower.name(),
                    member.name
                )));
            }
            if !upstreams.insert(upstream) {
                return Err(Invalid::new(format!(
                    "the follower {:?} of {:?} follows {upstream:?} twice",
                    follower.name(),
                    member.name
                )));
            }
        }
    }
    Ok(())
}

impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("System")
            .field("name", &self.parts.names.name)
            .field("members", &self.parts.members)
            .finish()
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("name", &self.name)
            .field("followers", &self.followers)
            .field("is_confluent", &self.confluent.is_some())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SystemBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemBuilder")
            .field("name", &self.names.name)
            .field("members", &self.members)
            .finish()
    }
}
