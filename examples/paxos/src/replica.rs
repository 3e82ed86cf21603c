//! The replica: one participant's copy of the key-value store, which executes the commands in the order
//! of their slots.
//!
//! This is the "state machine" of "Paxos Made Simple", section 3: a sequence of instances, one for each
//! slot, agrees on the sequence of commands; whoever executes the same commands in the same order comes
//! to the same state and the same answers.

use std::collections::{BTreeMap, BTreeSet};

use retold::prelude::*;

use crate::command::{Answer, Command, Request};
use crate::electorate::Candidate;

/// Key of the one replica that each participant has.
pub const REPLICA: &str = "store";

/// Requests of one participant that wait for their slots at once. Together with those of all others they
/// are as many slots as one reaction may have to look at, and one append holds the conditions of 500.
pub const PENDING_MAX: usize = 25;

/// A client has given a request to this participant, which is to find a slot for it.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Store.Submitted")]
#[allow(clippy::exhaustive_structs, reason = "events are written out in tests")]
pub struct Submitted {
    /// The request.
    pub request: Request,
    /// The participant as it proposes.
    pub candidate: Candidate,
}

/// The command that was decided for the next slot is executed.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Store.Executed", tag = "request:{id}")]
#[allow(clippy::exhaustive_structs, reason = "events are written out in tests")]
pub struct Executed {
    /// The slot: 1, 2, 3, without gaps.
    pub slot: u64,
    /// Id of the request.
    pub id: String,
    /// Its command.
    pub command: Command,
    /// What it came to.
    pub answer: Answer,
}

/// For the next slot a request was decided that had been executed before, for it was given to several
/// participants: nothing is done.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Store.Repeated")]
#[allow(clippy::exhaustive_structs, reason = "events are written out in tests")]
pub struct Repeated {
    /// The slot.
    pub slot: u64,
    /// Id of the request.
    pub id: String,
}

/// What can happen to a replica.
#[derive(Event, Clone, Debug, PartialEq, Eq)]
#[event(join)]
#[allow(
    clippy::exhaustive_enums,
    reason = "whoever reads them wants to know of a new one"
)]
pub enum ReplicaEvent {
    /// A request came.
    Submitted(Submitted),
    /// A command is executed.
    Executed(Executed),
    /// A request came to a slot twice.
    Repeated(Repeated),
}

/// One participant's copy of the store.
#[derive(Aggregate, Clone, Debug, Default, PartialEq)]
#[aggregate(event = ReplicaEvent, type = "Replica", key = String)]
pub struct Replica {
    /// Slots that are executed.
    slots: u64,
    values: BTreeMap<String, String>,
    executed: BTreeSet<String>,
    /// Ids of own requests that are not executed yet.
    pending: BTreeSet<String>,
    candidate: Option<Candidate>,
}

/// Why a request is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Busy {
    /// As many wait already as may.
    #[error("{PENDING_MAX} requests wait for their slots already; send it again later")]
    Pending,
}

impl Replica {
    /// The slot whose command is executed next, counted from 1.
    pub fn next_slot(&self) -> u64 {
        self.slots + 1
    }

    /// The value of a key.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// All keys with their values.
    pub fn values(&self) -> &BTreeMap<String, String> {
        &self.values
    }

    /// Takes a request; one that is known already, only once.
    ///
    /// # Errors
    ///
    /// [`Busy`] if too many wait.
    pub fn submit(
        &self,
        candidate: Candidate,
        request: &Request,
    ) -> Result<Option<Submitted>, Busy> {
        if self.executed.contains(&request.id) || self.pending.contains(&request.id) {
            return Ok(None);
        }
        if self.pending.len() >= PENDING_MAX {
            return Err(Busy::Pending);
        }
        Ok(Some(Submitted {
            request: request.clone(),
            candidate,
        }))
    }

    /// Whether this participant itself took the request, and still waits for it.
    pub fn awaits(&self, request: &Request, candidate: Candidate) -> bool {
        self.candidate == Some(candidate) && self.pending.contains(&request.id)
    }

    /// Executes the request that was decided for a slot; nothing if it is not this slot's turn.
    pub fn execute(&self, slot: u64, request: &Request) -> Option<ReplicaEvent> {
        if slot != self.next_slot() {
            return None;
        }
        let id = request.id.clone();
        if self.executed.contains(&id) {
            return Some(Repeated { slot, id }.into());
        }
        let command = request.command.clone();
        let answer = self.answer(&command);
        let executed = Executed {
            slot,
            id,
            command,
            answer,
        };
        Some(executed.into())
    }

    fn answer(&self, command: &Command) -> Answer {
        match command {
            Command::Get { key } => match self.values.get(key) {
                Some(value) => Answer::Value(value.clone()),
                None => Answer::Missing,
            },
            Command::Set { .. } => Answer::Done,
            Command::Rename { from: key, .. } | Command::Delete { key } => {
                match self.values.contains_key(key) {
                    true => Answer::Done,
                    false => Answer::Missing,
                }
            }
        }
    }
}

impl Apply<ReplicaEvent> for Replica {
    fn apply(&mut self, event: &ReplicaEvent) {
        match event {
            ReplicaEvent::Submitted(submitted) => {
                self.pending.insert(submitted.request.id.clone());
                self.candidate = Some(submitted.candidate);
            }
            ReplicaEvent::Repeated(repeated) => {
                self.slots = repeated.slot;
                self.pending.remove(&repeated.id);
            }
            ReplicaEvent::Executed(executed) => {
                self.slots = executed.slot;
                self.pending.remove(&executed.id);
                self.executed.insert(executed.id.clone());
                match &executed.command {
                    Command::Get { .. } => {}
                    Command::Set { key, value } => {
                        self.values.insert(key.clone(), value.clone());
                    }
                    Command::Rename { from, to } => {
                        if let Some(value) = self.values.remove(from) {
                            self.values.insert(to.clone(), value);
                        }
                    }
                    Command::Delete { key } => {
                        self.values.remove(key);
                    }
                }
            }
        }
    }
}
