//! The order of modules, in the core and in the stores: `lib.rs` and each layer's file list them in
//! groups, lowest first, with a blank line between groups, and a module uses only groups above its
//! own.
//!
//! Goal: reading the lists from top to bottom is reading the core, and no cycle can creep in.
//! Method: the paths that begin with `crate`, `super` or `self` are taken from the tokens of each
//! file, `use` trees and re-exports resolved, and the two branches compared where they part.
//! Comments and code under `#[cfg(test)]` do not count: documentation and tests may look anywhere.

use std::collections::{BTreeMap, BTreeSet};

use crate::workspace::{assert_none, root, texts_below};

/// Names from the crate's root down: of a module, or of an item in one.
type ModulePath = Vec<String>;

/// How deep the order is held: the layers (1) and the modules of each layer (2).
const DEPTH_MAX: usize = 2;

#[test]
fn the_modules_of_the_core_are_used_downwards_only() {
    check_folder("crates/retold-core/src", 20);
}

#[test]
fn the_modules_of_the_sqlite_store_are_used_downwards_only() {
    check_folder("crates/retold-sqlite/src", 20);
}

#[test]
fn the_modules_of_the_postgres_store_are_used_downwards_only() {
    check_folder("crates/retold-postgres/src", 20);
}

#[test]
fn the_modules_of_the_runner_are_used_downwards_only() {
    check_folder("crates/retold-runner/src", 10);
}

/// Checks a folder of more than this many files.
fn check_folder(folder: &str, files_min: usize) {
    let sources = texts_below(&root().join(folder), &[".rs"]);
    assert!(sources.len() > files_min, "the sources were not found");
    assert_none(&wrong_uses(&sources));
}

/// What is known of a crate's modules.
struct Modules {
    /// Groups of each module's children, in their order; the root is the empty path.
    groups: BTreeMap<ModulePath, Vec<Vec<String>>>,
    /// What a module hands on under a name: `pub use`.
    handed_on: BTreeMap<ModulePath, BTreeMap<String, ModulePath>>,
}

fn wrong_uses(sources: &BTreeMap<String, String>) -> Vec<String> {
    let mut errors = Vec::new();
    let mut modules = Modules {
        groups: BTreeMap::new(),
        handed_on: BTreeMap::new(),
    };
    let mut tokens_of = BTreeMap::new();
    for (path, text) in sources {
        let module = module_path(path);
        modules.groups.insert(module.clone(), groups(text));
        let tokens = without_tests(&tokens(text));
        let handed_on = handed_on(&module, &tokens);
        modules.handed_on.insert(module.clone(), handed_on);
        tokens_of.insert(module, (path, tokens));
    }
    for (module, (path, tokens)) in &tokens_of {
        if !modules.is_declared(module) {
            errors.push(format!("{path}: no module declares it"));
        }
        let uses: BTreeSet<ModulePath> = used_paths(module, tokens).into_iter().collect();
        for used in uses {
            if let Err(why) = modules.judge(module, &used) {
                errors.push(format!("{path}: uses {}, {why}", used.join("::")));
            }
        }
    }
    errors
}

impl Modules {
    fn is_declared(&self, module: &[String]) -> bool {
        let Some((name, parent)) = module.split_last() else {
            return true;
        };
        let mut siblings = self.groups.get(parent).into_iter().flatten().flatten();
        siblings.any(|it| it == name)
    }

    /// Follows what modules hand on, so that a re-export is no way around the order.
    fn resolve(&self, used: &[String]) -> ModulePath {
        let mut used = used.to_vec();
        // A chain of re-exports is never this long; a cycle of them does not compile.
        for _ in 0..8 {
            let step = (0..used.len()).rev().find_map(|length| {
                let target = self.handed_on.get(&used[..length])?.get(&used[length])?;
                Some(target.iter().chain(&used[length + 1..]).cloned().collect())
            });
            match step {
                Some(next) if next != used => used = next,
                _ => break,
            }
        }
        used
    }

