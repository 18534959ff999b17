//! From a tree to a component, by serde, with the place of whatever can't be read.

use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::node::{Node, Place, Table, Value};

/// Reads `table` as a `T`.
pub(super) fn read<T: de::DeserializeOwned>(table: &Table) -> Result<T, Unreadable> {
    T::deserialize(MapDeserializer::new(table.iter().map(|(key, node)| (Key(key, &node.key), node))))
}

/// Why something can't be read, and where it stands if that is known.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub(super) place: Option<Place>,
    pub(super) what: String,
}

impl Unreadable {
    /// The innermost place stays.
    fn at(mut self, place: &Place) -> Self {
        self.place.get_or_insert_with(|| place.clone());
        self
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Unreadable {}

impl de::Error for Unreadable {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self { place: None, what: what.to_string() }
    }
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Unreadable;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        let value = match &self.value {
            Value::Text(text) | Value::Date(text) => visitor.visit_borrowed_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Boolean(value) => visitor.visit_bool(*value),
            Value::List(list) => SeqDeserializer::new(list.iter()).deserialize_any(visitor),
            Value::Table(table) => {
                let entries = table.iter().map(|(key, node)| (Key(key, &node.key), node));
                MapDeserializer::new(entries).deserialize_any(visitor)
            }
        };
        value.map_err(|error| error.at(&self.place))
    }

    /// A key that is left out is not seen here, so that what is seen is there.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Unreadable> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unreadable> {
        let value = match &self.value {
            Value::Text(text) => {
                let text: de::value::StrDeserializer<'_, Unreadable> = text.as_str().into_deserializer();
                text.deserialize_enum(name, variants, visitor)
            }
            Value::Table(table) => {
                let entries = table.iter().map(|(key, node)| (Key(key, &node.key), node));
                let map = MapDeserializer::new(entries);
                visitor.visit_enum(de::value::MapAccessDeserializer::new(map))
            }
            _ => return self.deserialize_any(visitor),
        };
        value.map_err(|error| error.at(&self.place))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Unreadable> for &'de Node {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// A key with its place, for "unknown field".
#[derive(Clone, Copy)]
struct Key<'a>(&'a str, &'a Place);

impl<'de> Deserializer<'de> for Key<'de> {
    type Error = Unreadable;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        visitor.visit_borrowed_str(self.0).map_err(|error: Unreadable| error.at(self.1))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any option newtype_struct enum
    }
}

impl<'de> IntoDeserializer<'de, Unreadable> for Key<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}
