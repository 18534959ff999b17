//! Rules of the pages: what they name is there, and what they show is accepted.

use keylane::memory::{Memory, MemoryBroker};
use keylane::{Failure, RawEvent, Routes, Runtime};
use keylane_log::Log;
use keylane_sqlite::Sqlite;

use super::{Text, has_word, none, read, root, texts};

/// The blocks of one language in a page.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let mut parts = page.split("\n```");
    parts.next();
    let opened = parts.step_by(2).filter_map(|part| part.split_once('\n'));
    opened.filter(|(kind, _)| kind.split(',').next() == Some(language)).map(|(_, body)| body).collect()
}

/// What stands behind `head` up to the next blank line or head, in all places.
fn listed(page: &str, head: &str) -> Vec<String> {
    let mut items = Vec::new();
    for paragraph in page.split("\n\n") {
        let heads = ["Rules:", "Tests:"];
        let mut on = false;
        for line in paragraph.lines() {
            if heads.iter().any(|other| line.starts_with(other)) {
                on = line.starts_with(head);
            }
            if on {
                let words = line.trim_start_matches(head).trim().trim_end_matches('.');
                items.extend(words.split(',').map(|item| item.trim().trim_matches('`').to_owned()));
            }
        }
    }
    items.retain(|item| !item.is_empty());
    items
}

#[test]
fn rules_and_tests_are_read() {
    let page = "Rules: A1, C2.\nTests: `one`,\n`two`.\n\n`three`\n\nTests: `four`.";
    assert_eq!(listed(page, "Rules:"), ["A1", "C2"]);
    assert_eq!(listed(page, "Tests:"), ["one", "two", "four"]);
}

/// A promise names the rules that keep it and the tests that would notice; both must be in the code.
#[test]
fn guarantees_name_what_is_there() {
    let page = read("docs/guarantees.md");
    let sources = texts(&[".rs"]);
    let code = |file: &&Text| {
        let path = &file.path;
        path.starts_with("core/src/") || (path.starts_with("adapters/") && path.contains("/src/"))
    };
    let (rules, tests) = (listed(&page, "Rules:"), listed(&page, "Tests:"));
    assert!(rules.len() > 10 && tests.len() > 20, "the page is read as {rules:?} {tests:?}");
    let mut wrong = Vec::new();
    for rule in rules {
        if !sources.iter().filter(code).any(|file| has_word(&file.content, &rule)) {
            wrong.push(format!("rule {rule} is claimed and named nowhere in the code"));
        }
    }
    for test in tests {
        if !sources.iter().any(|file| has_test(file, &test)) {
            wrong.push(format!("there is no test `{test}`"));
        }
    }
    none(&wrong, "docs/guarantees.md");
}

/// A check of the conformance suites, or a function with a test's attribute shortly before it.
fn has_test(file: &Text, name: &str) -> bool {
    let starts = ["(", "<"].map(|next| format!("fn {name}{next}"));
    let lines: Vec<&str> = file.content.lines().collect();
    let Some(at) = lines.iter().position(|line| starts.iter().any(|start| line.contains(start))) else {
        return false;
    };
    let near = &lines[at.saturating_sub(6)..at];
    file.path.starts_with("core/src/conformance/")
        || near.iter().any(|line| line.trim().starts_with("#[") && line.contains("test"))
}

#[test]
fn every_decision_is_whole() {
    let mut wrong = Vec::new();
    let mut numbers = Vec::new();
    for page in texts(&[".md"]).iter().filter(|page| page.path.starts_with("docs/decisions/")) {
        let name = page.path.trim_start_matches("docs/decisions/");
        let Some(number) = name.get(..4).and_then(|digits| digits.parse::<u32>().ok()) else {
            wrong.push(format!("{name} does not begin with its number, four digits"));
            continue;
        };
        if !page.content.starts_with(&format!("# {number}. ")) {
            wrong.push(format!("{name} has another number or no title in its first line"));
        }
        let sections: Vec<&str> = page.content.lines().filter(|line| line.starts_with("## ")).collect();
        if sections != ["## Context", "## Decision", "## Rejected", "## Consequences"] {
            wrong.push(format!(
                "{name} has the sections {sections:?}; write context, decision, rejected, consequences"
            ));
        }
        if numbers.contains(&number) {
            wrong.push(format!("{name}: number {number} is given twice"));
        }
        numbers.push(number);
    }
    none(&wrong, "docs/decisions");
}

