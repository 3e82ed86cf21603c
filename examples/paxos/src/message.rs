//! The events of an instance: the messages of the algorithm, which the other participants follow,
//! and events that a participant records for itself.
//!
//! Recording a message sends it: each participant follows the logs of all participants, including
//! its own, and so receives every message once and those of one sender in order. No message is
//! lost, because a reader resumes where it stopped, however long sender or reader were down.

use retold::prelude::*;

use crate::ballot::Ballot;
use crate::command::Value;

/// A value with a number: "a proposal" in Lamport's terms.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_structs,
    reason = "its fields are the recorded format"
)]
pub struct Proposal {
    /// Its number.
    pub ballot: Ballot,
    /// Its value.
    pub value: Value,
}

/// Phase 1(a): a proposer asks the acceptors for a promise.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Paxos.Prepared")]
#[allow(clippy::exhaustive_structs, reason = "tests construct it")]
pub struct Prepared {
    /// Number of the planned proposal.
    pub ballot: Ballot,
    /// Number of acceptors that the proposer needs.
    pub majority: u32,
}

/// Phase 1(b): an acceptor promises not to accept anything below this ballot, and reports what it
/// has accepted before.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Paxos.Promised")]
#[allow(clippy::exhaustive_structs, reason = "tests construct it")]
pub struct Promised {
    /// The requested ballot.
    pub ballot: Ballot,
    /// The proposal with the highest number that it has accepted, if there is one.
    pub accepted: Option<Proposal>,
}

/// Phase 2(a): a proposer with promises of a majority asks the acceptors to accept its proposal.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Paxos.Proposed")]
#[allow(clippy::exhaustive_structs, reason = "tests construct it")]
pub struct Proposed {
    /// The proposal.
    pub proposal: Proposal,
}

/// Phase 2(b): an acceptor has accepted a proposal.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Paxos.Accepted")]
#[allow(clippy::exhaustive_structs, reason = "tests construct it")]
pub struct Accepted {
    /// The proposal.
    pub proposal: Proposal,
}

/// Phases 1(b) and 2(b): an acceptor that has promised a higher ballot informs the proposer, "who
/// should then abandon its proposal" (section 2.2).
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Paxos.Refused")]
#[allow(clippy::exhaustive_structs, reason = "tests construct it")]
pub struct Refused {
    /// The requested ballot.
    pub ballot: Ballot,
    /// The higher ballot that it has promised.
    pub promised: Ballot,
}

/// Section 2.3: the value is known to be chosen, either because a majority accepted it, or because
/// another participant reports it.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Paxos.Decided")]
#[allow(clippy::exhaustive_structs, reason = "tests construct it")]
pub struct Decided {
    /// The value.
    pub value: Value,
}

/// The wait for the rival with this ballot is over. A participant sends this to itself with a
/// deadline.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Paxos.RetryDue")]
#[allow(clippy::exhaustive_structs, reason = "tests construct it")]
pub struct RetryDue {
    /// Key of the instance.
    pub key: String,
    /// The refused ballot.
    pub ballot: Ballot,
}

/// A client of this participant proposes this value. Not a message.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Paxos.Wanted")]
#[allow(clippy::exhaustive_structs, reason = "tests construct it")]
pub struct Wanted {
    /// The value.
    pub value: Value,
}

/// The proposer has received a promise. Not a message.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Paxos.PromiseCounted")]
#[allow(clippy::exhaustive_structs, reason = "tests construct it")]
pub struct PromiseCounted {
    /// Name of the acceptor.
    pub acceptor: String,
    /// The proposal it had accepted before.
    pub accepted: Option<Proposal>,
}

/// The proposer has received an acceptance of its proposal. Not a message.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Paxos.AcceptanceCounted")]
#[allow(clippy::exhaustive_structs, reason = "tests construct it")]
pub struct AcceptanceCounted {
    /// Name of the acceptor.
    pub acceptor: String,
}

/// The proposer yields to a rival. Not a message.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Paxos.Yielded")]
#[allow(clippy::exhaustive_structs, reason = "tests construct it")]
pub struct Yielded {
    /// The rival's ballot.
    pub to: Ballot,
    /// Milliseconds after which it tries again if nothing is decided; `None` if it does not retry
    /// on its own.
    pub retry_after_ms: Option<u64>,
}

/// The events of an instance, as seen by one participant.
#[derive(Event, Clone, Debug, PartialEq, Eq)]
#[event(join)]
#[allow(
    clippy::exhaustive_enums,
    reason = "a new event should fail to compile where these are read"
)]
pub enum InstanceEvent {
    /// A client proposes a value.
    Wanted(Wanted),
    /// A promise is requested.
    Prepared(Prepared),
    /// A promise is made.
    Promised(Promised),
    /// A promise is received.
    PromiseCounted(PromiseCounted),
    /// Acceptance is requested.
    Proposed(Proposed),
    /// A proposal is accepted.
    Accepted(Accepted),
    /// An acceptance is received.
    AcceptanceCounted(AcceptanceCounted),
    /// A higher ballot has been promised.
    Refused(Refused),
    /// The proposer yields to a rival.
    Yielded(Yielded),
    /// The value is chosen.
    Decided(Decided),
}
