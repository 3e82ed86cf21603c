//! Tests that the invariants detect violations: histories that no participant would record, each
//! reported by name.

use retold_paxos::ballot::Ballot;
use retold_paxos::command::{Answer, Command, Value};
use retold_paxos::electorate::Electorate;
use retold_paxos::invariants::{History, Record, Violation};
use retold_paxos::message::{
    Accepted, Decided, InstanceEvent, Prepared, Promised, Proposal, Proposed, Wanted,
};
use retold_paxos::replica::{Executed, Repeated, ReplicaEvent};

const KEY: &str = "drink";

fn value(text: &str) -> Value {
    text.into()
}

fn proposal(round: u32, text: &str) -> Proposal {
    let ballot = Ballot::new(round, 0);
    let value = value(text);
    Proposal { ballot, value }
}

fn wanted(text: &str) -> InstanceEvent {
    let value = value(text);
    Wanted { value }.into()
}

fn prepared(round: u32) -> InstanceEvent {
    let ballot = Ballot::new(round, 0);
    let majority = 2;
    Prepared { ballot, majority }.into()
}

fn promised(round: u32) -> InstanceEvent {
    let ballot = Ballot::new(round, 0);
    let accepted = None;
    Promised { ballot, accepted }.into()
}

fn proposed(round: u32, text: &str) -> InstanceEvent {
    let proposal = proposal(round, text);
    Proposed { proposal }.into()
}

fn accepted(round: u32, text: &str) -> InstanceEvent {
    let proposal = proposal(round, text);
    Accepted { proposal }.into()
}

fn decided(text: &str) -> InstanceEvent {
    let value = value(text);
    Decided { value }.into()
}

fn executed(slot: u64, id: &str) -> ReplicaEvent {
    Executed {
        slot,
        id: id.into(),
        command: Command::get("a"),
        answer: Answer::Missing,
    }
    .into()
}

/// Returns the violations if three participants recorded these events of one instance.
#[track_caller]
fn check<const N: usize>(instances: [&[InstanceEvent]; 3], expected: [Violation; N]) {
    let records = (0..).zip(instances).map(|(index, events)| Record {
        participant: format!("p{index}"),
        instances: events.iter().map(|it| (KEY.into(), it.clone())).collect(),
        replica: Vec::new(),
    });
    let violations = History::of(records).violations(Electorate::of(3).unwrap());
    assert_eq!(violations, expected);
}

#[test]
fn recorded_histories_have_no_violations() {
    check(
        [
            &[
                wanted("tea"),
                prepared(1),
                promised(1),
                proposed(1, "tea"),
                accepted(1, "tea"),
                decided("tea"),
            ],
            &[promised(1), accepted(1, "tea"), decided("tea")],
            &[decided("tea")],
        ],
        [],
    );
}

#[test]
fn two_chosen_values_are_detected() {
    let (tea, milk) = (value("tea"), value("milk"));
    let both: &[_] = &[accepted(1, "tea"), accepted(2, "milk")];
    check(
        [&[wanted("tea"), wanted("milk")], both, both],
        [Violation::SeveralChosen {
            key: KEY.into(),
            values: vec![tea, milk],
        }],
    );
}

#[test]
fn a_decision_without_a_majority_is_detected() {
    // Two acceptances, but of different ballots.
    check(
        [
            &[wanted("tea"), accepted(1, "tea")],
            &[accepted(2, "tea")],
            &[decided("tea")],
        ],
        [Violation::DecidedUnchosen {
            participant: "p2".into(),
            key: KEY.into(),
            value: value("tea"),
        }],
    );
}

#[test]
fn different_decisions_are_detected() {
    let of = |participant: &str, text| (participant.to_owned(), value(text));
    let chosen: &[_] = &[wanted("tea"), accepted(1, "tea"), decided("tea")];
    check(
        [chosen, &[accepted(1, "tea")], &[decided("milk")]],
        [
            Violation::DecidedDifferently {
                key: KEY.into(),
                values: vec![of("p0", "tea"), of("p2", "milk")],
            },
            Violation::DecidedUnchosen {
                participant: "p2".into(),
                key: KEY.into(),
                value: value("milk"),
            },
        ],
    );
    // One participant is enough.
    check(
        [
            chosen,
            &[accepted(1, "tea"), decided("tea"), decided("tea")],
            &[],
        ],
        [Violation::DecidedDifferently {
            key: KEY.into(),
            values: vec![of("p0", "tea"), of("p1", "tea"), of("p1", "tea")],
        }],
    );
}

#[test]
fn a_value_that_no_client_proposed_is_detected() {
    check(
        [&[wanted("tea")], &[accepted(1, "milk")], &[]],
        [Violation::Unasked {
            participant: "p1".into(),
            key: KEY.into(),
            value: value("milk"),
        }],
    );
}

#[test]
fn a_broken_promise_is_detected() {
    let broken = Violation::PromiseBroken {
        participant: "p1".into(),
        key: KEY.into(),
        promised: Ballot::new(2, 0),
        taken: Ballot::new(1, 0),
    };
    for taken in [accepted(1, "tea"), promised(1)] {
        check(
            [&[wanted("tea")], &[promised(2), taken], &[]],
            [broken.clone()],
        );
    }
}

#[test]
fn a_ballot_that_is_used_twice_is_detected() {
    let reused = Violation::BallotReused {
        key: KEY.into(),
        ballot: Ballot::new(1, 0),
    };
    check([&[prepared(1)], &[prepared(1)], &[]], [reused.clone()]);
    check(
        [&[proposed(1, "tea")], &[proposed(1, "milk")], &[]],
        [reused],
    );
}

/// Returns the violations if two replicas recorded these events.
#[track_caller]
fn check_replicas<const N: usize>(replicas: [&[ReplicaEvent]; 2], expected: [Violation; N]) {
    let records = (0..).zip(replicas).map(|(index, events)| Record {
        participant: format!("p{index}"),
        instances: Vec::new(),
        replica: events.to_vec(),
    });
    let violations = History::of(records).violations(Electorate::of(3).unwrap());
    assert_eq!(violations, expected);
}

#[test]
fn diverging_replicas_are_detected() {
    let repeated = |slot| {
        ReplicaEvent::from(Repeated {
            slot,
            id: "1".into(),
        })
    };
    check_replicas(
        [
            &[executed(1, "1"), executed(2, "2"), repeated(3)],
            &[executed(1, "1"), executed(2, "2")],
        ],
        [],
    );
    check_replicas(
        [&[executed(1, "1")], &[executed(1, "2")]],
        [Violation::ReplicasDiffer {
            slot: 1,
            one: "p0".into(),
            other: "p1".into(),
        }],
    );
    check_replicas(
        [&[executed(1, "1"), executed(3, "3")], &[]],
        [Violation::Gap {
            participant: "p0".into(),
            slot: 3,
            expected: 2,
        }],
    );
    check_replicas(
        [&[executed(1, "1"), executed(2, "1")], &[]],
        [Violation::ExecutedTwice {
            participant: "p0".into(),
            request: "1".into(),
        }],
    );
}
