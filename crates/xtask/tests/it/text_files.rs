//! Rules for every file of the workspace: a header that says what it is, no unfinished work, a
//! descriptive name, a bounded size.

use std::collections::BTreeMap;
use std::fs;

use crate::workspace::{assert_none, files_below, root, texts_below};

/// Largest file, in bytes. Every clone of the repository contains its whole history.
const FILE_SIZE_MAX: u64 = 100 * 1024;

/// Files that may be larger: the data that the flights example and the demo replay.
const LARGE_FILES: [&str; 1] = ["examples/flights/data/january.csv.gz"];

/// Folder of examples that do not compile; their names describe them.
const UI_TESTS: &str = "/tests/ui/";

/// File names that say nothing about the contents.
const EMPTY_NAMES: [&str; 8] = [
    "mod", "utils", "util", "common", "helpers", "types", "base", "misc",
];

/// Marks of unfinished work, split so that this file has none of them.
const UNDONE: [&str; 6] = [
    concat!("to", "do!("),
    concat!("unimplemented", "!("),
    concat!("db", "g!("),
    concat!("FIX", "ME"),
    concat!("TO", "DO"),
    concat!("#[ig", "nore"),
];

/// Calls that make a test wait for time to pass.
const SLEEPS: [&str; 2] = [concat!("thread::", "sleep("), concat!("time::", "sleep(")];

/// Widest line, in characters; rustfmt's limit, which it does not enforce in comments and strings.
const LINE_WIDTH_MAX: usize = 100;

/// The expected text of failed assertions, where a line shows two events side by side.
const WIDE_LINES: (&str, &str) = ("crates/retold-core/tests/it/test_kit.rs", ">  1. ");

#[test]
fn lines_fit_the_width() {
    let texts = texts_below(&root(), &[".rs", ".sql", ".md", ".sh"]);
    assert!(texts.len() > 20, "the texts were not found");
    assert_none(&wide_lines(&texts));
}

/// Rows of tables cannot be wrapped.
fn wide_lines(texts: &BTreeMap<String, String>) -> Vec<String> {
    let mut errors = Vec::new();
    for (path, text) in texts {
        for (number, line) in (1..).zip(text.lines()) {
            let content = line
                .trim_start()
                .trim_start_matches(['/', '!'])
                .trim_start();
            let may_be_wide = content.starts_with('|')
                || (path == WIDE_LINES.0 && line.starts_with(WIDE_LINES.1));
            let width = line.chars().count();
            if width > LINE_WIDTH_MAX && !may_be_wide {
                errors.push(format!("{path}:{number}: has {width} characters"));
            }
        }
    }
    errors
}

#[test]
fn a_wide_line_is_found() {
    let wide = "x".repeat(LINE_WIDTH_MAX + 1);
    let fits = "\u{e9}".repeat(LINE_WIDTH_MAX);
    let text = format!("//! | {wide} |\n{fits}\n{wide}\n");
    let texts = BTreeMap::from([("a.rs".to_owned(), text)]);
    assert_eq!(wide_lines(&texts), ["a.rs:3: has 101 characters"]);
}

#[test]
fn sources_say_what_they_are_and_are_done() {
    let sources = texts_below(&root(), &[".rs"]);
    assert!(sources.len() > 20, "the sources were not found");
    assert_none(&errors_in_sources(&sources));
}

fn errors_in_sources(sources: &BTreeMap<String, String>) -> Vec<String> {
    let mut errors = Vec::new();
    for (path, text) in sources {
        if !text.starts_with("//! ") && !path.contains(UI_TESTS) {
            errors.push(format!("{path}: begins without //! that says what it is"));
        }
        let name = path.rsplit('/').next().unwrap_or(path);
        if EMPTY_NAMES.contains(&name.trim_end_matches(".rs")) {
            errors.push(format!("{path}: name it after the one thing it defines"));
        }
        for (number, line) in (1..).zip(text.lines()) {
            let sleeps = SLEEPS.iter().filter(|_| path.contains("/tests/"));
            for found in UNDONE.iter().chain(sleeps).filter(|it| line.contains(**it)) {
                errors.push(format!("{path}:{number}: has {found}"));
            }
        }
    }
    errors
}