/// Links from page to page, as `(text, target)`.
fn links(page: &str) -> impl Iterator<Item = &str> {
    page.match_indices("](").map(|(at, _)| page[at + 2..].split(')').next().unwrap_or_default())
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut wrong = Vec::new();
    for page in texts(&[".md"]) {
        let file = root().join(&page.path);
        let folder = file.parent().expect("a file lies in a folder");
        for link in links(&page.content).filter(|link| !link.contains("://") && !link.starts_with('#')) {
            let target = link.split('#').next().unwrap_or_default();
            if !folder.join(target).exists() {
                wrong.push(format!("{} links to {link}, which is not there", page.path));
            }
        }
    }
    none(&wrong, "links");
}

async fn nothing(_: RawEvent) -> Result<(), Failure> {
    Ok(())
}

/// Every configuration that a page shows whole is one that the runtime takes. Those with Kafka, RabbitMQ or PostgreSQL
/// are tried by their adapters.
#[test]
fn configurations_in_pages_are_accepted() {
    let mut tried = 0;
    let mut wrong = Vec::new();
    for page in texts(&[".md"]) {
        let elsewhere =
            |toml: &str| [".kafka]", ".rabbitmq]", "store.postgres]"].iter().any(|part| toml.contains(part));
        let whole = |toml: &&str| toml.contains("[store.") && !elsewhere(toml);
        for toml in blocks(&page.content, "toml").into_iter().filter(whole) {
            let names = toml.lines().filter_map(|line| line.strip_prefix("[subscription."));
            let mut names: Vec<&str> = names.filter_map(|rest| rest.split([']', '.']).next()).collect();
            names.dedup();
            let mut runtime = Runtime::from_text(toml).broker(Log::on(Sqlite)).broker(MemoryBroker::new());
            runtime = runtime.store(Sqlite).store(Memory::new()).variables(|_| Some("x".into()));
            for name in names {
                runtime = runtime.subscription(name, Routes::new().all(nothing));
            }
            tried += 1;
            if let Err(error) = runtime.check_only() {
                wrong.push(format!("{}: {error:?}", page.path));
            }
        }
    }
    none(&wrong, "configurations in pages");
    assert!(tried > 0, "no page shows a configuration");
}

/// Snippets are compiled as tests, all of them, and read the same on the page as in the compiler.
#[test]
fn snippets_are_compiled_and_show_all_their_lines() {
    let compiled = read("tests/src/pages.rs");
    let mut wrong = Vec::new();
    for page in texts(&[".md"]) {
        let rust: Vec<&str> =
            page.content.match_indices("\n```rust").map(|(at, _)| &page.content[at + 4..]).collect();
        if !rust.is_empty() && !compiled.contains(&format!("/../{}\"", page.path)) {
            wrong.push(format!("{} shows code and is not named in tests/src/pages.rs", page.path));
        }
        for block in blocks(&page.content, "rust") {
            if block.lines().any(|line| line.trim() == "#" || line.trim().starts_with("# ")) {
                wrong.push(format!(
                    "{} has a snippet with hidden lines, which readers see all the same",
                    page.path
                ));
            }
        }
        for snippet in
            rust.iter().filter(|rest| rest.lines().next().is_some_and(|head| head.contains("ignore")))
        {
            wrong.push(format!(
                "{} has a snippet that nobody compiles: {:?}",
                page.path,
                snippet.lines().nth(1)
            ));
        }
    }
    none(&wrong, "snippets");
}

#[test]
fn the_changelog_has_a_place_for_what_comes() {
    let changelog = read("CHANGELOG.md");
    let first = changelog.lines().find(|line| line.starts_with("## "));
    assert_eq!(first, Some("## [Unreleased]"), "the first section of CHANGELOG.md");
}
