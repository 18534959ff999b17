//! A copy of the tree in which files may be broken.

use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Mutant;

/// What is under version control or may come there, copied into the target folder: what is broken there is broken nowhere else.
#[derive(Debug)]
pub struct Tree(PathBuf);

/// How a run of tests ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// These failed.
    Failed(Vec<String>),
    /// All passed, so many.
    Passed(usize),
    /// It did not get so far.
    NotRun(String),
}

impl Ended {
    /// In a word.
    #[must_use]
    pub fn told(&self) -> String {
        match self {
            Self::Failed(tests) => {
                format!("{} tests: {}", tests.len(), tests[..tests.len().min(2)].join(", "))
            }
            Self::Passed(count) => format!("**survives** {count} tests"),
            Self::NotRun(why) => format!("**not run**: {why}"),
        }
    }

    /// From what the tests printed.
    fn read(said: &str, success: bool) -> Self {
        let named = |end: &str| {
            let lines = said.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(end));
            lines.map(|name| name.trim().to_owned()).collect::<Vec<_>>()
        };
        let (failed, passed) = (named(" ... FAILED"), named(" ... ok"));
        match (failed.is_empty(), passed.is_empty()) {
            (false, _) => Self::Failed(failed),
            (true, false) if success => Self::Passed(passed.len()),
            // Skipped tests pass as well, and say so.
            _ => Self::NotRun(
                said.lines().find(|line| line.starts_with("error")).unwrap_or("no test ran").to_owned(),
            ),
        }
    }
}

impl Tree {
    /// Copies it.
    ///
    /// # Errors
    /// No git, or no room.
    pub fn copy() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let to = root.join("target/sql-mutants");
        let listed = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(&root)
            .output()?;
        let files = String::from_utf8(listed.stdout).map_err(Error::other)?;
        for file in files.split('\0').filter(|file| !file.is_empty() && root.join(file).is_file()) {
            let place = to.join(file);
            std::fs::create_dir_all(place.parent().unwrap_or(&to))?;
            let text = std::fs::read(root.join(file))?;
            // What has not changed keeps its time, so that it is not compiled again.
            if std::fs::read(&place).ok().as_ref() != Some(&text) {
                std::fs::copy(root.join(file), &place)?;
            }
        }
        Ok(Self(to))
    }

    /// Works with a mutant, and puts the file back.
    ///
    /// # Errors
    /// What the work says; the piece is not there, or the file can't be written.
    pub fn with<T>(&self, mutant: &Mutant, work: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let file = self.0.join(mutant.file);
        let text = std::fs::read_to_string(&file)?;
        let broken = mutant.broken(&text).map_err(Error::other)?;
        std::fs::write(&file, broken)?;
        let done = work(self);
        std::fs::write(&file, text)?;
        done
    }

    /// Runs the tests of a package whose names hold one of these.
    ///
    /// # Errors
    /// No cargo.
    pub fn test(&self, package: &str, tests: &[&str]) -> Result<Ended> {
        let ran = Command::new(env!("CARGO"))
            .args(["test", "-p", package, "--tests", "--"])
            .args(tests)
            .env("CARGO_TARGET_DIR", self.0.join("target"))
            .env("RUST_BACKTRACE", "0")
            .current_dir(&self.0)
            .output()?;
        let said = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
        Ok(Ended::read(&said, ran.status.success()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_test_that_failed_counts() {
        let said = "running 2 tests\ntest a ... ok\ntest b ... FAILED\n";
        assert_eq!(Ended::read(said, false), Ended::Failed(vec!["b".into()]));
        assert_eq!(Ended::read("test a ... ok\n", true), Ended::Passed(1));
        assert_eq!(Ended::read("running 0 tests\n", true), Ended::NotRun("no test ran".into()));
        let error = "error: could not compile `x`";
        assert_eq!(Ended::read(error, false), Ended::NotRun(error.into()));
    }
}
