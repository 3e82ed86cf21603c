//! Whether everything that one schema allows to be written is accepted by another that reads it.
//!
//! The check is conservative: what it cannot compare counts as a mismatch. It knows the keywords
//! that `schemars` writes for types of serde.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value};

use super::expansion::{Alternatives, Effort, alternatives};
use super::kinds::{is_same_kind, kind_of, kinds_of, refusal_of, taken_by_another, values_of};
use super::mismatch::{Mismatch, Place, WHOLE, in_one_place_each, joined};
use super::restrictions::{accepts_value, length_difference, number_difference, text_difference};
use super::shape::{bare, is_of_definitions, names, number, only_reference, schemas, text, values};

/// Maximum nesting of schemas that are compared.
const DEPTH_MAX: usize = 64;
/// Maximum number of steps of a comparison; a step is about one keyword that is looked at.
const STEPS_MAX: usize = 200_000;
/// Keywords that are compared below. Any other keyword of the reader must be equal in both.
const COMPARED: [&str; 20] = [
    "type",
    "const",
    "enum",
    "format",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "items",
    "prefixItems",
    "minItems",
    "maxItems",
    "uniqueItems",
    "properties",
    "required",
    "additionalProperties",
    "patternProperties",
    "unevaluatedProperties",
    "contentEncoding",
];

/// Returns the reasons why values that `written` allows may not be accepted by `read`; none if all
/// are accepted. Each names the place, for example `lines[].price`.
///
/// Both are JSON Schemas (draft 2020-12).
pub fn unreadable(written: &Value, read: &Value) -> Vec<String> {
    let mismatches = mismatches(written, read);
    mismatches.iter().map(Mismatch::to_text).collect()
}

/// As [`unreadable`].
pub(super) fn mismatches(written: &Value, read: &Value) -> Vec<Mismatch> {
    let (written, read) = (bare(written), bare(read));
    let mut check = Check {
        roots: (&written, &read),
        assumed: HashMap::new(),
        refused: HashMap::new(),
        effort: Effort::new(STEPS_MAX),
    };
    // A recursive type may refer to the whole, which is then a definition like others.
    let whole = Value::Object(Map::from_iter([("$ref".to_owned(), WHOLE.into())]));
    let begin = match only_reference(&written).is_some() && only_reference(&read).is_some() {
        true => (&written, &read),
        false => (&whole, &whole),
    };
    let found = check.accepts(begin.0, begin.1, &Place::default(), 0);
    in_one_place_each(found)
}

/// A schema of the writer and one of the reader that refer to others, as texts.
type ComparedPair = (String, String);

struct Check<'s> {
    /// The schemas in which references are looked up.
    roots: (&'s Value, &'s Value),
    /// Pairs that have no mismatch so far, with their order. What was found while a pair was
    /// assumed to fit is forgotten if it does not.
    assumed: HashMap<ComparedPair, usize>,
    /// Pairs that do not fit, with paths from the definition.
    refused: HashMap<ComparedPair, Vec<Mismatch>>,
    effort: Effort,
}

