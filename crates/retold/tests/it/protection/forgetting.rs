//! Forgetting a subject: what is gone, in every process, and what is refused afterwards.

use std::sync::Arc;

use retold::domain::{PastEvent, SubjectExtent, SubjectForgotten, SubjectPart};
use retold::prelude::*;
use retold::protection::{Protection, SubjectKeys, SubjectState};
use retold::recording::{
    Append, EventId, LogRead, MemoryStore, NewEvent, RecordError, Store, StoredEvent, StreamRead,
};
use retold::system::{Deadline, Timers};

use super::{contains, keys, protection};

pub(super) const SECRET: &str = "Ada Lovelace";

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all_fields = "camelCase")]
pub(super) enum CustomerEvent {
    Registered {
        id: u32,
        #[event(subject = "customer:{id}")]
        full_name: Option<String>,
        #[event(subject = "customer:{id}")]
        #[serde(default = "unknown", rename = "mail")]
        mail_address: String,
    },
    #[event(subject = "customer:{id}", erased = forgotten)]
    Wrote {
        id: u32,
        text: String,
    },
    Paid {
        amount: u64,
    },
}

fn forgotten(_: &PastEvent<'_>) -> CustomerEvent {
    forgotten_text()
}

fn forgotten_text() -> CustomerEvent {
    CustomerEvent::Wrote {
        id: 0,
        text: "forgotten".into(),
    }
}

fn unknown() -> String {
    "unknown".into()
}

#[derive(Aggregate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[aggregate(event = CustomerEvent, key = u32, snapshots(every = 1, revision = 1))]
pub(super) struct Customer {
    pub(super) name: Option<String>,
    mail: String,
    pub(super) paid: u64,
}

impl Apply<CustomerEvent> for Customer {
    fn apply(&mut self, event: &CustomerEvent) {
        match event {
            CustomerEvent::Registered {
                full_name,
                mail_address,
                ..
            } => {
                self.name.clone_from(full_name);
                self.mail.clone_from(mail_address);
            }
            CustomerEvent::Wrote { .. } => {}
            CustomerEvent::Paid { amount } => self.paid += amount,
        }
    }
}

pub(super) fn registered(id: u32) -> CustomerEvent {
    CustomerEvent::Registered {
        id,
        full_name: Some(SECRET.into()),
        mail_address: "ada@example.org".into(),
    }
}

/// The stores of a shop, and what a process needs to open it.
pub(super) struct Shop {
    pub(super) store: Arc<MemoryStore>,
    pub(super) key_store: Arc<MemoryStore>,
}

impl Shop {
    pub(super) fn new() -> Self {
        Self {
            store: Arc::new(MemoryStore::new()),
            key_store: Arc::new(MemoryStore::new()),
        }
    }

    pub(super) fn protection(&self) -> Protection {
        let subjects = SubjectKeys::new(self.key_store.clone(), "keys", keys());
        protection().subject_keys(Arc::new(subjects))
    }

    /// Opens the shop as another process would.
    pub(super) async fn open(&self) -> Application {
        let builder = Application::builder("shop").store(self.store.clone());
        builder.protection(self.protection()).open().await.unwrap()
    }

    pub(super) async fn stored(&self) -> Vec<StoredEvent> {
        let log = self.store.open_read_only("shop").await.unwrap();
        log.read_log(LogRead::new()).await.unwrap().events
    }
}

fn state(name: Option<&str>, mail: &str, paid: u64) -> Customer {
    Customer {
        name: name.map(Into::into),
        mail: mail.into(),
        paid,
    }
}

