//! The packages of the crates that are published: each has a description, its licences, a readme
//! and its sources, and nothing else.

use std::env;
use std::process::Command;

use crate::workspace::{assert_none, root, texts_below};

/// Files outside of `src` that a package needs.
const EXTRAS: [(&str, &str); 2] = [
    // The program that the examples of the docs are about.
    ("retold-core", "doc/school.rs.txt"),
    // The flights that the demo replays.
    ("retold-flights", "data/january.csv.gz"),
];

/// Files that each package has in addition to its sources. Cargo adds some of them.
const COMMON: [&str; 6] = [
    ".cargo_vcs_info.json",
    "Cargo.lock",
    "Cargo.toml",
    "Cargo.toml.orig",
    "LICENSE-APACHE",
    "LICENSE-MIT",
];

/// Names of the crates that are published, and their manifests.
fn published() -> Vec<(String, String)> {
    let manifests = texts_below(&root(), &["/Cargo.toml"]).into_iter();
    let manifests = manifests.filter(|(path, manifest)| {
        !path.starts_with("comparison/") && !manifest.lines().any(|it| it == "publish = false")
    });
    let named = manifests.map(|(_, manifest)| {
        let mut lines = manifest.lines();
        let name = lines.find_map(|line| line.strip_prefix("name = "));
        (name.unwrap().trim_matches('"').to_owned(), manifest)
    });
    named.collect()
}

/// The paths of the files in a package.
fn files(name: &str) -> Vec<String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "package",
            "--list",
            "--allow-dirty",
            "--offline",
            "--package",
            name,
        ])
        .current_dir(root())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {errors}");
    let files = String::from_utf8(output.stdout).unwrap();
    files.lines().map(|line| line.replace('\\', "/")).collect()
}

fn errors_of(name: &str, manifest: &str, files: &[String]) -> Vec<String> {
    let mut errors = Vec::new();
    for needed in ["description = ", "license", "readme", "include"] {
        if !manifest.lines().any(|line| line.starts_with(needed)) {
            errors.push(format!("{name}: its manifest has no {needed}"));
        }
    }
    let extra = EXTRAS.iter().find(|(of, _)| *of == name);
    let extra = extra.map(|(_, path)| *path);
    let wanted = COMMON.iter().skip(2).chain(&["README.md"]);
    for wanted in wanted.chain(&extra) {
        if !files.iter().any(|path| path == wanted) {
            errors.push(format!("{name}: its package has no {wanted}"));
        }
    }
    if !files.iter().any(|path| path.starts_with("src/")) {
        errors.push(format!("{name}: its package has no sources"));
    }
    for path in files {
        let is_wanted = path.starts_with("src/")
            || path == "README.md"
            || COMMON.contains(&&**path)
            || extra == Some(path);
        if !is_wanted {
            errors.push(format!(
                "{name}: its package has {path}, which no user needs"
            ));
        }
    }
    errors
}

#[test]
fn packages_have_what_users_need() {
    let published = published();
    assert!(published.len() > 6, "{published:?}");
    let errors = published
        .iter()
        .flat_map(|(name, manifest)| errors_of(name, manifest, &files(name)));
    assert_none(&errors.collect::<Vec<_>>());
}

#[test]
fn a_package_without_a_licence_or_with_tests_is_found() {
    let manifest = "description = \"\"\nlicense.workspace = true\ninclude = []\n";
    let files = [
        "Cargo.lock",
        "Cargo.toml",
        "Cargo.toml.orig",
        "LICENSE-MIT",
        "src/lib.rs",
    ];
    let files = [&files[..], &["README.md", "tests/it/data.csv"]].concat();
    let files: Vec<String> = files.into_iter().map(String::from).collect();
    let found = [
        "a: its manifest has no readme",
        "a: its package has no LICENSE-APACHE",
        "a: its package has tests/it/data.csv, which no user needs",
    ];
    assert_eq!(errors_of("a", manifest, &files), found);
}