impl Check<'_> {
    fn accepts(
        &mut self,
        written: &Value,
        read: &Value,
        place: &Place,
        depth: usize,
    ) -> Vec<Mismatch> {
        if depth > DEPTH_MAX || self.effort.spend(1).is_none() {
            return vec![place.too_complex()];
        }
        let named = definition_in(written).or(definition_in(read));
        let inner = named.map_or_else(|| place.clone(), Place::of_definition);
        let (Some(one), Some(other)) = (combination(written), combination(read)) else {
            let place = Place {
                path: place.path.clone(),
                ..inner
            };
            return self.accepts_here(written, read, &place, depth);
        };
        let pair = (one, other);
        if self.assumed.contains_key(&pair) {
            return Vec::new();
        }
        if !self.refused.contains_key(&pair) {
            let order = self.assumed.len();
            self.assumed.insert(pair.clone(), order);
            let inner = Place {
                path: String::new(),
                ..inner
            };
            let found = self.accepts_here(written, read, &inner, depth);
            if found.is_empty() {
                return found;
            }
            let found = in_one_place_each(found);
            // What was compared since then may rest on it.
            self.assumed.retain(|_, other| *other < order);
            self.refused.insert(pair.clone(), found);
        }
        let found = self.refused.get(&pair).cloned().unwrap_or_default();
        let moved = |it: Mismatch| Mismatch {
            path: joined(&place.path, &it.path),
            ..it
        };
        found.into_iter().map(moved).collect()
    }

    fn accepts_here(
        &mut self,
        written: &Value,
        read: &Value,
        place: &Place,
        depth: usize,
    ) -> Vec<Mismatch> {
        let writes = alternatives(written, self.roots.0, &mut self.effort);
        let reads = alternatives(read, self.roots.1, &mut self.effort);
        let (Some(writes), Some(reads)) = (writes, reads) else {
            return vec![place.mismatch("it cannot be compared")];
        };
        let mut found = Vec::new();
        let mut refused = BTreeSet::new();
        let mut matches = Vec::new();
        for written in &writes.list {
            if let Some(values) = values_of(written) {
                let is_refused = |it: &&&Value| !reads.list.iter().any(|to| accepts_value(to, it));
                if self.effort.spend(values.len() * reads.list.len()).is_none() {
                    return vec![place.too_complex()];
                }
                refused.extend(values.iter().filter(is_refused).map(ToString::to_string));
                continue;
            }
            let is_only = writes.list.len() == 1 && reads.list.len() == 1;
            match self.accepts_one(written, &reads, is_only, place, depth) {
                Ok(read) => matches.push((written, read)),
                Err(mismatches) => found.extend(mismatches),
            }
        }
        if !refused.is_empty() {
            found.push(place.mismatch(refusal_of(&refused, &reads)));
        }
        if reads.is_ordered && found.is_empty() {
            found.extend(taken_by_another(&matches, &reads, place));
        }
        found
    }

    /// Returns which alternative of the reader accepts one of the writer; `is_only` if there are no
    /// others.
    fn accepts_one(
        &mut self,
        written: &Map<String, Value>,
        reads: &Alternatives,
        is_only: bool,
        place: &Place,
        depth: usize,
    ) -> Result<usize, Vec<Mismatch>> {
        let mut best: Option<Vec<Mismatch>> = None;
        for (index, read) in reads.list.iter().enumerate() {
            if self.effort.spend(written.len() + read.len()).is_none() {
                return Err(vec![place.too_complex()]);
            }
            let is_meant = is_only || is_same_kind(written, read);
            let mut found = compare_flat(written, read, place);
            if found.is_empty() || is_meant {
                found.extend(self.compare_deep(written, read, place, depth));
            }
            if found.is_empty() {
                return Ok(index);
            }
            if is_meant && best.as_ref().is_none_or(|it| found.len() < it.len()) {
                best = Some(found);
            }
        }
        Err(best.unwrap_or_else(|| {
            let written = kind_of(written);
            vec![place.mismatch(format!(
                "{written} may be recorded, but {} is needed",
                kinds_of(reads)
            ))]
        }))
    }

    /// Compares what is in an array or an object.
    fn compare_deep(
        &mut self,
        writes: &Map<String, Value>,
        reads: &Map<String, Value>,
        place: &Place,
        depth: usize,
    ) -> Vec<Mismatch> {
        match (text(writes, "type"), text(reads, "type")) {
            (Some("array"), Some("array")) => self.compare_items(writes, reads, place, depth),
            (Some("object"), Some("object")) => self.compare_fields(writes, reads, place, depth),
            _ => Vec::new(),
        }
    }

    fn compare_items(
        &mut self,
        writes: &Map<String, Value>,
        reads: &Map<String, Value>,
        place: &Place,
        depth: usize,
    ) -> Vec<Mismatch> {
        const ANY: &Value = &Value::Bool(true);
        let tuple = |fields: &Map<String, Value>| {
            let items = fields.get("prefixItems").and_then(Value::as_array);
            items.cloned().unwrap_or_default()
        };
        let (written, read) = (tuple(writes), tuple(reads));
        let rest = (
            writes.get("items").unwrap_or(ANY),
            reads.get("items").unwrap_or(ANY),
        );
        // An item beyond the length of one of them is a mismatch of lengths.
        let least = |it| number(it, "maxItems").unwrap_or(f64::INFINITY);
        let most = least(writes).min(least(reads));
        let count = written.len().max(read.len());
        let mut found = Vec::new();
        for index in (0..count).take_while(|index| (*index as f64) < most) {
            let written = written.get(index).unwrap_or(rest.0);
            let read = read.get(index).unwrap_or(rest.1);
            let item = place.field(&format!("[{index}]"));
            found.extend(self.accepts(written, read, &item, depth + 1));
        }
        if most > count as f64 {
            found.extend(self.accepts(rest.0, rest.1, &place.field("[]"), depth + 1));
        }
        found
    }

    /// As [`accepts`](Self::accepts), for a field that the reader does not name.
    fn accepts_unnamed(
        &mut self,
        written: &Value,
        reads: &Map<String, Value>,
        place: &Place,
        depth: usize,
    ) -> Vec<Mismatch> {
        match accepted_keys(reads) {
            Ok(others) => others
                .into_iter()
                .flat_map(|read| self.accepts(written, read, place, depth + 1))
                .collect(),
            Err(what) => vec![place.mismatch(what)],
        }
    }

    fn compare_fields(
        &mut self,
        writes: &Map<String, Value>,
        reads: &Map<String, Value>,
        place: &Place,
        depth: usize,
    ) -> Vec<Mismatch> {
        let (written, read) = (schemas(writes, "properties"), schemas(reads, "properties"));
        let mut found = Vec::new();
        for (name, written) in &written {
            if **written == Value::Bool(false) {
                continue;
            }
            let place = place.field(name);
            if let Some(read) = read.get(name) {
                found.extend(self.accepts(written, read, &place, depth + 1));
                continue;
            }
            found.extend(self.accepts_unnamed(written, reads, &place, depth));
        }
        // Without the keyword, a derived type writes no other fields.
        let mut others = schemas(writes, "patternProperties");
        others.extend(writes.get("additionalProperties").map(|it| ("", it)));
        others.retain(|_, written| **written != Value::Bool(false));
        let any = place.field("*");
        for (pattern, written_other) in others {
            for (name, read) in read.iter().filter(|(name, _)| !written.contains_key(*name)) {
                let place = place.field(name);
                found.extend(self.accepts(written_other, read, &place, depth + 1));
            }
            if let Some(read) = schemas(reads, "patternProperties").get(pattern) {
                found.extend(self.accepts(written_other, read, &any, depth + 1));
                continue;
            }
            found.extend(self.accepts_unnamed(written_other, reads, &any, depth));
        }
        found
    }
}

