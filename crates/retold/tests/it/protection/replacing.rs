//! Replacing events that have data of subjects: forgetting reaches the new content too.

use retold::prelude::*;
use retold::recording::{EventId, LogRead, Replacement};

use super::forgetting::{CustomerEvent, SECRET, Shop, registered};
use super::{contains, protection};

/// Records an event of a customer, and returns its id.
async fn recorded(application: &Application, event: CustomerEvent) -> EventId {
    let stream = retold::recording::StreamRead::new("Customer/17").backward();
    let id = Id::<super::forgetting::Customer>::from(17);
    let decided = application.execute_or_create(id, |_| event.clone());
    decided.await.unwrap();
    let page = application.recorder().read_stream(stream.limit(1)).await;
    page.unwrap().events[0].id()
}

fn wrote(id: u32) -> CustomerEvent {
    CustomerEvent::Wrote {
        id,
        text: SECRET.into(),
    }
}

/// The first three events are replaced by the program: one without a subject, one with fields of a
/// subject, and one that is data of a subject as a whole.
#[tokio::test]
async fn a_replacement_is_data_of_its_own_subjects() {
    let shop = Shop::new();
    let application = shop.open().await;
    let paid = CustomerEvent::Paid { amount: 1 };
    let amender = application.amender("eve", "request 17").unwrap();
    for (before, after) in [
        (paid.clone(), registered(17)),
        (paid.clone(), wrote(17)),
        (registered(18), wrote(17)),
        (wrote(18), registered(17)),
        (registered(17), paid),
    ] {
        let event = recorded(&application, before).await;
        amender.replace_by(event, &after).await.unwrap();
    }
    assert!(shop.stored().await.iter().all(|it| !contains(it, SECRET)));
    let count = || async {
        let page = application.recorder().read_log(LogRead::new()).await;
        let events = page.unwrap().events;
        events.iter().filter(|it| contains(it, SECRET)).count()
    };
    assert_eq!(count().await, 4);
    application.forget("customer:18", None).await.unwrap();
    assert_eq!(count().await, 4, "they are not data of this subject");
    application.forget("customer:17", None).await.unwrap();
    assert_eq!(count().await, 0);

    // Nothing of a forgotten subject is recorded by a replacement either.
    let event = recorded(&application, CustomerEvent::Paid { amount: 1 }).await;
    let refused = amender.replace_by(event, &wrote(17)).await.unwrap_err();
    assert!(refused.to_string().contains("forgotten"), "{refused}");
}

#[tokio::test]
async fn a_replacement_of_unknown_shape_keeps_the_subjects_or_is_refused() {
    let shop = Shop::new();
    let application = shop.open().await;
    let event = recorded(&application, registered(17)).await;
    let amender = application.amender("eve", "request 17").unwrap();
    let replace = async |payload: &'static str| {
        let stored = application.recorder().event(event).await.unwrap().unwrap();
        let replacement = Replacement::of(&stored, payload).unwrap();
        amender.replace_event(event, replacement).await
    };
    replace(r#"{"id":17,"fullName":"Ada King","mail":"x"}"#)
        .await
        .unwrap();
    let refused = replace(r#"{"id":17,"name":"Ada King"}"#).await.unwrap_err();
    let text = refused.to_string();
    assert!(
        text.contains("\"name\"") && text.contains("replace_by"),
        "{text}"
    );
    assert!(
        shop.stored()
            .await
            .iter()
            .all(|it| !contains(it, "Ada King"))
    );
    let read = application.recorder().event(event).await.unwrap().unwrap();
    assert!(contains(&read, "Ada King"));
    application.forget("customer:17", None).await.unwrap();
    let read = application.recorder().event(event).await.unwrap().unwrap();
    assert!(!contains(&read, "Ada King") && read.has_forgotten_fields());
}

/// Without keys of subjects, the data is not recorded in the clear.
#[tokio::test]
async fn a_program_without_keys_of_subjects_replaces_nothing() {
    let shop = Shop::new();
    let application = shop.open().await;
    let event = recorded(&application, CustomerEvent::Paid { amount: 1 }).await;
    let builder = Application::builder("shop").store(shop.store.clone());
    let other = builder.protection(protection()).open().await.unwrap();
    let amender = other.amender("eve", "request 17").unwrap();
    let refused = amender.replace_by(event, &registered(17)).await;
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("no keys for subjects"), "{error}");
    // Nor is an event replaced that has data of subjects, by content of unknown shape.
    let event = recorded(&application, registered(17)).await;
    let stored = application.recorder().event(event).await.unwrap().unwrap();
    let replacement = Replacement::of(&stored, r#"{"id":17,"fullName":"Ada"}"#).unwrap();
    let refused = amender.replace_event(event, replacement).await;
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("subject_keys"), "{error}");
}
