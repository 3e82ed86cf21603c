//! `cargo xtask ci`: runs all checks, cheap ones first, until one fails.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::step::{Failure, Step, workspace_root};

/// The crates whose features are each built alone: those that programs depend on.
const CRATES_WITH_FEATURES: [&str; 2] = ["retold-core", "retold"];

/// Runs all checks and prints how long each took.
pub(crate) fn run() -> Result<(), Failure> {
    for step in steps() {
        eprintln!("\n== {}: {}", step.name(), step.line());
        let name = step.name().to_owned();
        let start = Instant::now();
        step.run()?;
        eprintln!(
            "== {name}: passed in {:.1} s",
            start.elapsed().as_secs_f64()
        );
    }
    dependencies()?;
    eprintln!("\n== all checks passed");
    Ok(())
}

fn steps() -> Vec<Step> {
    let mut steps = vec![
        Step::cargo("formatting", &["fmt", "--all", "--check"]),
        Step::cargo(
            "lints",
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--all-features",
                "--",
                "-D",
                "warnings",
            ],
        ),
        Step::cargo(
            "docs",
            &["doc", "--workspace", "--no-deps", "--all-features"],
        )
        .variable("RUSTDOCFLAGS", "-D warnings"),
        packages(),
    ];
    for package in CRATES_WITH_FEATURES {
        let manifest = workspace_root()
            .join("crates")
            .join(package)
            .join("Cargo.toml");
        let manifest = fs::read_to_string(manifest).unwrap_or_default();
        steps.push(feature_alone(package, None));
        let features = features(&manifest);
        steps.extend(features.iter().map(|it| feature_alone(package, Some(it))));
    }
    steps.push(crate::tests(&[]));
    steps
}

/// A dry run of publishing: packages each crate that is published, in the order of their
/// dependencies. The packages are not built: the other steps build their sources, and a test reads
/// the lists of their files.
fn packages() -> Step {
    let mut arguments = vec!["package", "--workspace", "--no-verify", "--allow-dirty"];
    let unpublished = unpublished(&workspace_root());
    arguments.extend(unpublished.iter().flat_map(|name| ["--exclude", &**name]));
    Step::cargo("packages", &arguments)
}

/// Names of the crates of the workspace that are not published.
fn unpublished(root: &Path) -> Vec<String> {
    let folders = ["crates", "examples"].map(|folder| fs::read_dir(root.join(folder)));
    let folders = folders.into_iter().flatten().flatten().flatten();
    let manifests = folders.flat_map(|it| fs::read_to_string(it.path().join("Cargo.toml")));
    let manifests = manifests.filter(|it| it.lines().any(|line| line == "publish = false"));
    let mut names: Vec<String> = manifests
        .filter_map(|it| {
            let name = it.lines().find_map(|line| line.strip_prefix("name = "))?;
            Some(name.trim_matches('"').to_owned())
        })
        .collect();
    names.sort();
    names
}

/// A build of the package with one feature, or with none.
fn feature_alone(package: &str, feature: Option<&str>) -> Step {
    let name = match feature {
        Some(feature) => format!("{package} with {feature} alone"),
        None => format!("{package} without features"),
    };
    // Clippy, not `check`, reuses what the lints above have built.
    let mut arguments = vec!["clippy", "--package", package, "--no-default-features"];
    arguments.extend(feature.iter().flat_map(|it| ["--features", *it]));
    arguments.extend(["--", "-D", "warnings"]);
    Step::cargo(name, &arguments)
}

/// Names of the features that a manifest declares, but for `default`.
fn features(manifest: &str) -> Vec<String> {
    manifest
        .lines()
        .skip_while(|line| *line != "[features]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name.to_owned())
        .filter(|name| name != "default")
        .collect()
}

/// Licences, bans, advisories and sources, where cargo-deny is installed.
fn dependencies() -> Result<(), Failure> {
    let is_installed = Command::new("cargo-deny")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !is_installed {
        eprintln!(
            "\n== dependencies: SKIPPED, because cargo-deny is not installed; to install it: \
             cargo install --locked cargo-deny"
        );
        return Ok(());
    }
    let step = Step::cargo("dependencies", &["deny", "check"]);
    eprintln!("\n== {}: {}", step.name(), step.line());
    step.run()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_found_in_a_manifest() {
        let manifest = "[package]\nname = \"a\"\n\n\
                        [features]\ndefault = [\"b\"]\n# For c.\nb = []\nc = [\"dep:c\"]\n\n\
                        [dependencies]\nd = \"1\"\n";
        assert_eq!(features(manifest), ["b", "c"]);
        assert!(features("[package]\nname = \"a\"\n").is_empty());
    }

    #[test]
    fn crates_that_are_not_published_are_found() {
        let expected = [
            "retold-bench",
            "retold-paxos",
            "retold-service-example",
            "xtask",
        ];
        assert_eq!(unpublished(&workspace_root()), expected);
    }

    #[test]
    fn a_step_is_shown_as_a_line_to_type() {
        let step = feature_alone("retold", Some("sqlite"));
        assert_eq!(
            step.line(),
            "cargo clippy --package retold --no-default-features --features sqlite -- -D warnings"
        );
    }
}
