//! Whether everything that one schema allows to be written is accepted by another that reads it.
//!
//! The check is conservative: what it cannot compare counts as a finding. It knows the keywords
//! that `schemars` writes for types of serde.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde_json::{Map, Value};

/// Maximum nesting of schemas that are compared.
const DEPTH_MAX: usize = 64;
/// Maximum number of alternatives of one place, and of comparisons of one schema with another.
const ALTERNATIVES_MAX: usize = 512;
const STEPS_MAX: usize = 20_000;

/// Keywords that are compared below. Any other keyword of the reader must be equal in both.
const COMPARED: [&str; 21] = [
    "$defs",
    "definitions",
    "type",
    "const",
    "enum",
    "format",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
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
    let (written, read) = (super::shape::bare(written), super::shape::bare(read));
    let mut check = Check {
        roots: (&written, &read),
        compared: BTreeSet::new(),
        steps: 0,
    };
    let mut findings = Vec::new();
    check.accepts(&written, &read, "", 0, &mut findings);
    findings.dedup();
    findings
}

struct Check<'s> {
    /// The schemas in which references are looked up.
    roots: (&'s Value, &'s Value),
    /// Pairs of references that are being compared or were, so that recursive types end.
    compared: BTreeSet<(String, String)>,
    steps: usize,
}

impl Check<'_> {
    fn accepts(
        &mut self,
        written: &Value,
        read: &Value,
        path: &str,
        depth: usize,
        findings: &mut Vec<String>,
    ) {
        self.steps += 1;
        if depth > DEPTH_MAX || self.steps > STEPS_MAX {
            findings.push(format!("{}: it is too complex to be compared", place(path)));
            return;
        }
        if let (Some(one), Some(other)) = (reference(written), reference(read))
            && !self.compared.insert((one.to_owned(), other.to_owned()))
        {
            return;
        }
        let written = alternatives(written, self.roots.0);
        let read = alternatives(read, self.roots.1);
        let (Some(written), Some(read)) = (written, read) else {
            findings.push(format!("{}: it cannot be compared", place(path)));
            return;
        };
        for written in &written {
            self.accepts_one(written, &read, path, depth, findings);
        }
    }

    /// Checks that one alternative of the writer is accepted by one of the reader.
    fn accepts_one(
        &mut self,
        written: &Value,
        read: &[Value],
        path: &str,
        depth: usize,
        findings: &mut Vec<String>,
    ) {
        let mut best: Option<Vec<String>> = None;
        for read in read {
            let mut found = Vec::new();
            self.compare(written, read, path, depth, &mut found);
            if found.is_empty() {
                return;
            }
            let is_meant = is_same_kind(written, read);
            if is_meant && best.as_ref().is_none_or(|it| found.len() < it.len()) {
                best = Some(found);
            }
        }
        match best {
            Some(found) => findings.extend(found),
            None => findings.push(format!(
                "{}: {} may be recorded, which is not accepted",
                place(path),
                shown(written)
            )),
        }
    }

    /// Compares two schemas without alternatives.
    fn compare(
        &mut self,
        written: &Value,
        read: &Value,
        path: &str,
        depth: usize,
        findings: &mut Vec<String>,
    ) {
        let fields = (fields(written), fields(read));
        let ((Some(writes), Some(reads)), true) = (fields, *read != Value::Bool(false)) else {
            if *written != Value::Bool(false) {
                findings.push(format!("{}: nothing is accepted", place(path)));
            }
            return;
        };
        if reads.is_empty() {
            return;
        }
        compare_types(writes, reads, path, findings);
        compare_values(writes, reads, path, findings);
        compare_limits(writes, reads, path, findings);
        for (key, value) in reads {
            if !COMPARED.contains(&key.as_str()) && writes.get(key) != Some(value) {
                findings.push(format!("{}: `{key}` cannot be compared", place(path)));
            }
        }
        if has_type(writes, "array") {
            self.compare_items(writes, reads, path, depth, findings);
        }
        if has_type(writes, "object") {
            self.compare_fields(writes, reads, path, depth, findings);
        }
    }

    fn compare_items(
        &mut self,
        writes: &Map<String, Value>,
        reads: &Map<String, Value>,
        path: &str,
        depth: usize,
        findings: &mut Vec<String>,
    ) {
        let item = format!("{path}[]");
        let tuple = |fields: &Map<String, Value>| {
            let items = fields.get("prefixItems").and_then(Value::as_array);
            items.cloned().unwrap_or_default()
        };
        let (written, read) = (tuple(writes), tuple(reads));
        let any = Value::Bool(true);
        let rest = (
            writes.get("items").unwrap_or(&any),
            reads.get("items").unwrap_or(&any),
        );
        for index in 0..written.len().max(read.len()) {
            let written = written.get(index).unwrap_or(rest.0);
            let read = read.get(index).unwrap_or(rest.1);
            self.accepts(written, read, &item, depth + 1, findings);
        }
        let is_longer = number(writes, "maxItems").is_none_or(|max| max > written.len() as f64);
        if is_longer {
            self.accepts(rest.0, rest.1, &item, depth + 1, findings);
        }
    }

    fn compare_fields(
        &mut self,
        writes: &Map<String, Value>,
        reads: &Map<String, Value>,
        path: &str,
        depth: usize,
        findings: &mut Vec<String>,
    ) {
        let join = |name: &str| match path {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        };
        let always = names(writes, "required");
        for name in names(reads, "required") {
            if !always.contains(name) {
                let place = place(&join(name));
                findings.push(format!("{place}: the field is needed, but may be missing"));
            }
        }
        let (written, read) = (schemas(writes, "properties"), schemas(reads, "properties"));
        for (name, written) in &written {
            match read.get(name) {
                Some(read) => self.accepts(written, read, &join(name), depth + 1, findings),
                None => match other_fields(reads) {
                    Some(read) => self.accepts(written, read, &join(name), depth + 1, findings),
                    None if **written == Value::Bool(false) => {}
                    None => findings.push(format!(
                        "{}: unknown fields are refused",
                        place(&join(name))
                    )),
                },
            }
        }
        let any_key = join("*");
        let closed = Value::Bool(false);
        let patterns = schemas(writes, "patternProperties");
        let mut others: Vec<(&str, &Value)> = patterns.into_iter().collect();
        // Without the keyword, a derived type writes no other fields.
        others.extend(writes.get("additionalProperties").map(|it| ("", it)));
        for (pattern, written) in others {
            if *written == closed {
                continue;
            }
            let accepted = schemas(reads, "patternProperties");
            let read = accepted.get(pattern).copied();
            let read = read.or_else(|| reads.get("additionalProperties"));
            self.accepts(
                written,
                read.unwrap_or(&Value::Bool(true)),
                &any_key,
                depth + 1,
                findings,
            );
        }
    }
}

