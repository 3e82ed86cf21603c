//! The content of an event without its name: the payload that is recorded, written by the user's
//! own serde implementation.
//!
//! The topic identifies the variant of an event, so the payload does not contain it:
//! `Registered { name }` is recorded as `{"name":"Fido"}`. This module stands between the codec and
//! the `Serialize` and `Deserialize` that users derive; all their attributes keep their effect. It
//! removes the variant's name when an event is written, and selects the variant by its index when
//! the event is read. Nothing is copied or buffered in between.
//!
//! A variant without fields is recorded as an empty map, `{}`, so that fields with defaults can be
//! added to it later. A variant that has lost all its fields accepts any recorded content.

use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, EnumAccess, IgnoredAny, IntoDeserializer,
    VariantAccess, Visitor,
};
use serde::ser::{
    Error as _, Impossible, Serialize, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleVariant, Serializer,
};

/// Writes the content of an enum's variant, without the variant's name.
///
/// # Errors
///
/// Errors of the serializer; also if `value` is not serialized as a variant. A derived `Serialize`
/// of an enum does so unless it is `untagged`, has a `tag` or converts to another type.
pub fn serialize_variant<T: Serialize + ?Sized, S: Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    value.serialize(VariantSerializer(serializer))
}

/// Reads the content of the enum's variant with this index, counted from 0 over all variants.
///
/// # Errors
///
/// Errors of the deserializer; also if there is no such variant, or if `T` does not accept the
/// index of a variant of an enum, as a derived `Deserialize` does.
pub fn deserialize_variant<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    variant: usize,
    deserializer: D,
) -> Result<T, D::Error> {
    T::deserialize(VariantDeserializer {
        variant: variant as u64,
        content: deserializer,
    })
}

/// Writes the content of a struct that has no fields: an empty map.
///
/// # Errors
///
/// Errors of the serializer.
pub fn serialize_nothing<S: Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_struct("", 0)?.end()
}

/// Accepts any content and ignores it.
///
/// # Errors
///
/// Errors of the deserializer.
pub fn deserialize_nothing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| ())
}

/// The error of reading an event's content as a type that does not exist.
pub fn no_such_type<E: de::Error>(type_index: usize) -> E {
    E::custom(format_args!(
        "there is no event type with index {type_index}"
    ))
}

/// Passes on the content of a variant and refuses everything else.
struct VariantSerializer<S>(S);

impl<S: Serializer> VariantSerializer<S> {
    fn refuse<T>(self) -> Result<T, S::Error> {
        Err(S::Error::custom(
            "an enum of events must be serialised as an enum: derive `Serialize`, without \
             `tag`, `untagged` or `into`",
        ))
    }
}

macro_rules! refuse {
    ($($method:ident($($type:ty),*) -> $ok:ty;)*) => {$(
        fn $method(self, $(_: $type),*) -> Result<$ok, S::Error> {
            self.refuse()
        }
    )*};
}

