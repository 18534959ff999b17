//! What is wrong with a configuration: collected, so that one start shows all of it.

use std::fmt;

use crate::error::{Error, ErrorKind};

/// So many problems are listed; of the rest the number is told.
const LISTED_MAX: usize = 50;
/// So many are kept to choose the first ones from.
const KEPT_MAX: usize = 1000;

/// One thing that is wrong, with its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Problem {
    /// Line, from 1; with the column it comes first, so that problems sort by place.
    pub(super) line: usize,
    /// Column in characters, from 1.
    pub(super) column: usize,
    /// The key's path, such as `subscription.seating.retry.delay`; empty for the whole file.
    pub(super) key: String,
    /// What is wrong, and after a semicolon what to do.
    pub(super) what: String,
}

/// All that was found wrong in one file.
#[derive(Debug)]
pub(super) struct Problems {
    file: String,
    list: Vec<Problem>,
    /// How many came after the list was full.
    more: usize,
}

impl Problems {
    pub(super) fn of(file: &str) -> Self {
        Self { file: file.to_owned(), list: Vec::new(), more: 0 }
    }

    /// Adds a problem once: what stands in `[defaults]` is read for every subscription.
    pub(super) fn push(&mut self, problem: Problem) {
        if self.list.len() == KEPT_MAX {
            self.more += 1;
        } else if !self.list.contains(&problem) {
            self.list.push(problem);
        }
    }

    /// Whether something was found at `path` or below it.
    pub(super) fn touch(&self, path: &str) -> bool {
        self.list.iter().any(|problem| is_within(&problem.key, path))
    }

    /// All of it as one error; `Ok` when nothing was found.
    pub(super) fn into_result(mut self) -> Result<(), Error> {
        self.list.sort();
        let Some(first) = self.list.first() else { return Ok(()) };
        let first = Line { file: &self.file, problem: first }.to_string();
        let error = match self.list.len() + self.more {
            1 => Error::new(ErrorKind::Config, first),
            count => {
                let headline = format!("{count} problems in {}", self.file);
                let report = std::iter::once(headline.clone()).chain(self.lines(count));
                Error::new(ErrorKind::Config, format!("{headline}, the first: {first}"))
                    .with_report(report.collect::<Vec<_>>().join("\n  "))
            }
        };
        Err(error)
    }

    /// One problem after which nothing more can be said.
    pub(super) fn alone(self, problem: Problem) -> Error {
        Error::new(ErrorKind::Config, Line { file: &self.file, problem: &problem }.to_string())
    }

    fn lines(&self, count: usize) -> Vec<String> {
        let listed = self.list.iter().take(LISTED_MAX);
        let mut lines: Vec<_> =
            listed.map(|problem| Line { file: &self.file, problem }.to_string()).collect();
        if count > lines.len() {
            lines.push(format!("and {} more", count - lines.len()));
        }
        lines
    }
}

fn is_within(key: &str, path: &str) -> bool {
    key.strip_prefix(path).is_some_and(|rest| rest.is_empty() || path.is_empty() || rest.starts_with('.'))
}

struct Line<'a> {
    file: &'a str,
    problem: &'a Problem,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { line, column, key, what, .. } = self.problem;
        write!(f, "{}:{line}:{column}: ", self.file)?;
        if !key.is_empty() {
            write!(f, "{key}: ")?;
        }
        f.write_str(what)
    }
}
