//! Opening stores and applications by URL.

use retold::prelude::*;
use retold::recording::RecordError;
use retold::{Error, open_store, open_store_read_only};

#[derive(Event, Serialize, Deserialize)]
struct DogBorn {
    name: String,
}

#[derive(Aggregate, Clone, Default)]
#[aggregate(event = DogBorn)]
struct Dog {
    name: String,
}

impl Apply<DogBorn> for Dog {
    fn apply(&mut self, event: &DogBorn) {
        self.name.clone_from(&event.name);
    }
}

fn born(name: &str) -> DogBorn {
    DogBorn { name: name.into() }
}

/// Opens, records, opens again and reads.
async fn check_reopen(url: &str) {
    let fido = {
        let school = Application::open("school", url).await.unwrap();
        school.create::<Dog>(born("Fido")).await.unwrap()
    };
    let school = Application::open("school", url).await.unwrap();
    assert_eq!(school.get(fido).await.unwrap().state.name, "Fido", "{url}");
    let read_only = open_store_read_only(url).await.unwrap();
    let log = read_only.open_read_only("school").await.unwrap();
    assert_eq!(log.head().await.unwrap().append_count, 1, "{url}");
}

#[tokio::test]
async fn recorded_events_survive_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dogs.db");
    let path = path.display();
    check_reopen("memory:recorded_events_survive_reopening").await;
    check_reopen(&format!("sqlite:{path}")).await;
    let other = folder.path().join("other.db");
    let other = other.display();
    check_reopen(&format!("sqlite://{other}?synchronous=normal")).await;
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn recorded_events_in_a_server_survive_reopening() {
    check_reopen(&xtask::postgres_server::database()).await;
}

#[cfg(feature = "postgres")]
#[test]
fn a_program_without_a_runtime_uses_a_server() {
    use retold::blocking::{BlockingApplication, Wait};
    let url = xtask::postgres_server::database();
    let school = BlockingApplication::open("school", &url).unwrap();
    let fido = school.create::<Dog>(born("Fido")).wait().unwrap();
    assert_eq!(school.get(fido).unwrap().state.name, "Fido");
}

#[tokio::test]
async fn names_in_memory_are_separate() {
    let url = "memory:names_in_memory_are_separate";
    let school = Application::open("school", url).await.unwrap();
    school.create::<Dog>(born("Fido")).await.unwrap();
    let other = open_store("memory:names_in_memory_are_separate-2")
        .await
        .unwrap();
    assert_eq!(other.logs(None, 1).await.unwrap(), []);
}

#[tokio::test]
async fn opening_for_reading_creates_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("dogs.db").display());
    let opened = open_store_read_only(&url).await;
    assert!(matches!(opened, Err(RecordError::Unavailable(_))));
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
}

#[tokio::test]
async fn an_unknown_url_is_refused_with_the_known_forms() {
    let error = Application::open("school", "dogs.db").await.err().unwrap();
    assert!(matches!(error, Error::Invalid(_)));
    assert!(
        error.to_string().contains("write sqlite:dogs.db"),
        "{error}"
    );

    let error = Application::open("", "memory:x").await.err().unwrap();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
}
