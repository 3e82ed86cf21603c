//! The README's first program: short, and it runs as printed.

use std::process::Command;

use retold::prelude::*;

const RUNS: &str = "RETOLD_RUNS_THE_FIRST_PROGRAM";

/// Returns the text of the README's first block of Rust.
fn program() -> &'static str {
    let readme = include_str!("../../../../README.md");
    let (_, rest) = readme.split_once("```rust,no_run\n").unwrap();
    rest.split_once("```").unwrap().0
}

#[test]
fn the_first_program_has_at_most_30_lines() {
    let lines = program().lines().count();
    assert!(lines <= 30, "{lines} lines");
}

/// The program opens a file in the working folder, so it runs in a process of its own. The test
/// first checks that it is the README's program, to the letter except for line breaks of rustfmt.
#[test]
fn the_first_program_runs_as_printed_in_the_readme() {
    let squeezed = |text: &str| text.replace([' ', '\n', ','], "");
    let (_, body) = program().split_once("\n\n").unwrap();
    assert!(
        squeezed(include_str!("first_program.rs")).contains(&squeezed(body)),
        "the README's first program is not the one that is tested"
    );
    if std::env::var_os(RUNS).is_some() {
        main().unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["the_first_program_runs", "--nocapture"])
        .current_dir(&folder)
        .env(RUNS, "1")
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains(r#"Fido knows ["roll over"]"#), "{printed}");
    assert!(folder.path().join("dogs.db").exists());
}

#[derive(Event, Serialize, Deserialize)]
enum DogEvent {
    Registered { name: String },
    TrickAdded { trick: String },
}

#[derive(Aggregate, Clone, Default)]
#[aggregate(event = DogEvent)]
struct Dog {
    name: String,
    tricks: Vec<String>,
}

impl Apply<DogEvent> for Dog {
    fn apply(&mut self, event: &DogEvent) {
        match event {
            DogEvent::Registered { name } => self.name = name.clone(),
            DogEvent::TrickAdded { trick } => self.tricks.push(trick.clone()),
        }
    }
}

#[tokio::main]
async fn main() -> retold::Result<()> {
    let school = Application::open("school", "sqlite:dogs.db").await?;
    let fido = school
        .create::<Dog>(DogEvent::Registered {
            name: "Fido".into(),
        })
        .await?;
    school
        .execute(fido, |_| DogEvent::TrickAdded {
            trick: "roll over".into(),
        })
        .await?;
    let dog = school.get(fido).await?.state;
    println!("{} knows {:?}", dog.name, dog.tricks);
    Ok(())
}
