//! The replica: one participant's copy of the key-value store, which executes the commands in the
//! order of their slots.
//!
//! This is the "state machine" of "Paxos Made Simple", section 3. A sequence of instances, one per
//! slot, agrees on the sequence of commands. Replicas that execute the same commands in the same
//! order reach the same state and return the same results.

use std::collections::{BTreeMap, BTreeSet};

use retold::prelude::*;

use crate::command::{Answer, Command, Request};
use crate::electorate::Candidate;

/// Key of the single replica of each participant.
pub const REPLICA: &str = "store";

/// Maximum number of pending requests of one participant. The pending requests of all participants
/// determine how many slots one reaction may have to read, and an append holds at most 500
/// conditions.
pub const PENDING_MAX: usize = 25;

/// A client has submitted a request to this participant, which has to obtain a slot for it.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Store.Submitted")]
#[allow(clippy::exhaustive_structs, reason = "tests construct it")]
pub struct Submitted {
    /// The request.
    pub request: Request,
    /// This participant as proposer.
    pub candidate: Candidate,
}

/// The command decided for the next slot was executed.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Store.Executed", tag = "request:{id}")]
#[allow(clippy::exhaustive_structs, reason = "tests construct it")]
pub struct Executed {
    /// The slot: 1, 2, 3, without gaps.
    pub slot: u64,
    /// Id of the request.
    pub id: String,
    /// The command.
    pub command: Command,
    /// The result.
    pub answer: Answer,
}

/// The request decided for the next slot had been executed before, because it was submitted to
/// several participants; nothing was done.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "Store.Repeated")]
#[allow(clippy::exhaustive_structs, reason = "tests construct it")]
pub struct Repeated {
    /// The slot.
    pub slot: u64,
    /// Id of the request.
    pub id: String,
}

/// The events of a replica.
#[derive(Event, Clone, Debug, PartialEq, Eq)]
#[event(join)]
#[allow(
    clippy::exhaustive_enums,
    reason = "a new event should fail to compile where these are read"
)]
pub enum ReplicaEvent {
    /// A request was submitted.
    Submitted(Submitted),
    /// A command was executed.
    Executed(Executed),
    /// A request was decided for a second slot.
    Repeated(Repeated),
}

/// One participant's copy of the store.
#[derive(Aggregate, Clone, Debug, Default, PartialEq)]
#[aggregate(event = ReplicaEvent, type = "Replica", key = String)]
pub struct Replica {
    /// Number of executed slots.
    slots: u64,
    values: BTreeMap<String, String>,
    executed: BTreeSet<String>,
    /// Ids of this participant's requests that are not executed yet.
    pending: BTreeSet<String>,
    candidate: Option<Candidate>,
}

/// Why a request is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Busy {
    /// Too many requests are pending.
    #[error("{PENDING_MAX} requests are pending already; retry later")]
    Pending,
}

impl Replica {
    /// Returns the slot whose command is executed next, from 1.
    pub fn next_slot(&self) -> u64 {
        self.slots + 1
    }

    /// Returns the value of a key.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// Returns all keys with their values.
    pub fn values(&self) -> &BTreeMap<String, String> {
        &self.values
    }

    /// Accepts a request. A known request is accepted only once.
    ///
    /// # Errors
    ///
    /// [`Busy`] if too many requests are pending.
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

    /// Returns whether this participant accepted the request and has not executed it yet.
    pub fn awaits(&self, request: &Request, candidate: Candidate) -> bool {
        self.candidate == Some(candidate) && self.pending.contains(&request.id)
    }

    /// Executes the request decided for a slot; does nothing if another slot is next.
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
