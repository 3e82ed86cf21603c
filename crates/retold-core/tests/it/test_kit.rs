//! The test kit: passing cases, and the texts of failures.

use std::panic::{AssertUnwindSafe, catch_unwind};

use retold_core::application::{Fold, fold_of};
use retold_core::domain::{Event, EventType, Id, content};
use retold_core::mapping::{Addressed, AnyEvent};
use retold_core::testing::{given, given_log};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::accounts::{self, Account, AccountCount, AccountEvent, deposited, opened};
use crate::dogs::{Dog, DogEvent, Refusal, registered, trick_added};

/// Returns the text of a failing case.
fn message(case: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(case)).expect_err("the case must fail");
    match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(panic) => panic.downcast_ref::<&str>().copied().unwrap().into(),
    }
}

#[test]
fn cases_pass_that_hold() {
    given::<Dog>([registered("Fido")])
        .when(|dog| dog.add_trick("sit"))
        .then(trick_added("sit"))
        .then_state(|dog| assert_eq!(dog.tricks, ["sit"]))
        .and()
        .when_named("teaching the same again", |dog| dog.add_trick("sit"))
        .then_nothing()
        .and()
        .when(|_| [trick_added("roll"), DogEvent::Walked])
        .then(vec![trick_added("roll"), DogEvent::Walked])
        .and()
        .when(|dog| dog.add_trick("fly"))
        .then_refused(Refusal::TooManyTricks { known: 2 })
        .then_state(|dog| assert_eq!(dog.tricks.len(), 2));
    given::<Dog>([])
        .then_state(|dog| assert_eq!(dog, &Dog::default()))
        .when(|dog| dog.add_trick("sit"))
        .then_refused(Refusal::NotRegistered);
}

#[test]
fn other_events_are_shown_side_by_side() {
    let text = message(|| {
        given::<Dog>([registered("Fido"), DogEvent::Walked])
            .when_named("teaching a trick", |dog| dog.add_trick("roll over"))
            .then([trick_added("sit"), DogEvent::Walked]);
    });
    assert_eq!(
        text,
        r#"other events were decided than expected

given
   1. DogEvent.Registered
      {
        "name": "Fido"
      }
   2. DogEvent.Walked
when
      teaching a trick

      expected                        | actual
>  1. DogEvent.TrickAdded [trick:sit] | DogEvent.TrickAdded [trick:roll over]   <- the first difference
      {                               | {
        "trick": "sit"                |   "trick": "roll over"
      }                               | }
   2. DogEvent.Walked                 | nothing
"#
    );
}

#[test]
fn a_refusal_is_shown_with_the_expected_result() {
    let text = message(|| {
        given::<Dog>([])
            .when(|dog| dog.add_trick("sit"))
            .then(DogEvent::Walked);
    });
    assert_eq!(
        text,
        "the decision was refused, but it was expected to be accepted

given
      nothing
when
      it is decided

      expected        | actual
>  1. DogEvent.Walked | refused: NotRegistered   <- the first difference
"
    );
}

#[test]
fn a_missing_refusal_is_reported() {
    let check = |text: String, first: &str, rest: &str| {
        assert_eq!(text.lines().next(), Some(first), "{text}");
        assert!(text.contains(rest), "{text}");
    };
    let case = || given::<Dog>([registered("Fido")]);
    check(
        message(|| {
            let decided = case().when(|dog| dog.add_trick("sit"));
            decided.then_refused(Refusal::NotRegistered);
        }),
        "a refusal was expected, but the decision was accepted",
        ">  1. refused: NotRegistered | DogEvent.TrickAdded [trick:sit]",
    );
    check(
        message(|| {
            let decided = case().when(|_| Err::<DogEvent, _>(Refusal::NotRegistered));
            decided.then_refused(Refusal::TooManyTricks { known: 2 });
        }),
        "the decision was refused for another reason",
        "
>  1. refused: TooManyTricks { | refused: NotRegistered   <- the first difference
          known: 2,            |
      }                        |
",
    );
    check(
        message(|| {
            case().when(|dog| dog.add_trick("sit")).then_nothing();
        }),
        "no events were expected, but some were decided",
        ">  1. nothing  | DogEvent.TrickAdded [trick:sit]   <- the first difference
               | {
               |   \"trick\": \"sit\"
               | }
",
    );
    check(
        message(|| {
            case().when(|_| ()).then(DogEvent::Walked);
        }),
        "other events were decided than expected",
        ">  1. DogEvent.Walked | nothing   <- the first difference",
    );
}

/// An event whose serde attributes lose data.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Forgetful {
    Noted {
        #[serde(skip_deserializing)]
        text: String,
    },
    Lost {
        #[serde(rename(serialize = "a"))]
        b: u8,
    },
}

