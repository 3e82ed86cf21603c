//! The outline of a content: one line for each place, to show people how two shapes differ.
//!
//! A definition is outlined once, and not at each place that refers to it, so one change of a type
//! is one line.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::kinds::{listed, variant_of};
use super::mismatch::joined;
use super::restrictions::numbers_of;
use super::shape::{bare, definition_of, names, schemas, text, values};
use crate::domain::ContentSchemas;

/// Maximum number of lines of a difference.
const LINES_MAX: usize = 40;

const OPTIONAL: &str = ", optional";
const WITH_DEFAULT: &str = ", with a default";

/// Keywords that the lines express in other words.
const EXPRESSED: [&str; 19] = [
    "$defs",
    "definitions",
    "$ref",
    "type",
    "format",
    "minimum",
    "maximum",
    "const",
    "enum",
    "oneOf",
    "anyOf",
    "allOf",
    "properties",
    "required",
    "additionalProperties",
    "patternProperties",
    "items",
    "prefixItems",
    "uniqueItems",
];

/// The lines by their places.
pub(super) type Outline = BTreeMap<String, String>;

/// Returns the outline of what is written and read.
pub(super) fn outline(shape: &ContentSchemas) -> Outline {
    let (written, read) = (entries(&shape.written), entries(&shape.read));
    let places: BTreeSet<_> = written.keys().chain(read.keys()).collect();
    let line = |place: &String| match (written.get(place), read.get(place)) {
        (Some(written), Some(read)) if written.kind == read.kind => {
            let addition = match (written.is_needed, read.is_needed) {
                (true, true) => "",
                (true, false) => WITH_DEFAULT,
                (false, _) => OPTIONAL,
            };
            format!("{}{addition}", written.kind)
        }
        (Some(written), Some(read)) => {
            format!("{} when written, {} when read", written.kind, read.kind)
        }
        (Some(only), None) => format!("{} when written", only.kind),
        (None, Some(only)) => format!("{} when read", only.kind),
        (None, None) => String::new(),
    };
    places
        .into_iter()
        .map(|place| (place.clone(), line(place)))
        .collect()
}

/// Returns how the second differs from the first, without the places for which `is_said`.
pub(super) fn changes(old: &Outline, new: &Outline, is_said: impl Fn(&str) -> bool) -> Vec<String> {
    let mut lines = Vec::new();
    let places: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    for place in places {
        let change = match (old.get(place), new.get(place)) {
            (Some(old), Some(new)) if old != new => format!("{old}, now {new}"),
            (Some(line), None) if has_around(old, new, place) => format!("removed, it was {line}"),
            (None, Some(line)) if has_around(new, old, place) => format!("new, {line}"),
            _ => continue,
        };
        if !is_said(place) {
            lines.push(format!("{}: {change}", shown(place)));
        }
    }
    let more = lines.len().saturating_sub(LINES_MAX);
    lines.truncate(LINES_MAX);
    if more > 0 {
        lines.push(format!("and {more} more changes"));
    }
    lines
}

/// Returns the fields that are gone, each with a field of the same kind that is new in the same
/// place and may be missing: probably the same field with another name.
pub(super) fn renamed(old: &Outline, new: &Outline) -> Vec<(String, String)> {
    let parent = |place: &str| place.rfind(['.', ':']).map(|at| place[..at].to_owned());
    let kind = |line: &str| {
        let kind = line
            .strip_suffix(OPTIONAL)
            .or(line.strip_suffix(WITH_DEFAULT));
        kind.unwrap_or(line).to_owned()
    };
    let only_in = |one: &Outline, other: &Outline| -> Vec<(String, String)> {
        let lines = one.iter().filter(|(place, _)| !other.contains_key(*place));
        let lines = lines.filter(|(place, _)| has_around(one, other, place));
        let is_field = |place: &str| {
            let name = place.rfind(['.', ':']).map_or(place, |at| &place[at..]);
            !name.contains(['[', '*', '{'])
        };
        let lines = lines.filter(|(place, _)| is_field(place));
        lines
            .map(|(place, line)| (place.clone(), line.clone()))
            .collect()
    };
    let (gone, added) = (only_in(old, new), only_in(new, old));
    let mut found = Vec::new();
    for (from, was) in gone {
        let is_same = |(to, line): &&(String, String)| {
            parent(to) == parent(&from) && kind(line) == kind(&was)
        };
        if let Some((to, _)) = added.iter().find(is_same) {
            found.push((shown(&from), shown(to)));
        }
    }
    found
}

