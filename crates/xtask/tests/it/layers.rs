//! A layer forwards every method: one that is missing would silently get the trait's default.

use std::collections::BTreeSet;
use std::fs;

use crate::workspace::root;

#[test]
fn layers_forward_every_method() {
    let source = |name: &str| {
        let folder = root().join("crates/retold-core/src/recording");
        fs::read_to_string(folder.join(name)).unwrap()
    };
    let layers = source("layer.rs");
    for (name, file) in [("Recorder", "recorder.rs"), ("Store", "store.rs")] {
        let defined = source(file);
        let methods = methods(&defined, &format!("\npub trait {name}"));
        assert!(methods.len() > 5, "the methods of {name} were not found");
        let forwarded = self::methods(&layers, &format!("around {name} "));
        assert_eq!(methods, forwarded, "the methods of {name} and of its layer");
    }
}

/// Returns the names of the functions in the braces that follow `start`.
fn methods<'a>(source: &'a str, start: &str) -> BTreeSet<&'a str> {
    let (_, rest) = source.split_once(start).expect("the start is there");
    let mut depth = 0;
    let end = rest.find(|it| {
        depth += i32::from(it == '{') - i32::from(it == '}');
        it == '}' && depth == 0
    });
    let body = &rest[..end.expect("the braces are closed")];
    let code = body.lines().map(str::trim_start);
    let names = code.filter_map(|line| line.strip_prefix("fn "));
    names
        .map(|it| &it[..it.find(['(', '<']).expect("a method has parameters")])
        .map(str::trim)
        .collect()
}
