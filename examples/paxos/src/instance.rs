//! The instance: one run of the algorithm, for one key, as seen by one participant. This module
//! contains all its rules, and is pure.
//!
//! The algorithm is that of Leslie Lamport, "Paxos Made Simple" (2001), section 2. Each participant
//! is proposer, acceptor and learner at the same time (section 2.5), and its part of an instance is
//! one aggregate in its own application. As a learner, a proposer counts the acceptances of its own
//! proposal and informs the others: the "distinguished learner" of section 2.3. If it is down at
//! that time, the next proposer finds the chosen value in phase 1.
//!
//! # Duels
//!
//! Two proposers can keep outbidding each other forever. No deterministic rule alone prevents that
//! while one of them may be down: section 2.4 requires "either randomness or real time". This
//! implementation works as follows:
//!
//! - A proposer that is refused because of a ballot of a proposer with a *lower* index tries its
//!   next ballot immediately.
//! - A proposer that is refused because of a ballot of one with a *higher* index yields, and keeps
//!   counting messages that still arrive. If nothing is decided after a while, it tries again:
//!   after [`RETRY_AFTER`], doubled with each ballot, for at most [`BALLOTS_MAX`] ballots; after
//!   that, only when a client asks again.
//!
//! A duel therefore ends without any time passing: the proposer with the lowest index does not
//! retry at all, and each other proposer retries at most once per ballot of those below it. The
//! proposer with the highest index succeeds, or is down. In the latter case, time passes and the
//! others retry.

use std::collections::BTreeSet;
use std::time::Duration;

use retold::prelude::*;

use crate::ballot::Ballot;
use crate::command::Value;
use crate::electorate::Candidate;
use crate::message::{
    AcceptanceCounted, Accepted, Decided, InstanceEvent, Prepared, PromiseCounted, Promised,
    Proposal, Proposed, Refused, RetryDue, Wanted, Yielded,
};

/// First wait of a proposer that has yielded. It is much longer than reaching agreement takes,
/// which is a few successive appends.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Maximum number of times the wait is doubled. It then is about a minute.
pub const RETRY_DOUBLINGS_MAX: u32 = 6;

/// Number of ballots after which a proposer that has yielded stops retrying on its own. With the
/// doubled waits, that is about ten minutes. A proposer that has not succeeded by then needs an
/// operator, not more events.
pub const BALLOTS_MAX: u32 = 16;

/// One instance, as seen by one participant.
#[derive(Aggregate, Clone, Debug, Default, PartialEq)]
#[aggregate(event = InstanceEvent, type = "Instance", key = String)]
pub struct Instance {
    wanted: Option<Value>,
    bid: Option<Bid>,
    /// Number of ballots that this participant has begun.
    ballots: u32,
    promised: Option<Ballot>,
    accepted: Option<Proposal>,
    decided: Option<Value>,
}

/// The current attempt of a proposer.
#[derive(Clone, Debug, PartialEq)]
struct Bid {
    ballot: Ballot,
    majority: u32,
    promises: BTreeSet<String>,
    /// The proposal with the highest number among those that the promising acceptors had accepted.
    found: Option<Proposal>,
    proposed: Option<Value>,
    acceptances: BTreeSet<String>,
    yields_to: Option<Ballot>,
}

/// Reasons why a value is not proposed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The instance is decided, and accepts no more proposals.
    #[error("already decided: {0:?}")]
    Decided(Value),
    /// This participant has proposed another value for the instance.
    #[error("this participant has already proposed {0:?}")]
    WantsAnother(Value),
}

impl Instance {
    /// Returns the value that is known to be chosen.
    pub fn decided(&self) -> Option<&Value> {
        self.decided.as_ref()
    }

    /// Returns the value that a client of this participant wants.
    pub fn wanted(&self) -> Option<&Value> {
        self.wanted.as_ref()
    }

    /// Returns this participant as proposer; `None` if it has never proposed.
    pub fn candidate(&self) -> Option<Candidate> {
        self.bid.as_ref().map(|bid| Candidate {
            index: bid.ballot.proposer,
            majority: bid.majority,
        })
    }