/// Returns whether the place that contains this one is in both, so that its own line says what has
/// changed.
fn has_around(one: &Outline, other: &Outline, place: &str) -> bool {
    let ends = place
        .char_indices()
        .rev()
        .filter(|(at, it)| *at > 0 && ".[{".contains(*it));
    let around = ends
        .map(|(at, _)| &place[..at])
        .find(|around| one.contains_key(*around));
    let definition = place.find("::").map(|at| &place[..at + 2]);
    [around, definition]
        .into_iter()
        .flatten()
        .all(|it| it == place || other.contains_key(it))
        && definition != Some(place)
}

fn shown(place: &str) -> String {
    match place {
        "" => "the content".to_owned(),
        place => format!("`{}`", place.strip_suffix("::").unwrap_or(place)),
    }
}

struct Entry {
    kind: String,
    is_needed: bool,
}

fn entries(schema: &Value) -> BTreeMap<String, Entry> {
    let schema = bare(schema);
    let mut found = BTreeMap::new();
    visit(&schema, String::new(), true, &mut found);
    if let Some(fields) = schema.as_object() {
        for key in ["$defs", "definitions"] {
            for (name, schema) in schemas(fields, key) {
                visit(schema, format!("{name}::"), true, &mut found);
            }
        }
    }
    found
}

fn visit(schema: &Value, place: String, is_needed: bool, found: &mut BTreeMap<String, Entry>) {
    let kind = kind_of(schema);
    visit_inside(schema, &place, found);
    found.entry(place).or_insert(Entry { kind, is_needed });
}

fn visit_inside(schema: &Value, place: &str, found: &mut BTreeMap<String, Entry>) {
    let Some(fields) = schema.as_object() else {
        return;
    };
    let needed = names(fields, "required");
    for (name, schema) in schemas(fields, "properties") {
        visit(schema, joined(place, name), needed.contains(name), found);
    }
    for (pattern, schema) in schemas(fields, "patternProperties") {
        visit(schema, joined(place, &format!("*{pattern}")), true, found);
    }
    if let Some(other) = fields
        .get("additionalProperties")
        .filter(|it| !it.is_boolean())
    {
        visit(other, joined(place, "*"), true, found);
    }
    if let Some(item) = fields.get("items").filter(|it| !it.is_boolean()) {
        visit(item, joined(place, "[]"), true, found);
    }
    for (index, item) in parts(fields, "prefixItems").iter().enumerate() {
        visit(item, joined(place, &format!("[{index}]")), true, found);
    }
    for key in ["oneOf", "anyOf", "allOf"] {
        for (index, part) in parts(fields, key).iter().enumerate() {
            let is_variant = part.as_object().is_some_and(|it| variant_of(it).is_some());
            let label = match is_variant || key == "allOf" {
                true => String::new(),
                false => format!("{{{}}}", tag_of(part).unwrap_or_else(|| index.to_string())),
            };
            visit_inside(part, &format!("{place}{label}"), found);
        }
    }
}

fn parts<'s>(fields: &'s Map<String, Value>, key: &str) -> &'s [Value] {
    fields
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Returns the tag of a variant that has it as a field.
fn tag_of(schema: &Value) -> Option<String> {
    let properties = schemas(schema.as_object()?, "properties");
    let mut tags = properties
        .values()
        .filter_map(|it| it.get("const")?.as_str());
    tags.next().map(ToOwned::to_owned)
}

