//! Finds the first difference between two JSON texts.
//!
//! Numbers are compared as they are written: if they were parsed into a tree of values, integers
//! beyond 64 bits would lose their last digits, and a difference in those would be missed.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Whether the order within arrays counts. The order within objects never does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrays {
    /// The same elements in the same order.
    Ordered,
    /// The same elements in any order, because a hashed set is written in any order.
    Unordered,
}

/// The first place at which two texts differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JsonDifference {
    /// The place, for example `lines[2].price`; empty for the whole.
    pub(crate) path: String,
    /// The value of the first text there; none if it has none.
    pub(crate) one: Option<String>,
    /// The value of the second text there.
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
    /// Describes the first text as written, and the second as the re-encoding of what was read
    /// back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |value: &Option<String>| value.clone().unwrap_or("nothing".into());
        let (one, other) = (value(&self.one), value(&self.other));
        if !self.path.is_empty() {
            write!(f, "at `{}`: ", self.path)?;
        }
        write!(f, "it is written as {one} and comes back as {other}")
    }
}

/// Levels of nesting that are compared part by part; deeper levels are compared as written.
const DEPTH_MAX: usize = 128;

/// Maximum number of bytes of a value that are shown.
const SHOWN_SIZE_MAX: usize = 200;

/// Maximum number of rounds in which [`check_round_trip`] examines the order of elements. A hashed
/// set of two elements is recognized in three of four rounds, so all of these fail once in 2^64
/// sets.
const ORDER_ROUNDS_MAX: usize = 32;

/// Returns the first difference between two texts; none if they are equivalent. Texts that are not
/// JSON are compared byte by byte.
pub(crate) fn json_difference(one: &[u8], other: &[u8], arrays: Arrays) -> Option<JsonDifference> {
    if one == other {
        return None;
    }
    compare(one, other, arrays).err()
}

/// Checks that a text is equivalent to `again`, the encoding of the value decoded from it.
/// `write_again` decodes a text and encodes the result.
///
/// The elements of an array may come in another order if the order is not part of the value: if two
/// readings of one text give different orders, as those of a hashed set do, or if the order stops
/// changing once it has been read, as that of a heap does. Neither holds for a list whose order
/// every reading changes in the same way.
///
/// # Errors
///
/// The difference, as a text for people.
pub(crate) fn check_round_trip(
    text: &[u8],
    again: &[u8],
    write_again: impl Fn(&[u8]) -> Result<Vec<u8>, String>,
) -> Result<(), String> {
    if text == again {
        return Ok(());
    }
    let moved = |one: &[u8], other: &[u8]| {
        compare(one, other, Arrays::Unordered).map_err(|difference| difference.to_string())
    };
    let mut places = moved(text, again)?;
    let (mut one, mut other) = (Cow::Borrowed(text), Cow::Borrowed(again));
    for _ in 0..ORDER_ROUNDS_MAX {
        if places.is_empty() {
            return Ok(());
        }
        let of_reading = moved(&other, &write_again(&one)?)?;
        places.retain(|place| !of_reading.contains(place));
        if places.is_empty() {
            return Ok(());
        }
        let next = write_again(&other)?;
        (one, other) = (other, Cow::Owned(next));
        let still = moved(&one, &other)?;
        places.retain(|place| still.contains(place));
    }
    match places.first() {
        None => Ok(()),
        Some(place) => Err(format!(
            "at `{place}`: each reading changes the order of the elements in the same way, so the \
             written order is lost"
        )),
    }
}

/// Returns the paths of the arrays that have the same elements in another order.
fn compare(one: &[u8], other: &[u8], arrays: Arrays) -> Result<Vec<String>, JsonDifference> {
    let parsed = (parse_bytes(one), parse_bytes(other));
    let (Some(one), Some(other)) = parsed else {
        return Err(JsonDifference::new("", None, None));
    };
    let mut comparison = JsonComparison {
        arrays,
        path: String::new(),
        moved: Vec::new(),
    };
    match comparison.difference(one, other, DEPTH_MAX) {
        None => Ok(comparison.moved),
        Some(difference) => Err(difference),
    }
}

/// Returns a text that is the same for all equivalent JSON; none if the input is not JSON.
pub(crate) fn canonical_json(json: &[u8], arrays: Arrays) -> Option<String> {
    Some(canonical(parse_bytes(json)?, arrays, DEPTH_MAX))
}

fn parse_bytes(json: &[u8]) -> Option<&RawValue> {
    parse(std::str::from_utf8(json).ok()?)
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    serde_json::from_str(text).ok()
}

struct JsonComparison {
    arrays: Arrays,
    /// The current path of the comparison.
    path: String,
    /// The paths found so far of arrays that have the same elements in another order.
    moved: Vec<String>,
}

