//! The invariants of the participants' logs: the safety of the algorithm, and of the store built on
//! it. They are for tests and simulations, and for diagnosing a running system.
//!
//! [`History::read`] collects the recorded events, and [`History::violations`] checks them. The
//! checks do not use the rules that they verify: they compute the chosen values independently, from
//! acceptances.

use std::collections::{BTreeMap, BTreeSet};

use retold::prelude::*;

use crate::ballot::Ballot;
use crate::command::Value;
use crate::electorate::Electorate;
use crate::instance::Instance;
use crate::message::{InstanceEvent, Proposal};
use crate::replica::{Executed, Repeated, ReplicaEvent};

/// The recorded events of all participants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    participants: Vec<Record>,
}

/// The recorded events of one participant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// Name of the participant.
    pub participant: String,
    /// Events of instances with their keys, in the order of the log.
    pub instances: Vec<(String, InstanceEvent)>,
    /// Events of the replica.
    pub replica: Vec<ReplicaEvent>,
}

/// A violated invariant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// Majorities of acceptors accepted proposals with different values.
    #[error("several values are chosen for {key:?}: {values:?}")]
    SeveralChosen {
        /// Key of the instance.
        key: String,
        /// The values.
        values: Vec<Value>,
    },
    /// A participant decided a value that no majority accepted.
    #[error("{participant} decided {value:?} for {key:?}, which is not chosen")]
    DecidedUnchosen {
        /// The participant.
        participant: String,
        /// Key of the instance.
        key: String,
        /// The value.
        value: Value,
    },
    /// Participants decided differently, or one decided twice.
    #[error("{key:?} is decided differently: {values:?}")]
    DecidedDifferently {
        /// Key of the instance.
        key: String,
        /// The values, by participant.
        values: Vec<(String, Value)>,
    },
    /// A value was accepted that no client proposed.
    #[error("{participant} accepted {value:?} for {key:?}, which no client proposed")]
    Unasked {
        /// The participant.
        participant: String,
        /// Key of the instance.
        key: String,
        /// The value.
        value: Value,
    },
    /// An acceptor accepted or promised a ballot below one that it had promised.
    #[error("{participant} had promised {promised} for {key:?} and then processed {taken}")]
    PromiseBroken {
        /// The participant.
        participant: String,
        /// Key of the instance.
        key: String,
        /// The promised ballot.
        promised: Ballot,
        /// The lower ballot.
        taken: Ballot,
    },
    /// Two proposals with the same ballot have different values.
    #[error("the ballot {ballot} for {key:?} has several values")]
    BallotReused {
        /// Key of the instance.
        key: String,
        /// The ballot.
        ballot: Ballot,
    },
    /// A replica skipped or repeated a slot.
    #[error("{participant} executed slot {slot} when {expected} was next")]
    Gap {
        /// The participant.
        participant: String,
        /// The executed slot.
        slot: u64,
        /// The expected slot.
        expected: u64,
    },
    /// A replica executed a request twice.
    #[error("{participant} executed the request {request:?} twice")]
    ExecutedTwice {
        /// The participant.
        participant: String,
        /// Id of the request.
        request: String,
    },
    /// Two replicas did different things for one slot, or returned different results.
    #[error("slot {slot} differs between {one} and {other}")]
    ReplicasDiffer {
        /// The slot.
        slot: u64,
        /// A participant.
        one: String,
        /// Another participant.
        other: String,
    },
}

impl History {
    /// Creates a history of these records.
    pub fn of(participants: impl IntoIterator<Item = Record>) -> Self {
        let participants = participants.into_iter().collect();
        Self { participants }
    }