#[test]
fn documents_are_done() {
    let mut errors = Vec::new();
    for (path, text) in texts_below(&root(), &[".md", ".toml", ".sql"]) {
        for found in UNDONE[3..5].iter().filter(|it| text.contains(**it)) {
            errors.push(format!("{path}: has {found}"));
        }
    }
    assert_none(&errors);
}

#[test]
fn the_changelog_has_an_unreleased_section() {
    let changelog = fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    assert!(has_unreleased_section(&changelog));
}

fn has_unreleased_section(changelog: &str) -> bool {
    let mut sections = changelog.lines().filter(|line| line.starts_with("## "));
    sections.next() == Some("## Unreleased")
}

/// Maximum number of lines, including `main`, of a first program that keeps events on disk.
const FIRST_PROGRAM_LINES_MAX: usize = 30;

#[test]
fn the_first_program_is_short_and_durable() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let program: Vec<&str> = readme
        .lines()
        .skip_while(|line| !line.starts_with("```rust"))
        .skip(1)
        .take_while(|line| *line != "```")
        .collect();
    assert!(program.iter().any(|line| line.contains("fn main()")));
    assert!(program.iter().any(|line| line.contains("\"sqlite:")));
    assert!(!program.iter().any(|line| line.starts_with("# ")), "hidden");
    let count = program.len();
    assert!(count <= FIRST_PROGRAM_LINES_MAX, "{count} lines");
}

#[test]
fn files_are_small() {
    assert_none(&too_large(&files_below(&root())));
}

fn too_large(files: &BTreeMap<String, u64>) -> Vec<String> {
    let mut errors = Vec::new();
    for (path, size) in files {
        let is_large = *size > FILE_SIZE_MAX;
        let may_be_large = LARGE_FILES.contains(&&**path);
        if is_large && !may_be_large {
            errors.push(format!(
                "{path}: {size} bytes; at most {FILE_SIZE_MAX} unless named"
            ));
        }
        if may_be_large && !is_large {
            errors.push(format!("{path}: is small; take it off LARGE_FILES"));
        }
    }
    for path in LARGE_FILES.iter().filter(|it| !files.contains_key(**it)) {
        errors.push(format!("{path}: is gone; take it off LARGE_FILES"));
    }
    errors
}

#[track_caller]
fn check(path: &str, text: &str, expected: &[&str]) {
    let sources = [(path.to_owned(), text.to_owned())].into();
    assert_eq!(errors_in_sources(&sources), expected);
}

#[test]
fn a_source_that_is_not_tidy_is_found() {
    check("a/src/b.rs", "//! B.\n\nfn b() {}\n", &[]);
    check(
        "a/src/b.rs",
        "fn b() {}\n",
        &["a/src/b.rs: begins without //! that says what it is"],
    );
    check("a/tests/ui/fail/b.rs", "fn b() {}\n", &[]);
    check(
        "a/src/c/mod.rs",
        "//! C.\n",
        &["a/src/c/mod.rs: name it after the one thing it defines"],
    );
    for found in UNDONE {
        let text = format!("//! B.\n// {found}\n");
        check(
            "a/src/b.rs",
            &text,
            &[&*format!("a/src/b.rs:2: has {found}")],
        );
    }
}

#[test]
fn sleeping_is_found_in_tests_only() {
    for sleep in SLEEPS {
        let text = format!("//! B.\nfn b() {{ {sleep}d) }}\n");
        check("a/src/b.rs", &text, &[]);
        let error = format!("a/tests/it/b.rs:2: has {sleep}");
        check("a/tests/it/b.rs", &text, &[&*error]);
    }
}

#[test]
fn a_large_file_and_a_missing_section_are_found() {
    let files: BTreeMap<_, _> = LARGE_FILES
        .map(|it| (it.to_owned(), FILE_SIZE_MAX + 1))
        .into_iter()
        .chain([
            ("big.bin".to_owned(), FILE_SIZE_MAX + 1),
            ("full.bin".to_owned(), FILE_SIZE_MAX),
        ])
        .collect();
    let errors = too_large(&files);
    assert_eq!(errors.len(), 1);
    assert!(errors[0].starts_with("big.bin: 102401 bytes"), "{errors:?}");

    assert!(has_unreleased_section(
        "# Changelog\n\n## Unreleased\n\n## 0.1.0\n"
    ));
    assert!(!has_unreleased_section(
        "# Changelog\n\n## 0.1.0\n\n## Unreleased\n"
    ));
    assert!(!has_unreleased_section("# Changelog\n"));
}