#[test]
fn fields_have_the_names_that_serde_writes() {
    let parts = retold::domain::Event::subjects(&registered(17));
    let expected = ["fullName", "mail"].map(|name| SubjectPart::field("customer:17", name));
    assert_eq!(parts, expected);
    let wrote = CustomerEvent::Wrote {
        id: 17,
        text: "x".into(),
    };
    assert_eq!(wrote.subjects(), [SubjectPart::whole("customer:17")]);
    assert!(CustomerEvent::Paid { amount: 1 }.subjects().is_empty());
    let json = serde_json::to_value(registered(17)).unwrap();
    assert!(json["Registered"]["fullName"].is_string(), "{json}");
}

#[tokio::test]
async fn what_is_forgotten_is_absent_everywhere() {
    let shop = Shop::new();
    let (one, other) = (shop.open().await, shop.open().await);
    let id = Id::<Customer>::from(17);
    one.execute_or_create(id, |_| registered(17)).await.unwrap();
    let paid = |_: &Customer| CustomerEvent::Paid { amount: 5 };
    one.execute(id, paid).await.unwrap();
    let whole = state(Some(SECRET), "ada@example.org", 5);
    // Both have the state in their caches, and there is a snapshot.
    for application in [&one, &other] {
        assert_eq!(application.get(&id).await.unwrap().state, whole);
    }
    assert!(shop.stored().await.iter().all(|it| !contains(it, SECRET)));

    let forgotten = one.forget("customer:17", Some("request 7")).await.unwrap();
    assert!(forgotten.is_new && forgotten.keys_destroyed == 1 && forgotten.count == 1);
    let rest = state(None, "unknown", 5);
    for application in [&one, &other, &shop.open().await] {
        assert_eq!(application.get(&id).await.unwrap().state, rest);
        let at = application
            .get_at(&id, retold::recording::Version::FIRST)
            .await;
        assert_eq!(at.unwrap().state, state(None, "unknown", 0));
    }
    // A decision of a process that had it in its cache does not see it either.
    let seen = other.execute(id, |it: &Customer| {
        assert_eq!(*it, rest);
        CustomerEvent::Paid { amount: 1 }
    });
    seen.await.unwrap();
    let page = other.recorder().read_log(LogRead::new()).await.unwrap();
    assert!(page.events.iter().all(|it| !contains(it, SECRET)));
    assert!(page.events[0].has_forgotten_fields());
}

#[tokio::test]
async fn a_whole_event_is_read_as_erased() {
    let shop = Shop::new();
    let application = shop.open().await;
    let id = Id::<Customer>::from(17);
    let wrote = CustomerEvent::Wrote {
        id: 17,
        text: SECRET.into(),
    };
    let recorded = application.execute_or_create(id, |_| wrote.clone());
    recorded.await.unwrap();
    assert!(!contains(&shop.stored().await[0], SECRET));
    let read = application
        .recorder()
        .read_log(LogRead::new())
        .await
        .unwrap();
    assert!(contains(&read.events[0], SECRET));
    application.forget("customer:17", None).await.unwrap();
    let read = application
        .recorder()
        .read_log(LogRead::new())
        .await
        .unwrap();
    assert!(read.events[0].is_erased());
    // As the type declares.
    let events = application.events::<CustomerEvent>().read();
    let read = events.collect().await.unwrap();
    assert_eq!(read[0].event, forgotten_text());
    application.get(&id).await.unwrap();
}

#[tokio::test]
async fn forgetting_is_recorded_once_and_handled_by_programs() {
    let shop = Shop::new();
    let application = shop.open().await;
    let id = Id::<Customer>::from(17);
    application
        .execute_or_create(id, |_| registered(17))
        .await
        .unwrap();
    // As after a kill between the two steps: the key is destroyed, and the log does not know yet.
    let subjects = shop.protection();
    let subjects = subjects.subjects().unwrap();
    let first = subjects.forget("customer:17", None).await.unwrap();
    for _ in 0..3 {
        let again = application.forget("customer:17", None).await.unwrap();
        assert!(!again.is_new);
        assert_eq!((again.count, again.record), (1, first.record));
    }
    let log = application.events::<SubjectForgotten>().read();
    let events = log.collect().await.unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(&*events[0].event.subject, "customer:17");
    assert!(events[0].stored.has_tag("subject:customer:17"));
}

