//! Which alternatives are of one kind, and their names in messages.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::expansion::Alternatives;
use super::mismatch::{Mismatch, Place};
use super::shape::{names, number, schemas, text, values};

/// Maximum number of values in a message.
const VALUES_SHOWN_MAX: usize = 12;

/// Returns the alternatives of an untagged enum that were accepted, and may now be read as another
/// one that stands before.
pub(super) fn taken_by_another(
    matches: &[(&Map<String, Value>, usize)],
    reads: &Alternatives,
    place: &Place,
) -> Vec<Mismatch> {
    let mut found = Vec::new();
    let meant: Vec<_> = matches
        .iter()
        .map(|(written, accepted)| {
            let equal = reads.list.iter().position(|read| read == *written);
            (written, equal.unwrap_or(*accepted))
        })
        .collect();
    for (index, (written, accepted)) in meant.iter().enumerate() {
        let is_older = |other: &usize| meant[..index].iter().any(|(_, it)| it == other);
        let mut before = (0..*accepted).filter(|other| !is_older(other));
        if let Some(other) = before.find(|other| may_share(written, &reads.list[*other])) {
            found.push(place.mismatch(format!(
                "{} may be read as another alternative, which stands before: {}",
                kind_of(written),
                kind_of(&reads.list[other])
            )));
        }
    }
    found
}

/// Returns whether a value of one schema may be accepted by another.
fn may_share(written: &Map<String, Value>, read: &Map<String, Value>) -> bool {
    let types = (text(written, "type"), text(read, "type"));
    match types {
        (Some(one), Some(other)) if one != other => (one, other) == ("integer", "number"),
        (Some("object"), _) => {
            let fields = schemas(written, "properties");
            let is_open = written.contains_key("additionalProperties");
            let mut needed = names(read, "required").into_iter();
            (is_open || needed.all(|it| fields.contains_key(it)))
                && constants(written).iter().all(|(name, value)| {
                    constants(read).get(name).is_none_or(|other| other == value)
                })
        }
        (Some("array"), _) => {
            let length = |it, key, or: f64| number(it, key).unwrap_or(or);
            let most = f64::INFINITY;
            length(read, "minItems", 0.0) <= length(written, "maxItems", most)
                && length(written, "minItems", 0.0) <= length(read, "maxItems", most)
        }
        _ => true,
    }
}

/// Returns whether two alternatives are probably meant to be the same, so that their differences
/// are worth reading.
pub(super) fn is_same_kind(written: &Map<String, Value>, read: &Map<String, Value>) -> bool {
    let kinds = (text(written, "type"), text(read, "type"));
    if kinds.0 != kinds.1 {
        let is_number = |kind| matches!(kind, Some("integer" | "number"));
        return is_number(kinds.0) && is_number(kinds.1);
    }
    let needed = (names(written, "required"), names(read, "required"));
    let is_alike = needed.0.is_empty() || needed.1.is_empty() || !needed.0.is_disjoint(&needed.1);
    is_alike && constants(written) == constants(read) && variant_of(written) == variant_of(read)
}

/// Returns the fields of an object that always have one value, such as tags.
fn constants(fields: &Map<String, Value>) -> BTreeMap<&str, &Value> {
    let fields = schemas(fields, "properties").into_iter();
    fields
        .filter_map(|(name, schema)| Some((name, schema.get("const")?)))
        .collect()
}

/// Returns the name of a variant, if an object is one that has its name as its only field.
pub(super) fn variant_of(fields: &Map<String, Value>) -> Option<&str> {
    let is_closed = fields.get("additionalProperties") == Some(&Value::Bool(false));
    let mut required = names(fields, "required").into_iter();
    let name = required.next().filter(|_| required.next().is_none())?;
    (is_closed && schemas(fields, "properties").len() == 1).then_some(name)
}

/// As [`values`]; `null` is a value too.
pub(super) fn values_of(fields: &Map<String, Value>) -> Option<Vec<&Value>> {
    const NULL: &Value = &Value::Null;
    match text(fields, "type") {
        Some("null") => Some(vec![NULL]),
        _ => values(fields),
    }
}

pub(super) fn refusal_of(refused: &BTreeSet<String>, reads: &Alternatives) -> String {
    let shown = listed(refused.iter().cloned());
    match reads.list.is_empty() {
        true => format!("{shown} may be recorded, but nothing is accepted"),
        false => format!("{shown} may be recorded, which is not accepted"),
    }
}

/// Returns a list of texts for people.
pub(super) fn listed(texts: impl Iterator<Item = String>) -> String {
    let mut texts: Vec<_> = texts.collect();
    let more = texts.len().saturating_sub(VALUES_SHOWN_MAX);
    texts.truncate(VALUES_SHOWN_MAX);
    match more {
        0 => texts.join(" or "),
        more => format!("{} or {more} others", texts.join(" or ")),
    }
}

pub(super) fn kinds_of(reads: &Alternatives) -> String {
    let kinds: BTreeSet<_> = reads.list.iter().map(kind_of).collect();
    match kinds.is_empty() {
        true => "nothing".to_owned(),
        false => listed(kinds.into_iter()),
    }
}

/// Returns a short name of a schema.
pub(super) fn kind_of(fields: &Map<String, Value>) -> String {
    if let Some(values) = values(fields) {
        return listed(values.iter().map(ToString::to_string));
    }
    let constants = constants(fields);
    let tags = constants
        .iter()
        .map(|(name, value)| format!("`{name}` {value}"));
    let tags: Vec<_> = tags.collect();
    let required: Vec<_> = names(fields, "required").into_iter().collect();
    match (text(fields, "type"), variant_of(fields)) {
        (Some("object"), Some(name)) => format!("the variant {name:?}"),
        (Some("object"), _) if !tags.is_empty() => format!("an object with {}", tags.join(", ")),
        (Some("object"), _) if !required.is_empty() => {
            format!("an object with `{}`", required.join("`, `"))
        }
        (Some("object"), _) => "an object".to_owned(),
        (Some("array"), _) => "a list".to_owned(),
        (Some(name), _) => name.to_owned(),
        (None, _) => "anything".to_owned(),
    }
}
