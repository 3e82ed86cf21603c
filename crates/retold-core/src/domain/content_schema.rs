//! The JSON Schema of an event's content, for types that implement `schemars::JsonSchema`.
//!
//! Derived code finds at compile time whether a type implements it. Nothing is generated before it
//! is asked for. Without the feature `schema`, no type has one.

use std::marker::PhantomData;

use serde_json::{Map, Value, json};

/// Generates the schemas of a Rust type: of what it writes, and of what it reads.
#[doc(hidden)]
pub type GenerateSchemas = fn() -> ContentSchemas;

/// The JSON Schemas of the content of an event in one revision.
#[derive(Clone, Debug, PartialEq)]
#[allow(
    clippy::exhaustive_structs,
    reason = "a content is written and read, and nothing else"
)]
pub struct ContentSchemas {
    /// Of what is written: a field that serde may skip is not required.
    pub written: Value,
    /// Of what is read: a field with a default is not required.
    pub read: Value,
}

/// Where the schemas of an event's content come from.
#[derive(Clone, Copy)]
pub struct ContentSource {
    generate: Option<GenerateSchemas>,
    part: ContentPart,
}

/// Which part of a Rust type the content is.
#[doc(hidden)]
#[derive(Clone, Copy)]
#[allow(clippy::exhaustive_enums, reason = "derived code creates it")]
pub enum ContentPart {
    /// All of it.
    Whole,
    /// None: there are no fields.
    Nothing,
    /// The content of the variant with this index among those with fields, of which there are
    /// `count`.
    Variant {
        /// The index, from 0.
        index: usize,
        /// The number of variants with fields.
        count: usize,
    },
}

impl ContentSource {
    /// No schema is known.
    pub(crate) const NONE: Self = Self::new(None, ContentPart::Whole);

    /// Returns the source for derived code.
    #[doc(hidden)]
    pub const fn new(generate: Option<GenerateSchemas>, part: ContentPart) -> Self {
        Self { generate, part }
    }

    /// Generates the schemas; `None` if the type does not implement `JsonSchema`.
    pub fn schemas(&self) -> Option<ContentSchemas> {
        if let ContentPart::Nothing = self.part {
            let nothing = json!({"type": "object"});
            return Some(ContentSchemas {
                written: nothing.clone(),
                read: nothing,
            });
        }
        let whole = self.generate?();
        match self.part {
            ContentPart::Variant { index, count } => Some(ContentSchemas {
                written: variant(&whole.written, index, count)?,
                read: variant(&whole.read, index, count)?,
            }),
            _ => Some(whole),
        }
    }
}

/// Returns the schema of the content of a variant, from the schema of an enum as serde writes it:
/// an object with the variant's name for each variant with fields, in the order of declaration.
fn variant(schema: &Value, index: usize, count: usize) -> Option<Value> {
    let one = std::slice::from_ref(schema);
    let variants = schema.get("oneOf").and_then(Value::as_array);
    let variants = variants.map_or(one, Vec::as_slice).iter();
    let content = |variant: &Value| -> Option<Value> {
        let required = variant.get("required")?.as_array()?;
        let [Value::String(name)] = required.as_slice() else {
            return None;
        };
        variant.get("properties")?.get(name).cloned()
    };
    let contents: Vec<_> = variants.filter_map(content).collect();
    // Attributes of schemars may leave a variant out; then it is unknown which one is which.
    let content = contents.get(index).filter(|_| contents.len() == count)?;
    let mut content = match content {
        Value::Object(fields) => fields.clone(),
        other => Map::from_iter([("allOf".to_owned(), json!([other]))]),
    };
    for (key, value) in schema.as_object()? {
        if matches!(key.as_str(), "$defs" | "$schema") {
            content.insert(key.clone(), value.clone());
        }
    }
    Some(Value::Object(content))
}

/// Detects in derived code whether `T` implements `schemars::JsonSchema`.
#[doc(hidden)]
pub struct SchemaOf<T>(PhantomData<T>);

#[cfg(feature = "schema")]
impl<T: schemars::JsonSchema> SchemaOf<T> {
    /// Takes precedence over the constant of the trait if `T` has a schema.
    pub const GENERATE: Option<GenerateSchemas> = Some(generate::<T>);
}

#[cfg(feature = "schema")]
fn generate<T: schemars::JsonSchema>() -> ContentSchemas {
    use schemars::generate::SchemaSettings;

    let settings = SchemaSettings::draft2020_12();
    let of = |settings: SchemaSettings| {
        settings
            .into_generator()
            .into_root_schema_for::<T>()
            .to_value()
    };
    ContentSchemas {
        written: of(settings.clone().for_serialize()),
        read: of(settings.for_deserialize()),
    }
}

/// The fallback of [`SchemaOf`] for all other types.
#[doc(hidden)]
pub trait NoSchema {
    /// Used if there is no other.
    const GENERATE: Option<GenerateSchemas> = None;
}

impl<T> NoSchema for SchemaOf<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_of_a_variant_is_found_by_its_index() {
        let schema = json!({
            "$defs": {"Inner": {"type": "string"}},
            "oneOf": [
                {"type": "string", "enum": ["A", "C"]},
                {
                    "type": "object",
                    "properties": {"B": {"$ref": "#/$defs/Inner"}},
                    "required": ["B"],
                    "additionalProperties": false
                },
                {
                    "type": "object",
                    "properties": {"D": true},
                    "required": ["D"],
                    "additionalProperties": false
                }
            ]
        });
        let inner = json!({"$defs": {"Inner": {"type": "string"}}, "$ref": "#/$defs/Inner"});
        assert_eq!(variant(&schema, 0, 2), Some(inner));
        let any = variant(&schema, 1, 2).unwrap();
        assert_eq!(any["allOf"], json!([true]));
        assert_eq!(variant(&schema, 2, 2), None);
        assert_eq!(variant(&schema, 0, 3), None);
        assert_eq!(variant(&json!(7), 0, 1), None);
    }
}