/// Returns a schema that refers to others, or combines some, as a text. Recursive types come back
/// to such a schema.
fn combination(schema: &Value) -> Option<String> {
    let fields = schema.as_object()?;
    let combines = |key: &&String| matches!(key.as_str(), "$ref" | "anyOf" | "oneOf" | "allOf");
    fields.keys().find(combines)?;
    let is_kept = |(key, _): &(&String, &Value)| !is_of_definitions(key);
    let kept = fields.iter().filter(is_kept);
    let kept: Map<_, _> = kept
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let text = Value::Object(kept).to_string();
    text.contains("\"$ref\"").then_some(text)
}

/// Returns the reference to the only definition that a schema allows, apart from `null`.
fn definition_in(schema: &Value) -> Option<&str> {
    let parts = || schema.get("anyOf")?.as_array();
    let is_null = |it: &&Value| it.get("type").and_then(Value::as_str) == Some("null");
    only_reference(schema).or_else(|| {
        let mut parts = parts()?.iter().filter(|it| !is_null(it));
        let first = parts.next()?;
        only_reference(first).filter(|_| parts.next().is_none())
    })
}

/// Returns the schemas that a field must match that a reader does not name, or why it refuses it.
fn accepted_keys(reads: &Map<String, Value>) -> Result<Vec<&Value>, String> {
    let patterns = schemas(reads, "patternProperties");
    let other = reads.get("additionalProperties");
    let other = other.or_else(|| reads.get("unevaluatedProperties"));
    if other == Some(&Value::Bool(false)) {
        let patterns: Vec<_> = patterns.keys().map(|it| format!("`{it}`")).collect();
        return Err(match patterns.is_empty() {
            true => "unknown fields are refused".to_owned(),
            false => format!(
                "only keys that match {} are accepted",
                patterns.join(" or ")
            ),
        });
    }
    Ok(patterns.into_values().chain(other).collect())
}

