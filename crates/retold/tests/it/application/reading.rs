//! Reading back: at a version, at a time, from snapshots; and many logs in one store.

use std::sync::Arc;
use std::time::Duration;

use retold::application::Error;
use retold::domain::ManualClock;
use retold::prelude::*;
use retold::recording::{StoredSnapshot, Version};

use super::bank::{Account, account, deposited, opened};
use super::{Place, on_every_store};

on_every_store!(
    aggregates_are_read_at_versions_and_times,
    snapshots_are_hints,
    many_logs_in_one_store_are_independent,
);

async fn aggregates_are_read_at_versions_and_times(place: Place) {
    let clock = Arc::new(ManualClock::new(Timestamp::from_micros(0)));
    let store = retold::open_store(&place.url).await.unwrap();
    let builder = Application::builder("bank").store(store);
    let bank = builder.clock(clock.clone()).open().await.unwrap();
    let id = account("1");
    bank.execute_or_create(&id, |_| opened("ann"))
        .await
        .unwrap();
    for _ in 0..24 {
        clock.advance(Duration::from_secs(1));
        bank.execute(&id, |_| deposited(1)).await.unwrap();
    }
    for bank in [bank, place.open().await] {
        for cents in [0, 1, 8, 9, 10, 23, 24] {
            let version = Version::new(cents as u64 + 1).unwrap();
            let then = bank.get_at(&id, version).await.unwrap();
            assert_eq!((then.state.cents, then.version), (cents, version));
            let time = Timestamp::from_micros(cents * 1_000_000 + 999_999);
            let then = bank.get_as_of(&id, time).await.unwrap();
            assert_eq!((then.state.cents, then.version), (cents, version));
        }
        let before = bank.get_as_of(&id, Timestamp::from_micros(-1)).await;
        assert!(matches!(before, Err(Error::NotFound { .. })));
        let later = bank.get_at(&id, Version::new(26).unwrap()).await;
        assert!(matches!(
            later,
            Err(Error::NotFound {
                version: Some(_),
                ..
            })
        ));
    }
}

async fn snapshots_are_hints(place: Place) {
    let bank = place.open().await;
    let id = account("1");
    bank.execute_or_create(&id, |_| opened("ann"))
        .await
        .unwrap();
    for _ in 0..24 {
        bank.execute(&id, |_| deposited(1)).await.unwrap();
    }
    let log = bank.recorder();
    let taken = log.snapshot("Account/1", None).await.unwrap().unwrap();
    assert_eq!(taken.version.get(), 20);
    assert_eq!(bank.take_snapshot(&id).await.unwrap().get(), 25);
    bank.take_snapshot_at(&id, Version::new(15).unwrap())
        .await
        .unwrap();
    let until = Version::new(19);
    let taken = log.snapshot("Account/1", until).await.unwrap().unwrap();
    assert_eq!(&taken.payload[..], br#"{"owner":"ann","cents":14}"#);
    let forged = r#"{"owner":"ann","cents":1000}"#;
    for (version, state_type, payload) in [
        (20, "Dog", forged),
        (20, "Account", "{"),
        (26, "Account", forged),
    ] {
        bank.drop_snapshots(&id).await.unwrap();
        let version = Version::new(version).unwrap();
        let snapshot = StoredSnapshot::new("Account/1", version, state_type, payload);
        log.put_snapshot(snapshot).await.unwrap();
        let fresh = place.open().await;
        assert_eq!(fresh.get(&id).await.unwrap().state.cents, 24);
    }
}

async fn many_logs_in_one_store_are_independent(place: Place) {
    let mut tenants = vec![place.open().await];
    for number in 1..100 {
        let another = tenants[0].another(format!("tenant {number}"));
        tenants.push(another.open().await.unwrap());
    }
    for (cents, tenant) in (0..).zip(&tenants) {
        tenant
            .execute_or_create("1", |_: &Account| [opened("ann"), deposited(cents)])
            .await
            .unwrap();
    }
    for (cents, tenant) in (0..).zip(&tenants) {
        assert_eq!(tenant.get(account("1")).await.unwrap().state.cents, cents);
        assert_eq!(tenant.head().await.unwrap().append_count, 1);
    }
}