impl JsonComparison {
    fn difference(
        &mut self,
        one: &RawValue,
        other: &RawValue,
        depth_left: usize,
    ) -> Option<JsonDifference> {
        if one.get() == other.get() {
            return None;
        }
        let Some(depth_left) = depth_left.checked_sub(1) else {
            return self.differs(Some(one), Some(other));
        };
        match (Value::of(one), Value::of(other)) {
            (Value::Object(one), Value::Object(other)) => self.of_objects(&one, &other, depth_left),
            (Value::Array(one), Value::Array(other)) => self.of_arrays(&one, &other, depth_left),
            (Value::Text(one), Value::Text(other)) if one == other => None,
            (Value::Float(one), Value::Float(other)) if one.to_bits() == other.to_bits() => None,
            _ => self.differs(Some(one), Some(other)),
        }
    }

    fn differs(&self, one: Option<&RawValue>, other: Option<&RawValue>) -> Option<JsonDifference> {
        Some(JsonDifference::new(&self.path, one, other))
    }

    fn of_objects(
        &mut self,
        one: &Fields<'_>,
        other: &Fields<'_>,
        depth_left: usize,
    ) -> Option<JsonDifference> {
        let size = self.path.len();
        let mut rest = other.iter().peekable();
        let mut only_other = None;
        for (name, value) in one {
            while let Some(passed) = rest.next_if(|(it, _)| it < name) {
                only_other.get_or_insert(passed);
            }
            let found = rest.next_if(|(it, _)| it == name).map(|(_, found)| *found);
            if found.is_some_and(|found| found.get() == value.get()) {
                continue;
            }
            push_field(&mut self.path, name);
            let difference = match found {
                Some(found) => self.difference(value, found, depth_left),
                None => self.differs(Some(value), None),
            };
            if difference.is_some() {
                return difference;
            }
            self.path.truncate(size);
        }
        let (name, value) = only_other.or_else(|| rest.next())?;
        push_field(&mut self.path, name);
        self.differs(None, Some(value))
    }

    fn of_arrays(
        &mut self,
        one: &[&RawValue],
        other: &[&RawValue],
        depth_left: usize,
    ) -> Option<JsonDifference> {
        let (size, moved) = (self.path.len(), self.moved.len());
        let difference = self.of_elements(one, other, depth_left)?;
        if self.arrays == Arrays::Unordered && have_the_same(one, other, depth_left) {
            self.path.truncate(size);
            self.moved.truncate(moved);
            self.moved.push(self.path.clone());
            return None;
        }
        Some(difference)
    }

    fn of_elements(
        &mut self,
        one: &[&RawValue],
        other: &[&RawValue],
        depth_left: usize,
    ) -> Option<JsonDifference> {
        let size = self.path.len();
        for index in 0..one.len().max(other.len()) {
            self.path.push_str(&format!("[{index}]"));
            let difference = match (one.get(index), other.get(index)) {
                (Some(one), Some(other)) => self.difference(one, other, depth_left),
                (one, other) => self.differs(one.copied(), other.copied()),
            };
            if difference.is_some() {
                return difference;
            }
            self.path.truncate(size);
        }
        None
    }
}

/// Returns whether two arrays have the same elements in any order.
fn have_the_same(one: &[&RawValue], other: &[&RawValue], depth_left: usize) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let canonical = |elements| elements_of(elements, Arrays::Unordered, depth_left);
    sorted(one) == sorted(other) || canonical(one) == canonical(other)
}

/// Returns the texts of elements as written, sorted: hashed elements are usually written in one
/// way.
fn sorted<'a>(elements: &[&'a RawValue]) -> Vec<&'a str> {
    let mut texts: Vec<_> = elements.iter().map(|it| it.get()).collect();
    texts.sort_unstable();
    texts
}

/// Returns the elements of an array as canonical texts, sorted if their order does not count.
fn elements_of(elements: &[&RawValue], arrays: Arrays, depth_left: usize) -> Vec<String> {
    let texts = elements.iter().map(|it| canonical(it, arrays, depth_left));
    let mut texts: Vec<_> = texts.collect();
    if arrays == Arrays::Unordered {
        texts.sort_unstable();
    }
    texts
}

/// Returns a text that is the same for all equivalent values.
fn canonical(value: &RawValue, arrays: Arrays, depth_left: usize) -> String {
    let Some(depth_left) = depth_left.checked_sub(1) else {
        return value.get().to_owned();
    };
    match Value::of(value) {
        Value::Object(fields) => {
            let parts = fields.iter().map(|(name, value)| {
                let value = canonical(value, arrays, depth_left);
                format!("{name:?}:{value}")
            });
            format!("{{{}}}", parts.collect::<Vec<_>>().join(","))
        }
        Value::Array(elements) => {
            format!("[{}]", elements_of(&elements, arrays, depth_left).join(","))
        }
        Value::Text(text) => format!("{text:?}"),
        Value::Float(float) => format!("{float:?}"),
        Value::Other => value.get().to_owned(),
    }
}

