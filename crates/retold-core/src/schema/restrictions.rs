//! What a schema demands of a single value besides its type: numbers, lengths, formats, constants.

use serde_json::{Map, Value};

use super::shape::{is_of_type, number, text, values};

/// A limit of numbers. Those of integers are exact, as far as 128 bits with a sign have them.
#[derive(Clone, Copy)]
struct NumberLimit {
    about: f64,
    exact: Option<i128>,
}

impl NumberLimit {
    fn of(exact: i128) -> Self {
        Self {
            about: exact as f64,
            exact: Some(exact),
        }
    }

    fn about(about: f64) -> Self {
        Self { about, exact: None }
    }

    fn of_value(value: &Value) -> Option<Self> {
        let exact = value.as_i64().map(i128::from);
        match exact.or_else(|| value.as_u64().map(i128::from)) {
            Some(exact) => Some(Self::of(exact)),
            None => value.as_f64().map(Self::about),
        }
    }

    fn is_less(self, other: Self) -> bool {
        match (self.exact, other.exact) {
            (Some(one), Some(other)) => one < other,
            _ => self.about < other.about,
        }
    }
}

/// The least and the greatest number.
struct NumberRange(NumberLimit, NumberLimit);

impl NumberRange {
    /// Returns the range of a schema, by its limits and its format.
    fn of(fields: &Map<String, Value>) -> Self {
        let limit = |key| fields.get(key).and_then(NumberLimit::of_value);
        let Self(mut least, mut most) = Self::of_format(text(fields, "format"));
        if let Some(limit) = limit("minimum").filter(|it| least.is_less(*it)) {
            least = limit;
        }
        if let Some(limit) = limit("maximum").filter(|it| it.is_less(most)) {
            most = limit;
        }
        Self(least, most)
    }

    fn of_format(format: Option<&str>) -> Self {
        let unsigned = |bits: u32| {
            let most = NumberLimit::of((1_i128 << bits) - 1);
            Self(NumberLimit::of(0), most)
        };
        let signed = |bits: u32| {
            let most = (1_i128 << (bits - 1)) - 1;
            Self(NumberLimit::of(-most - 1), NumberLimit::of(most))
        };
        match format {
            Some("uint8") => unsigned(8),
            Some("uint16") => unsigned(16),
            Some("uint32") => unsigned(32),
            Some("uint64" | "uint") => unsigned(64),
            Some("uint128") => Self(NumberLimit::of(0), NumberLimit::about(2f64.powi(128))),
            Some("int8") => signed(8),
            Some("int16") => signed(16),
            Some("int32") => signed(32),
            Some("int64" | "int") => signed(64),
            Some("int128") => Self(NumberLimit::of(i128::MIN), NumberLimit::of(i128::MAX)),
            _ => {
                let (least, most) = (f64::NEG_INFINITY, f64::INFINITY);
                Self(NumberLimit::about(least), NumberLimit::about(most))
            }
        }
    }

    fn contains(&self, other: &Self) -> bool {
        !other.0.is_less(self.0) && !self.1.is_less(other.1)
    }

    /// The integers that a floating-point number with this many bits distinguishes.
    fn of_digits(bits: u32) -> Self {
        let most = 1_i128 << bits;
        Self(NumberLimit::of(-most), NumberLimit::of(most))
    }
}

/// Returns why numbers that one schema allows may not fit into another of the same type, or of the
/// type `number`.
pub(super) fn number_difference(
    writes: &Map<String, Value>,
    reads: &Map<String, Value>,
) -> Option<String> {
    let formats = (text(writes, "format"), text(reads, "format"));
    let (written, read) = (NumberRange::of(writes), NumberRange::of(reads));
    if !read.contains(&written) {
        return Some(format!(
            "not every number of {} fits into {}",
            numbers_of(writes),
            numbers_of(reads)
        ));
    }
    let is_integer = text(writes, "type") == Some("integer");
    let loses = match (formats.0, formats.1) {
        _ if text(reads, "type") == Some("integer") => false,
        (_, Some("float")) if is_integer => !NumberRange::of_digits(24).contains(&written),
        (_, Some("double")) if is_integer => !NumberRange::of_digits(53).contains(&written),
        (Some("float"), Some("float" | "double")) | (Some("double"), Some("double")) => false,
        (_, Some("float" | "double")) => true,
        _ => false,
    };
    if loses {
        return Some(format!(
            "digits of {} would be lost in {}",
            numbers_of(writes),
            numbers_of(reads)
        ));
    }
    let is_known = |format: &str| matches!(format, "float" | "double") || is_of_rust(format);
    let unknown = formats
        .1
        .filter(|it| !is_known(it) && formats.0 != Some(it));
    unknown.map(|format| format!("the format {format:?} cannot be compared"))
}

/// Returns the name of the numbers that a schema allows, with the limits that the name does not
/// say.
pub(super) fn numbers_of(fields: &Map<String, Value>) -> String {
    let format = text(fields, "format").or(text(fields, "type"));
    let mut name = format.unwrap_or("number").to_owned();
    let NumberRange(least, most) = NumberRange::of_format(text(fields, "format"));
    for (key, words, usual) in [("minimum", "from", least), ("maximum", "to", most)] {
        let limit = fields.get(key).and_then(NumberLimit::of_value);
        if limit.is_some_and(|it| it.is_less(usual) || usual.is_less(it)) {
            name.push_str(&format!(" {words} {}", fields[key]));
        }
    }
    name
}

