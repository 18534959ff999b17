//! `${NAME}` and `${file:path}` inside string values.
//!
//! It happens after parsing, so that what is put in is never read as TOML, and what is put in is
//! never printed. `$${` stands for a plain `${`.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::Path;

use super::document::{Document, join};
use super::node::{Node, Table, Value};
use super::problem::Problems;

/// What one `${file:…}` may put in.
const FILE_MAX: u64 = 64 << 10;

/// So many `${…}` a file may have.
const COUNT_MAX: usize = 1000;

/// Where the values for `${…}` come from.
pub struct Lookup<'a> {
    /// The value of an environment variable.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// The content of a file.
    pub file: &'a dyn Fn(&Path) -> io::Result<String>,
}

impl<'a> Lookup<'a> {
    /// Variables by `env`, files from the disk.
    #[must_use]
    pub fn new(env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { env, file: &read_file }
    }
}

impl std::fmt::Debug for Lookup<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lookup")
    }
}

/// A whole small file. Pipes and devices are refused: they might never end, or never begin.
pub(super) fn read_file(path: &Path) -> io::Result<String> {
    let refused = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
    if !std::fs::metadata(path)?.is_file() {
        return Err(refused("not a regular file"));
    }
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_MAX {
        return Err(refused("larger than 64KiB"));
    }
    Ok(text)
}

/// Replaces every `${…}` below `table`; where values begin that could not be made is returned.
pub(super) fn interpolate(
    table: &mut Table,
    path: &str,
    lookup: &Lookup<'_>,
    document: &mut Document,
    problems: &mut Problems,
) -> BTreeSet<usize> {
    let mut work = Interpolation { lookup, document, problems, broken: BTreeSet::new(), count: 0 };
    work.table(table, path);
    work.broken
}

struct Interpolation<'a> {
    lookup: &'a Lookup<'a>,
    document: &'a mut Document,
    problems: &'a mut Problems,
    broken: BTreeSet<usize>,
    count: usize,
}

impl Interpolation<'_> {
    fn table(&mut self, table: &mut Table, path: &str) {
        for (key, node) in table {
            self.node(node, &join(path, key));
        }
    }

    fn node(&mut self, node: &mut Node, path: &str) {
        match &mut node.value {
            Value::Text(text) if text.contains("${") => match self.text(text) {
                Ok(new) => *text = new,
                Err(what) => {
                    self.problems.push(self.document.problem(&node.place, path, what));
                    self.broken.insert(node.place.start);
                }
            },
            Value::List(list) => list.iter_mut().for_each(|node| self.node(node, path)),
            Value::Table(table) => self.table(table, path),
            _ => {}
        }
    }

    fn text(&mut self, text: &str) -> Result<String, String> {
        let mut made = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, from) = rest.split_at(at);
            if let Some(before) = before.strip_suffix('$') {
                made.extend([before, "${"]);
                rest = &from["${".len()..];
                continue;
            }
            let end = from.find('}').ok_or("`${` without a `}`; write `$${` for a plain `${`")?;
            self.count += 1;
            if self.count > COUNT_MAX {
                return Err(format!("more than {COUNT_MAX} `${{…}}` in one file; write some values here"));
            }
            let value = self.look_up(&from["${".len()..end])?;
            self.document.hide(&value, &from[..=end]);
            made.extend([before, &value]);
            rest = &from[end + 1..];
        }
        made.push_str(rest);
        if made != text {
            self.document.hide(&made, text);
        }
        Ok(made)
    }

    fn look_up(&self, name: &str) -> Result<String, String> {
        if let Some(path) = name.strip_prefix("file:") {
            return match (self.lookup.file)(Path::new(path)) {
                // Editors and `echo` end a file with a line break that is not part of the secret.
                Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
                Err(error) => Err(format!("can't read `{path}`: {error}; make the file or correct the path")),
            };
        }
        let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && name.starts_with(|c: char| !c.is_ascii_digit());
        if !is_name {
            return Err(format!(
                "`${{{name}}}` names no environment variable; write `${{NAME}}` or `${{file:/path}}`, \
                 or `$${{` for a plain `${{`"
            ));
        }
        (self.lookup.env)(name).ok_or_else(|| {
            format!("the environment variable `{name}` is not set; set it, or write the value here")
        })
    }
}
