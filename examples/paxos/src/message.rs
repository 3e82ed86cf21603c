//! What is recorded of an instance: the messages of the algorithm, which the others follow, and what a
//! participant keeps for itself.
//!
//! A message is sent by recording it: each participant follows the logs of all, its own included, so
//! it hears every message once and those of one sender in order. Nothing is lost, since a log is read
//! again where the reader left it, however long either of them was down.

use retold::prelude::*;

use crate::ballot::Ballot;
use crate::command::Value;

/// A value under a number: "a proposal" in Lamport's words.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "it is recorded as it is")]
pub struct Proposal {
    /// Its number.
    pub ballot: Ballot,
    /// Its value.
    pub value: Value,
}

/// Phase 1(a): a proposer asks the acceptors for a promise.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Paxos.Prepared")]
#[allow(clippy::exhaustive_structs, reason = "events are written out in tests")]
pub struct Prepared {
    /// Number of the proposal that is to come.
    pub ballot: Ballot,
    /// How many acceptors the proposer needs.
    pub majority: u32,
}

/// Phase 1(b): an acceptor promises to accept nothing below this ballot any more, and says what it
/// accepted so far.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Paxos.Promised")]
#[allow(clippy::exhaustive_structs, reason = "events are written out in tests")]
pub struct Promised {
    /// The ballot it was asked for.
    pub ballot: Ballot,
    /// The proposal with the highest number that it has accepted, if there is one.
    pub accepted: Option<Proposal>,
}

/// Phase 2(a): a proposer with promises of a majority asks the acceptors to accept its proposal.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Paxos.Proposed")]
#[allow(clippy::exhaustive_structs, reason = "events are written out in tests")]
pub struct Proposed {
    /// The proposal.
    pub proposal: Proposal,
}

/// Phase 2(b): an acceptor has accepted a proposal.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Paxos.Accepted")]
#[allow(clippy::exhaustive_structs, reason = "events are written out in tests")]
pub struct Accepted {
    /// The proposal.
    pub proposal: Proposal,
}

/// Phases 1(b) and 2(b): an acceptor that has promised a higher ballot tells the proposer, "who should
/// then abandon its proposal" (section 2.2).
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Paxos.Refused")]
#[allow(clippy::exhaustive_structs, reason = "events are written out in tests")]
pub struct Refused {
    /// The ballot it was asked for.
    pub ballot: Ballot,
    /// The higher one that it has promised.
    pub promised: Ballot,
}

/// Section 2.3: the value is known to be chosen, either because a majority accepted it, or because
/// another participant says so.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Paxos.Decided")]
#[allow(clippy::exhaustive_structs, reason = "events are written out in tests")]
pub struct Decided {
    /// The value.
    pub value: Value,
}

/// The time to wait for the rival of this ballot is over. A participant tells itself so by a deadline.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Paxos.RetryDue")]
#[allow(clippy::exhaustive_structs, reason = "events are written out in tests")]
pub struct RetryDue {
    /// Key of the instance.
    pub key: String,
    /// The ballot that was refused.
    pub ballot: Ballot,
}

/// A client of this participant wants this value to be chosen. Kept for itself.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Paxos.Wanted")]
#[allow(clippy::exhaustive_structs, reason = "events are written out in tests")]
pub struct Wanted {
    /// The value.
    pub value: Value,
}

/// The proposer has heard a promise. Kept for itself.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Paxos.PromiseCounted")]
#[allow(clippy::exhaustive_structs, reason = "events are written out in tests")]
pub struct PromiseCounted {
    /// Name of the acceptor.
    pub acceptor: String,
    /// What it has accepted before.
    pub accepted: Option<Proposal>,
}

/// The proposer has heard that its proposal is accepted. Kept for itself.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Paxos.AcceptanceCounted")]
#[allow(clippy::exhaustive_structs, reason = "events are written out in tests")]
pub struct AcceptanceCounted {
    /// Name of the acceptor.
    pub acceptor: String,
}

/// The proposer leaves the field to a rival. Kept for itself.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Paxos.Yielded")]
#[allow(clippy::exhaustive_structs, reason = "events are written out in tests")]
pub struct Yielded {
    /// The rival's ballot.
    pub to: Ballot,
    /// Milliseconds after which it tries again if nothing is decided then; none if it tries no more
    /// by itself.
    pub retry_after_ms: Option<u64>,
}

/// What can happen to an instance, seen by one participant.
#[derive(Event, Clone, Debug, PartialEq, Eq)]
#[event(join)]
#[allow(
    clippy::exhaustive_enums,
    reason = "whoever reads them wants to know of a new one"
)]
pub enum InstanceEvent {
    /// A client wants a value.
    Wanted(Wanted),
    /// A promise is asked for.
    Prepared(Prepared),
    /// A promise is given.
    Promised(Promised),
    /// A promise is heard.
    PromiseCounted(PromiseCounted),
    /// Acceptance is asked for.
    Proposed(Proposed),
    /// A proposal is accepted.
    Accepted(Accepted),
    /// Acceptance is heard of.
    AcceptanceCounted(AcceptanceCounted),
    /// A higher ballot is promised.
    Refused(Refused),
    /// The field is left to a rival.
    Yielded(Yielded),
    /// The value is chosen.
    Decided(Decided),
}
