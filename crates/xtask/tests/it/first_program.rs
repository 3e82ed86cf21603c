//! The README's first program runs in an empty crate: a user copies two blocks, the dependencies
//! and the program.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::workspace::root;

/// The first block of the README in this language.
fn block(readme: &str, language: &str) -> String {
    let lines = readme.lines();
    let block = lines.skip_while(|line| !line.starts_with(&format!("```{language}")));
    let block: Vec<&str> = block.skip(1).take_while(|line| *line != "```").collect();
    assert!(!block.is_empty(), "README.md has no block of {language}");
    block.join("\n") + "\n"
}

/// The part of a manifest with this heading, and that heading.
fn section<'a>(manifest: &'a str, heading: &str) -> &'a str {
    let start = manifest.find(heading).expect("the workspace has profiles");
    let rest = &manifest[start..];
    let end = rest.find("\n[").map_or(rest.len(), |end| end + 1);
    &rest[..end]
}

/// The manifest of an empty crate with the README's dependencies. The one on Retold leads to this
/// workspace in place of its version.
fn manifest(dependencies: &str) -> String {
    let workspace = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let is_version = |line: &&str| line.starts_with("version = ");
    let version = workspace.lines().find(is_version).unwrap();
    let version = version.trim_start_matches("version = ").trim_matches('"');
    let (short, _) = version.rsplit_once('.').unwrap();
    let path = root().join("crates/retold");
    let path = path.to_str().unwrap().replace('\\', "/");
    let here = dependencies.replace(
        &format!("retold = \"{short}\"\n"),
        &format!("retold = {{ path = \"{path}\" }}\n"),
    );
    assert_ne!(here, dependencies, "the README depends on retold {short}");
    // With the workspace's profiles its dependencies are those that are built already. The crate is
    // below the folder of this workspace, so it says that it is none of its crates.
    let profiles = ["[profile.dev]", "[profile.dev.package.\"*\"]"];
    let profiles = profiles
        .map(|heading| section(&workspace, heading))
        .concat();
    // Its dependencies are optimised, but not those crates of this workspace that are among them.
    let ours = ["", "-core", "-derive", "-runner", "-sqlite"];
    let ours = ours.map(|end| format!("[profile.dev.package.retold{end}]\nopt-level = 0\n\n"));
    let profiles = profiles + &ours.concat();
    format!(
        "[package]\nname = \"first-program\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n\
         [workspace]\n\n{here}\n{profiles}"
    )
}

fn target() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    root().join(target.unwrap_or_else(|| "target".into()))
}

fn run(folder: &Path) -> String {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["run", "--quiet", "--offline"])
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", target())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_first_program_runs_in_an_empty_crate() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("first_program");
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    fs::create_dir_all(folder.join("src")).unwrap();
    fs::write(folder.join("Cargo.toml"), manifest(&block(&readme, "toml"))).unwrap();
    fs::write(folder.join("src/main.rs"), block(&readme, "rust")).unwrap();
    // The versions that are built here.
    fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    assert_eq!(run(&folder), "Fido knows [\"roll over\"]\n");
    assert!(folder.join("dogs.db").exists());
}
