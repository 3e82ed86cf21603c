//! Tests of the rules of the algorithm: given a participant's events, when it receives a message,
//! then it records these events.

use retold::testing::given;
use retold_paxos::ballot::Ballot;
use retold_paxos::command::{Answer, Command, Request, Value};
use retold_paxos::electorate::Candidate;
use retold_paxos::instance::{BALLOTS_MAX, Instance, Refusal};
use retold_paxos::message::{
    AcceptanceCounted, Accepted, Decided, InstanceEvent, Prepared, PromiseCounted, Promised,
    Proposal, Proposed, Refused, RetryDue, Wanted, Yielded,
};
use retold_paxos::replica::{Busy, Executed, PENDING_MAX, Repeated, Replica, Submitted};

const ME: Candidate = Candidate {
    index: 1,
    majority: 2,
};

fn wanted() -> InstanceEvent {
    let value = "tea".into();
    Wanted { value }.into()
}

fn prepared(round: u32, proposer: u32) -> Prepared {
    let ballot = Ballot::new(round, proposer);
    let majority = 2;
    Prepared { ballot, majority }
}

fn promised(round: u32, proposer: u32) -> Promised {
    let ballot = Ballot::new(round, proposer);
    let accepted = None;
    Promised { ballot, accepted }
}

fn proposal(round: u32, proposer: u32, value: &str) -> Proposal {
    let ballot = Ballot::new(round, proposer);
    let value = value.into();
    Proposal { ballot, value }
}

fn proposed(round: u32, proposer: u32, value: &str) -> Proposed {
    let proposal = proposal(round, proposer, value);
    Proposed { proposal }
}

fn accepted(round: u32, proposer: u32, value: &str) -> Accepted {
    let proposal = proposal(round, proposer, value);
    Accepted { proposal }
}

fn refused(asked: (u32, u32), promised: (u32, u32)) -> Refused {
    Refused {
        ballot: Ballot::new(asked.0, asked.1),
        promised: Ballot::new(promised.0, promised.1),
    }
}

fn counted(acceptor: &str, accepted: Option<Proposal>) -> PromiseCounted {
    let acceptor = acceptor.into();
    PromiseCounted { acceptor, accepted }
}

fn acceptance(acceptor: &str) -> AcceptanceCounted {
    let acceptor = acceptor.into();
    AcceptanceCounted { acceptor }
}

fn decided(value: &str) -> Decided {
    let value = value.into();
    Decided { value }
}

fn yielded(to: (u32, u32), retry_after_ms: impl Into<Option<u64>>) -> Yielded {
    Yielded {
        to: Ballot::new(to.0, to.1),
        retry_after_ms: retry_after_ms.into(),
    }
}

/// A proposer that wants tea and has prepared its first ballot.
fn bidding() -> Vec<InstanceEvent> {
    vec![wanted(), prepared(1, 1).into()]
}

fn with(mut events: Vec<InstanceEvent>, more: impl Into<InstanceEvent>) -> Vec<InstanceEvent> {
    events.push(more.into());
    events
}

#[test]
fn ballots_are_distinct_and_increasing() {
    let rows = [
        (None, 1, (1, 1)),
        (Some((1, 0)), 1, (1, 1)),
        (Some((1, 1)), 1, (2, 1)),
        (Some((3, 2)), 1, (4, 1)),
    ];
    for (seen, proposer, expected) in rows {
        let seen = seen.map(|(round, proposer)| Ballot::new(round, proposer));
        let ballot = Ballot::above(seen, proposer);
        assert_eq!(ballot, Ballot::new(expected.0, expected.1));
        assert!(Some(ballot) > seen);
    }
}

#[test]
fn a_proposer_prepares_once_for_one_value() {
    let tea = Value::from("tea");
    let propose = move |it: &Instance| it.propose(ME, &tea);
    given::<Instance>([]).when(propose.clone()).then(bidding());
    given::<Instance>(bidding())
        .when(propose.clone())
        .then_nothing();
    // When asked again after it has yielded, it bids above the rival.
    given::<Instance>(with(bidding(), yielded((1, 2), 1_000)))
        .when(propose.clone())
        .then(prepared(2, 1));
    // It bids above what it has promised to others.
    given::<Instance>([promised(5, 2).into()])
        .when(propose.clone())
        .then(vec![wanted(), prepared(6, 1).into()]);
    given::<Instance>([decided("tea").into()])
        .when(propose)
        .then_refused(Refusal::Decided("tea".into()));
    given::<Instance>(bidding())
        .when(|it| it.propose(ME, &"milk".into()))
        .then_refused(Refusal::WantsAnother("tea".into()));
}

