//! Tables of handlers and tests: rows in order, and values by key.

use std::collections::BTreeMap;

use bytes::Bytes;

#[derive(Default)]
pub(super) struct Tables(BTreeMap<String, Table>);

#[derive(Default)]
struct Table {
    rows: Vec<Bytes>,
    values: BTreeMap<Bytes, Bytes>,
}

impl Tables {
    pub(super) fn rows(&self, table: &str) -> &[Bytes] {
        self.0.get(table).map_or(&[], |table| &table.rows)
    }

    pub(super) fn read(&self, table: &str, key: &[u8]) -> Option<&Bytes> {
        self.0.get(table)?.values.get(key)
    }

    pub(super) fn values(&self, table: &str) -> Vec<(Bytes, Bytes)> {
        let values = self.0.get(table).map(|table| &table.values).into_iter().flatten();
        values.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    pub(super) fn append(&mut self, table: &str, row: Bytes) {
        self.table(table).rows.push(row);
    }

    /// Undoes the last append.
    pub(super) fn pop(&mut self, table: &str) {
        self.table(table).rows.pop();
    }

    /// Puts or, with `None`, removes a value; gives the one before.
    pub(super) fn set(&mut self, table: &str, key: Bytes, value: Option<Bytes>) -> Option<Bytes> {
        let values = &mut self.table(table).values;
        match value {
            Some(value) => values.insert(key, value),
            None => values.remove(&key),
        }
    }

    fn table(&mut self, name: &str) -> &mut Table {
        if !self.0.contains_key(name) {
            self.0.insert(name.to_owned(), Table::default());
        }
        self.0.get_mut(name).expect("a table is there once it was inserted")
    }
}
