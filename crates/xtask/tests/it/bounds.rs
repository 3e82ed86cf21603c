//! The lower bounds of dependencies are true: each is the version that is built and tested here, as
//! `Cargo.lock` has it. So `cargo update -Z direct-minimal-versions` gives what is tested, and
//! needs no run of its own.

use std::fs;

use crate::workspace::{assert_none, root};

/// The name and the bound of each dependency on other crates.
fn bounds(manifest: &str) -> Vec<(&str, &str)> {
    let (_, rest) = manifest.split_once("[workspace.dependencies]\n").unwrap();
    let (dependencies, _) = rest.split_once("\n[").unwrap();
    let lines = dependencies
        .lines()
        .filter(|line| !line.contains("path = "));
    let bounds = lines.filter_map(|line| {
        let (name, rest) = line.split_once(" = ")?;
        let rest = rest.strip_prefix("{ version = ").unwrap_or(rest);
        let (bound, _) = rest.strip_prefix('"')?.split_once('"')?;
        Some((name, bound))
    });
    bounds.collect()
}

#[test]
fn bounds_are_the_versions_that_are_built() {
    let read = |name: &str| fs::read_to_string(root().join(name)).unwrap();
    let (manifest, lock) = (read("Cargo.toml"), read("Cargo.lock"));
    let bounds = bounds(&manifest);
    assert!(bounds.len() > 30, "{bounds:?}");
    // What is after a `+` is no part of a version's order.
    let is_built = |name: &str, bound: &str| {
        lock.contains(&format!("name = \"{name}\"\nversion = \"{bound}\"\n"))
            || lock.contains(&format!("name = \"{name}\"\nversion = \"{bound}+"))
    };
    let wrong = bounds.iter().filter(|(name, bound)| !is_built(name, bound));
    let wrong = wrong.map(|(name, bound)| {
        format!("Cargo.toml: {name} {bound} is not built; name the version that Cargo.lock has")
    });
    assert_none(&wrong.collect::<Vec<_>>());
}
