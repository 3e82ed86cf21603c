//! `retold forget`, and the keys of the command line.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use retold::domain::SubjectForgotten;
use retold::prelude::*;
use retold::protection::{KeyRing, Protection, SubjectKeys, SubjectState};
use serde_json::{Value, json};

use crate::command::{Run, retold, run};
use crate::store::Place;

const SECRET: &str = "Ada Lovelace";

#[derive(Event, Serialize, Deserialize, Clone)]
struct Registered {
    id: u32,
    #[event(subject = "customer:{id}")]
    name: Option<String>,
}

#[derive(Aggregate, Clone, Default)]
#[aggregate(event = Registered, key = u32)]
struct Customer {}

impl Apply<Registered> for Customer {
    fn apply(&mut self, _: &Registered) {}
}

/// A store with two protected logs, a log of keys, and a key file.
struct Shop {
    place: Place,
    key_file: String,
}

impl Shop {
    fn new() -> Self {
        let place = Place::new();
        let shop = Self {
            key_file: key_file(&place, "keys", "ab", 0o600),
            place,
        };
        for log in ["orders", "letters"] {
            let application = shop.open(log);
            for id in [17, 18] {
                let name = Some(SECRET.to_owned());
                let registered = Registered { id, name };
                let customer = Id::<Customer>::from(id);
                let create = application.execute_or_create(customer, |_| registered.clone());
                shop.place.block_on(create.into_future());
            }
        }
        shop
    }

    fn subjects(&self) -> SubjectKeys {
        let keys = KeyRing::from_file(&self.key_file).unwrap();
        SubjectKeys::new(self.place.open(), "keys", keys)
    }

    fn open(&self, log: &str) -> Application {
        let keys = KeyRing::from_file(&self.key_file).unwrap();
        let protection = Protection::new().keys(keys);
        let protection = protection.subject_keys(Arc::new(self.subjects()));
        let builder = Application::builder(log).store(self.place.open());
        let builder = builder.aggregate::<Customer>().protection(protection);
        self.place.block_on(builder.open())
    }

    /// The names in a log.
    fn names(&self, log: &str) -> Vec<Option<String>> {
        let reading = self.open(log).events::<Registered>().read();
        let events = self.place.block_on(reading.collect());
        events.into_iter().map(|it| it.event.name).collect()
    }

    fn state(&self, subject: &str) -> SubjectState {
        self.place.block_on(self.subjects().state(subject))
    }

    fn forget(&self, subject: &str, options: &[&str]) -> Run {
        self.forget_with(&self.key_file, subject, options)
    }

    fn forget_with(&self, key_file: &str, subject: &str, options: &[&str]) -> Run {
        let url = self.place.url();
        let arguments = ["forget", &*url, subject, "--key-file", key_file];
        let reason = ["--reason", "request 4711", "--by", "eve"];
        run(&[&arguments[..], &reason, options].concat())
    }

    /// The events of a log as the store has them.
    fn raw(&self, log: &str) -> Vec<Value> {
        run(&["events", &self.place.url(), log, "--json"]).objects()
    }
}

