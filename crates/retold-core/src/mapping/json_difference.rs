//! Where two JSON texts say different things.
//!
//! Numbers are compared as they are written: parsed as a tree of values, integers beyond 64 bits would
//! lose their last digits, and a difference in those would not be seen.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Whether the order within arrays counts. Of objects it never does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrays {
    /// The same elements in the same order.
    Ordered,
    /// The same elements in any order, as a set that is hashed is written.
    Unordered,
}

/// The first place at which two texts differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JsonDifference {
    /// The place, as in `lines[2].price`; empty for the whole.
    pub(crate) path: String,
    /// What the one has there; none if it has nothing.
    pub(crate) one: Option<String>,
    /// What the other has there.
    pub(crate) other: Option<String>,
}

impl JsonDifference {
    fn new(path: &str, one: Option<&RawValue>, other: Option<&RawValue>) -> Self {
        let shown = |value: Option<&RawValue>| value.map(|it| excerpt(it.get()));
        Self {
            path: path.to_owned(),
            one: shown(one),
            other: shown(other),
        }
    }
}

impl fmt::Display for JsonDifference {
    /// With the one as what was written, and the other as what was written of what was read back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |value: &Option<String>| value.clone().unwrap_or("nothing".into());
        let (one, other) = (value(&self.one), value(&self.other));
        if !self.path.is_empty() {
            write!(f, "at `{}`: ", self.path)?;
        }
        write!(f, "it is written as {one} and comes back as {other}")
    }
}

/// Levels of nesting that are compared part by part; what lies deeper is compared as it is written.
const DEPTH_MAX: usize = 128;

/// Bytes of a value that are shown.
const SHOWN_SIZE_MAX: usize = 200;

/// The first difference of two texts; none if they say the same. What is no JSON is compared byte by
/// byte.
pub(crate) fn json_difference(one: &[u8], other: &[u8], arrays: Arrays) -> Option<JsonDifference> {
    if one == other {
        return None;
    }
    let parsed = (parse::<&RawValue>(one), parse::<&RawValue>(other));
    let (Some(one), Some(other)) = parsed else {
        return Some(JsonDifference::new("", None, None));
    };
    let mut path = String::new();
    let comparison = Comparison { arrays };
    comparison.difference(one, other, &mut path, DEPTH_MAX)
}

/// A text that is the same for all JSON that says the same; none if it is no JSON.
pub(crate) fn canonical_json(json: &[u8], arrays: Arrays) -> Option<String> {
    let parsed = parse::<&RawValue>(json)?;
    Some(Comparison { arrays }.canonical(parsed, DEPTH_MAX))
}

fn parse<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Option<T> {
    serde_json::from_slice(text).ok()
}

struct Comparison {
    arrays: Arrays,
}

impl Comparison {
    fn difference(
        &self,
        one: &RawValue,
        other: &RawValue,
        path: &mut String,
        depth_left: usize,
    ) -> Option<JsonDifference> {
        if one.get() == other.get() {
            return None;
        }
        let differs = || Some(JsonDifference::new(path, Some(one), Some(other)));
        let Some(depth_left) = depth_left.checked_sub(1) else {
            return differs();
        };
        match (Value::of(one), Value::of(other)) {
            (Value::Object(one), Value::Object(other)) => {
                self.of_objects(&one, &other, path, depth_left)
            }
            (Value::Array(one), Value::Array(other)) => {
                if self.arrays == Arrays::Unordered
                    && self.elements(&one, depth_left) == self.elements(&other, depth_left)
                {
                    return None;
                }
                self.of_arrays(&one, &other, path, depth_left)
            }
            (Value::Text(one), Value::Text(other)) if one == other => None,
            (Value::Float(one), Value::Float(other)) if one.to_bits() == other.to_bits() => None,
            _ => differs(),
        }
    }

    fn of_objects(
        &self,
        one: &Fields<'_>,
        other: &Fields<'_>,
        path: &mut String,
        depth_left: usize,
    ) -> Option<JsonDifference> {
        let size = path.len();
        for (name, value) in one {
            push_field(path, name);
            let found = other.get(name);
            let difference = match found {
                Some(found) => self.difference(value, found, path, depth_left),
                None => Some(JsonDifference::new(path, Some(value), None)),
            };
            if difference.is_some() {
                return difference;
            }
            path.truncate(size);
        }
        let (name, value) = other.iter().find(|(name, _)| !one.contains_key(*name))?;
        push_field(path, name);
        Some(JsonDifference::new(path, None, Some(value)))
    }

    fn of_arrays(
        &self,
        one: &[&RawValue],
        other: &[&RawValue],
        path: &mut String,
        depth_left: usize,
    ) -> Option<JsonDifference> {
        let size = path.len();
        for index in 0..one.len().max(other.len()) {
            path.push_str(&format!("[{index}]"));
            let difference = match (one.get(index), other.get(index)) {
                (Some(one), Some(other)) => self.difference(one, other, path, depth_left),
                (one, other) => Some(JsonDifference::new(path, one.copied(), other.copied())),
            };
            if difference.is_some() {
                return difference;
            }
            path.truncate(size);
        }
        None
    }

    /// The elements of an array as canonical texts; if their order does not count, in the order of these.
    fn elements(&self, elements: &[&RawValue], depth_left: usize) -> Vec<String> {
        let texts = elements.iter().map(|it| self.canonical(it, depth_left));
        let mut texts: Vec<_> = texts.collect();
        if self.arrays == Arrays::Unordered {
            texts.sort_unstable();
        }
        texts
    }