    /// Proposes a value for a client, beginning with phase 1(a). If the same value was proposed
    /// before, the participant tries its next ballot if it has yielded, and otherwise does nothing.
    ///
    /// # Errors
    ///
    /// [`Refusal`] if the instance is decided, or this participant has proposed another value for
    /// it.
    pub fn propose(
        &self,
        candidate: Candidate,
        value: &Value,
    ) -> Result<Vec<InstanceEvent>, Refusal> {
        if let Some(decided) = &self.decided {
            return Err(Refusal::Decided(decided.clone()));
        }
        let mut events = Vec::new();
        match (&self.wanted, &self.bid) {
            (Some(wanted), _) if wanted != value => {
                return Err(Refusal::WantsAnother(wanted.clone()));
            }
            (Some(_), Some(bid)) if bid.yields_to.is_none() => return Ok(events),
            (Some(_), _) => {}
            (None, _) => events.push(
                Wanted {
                    value: value.clone(),
                }
                .into(),
            ),
        }
        events.push(self.prepare(candidate).into());
        Ok(events)
    }

    /// Phase 1(a): begins the next ballot, above all ballots seen.
    fn prepare(&self, candidate: Candidate) -> Prepared {
        let rival = self.bid.as_ref().and_then(|bid| bid.yields_to);
        let own = self.bid.as_ref().map(|bid| bid.ballot);
        let seen = self.promised.max(rival).max(own);
        Prepared {
            ballot: Ballot::above(seen, candidate.index),
            majority: candidate.majority,
        }
    }

    /// Phase 1(b): promises a ballot that is above all promised ones, and refuses others. An
    /// acceptor that knows the decision does not need to reply, because the proposer follows the
    /// log that contains the decision.
    pub fn promise(&self, asked: &Prepared) -> Option<InstanceEvent> {
        if self.decided.is_some() {
            return None;
        }
        let ballot = asked.ballot;
        Some(match self.promised {
            Some(promised) if promised >= ballot => Refused { ballot, promised }.into(),
            _ => Promised {
                ballot,
                accepted: self.accepted.clone(),
            }
            .into(),
        })
    }

    /// Phase 2(a): counts a promise. With a majority of promises, proposes the value of the
    /// highest-numbered proposal that any of these acceptors accepted, or the wanted value if there
    /// is none.
    pub fn count_promise(&self, acceptor: &str, promised: &Promised) -> Vec<InstanceEvent> {
        let Some(bid) = self.open_bid(promised.ballot) else {
            return Vec::new();
        };
        if bid.proposed.is_some() || bid.promises.contains(acceptor) {
            return Vec::new();
        }
        let counted = PromiseCounted {
            acceptor: acceptor.into(),
            accepted: promised.accepted.clone(),
        };
        let mut with = bid.clone();
        with.count(&counted);
        let mut events = vec![counted.into()];
        if with.promises.len() >= with.majority as usize {
            let found = with.found.map(|it| it.value);
            if let Some(value) = found.or_else(|| self.wanted.clone()) {
                let ballot = bid.ballot;
                let proposal = Proposal { ballot, value };
                events.push(Proposed { proposal }.into());
            }
        }
        events
    }

    /// Phase 2(b): accepts a proposal unless a higher ballot is promised.
    pub fn accept(&self, asked: &Proposed) -> Option<InstanceEvent> {
        if self.decided.is_some() {
            return None;
        }
        let ballot = asked.proposal.ballot;
        Some(match self.promised {
            Some(promised) if promised > ballot => Refused { ballot, promised }.into(),
            _ => Accepted {
                proposal: asked.proposal.clone(),
            }
            .into(),
        })
    }

    /// Section 2.3: counts an acceptance of the participant's own proposal. With a majority of
    /// acceptances, its value is chosen.
    pub fn count_acceptance(&self, acceptor: &str, accepted: &Accepted) -> Vec<InstanceEvent> {
        let Proposal { ballot, value } = &accepted.proposal;
        let Some(bid) = self.open_bid(*ballot) else {
            return Vec::new();
        };
        if bid.acceptances.contains(acceptor) {
            return Vec::new();
        }
        let acceptor = acceptor.to_owned();
        let mut events = vec![AcceptanceCounted { acceptor }.into()];
        if bid.acceptances.len() + 1 >= bid.majority as usize {
            let value = value.clone();
            events.push(Decided { value }.into());
        }
        events
    }

