//! A part of the file on its way to the component that owns it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::component::{Component, Findings, schema_of};
use super::document::{Document, join};
use super::node::{Node, Place, Table, Value};
use super::problem::Problems;
use super::reader;
use super::walk::Walk;
use crate::error::{Error, ErrorKind};

/// A table of the configuration with its place in the file. The empty one (`Default`) reads as all
/// defaults.
#[derive(Clone, Default)]
pub struct Section(Option<Arc<Inner>>);

struct Inner {
    document: Arc<Document>,
    path: String,
    place: Place,
    table: Table,
}

impl Section {
    /// A section from text of its own, as if the text stood in its table; for tests of adapters.
    ///
    /// # Errors
    /// The text is not TOML.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (document, table) = Document::parse("text", text)?;
        Ok(Self::new(Arc::new(document), String::new(), 0..0, table))
    }

    pub(super) fn new(document: Arc<Document>, path: String, place: Place, table: Table) -> Self {
        Self(Some(Arc::new(Inner { document, path, place, table })))
    }

    /// Reads the section as its component.
    ///
    /// # Errors
    /// Everything that is wrong with it, by line and key.
    pub fn read<T: Component>(&self) -> Result<T, Error> {
        let Some(inner) = &self.0 else { return Ok(T::default()) };
        let mut problems = Problems::of(inner.document.file());
        let mut table = inner.table.clone();
        let (document, schema) = (&inner.document, schema_of::<T>());
        let mut walk = Walk { document, broken: &BTreeSet::new(), problems: &mut problems };
        walk.table(&mut table, &inner.place, &inner.path, &schema);
        let section = Self::new(document.clone(), inner.path.clone(), inner.place.clone(), table);
        let value = section.take::<T>(&mut problems);
        problems.into_result()?;
        Ok(value.unwrap_or_default())
    }

    /// The error that `key` (dotted, from this section's table) can't be done; `what` says why and,
    /// after a semicolon, what to write instead. For what is known only after reading, such as what
    /// a broker is able to.
    #[must_use]
    pub fn refuse(&self, key: &str, what: &str) -> Error {
        let mut problems = Problems::of(self.file());
        self.find_wrong(key, what, &mut problems);
        let alone = || Error::new(ErrorKind::Config, format!("{key}: {what}"));
        problems.into_result().err().unwrap_or_else(alone)
    }

    /// The file's name.
    pub(super) fn file(&self) -> &str {
        self.0.as_ref().map_or("", |inner| inner.document.file())
    }

    /// Reads what can be read and reports all that can't; nothing when there was something.
    ///
    /// A value that can't be read is taken out and reading starts over, so that one wrong value does
    /// not hide the next. It ends because each round takes one value out.
    pub(super) fn take<T: Component>(&self, problems: &mut Problems) -> Option<T> {
        let Some(inner) = &self.0 else { return Some(T::default()) };
        let mut table = inner.table.clone();
        // What the walk took out of here was told; so was a required key that is missing now.
        let walked = problems.touch(&inner.path);
        let mut sound = !walked;
        loop {
            let error = match reader::read(&table) {
                // Between keys of which one was taken out, `check` would find what is not there.
                Ok(value) if sound => return self.check(value, problems),
                Ok(_) => return None,
                Err(error) => error,
            };
            sound = false;
            if walked && error.place.is_none() {
                return None;
            }
            let place = error.place.unwrap_or_else(|| inner.place.clone());
            let key = inner.document.path_at(&place).unwrap_or(&inner.path);
            problems.push(inner.document.problem(&place, key, error.what));
            if !take_out(&mut table, &place) {
                return None;
            }
        }
    }

    fn check<T: Component>(&self, value: T, problems: &mut Problems) -> Option<T> {
        let mut found = Findings::default();
        value.check(&mut found);
        for (key, what) in found.iter() {
            self.find_wrong(key, what, problems);
        }
        found.is_empty().then_some(value)
    }

    /// Reports `key` at the place where it stands, else where its table stands.
    pub(super) fn find_wrong(&self, key: &str, what: &str, problems: &mut Problems) {
        let Some(inner) = &self.0 else { return };
        let mut place = inner.place.clone();
        let mut path = inner.path.clone();
        let mut table = Some(&inner.table);
        for name in key.split('.').filter(|name| !name.is_empty()) {
            path = join(&path, name);
            let Some(node) = table.and_then(|table| table.get(name)) else {
                table = None;
                continue;
            };
            place = node.place.clone();
            // What came from `[defaults]` is named as it stands there.
            path = inner.document.path_at(&place).map_or(path, str::to_owned);
            table = node.as_table();
        }
        problems.push(inner.document.problem(&place, &path, what));
    }
}

/// Names its place only: its values may be secrets.
impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.0.as_ref().map_or("", |inner| &inner.path);
        write!(f, "Section({path})")
    }
}

/// Takes the entry out that stands at `place`; says whether there was one.
fn take_out(table: &mut Table, place: &Place) -> bool {
    let encloses = |node: &Node| node.place.start <= place.start && place.end <= node.place.end;
    let stands_there = |node: &Node| match node.value {
        // A table's place is its header, which encloses nothing that is in it.
        Value::Table(_) => node.place == *place,
        _ => encloses(node),
    };
    let found = table.iter().find(|(_, node)| node.key == *place || stands_there(node));
    match found.map(|(key, _)| key.clone()) {
        Some(key) => table.remove(&key).is_some(),
        None => table.values_mut().filter_map(Node::as_table_mut).any(|inner| take_out(inner, place)),
    }
}
