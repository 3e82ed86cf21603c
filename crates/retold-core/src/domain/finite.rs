//! A serializer that refuses floats that are not finite.
//!
//! JSON cannot represent them, and serde_json writes `null`, which is decoded as `None` in an
//! `Option` and fails elsewhere. This serializer stands between a `Serialize` and the serializer
//! that writes, and passes everything else on unchanged.

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// Passes everything on to `S` except floats that are not finite, which are errors.
#[derive(Debug)]
pub struct Finite<S>(S);

impl<S: Serializer> Finite<S> {
    /// Wraps this serializer.
    pub fn new(serializer: S) -> Self {
        Self(serializer)
    }
}

/// Serializes `value` as JSON.
///
/// # Errors
///
/// Errors of the `Serialize` of `value`; also if it contains a value that JSON cannot represent: a
/// float that is not finite, or a map whose keys are not text.
pub fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut json = Vec::new();
    value.serialize(Finite(&mut serde_json::Serializer::new(&mut json)))?;
    Ok(json)
}

fn refuse<T, E: serde::ser::Error>(float: f64) -> Result<T, E> {
    Err(E::custom(format_args!(
        "the float is {float}, which has no form in JSON"
    )))
}

/// A value whose parts also pass through [`Finite`].
struct FinitePart<'a, T: ?Sized>(&'a T);

impl<T: Serialize + ?Sized> Serialize for FinitePart<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(Finite(serializer))
    }
}

macro_rules! pass {
    ($($method:ident($type:ty);)*) => {$(
        #[inline]
        fn $method(self, value: $type) -> Result<S::Ok, S::Error> {
            self.0.$method(value)
        }
    )*};
}

impl<S: Serializer> Serializer for Finite<S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Finite<S::SerializeSeq>;
    type SerializeTuple = Finite<S::SerializeTuple>;
    type SerializeTupleStruct = Finite<S::SerializeTupleStruct>;
    type SerializeTupleVariant = Finite<S::SerializeTupleVariant>;
    type SerializeMap = Finite<S::SerializeMap>;
    type SerializeStruct = Finite<S::SerializeStruct>;
    type SerializeStructVariant = Finite<S::SerializeStructVariant>;

    pass! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_i128(i128);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_u128(u128);
        serialize_char(char);
        serialize_str(&str);
        serialize_bytes(&[u8]);
        serialize_unit_struct(&'static str);
    }

    fn serialize_f32(self, value: f32) -> Result<S::Ok, S::Error> {
        if !value.is_finite() {
            return refuse(value.into());
        }
        self.0.serialize_f32(value)
    }

    fn serialize_f64(self, value: f64) -> Result<S::Ok, S::Error> {
        if !value.is_finite() {
            return refuse(value);
        }
        self.0.serialize_f64(value)
    }

    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.0.serialize_none()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.0.serialize_some(&FinitePart(value))
    }

    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.0.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.0.serialize_unit_variant(name, index, variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.0.serialize_newtype_struct(name, &FinitePart(value))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.0
            .serialize_newtype_variant(name, index, variant, &FinitePart(value))
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        self.0.serialize_seq(len).map(Finite)
    }

    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, S::Error> {
        self.0.serialize_tuple(len).map(Finite)
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        self.0.serialize_tuple_struct(name, len).map(Finite)
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        self.0
            .serialize_tuple_variant(name, index, variant, len)
            .map(Finite)
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        self.0.serialize_map(len).map(Finite)
    }

    fn serialize_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStruct, S::Error> {
        self.0.serialize_struct(name, len).map(Finite)
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        self.0
            .serialize_struct_variant(name, index, variant, len)
            .map(Finite)
    }

    fn collect_str<T: std::fmt::Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.0.collect_str(value)
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

macro_rules! sequences {
    ($($trait:ident::$method:ident;)*) => {$(
        impl<S: $trait> $trait for Finite<S> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
                self.0.$method(&FinitePart(value))
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.0.end()
            }
        }
    )*};
}

sequences! {
    SerializeSeq::serialize_element;
    SerializeTuple::serialize_element;
    SerializeTupleStruct::serialize_field;
    SerializeTupleVariant::serialize_field;
}

