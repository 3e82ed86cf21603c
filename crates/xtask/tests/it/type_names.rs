//! One type, one name: a search for a type finds that type and no other.

use std::collections::{BTreeMap, BTreeSet};

use crate::workspace::{assert_none, root, texts_below};

/// Number of files in which the same name may be defined by private types.
const FILES_MAX: usize = 2;

#[test]
fn each_type_has_a_name_of_its_own() {
    let mut sources = texts_below(&root(), &[".rs"]);
    sources.retain(|path, _| path.starts_with("crates/") && path.contains("/src/"));
    assert!(sources.len() > 20, "the sources were not found");
    assert_none(&shared_names(&sources));
}

/// The files that define a name.
#[derive(Default)]
struct Definitions<'a> {
    public: Vec<&'a str>,
    all: BTreeSet<&'a str>,
}

fn shared_names(sources: &BTreeMap<String, String>) -> Vec<String> {
    let mut names: BTreeMap<&str, Definitions<'_>> = BTreeMap::new();
    for (path, text) in sources {
        for (name, is_public) in text.lines().filter_map(defined) {
            let definitions = names.entry(name).or_default();
            definitions.all.insert(path);
            if is_public {
                definitions.public.push(path);
            }
        }
    }
    let mut errors = Vec::new();
    for (name, definitions) in names {
        if definitions.public.len() > 1 {
            let files = definitions.public.join(", ");
            errors.push(format!("several public types are named {name}: {files}"));
        } else if definitions.all.len() > FILES_MAX {
            let files: Vec<_> = definitions.all.into_iter().collect();
            let files = files.join(", ");
            errors.push(format!(
                "more than {FILES_MAX} files define {name}: {files}"
            ));
        }
    }
    errors
}

/// Returns the name of the type that a line begins to define, and whether it is public. Associated
/// types are none: an indented `type` belongs to a trait or an implementation.
fn defined(line: &str) -> Option<(&str, bool)> {
    let code = line.trim_start();
    let (code, is_public) = match code.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => (rest.split_once(") ")?.1, false),
        Some(rest) => (rest.strip_prefix(' ')?, true),
        None => (code, false),
    };
    let (keyword, rest) = code.split_once(' ')?;
    let defines = match keyword {
        "struct" | "enum" | "trait" | "union" => true,
        "type" => !line.starts_with(' '),
        _ => false,
    };
    let end = rest.find(|it: char| !it.is_alphanumeric() && it != '_');
    let name = &rest[..end.unwrap_or(rest.len())];
    let is_name = name.starts_with(|it: char| it.is_uppercase());
    (defines && is_name).then_some((name, is_public))
}

#[test]
fn a_shared_name_is_found() {
    let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let sources = BTreeMap::from([
        file(
            "a.rs",
            "pub struct Place;\nstruct Row<T>(T);\n    type Item = u8;\n",
        ),
        file(
            "b.rs",
            "pub enum Place {}\npub(crate) struct Row;\ntype Item = u8;\n",
        ),
        file("c.rs", "trait Row {}\n/// A struct Place.\nimpl Place {}\n"),
    ]);
    let expected = [
        "several public types are named Place: a.rs, b.rs",
        "more than 2 files define Row: a.rs, b.rs, c.rs",
    ];
    assert_eq!(shared_names(&sources), expected);
}