/// Phase 1(b), and P1a: no promise is broken.
#[test]
fn an_acceptor_promises_only_higher_ballots() {
    let asked = prepared(2, 1);
    let promise = |it: &Instance| it.promise(&asked);
    given::<Instance>([]).when(promise).then(promised(2, 1));
    given::<Instance>([promised(2, 0).into()])
        .when(promise)
        .then(promised(2, 1));
    for (round, proposer) in [(2, 1), (2, 2), (3, 0)] {
        given::<Instance>([promised(round, proposer).into()])
            .when(promise)
            .then(refused((2, 1), (round, proposer)));
    }
    given::<Instance>([accepted(1, 2, "tea").into()])
        .when(promise)
        .then(Promised {
            accepted: Some(proposal(1, 2, "tea")),
            ..promised(2, 1)
        });
    given::<Instance>([accepted(3, 0, "tea").into()])
        .when(promise)
        .then(refused((2, 1), (3, 0)));
    given::<Instance>([decided("tea").into()])
        .when(promise)
        .then_nothing();
}

/// Phase 2(a), and P2c: the value of the highest-numbered proposal that was accepted.
#[test]
fn a_majority_of_promises_leads_to_a_proposal() {
    let first = given::<Instance>(bidding())
        .when(|it| it.count_promise("a", &promised(1, 1)))
        .then(counted("a", None));
    first
        .and()
        .when(|it| it.count_promise("a", &promised(1, 1)))
        .then_nothing()
        .and()
        .when(|it| it.count_promise("b", &promised(1, 1)))
        .then(vec![
            InstanceEvent::from(counted("b", None)),
            proposed(1, 1, "tea").into(),
        ])
        .and()
        .when(|it| it.count_promise("c", &promised(1, 1)))
        .then_nothing();
    // With another ballot.
    given::<Instance>(bidding())
        .when(|it| it.count_promise("a", &promised(1, 0)))
        .then_nothing();
    given::<Instance>([])
        .when(|it| it.count_promise("a", &promised(1, 1)))
        .then_nothing();

    let rows = [
        (None, Some((1, 0, "milk")), "milk"),
        (Some((1, 0, "milk")), None, "milk"),
        (Some((1, 0, "milk")), Some((1, 2, "rum")), "rum"),
        (Some((1, 2, "rum")), Some((1, 0, "milk")), "rum"),
    ];
    for (one, other, expected) in rows {
        let [one, other] = [one, other].map(|it| it.map(|(round, by, it)| proposal(round, by, it)));
        let events = [wanted(), prepared(2, 1).into(), counted("a", one).into()];
        let promise = Promised {
            accepted: other.clone(),
            ..promised(2, 1)
        };
        given::<Instance>(events)
            .when(|it| it.count_promise("b", &promise))
            .then(vec![
                InstanceEvent::from(counted("b", other)),
                proposed(2, 1, expected).into(),
            ]);
    }
}

/// Phase 2(b).
#[test]
fn an_acceptor_accepts_unless_it_promised_a_higher_ballot() {
    let asked = proposed(2, 1, "tea");
    let accept = |it: &Instance| it.accept(&asked);
    given::<Instance>([])
        .when(accept)
        .then(accepted(2, 1, "tea"));
    for (round, proposer) in [(1, 2), (2, 1)] {
        given::<Instance>([promised(round, proposer).into()])
            .when(accept)
            .then(accepted(2, 1, "tea"));
    }
    given::<Instance>([promised(2, 2).into()])
        .when(accept)
        .then(refused((2, 1), (2, 2)));
    given::<Instance>([decided("tea").into()])
        .when(accept)
        .then_nothing();
}

/// Section 2.3.
#[test]
fn a_majority_of_acceptances_decides() {
    given::<Instance>(with(bidding(), proposed(1, 1, "tea")))
        .when(|it| it.count_acceptance("a", &accepted(1, 1, "tea")))
        .then(acceptance("a"))
        .and()
        .when(|it| it.count_acceptance("a", &accepted(1, 1, "tea")))
        .then_nothing()
        .and()
        .when(|it| it.count_acceptance("b", &accepted(1, 0, "milk")))
        .then_nothing()
        .and()
        .when(|it| it.count_acceptance("b", &accepted(1, 1, "tea")))
        .then(vec![
            InstanceEvent::from(acceptance("b")),
            decided("tea").into(),
        ])
        .and()
        .when(|it| it.count_acceptance("c", &accepted(1, 1, "tea")))
        .then_nothing();
    given::<Instance>([])
        .when(|it| it.learn(&decided("tea")))
        .then(decided("tea"))
        .and()
        .when(|it| it.learn(&decided("tea")))
        .then_nothing();
}