fn key_file(place: &Place, name: &str, digits: &str, mode: u32) -> String {
    let path = place.folder.path().join(name);
    fs::write(&path, format!("2026-11 {}\n", digits.repeat(32))).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn named(name: Option<&str>) -> Option<String> {
    name.map(str::to_owned)
}

#[test]
fn a_subject_is_forgotten_after_a_confirmation() {
    let shop = Shop::new();
    let before: Vec<_> = ["orders", "letters", "keys"].map(|it| shop.raw(it)).into();
    let dry = shop.forget("customer:17", &["--dry-run"]).fine();
    assert!(dry.contains("customer:17 would be forgotten"), "{dry}");
    assert!(dry.contains("letters, orders"), "{dry}");
    let unasked = shop.forget("customer:17", &[]);
    unasked.check_refused(2, "add --yes");
    assert!(unasked.err.contains("letters, orders"), "{unasked:?}");
    let after: Vec<_> = ["orders", "letters", "keys"].map(|it| shop.raw(it)).into();
    assert_eq!(before, after, "nothing was done");

    let done = shop.forget("customer:17", &["--yes", "--json"]).objects();
    assert_eq!(done[0]["subject"], "customer:17");
    assert_eq!(done[0]["keys_destroyed"], 1);
    assert_eq!(done[0]["logs"], json!(["letters", "orders"]));
    assert_eq!(done[0]["purged"], json!(true));
    for log in ["orders", "letters"] {
        assert_eq!(shop.names(log), [None, named(Some(SECRET))]);
        let application = shop.open(log);
        let reading = application.events::<SubjectForgotten>().read();
        let events = shop.place.block_on(reading.collect());
        assert_eq!(events.len(), 1);
        assert_eq!(&*events[0].event.subject, "customer:17");
    }
    // The reason is in the log of keys.
    let keys = shop.raw("keys");
    let record = keys
        .iter()
        .find(|it| it["topic"] == "retold.subject-forgotten");
    let reason = &record.unwrap()["payload"]["reason"];
    assert_eq!(reason, "request 4711 (by eve)");
    run(&["verify", &shop.place.url(), "--key-file", &shop.key_file]).fine();
}

#[test]
fn a_reason_is_required() {
    let shop = Shop::new();
    let url = shop.place.url();
    let forget = [
        "forget",
        &*url,
        "customer:17",
        "--key-file",
        &*shop.key_file,
    ];
    run(&[&forget[..], &["--yes"]].concat()).check_refused(2, "--reason");
    run(&[&forget[..], &["--yes", "--reason", ""]].concat()).check_refused(2, "--reason");
    let without_keys = ["forget", &*url, "customer:17", "--reason", "x", "--yes"];
    run(&without_keys).check_refused(2, "the keys are missing");
    assert_eq!(shop.state("customer:17"), SubjectState::Known);
}

#[test]
fn an_unknown_subject_is_refused() {
    let shop = Shop::new();
    let before = shop.raw("keys");
    for options in [&["--yes"][..], &["--dry-run"], &["--yes", "--readmit"]] {
        let refused = shop.forget("customer:71", options);
        refused.check_refused(1, "there is no subject \"customer:71\"");
    }
    shop.forget("", &["--yes"]).check_refused(1, "subject");
    let no_log = shop.forget("customer:17", &["--yes", "--key-log", "kyes"]);
    no_log.check_refused(1, "no log \"kyes\"");
    let not_forgotten = shop.forget("customer:17", &["--yes", "--readmit"]);
    not_forgotten.check_refused(1, "is not forgotten");
    assert_eq!(shop.raw("keys"), before, "nothing was recorded");
}

#[test]
fn forgetting_again_completes_what_is_missing() {
    let shop = Shop::new();
    let once = ["--yes", "--log", "orders"];
    let done = shop.forget("customer:17", &once).fine();
    assert!(done.contains("was forgotten: 1 key destroyed"), "{done}");
    let again = shop.forget("customer:17", &["--yes"]).fine();
    assert!(again.contains("0 keys destroyed"), "{again}");
    assert!(again.contains("had been forgotten before"), "{again}");
    shop.forget("customer:17", &["--yes"]).fine();
    for log in ["orders", "letters"] {
        let topics = shop.raw(log);
        let records = topics
            .iter()
            .filter(|it| it["topic"] == "retold.subject-forgotten");
        assert_eq!(records.count(), 1, "{log}");
    }

    let dry = shop.forget("customer:17", &["--readmit", "--dry-run"]);
    assert!(dry.fine().contains("would be readmitted"));
    assert_eq!(shop.state("customer:17"), SubjectState::Forgotten);
    shop.forget("customer:17", &["--readmit", "--yes"]).fine();
    assert_eq!(shop.state("customer:17"), SubjectState::Readmitted);
    shop.forget("customer:17", &["--readmit", "--yes"])
        .check_refused(1, "is not forgotten");
    // It can be forgotten again.
    shop.forget("customer:17", &["--yes"]).fine();
    assert_eq!(shop.state("customer:17"), SubjectState::Forgotten);
}

/// To destroy a key, it need not be decrypted: a subject is forgotten with any key of the program.
#[test]
fn a_wrong_key_reads_nothing_and_forgets() {
    let shop = Shop::new();
    let wrong = key_file(&shop.place, "wrong", "cd", 0o600);
    let url = shop.place.url();
    let read = run(&["events", &url, "orders", "--key-file", &wrong]);
    assert!(!read.out.contains(SECRET), "{read:?}");
    let read = run(&["events", &url, "orders", "--key-file", &shop.key_file]).fine();
    assert!(read.contains(SECRET), "{read}");
    shop.forget_with(&wrong, "customer:17", &["--yes"]).fine();
    assert_eq!(shop.names("orders"), [None, named(Some(SECRET))]);
}

#[test]
fn a_key_file_that_others_can_read_is_warned_of() {
    let shop = Shop::new();
    let url = shop.place.url();
    let open = key_file(&shop.place, "open", "ab", 0o644);
    let warned = run(&["events", &url, "orders", "--key-file", &open]);
    assert!(warned.err.contains("chmod 600"), "{warned:?}");
    assert!(warned.fine().contains(SECRET));
    let quiet = run(&["events", &url, "orders", "--key-file", &shop.key_file]);
    assert_eq!(quiet.err, "");
}

#[test]
fn an_editor_gets_no_keys() {
    let shop = Shop::new();
    let editor = shop.place.folder.path().join("editor");
    let script = "#!/bin/sh\nsed -i s/Lovelace/King/ \"$1\"\nenv > \"$(dirname $0)/environment\"\n";
    fs::write(&editor, script).unwrap();
    fs::set_permissions(&editor, fs::Permissions::from_mode(0o700)).unwrap();
    let url = shop.place.url();
    let arguments = ["amend", &*url, "orders", "1", "--reason", "typo", "--yes"];
    let mut command = retold(&arguments);
    let keys = fs::read_to_string(&shop.key_file).unwrap();
    command
        .env("RETOLD_KEYS", keys.trim())
        .env("EDITOR", &editor)
        .env("USER", "eve")
        .env_remove("VISUAL");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let environment = shop.place.folder.path().join("environment");
    let environment = fs::read_to_string(environment).unwrap();
    assert!(environment.contains("EDITOR="), "{environment}");
    assert!(!environment.contains("RETOLD_KEYS"), "{environment}");
    // The new content is data of the same subject.
    assert_eq!(shop.names("orders")[0], named(Some("Ada King")));
    shop.forget("customer:17", &["--yes"]).fine();
    assert_eq!(shop.names("orders")[0], None);
}