    fn judge(&self, module: &[String], used: &[String]) -> Result<(), String> {
        self.judge_as_written(module, used)?;
        self.judge_as_written(module, &self.resolve(used))
    }

    fn judge_as_written(&self, module: &[String], used: &[String]) -> Result<(), String> {
        let common = module.iter().zip(used).take_while(|(a, b)| a == b).count();
        if used.get(common).is_some_and(|it| it == "*") && common < module.len() {
            return Err("which hides what is used; name it".into());
        }
        if common >= DEPTH_MAX || common == module.len() || common == used.len() {
            return Ok(());
        }
        let groups = &self.groups[&module[..common]];
        let group_of = |name: &String| groups.iter().position(|group| group.contains(name));
        match (group_of(&module[common]), group_of(&used[common])) {
            (Some(own), Some(other)) if other == own => Err(format!(
                "a module of the same group as {}",
                module[..=common].join("::")
            )),
            (Some(own), Some(other)) if other > own => Err(format!(
                "a module of a group below {}",
                module[..=common].join("::")
            )),
            _ => Ok(()),
        }
    }
}

/// `recording/store.rs` is `recording::store`; `lib.rs` is the root.
fn module_path(file: &str) -> ModulePath {
    if file == "lib.rs" {
        return Vec::new();
    }
    let name = file.trim_end_matches(".rs");
    name.split('/').map(str::to_owned).collect()
}

/// The modules that a file declares, in groups: other lines between do not matter, blank lines do.
fn groups(text: &str) -> Vec<Vec<String>> {
    let mut groups = Vec::new();
    let mut group = Vec::new();
    for line in text.lines() {
        let declared = line.trim_end_matches(';').rsplit_once("mod ");
        match declared {
            Some((visibility, name)) if line.ends_with(';') && is_visibility(visibility) => {
                group.push(name.to_owned());
            }
            _ if line.is_empty() && !group.is_empty() => groups.push(std::mem::take(&mut group)),
            _ => {}
        }
    }
    groups.push(group);
    groups
}

fn is_visibility(text: &str) -> bool {
    text.is_empty() || text == "pub " || (text.starts_with("pub(") && text.ends_with(") "))
}

/// The words and signs of a source, without comments and the contents of texts.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let size = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(size) = text_literal_size(rest) {
            size
        } else if first.is_alphanumeric() || first == '_' {
            let is_word = |it: char| it.is_alphanumeric() || it == '_';
            let size = rest.find(|it| !is_word(it)).unwrap_or(rest.len());
            tokens.push(rest[..size].to_owned());
            size
        } else if rest.starts_with("::") {
            tokens.push("::".to_owned());
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[size..];
    }
    tokens
}

/// Size of the text or character that `rest` begins with, with its quotes.
fn text_literal_size(rest: &str) -> Option<usize> {
    let prefix = rest.find(|it| !matches!(it, 'b' | 'r' | 'c' | '#'))?;
    let (marks, quoted) = rest.split_at(prefix);
    if quoted.starts_with('"') && marks.contains('r') {
        let end = format!("\"{}", "#".repeat(marks.matches('#').count()));
        let size = quoted[1..]
            .find(&end)
            .map_or(quoted.len(), |it| it + 1 + end.len());
        return Some(prefix + size);
    }
    let quote = quoted
        .chars()
        .next()
        .filter(|it| matches!(it, '"' | '\''))?;
    if marks.contains('#') {
        return None;
    }
    let mut is_escaped = false;
    for (index, character) in quoted.char_indices().skip(1) {
        if quote == '\''
            && index > 1
            && !is_escaped
            && character != '\''
            && !quoted.starts_with(r"'\")
        {
            // A lifetime, or a character of several bytes.
            return quoted[1..]
                .chars()
                .nth(1)
                .filter(|it| *it == '\'')
                .map(|_| prefix + 2 + quoted[1..].chars().next().map_or(0, char::len_utf8));
        }
        if character == quote && !is_escaped {
            return Some(prefix + index + 1);
        }
        is_escaped = character == '\\' && !is_escaped;
    }
    None
}

/// The tokens without the items under `#[cfg(test)]`.
fn without_tests(tokens: &[String]) -> Vec<String> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut rest = tokens;
    while let Some((first, after)) = rest.split_first() {
        if rest.len() >= MARK.len() && rest.iter().zip(MARK).all(|(a, b)| a == b) {
            rest = after_item(&rest[MARK.len()..]);
        } else {
            kept.push(first.clone());
            rest = after;
        }
    }
    kept
}