/// The fields of an object, sorted by their names. A duplicate name has its last value, as in a
/// decoder of maps.
type Fields<'a> = Vec<(Cow<'a, str>, &'a RawValue)>;

/// [`Fields`] in the order of the text, as deserialized.
struct Object<'a>(Fields<'a>);

/// The name of a field, borrowed if it contains no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct JsonReading;

        impl<'de> Visitor<'de> for JsonReading {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut fields: Fields<'de> = Vec::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    fields.push((name, value));
                }
                fields.reverse();
                fields.sort_by(|one, other| one.0.cmp(&other.0));
                fields.dedup_by(|earlier, last| earlier.0 == last.0);
                Ok(Object(fields))
            }
        }

        deserializer.deserialize_map(JsonReading)
    }
}

/// A value whose parts are not parsed yet.
enum Value<'a> {
    Object(Fields<'a>),
    Array(Vec<&'a RawValue>),
    Text(String),
    /// A number that is not written as an integer.
    Float(f64),
    /// An integer, a boolean or null: equal values are written the same.
    Other,
}

impl<'a> Value<'a> {
    fn of(value: &'a RawValue) -> Self {
        let text = value.get();
        let parsed = match text.as_bytes().first() {
            Some(b'{') => parse(text).map(|Object(fields)| Value::Object(fields)),
            Some(b'[') => parse(text).map(Value::Array),
            Some(b'"') => parse(text).map(Value::Text),
            Some(b'-' | b'0'..=b'9') if text.contains(['.', 'e', 'E']) => {
                parse(text).map(Value::Float)
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
        check(r#"{"a":1,"c":1}"#, r#"{"b":1,"c":2}"#, Some("a"), Some("a"));
        check(r#"{"b":1}"#, r#"{"a":0,"b":1}"#, Some("a"), Some("a"));
        check(r#"{"a":1,"a":2}"#, r#"{"a":2}"#, None, None);
        check(r#"{"\u0061":1}"#, r#"{"a":1 }"#, None, None);
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
    fn the_order_of_arrays_counts_if_requested() {
        check("[1,2,3]", "[3,1,2]", Some("[0]"), None);
        check("[[1,2],[3]]", "[[3],[2,1]]", Some("[0][0]"), None);
        check("[1,1,2]", "[1,2,2]", Some("[1]"), Some("[1]"));
        let pairs = (
            r#"[["a",{"x":1,"y":2}],["b",1]]"#,
            r#"[["b",1],["a",{"y":2,"x":1}]]"#,
        );
        check(pairs.0, pairs.1, Some("[0][0]"), None);
    }

    /// Returns the result for a list that reading changes in this way; readings are counted from 0.
    fn round_trip(list: &[u32], read: impl Fn(usize, &mut Vec<u32>)) -> Result<(), String> {
        let readings = std::cell::Cell::new(0);
        let write_again = |text: &[u8]| {
            let mut list: Vec<u32> = serde_json::from_slice(text).unwrap();
            read(readings.get(), &mut list);
            readings.set(readings.get() + 1);
            Ok(serde_json::to_vec(&list).unwrap())
        };
        let text = serde_json::to_vec(list).unwrap();
        let again = write_again(&text).unwrap();
        check_round_trip(&text, &again, write_again)
    }

    #[test]
    fn a_list_may_be_read_in_another_order_only_if_order_is_not_content() {
        let list: Vec<u32> = (0..10).rev().collect();
        assert_eq!(round_trip(&list, |_, _| {}), Ok(()));
        // Like a heap, or a set with one fixed hash.
        assert_eq!(round_trip(&list, |_, list| list.sort_unstable()), Ok(()));
        // Like such a set whose order is stable only after some readings.
        let first = |_: usize, list: &mut Vec<u32>| {
            if let Some(at) = list.windows(2).position(|it| it[0] > it[1]) {
                list.swap(at, at + 1);
            }
        };
        assert_eq!(round_trip(&[4, 3, 2, 1], first), Ok(()));
        // Like a set that hashes differently each time.
        let hashed = |reading: usize, list: &mut Vec<u32>| list.rotate_left(reading % 7);
        assert_eq!(round_trip(&list, hashed), Ok(()));
        for turned in [1, 3, 9] {
            let error = round_trip(&list, |_, list| list.rotate_left(turned)).unwrap_err();
            assert!(error.contains("the order"), "{error}");
        }
        assert!(round_trip(&list, |_, list| list.reverse()).is_err());
        assert!(round_trip(&list, |_, list| list.truncate(3)).is_err());
    }

    #[test]
    fn invalid_json_and_deep_nesting_are_compared_as_bytes() {
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
