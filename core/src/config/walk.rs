//! One walk over all keys of the file against the schemas: every unknown key, every missing one, every
//! value of a wrong type or outside its range.
//!
//! What is wrong is taken out of the tables, so that what reads them afterwards finds more instead
//! of finding the same again.

use std::collections::BTreeSet;

use serde_json::Value as Schema;

use super::document::{Document, join};
use super::fits;
use super::nearest;
use super::node::{Node, Place, Table, Value};
use super::problem::Problems;
use super::schema;

/// The walk over one file.
pub(super) struct Walk<'a> {
    pub(super) document: &'a Document,
    /// Where values begin that interpolation could not make; it told so.
    pub(super) broken: &'a BTreeSet<usize>,
    pub(super) problems: &'a mut Problems,
}

impl Walk<'_> {
    /// Walks `table`, which stands at `place` and is named `path`.
    pub(super) fn table(&mut self, table: &mut Table, place: &Place, path: &str, schema: &Schema) {
        for key in schema::required(schema) {
            if !table.contains_key(key) {
                self.report(place, &join(path, key), "is missing; it has no default".to_owned());
            }
        }
        let mut unfit = Vec::new();
        for (name, node) in table.iter_mut() {
            let path = join(path, name);
            let fits = match schema::of_key(schema, name) {
                Some(own) => self.node(node, &path, own),
                None if schema::is_closed(schema) => {
                    self.report(&node.key, &path, unknown(name, schema));
                    false
                }
                None => true,
            };
            if !fits {
                unfit.push(name.clone());
            }
        }
        for key in unfit {
            table.remove(&key);
        }
    }

    /// Walks one key of `table` before the others.
    pub(super) fn key(&mut self, table: &mut Table, key: &str, path: &str, schema: &Schema) {
        if let (Some(node), Some(schema)) = (table.get_mut(key), schema::of_key(schema, key))
            && !self.node(node, &join(path, key), schema)
        {
            table.remove(key);
        }
    }

    /// Whether the value may stay.
    fn node(&mut self, node: &mut Node, path: &str, schema: &Schema) -> bool {
        let place = node.place.clone();
        if self.broken.contains(&place.start) {
            return false;
        }
        if let Some(mut what) = fits::fault(&node.value, schema) {
            if node.as_text().is_some() && schema::word(schema, "type") != Some("string") {
                what += self.quotes_hint(&place);
            }
            self.report(&place, path, what);
            return false;
        }
        match &mut node.value {
            Value::Table(table) => self.table(table, &place, path, schema),
            Value::List(list) => {
                if let Some(items) = schema.get("items") {
                    // An item that is wrong takes the list with it: half a list means something else.
                    return list.iter_mut().all(|item| self.node(item, path, items));
                }
            }
            _ => {}
        }
        true
    }

    fn quotes_hint(&self, place: &Place) -> &'static str {
        match self.document.written(place).contains("${") {
            true => "; `${…}` gives text and serves only where text is wanted",
            false => "; leave out the quotes",
        }
    }

    fn report(&mut self, place: &Place, path: &str, what: String) {
        self.problems.push(self.document.problem(place, path, what));
    }
}

/// What to say about a key that `table` does not have.
fn unknown(name: &str, table: &Schema) -> String {
    let noun = schema::word(table, "x-noun").unwrap_or("key");
    let below = schema::keys(table).find(|(_, inner)| schema::keys(inner).any(|(key, _)| key == name));
    match below {
        Some((inner, _)) => format!("unknown {noun}; it belongs one table down: `{inner}.{name}`"),
        None => {
            let valid = schema::keys(table).map(|(key, _)| key.as_str());
            let remedy = nearest::remedy(name, valid);
            match noun.strip_suffix(" kind") {
                // The likeliest cause: the code does not name the adapter that the file does.
                Some(edge) if !remedy.starts_with("did you mean") => adapter_is_missing(edge, table),
                _ => format!("unknown {noun}; {remedy}"),
            }
        }
    }
}

/// What to say about a kind that no adapter in the code has.
fn adapter_is_missing(edge: &str, table: &Schema) -> String {
    let call = format!("the code has no {edge} of this kind; add its adapter by `.{edge}(..)`");
    let kinds: Vec<_> = schema::keys(table).map(|(key, _)| key.as_str()).collect();
    if kinds.is_empty() { call } else { format!("{call}, or write {}", nearest::any_of(kinds)) }
}