impl Event for Forgetful {
    const TYPES: &'static [EventType] = &[
        EventType::of::<Self>("Forgetful.Noted"),
        EventType::of::<Self>("Forgetful.Lost"),
    ];

    fn type_index(&self) -> usize {
        usize::from(matches!(self, Self::Lost { .. }))
    }

    fn serialize_payload<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        content::serialize_variant(self, serializer)
    }

    fn deserialize_payload<'de, D: Deserializer<'de>>(
        type_index: usize,
        deserializer: D,
    ) -> Result<Self, D::Error> {
        content::deserialize_variant(type_index, deserializer)
    }
}

#[derive(Clone, Default)]
struct Notebook;

impl retold_core::domain::Apply<Forgetful> for Notebook {
    fn apply(&mut self, _: &Forgetful) {}
}

impl retold_core::domain::Aggregate for Notebook {
    type Event = Forgetful;
    type Key = String;
    const TYPE: &'static str = "Notebook";
}

#[test]
fn events_that_do_not_survive_being_recorded_are_found() {
    let text = message(|| {
        let _ = given::<Notebook>([Forgetful::Noted { text: "x".into() }]);
    });
    assert!(
        text.starts_with(
            "an event \"Forgetful.Noted\" is not recorded, because it cannot be read back \
             unchanged: at `text`: it is written as \"x\" and comes back as \"\""
        ),
        "{text}"
    );
    let text = message(|| {
        let _ = given::<Notebook>([]).when(|_| Forgetful::Lost { b: 1 });
    });
    assert!(text.contains("missing field `b`"), "{text}");
}

fn count_of(owner: &str) -> Fold<AccountCount> {
    fold_of::<AccountCount, AccountEvent>()
        .only("AccountEvent.Opened")
        .tag(format!("owner:{owner}"))
}

/// No owner has more than two accounts.
fn open(count: &AccountCount, owner: &str, key: &str) -> Result<AnyEvent, accounts::Refusal> {
    if count.0 >= 2 {
        return Err(accounts::Refusal::TooManyAccounts { count: count.0 });
    }
    Ok(opened(owner).to(&account(key)))
}

fn account(key: &str) -> Id<Account> {
    Id::new(key.into())
}

#[test]
fn cases_of_a_log_pass_that_hold() {
    given_log((
        opened("ann").to(&account("1")),
        opened("bob").to(&account("2")),
        registered("Fido"),
    ))
    .then_view(count_of("ann"), |count| assert_eq!(count.0, 1))
    .when(count_of("ann"), |count| open(count, "ann", "3"))
    .then(opened("ann").to(&account("3")))
    .and()
    .when_named("a third account", count_of("ann"), |count| {
        open(count, "ann", "4")
    })
    .then_refused(accounts::Refusal::TooManyAccounts { count: 2 })
    .and()
    .when((account("1"), account("3")), |(from, to)| {
        assert_eq!((from.owner.as_str(), to.owner.as_str()), ("ann", "ann"));
        (
            AccountEvent::Withdrawn { cents: 5 }.to(&account("1")),
            deposited(5).to(&account("3")),
        )
    })
    .then((
        AccountEvent::Withdrawn { cents: 5 }.to(&account("1")),
        deposited(5).to(&account("3")),
    ))
    .then_view(account("3"), |account| assert_eq!(account.cents, 5));
    given_log(()).when(count_of("ann"), |_| ()).then_nothing();
}

#[test]
fn a_failure_over_a_log_names_what_the_model_did_not_read() {
    let text = message(|| {
        given_log((
            opened("ann").to(&account("1")),
            opened("bob").to(&account("2")),
            DogEvent::Walked,
        ))
        .when_named("opening another", count_of("ann"), |count| {
            open(count, "ann", "3")
        })
        .then(opened("ann").to(&account("4")));
    });
    assert_eq!(
        text,
        r#"other events were decided than expected

given
   1. AccountEvent.Opened -> Account/1 [owner:ann]
      {
        "owner": "ann"
      }
   2. AccountEvent.Opened -> Account/2 [owner:bob]
      {
        "owner": "bob"
      }
   3. DogEvent.Walked
      the model does not read 2., 3.
when
      opening another

      expected                                     | actual
>  1. AccountEvent.Opened -> Account/4 [owner:ann] | AccountEvent.Opened -> Account/3 [owner:ann]   <- the first difference
      {                                            | {
        "owner": "ann"                             |   "owner": "ann"
      }                                            | }
"#
    );
    let text = message(|| {
        given_log(opened("bob"))
            .when(count_of("ann"), |count| open(count, "ann", "3"))
            .then_nothing();
    });
    assert!(text.contains("the model reads none of them"), "{text}");
}

#[test]
fn a_case_of_a_log_runs_with_and_without_a_runtime() {
    let case = || {
        given_log(opened("ann"))
            .when(count_of("ann"), |count| open(count, "ann", "3"))
            .then(opened("ann").to(&account("3")));
    };
    case();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async { case() });
}
