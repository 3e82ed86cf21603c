//! The bank of these tests: accounts, their events, and the reasons for refusals.

use retold::application::{Fold, fold_of};
use retold::prelude::*;

#[derive(Clone, Debug, PartialEq, Event, Serialize, Deserialize)]
pub(crate) enum AccountEvent {
    #[event(tag = "owner:{owner}", formerly("AccountEvent.Created"))]
    Opened {
        owner: String,
    },
    Deposited {
        cents: i64,
    },
    Withdrawn {
        cents: i64,
    },
}

#[derive(Aggregate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[aggregate(event = AccountEvent, key = String, snapshots(every = 10, revision = 1))]
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

#[derive(Debug, PartialEq)]
pub(crate) enum Refusal {
    InsufficientFunds { missing_cents: i64 },
    TooManyAccounts,
}

impl Account {
    pub(crate) fn withdraw(&self, cents: i64) -> Result<AccountEvent, Refusal> {
        if self.cents < cents {
            let missing_cents = cents - self.cents;
            return Err(Refusal::InsufficientFunds { missing_cents });
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

pub(crate) fn account(key: &str) -> Id<Account> {
    key.into()
}

/// The number of accounts of an owner.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Count(pub(crate) usize);

impl Apply<AccountEvent> for Count {
    fn apply(&mut self, event: &AccountEvent) {
        if let AccountEvent::Opened { .. } = event {
            self.0 += 1;
        }
    }
}

pub(crate) fn accounts_of(owner: &str) -> Fold<Count> {
    fold_of::<Count, AccountEvent>()
        .only("AccountEvent.Opened")
        .tag(format!("owner:{owner}"))
}