#[test]
fn a_refused_proposer_outbids_lower_ones_and_yields_to_higher_ones() {
    given::<Instance>(bidding())
        .when(|it| it.hear_refusal(&refused((1, 1), (2, 0))))
        .then(prepared(2, 1))
        .and()
        // The second refusal of the same ballot changes nothing.
        .when(|it| it.hear_refusal(&refused((1, 1), (2, 0))))
        .then_nothing();
    given::<Instance>(bidding())
        .when(|it| it.hear_refusal(&refused((1, 1), (1, 2))))
        .then(yielded((1, 2), 1_000))
        .and()
        .when(|it| it.hear_refusal(&refused((1, 1), (3, 2))))
        .then_nothing()
        .and()
        // It keeps counting messages that still arrive.
        .when(|it| it.count_promise("a", &promised(1, 1)))
        .then(counted("a", None));
    given::<Instance>([])
        .when(|it| it.hear_refusal(&refused((1, 1), (2, 0))))
        .then_nothing();
    given::<Instance>(with(bidding(), decided("milk")))
        .when(|it| it.hear_refusal(&refused((1, 1), (2, 0))))
        .then_nothing();
}

#[test]
fn a_proposer_that_yielded_retries_a_limited_number_of_times() {
    let due = |round| RetryDue {
        key: "drink".into(),
        ballot: Ballot::new(round, 1),
    };
    given::<Instance>(with(bidding(), yielded((1, 2), 1_000)))
        .when(|it| it.retry(&due(1)))
        .then(prepared(2, 1))
        .and()
        .when(|it| it.retry(&due(1)))
        .then_nothing()
        .and()
        .when(|it| it.hear_refusal(&refused((2, 1), (2, 2))))
        .then(yielded((2, 2), 2_000));
    given::<Instance>(bidding())
        .when(|it| it.retry(&due(1)))
        .then_nothing();
    given::<Instance>(with(
        with(bidding(), yielded((1, 2), 1_000)),
        decided("milk"),
    ))
    .when(|it| it.retry(&due(1)))
    .then_nothing();

    let mut events = vec![wanted()];
    events.extend((1..=BALLOTS_MAX).map(|round| prepared(round, 1).into()));
    given::<Instance>(events)
        .when(|it| it.hear_refusal(&refused((BALLOTS_MAX, 1), (BALLOTS_MAX, 2))))
        .then(yielded((BALLOTS_MAX, 2), None));
}

fn request(id: &str, command: Command) -> Request {
    Request::new(id, command)
}

fn submitted(request: &Request) -> Submitted {
    Submitted {
        request: request.clone(),
        candidate: ME,
    }
}

fn executed(slot: u64, request: &Request, answer: Answer) -> Executed {
    Executed {
        slot,
        id: request.id.clone(),
        command: request.command.clone(),
        answer,
    }
}

#[test]
fn a_replica_executes_slot_by_slot() {
    let (set, get) = (
        request("1", Command::set("a", "x")),
        request("2", Command::get("a")),
    );
    let answer = Answer::Value("x".into());
    given::<Replica>([])
        .when(|it| it.execute(2, &get))
        .then_nothing()
        .and()
        .when(|it| it.execute(1, &set))
        .then(executed(1, &set, Answer::Done))
        .and()
        .when(|it| it.execute(1, &set))
        .then_nothing()
        .and()
        .when(|it| it.execute(2, &get))
        .then(executed(2, &get, answer))
        .and()
        .when(|it| it.execute(3, &set))
        .then(Repeated {
            slot: 3,
            id: "1".into(),
        })
        .then_state(|it| assert_eq!((it.next_slot(), it.value("a")), (4, Some("x"))));
}

#[test]
fn a_replica_accepts_a_request_once_and_a_limited_number() {
    let one = request("1", Command::get("a"));
    given::<Replica>([])
        .when(|it| it.submit(ME, &one))
        .then(submitted(&one))
        .then_state(|it| {
            assert!(it.awaits(&one, ME));
            assert!(!it.awaits(&one, Candidate { index: 0, ..ME }));
            assert!(!it.awaits(&request("2", Command::get("a")), ME));
        })
        .and()
        .when(|it| it.submit(ME, &one))
        .then_nothing()
        .and()
        .when(|it| it.execute(1, &one))
        .then(executed(1, &one, Answer::Missing))
        .then_state(|it| assert!(!it.awaits(&one, ME)))
        .and()
        .when(|it| it.submit(ME, &one))
        .then_nothing();
    let many = (0..PENDING_MAX).map(|id| submitted(&request(&id.to_string(), Command::get("a"))));
    given::<Replica>(many.map(Into::into))
        .when(|it| it.submit(ME, &request("more", Command::get("a"))))
        .then_refused(Busy::Pending);
}