/// Compares everything but the items of arrays and the values of fields.
fn compare_flat(
    writes: &Map<String, Value>,
    reads: &Map<String, Value>,
    place: &Place,
) -> Vec<Mismatch> {
    let mut found = Vec::new();
    let Some(read) = text(reads, "type") else {
        // Without a type, only what is equal is known to fit.
        let mut more = reads
            .keys()
            .filter(|key| !is_same_demand(key, writes, reads));
        let more = more.next().map(|key| format!("`{key}` cannot be compared"));
        return more.map(|what| place.mismatch(what)).into_iter().collect();
    };
    let written = text(writes, "type");
    if written != Some(read) && (written, read) != (Some("integer"), "number") {
        let what = format!(
            "{} may be recorded, but {} is needed",
            kind_of(writes),
            kind_of(reads)
        );
        return vec![place.mismatch(what)];
    }
    if values(reads).is_some() {
        let what = format!(
            "any {read} may be recorded, but only {} is accepted",
            kind_of(reads)
        );
        found.push(place.mismatch(what));
    }
    let difference = match read {
        "integer" | "number" => number_difference(writes, reads),
        "string" => text_difference(writes, reads),
        "array" => list_difference(writes, reads),
        _ => None,
    };
    found.extend(difference.map(|what| place.mismatch(what)));
    let always = names(writes, "required");
    for name in names(reads, "required") {
        if read == "object" && !always.contains(name) {
            let what = "the field is needed, but may be missing";
            found.push(place.field(name).mismatch(what));
        }
    }
    for key in reads.keys() {
        if !COMPARED.contains(&key.as_str()) && !is_same_demand(key, writes, reads) {
            found.push(place.mismatch(format!("`{key}` cannot be compared")));
        }
    }
    found
}

/// Returns whether both demand the same by a keyword. References may lead to something else in the
/// other schema.
fn is_same_demand(key: &str, writes: &Map<String, Value>, reads: &Map<String, Value>) -> bool {
    fn refers(value: &Value) -> bool {
        match value {
            Value::Object(fields) => fields.contains_key("$ref") || fields.values().any(refers),
            Value::Array(items) => items.iter().any(refers),
            _ => false,
        }
    }
    let demand = writes.get(key);
    demand == reads.get(key) && !demand.is_some_and(refers)
}