#[tokio::test]
async fn later_events_are_refused_until_the_subject_is_readmitted() {
    let shop = Shop::new();
    let (one, other) = (shop.open().await, shop.open().await);
    let id = Id::<Customer>::from(17);
    let recorded = one.execute_or_create(id, |_| registered(17));
    recorded.command_id("first").await.unwrap();
    other
        .execute(id, |_: &Customer| registered(17))
        .await
        .unwrap();
    one.forget("customer:17", None).await.unwrap();
    for application in [&one, &other] {
        let refused = application.execute(id, |_: &Customer| registered(17)).await;
        let error = refused.unwrap_err().to_string();
        assert!(
            error.contains("customer:17") && error.contains("forgotten"),
            "{error}"
        );
    }
    // A command that was recorded before is still recognized.
    let repeated = one.execute_or_create(id, |_| registered(17));
    repeated.command_id("first").await.unwrap();
    // Others are not concerned.
    other
        .execute_or_create(Id::<Customer>::from(18), |_| registered(18))
        .await
        .unwrap();

    assert!(other.readmit("customer:17").await.unwrap());
    assert!(!other.readmit("customer:17").await.unwrap());
    one.execute(id, |_: &Customer| registered(17))
        .await
        .unwrap();
    assert_eq!(
        other.get(&id).await.unwrap().state.name.as_deref(),
        Some(SECRET)
    );
    let first = StreamRead::new("Customer/17").limit(1);
    let first = other.recorder().read_stream(first).await.unwrap();
    assert!(
        first.events[0].has_forgotten_fields(),
        "what was forgotten stays forgotten"
    );
    let again = one.forget("customer:17", None).await.unwrap();
    assert_eq!((again.is_new, again.count), (true, 2));
    assert_eq!(other.get(&id).await.unwrap().state.name, None);
}

