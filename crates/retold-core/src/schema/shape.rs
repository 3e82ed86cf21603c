//! Schemas as values of JSON: without what people read in them, and what their references mean.

use std::collections::{BTreeMap, BTreeSet};

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

/// Returns what a reference leads to; none if it leads nowhere in the schema.
pub(super) fn target<'s>(reference: &str, root: &'s Value) -> Option<&'s Value> {
    root.pointer(&percent_decoded(reference.strip_prefix('#')?)?)
}

/// Returns the name of the definition to which a reference leads, for people.
pub(super) fn definition_of(reference: &str) -> String {
    match reference.rsplit_once('/') {
        Some((_, name)) => {
            let name = percent_decoded(name).unwrap_or_else(|| name.to_owned());
            name.replace("~1", "/").replace("~0", "~")
        }
        None => "the content".to_owned(),
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let code = part.get(..2)?;
        bytes.push(u8::from_str_radix(code, 16).ok()?);
        bytes.extend(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok()
}

/// Returns the reference of a schema that demands nothing else.
pub(super) fn only_reference(schema: &Value) -> Option<&str> {
    let fields = schema.as_object()?;
    let is_only = fields
        .keys()
        .all(|key| key == "$ref" || is_of_definitions(key));
    text(fields, "$ref").filter(|_| is_only)
}

/// Returns whether a keyword only keeps schemas to which others refer.
pub(super) fn is_of_definitions(key: &str) -> bool {
    matches!(key, "$defs" | "definitions")
}

pub(super) fn text<'s>(fields: &'s Map<String, Value>, key: &str) -> Option<&'s str> {
    fields.get(key)?.as_str()
}

pub(super) fn number(fields: &Map<String, Value>, key: &str) -> Option<f64> {
    fields.get(key)?.as_f64()
}

/// Returns the texts that a keyword lists.
pub(super) fn names<'s>(fields: &'s Map<String, Value>, key: &str) -> BTreeSet<&'s str> {
    let names = fields.get(key).and_then(Value::as_array);
    names
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// Returns the schemas that a keyword lists by name.
pub(super) fn schemas<'s>(
    fields: &'s Map<String, Value>,
    key: &str,
) -> BTreeMap<&'s str, &'s Value> {
    let schemas = fields.get(key).and_then(Value::as_object);
    schemas
        .into_iter()
        .flatten()
        .map(|(name, schema)| (name.as_str(), schema))
        .collect()
}

/// Returns the only values that a schema allows, if it lists them.
pub(super) fn values(fields: &Map<String, Value>) -> Option<Vec<&Value>> {
    match (fields.get("const"), fields.get("enum")) {
        (Some(value), _) => Some(vec![value]),
        (None, Some(values)) => Some(values.as_array()?.iter().collect()),
        _ => None,
    }
}

pub(super) fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
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
    fn references_are_pointers_in_a_fragment() {
        let root = json!({"$defs": {"a b/c~": {"type": "null"}, "%": true, "x": 1}});
        assert_eq!(target("#", &root), Some(&root));
        assert_eq!(
            target("#/$defs/a%20b~1c~0", &root),
            Some(&json!({"type": "null"}))
        );
        assert_eq!(target("#/$defs/%25", &root), Some(&json!(true)));
        for wrong in [
            "",
            "a",
            "#/$defs/b",
            "#/$defs/%2",
            "#/$defs/%zz",
            "#/$defs/%ff",
            "#x",
        ] {
            assert_eq!(target(wrong, &root), None, "{wrong}");
        }
        assert_eq!(definition_of("#/$defs/a%20b~1c~0"), "a b/c~");
        assert_eq!(definition_of("#"), "the content");
    }
}
