//! The file as a tree whose values own their text and know their place.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A place in the file, in bytes.
pub(super) type Place = Range<usize>;
/// A table; in a message its keys are sorted by place, here by name.
pub(super) type Table = BTreeMap<String, Node>;

/// A value with its place.
#[derive(Clone)]
pub(super) struct Node {
    /// Where its key stands; for a list's item, where it stands itself.
    pub(super) key: Place,
    /// Where it stands; for a table, where its header stands.
    pub(super) place: Place,
    pub(super) value: Value,
}

#[derive(Clone)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Date(String),
    List(Vec<Node>),
    Table(Table),
}

impl Node {
    pub(super) fn as_table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    pub(super) fn as_table_mut(&mut self) -> Option<&mut Table> {
        match &mut self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// The tree of a parsed table. Numbers that fit no 64 bits go to `too_large` and stay out.
pub(super) fn table_of(table: &DeTable<'_>, too_large: &mut Vec<Place>) -> Table {
    let entries = table.iter().filter_map(|(key, value)| {
        let node = Node { key: key.span(), place: value.span(), value: value_of(value, too_large)? };
        Some((key.get_ref().to_string(), node))
    });
    entries.collect()
}

fn value_of(node: &Spanned<DeValue<'_>>, too_large: &mut Vec<Place>) -> Option<Value> {
    Some(match node.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Boolean(value) => Value::Boolean(*value),
        DeValue::Datetime(date) => Value::Date(date.to_string()),
        DeValue::Float(number) => Value::Float(number.as_str().parse().ok()?),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => {
                too_large.push(node.span());
                return None;
            }
        },
        DeValue::Array(list) => {
            Value::List(list.iter().filter_map(|item| item_of(item, too_large)).collect())
        }
        DeValue::Table(table) => Value::Table(table_of(table, too_large)),
    })
}

fn item_of(item: &Spanned<DeValue<'_>>, too_large: &mut Vec<Place>) -> Option<Node> {
    Some(Node { key: item.span(), place: item.span(), value: value_of(item, too_large)? })
}