/// What follows the item that `tokens` begin with: after its `;`, or its closing brace.
fn after_item(tokens: &[String]) -> &[String] {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "{" => depth += 1,
            "}" => depth = depth.saturating_sub(1),
            ";" if depth == 0 => return &tokens[index + 1..],
            _ => continue,
        }
        if depth == 0 {
            return &tokens[index + 1..];
        }
    }
    &[]
}

/// Every path of this crate that the tokens name, from the root down.
fn used_paths(module: &[String], tokens: &[String]) -> Vec<ModulePath> {
    let mut used = Vec::new();
    for index in 0..tokens.len() {
        let is_inside_path = index > 0 && tokens[index - 1] == "::";
        if let Some(start) = path_start(module, &tokens[index])
            && !is_inside_path
            && tokens.get(index + 1).is_some_and(|it| it == "::")
        {
            branches(&start, &tokens[index..], &mut |path, _| used.push(path));
        }
    }
    used
}

/// Where a path that begins with this word starts.
fn path_start(module: &[String], word: &str) -> Option<ModulePath> {
    match word {
        "crate" => Some(Vec::new()),
        "self" => Some(module.to_vec()),
        "super" => module.split_last().map(|(_, parent)| parent.to_vec()),
        _ => None,
    }
}

/// Calls `found` with each path of the tree whose first word is `tokens[0]`, already resolved to
/// `start`, and with the name it gets. Returns how many tokens the tree has.
fn branches(
    start: &[String],
    tokens: &[String],
    found: &mut dyn FnMut(ModulePath, String),
) -> usize {
    let mut path = start.to_vec();
    let mut index = 1;
    while tokens.get(index).is_some_and(|it| it == "::") {
        match tokens.get(index + 1).map(String::as_str) {
            Some("{") => {
                index += 2;
                while let Some(token) = tokens.get(index) {
                    match token.as_str() {
                        "}" => return index + 1,
                        "," => index += 1,
                        "self" => index += branches(&path, &tokens[index..], found),
                        _ => {
                            let mut inner = path.clone();
                            inner.push(token.clone());
                            index += branches(&inner, &tokens[index..], found);
                        }
                    }
                }
                return index;
            }
            Some("super") => {
                path.pop();
            }
            Some(name) => path.push(name.to_owned()),
            None => break,
        }
        index += 2;
    }
    let mut name = path.last().cloned().unwrap_or_default();
    if tokens.get(index).is_some_and(|it| it == "as") {
        name = tokens.get(index + 1).cloned().unwrap_or_default();
        index += 2;
    }
    found(path, name);
    index
}

/// What a module's `pub use` gives out: names, and where they come from.
fn handed_on(module: &[String], tokens: &[String]) -> BTreeMap<String, ModulePath> {
    let mut names = BTreeMap::new();
    for (index, window) in tokens.windows(2).enumerate() {
        let is_public = window[0] == "pub" || window[0] == ")";
        if !is_public || window[1] != "use" {
            continue;
        }
        let rest = &tokens[index + 2..];
        let Some(word) = rest.first() else { continue };
        // A path without `crate`, `super` or `self` begins with a module declared here.
        let start = path_start(module, word).unwrap_or_else(|| {
            let mut start = module.to_vec();
            start.push(word.clone());
            start
        });
        branches(&start, rest, &mut |path, name| {
            names.insert(name, path);
        });
    }
    names
}