    /// Reads the events that these applications, the participants, have recorded.
    ///
    /// # Errors
    ///
    /// Errors of reading a log.
    pub async fn read(applications: &[Application]) -> retold::Result<Self> {
        let mut participants = Vec::with_capacity(applications.len());
        for application in applications {
            let instances = application
                .events::<InstanceEvent>()
                .read()
                .collect()
                .await?;
            let instances = instances.into_iter().filter_map(|logged| {
                let key = logged.aggregate::<Instance>()?.key().clone();
                Some((key, logged.event))
            });
            let instances = instances.collect();
            let replica = application
                .events::<ReplicaEvent>()
                .read()
                .collect()
                .await?;
            participants.push(Record {
                participant: application.name().into(),
                instances,
                replica: replica.into_iter().map(|it| it.event).collect(),
            });
        }
        Ok(Self { participants })
    }

    /// Returns the values that each participant has decided for a key, by participant.
    pub fn decided(&self, key: &str) -> Vec<(&str, &Value)> {
        let decided = self.events().filter_map(|(participant, of, event)| {
            let InstanceEvent::Decided(decided) = event else {
                return None;
            };
            (of == key).then_some((participant, &decided.value))
        });
        decided.collect()
    }

    /// Returns the events of the instance with this key, participant by participant.
    pub fn instance(&self, key: &str) -> impl Iterator<Item = &InstanceEvent> {
        let of_key = self.events().filter(move |(_, of, _)| *of == key);
        of_key.map(|(_, _, event)| event)
    }

    /// Returns the keys of all instances.
    pub fn keys(&self) -> BTreeSet<&str> {
        self.events().map(|(_, key, _)| key).collect()
    }

    /// Returns all violated invariants; empty if there are none.
    pub fn violations(&self, electorate: Electorate) -> Vec<Violation> {
        let mut violations = Vec::new();
        for key in self.keys() {
            self.judge_choice(key, electorate, &mut violations);
            self.judge_ballots(key, &mut violations);
        }
        for record in &self.participants {
            judge_promises(record, &mut violations);
            judge_replica(record, &mut violations);
        }
        self.compare_replicas(&mut violations);
        violations
    }

    fn events(&self) -> impl Iterator<Item = (&str, &str, &InstanceEvent)> {
        self.participants.iter().flat_map(|record| {
            let events = record.instances.iter();
            events.map(|(key, event)| (record.participant.as_str(), key.as_str(), event))
        })
    }

    /// Returns the values that a majority of acceptors accepted with the same ballot.
    pub fn chosen(&self, key: &str, electorate: Electorate) -> Vec<&Value> {
        let mut acceptors: BTreeMap<Ballot, (BTreeSet<&str>, &Value)> = BTreeMap::new();
        for (participant, _, event) in self.events().filter(|(_, of, _)| *of == key) {
            if let InstanceEvent::Accepted(accepted) = event {
                let Proposal { ballot, value } = &accepted.proposal;
                let of_ballot = acceptors
                    .entry(*ballot)
                    .or_insert_with(|| (BTreeSet::new(), value));
                of_ballot.0.insert(participant);
            }
        }
        let mut chosen: Vec<&Value> = Vec::new();
        for (by, value) in acceptors.into_values() {
            if by.len() >= electorate.majority() as usize && !chosen.contains(&value) {
                chosen.push(value);
            }
        }
        chosen
    }

    /// At most one value is chosen, every decision is that value, and only proposed values are
    /// accepted.
    fn judge_choice(&self, key: &str, electorate: Electorate, violations: &mut Vec<Violation>) {
        let chosen = self.chosen(key, electorate);
        if chosen.len() > 1 {
            violations.push(Violation::SeveralChosen {
                key: key.into(),
                values: chosen.iter().copied().cloned().collect(),
            });
        }
        let decided = self.decided(key);
        let by: BTreeSet<_> = decided.iter().map(|(participant, _)| participant).collect();
        let values_differ = decided.windows(2).any(|pair| pair[0].1 != pair[1].1);
        if values_differ || by.len() < decided.len() {
            let values = decided
                .iter()
                .map(|(by, value)| ((*by).into(), (*value).clone()));
            violations.push(Violation::DecidedDifferently {
                key: key.into(),
                values: values.collect(),
            });
        }
        for (participant, value) in decided {
            if !chosen.contains(&value) {
                violations.push(Violation::DecidedUnchosen {
                    participant: participant.into(),
                    key: key.into(),
                    value: value.clone(),
                });
            }
        }
        let of_key = || self.events().filter(|(_, of, _)| *of == key);
        let is_wanted = |value: &Value| {
            of_key().any(|(_, _, it)| matches!(it, InstanceEvent::Wanted(it) if it.value == *value))
        };
        for (participant, _, event) in of_key() {
            if let InstanceEvent::Accepted(accepted) = event
                && !is_wanted(&accepted.proposal.value)
            {
                violations.push(Violation::Unasked {
                    participant: participant.into(),
                    key: key.into(),
                    value: accepted.proposal.value.clone(),
                });
            }
        }
    }

