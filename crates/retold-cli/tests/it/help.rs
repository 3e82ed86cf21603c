//! The help of all commands: complete, and wrapped to the terminal.

use crate::command::{Run, retold};

/// All commands, and the commands that have commands of their own.
const COMMANDS: [&[&str]; 25] = [
    &[],
    &["demo"],
    &["logs"],
    &["streams"],
    &["events"],
    &["follower"],
    &["follower", "list"],
    &["follower", "pause"],
    &["follower", "resume"],
    &["follower", "skip"],
    &["follower", "partition"],
    &["follower", "reset"],
    &["follower", "retire"],
    &["verify"],
    &["system", "status"],
    &["system", "retire"],
    &["system", "picture"],
    &["delete"],
    &["reopen"],
    &["erase"],
    &["amend"],
    &["purge"],
    &["schema"],
    &["schema", "postgres"],
    &["schema", "events"],
];

fn help(command: &[&str], columns: u16) -> String {
    let mut help = retold(&[command, &["--help"]].concat());
    let output = help.env("COLUMNS", columns.to_string()).output().unwrap();
    let run = Run {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    };
    run.fine()
}

#[test]
fn every_help_fits_80_columns() {
    for command in COMMANDS {
        let help = help(command, 80);
        // clap does not wrap the usage.
        let lines = help.lines().filter(|line| !line.starts_with("Usage:"));
        let wide = { lines }.find(|line| line.chars().count() > 80);
        assert_eq!(wide, None, "{command:?}");
        let examples = help.split("\nExamples:\n").nth(1).unwrap_or_default();
        let broken = { examples.lines() }
            .take_while(|line| !line.is_empty())
            .find(|line| !line.starts_with("  retold "));
        assert_eq!(broken, None, "{command:?}");
    }
}

/// Goal: only the terminal breaks the lines of the help. Method: between two widths of a terminal,
/// the words and the paragraphs stay the same.
#[test]
fn the_terminal_alone_breaks_the_lines() {
    let words = |help: &str| -> Vec<String> {
        let paragraphs = help.split("\n\n");
        paragraphs
            .map(|it| it.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect()
    };
    for command in COMMANDS {
        let narrow = help(command, 60);
        assert_eq!(words(&narrow), words(&help(command, 100)), "{command:?}");
        // A sentence on a line of its own that ends early would be a manual break.
        for paragraph in narrow.split("\n\n").filter(|it| !it.contains("  ")) {
            let lines: Vec<_> = paragraph.lines().collect();
            for pair in lines.windows(2) {
                let next = pair[1].split(' ').next().unwrap_or_default();
                let joined = pair[0].len() + 1 + next.len();
                assert!(joined > 60, "{command:?} breaks after {:?}", pair[0]);
            }
        }
    }
}