    /// A text that is the same for all values that say the same.
    fn canonical(&self, value: &RawValue, depth_left: usize) -> String {
        let Some(depth_left) = depth_left.checked_sub(1) else {
            return value.get().to_owned();
        };
        match Value::of(value) {
            Value::Object(fields) => {
                let parts = fields.iter().map(|(name, value)| {
                    let value = self.canonical(value, depth_left);
                    format!("{name:?}:{value}")
                });
                format!("{{{}}}", parts.collect::<Vec<_>>().join(","))
            }
            Value::Array(elements) => {
                format!("[{}]", self.elements(&elements, depth_left).join(","))
            }
            Value::Text(text) => format!("{text:?}"),
            Value::Float(float) => format!("{float:?}"),
            Value::Other => value.get().to_owned(),
        }
    }
}

type Fields<'a> = BTreeMap<String, &'a RawValue>;

/// A value, its parts not parsed.
enum Value<'a> {
    /// A name that is there twice has its last value, as a decoder of maps takes it.
    Object(Fields<'a>),
    Array(Vec<&'a RawValue>),
    Text(String),
    /// A number that is not written as an integer.
    Float(f64),
    /// An integer, a boolean or null: two that say the same are written the same.
    Other,
}

impl<'a> Value<'a> {
    fn of(value: &'a RawValue) -> Self {
        let text = value.get();
        let parsed = match text.as_bytes().first() {
            Some(b'{') => parse(text.as_bytes()).map(Value::Object),
            Some(b'[') => parse(text.as_bytes()).map(Value::Array),
            Some(b'"') => parse(text.as_bytes()).map(Value::Text),
            Some(b'-' | b'0'..=b'9') if text.contains(['.', 'e', 'E']) => {
                parse(text.as_bytes()).map(Value::Float)
            }
            _ => None,
        };
        parsed.unwrap_or(Value::Other)
    }
}

fn push_field(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

fn excerpt(text: &str) -> String {
    let mut size = text.len().min(SHOWN_SIZE_MAX);
    while !text.is_char_boundary(size) {
        size -= 1;
    }
    match text.len() - size {
        0 => text.to_owned(),
        more => format!("{}… ({more} bytes more)", &text[..size]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(one: &str, other: &str, ordered: Option<&str>, unordered: Option<&str>) {
        for (arrays, path) in [(Arrays::Ordered, ordered), (Arrays::Unordered, unordered)] {
            let found = json_difference(one.as_bytes(), other.as_bytes(), arrays);
            assert_eq!(found.map(|it| it.path).as_deref(), path, "{arrays:?}");
        }
    }

    #[test]
    fn the_first_difference_is_found_by_its_path() {
        check(r#"{"a":1}"#, r#"{"a":1}"#, None, None);
        check(r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#, None, None);
        check(
            r#"{"a":{"b":[0,1]}}"#,
            r#"{"a":{"b":[0,2]}}"#,
            Some("a.b[1]"),
            Some("a.b[1]"),
        );
        check(r#"{"a":1}"#, r#"{"a":1,"b":2}"#, Some("b"), Some("b"));
        check(r#"{"a":1,"b":2}"#, r#"{"a":1}"#, Some("b"), Some("b"));
        check("[1,2]", "[1]", Some("[1]"), Some("[1]"));
        check("null", "1", Some(""), Some(""));
    }

    #[test]
    fn numbers_are_compared_as_they_are_written() {
        let big = "340282366920938463463374607431768211455";
        check(
            big,
            "340282366920938463463374607431768211454",
            Some(""),
            Some(""),
        );
        check("9007199254740993", "9007199254740992", Some(""), Some(""));
        check("1", "1.0", Some(""), Some(""));
        check("1.0", "1.00", None, None);
        check("1e3", "1000.0", None, None);
        check("0.0", "-0.0", Some(""), Some(""));
    }

    #[test]
    fn texts_are_compared_as_they_are_read() {
        check(r#""\u0041""#, r#""A""#, None, None);
        check(r#""A""#, r#""a""#, Some(""), Some(""));
    }

    #[test]
    fn the_order_of_arrays_counts_where_it_is_to() {
        check("[1,2,3]", "[3,1,2]", Some("[0]"), None);
        check("[[1,2],[3]]", "[[3],[2,1]]", Some("[0][0]"), None);
        check("[1,1,2]", "[1,2,2]", Some("[1]"), Some("[1]"));
        let pairs = (
            r#"[["a",{"x":1,"y":2}],["b",1]]"#,
            r#"[["b",1],["a",{"y":2,"x":1}]]"#,
        );
        check(pairs.0, pairs.1, Some("[0][0]"), None);
    }

    #[test]
    fn what_is_no_json_or_nested_too_deeply_is_compared_as_bytes() {
        check("x", "x", None, None);
        check("x", "y", Some(""), Some(""));
        let nested = |inner: &str| format!("{}{inner}{}", "[".repeat(300), "]".repeat(300));
        check(&nested("1"), &nested("1"), None, None);
        let found = json_difference(
            nested("1").as_bytes(),
            nested("2").as_bytes(),
            Arrays::Unordered,
        );
        assert_eq!(found.unwrap().path, "[0]".repeat(DEPTH_MAX));
    }

    #[test]
    fn long_values_are_shown_in_part() {
        let long = format!("\"{}\"", "é".repeat(1_000));
        let found = json_difference(long.as_bytes(), b"1", Arrays::Ordered).unwrap();
        let shown = found.one.unwrap();
        assert!(shown.ends_with("é… (1803 bytes more)"), "{shown}");
        assert_eq!(found.other.as_deref(), Some("1"));
    }
}
