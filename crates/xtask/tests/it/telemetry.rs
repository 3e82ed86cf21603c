//! The table of metrics in `docs/TELEMETRY.md` lists every metric that the crates record.

use std::fs;

use crate::workspace::{assert_none, root, texts_below};

#[test]
fn all_metrics_are_in_the_table() {
    let table = fs::read_to_string(root().join("docs/TELEMETRY.md")).unwrap();
    let crates = texts_below(&root().join("crates"), &["/telemetry.rs"]);
    let mut errors = Vec::new();
    let mut count = 0;
    for (path, text) in crates.iter().filter(|(path, _)| path.contains("/src/")) {
        let constants = text.lines().filter(|line| line.starts_with("pub const "));
        let names = constants.filter_map(|line| line.split('"').nth(1));
        for name in names.filter(|name| name.starts_with("retold.")) {
            count += 1;
            if !table.contains(&format!("| `{name}` |")) {
                errors.push(format!("{path}: {name} is not in docs/TELEMETRY.md"));
            }
        }
    }
    assert!(count > 20, "the names were not found");
    assert_none(&errors);
}