fn list_difference(writes: &Map<String, Value>, reads: &Map<String, Value>) -> Option<String> {
    let is_set = |it: &Map<String, Value>| it.get("uniqueItems") == Some(&Value::Bool(true));
    if is_set(reads) && !is_set(writes) {
        return Some("an item may be recorded twice, and would be read as one".to_owned());
    }
    length_difference(writes, reads, ["minItems", "maxItems"], "items")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(properties: Value, required: Value) -> Value {
        json!({"type": "object", "properties": properties, "required": required})
    }

    /// What is written, what is read, and what the only finding says; empty if there is none.
    #[test]
    fn a_writer_is_compared_with_a_reader() {
        let text = json!({"type": "string"});
        let optional = json!({"type": ["string", "null"]});
        let one = |schema: &Value| object(json!({"a": schema}), json!(["a"]));
        let variants = |names: &[&str]| json!({"type": "string", "enum": names});
        let u8 = json!({"type": "integer", "format": "uint8", "minimum": 0, "maximum": 255});
        let u32 = json!({"type": "integer", "format": "uint32", "minimum": 0});
        let list = |of: &Value| json!({"type": "array", "items": of});
        let pair =
            json!({"type": "array", "prefixItems": [text, text], "minItems": 2, "maxItems": 2});
        let tagged = |names: &[&str]| {
            let variant = |name: &&str| {
                json!({
                    "type": "object",
                    "properties": {*name: text},
                    "required": [name],
                    "additionalProperties": false
                })
            };
            json!({"oneOf": names.iter().map(variant).collect::<Vec<_>>()})
        };
        let rows = [
            (one(&text), one(&text), ""),
            (
                one(&text),
                object(json!({"a": text, "b": text}), json!(["a"])),
                "",
            ),
            (
                one(&text),
                object(json!({"a": text, "b": text}), json!(["a", "b"])),
                "`b`: the field is needed",
            ),
            (one(&text), object(json!({}), json!([])), ""),
            (
                one(&text),
                json!({"type": "object", "additionalProperties": false}),
                "unknown fields",
            ),
            (
                object(json!({"a": text}), json!([])),
                one(&text),
                "may be missing",
            ),
            (one(&text), one(&optional), ""),
            (
                one(&optional),
                one(&text),
                "`a`: null may be recorded, which is not accepted",
            ),
            (one(&u8), one(&u32), ""),
            (
                one(&u32),
                one(&u8),
                "not every number of uint32 fits into uint8",
            ),
            (
                one(&u32),
                one(&json!({"type": "number", "format": "double"})),
                "",
            ),
            (one(&text), one(&u32), "string may be recorded"),
            (one(&variants(&["x"])), one(&variants(&["x", "y"])), ""),
            (
                one(&variants(&["x", "y"])),
                one(&variants(&["x"])),
                "\"y\" may be recorded",
            ),
            (one(&variants(&["x"])), one(&text), ""),
            (one(&text), one(&variants(&["x"])), "only \"x\" is accepted"),
            (one(&list(&u8)), one(&list(&u32)), ""),
            (one(&list(&u32)), one(&list(&u8)), "`a[]`: not every number"),
            (one(&pair), one(&list(&text)), ""),
            (one(&list(&text)), one(&pair), "any number of items"),
            (tagged(&["A"]), tagged(&["A", "B"]), ""),
            (tagged(&["A", "B"]), tagged(&["A"]), "the variant \"B\""),
            (json!(true), one(&text), "anything may be recorded"),
            (one(&text), json!(true), ""),
            (
                json!({"type": "string", "format": "uuid"}),
                text.clone(),
                "",
            ),
            (
                text.clone(),
                json!({"type": "string", "format": "uuid"}),
                "in the form \"uuid\"",
            ),
            (
                text.clone(),
                json!({"type": "string", "not": {"const": ""}}),
                "`not` cannot be",
            ),
            (
                json!({"type": "object", "additionalProperties": u32}),
                json!({"type": "object", "additionalProperties": u8}),
                "`*`: not every number",
            ),
        ];
        for (written, read, expected) in rows {
            let found = unreadable(&written, &read);
            match expected {
                "" => assert!(found.is_empty(), "{written} for {read}: {found:?}"),
                expected => assert!(
                    found.len() == 1 && found[0].contains(expected),
                    "{written} for {read}: {found:?}"
                ),
            }
        }
    }

    #[test]
    fn references_and_recursive_types_end() {
        let tree = |of: &str| {
            json!({
                "$defs": {"Tree": {
                    "type": "object",
                    "properties": {
                        "value": {"type": of},
                        "children": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}
                    },
                    "required": ["value"]
                }},
                "$ref": "#/$defs/Tree"
            })
        };
        assert!(unreadable(&tree("string"), &tree("string")).is_empty());
        let found = unreadable(&tree("string"), &tree("integer"));
        assert_eq!(found.len(), 1, "{found:?}");
        for endless in [
            json!({"$defs": {"A": {"$ref": "#/$defs/A"}}, "$ref": "#/$defs/A"}),
            json!({"$ref": "#/$defs/Missing"}),
            json!({"$ref": "#"}),
        ] {
            assert!(!unreadable(&endless, &json!({"type": "string"})).is_empty());
        }
    }

    /// A pair of definitions that is being compared is assumed to fit. What was found meanwhile
    /// does not count if it then does not fit.
    #[test]
    fn a_difference_behind_a_recursive_pair_is_found() {
        let types = |value: &str| {
            json!({
                "$defs": {
                    "A": object(json!({"b": {"$ref": "#/$defs/B"}, "value": {"type": value}}),
                        json!(["value"])),
                    "B": object(json!({"a": {"$ref": "#/$defs/A"}}), json!([]))
                },
                "type": "object",
                "properties": {
                    "first": {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "array"}]},
                    "second": {"$ref": "#/$defs/B"}
                }
            })
        };
        assert!(unreadable(&types("string"), &types("string")).is_empty());
        let (one, mut other) = (types("string"), types("integer"));
        let found = unreadable(&one, &other);
        let expected = ["`second.a.value`: string", "`first.value`: string"];
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found}");
        }
        assert_eq!(found.len(), 2);
        // `A` is refused, and another alternative accepts it.
        other["properties"]["first"] = json!(true);
        let found = unreadable(&one, &other);
        assert_eq!(
            found,
            ["`second.a.value`: string may be recorded, but integer is needed"]
        );
        let any = json!({"anyOf": [{"$ref": "#/$defs/A"}, {"type": "object"}]});
        other["properties"]["first"] = any;
        let found = unreadable(&one, &other);
        assert!(
            found.iter().any(|it| it.starts_with("`second.a.value`")),
            "{found:?}"
        );
    }

    #[test]
    fn references_are_compared_with_what_stands_beside_them() {
        let schema = |value: Value| {
            json!({
                "$defs": {"A": {"type": "string"}},
                "properties": {
                    "a": {"$ref": "#/$defs/A"},
                    "b": {"$ref": "#/$defs/A", "maxLength": value}
                },
                "type": "object"
            })
        };
        assert!(unreadable(&schema(json!(3)), &schema(json!(3))).is_empty());
        let found = unreadable(&schema(json!(4)), &schema(json!(3)));
        assert_eq!(
            found,
            ["`b`: at most 4 characters may be recorded, but at most 3 are needed"]
        );
    }
}
