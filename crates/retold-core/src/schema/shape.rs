//! Schemas as values of JSON: without what people read in them, and how two of them differ.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Keywords that say nothing about which values are valid.
const ANNOTATIONS: [&str; 9] = [
    "$comment",
    "$id",
    "$schema",
    "default",
    "deprecated",
    "description",
    "examples",
    "readOnly",
    "title",
];

/// Keywords whose values are schemas by name, so that a name is not mistaken for a keyword.
const NAMED: [&str; 4] = ["$defs", "definitions", "patternProperties", "properties"];

/// Maximum number of lines of a difference.
const LINES_MAX: usize = 40;

/// Returns a schema without its annotations.
pub(super) fn bare(schema: &Value) -> Value {
    match schema {
        Value::Object(fields) => {
            let mut kept = Map::new();
            for (key, value) in fields {
                if ANNOTATIONS.contains(&key.as_str()) {
                    continue;
                }
                let value = match value {
                    Value::Object(schemas) if NAMED.contains(&key.as_str()) => {
                        let bare = |(name, schema): (&String, &Value)| (name.clone(), bare(schema));
                        Value::Object(schemas.iter().map(bare).collect())
                    }
                    // A constant may look like a schema.
                    _ if matches!(key.as_str(), "const" | "enum") => value.clone(),
                    _ => bare(value),
                };
                kept.insert(key.clone(), value);
            }
            Value::Object(kept)
        }
        Value::Array(items) => items.iter().map(bare).collect(),
        other => other.clone(),
    }
}

/// Returns the lines in which two schemas differ, each with its path: `-` for the first, `+` for
/// the second.
pub(super) fn difference(one: &Value, other: &Value) -> Vec<String> {
    let (mut first, mut second) = (BTreeMap::new(), BTreeMap::new());
    flatten(&bare(one), String::new(), &mut first);
    flatten(&bare(other), String::new(), &mut second);
    let mut lines = Vec::new();
    let paths: std::collections::BTreeSet<_> = first.keys().chain(second.keys()).collect();
    for path in paths {
        let sides = (first.get(path), second.get(path));
        if sides.0 == sides.1 {
            continue;
        }
        lines.extend(sides.0.map(|value| format!("- {path}: {value}")));
        lines.extend(sides.1.map(|value| format!("+ {path}: {value}")));
    }
    let more = lines.len().saturating_sub(LINES_MAX);
    lines.truncate(LINES_MAX);
    if more > 0 {
        lines.push(format!("and {more} more lines"));
    }
    lines
}

fn flatten(value: &Value, path: String, lines: &mut BTreeMap<String, String>) {
    let join = |key: &str| match path.as_str() {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    };
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                flatten(value, join(key), lines);
            }
        }
        // The order of these does not count.
        Value::Array(items) if path.ends_with("required") => {
            for item in items {
                lines.insert(join(&item.to_string()), "yes".into());
            }
        }
        Value::Array(items) if items.iter().any(|it| it.is_object() || it.is_array()) => {
            for (index, item) in items.iter().enumerate() {
                flatten(item, join(&index.to_string()), lines);
            }
        }
        other => {
            lines.insert(path, other.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn annotations_are_left_out_but_not_fields_of_that_name() {
        let schema = json!({
            "title": "Dog",
            "description": "a dog",
            "properties": {"title": {"type": "string", "description": "its title"}},
            "enum": [{"title": "kept"}]
        });
        let expected = json!({
            "properties": {"title": {"type": "string"}},
            "enum": [{"title": "kept"}]
        });
        assert_eq!(bare(&schema), expected);
    }

    #[test]
    fn a_difference_names_the_paths() {
        let one = json!({"properties": {"a": {"type": "string"}}, "required": ["a"]});
        let other = json!({"properties": {"a": {"type": "integer"}, "b": true}, "required": []});
        assert_eq!(
            difference(&one, &other),
            [
                "- properties.a.type: \"string\"",
                "+ properties.a.type: \"integer\"",
                "+ properties.b: true",
                "- required.\"a\": yes",
            ]
        );
        assert!(difference(&one, &one).is_empty());
    }
}
