//! A parsed file that remembers where each value stood, and which values must not be printed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use toml::de::DeTable;

use super::node::{Place, Table, table_of};
use super::problem::{Problem, Problems};
use crate::error::Error;

/// The greatest file that is read.
pub(super) const TEXT_MAX: usize = 1 << 20;
/// What is said about a value is cut after so many characters.
const WHAT_MAX: usize = 600;
/// Keys are shown up to this length.
const KEY_MAX: usize = 80;

/// A file's name, text and places.
pub(super) struct Document {
    file: String,
    text: String,
    /// Where each line begins.
    lines: Vec<usize>,
    /// The path of each key and value by its place.
    paths: BTreeMap<(usize, usize), String>,
    /// What interpolation put in, with what stood there before; the longest first, because a value
    /// may be a part of another.
    hidden: BTreeSet<(Reverse<usize>, String, String)>,
}

impl Document {
    /// Parses `text`; all syntax errors are reported together.
    pub(super) fn parse(file: &str, text: &str) -> Result<(Self, Table), Error> {
        let mut document = Self {
            file: file.to_owned(),
            text: text.to_owned(),
            lines: line_starts(text),
            paths: BTreeMap::new(),
            hidden: BTreeSet::new(),
        };
        let mut problems = Problems::of(file);
        if text.len() > TEXT_MAX {
            let what = format!("{} bytes are more than a configuration may have, {TEXT_MAX}", text.len());
            return Err(problems.alone(document.problem(&(0..0), "", what)));
        }
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let place = error.span().unwrap_or(0..0);
            problems.push(document.problem(&place, "", format!("not TOML: {}", error.message())));
        }
        let mut too_large = Vec::new();
        let root = table_of(root.get_ref(), &mut too_large);
        for place in too_large.iter().filter(|_| errors.is_empty()) {
            problems.push(document.problem(
                place,
                "",
                "the number does not fit 64 bits; write a smaller one",
            ));
        }
        problems.into_result()?;
        note_paths(&root, "", &mut document.paths);
        Ok((document, root))
    }

    pub(super) fn file(&self) -> &str {
        &self.file
    }

    /// What stands at `place`, as it was written.
    pub(super) fn written(&self, place: &Place) -> &str {
        self.text.get(place.clone()).unwrap_or_default()
    }

    /// The path of the key or value that stands exactly at `place`.
    pub(super) fn path_at(&self, place: &Place) -> Option<&str> {
        self.paths.get(&(place.start, place.end)).map(String::as_str)
    }

    /// From now on `value` appears in no message; `written` is shown in its place.
    pub(super) fn hide(&mut self, value: &str, written: &str) {
        if !value.is_empty() {
            self.hidden.insert((Reverse(value.len()), value.to_owned(), written.to_owned()));
        }
    }

    /// A problem at `place`. What interpolation put into the file does not show in it.
    pub(super) fn problem(&self, place: &Place, key: &str, what: impl Into<String>) -> Problem {
        let (line, column) = self.line_and_column(place.start);
        let what = self.redacted(what.into());
        Problem { line, column, key: key.to_owned(), what }
    }

    fn redacted(&self, mut what: String) -> String {
        for (_, value, written) in &self.hidden {
            for shape in [value.clone(), value.escape_debug().to_string()] {
                if what.contains(&shape) {
                    what = what.replace(&shape, written);
                }
            }
        }
        // One line each, whatever a foreign message holds.
        what = what.replace(char::is_control, " ");
        match what.char_indices().nth(WHAT_MAX) {
            Some((end, _)) => format!("{}…", &what[..end]),
            None => what,
        }
    }

    /// Both from 1; columns in characters.
    fn line_and_column(&self, at: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= at);
        let start = self.lines[line - 1];
        let before = self.text.get(start..at).unwrap_or_default();
        (line, before.chars().count() + 1)
    }
}

/// Names the file only: its values may be secrets.
impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Document({})", self.file)
    }
}

/// `path` with one more key, quoted where TOML would want it.
pub(super) fn join(path: &str, key: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let dot = if path.is_empty() { "" } else { "." };
    if !key.is_empty() && key.len() <= KEY_MAX && key.chars().all(is_bare) {
        return format!("{path}{dot}{key}");
    }
    let shown: String = key.chars().take(KEY_MAX).collect();
    let more = if shown.len() < key.len() { "…" } else { "" };
    format!("{path}{dot}\"{}{more}\"", shown.escape_debug())
}

fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect()
}

fn note_paths(table: &Table, path: &str, paths: &mut BTreeMap<(usize, usize), String>) {
    for (key, node) in table {
        let path = join(path, key);
        for place in [&node.key, &node.place] {
            // Not over what is there: a table made by a dotted key has the place of its key.
            paths.entry((place.start, place.end)).or_insert_with(|| path.clone());
        }
        if let Some(table) = node.as_table() {
            note_paths(table, &path, paths);
        }
    }
}
