//! Accounts: a second domain of these tests, with an aggregate, and rules across its boundary.

use retold_core::domain::{Aggregate, Apply, Event, EventType, SnapshotRule, Tags, content};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The events of accounts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum AccountEvent {
    Opened { owner: String },
    Deposited { cents: i64 },
    Withdrawn { cents: i64 },
}

impl Event for AccountEvent {
    const TYPES: &'static [EventType] = &[
        EventType::of::<Self>("AccountEvent.Opened").formerly(&["AccountEvent.Created"]),
        EventType::of::<Self>("AccountEvent.Deposited"),
        EventType::of::<Self>("AccountEvent.Withdrawn"),
    ];

    fn type_index(&self) -> usize {
        match self {
            Self::Opened { .. } => 0,
            Self::Deposited { .. } => 1,
            Self::Withdrawn { .. } => 2,
        }
    }

    fn tags(&self) -> Tags {
        match self {
            Self::Opened { owner } => Tags::from([format!("owner:{owner}").into()]),
            _ => Tags::new(),
        }
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

/// An account and its balance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) owner: String,
    pub(crate) cents: i64,
}

impl Apply<AccountEvent> for Account {
    fn apply(&mut self, event: &AccountEvent) {
        match event {
            AccountEvent::Opened { owner } => self.owner.clone_from(owner),
            AccountEvent::Deposited { cents } => self.cents += cents,
            AccountEvent::Withdrawn { cents } => self.cents -= cents,
        }
    }
}

impl Aggregate for Account {
    type Event = AccountEvent;
    type Key = String;
    const TYPE: &'static str = "Account";
    const SNAPSHOTS: Option<SnapshotRule<Self>> = Some(SnapshotRule::new(10, 1));
}

/// Why a withdrawal or the opening of an account is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("there are {missing_cents} cents too few")]
    InsufficientFunds { missing_cents: i64 },
    #[error("the owner has {count} accounts already")]
    TooManyAccounts { count: usize },
}

impl Account {
    pub(crate) fn withdraw(&self, cents: i64) -> Result<AccountEvent, Refusal> {
        if self.cents < cents {
            return Err(Refusal::InsufficientFunds {
                missing_cents: cents - self.cents,
            });
        }
        Ok(AccountEvent::Withdrawn { cents })
    }
}

pub(crate) fn opened(owner: &str) -> AccountEvent {
    AccountEvent::Opened {
        owner: owner.into(),
    }
}

pub(crate) fn deposited(cents: i64) -> AccountEvent {
    AccountEvent::Deposited { cents }
}

/// How many accounts an owner has: a fold over a dynamic boundary.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct AccountCount(pub(crate) usize);

impl Apply<AccountEvent> for AccountCount {
    fn apply(&mut self, event: &AccountEvent) {
        if let AccountEvent::Opened { .. } = event {
            self.0 += 1;
        }
    }
}