/// Checks files of a crate with two layers, `low` (modules `a`, `b` in one group, then `c`) and
/// `high`.
#[track_caller]
fn check(file: &str, text: &str, expected: &[&str]) {
    let mut sources: BTreeMap<String, String> = [
        ("lib.rs", "//! Root.\n\npub mod low;\n\npub mod high;\n"),
        (
            "low.rs",
            "pub mod a;\npub(crate) mod b;\n\nmod c;\n\npub use c::{C, D as E};\n",
        ),
        ("low/a.rs", ""),
        ("low/b.rs", ""),
        ("low/c.rs", ""),
        ("high.rs", ""),
    ]
    .map(|(path, text)| (path.to_owned(), text.to_owned()))
    .into();
    sources.insert(file.to_owned(), text.to_owned());
    assert_eq!(wrong_uses(&sources), expected, "{file}: {text}");
}

#[test]
fn uses_of_groups_above_are_allowed() {
    check("low/c.rs", "use super::a::A;\nuse crate::low::b;", &[]);
    check("high.rs", "use crate::low::{a::A, c::C, E};", &[]);
    check(
        "low/a.rs",
        "// use super::c;\nfn a() -> &'static str { \"crate::low::c\" }",
        &[],
    );
    check(
        "low/a.rs",
        "#[cfg(test)]\nmod tests {\n use super::super::c;\n}",
        &[],
    );
    check(
        "low/a.rs",
        "use std::fmt; fn a(x: char) { x == ':' || x == '\\'' || x == 'é' }",
        &[],
    );
}

#[test]
fn uses_of_the_same_group_and_of_groups_below_are_found() {
    let below = "a module of a group below low::a";
    check(
        "low/a.rs",
        "use super::c::C;",
        &[&*format!("low/a.rs: uses low::c::C, {below}")],
    );
    check(
        "low/a.rs",
        "use crate::low::c;",
        &[&*format!("low/a.rs: uses low::c, {below}")],
    );
    check(
        "low/a.rs",
        "fn a() { crate::low::c::f() }",
        &[&*format!("low/a.rs: uses low::c::f, {below}")],
    );
    check(
        "low/a.rs",
        "fn a<'a>(x: &'a u8) { super::c::f('x') }",
        &[&*format!("low/a.rs: uses low::c::f, {below}")],
    );
    check(
        "low/a.rs",
        "use super::{a::X, c::{self, C as D}};",
        &[
            &*format!("low/a.rs: uses low::c, {below}"),
            &*format!("low/a.rs: uses low::c::C, {below}"),
        ],
    );
    check(
        "low/a.rs",
        "use super::b::B;",
        &["low/a.rs: uses low::b::B, a module of the same group as low::a"],
    );
    check(
        "low/c.rs",
        "use crate::high::H;",
        &["low/c.rs: uses high::H, a module of a group below low"],
    );
    check(
        "low.rs",
        "pub mod a;\n\nuse super::high::H;\n\npub(crate) mod b;\nmod c;",
        &["low.rs: uses high::H, a module of a group below low"],
    );
}

#[test]
fn a_detour_over_a_module_above_is_found() {
    check(
        "low/a.rs",
        "use super::C;",
        &["low/a.rs: uses low::C, a module of a group below low::a"],
    );
    check(
        "low/a.rs",
        "use crate::low::E;",
        &["low/a.rs: uses low::E, a module of a group below low::a"],
    );
    check(
        "low/a.rs",
        "use super::*;",
        &["low/a.rs: uses low::*, which hides what is used; name it"],
    );
    check("low/d.rs", "", &["low/d.rs: no module declares it"]);
}
