//! Rules of source files and manifests.

use super::{has_word, none, read, texts};

/// A file that is longer has more than one thing to say.
const LINES_MAX: usize = 400;

/// Longer files, each with its reason.
const LONG: &[(&str, &str)] = &[];

/// Files that need no module doc: the line would stand in each expected message.
const WITHOUT_DOC: &str = "core/tests/ui/mistakes/";

#[test]
fn files_are_short_and_say_what_they_are() {
    let mut wrong = Vec::new();
    for file in texts(&[".rs"]) {
        let lines = file.content.lines().count();
        let excused = LONG.iter().any(|(path, _)| *path == file.path);
        if lines > LINES_MAX && !excused {
            wrong.push(format!("{} has {lines} lines; split what can be decided apart", file.path));
        }
        if lines <= LINES_MAX && excused {
            wrong.push(format!("{} is short again; strike it from the list of long ones", file.path));
        }
        if !file.content.starts_with("//! ") && !file.path.starts_with(WITHOUT_DOC) {
            wrong.push(format!("{} does not begin with its module doc", file.path));
        }
    }
    none(&wrong, "source files");
}

/// Hosts that a page or manifest may name. A mirror or a machine of somebody's own is no place for a public repository.
const HOSTS: &[&str] = &[
    "github.com",
    "json-schema.org",
    "keepachangelog.com",
    "maven.apache.org",
    "repo1.maven.org",
    "www.apache.org",
    "www.w3.org",
    "docs.rs",
    "127.0.0.1",
    "localhost",
];

#[test]
fn nothing_private_or_unfinished_is_left() {
    // In pieces, so that this file keeps its own rule.
    let unfinished = [concat!("TO", "DO"), concat!("FIX", "ME")];
    let places = [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/tm", "p/")];
    let mut wrong = Vec::new();
    let endings = [
        ".rs", ".md", ".toml", ".sh", ".sql", ".yaml", ".yml", ".json", ".lock", "/run", "run", "up", "down",
    ];
    for file in texts(&endings) {
        for (at, line) in file.content.lines().enumerate() {
            let mut tell = |what: &str| wrong.push(format!("{}:{}: {what}", file.path, at + 1));
            for word in unfinished.iter().filter(|word| has_word(line, word)) {
                tell(&format!("says {word}; do it, or say plainly what is not there"));
            }
            for place in places.iter().filter(|place| names_place(line, place)) {
                tell(&format!("names a place of some machine ({place})"));
            }
            for host in hosts(line).filter(|host| !is_known(host)) {
                tell(&format!("names the host {host}; if everybody has it, add it to the list"));
            }
        }
    }
    none(&wrong, "left-overs");
}

/// True where the place begins a path, and is not a part of a longer one.
fn names_place(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-~$}*".contains(c))
    })
}

fn hosts(line: &str) -> impl Iterator<Item = &str> {
    let starts = ["http://", "https://"]
        .into_iter()
        .flat_map(|scheme| line.match_indices(scheme).map(move |(at, _)| at + scheme.len()));
    starts.map(|at| {
        let rest = &line[at..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || ".-".contains(c))).unwrap_or(rest.len());
        &rest[..end]
    })
}

fn is_known(host: &str) -> bool {
    // A variable of a script has no name yet.
    host.is_empty() || host.ends_with(".example") || HOSTS.contains(&host)
}

#[test]
fn hosts_and_places_are_found() {
    assert_eq!(
        hosts("see http://a.example/c and https://b.example:1").collect::<Vec<_>>(),
        ["a.example", "b.example"]
    );
    assert!(names_place("in /x/y", "/x/") && !names_place("~/x/y", "/x/"));
}

#[test]
fn every_package_says_what_it_needs() {
    let mut wrong = Vec::new();
    for manifest in texts(&["Cargo.toml"]).iter().filter(|file| file.content.contains("[package]")) {
        for key in ["rust-version", "edition", "license", "description"] {
            let set =
                |line: &str| line.strip_prefix(key).is_some_and(|rest| rest.starts_with([' ', '.', '=']));
            if !manifest.content.lines().any(set) {
                wrong.push(format!("{} has no {key}", manifest.path));
            }
        }
        if !manifest.content.contains("[lints]\nworkspace = true") {
            wrong.push(format!("{} does not take the workspace's lints", manifest.path));
        }
    }
    none(&wrong, "manifests");
}

/// The pairing of bullets and checks is held in the core, beside the suites; what it can't see is a file of
/// checks that it is not told of.
#[test]
fn the_pairing_of_bullets_and_checks_reads_every_file() {
    let pairing = read("core/src/conformance/pairing.rs");
    let mut wrong = Vec::new();
    for file in texts(&[".rs"]) {
        let Some(name) = file.path.strip_prefix("core/src/conformance/") else { continue };
        if file.content.contains("\npub async fn ") && !pairing.contains(&format!("include_str!(\"{name}\")"))
        {
            wrong.push(format!("{} holds checks and is not among those that pairing.rs reads", file.path));
        }
    }
    for edge in ["store", "broker"] {
        let test = format!("fn every_bullet_of_the_{edge}_has_a_check()");
        if !pairing.contains(&test) {
            wrong.push(format!("pairing.rs has no `{test}`"));
        }
    }
    none(&wrong, "contracts");
}