#[tokio::test]
async fn an_append_that_was_recorded_before_is_repeated_after_forgetting() {
    let shop = Shop::new();
    let application = shop.open().await;
    let mut event = NewEvent::new(EventId::new(Uuid::from_u128(5)), "A", r#"{"a":1}"#);
    event.subjects = vec![SubjectPart::whole("customer:17")];
    let append = Append::of([event]);
    application.recorder().append(append.clone()).await.unwrap();
    application.forget("customer:17", None).await.unwrap();
    let repeated = application.recorder().append(append.clone()).await.unwrap();
    assert!(matches!(repeated, retold::recording::Appended::Repeated(_)));
}

#[tokio::test]
async fn wrong_declarations_record_nothing() {
    let shop = Shop::new();
    let application = shop.open().await;
    let event = |payload: &'static str, parts: &[SubjectPart]| {
        let mut event = NewEvent::new(EventId::new(Uuid::now_v7()), "A", payload);
        event.subjects = parts.to_vec();
        Append::of([event])
    };
    let name = || SubjectPart::field("c:1", "name");
    for (append, part) in [
        (event(r#"{"nom":1}"#, &[name()]), "\"name\""),
        (event("[1]", &[name()]), "is not fields"),
        (
            event(
                r#"{"name":1}"#,
                &[name(), SubjectPart::field("c:2", "name")],
            ),
            "two subjects",
        ),
        (
            event(r#"{"name":1}"#, &[name(), SubjectPart::whole("c:2")]),
            "as a whole",
        ),
        (event("{}", &[SubjectPart::whole("")]), "name of a subject"),
        (
            event("{}", &[SubjectPart::whole("s".repeat(201))]),
            "201 bytes",
        ),
    ] {
        let error = application.recorder().append(append).await.unwrap_err();
        assert!(matches!(error, RecordError::Invalid(_)), "{error}");
        assert!(
            error.to_string().contains(part),
            "{part:?} is not in: {error}"
        );
    }
    let absent = event(r#"{"id":1}"#, &[name().may_be_absent()]);
    application.recorder().append(absent).await.unwrap();
    assert_eq!(
        application.head().await.unwrap().position().unwrap().get(),
        1
    );

    // An application without keys of subjects does not record their data in the clear.
    let plain = Application::builder("plain")
        .store(shop.store.clone())
        .open();
    let plain = plain.await.unwrap();
    let id = Id::<Customer>::from(17);
    let refused = plain.execute_or_create(id, |_| registered(17)).await;
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("no keys for subjects"), "{error}");
    let error = plain.forget("customer:17", None).await.unwrap_err();
    assert!(error.to_string().contains("no keys of subjects"), "{error}");
}

#[tokio::test]
async fn a_program_without_the_log_of_keys_says_what_is_missing() {
    let shop = Shop::new();
    let application = shop.open().await;
    let id = Id::<Customer>::from(17);
    application
        .execute_or_create(id, |_| registered(17))
        .await
        .unwrap();
    let builder = Application::builder("shop").store(shop.store.clone());
    let other = builder.protection(protection()).open().await.unwrap();
    let error = other.get(&id).await.unwrap_err().to_string();
    assert!(error.contains("subject_keys"), "{error}");
    // With another log of keys, the key is missing.
    let subjects = SubjectKeys::new(Arc::new(MemoryStore::new()), "keys", keys());
    let builder = Application::builder("shop").store(shop.store.clone());
    let wrong = builder.protection(protection().subject_keys(Arc::new(subjects)));
    let error = wrong.open().await.unwrap().get(&id).await.unwrap_err();
    assert!(error.to_string().contains("of a subject"), "{error}");
}

/// The parts of one event do not open in another, also of the same subject.
#[tokio::test]
async fn data_of_a_subject_that_was_copied_to_another_event_is_refused() {
    let shop = Shop::new();
    let subjects = SubjectKeys::new(shop.key_store.clone(), "keys", keys());
    let protection = Protection::new().subject_keys(Arc::new(subjects));
    let builder = Application::builder("shop").store(shop.store.clone());
    let application = builder.protection(protection).open().await.unwrap();
    let id = Id::<Customer>::from(17);
    let recorded = application.execute_or_create(id, |_| registered(17));
    recorded.await.unwrap();
    let stored = shop.stored().await.remove(0);
    assert_eq!(stored.encoding_text(), "json.parts");
    let mut copied = NewEvent::new(
        EventId::new(Uuid::from_u128(1)),
        "CustomerEvent.Registered",
        stored.payload_bytes().unwrap(),
    );
    copied.stream = Some("Customer/17".into());
    copied.encoding = stored.encoding().unwrap();
    application
        .recorder()
        .append(Append::of([copied]))
        .await
        .unwrap();
    let page = application
        .recorder()
        .read_log(LogRead::new())
        .await
        .unwrap();
    assert!(page.events[0].seal_fault().is_none());
    let fault = page.events[1].seal_fault().unwrap().to_string();
    assert!(fault.contains("does not open"), "{fault}");
    let payload = stored.payload().unwrap();
    for at in 0..payload.len() {
        let mut altered = payload.to_vec();
        altered[at] ^= 1;
        let id = EventId::new(Uuid::from_u128(100 + at as u128));
        let mut event = NewEvent::new(id, "CustomerEvent.Registered", altered);
        event.encoding = stored.encoding().unwrap();
        application
            .recorder()
            .append(Append::of([event]))
            .await
            .unwrap();
    }
    // Every one is an error or, where the rest was altered, the altered event; none panics.
    application
        .recorder()
        .read_log(LogRead::new())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_timer_of_a_forgotten_subject_does_not_fire() {
    let shop = Shop::new();
    let application = shop.open().await;
    let planned = || CustomerEvent::Wrote {
        id: 17,
        text: SECRET.into(),
    };
    let due = application.now();
    let schedule = |key: &'static str| application.schedule(Deadline::new(key, due, planned()));
    schedule("fires").await.unwrap();
    assert!(shop.stored().await.iter().all(|it| !contains(it, SECRET)));
    let mut timers = Timers::new(application.clone());
    timers.read_on().await.unwrap();
    assert!(timers.fire_next(due).await.unwrap());
    let events = application
        .recorder()
        .read_log(LogRead::new())
        .await
        .unwrap()
        .events;
    assert!(
        events
            .iter()
            .any(|it| it.topic() == "CustomerEvent.Wrote" && contains(it, SECRET))
    );
    assert!(shop.stored().await.iter().all(|it| !contains(it, SECRET)));

    schedule("forgotten").await.unwrap();
    application.forget("customer:17", None).await.unwrap();
    let mut timers = Timers::new(application.clone());
    timers.read_on().await.unwrap();
    assert_eq!(timers.pending_count(), 0);
    assert!(!timers.fire_next(due).await.unwrap());
}

/// Processes that forget, readmit and write at the same time agree at the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_forgetting_and_writing() {
    let shop = Arc::new(Shop::new());
    let mut tasks = Vec::new();
    for number in 0..8_u32 {
        let shop = Arc::clone(&shop);
        tasks.push(tokio::spawn(async move {
            let application = shop.open().await;
            let id = Id::<Customer>::from(number);
            for _ in 0..5 {
                // Refused while it is forgotten.
                let _ = application.execute_or_create(id, |_| registered(17)).await;
                application.forget("customer:17", None).await.unwrap();
                application.readmit("customer:17").await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let application = shop.open().await;
    application.forget("customer:17", None).await.unwrap();
    let page = application
        .recorder()
        .read_log(LogRead::new())
        .await
        .unwrap();
    assert!(page.events.iter().all(|it| !contains(it, SECRET)));
    let subjects = shop.protection();
    let state = subjects.subjects().unwrap().state("customer:17").await;
    assert_eq!(state.unwrap(), SubjectState::Forgotten);
    let log = application.events::<SubjectForgotten>().read();
    let counts: Vec<u64> = log
        .collect()
        .await
        .unwrap()
        .iter()
        .map(|it| it.event.count)
        .collect();
    let sorted: std::collections::BTreeSet<u64> = counts.iter().copied().collect();
    assert_eq!(sorted.len(), counts.len(), "each is recorded once");
}

/// A projection removes what it kept, and a fold that is kept begins again.
#[tokio::test]
async fn views_learn_of_it() {
    use retold::application::fold_of;

    #[derive(Clone, Debug, Default, PartialEq)]
    struct Names(Vec<String>);

    impl Apply<CustomerEvent> for Names {
        fn apply(&mut self, event: &CustomerEvent) {
            if let CustomerEvent::Registered { full_name, .. } = event {
                self.0.extend(full_name.clone());
            }
        }
    }

    let shop = Shop::new();
    let application = shop.open().await;
    let id = Id::<Customer>::from(17);
    application
        .execute_or_create(id, |_| registered(17))
        .await
        .unwrap();
    let names = fold_of::<Names, CustomerEvent>();
    assert_eq!(application.view(names).await.unwrap().state.0, [SECRET]);
    // A view of one aggregate too, although its stream does not change.
    let mut customer = application.view(id).await.unwrap();
    application.forget("customer:17", None).await.unwrap();
    let names = fold_of::<Names, CustomerEvent>();
    assert!(application.view(names).await.unwrap().state.0.is_empty());
    assert_eq!(customer.state.name.as_deref(), Some(SECRET));
    customer.refresh(&application).await.unwrap();
    assert_eq!(customer.state.name, None);
    let extent = SubjectExtent::Whole;
    assert_eq!(SubjectPart::whole("a").extent, extent);
}
