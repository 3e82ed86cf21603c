//! Which changes of a type are safe: one row for each kind of change, in both directions.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;

use retold::prelude::*;
use retold::schema::{EventSchemas, unreadable};
use retold::schemars::generate::SchemaSettings;
use retold::schemars::{self, JsonSchema};
use serde_json::{Value, json};

/// A content with one field.
#[derive(Serialize, Deserialize, JsonSchema)]
struct One<T> {
    value: T,
}

/// The same, and what the types of the rows need.
macro_rules! types {
    ($($(#[$attribute:meta])* $kind:ident $name:ident $content:tt)*) => {$(
        #[derive(Serialize, Deserialize, JsonSchema)]
        #[allow(dead_code)]
        $(#[$attribute])*
        pub(super) $kind $name $content
    )*};
}

types! {
    struct Empty {}
    struct Text { value: String }
    #[serde(deny_unknown_fields)] struct Closed { value: String }
    #[serde(deny_unknown_fields)] struct ClosedEmpty {}
    struct Defaulted { #[serde(default)] value: String }
    struct Skipped { #[serde(skip_serializing_if = "Option::is_none")] value: Option<String> }
    struct Other { other: String }
    struct TwoTexts { value: String, other: String }
    struct AndOptional { value: String, other: Option<u8> }
    struct AndDefault { value: String, #[serde(default)] other: u8 }
    struct Renamed { #[serde(rename = "value")] other: String }
    struct Aliased { #[serde(alias = "value")] other: String }
    struct Open { #[serde(flatten)] more: HashMap<String, Value> }
    struct OpenText { value: String, #[serde(flatten)] more: HashMap<String, Value> }
    struct FlatPart { value: String }
    struct Flat { #[serde(flatten)] part: FlatPart }
    enum Ab { A, B }
    enum Abc { A, B, C }
    enum Ac { A, C }
    enum Documented {
        /** With text. */
        A,
        B,
    }
    enum Content { A(u8), B { x: u8 } }
    enum ContentWide { A(u8), B { x: u16 } }
    enum ContentMore { A(u8), B { x: u8 }, C }
    enum ContentLess { A(u8) }
    #[serde(tag = "kind")] enum Tagged { A { x: u8 }, B { y: u8 } }
    #[serde(tag = "kind")] enum TaggedMore { A { x: u8 }, B { y: u8 }, C { z: u8 } }
    #[serde(tag = "kind")] enum TaggedWide { A { x: u8 }, B { y: u16 } }
    #[serde(tag = "sort")] enum TaggedOther { A { x: u8 }, B { y: u8 } }
    #[serde(tag = "kind", content = "with")] enum Adjacent { A { x: u8 }, B { y: u8 } }
    #[serde(untagged)] enum Untagged { A { x: u8 }, B { y: u8 } }
    #[serde(untagged)] enum UntaggedExternal { A { x: u8 }, B { y: u8 }, C { z: u8 } }
    #[serde(untagged)] enum NumberFirst { Number(f64), Text(String) }
    #[serde(untagged)] enum ShortFirst { Short { x: u8 }, Long { x: u8, y: u8 } }
    #[serde(untagged)] enum LongFirst { Long { x: u8, y: u8 }, Short { x: u8 } }
    #[serde(untagged)] enum LongOnly { Long { x: u8, y: u8 } }
    #[serde(transparent)] struct Wrapped { inner: u32 }
    struct Form { #[schemars(extend("format" = "uuid"))] value: String }
    struct OtherForm { #[schemars(extend("format" = "date"))] value: String }
    struct Pattern { #[schemars(regex(pattern = "^a"))] value: String }
    struct OtherPattern { #[schemars(regex(pattern = "^b"))] value: String }
    struct Short { #[schemars(length(max = 5))] value: String }
    struct Ranged { #[schemars(range(min = 1, max = 9))] value: u32 }
    struct Some1 { #[schemars(length(min = 1))] value: Vec<u8> }
    struct Leaf { grams: u32 }
    struct LeafWide { grams: u64 }
    struct Many { a: Leaf, b: Option<Leaf>, c: Vec<Leaf> }
    struct Node { value: u8, next: Option<Box<Node>> }
}

mod renamed_types {
    use super::*;

    types! {
        #[schemars(rename = "Leaf")] struct Leaf64 { grams: u64 }
        struct Many64 { a: Leaf64, b: Option<Leaf64>, c: Vec<Leaf64> }
        #[schemars(rename = "Content")] enum ContentNow { A(u8), B { x: u8 }, C }
        #[schemars(rename = "Node")] struct Node16 { value: u16, next: Option<Box<Node16>> }
    }
}

fn schemas_of<T: JsonSchema>() -> (Value, Value) {
    let of = |settings: SchemaSettings| settings.into_generator().into_root_schema_for::<T>();
    let settings = SchemaSettings::draft2020_12();
    let written = of(settings.clone().for_serialize()).to_value();
    (written, of(settings.for_deserialize()).to_value())
}

/// The file of a program with one event of this content.
fn file(content: (Value, Value)) -> EventSchemas {
    let (written, read) = content;
    let shape = json!({"written": written, "read": read});
    let topic = json!({"revision": 1, "shapes": {"1": shape}});
    let text = json!({"retold_events": 1, "applications": {"dogs": {"Placed": topic}}});
    EventSchemas::from_lock(text.to_string().as_bytes()).unwrap()
}

/// A change of a content: what prevents the new program from reading what the old one recorded, and
/// the old one from reading what the new one records. Empty if nothing does.
struct Change {
    what: &'static str,
    sides: [(Value, Value); 2],
    old_events: &'static str,
    new_events: &'static str,
}

fn change<Old: JsonSchema, New: JsonSchema>(
    what: &'static str,
    old_events: &'static str,
    new_events: &'static str,
) -> Change {
    Change {
        what,
        sides: [schemas_of::<Old>(), schemas_of::<New>()],
        old_events,
        new_events,
    }
}

fn field<Old: JsonSchema, New: JsonSchema>(
    what: &'static str,
    old_events: &'static str,
    new_events: &'static str,
) -> Change {
    change::<One<Old>, One<New>>(what, old_events, new_events)
}

fn numbers() -> Vec<Change> {
    let (wide, narrow) = ("not every number of uint32", "fits into uint8");
    vec![
        field::<u32, u8>(
            "u32 to u8",
            "`value`: not every number of uint32 fits into uint8",
            "",
        ),
        field::<u8, u32>("u8 to u32", "", wide),
        field::<u16, u8>("u16 to u8", narrow, ""),
        field::<i64, u64>(
            "i64 to u64",
            "int64 fits into uint64",
            "uint64 fits into int64",
        ),
        field::<u32, i64>("u32 to i64", "", "int64 fits into uint32"),
        field::<u64, u128>("u64 to u128", "", "uint128 fits into uint64"),
        field::<u128, i128>(
            "u128 to i128",
            "uint128 fits into int128",
            "int128 fits into",
        ),
        field::<usize, u64>("usize to u64", "", ""),
        field::<u32, f64>(
            "u32 to f64",
            "",
            "number may be recorded, but integer is needed",
        ),
        field::<u64, f64>(
            "u64 to f64",
            "digits of uint64 would be lost",
            "number may be",
        ),
        field::<i32, f32>(
            "i32 to f32",
            "digits of int32 would be lost",
            "number may be",
        ),
        field::<f64, f32>("f64 to f32", "digits of double would be lost in float", ""),
        field::<f64, i64>(
            "f64 to i64",
            "number may be recorded, but integer",
            "digits of int64",
        ),
        field::<u32, String>(
            "number to text",
            "integer may be recorded",
            "string may be recorded",
        ),
        field::<bool, u8>(
            "bool to u8",
            "boolean may be recorded, but integer",
            "integer may be",
        ),
        field::<Option<u32>, u64>(
            "Option<u32> to u64",
            "`value`: null may be recorded, which is not accepted",
            "`value`: not every number of uint64 fits into uint32",
        ),
        field::<u32, Option<u64>>("u32 to Option<u64>", "", "uint64 fits into uint32"),
        field::<Option<u32>, Option<u64>>("in an Option", "", "uint64 fits into uint32"),
        field::<Option<u32>, Option<String>>(
            "another type in an Option",
            "integer may be recorded, but null or string is needed",
            "string may be recorded, but integer or null is needed",
        ),
        field::<u32, Wrapped>("a wrapper", "", ""),
        change::<One<u32>, Ranged>("a range", "uint32 fits into uint32 from 1 to 9", ""),
        field::<std::num::NonZeroU32, u32>("zero", "", "uint32 fits into uint32 from 1"),
    ]
}

fn texts_and_lists() -> Vec<Change> {
    vec![
        field::<String, char>("text to char", "any number of characters", ""),
        field::<String, Ipv4Addr>("text to address", "any text may be recorded", ""),
        change::<Text, Form>("a form", "in the form \"uuid\" is needed", ""),
        change::<Form, OtherForm>(
            "another form",
            "a text in the form \"uuid\" may be recorded, but one in the form \"date\"",
            "a text in the form \"date\" may be recorded",
        ),
        change::<Text, Pattern>("a pattern", "one that matches \"^a\" is needed", ""),
        change::<Pattern, OtherPattern>("another pattern", "\"^a\"", "\"^b\""),
        change::<Text, Short>("a length", "any number of characters may be recorded", ""),
        field::<Ab, Ipv4Addr>(
            "names to a form",
            "\"A\" or \"B\" may be",
            "any string may be",
        ),
        field::<Abc, char>(
            "names to char",
            "",
            "any string may be recorded, but only \"A\"",
        ),
        field::<Vec<u8>, Vec<u16>>("items", "", "`value[]`: not every number of uint16"),
        field::<[u8; 3], [u8; 4]>(
            "an array",
            "3 items may be recorded, but 4",
            "4 items may be",
        ),
        field::<[u8; 3], Vec<u8>>("array to list", "", "any number of items may be recorded"),
        field::<(u8, u8), (u8, u8, u8)>("a tuple", "2 items may be recorded", "3 items may be"),
        field::<(u8, u8), (u8, u16)>("in a tuple", "", "`value[1]`: not every number of uint16"),
        field::<(u8, u8), [u8; 2]>("tuple to array", "", ""),
        field::<(u8, String), Vec<u8>>(
            "tuple to list",
            "`value[1]`: string",
            "any number of items",
        ),
        change::<One<Vec<u8>>, Some1>("not empty", "any number of items may be recorded", ""),
        field::<Vec<u8>, BTreeSet<u8>>("list to set", "an item may be recorded twice", ""),
        field::<HashSet<u8>, BTreeSet<u8>>("set to set", "", ""),
        field::<(), Empty>(
            "unit",
            "null may be recorded",
            "an object may be recorded, but null",
        ),
    ]
}

fn fields() -> Vec<Change> {
    let needed = "`other`: the field is needed, but may be missing";
    let value_needed = "`value`: the field is needed, but may be missing";
    vec![
        change::<Text, Text>("nothing", "", ""),
        change::<Text, TwoTexts>("a needed field", needed, ""),
        change::<Text, AndOptional>("an optional field", "", ""),
        change::<Text, AndDefault>("a field with a default", "", ""),
        change::<TwoTexts, Text>("no field", "", needed),
        change::<AndOptional, Text>("no optional field", "", ""),
        change::<Text, Defaulted>("a default", "", ""),
        change::<Text, Skipped>("skipped", "", value_needed),
        change::<Text, Renamed>("the same name", "", ""),
        change::<Text, Other>("another name", needed, value_needed),
        change::<Text, Aliased>("an alias", needed, value_needed),
        change::<Text, Closed>("closed", "", ""),
        change::<AndOptional, Closed>("closed, less", "`other`: unknown fields are refused", ""),
        change::<Text, ClosedEmpty>("closed, empty", "unknown fields", value_needed),
        change::<Text, Flat>("flattened", "", ""),
        change::<Text, OpenText>("more fields", "", ""),
        change::<Open, Text>("of any fields", "`value`: the field is needed", ""),
        change::<AndOptional, OpenText>("any for one", "", "`other`: anything may be recorded"),
        change::<One<u32>, One<Leaf>>("a struct", "integer may be recorded", "an object with"),
    ]
}

fn maps() -> Vec<Change> {
    type Map<K, V> = HashMap<K, V>;
    vec![
        field::<Map<String, u8>, Map<String, u16>>("values", "", "`value.*`: not every number"),
        field::<Map<u32, u8>, Map<String, u8>>("keys to text", "", "only keys that match"),
        field::<Map<u32, u8>, Map<i32, u8>>("keys", "only keys that match", "only keys that match"),
        field::<Map<Ab, u8>, Map<Abc, u8>>("named keys", "", "`value.C`: unknown fields"),
        field::<Map<Ab, u8>, Map<String, u8>>("named keys to text", "", "unknown fields"),
        field::<Map<String, u8>, Skipped>("map to struct", "`value.value`: integer", "string"),
        field::<Map<String, u8>, Vec<(String, u8)>>("map to list", "an object may", "a list may"),
    ]
}

fn enums() -> Vec<Change> {
    vec![
        field::<Ab, Abc>(
            "a variant",
            "",
            "`value`: \"C\" may be recorded, which is not accepted",
        ),
        field::<Abc, Ac>("no variant", "\"B\" may be recorded", ""),
        field::<Ab, Ac>(
            "a renamed variant",
            "\"B\" may be recorded",
            "\"C\" may be recorded",
        ),
        field::<Ab, Documented>("documentation", "", ""),
        field::<Ab, String>("names to text", "", "any string may be recorded, but only"),
        field::<Ab, Option<Ab>>("names in an Option", "", "null may be recorded"),
        field::<Content, ContentMore>("a variant", "", "\"C\" may be recorded"),
        field::<Content, ContentLess>("no variant", "the variant \"B\" may be recorded", ""),
        field::<Content, ContentWide>("in a variant", "", "`value.B.x`: not every number"),
        field::<Tagged, TaggedMore>("a tagged variant", "", "an object with `kind` \"C\""),
        field::<Tagged, TaggedWide>("in a tagged variant", "", "`value.y`: not every number"),
        field::<Tagged, TaggedOther>("another tag", "`kind` \"A\"", "`sort` \"A\""),
        field::<Tagged, Adjacent>(
            "adjacent content",
            "`value.with`: the field",
            "`value.x`: the",
        ),
        field::<Tagged, Content>("without a tag", "`kind` \"A\"", "variant \"A\""),
        field::<Tagged, Untagged>("untagged", "", "an object with `x`"),
        field::<Content, Untagged>("no names", "the variant \"A\"", "an object with `x`"),
        field::<Untagged, UntaggedExternal>("an untagged variant", "", "an object with `z`"),
        field::<ShortFirst, LongFirst>("the order", "", "may be read as another alternative"),
        field::<LongFirst, ShortFirst>("the order", "may be read as another alternative", ""),
        field::<NumberFirst, String>("no alternative", "number may be", ""),
        field::<LongOnly, ShortFirst>("one of one", "may be read as another", "`value.y`: the"),
    ]
}

fn definitions() -> Vec<Change> {
    use renamed_types::{Many64, Node16};

    vec![
        change::<Many, Many64>("a type in many places", "", "`a.grams`: not every number"),
        change::<Node, Node16>(
            "a recursive type",
            "",
            "`value`: not every number of uint16",
        ),
        field::<Leaf, LeafWide>(
            "another type",
            "",
            "`value.grams`: not every number of uint64",
        ),
    ]
}

#[test]
fn each_kind_of_change_is_safe_or_says_why_not() {
    let all = [
        numbers(),
        texts_and_lists(),
        fields(),
        maps(),
        enums(),
        definitions(),
    ];
    let mut wrong = Vec::new();
    for change in all.into_iter().flatten() {
        let [old, new] = &change.sides;
        let sides = [
            ("old events", unreadable(&old.0, &new.1), change.old_events),
            ("new events", unreadable(&new.0, &old.1), change.new_events),
        ];
        for (side, found, expected) in &sides {
            let is_right = match (found.as_slice(), *expected) {
                ([], "") => true,
                ([one], expected) => !expected.is_empty() && one.contains(expected),
                // Two variants differ, or a field for each of two.
                (all, expected) => !expected.is_empty() && all[0].contains(expected),
            };
            if !is_right {
                wrong.push(format!(
                    "{}, {side}: {found:#?}, not {expected:?}",
                    change.what
                ));
            }
        }
        let (one, other) = (file(old.clone()), file(new.clone()));
        let found = one.compare(&other);
        let is_safe = change.old_events.is_empty() && change.new_events.is_empty();
        if found.breaking.is_empty() != is_safe {
            wrong.push(format!("{}: {found}", change.what));
        }
        if is_safe && !one.updated(&other).compare(&other).is_empty() {
            wrong.push(format!("{}: it is not recorded", change.what));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a team reads when it has changed one thing.
#[test]
fn one_change_is_shown_in_one_line() {
    use renamed_types::{ContentNow, Many64};

    let rows = [
        change::<Many, Many64>(
            "",
            "",
            "`a.grams`: not every number of uint64 fits into uint32",
        ),
        field::<u32, u8>(
            "",
            "`value`: not every number of uint32 fits into uint8",
            "",
        ),
        field::<Content, ContentNow>(
            "",
            "",
            "`value`: \"C\" may be recorded, which is not accepted",
        ),
        change::<Text, TwoTexts>("", "`other`: the field is needed, but may be missing", ""),
        change::<TwoTexts, Text>("", "", "`other`: the field is needed, but may be missing"),
        change::<Text, AndOptional>("`other`: new, uint8 or null, with a default", "", ""),
        change::<Text, AndDefault>("`other`: new, uint8, with a default", "", ""),
        change::<Text, Defaulted>("`value`: string, now string, with a default", "", ""),
        change::<AndOptional, Text>(
            "`other`: removed, it was uint8 or null, with a default",
            "",
            "",
        ),
    ];
    for Change {
        what,
        sides,
        old_events,
        new_events,
    } in rows
    {
        let found = file(sides[0].clone()).compare(&file(sides[1].clone()));
        let shown: Vec<_> = found.breaking.iter().chain(&found.safe).collect();
        assert_eq!(shown.len(), 1, "{found}");
        let expected = [what, old_events, new_events].concat();
        assert_eq!(shown[0].details, [expected], "{found}");
    }
}

/// A program after the other, each with a safe change or with the last one's.
fn record(versions: &[(Value, Value)]) -> EventSchemas {
    let mut recorded = EventSchemas::new();
    for version in versions {
        let program = file(version.clone());
        let found = recorded.compare(&program);
        assert!(found.breaking.is_empty(), "{found}");
        recorded = recorded.updated(&program);
        let read = EventSchemas::from_lock(recorded.to_lock().as_bytes()).unwrap();
        assert_eq!(read, recorded);
    }
    recorded
}

#[test]
fn what_was_recorded_before_a_safe_change_is_not_forgotten() {
    types! {
        struct OptionalText { value: String, other: Option<String> }
        struct OptionalNumber { value: String, other: Option<u8> }
        struct NoDefault { value: String, other: u8 }
    }
    // The field was a text in events that are still in the log.
    let [text, without] = [schemas_of::<OptionalText>(), schemas_of::<Text>()];
    let recorded = record(&[text.clone(), without.clone()]);
    let found = recorded.compare(&file(schemas_of::<OptionalNumber>()));
    let details = found.breaking[0].details.join("\n");
    assert!(
        details.contains("`other`: string may be recorded"),
        "{found}"
    );
    assert!(recorded.compare(&file(text)).breaking.is_empty());
    // Events without the field are still in the log.
    let recorded = record(&[without, schemas_of::<AndDefault>()]);
    let found = recorded.compare(&file(schemas_of::<NoDefault>()));
    let details = found.breaking[0].details.join("\n");
    assert!(details.contains("`other`: the field is needed"), "{found}");
}

#[test]
fn another_name_of_an_optional_field_is_not_taken_for_a_removal() {
    types! {
        struct Before { a: Option<String>, b: u8 }
        struct After { c: Option<String>, b: u8 }
        struct Between { b: u8 }
    }
    let [before, after, between] = [
        schemas_of::<Before>(),
        schemas_of::<After>(),
        schemas_of::<Between>(),
    ];
    let found = file(before.clone()).compare(&file(after.clone()));
    let details = found.breaking[0].details.join("\n");
    assert!(details.contains("`a` is gone and `c` is new"), "{found}");
    record(&[before, between, after]);
}

/// Schemas that are built to take forever.
#[test]
fn no_schema_takes_forever_to_compare() {
    let level = |number: usize, content: Value| (format!("L{number}"), content);
    let levels = |of: &dyn Fn(Value) -> Value, last: Value| -> Value {
        let next = |number: usize| json!({"$ref": format!("#/$defs/L{}", number + 1)});
        let mut all: serde_json::Map<_, _> = (0..30)
            .map(|number| level(number, of(next(number))))
            .collect();
        all.insert("L30".into(), last);
        json!({"$ref": "#/$defs/L0", "$defs": all})
    };
    let shapes: [&dyn Fn(Value) -> Value; 5] = [
        &|next| json!({"anyOf": [next, next]}),
        &|next| json!({"allOf": [next, next]}),
        &|next| json!({"type": "object", "properties": {"a": next, "b": next}}),
        &|next| {
            json!({"type": "object", "properties": {"a": {"anyOf": [next, {"type": "null"}]},
            "b": {"oneOf": [{"type": "array", "items": next}, next]}}})
        },
        &|next| json!({"allOf": [next, {"type": "object", "properties": {"a": next}}]}),
    ];
    let (text, number) = (json!({"type": "string"}), json!({"type": "integer"}));
    for shape in shapes {
        let one = levels(shape, text.clone());
        let other = levels(shape, number.clone());
        let _ = unreadable(&one, &one);
        assert!(!unreadable(&one, &other).is_empty());
        let files = [file((one.clone(), one)), file((other.clone(), other))];
        let _ = files[0].compare(&files[1]).to_string();
    }
    // Each step is recursive in itself.
    let looping = json!({"$defs": {
        "A": {"anyOf": [{"$ref": "#/$defs/B"}, {"$ref": "#/$defs/A"}]},
        "B": {"allOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}]}
    }, "$ref": "#/$defs/A"});
    assert!(!unreadable(&looping, &looping).is_empty());
}