/// Returns whether it is the format of an integer type of Rust.
fn is_of_rust(format: &str) -> bool {
    let bits = format.strip_prefix("uint").or(format.strip_prefix("int"));
    bits.is_some_and(|bits| matches!(bits, "" | "8" | "16" | "32" | "64" | "128"))
}

/// Returns why texts that one schema allows may not be accepted by another.
pub(super) fn text_difference(
    writes: &Map<String, Value>,
    reads: &Map<String, Value>,
) -> Option<String> {
    if let Some(what) = length_difference(writes, reads, ["minLength", "maxLength"], "characters") {
        return Some(what);
    }
    let demands = [
        ("format", "in the form"),
        ("pattern", "that matches"),
        ("contentEncoding", "encoded as"),
    ];
    demands.into_iter().find_map(|(key, words)| {
        let (written, read) = (writes.get(key), reads.get(key)?);
        let but = written.map_or("any text".to_owned(), |it| format!("a text {words} {it}"));
        (written != Some(read))
            .then(|| format!("{but} may be recorded, but one {words} {read} is needed"))
    })
}

/// Returns why the lengths that one schema allows may not be accepted by another, by the keywords
/// of the least and the greatest length.
pub(super) fn length_difference(
    writes: &Map<String, Value>,
    reads: &Map<String, Value>,
    keys: [&str; 2],
    unit: &str,
) -> Option<String> {
    let length = |it| {
        let least = number(it, keys[0]).unwrap_or(0.0).max(0.0);
        (least, number(it, keys[1]).unwrap_or(f64::INFINITY))
    };
    let (written, read) = (length(writes), length(reads));
    if written.0 >= read.0 && written.1 <= read.1 {
        return None;
    }
    let shown = |(least, most): (f64, f64)| match (least, most) {
        (0.0, f64::INFINITY) => "any number of".to_owned(),
        (least, f64::INFINITY) => format!("at least {least}"),
        (least, most) if least == most => most.to_string(),
        (0.0, most) => format!("at most {most}"),
        (least, most) => format!("{least} to {most}"),
    };
    Some(format!(
        "{} {unit} may be recorded, but {} are needed",
        shown(written),
        shown(read)
    ))
}

/// Returns whether a schema without alternatives accepts a single value. If it cannot be decided,
/// it does not.
pub(super) fn accepts_value(reads: &Map<String, Value>, value: &Value) -> bool {
    if let Some(values) = values(reads) {
        return values.contains(&value);
    }
    let Some(name) = text(reads, "type") else {
        return reads.is_empty();
    };
    if !is_of_type(value, name) {
        return false;
    }
    let mut keys = reads.keys().map(String::as_str).filter(|it| *it != "type");
    match value {
        Value::Number(_) => {
            let one = NumberLimit::of_value(value).map(|it| NumberRange(it, it));
            keys.all(|it| matches!(it, "minimum" | "maximum" | "format"))
                && one.is_some_and(|it| NumberRange::of(reads).contains(&it))
        }
        Value::String(text) => {
            let count = text.chars().count() as f64;
            keys.all(|it| matches!(it, "minLength" | "maxLength"))
                && number(reads, "minLength").is_none_or(|it| it <= count)
                && number(reads, "maxLength").is_none_or(|it| it >= count)
        }
        _ => keys.next().is_none(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(value: &Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn limits_of_integers_are_exact() {
        let integer = |format: &str| json!({"type": "integer", "format": format});
        let most = |most: u64| json!({"type": "integer", "minimum": 0, "maximum": most});
        let double = json!({"type": "number", "format": "double"});
        let rows = [
            (integer("uint64"), integer("uint128"), true),
            (integer("uint128"), integer("int128"), false),
            (integer("uint64"), integer("int128"), true),
            (integer("uint"), integer("uint64"), true),
            (integer("int8"), integer("uint128"), false),
            (most(1 << 53), most((1 << 53) + 1), true),
            (most((1 << 53) + 1), most(1 << 53), false),
            (most(1 << 53), double.clone(), true),
            (most((1 << 53) + 1), double, false),
            (integer("uint24"), integer("uint24"), true),
            (integer("uint32"), integer("uint24"), false),
        ];
        for (written, read, is_fine) in rows {
            let found = number_difference(&fields(&written), &fields(&read));
            assert_eq!(found.is_none(), is_fine, "{written} for {read}: {found:?}");
        }
    }

    #[test]
    fn a_value_is_accepted_only_if_that_is_certain() {
        let rows = [
            (
                json!(300),
                json!({"type": "integer", "format": "uint8"}),
                false,
            ),
            (
                json!(255),
                json!({"type": "integer", "format": "uint8"}),
                true,
            ),
            (json!("é"), json!({"type": "string", "maxLength": 1}), true),
            (
                json!("ab"),
                json!({"type": "string", "maxLength": 1}),
                false,
            ),
            (
                json!("ab"),
                json!({"type": "string", "format": "uuid"}),
                false,
            ),
            (
                json!("ab"),
                json!({"type": "string", "pattern": "a"}),
                false,
            ),
            (json!("ab"), json!({"enum": ["ab"]}), true),
            (json!("ab"), json!({}), true),
            (json!("ab"), json!({"not": {}}), false),
            (json!(null), json!({"type": "null"}), true),
            (
                json!({}),
                json!({"type": "object", "required": ["a"]}),
                false,
            ),
            (json!(7), json!({"type": "integer", "multipleOf": 7}), false),
        ];
        for (value, read, is_accepted) in rows {
            assert_eq!(
                accepts_value(&fields(&read), &value),
                is_accepted,
                "{value} for {read}"
            );
        }
    }
}