/// Returns the schema of a field that a reader does not name; `None` if it refuses it.
fn other_fields(reads: &Map<String, Value>) -> Option<&Value> {
    const ANY: &Value = &Value::Bool(true);
    let other = reads.get("additionalProperties");
    let other = other
        .or_else(|| reads.get("unevaluatedProperties"))
        .unwrap_or(ANY);
    (*other != Value::Bool(false)).then_some(other)
}

fn compare_types(
    writes: &Map<String, Value>,
    reads: &Map<String, Value>,
    path: &str,
    findings: &mut Vec<String>,
) {
    let Some(read) = reads.get("type").and_then(Value::as_str) else {
        return;
    };
    match writes.get("type").and_then(Value::as_str) {
        Some(written) if written == read || (written, read) == ("integer", "number") => {}
        Some(written) => findings.push(format!(
            "{}: {written} may be recorded, but {read} is needed",
            place(path)
        )),
        None if values(writes).is_some_and(|it| it.iter().all(|it| is_of_type(it, read))) => {}
        None => findings.push(format!(
            "{}: anything may be recorded, but {read} is needed",
            place(path)
        )),
    }
}

fn compare_values(
    writes: &Map<String, Value>,
    reads: &Map<String, Value>,
    path: &str,
    findings: &mut Vec<String>,
) {
    let Some(read) = values(reads) else {
        return;
    };
    let Some(written) = values(writes) else {
        findings.push(format!("{}: only some values are accepted", place(path)));
        return;
    };
    for value in written {
        if !read.contains(&value) {
            findings.push(format!(
                "{}: {value} may be recorded, which is not accepted",
                place(path)
            ));
        }
    }
}