macro_rules! structs {
    ($($trait:ident;)*) => {$(
        impl<S: $trait> $trait for Finite<S> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), S::Error> {
                self.0.serialize_field(key, &FinitePart(value))
            }

            fn skip_field(&mut self, key: &'static str) -> Result<(), S::Error> {
                self.0.skip_field(key)
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.0.end()
            }
        }
    )*};
}

structs! {
    SerializeStruct;
    SerializeStructVariant;
}

impl<S: SerializeMap> SerializeMap for Finite<S> {
    type Ok = S::Ok;
    type Error = S::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), S::Error> {
        self.0.serialize_key(&FinitePart(key))
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        self.0.serialize_value(&FinitePart(value))
    }

    fn serialize_entry<K: Serialize + ?Sized, V: Serialize + ?Sized>(
        &mut self,
        key: &K,
        value: &V,
    ) -> Result<(), S::Error> {
        self.0.serialize_entry(&FinitePart(key), &FinitePart(value))
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.0.end()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;
    use serde_json::value::RawValue;

    use super::*;

    #[derive(Serialize)]
    struct Unit;

    #[derive(Serialize)]
    struct Wrapped(f64);

    #[derive(Serialize)]
    struct Pair(u8, f32);

    #[derive(Serialize)]
    enum Kinds {
        Unit,
        Newtype(f64),
        Tuple(u8, f64),
        Fields {
            a: Option<f64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            b: Option<u8>,
        },
    }

    #[derive(Serialize)]
    #[serde(tag = "type")]
    enum Tagged {
        A { a: f64 },
    }

    #[derive(Serialize)]
    struct Flat {
        id: u8,
        #[serde(flatten)]
        rest: BTreeMap<String, f64>,
    }

    #[derive(Serialize)]
    struct All {
        unit: Unit,
        wrapped: Wrapped,
        pair: Pair,
        kinds: Vec<Kinds>,
        tagged: Tagged,
        flat: Flat,
        raw: Box<RawValue>,
        text: char,
        big: (u128, i128),
        nothing: (),
        keys: BTreeMap<u8, [f64; 2]>,
    }

    fn all(float: f64) -> All {
        All {
            unit: Unit,
            wrapped: Wrapped(0.1),
            pair: Pair(1, 0.1),
            kinds: vec![
                Kinds::Unit,
                Kinds::Newtype(0.1),
                Kinds::Tuple(1, 0.1),
                Kinds::Fields { a: None, b: None },
                Kinds::Fields {
                    a: Some(0.1),
                    b: Some(1),
                },
            ],
            tagged: Tagged::A { a: 0.1 },
            flat: Flat {
                id: 1,
                rest: BTreeMap::from([("f".into(), 0.1)]),
            },
            raw: RawValue::from_string("[1.50]".into()).unwrap(),
            text: 'é',
            big: (u128::MAX, i128::MIN),
            nothing: (),
            keys: BTreeMap::from([(7, [0.1, float])]),
        }
    }

    #[test]
    fn finite_values_are_written_unchanged() {
        let json = to_json(&all(0.2)).unwrap();
        assert_eq!(json, serde_json::to_vec(&all(0.2)).unwrap());
    }

    #[test]
    fn values_that_are_not_finite_are_refused_everywhere() {
        let fails = |json: Result<Vec<u8>, serde_json::Error>, float: &str| {
            let error = json.unwrap_err().to_string();
            assert!(error.contains(&format!("the float is {float}")), "{error}");
        };
        fails(to_json(&all(f64::NAN)), "NaN");
        fails(to_json(&Wrapped(f64::INFINITY)), "inf");
        fails(to_json(&Pair(1, f32::NEG_INFINITY)), "-inf");
        fails(to_json(&Kinds::Newtype(f64::NAN)), "NaN");
        fails(to_json(&Kinds::Tuple(1, f64::NAN)), "NaN");
        let fields = Kinds::Fields {
            a: Some(f64::NAN),
            b: None,
        };
        fails(to_json(&fields), "NaN");
        fails(to_json(&Tagged::A { a: f64::NAN }), "NaN");
        let flat = Flat {
            id: 1,
            rest: BTreeMap::from([("f".into(), f64::NAN)]),
        };
        fails(to_json(&flat), "NaN");
        fails(to_json(&vec![1.0, f64::NAN]), "NaN");
        fails(to_json(&(1, f64::NAN)), "NaN");
    }
}
