//! Many concurrent callers, on two openings of one store, have the same result as a single caller.

use std::time::Duration;

use retold::application::{ExecuteError, Outcome};
use retold::recording::Version;

use super::bank::{Account, Refusal, account, accounts_of, deposited, opened};
use super::{Place, on_every_store};

on_every_store!(
    no_update_is_lost,
    requests_of_one_id_are_executed_once,
    decisions_hold,
    money_is_neither_made_nor_lost,
);

/// Guards a test against hanging; it measures nothing.
async fn soon<F: Future>(future: F) -> F::Output {
    let patience = Duration::from_secs(120);
    let in_time = tokio::time::timeout(patience, future).await;
    in_time.expect("it ends in time")
}

async fn no_update_is_lost(place: Place) {
    let banks = [place.open().await, place.open().await];
    let id = account("1");
    banks[0]
        .execute_or_create(&id, |_| opened("ann"))
        .await
        .unwrap();
    let tasks: Vec<_> = (0..128_usize)
        .map(|index| {
            let (bank, id) = (banks[index % 2].clone(), id.clone());
            tokio::spawn(async move {
                for _ in 0..2 {
                    let seen = |account: &Account| deposited(account.cents % 2 + 1);
                    bank.execute(&id, seen).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        soon(task).await.unwrap();
    }
    let account = banks[0].get(&id).await.unwrap();
    assert_eq!(account.version.get(), 257);
    // 1, 3, 5, …: every deposit was decided on the state before it.
    assert_eq!(account.state.cents, 1 + 255 * 2);
}

async fn requests_of_one_id_are_executed_once(place: Place) {
    let banks = [place.open().await, place.open().await];
    let id = account("1");
    banks[0]
        .execute_or_create(&id, |_| opened("ann"))
        .await
        .unwrap();
    for round in 0..10_u32 {
        let tasks: Vec<_> = (0..6_usize)
            .map(|index| {
                let (bank, id) = (banks[index % 2].clone(), id.clone());
                // They decide on different numbers of events, as requests at different times can.
                let deposits = vec![deposited(1); 1 + index % 3];
                tokio::spawn(async move {
                    bank.execute(&id, |_| deposits.clone())
                        .command_id(format!("round {round}"))
                        .await
                })
            })
            .collect();
        let mut answers = Vec::new();
        for task in tasks {
            answers.push(soon(task).await.unwrap().unwrap());
        }
        let executed = |it: &&retold::application::Recorded| it.outcome == Outcome::Recorded;
        assert_eq!(answers.iter().filter(executed).count(), 1);
        let first = &answers[0];
        assert!(answers.iter().all(|it| it.positions == first.positions));
        assert!(answers.iter().all(|it| it.version == first.version));
        let (one, two) = (
            banks[0].get(&id).await.unwrap(),
            banks[1].get(&id).await.unwrap(),
        );
        assert_eq!(one, two);
        assert_eq!(Some(one.version), first.version);
        assert_eq!(one.state.cents as u64, one.version.get() - 1);
    }
}

async fn decisions_hold(place: Place) {
    let banks = [place.open().await, place.open().await];
    let owners = ["ann", "bob", "cid"];
    let tasks: Vec<_> = (0..30_usize)
        .map(|index| {
            let (bank, owner) = (banks[index % 2].clone(), owners[index / 2 % 3]);
            let id = account(&index.to_string());
            tokio::spawn(async move {
                bank.decide(accounts_of(owner), |accounts| match accounts.0 {
                    0..2 => Ok(retold::prelude::Addressed::to(opened(owner), &id)),
                    _ => Err(Refusal::TooManyAccounts),
                })
                .await
            })
        })
        .collect();
    let mut opened_count = 0;
    for task in tasks {
        match soon(task).await.unwrap() {
            Ok(_) => opened_count += 1,
            Err(ExecuteError::Refused(refusal)) => assert_eq!(refusal, Refusal::TooManyAccounts),
            Err(ExecuteError::Retold(error)) => panic!("{error}"),
        }
    }
    assert_eq!(opened_count, 6);
    let all = banks[1]
        .view(owners.map(accounts_of).to_vec())
        .await
        .unwrap();
    assert!(all.state.iter().all(|it| it.0 == 2));
}

async fn money_is_neither_made_nor_lost(place: Place) {
    let banks = [place.open().await, place.open().await];
    let ids = ["1", "2", "3"].map(account);
    for id in &ids {
        banks[0]
            .execute_or_create(id, |_| [opened("ann"), deposited(10)])
            .await
            .unwrap();
    }
    let tasks: Vec<_> = (0..30_usize)
        .map(|index| {
            let bank = banks[index % 2].clone();
            let pair = (
                ids[index % 3].clone(),
                ids[(index + 1 + index % 2) % 3].clone(),
            );
            tokio::spawn(async move {
                bank.change(pair, |(from, to)| {
                    from.record(from.withdraw(7)?);
                    to.record(deposited(7));
                    Ok::<_, Refusal>(())
                })
                .await
            })
        })
        .collect();
    for task in tasks {
        match soon(task).await.unwrap() {
            Ok(_) | Err(ExecuteError::Refused(Refusal::InsufficientFunds { .. })) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    for bank in [&banks[0], &banks[1], &place.open().await] {
        let view = bank.view(ids.to_vec()).await.unwrap();
        assert_eq!(view.state.iter().map(|it| it.cents).sum::<i64>(), 30);
        assert!(
            view.state.iter().all(|it| it.cents >= 0),
            "{:?}",
            view.state
        );
        let first = bank.get_at(&ids[0], Version::FIRST).await.unwrap();
        assert_eq!(first.state.cents, 0);
    }
}
