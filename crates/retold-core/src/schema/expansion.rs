//! What a schema allows at one place, as a list of alternatives without references.
//!
//! A schema may refer to others in ways that double at each step, so the work is counted, and ends
//! at a limit.

use serde_json::{Map, Value};

use super::shape::{is_of_definitions, is_of_type, target, text};

/// Maximum length of a chain of references and combinations at one place.
const CHAIN_MAX: usize = 64;
/// Maximum number of alternatives of one place.
const ALTERNATIVES_MAX: usize = 512;

/// The work that a comparison may still do, in steps.
pub(super) struct Effort {
    left: usize,
}

impl Effort {
    pub(super) fn new(steps: usize) -> Self {
        Self { left: steps }
    }

    /// Takes a number of steps; none if they are not left.
    pub(super) fn spend(&mut self, steps: usize) -> Option<()> {
        let left = self.left.checked_sub(steps);
        self.left = left.unwrap_or(0);
        left.map(|_| ())
    }
}

/// The schemas of which a value matches one. A schema that allows nothing has none.
#[derive(Default)]
pub(super) struct Alternatives {
    pub(super) list: Vec<Map<String, Value>>,
    /// Whether the first one that fits counts: those of an untagged enum.
    pub(super) is_ordered: bool,
}

/// Returns the alternatives of a schema. None if there are too many, a reference leads nowhere, or
/// two demands cannot be written as one.
pub(super) fn alternatives(
    schema: &Value,
    root: &Value,
    effort: &mut Effort,
) -> Option<Alternatives> {
    let mut expansion = Expansion {
        root,
        effort,
        found: Alternatives::default(),
    };
    expansion.expand(schema, 0)?;
    Some(expansion.found)
}

struct Expansion<'a> {
    root: &'a Value,
    effort: &'a mut Effort,
    found: Alternatives,
}

impl Expansion<'_> {
    fn expand(&mut self, schema: &Value, depth: usize) -> Option<()> {
        self.effort.spend(1)?;
        if depth > CHAIN_MAX || self.found.list.len() >= ALTERNATIVES_MAX {
            return None;
        }
        let fields = match schema {
            Value::Bool(false) => return Some(()),
            Value::Bool(true) => {
                self.found.list.push(Map::new());
                return Some(());
            }
            Value::Object(fields) => fields,
            _ => return None,
        };
        if let Some(reference) = text(fields, "$ref") {
            let target = target(reference, self.root)?;
            let rest = self.without(fields, "$ref")?;
            let whole = self.merged(rest, target)?;
            return self.expand(&whole, depth + 1);
        }
        if let Some(all) = fields.get("allOf") {
            let mut whole = Value::Object(self.without(fields, "allOf")?);
            for part in all.as_array()? {
                let Value::Object(fields) = whole else {
                    // A part allows nothing.
                    break;
                };
                whole = self.merged_resolved(fields, part, 0)?;
            }
            return self.expand(&whole, depth + 1);
        }
        for key in ["oneOf", "anyOf"] {
            if let Some(parts) = fields.get(key) {
                let before = self.found.list.len();
                for part in parts.as_array()? {
                    let rest = self.without(fields, key)?;
                    let whole = self.merged(rest, part)?;
                    self.expand(&whole, depth + 1)?;
                }
                let added = self.found.list[before..].iter();
                let is_choice = added.filter(|it| text(it, "type") != Some("null")).count() > 1;
                self.found.is_ordered |= key == "anyOf" && is_choice;
                return Some(());
            }
        }
        self.add(fields)
    }

    /// Adds a schema without references and combinations, as one for each of its types.
    fn add(&mut self, fields: &Map<String, Value>) -> Option<()> {
        let types = match fields.get("type") {
            Some(Value::Array(types)) => types.iter().map(Value::as_str).collect::<Option<_>>()?,
            Some(Value::String(name)) => vec![name.as_str()],
            Some(_) => return None,
            None => Vec::new(),
        };
        if types.is_empty() {
            let fields = self.without(fields, "")?;
            self.found.list.push(fields);
        }
        for name in types {
            let mut one = self.without(fields, "type")?;
            one.retain(|key, _| concerns(key, name));
            if let Some(Value::Array(values)) = one.get_mut("enum") {
                values.retain(|it| is_of_type(it, name));
            }
            one.insert("type".into(), name.into());
            self.found.list.push(one);
        }
        Some(())
    }

    /// Returns a copy without a keyword, and without definitions.
    fn without(&mut self, fields: &Map<String, Value>, key: &str) -> Option<Map<String, Value>> {
        let is_kept = |name: &&String| *name != key && !is_of_definitions(name);
        let kept = || fields.iter().filter(|(name, _)| is_kept(name));
        self.effort
            .spend(kept().map(|(_, value)| weight(value)).sum())?;
        Some(
            kept()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        )
    }

    /// As [`merged`](Self::merged), with a part that may be a reference.
    fn merged_resolved(
        &mut self,
        base: Map<String, Value>,
        part: &Value,
        depth: usize,
    ) -> Option<Value> {
        let fields = part.as_object();
        let Some((fields, reference)) = fields.and_then(|it| Some((it, text(it, "$ref")?))) else {
            return self.merged(base, part);
        };
        if depth > CHAIN_MAX {
            return None;
        }
        let target = target(reference, self.root)?;
        let rest = self.without(fields, "$ref")?;
        let part = self.merged(rest, target)?;
        self.merged_resolved(base, &part, depth + 1)
    }

    /// Returns a schema that demands what both demand; none if that cannot be written as one.
    fn merged(&mut self, mut base: Map<String, Value>, part: &Value) -> Option<Value> {
        self.effort.spend(weight(part))?;
        let part = match part {
            Value::Object(part) => part,
            Value::Bool(true) => return Some(Value::Object(base)),
            _ => return Some(Value::Bool(false)),
        };
        for (key, value) in part.iter().filter(|(key, _)| !is_of_definitions(key)) {
            let Some(present) = base.get_mut(key) else {
                base.insert(key.clone(), value.clone());
                continue;
            };
            match (key.as_str(), present, value) {
                ("properties" | "patternProperties", Value::Object(one), Value::Object(more)) => {
                    for (name, schema) in more {
                        if one.get(name).is_some_and(|it| it != schema) {
                            return None;
                        }
                        one.insert(name.clone(), schema.clone());
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
}

/// Returns whether a keyword restricts values of a type; unknown ones may.
fn concerns(key: &str, name: &str) -> bool {
    let is_number = matches!(name, "integer" | "number");
    match key {
        "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" => is_number,
        "format" => is_number || name == "string",
        "minLength" | "maxLength" | "pattern" | "contentEncoding" | "contentMediaType" => {
            name == "string"
        }
        "items" | "prefixItems" | "minItems" | "maxItems" | "uniqueItems" | "contains" => {
            name == "array"
        }
        "properties"
        | "required"
        | "additionalProperties"
        | "patternProperties"
        | "unevaluatedProperties"
        | "minProperties"
        | "maxProperties"
        | "propertyNames" => name == "object",
        _ => true,
    }
}

/// Returns the number of values in a value.
fn weight(value: &Value) -> usize {
    1 + match value {
        Value::Object(fields) => fields.values().map(weight).sum(),
        Value::Array(items) => items.iter().map(weight).sum(),
        _ => 0,
    }
}