impl<S: Serializer> Serializer for VariantSerializer<S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Impossible<S::Ok, S::Error>;
    type SerializeTuple = Impossible<S::Ok, S::Error>;
    type SerializeTupleStruct = Impossible<S::Ok, S::Error>;
    type SerializeTupleVariant = TupleContent<S::SerializeTuple>;
    type SerializeMap = Impossible<S::Ok, S::Error>;
    type SerializeStruct = Impossible<S::Ok, S::Error>;
    type SerializeStructVariant = StructContent<S::SerializeStruct>;

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
    ) -> Result<S::Ok, S::Error> {
        serialize_nothing(self.0)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        value.serialize(self.0)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        self.0.serialize_tuple(len).map(TupleContent)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        self.0.serialize_struct(variant, len).map(StructContent)
    }

    refuse! {
        serialize_bool(bool) -> S::Ok;
        serialize_i8(i8) -> S::Ok;
        serialize_i16(i16) -> S::Ok;
        serialize_i32(i32) -> S::Ok;
        serialize_i64(i64) -> S::Ok;
        serialize_i128(i128) -> S::Ok;
        serialize_u8(u8) -> S::Ok;
        serialize_u16(u16) -> S::Ok;
        serialize_u32(u32) -> S::Ok;
        serialize_u64(u64) -> S::Ok;
        serialize_u128(u128) -> S::Ok;
        serialize_f32(f32) -> S::Ok;
        serialize_f64(f64) -> S::Ok;
        serialize_char(char) -> S::Ok;
        serialize_str(&str) -> S::Ok;
        serialize_bytes(&[u8]) -> S::Ok;
        serialize_none() -> S::Ok;
        serialize_unit() -> S::Ok;
        serialize_unit_struct(&'static str) -> S::Ok;
        serialize_seq(Option<usize>) -> Self::SerializeSeq;
        serialize_tuple(usize) -> Self::SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
        serialize_map(Option<usize>) -> Self::SerializeMap;
        serialize_struct(&'static str, usize) -> Self::SerializeStruct;
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<S::Ok, S::Error> {
        self.refuse()
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: &T,
    ) -> Result<S::Ok, S::Error> {
        self.refuse()
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

/// The fields of a variant, written as those of a struct.
struct StructContent<S>(S);

impl<S: SerializeStruct> SerializeStructVariant for StructContent<S> {
    type Ok = S::Ok;
    type Error = S::Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), S::Error> {
        self.0.serialize_field(key, value)
    }

    fn skip_field(&mut self, key: &'static str) -> Result<(), S::Error> {
        self.0.skip_field(key)
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.0.end()
    }
}

/// The unnamed fields of a variant, written as a tuple.
struct TupleContent<S>(S);

impl<S: SerializeTuple> SerializeTupleVariant for TupleContent<S> {
    type Ok = S::Ok;
    type Error = S::Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        self.0.serialize_element(value)
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.0.end()
    }
}

/// An enum whose variant is known and whose content is in a deserializer.
struct VariantDeserializer<D> {
    variant: u64,
    content: D,
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for VariantDeserializer<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, D::Error> {
        Err(de::Error::custom(
            "an enum of events must be deserialised as an enum: derive `Deserialize`, \
             without `tag`, `untagged`, `from` or `try_from`",
        ))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        visitor.visit_enum(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }

    fn is_human_readable(&self) -> bool {
        self.content.is_human_readable()
    }
}

impl<'de, D: Deserializer<'de>> EnumAccess<'de> for VariantDeserializer<D> {
    type Error = D::Error;
    type Variant = VariantContent<D>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self::Variant), D::Error> {
        let variant = seed.deserialize(self.variant.into_deserializer())?;
        Ok((variant, VariantContent(self.content)))
    }
}

/// The content of a variant.
struct VariantContent<D>(D);

impl<'de, D: Deserializer<'de>> VariantAccess<'de> for VariantContent<D> {
    type Error = D::Error;

    fn unit_variant(self) -> Result<(), D::Error> {
        deserialize_nothing(self.0)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, D::Error> {
        seed.deserialize(self.0)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_tuple(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_struct("", fields, visitor)
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::collections::BTreeMap;

    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case", rename_all_fields = "camelCase")]
    enum Shape {
        Unit,
        Newtype(Inner),
        Optional(Option<u8>),
        Tuple(u8, String),
        Fields {
            #[serde(rename = "n", alias = "nom")]
            name: String,
            #[serde(default)]
            leg_count: u8,
            #[serde(skip)]
            scratch: u8,
            #[serde(skip_serializing_if = "Option::is_none")]
            note: Option<Cow<'static, str>>,
        },
        Flat {
            id: u8,
            #[serde(flatten)]
            rest: BTreeMap<String, u8>,
        },
        #[serde(with = "hex")]
        Custom(u8),
        NoFields {},
        SkippedField(#[serde(skip)] u8),
        #[serde(rename = "other_name")]
        Last(#[serde(with = "hex")] u8),
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        a: u8,
    }

    mod hex {
        use super::*;

        #[allow(
            clippy::trivially_copy_pass_by_ref,
            reason = "serde asks for this form"
        )]
        pub(super) fn serialize<S: Serializer>(n: &u8, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(&format_args!("{n:x}"))
        }

        pub(super) fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<u8, D::Error> {
            let text = Cow::<str>::deserialize(deserializer)?;
            u8::from_str_radix(&text, 16).map_err(de::Error::custom)
        }
    }

    fn write<T: Serialize>(value: &T) -> Result<String, serde_json::Error> {
        let mut bytes = Vec::new();
        serialize_variant(value, &mut serde_json::Serializer::new(&mut bytes))?;
        Ok(String::from_utf8(bytes).unwrap())
    }

    fn read(variant: usize, content: &str) -> Result<Shape, serde_json::Error> {
        deserialize_variant(variant, &mut serde_json::Deserializer::from_str(content))
    }

    /// These bytes must not change: logs that are already written contain them.
    #[test]
    fn a_variants_content_is_written_alone_and_read_back() {
        let fields = Shape::Fields {
            name: "Fido".into(),
            leg_count: 4,
            scratch: 0,
            note: None,
        };
        let flat = Shape::Flat {
            id: 1,
            rest: BTreeMap::from([("x".into(), 2)]),
        };
        let rows = [
            (Shape::Unit, "{}"),
            (Shape::Newtype(Inner { a: 1 }), r#"{"a":1}"#),
            (Shape::Optional(None), "null"),
            (Shape::Tuple(1, "b".into()), r#"[1,"b"]"#),
            (fields, r#"{"n":"Fido","legCount":4}"#),
            (flat, r#"{"id":1,"x":2}"#),
            (Shape::Custom(255), r#""ff""#),
            (Shape::NoFields {}, "{}"),
            (Shape::SkippedField(0), "{}"),
            (Shape::Last(16), r#""10""#),
        ];
        for (index, (shape, content)) in rows.into_iter().enumerate() {
            assert_eq!(write(&shape).unwrap(), content, "{shape:?}");
            assert_eq!(read(index, content).unwrap(), shape);
        }
    }

    #[test]
    fn aliases_defaults_and_unknown_fields_are_left_to_serde() {
        let dog = Shape::Fields {
            name: "Fido".into(),
            leg_count: 0,
            scratch: 0,
            note: Some("x".into()),
        };
        assert_eq!(
            read(4, r#"{"nom":"Fido","note":"x","more":[]}"#).unwrap(),
            dog
        );
        let error = read(1, r#"{"a":1,"b":2}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `b`"), "{error}");
        let error = read(4, "{}").unwrap_err();
        assert!(error.to_string().contains("missing field `n`"), "{error}");
    }

    #[test]
    fn a_variant_that_lost_its_fields_reads_over_what_was_recorded() {
        for content in ["{}", "null", r#"{"a":[1,{"b":2}]}"#, "[1]", "7"] {
            assert_eq!(read(0, content).unwrap(), Shape::Unit);
        }
        assert!(read(0, "{").is_err());
    }

    #[test]
    fn content_without_a_variant_is_refused() {
        #[derive(Serialize)]
        #[serde(untagged)]
        enum Untagged {
            A { a: u8 },
        }
        #[derive(Serialize)]
        #[serde(tag = "kind")]
        enum Tagged {
            A { a: u8 },
        }
        assert!(write(&Untagged::A { a: 1 }).is_err());
        assert!(write(&Tagged::A { a: 1 }).is_err());
        assert!(write(&"text").is_err());
        assert!(write(&Some(1)).is_err());
        let error = read(10, "{}").unwrap_err();
        assert!(error.to_string().contains("variant index"), "{error}");
        let mut content = serde_json::Deserializer::from_str("{}");
        assert!(deserialize_variant::<Inner, _>(0, &mut content).is_err());
    }
}
