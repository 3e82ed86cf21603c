//! Which crate may depend on which: `cli, bench, comparison -> examples -> retold -> runner, stores
//! -> core`, as the manifests say.

use std::collections::BTreeMap;

use crate::workspace::{assert_none, root, texts_below};

/// The crates, lowest first. A crate may depend on those of lower ranks only; so no store knows
/// another, and the runner knows none. What tests alone depend on does not count.
const RANKS: [&[&str]; 5] = [
    &["retold-core", "retold-derive", "xtask"],
    &[
        "retold-conformance",
        "retold-postgres",
        "retold-runner",
        "retold-sqlite",
    ],
    &["retold"],
    &["retold-flights", "retold-paxos", "retold-service-example"],
    &["retold-cli", "retold-bench", "retold-comparison"],
];

#[test]
fn crates_depend_downwards_only() {
    let manifests: BTreeMap<String, String> = texts_below(&root(), &["/Cargo.toml"])
        .into_values()
        .map(|manifest| (package_name(&manifest).to_owned(), manifest))
        .collect();

    assert_none(&wrong_directions(&manifests));
    let named: usize = RANKS.iter().map(|rank| rank.len()).sum();
    assert_eq!(named, manifests.len(), "RANKS names crates there are not");
}

fn package_name(manifest: &str) -> &str {
    let mut lines = manifest.lines();
    let name = lines.find_map(|line| line.strip_prefix("name = "));
    name.unwrap().trim_matches('"')
}

fn wrong_directions(manifests: &BTreeMap<String, String>) -> Vec<String> {
    let mut errors = Vec::new();
    for (name, manifest) in manifests {
        let Some(rank) = rank_of(name) else {
            errors.push(format!("{name} has no place in RANKS; give it one"));
            continue;
        };
        for dependency in dependencies(manifest) {
            if rank_of(&dependency).is_some_and(|below| below >= rank) {
                errors.push(format!("{name} may not depend on {dependency}"));
            }
        }
    }
    errors
}

fn rank_of(name: &str) -> Option<usize> {
    RANKS.iter().position(|rank| rank.contains(&name))
}

/// Names that a manifest lists under dependencies of any kind but those of tests, whether in a
/// table (`[dependencies]`) or as a table of their own (`[dependencies.retold]`).
fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut is_inside = false;
    for line in manifest.lines() {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_end_matches(']');
            let is_of_tests = header.contains("dev-dependencies");
            is_inside = header.ends_with("dependencies") && !is_of_tests;
            if let Some((_, name)) = header.split_once("dependencies.")
                && !is_of_tests
            {
                names.push(name.to_owned());
            }
        } else if is_inside && !line.starts_with('#') {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            names.push(name.trim_matches('"').to_owned());
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

#[track_caller]
fn check(manifests: &[(&str, &str)], expected: &[&str]) {
    let manifests = manifests
        .iter()
        .map(|(name, manifest)| (name.to_string(), manifest.to_string()))
        .collect();
    assert_eq!(wrong_directions(&manifests), expected);
}

#[test]
fn a_wrong_direction_is_found() {
    let up = "[dependencies]\nretold.workspace = true\n";
    check(
        &[("retold-core", up)],
        &["retold-core may not depend on retold"],
    );
    let aside = "[dependencies]\n\"retold-sqlite\" = { path = \"x\" }\n";
    check(
        &[("retold-sqlite", aside)],
        &["retold-sqlite may not depend on retold-sqlite"],
    );
    let own_table = "[target.'cfg(unix)'.dependencies.retold-cli]\npath = \"x\"\n";
    check(
        &[("retold", own_table)],
        &["retold may not depend on retold-cli"],
    );
    let build = "[build-dependencies]\nretold-bench = \"1\"\n";
    check(
        &[("retold", build)],
        &["retold may not depend on retold-bench"],
    );
    check(
        &[("retold-new", "")],
        &["retold-new has no place in RANKS; give it one"],
    );
}

#[test]
fn a_right_direction_and_what_tests_use_are_allowed() {
    let down = "[dependencies]\nretold-core.workspace = true\nserde = \"1\"\n";
    check(&[("retold-sqlite", down)], &[]);
    let tests = "[dev-dependencies]\nretold.workspace = true\n\n[dev-dependencies.retold-cli]\n";
    check(&[("retold-core", tests)], &[]);
}