fn compare_limits(
    writes: &Map<String, Value>,
    reads: &Map<String, Value>,
    path: &str,
    findings: &mut Vec<String>,
) {
    if values(writes).is_some() {
        return;
    }
    let (written, read) = (range(writes), range(reads));
    if written.0 < read.0 || written.1 > read.1 {
        findings.push(format!("{}: not all recorded numbers fit", place(path)));
    }
    for (least, most) in [("minLength", "maxLength"), ("minItems", "maxItems")] {
        let least = |it| number(it, least).unwrap_or(0.0);
        let most = |it| number(it, most).unwrap_or(f64::INFINITY);
        if least(writes) < least(reads) || most(writes) > most(reads) {
            findings.push(format!("{}: not all recorded lengths fit", place(path)));
        }
    }
    let is_number = has_type(reads, "integer") || has_type(reads, "number");
    match (text(writes, "format"), text(reads, "format")) {
        (Some("double"), Some("float")) => {
            findings.push(format!("{}: digits would be lost", place(path)));
        }
        (one, Some(other)) if !is_number && one != Some(other) => findings.push(format!(
            "{}: a text in the form {other:?} is needed",
            place(path)
        )),
        _ => {}
    }
    let encoding = text(reads, "contentEncoding");
    if encoding.is_some() && encoding != text(writes, "contentEncoding") {
        findings.push(format!("{}: the text is encoded differently", place(path)));
    }
}

/// Returns the least and the greatest number, by the limits and the format.
fn range(fields: &Map<String, Value>) -> (f64, f64) {
    let bits = |prefix: &str| {
        text(fields, "format")?
            .strip_prefix(prefix)?
            .parse::<i32>()
            .ok()
    };
    let of_format = match (bits("uint"), bits("int")) {
        (Some(bits), _) => (0.0, 2f64.powi(bits)),
        (None, Some(bits)) => (-(2f64.powi(bits - 1)), 2f64.powi(bits - 1)),
        _ => (f64::NEG_INFINITY, f64::INFINITY),
    };
    let of_format = match text(fields, "format") {
        Some("uint") => (0.0, 2f64.powi(64)),
        Some("int") => (-(2f64.powi(63)), 2f64.powi(63)),
        _ => of_format,
    };
    let least = number(fields, "minimum").map_or(of_format.0, |it| it.max(of_format.0));
    let most = number(fields, "maximum").map_or(of_format.1, |it| it.min(of_format.1));
    (least, most)
}

/// Returns the schemas of which a value must match one; `None` if there are too many or a reference
/// leads nowhere.
fn alternatives(schema: &Value, root: &Value) -> Option<Vec<Value>> {
    let mut found = Vec::new();
    expand(schema, root, 0, &mut found)?;
    Some(found)
}

fn expand(schema: &Value, root: &Value, depth: usize, found: &mut Vec<Value>) -> Option<()> {
    if depth > DEPTH_MAX || found.len() >= ALTERNATIVES_MAX {
        return None;
    }
    let Value::Object(fields) = schema else {
        found.push(schema.clone());
        return Some(());
    };
    let without = |key: &str| {
        let mut rest = fields.clone();
        rest.remove(key);
        rest
    };
    if let Some(target) = reference(schema) {
        let target = match target.strip_prefix('#')? {
            "" => root,
            pointer => root.pointer(pointer)?,
        };
        return expand(&merged(without("$ref"), target)?, root, depth + 1, found);
    }
    if let Some(all) = fields.get("allOf") {
        let mut whole = Value::Object(without("allOf"));
        for part in all.as_array()? {
            let Value::Object(fields) = whole else {
                return None;
            };
            whole = merged(fields, part)?;
        }
        return expand(&whole, root, depth + 1, found);
    }
    for key in ["oneOf", "anyOf"] {
        if let Some(parts) = fields.get(key) {
            for part in parts.as_array()? {
                expand(&merged(without(key), part)?, root, depth + 1, found)?;
            }
            return Some(());
        }
    }
    if let Some(Value::Array(types)) = fields.get("type") {
        for one in types {
            let mut part = fields.clone();
            part.insert("type".into(), one.clone());
            found.push(Value::Object(part));
        }
        return Some(());
    }
    found.push(schema.clone());
    Some(())
}

/// Returns a schema that demands what both demand; `None` if that cannot be written as one.
fn merged(mut base: Map<String, Value>, part: &Value) -> Option<Value> {
    base.remove("$defs");
    let part = match part {
        Value::Object(part) => part,
        Value::Bool(true) => return Some(Value::Object(base)),
        _ => return Some(Value::Bool(false)),
    };
    for (key, value) in part {
        if key == "$defs" {
            continue;
        }
        let Some(present) = base.get_mut(key) else {
            base.insert(key.clone(), value.clone());
            continue;
        };
        match (key.as_str(), present, value) {
            ("properties" | "patternProperties", Value::Object(present), Value::Object(more)) => {
                for (name, schema) in more {
                    present.entry(name).or_insert_with(|| schema.clone());
                }
            }
            ("required", Value::Array(present), Value::Array(more)) => {
                let new = more.iter().filter(|it| !present.contains(it)).cloned();
                present.extend(new.collect::<Vec<_>>());
            }
            // The parts of a flattened struct each close only themselves.
            ("additionalProperties", present, _) if *present == Value::Bool(false) => {
                *present = value.clone();
            }
            ("additionalProperties", _, Value::Bool(false)) => {}
            (_, present, value) if present == value => {}
            _ => return None,
        }
    }
    Some(Value::Object(base))
}

