//! Rules of this workspace that no compiler holds: sizes, words, and that pages say what is so.
//!
//! Plain text matching over the sources, so that it is quick and needs nothing. Exceptions stand in lists with
//! their reasons; a rule that gets in the way is changed here, where everybody sees it.

mod pages;
mod sources;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};

/// A text file of the workspace.
struct Text {
    /// From the root on, with slashes.
    path: String,
    content: String,
}

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the tests package lies in the workspace").to_path_buf()
}

/// Not of the workspace: what is built, and what programs leave behind.
const NOT_OURS: [&str; 3] = ["target", ".git", "orders-data"];

/// The workspace's files whose names end so, in order; bytes that are no text are no text.
fn texts(endings: &[&str]) -> Vec<Text> {
    let (root, mut found) = (root(), Vec::new());
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let path = entry.expect("a folder can be read to its end").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() {
                if !NOT_OURS.contains(&name) {
                    folders.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                let Ok(content) = fs::read_to_string(&path) else { continue };
                let path = path.strip_prefix(&root).expect("it was found under the root");
                let path = path.to_str().expect("names are text").replace('\\', "/");
                found.push(Text { path, content });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "no file ends with {endings:?}");
    found
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Fails with all that is wrong, one line each.
#[track_caller]
fn none(wrong: &[String], rule: &str) {
    assert!(wrong.is_empty(), "{rule}:\n  {}", wrong.join("\n  "));
}

/// Whether `word` stands in `text` by itself.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

#[test]
fn words_are_found_whole() {
    assert!(has_word("(rule C1).", "C1"));
    assert!(!has_word("C10 and AC1", "C1"));
}
