//! The language of documents, comments, messages and names: plain technical English.
//!
//! Goal: a reader is never stopped by a word or an opening that a native engineer would not write.
//! Method: each text is split into words, across lines and without comment markers, and compared
//! with a list of phrases. Part of an identifier such as `tell_error` is no word.

use crate::workspace::{assert_none, root, texts_below};

/// Endings of the files that are read.
const ENDINGS: [&str; 6] = [".rs", ".md", ".sql", ".toml", ".stderr", ".sh"];

/// The file with the list of the phrases themselves.
const THIS_FILE: &str = "crates/xtask/tests/it/plain_english.rs";

/// Words that are names of other things: PostgreSQL's tests know the account `nobody`.
const NAMES: [(&str, &str); 1] = [("crates/xtask/src/postgres_server.rs", "nobody")];

/// Words and openings that do not occur. A comma stands for a comma or a semicolon.
const BANNED: [&str; 47] = [
    "whoever",
    "whatever",
    "nobody",
    "anew",
    "beside",
    "told",
    "tell",
    "tells",
    "telling",
    "go on",
    "goes on",
    "going on",
    "gone on",
    "went on",
    "lets it",
    "lets them",
    "lets a",
    "lets the",
    "so many",
    "so long as",
    "so often",
    "mostly",
    "all the same",
    "by turns",
    "at any rate",
    "of its own accord",
    "keeps still",
    "had better",
    "is had",
    "are had",
    "once more",
    "mend",
    "mends",
    "mended",
    ", for it",
    ", for they",
    ", for there",
    ", for he",
    ", for she",
    ", for we",
    ", for nothing",
    ", for none",
    ", for what",
    ", for else",
    ", for then",
    ", for if",
    ", for only",
];

#[test]
fn texts_are_plain_english() {
    let texts = texts_below(&root(), &ENDINGS);
    assert!(texts.len() > 20, "the texts were not found");
    let texts = texts.iter().filter(|(path, _)| *path != THIS_FILE);
    assert_none(
        &texts
            .flat_map(|(path, text)| banned(path, text))
            .collect::<Vec<_>>(),
    );
}

/// The banned phrases of a text, with path and line.
fn banned(path: &str, text: &str) -> Vec<String> {
    let words = words(text);
    let mut errors = Vec::new();
    for phrase in BANNED {
        let phrase: Vec<&str> = phrase.split(' ').collect();
        for (index, window) in words.windows(phrase.len()).enumerate() {
            let found = window.iter().map(|(_, word)| &**word);
            let next = words.get(index + phrase.len()).map(|(_, word)| &**word);
            if phrase[0] == "," && next == Some("in") {
                // A loop of the language, not a clause.
                continue;
            }
            let is_name = NAMES.contains(&(path, phrase[0]));
            if !is_name && found.eq(phrase.iter().copied()) {
                errors.push(format!(
                    "{path}:{}: has {:?}",
                    window[0].0,
                    phrase.join(" ")
                ));
            }
        }
    }
    errors
}

/// The words of a text in lower case with their lines, a word for each comma, without the markers
/// of comments and lists.
fn words(text: &str) -> Vec<(usize, String)> {
    let mut words = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line
            .trim_start()
            .trim_start_matches(['/', '!', '#', '-', '*', '>']);
        let mut word = String::new();
        for char in line.chars().chain([' ']) {
            if char.is_alphanumeric() || char == '_' || char == '\'' {
                word.extend(char.to_lowercase());
                continue;
            }
            if !word.is_empty() {
                words.push((number, std::mem::take(&mut word)));
            }
            match char {
                ',' | ';' => words.push((number, ",".into())),
                // The end of a sentence, of code or of a cell separates phrases.
                '.' | '(' | ')' | '|' | '"' | '`' | ':' => words.push((number, ".".into())),
                _ => {}
            }
        }
    }
    words
}

#[test]
fn a_phrase_is_found_across_lines_and_in_no_identifier() {
    let text = "//! It keeps what is\n//! there, and goes\n//! on. `tell_error` of it.\n";
    assert_eq!(banned("a.rs", text), ["a.rs:2: has \"goes on\""]);
    let text = "It waits, for it\nhas time. Waiting for it is fine, as is: so. Many do.";
    assert_eq!(banned("a.md", text), ["a.md:1: has \", for it\""]);
}