/// Returns whether two alternatives are probably meant to be the same, so that their differences
/// are worth reading.
fn is_same_kind(written: &Value, read: &Value) -> bool {
    let (Some(written), Some(read)) = (fields(written), fields(read)) else {
        return false;
    };
    let kind = |it: &Map<String, Value>| it.get("type").cloned();
    if kind(written) != kind(read) {
        let numbers = |it| has_type(it, "integer") || has_type(it, "number");
        return numbers(written) && numbers(read);
    }
    let tags = |it: &Map<String, Value>| -> BTreeMap<String, Value> {
        let constant = |(name, schema): (&str, &Value)| {
            let value = fields(schema)?.get("const")?;
            Some((name.to_owned(), value.clone()))
        };
        let schemas = schemas(it, "properties");
        schemas.into_iter().filter_map(constant).collect()
    };
    let closed = |it: &Map<String, Value>| {
        let is_closed = it.get("additionalProperties") == Some(&Value::Bool(false));
        (is_closed && names(it, "required").len() == 1).then(|| it.get("required").cloned())
    };
    tags(written) == tags(read) && closed(written) == closed(read)
}

fn fields(schema: &Value) -> Option<&Map<String, Value>> {
    static ANY: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
    match schema {
        Value::Object(fields) => Some(fields),
        Value::Bool(true) => Some(&ANY),
        _ => None,
    }
}

fn reference(schema: &Value) -> Option<&str> {
    text(schema.as_object()?, "$ref")
}

fn text<'s>(fields: &'s Map<String, Value>, key: &str) -> Option<&'s str> {
    fields.get(key)?.as_str()
}

fn number(fields: &Map<String, Value>, key: &str) -> Option<f64> {
    fields.get(key)?.as_f64()
}

fn has_type(fields: &Map<String, Value>, name: &str) -> bool {
    text(fields, "type") == Some(name)
}

fn names<'s>(fields: &'s Map<String, Value>, key: &str) -> BTreeSet<&'s str> {
    let names = fields.get(key).and_then(Value::as_array);
    names
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

fn schemas<'s>(fields: &'s Map<String, Value>, key: &str) -> BTreeMap<&'s str, &'s Value> {
    let schemas = fields.get(key).and_then(Value::as_object);
    schemas
        .into_iter()
        .flatten()
        .map(|(name, schema)| (name.as_str(), schema))
        .collect()
}

/// Returns the only values that a schema allows, if it lists them.
fn values(fields: &Map<String, Value>) -> Option<Vec<&Value>> {
    match (fields.get("const"), fields.get("enum")) {
        (Some(value), _) => Some(vec![value]),
        (None, Some(values)) => Some(values.as_array()?.iter().collect()),
        _ => None,
    }
}

fn is_of_type(value: &Value, name: &str) -> bool {
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

fn place(path: &str) -> String {
    match path {
        "" => "the content".into(),
        path => format!("`{path}`"),
    }
}

/// Returns a short name of a schema.
fn shown(schema: &Value) -> String {
    let Some(fields) = fields(schema) else {
        return "nothing".into();
    };
    if let Some(values) = values(fields) {
        let values: Vec<_> = values.iter().map(ToString::to_string).collect();
        return values.join(" or ");
    }
    let required: Vec<_> = names(fields, "required").into_iter().collect();
    match text(fields, "type") {
        Some("object") if !required.is_empty() => {
            format!("an object with `{}`", required.join("`, `"))
        }
        Some(name) => name.to_owned(),
        None => "anything".into(),
    }
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
            (one(&u32), one(&u8), "not all recorded numbers fit"),
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
            (one(&text), one(&variants(&["x"])), "only some values"),
            (one(&list(&u8)), one(&list(&u32)), ""),
            (
                one(&list(&u32)),
                one(&list(&u8)),
                "`a[]`: not all recorded numbers",
            ),
            (one(&pair), one(&list(&text)), ""),
            (one(&list(&text)), one(&pair), "not all recorded lengths"),
            (tagged(&["A"]), tagged(&["A", "B"]), ""),
            (tagged(&["A", "B"]), tagged(&["A"]), "an object with `B`"),
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
                "`*`: not all recorded numbers",
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
}