    /// Sections 2.2 and 2.4: reacts to a refusal of the current ballot; see the [module](self).
    pub fn hear_refusal(&self, refused: &Refused) -> Option<InstanceEvent> {
        let bid = self.open_bid(refused.ballot)?;
        let to = refused.promised;
        let own = bid.ballot.proposer;
        if to.proposer < own {
            let seen = self.promised.max(Some(to)).max(Some(bid.ballot));
            let ballot = Ballot::above(seen, own);
            let majority = bid.majority;
            return Some(Prepared { ballot, majority }.into());
        }
        bid.yields_to.is_none().then(|| {
            let retry_after_ms = self.retry_after_ms();
            Yielded { to, retry_after_ms }.into()
        })
    }

    fn retry_after_ms(&self) -> Option<u64> {
        let doublings = self.ballots.saturating_sub(1).min(RETRY_DOUBLINGS_MAX);
        let after = RETRY_AFTER * (1 << doublings);
        (self.ballots < BALLOTS_MAX).then(|| u64::try_from(after.as_millis()).unwrap_or(u64::MAX))
    }

    /// Begins the next ballot after the wait for a rival, if that wait was the latest one and
    /// nothing is decided.
    pub fn retry(&self, due: &RetryDue) -> Option<InstanceEvent> {
        let bid = self.open_bid(due.ballot)?;
        bid.yields_to?;
        Some(self.prepare(self.candidate()?).into())
    }

    /// Section 2.3: learns the chosen value from another participant.
    pub fn learn(&self, decided: &Decided) -> Option<InstanceEvent> {
        match self.decided {
            None => Some(decided.clone().into()),
            Some(_) => None,
        }
    }

    /// Returns the current bid if it has this ballot and nothing is decided.
    fn open_bid(&self, ballot: Ballot) -> Option<&Bid> {
        let bid = self.bid.as_ref().filter(|bid| bid.ballot == ballot);
        bid.filter(|_| self.decided.is_none())
    }
}

impl Bid {
    fn count(&mut self, promise: &PromiseCounted) {
        self.promises.insert(promise.acceptor.clone());
        let ballot = |it: &Option<Proposal>| it.as_ref().map(|it| it.ballot);
        if ballot(&promise.accepted) > ballot(&self.found) {
            self.found.clone_from(&promise.accepted);
        }
    }
}

impl Apply<InstanceEvent> for Instance {
    fn apply(&mut self, event: &InstanceEvent) {
        match (event, &mut self.bid) {
            (InstanceEvent::Wanted(wanted), _) => self.wanted = Some(wanted.value.clone()),
            (InstanceEvent::Prepared(prepared), _) => {
                self.ballots += 1;
                self.bid = Some(Bid {
                    ballot: prepared.ballot,
                    majority: prepared.majority,
                    promises: BTreeSet::new(),
                    found: None,
                    proposed: None,
                    acceptances: BTreeSet::new(),
                    yields_to: None,
                });
            }
            (InstanceEvent::Promised(promised), _) => self.promised = Some(promised.ballot),
            (InstanceEvent::Accepted(accepted), _) => {
                self.promised = Some(accepted.proposal.ballot);
                self.accepted = Some(accepted.proposal.clone());
            }
            (InstanceEvent::Decided(decided), _) => self.decided = Some(decided.value.clone()),
            (InstanceEvent::PromiseCounted(counted), Some(bid)) => bid.count(counted),
            (InstanceEvent::Proposed(proposed), Some(bid)) => {
                bid.proposed = Some(proposed.proposal.value.clone());
            }
            (InstanceEvent::AcceptanceCounted(counted), Some(bid)) => {
                bid.acceptances.insert(counted.acceptor.clone());
            }
            (InstanceEvent::Yielded(yielded), Some(bid)) => bid.yields_to = Some(yielded.to),
            (
                InstanceEvent::Refused(_)
                | InstanceEvent::PromiseCounted(_)
                | InstanceEvent::Proposed(_)
                | InstanceEvent::AcceptanceCounted(_)
                | InstanceEvent::Yielded(_),
                _,
            ) => {}
        }
    }
}