/// Returns what a place may have, in words.
fn kind_of(schema: &Value) -> String {
    let fields = match schema {
        Value::Object(fields) => fields,
        Value::Bool(true) => return "anything".to_owned(),
        _ => return "nothing".to_owned(),
    };
    let mut all = Vec::new();
    all.extend(text(fields, "$ref").map(definition_of));
    for (key, word) in [("oneOf", " or "), ("anyOf", " or "), ("allOf", " and ")] {
        let kinds: Vec<_> = parts(fields, key).iter().map(part_kind).collect();
        all.extend((!kinds.is_empty()).then(|| kinds.join(word)));
    }
    match values(fields) {
        Some(values) => all.push(listed(values.iter().map(ToString::to_string))),
        None => all.extend(type_of(fields)),
    }
    if fields.get("additionalProperties") == Some(&Value::Bool(false)) {
        all.push("without other fields".to_owned());
    }
    if fields.get("uniqueItems") == Some(&Value::Bool(true)) {
        all.push("each item once".to_owned());
    }
    let others = fields
        .iter()
        .filter(|(key, _)| !EXPRESSED.contains(&key.as_str()));
    all.extend(others.map(|(key, value)| format!("{key} {value}")));
    match all.is_empty() {
        true => "anything".to_owned(),
        false => all.join(" "),
    }
}

fn part_kind(part: &Value) -> String {
    let variant = part.as_object().and_then(variant_of);
    match variant.map(ToOwned::to_owned).or_else(|| tag_of(part)) {
        Some(name) => format!("{name:?}"),
        None => kind_of(part),
    }
}

/// Returns the types, numbers by their format.
fn type_of(fields: &Map<String, Value>) -> Option<String> {
    let types = match fields.get("type")? {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        name => vec![name.as_str()?],
    };
    let in_words = |name: &str| match (name, text(fields, "format")) {
        ("integer" | "number", _) => numbers_of(fields),
        ("string", Some(format)) => format!("{name} ({format})"),
        _ => name.to_owned(),
    };
    Some(
        types
            .into_iter()
            .map(in_words)
            .collect::<Vec<_>>()
            .join(" or "),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(old: &Value, new: &Value) -> Vec<String> {
        let shape = |schema: &Value| ContentSchemas {
            written: schema.clone(),
            read: schema.clone(),
        };
        changes(&outline(&shape(old)), &outline(&shape(new)), |_| false)
    }

    #[test]
    fn one_change_is_one_line() {
        let with = |meal: Value, more: Value| {
            let mut schema = json!({
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "first": {"$ref": "#/$defs/Meal"},
                    "others": {"type": "array", "items": {"$ref": "#/$defs/Meal"}}
                },
                "required": ["name"],
                "$defs": {"Meal": meal}
            });
            for (name, field) in more.as_object().unwrap() {
                schema["properties"][name] = field.clone();
            }
            schema
        };
        let grams = |format: &str| {
            let field = json!({"type": "integer", "format": format, "minimum": 0});
            json!({"type": "object", "properties": {"grams": field}, "required": ["grams"]})
        };
        let old = with(grams("uint32"), json!({}));
        assert!(lines(&old, &old).is_empty());
        let other = with(grams("uint64"), json!({}));
        assert_eq!(lines(&old, &other), ["`Meal::grams`: uint32, now uint64"]);
        let inline = json!({"a": {"type": "object", "properties": {"b": true, "c": true}}});
        let more = with(grams("uint32"), inline);
        assert_eq!(lines(&old, &more), ["`a`: new, object, optional"]);
        assert_eq!(
            lines(&more, &old),
            ["`a`: removed, it was object, optional"]
        );
        let nullable = json!({"name": {"type": ["string", "null"], "maxLength": 9}});
        assert_eq!(
            lines(&old, &with(grams("uint32"), nullable)),
            ["`name`: string, now string or null maxLength 9"]
        );
        let kinds = |names: &[&str]| json!({"kind": {"enum": names}});
        let one = with(grams("uint32"), kinds(&["A", "C"]));
        let two = with(grams("uint32"), kinds(&["A", "B", "C"]));
        assert_eq!(
            lines(&one, &two),
            [r#"`kind`: "A" or "C", optional, now "A" or "B" or "C", optional"#]
        );
    }

    #[test]
    fn a_field_with_another_name_is_suspected() {
        let object = |fields: Value| {
            let shape = json!({"type": "object", "properties": fields});
            outline(&ContentSchemas {
                written: shape.clone(),
                read: shape,
            })
        };
        let text = json!({"type": "string"});
        let one = object(json!({"a": text, "b": {"type": "null"}}));
        let other = object(json!({"c": text, "d": {"type": "boolean"}}));
        assert_eq!(
            renamed(&one, &other),
            [("`a`".to_owned(), "`c`".to_owned())]
        );
        assert!(renamed(&one, &one).is_empty());
    }
}