    /// Proposals with the same ballot have the same value, and a ballot is prepared once.
    fn judge_ballots(&self, key: &str, violations: &mut Vec<Violation>) {
        let mut values: BTreeMap<Ballot, &Value> = BTreeMap::new();
        let mut prepared = BTreeSet::new();
        for (_, _, event) in self.events().filter(|(_, of, _)| *of == key) {
            let reused = match event {
                InstanceEvent::Prepared(it) => (!prepared.insert(it.ballot)).then_some(it.ballot),
                InstanceEvent::Proposed(it) => {
                    let Proposal { ballot, value } = &it.proposal;
                    let first = *values.entry(*ballot).or_insert(value);
                    (first != value).then_some(*ballot)
                }
                _ => None,
            };
            if let Some(ballot) = reused {
                let key = key.into();
                violations.push(Violation::BallotReused { key, ballot });
            }
        }
    }

    /// For each slot, all replicas that executed it did the same with the same result.
    fn compare_replicas(&self, violations: &mut Vec<Violation>) {
        let mut firsts: BTreeMap<u64, (&str, &ReplicaEvent)> = BTreeMap::new();
        for record in &self.participants {
            for event in &record.replica {
                let Some(slot) = slot(event) else { continue };
                let this = (record.participant.as_str(), event);
                let first = *firsts.entry(slot).or_insert(this);
                if first.1 != event {
                    violations.push(Violation::ReplicasDiffer {
                        slot,
                        one: first.0.into(),
                        other: record.participant.clone(),
                    });
                }
            }
        }
    }
}

/// An acceptor processes no ballot below one that it promised or accepted before.
fn judge_promises(record: &Record, violations: &mut Vec<Violation>) {
    let mut promises: BTreeMap<&str, Ballot> = BTreeMap::new();
    for (key, event) in &record.instances {
        let taken = match event {
            InstanceEvent::Promised(it) => it.ballot,
            InstanceEvent::Accepted(it) => it.proposal.ballot,
            _ => continue,
        };
        let promised = promises.entry(key).or_insert(taken);
        if taken < *promised {
            violations.push(Violation::PromiseBroken {
                participant: record.participant.clone(),
                key: key.clone(),
                promised: *promised,
                taken,
            });
        }
        *promised = taken.max(*promised);
    }
}

/// A replica executes slots 1, 2, 3 without gaps, and each request once.
fn judge_replica(record: &Record, violations: &mut Vec<Violation>) {
    let participant = &record.participant;
    let mut expected = 1;
    let mut executed = BTreeSet::new();
    for event in &record.replica {
        let Some(slot) = slot(event) else { continue };
        if slot != expected {
            violations.push(Violation::Gap {
                participant: participant.clone(),
                slot,
                expected,
            });
        }
        expected = slot + 1;
        if let ReplicaEvent::Executed(it) = event
            && !executed.insert(&it.id)
        {
            violations.push(Violation::ExecutedTwice {
                participant: participant.clone(),
                request: it.id.clone(),
            });
        }
    }
}

/// Returns the slot of an event of a replica, if it executed one.
fn slot(event: &ReplicaEvent) -> Option<u64> {
    match event {
        ReplicaEvent::Submitted(_) => None,
        ReplicaEvent::Executed(Executed { slot, .. })
        | ReplicaEvent::Repeated(Repeated { slot, .. }) => Some(*slot),
    }
}
